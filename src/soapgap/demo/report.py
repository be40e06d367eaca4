"""One HTML file that works without a network: texts, tables and figures of a demo."""

import base64
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined


def data_uri(path):
    """An SVG file as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")


def cards(record):
    """The handful of numbers at the top: (value, unit, label) of the steps that have finished."""
    numbers = {step["key"]: step["numbers"] for step in record["steps"] if "numbers" in step}
    result = []
    if "fit" in numbers:
        test = numbers["fit"]["test"]["all"]
        result.append((f"{test['energy']:.1f}", "meV/atom", "energy error, test set"))
        result.append((f"{test['forces']:.3f}", "eV/Å", "force error, test set"))
    if "nve" in numbers:
        result.append((f"{numbers['nve']['fluctuation_meV_per_atom']:.3f}", "meV/atom", "energy fluctuation, NVE"))
    if "pimd" in numbers:
        n = numbers["pimd"]
        result.append((f"{n['kinetic_energy_meV_per_atom']:.1f}", "meV/atom", f"kinetic energy, {n['beads']} beads"))
    if "hosts" in numbers:
        worst = max(v["relative"] for host in numbers["hosts"].values() for v in host.values())
        result.append((f"{worst:.0e}", "", "largest difference between hosts"))
    if "mechanics" in numbers:
        model, reference = numbers["mechanics"]["model"], numbers["mechanics"]["reference"]
        worst = max(abs(model[key] / reference[key] - 1) for key in ("c11", "c12", "c44"))
        result.append((f"{100 * worst:.1f}", "%", "largest error of C11, C12, C44"))
    return result


def render(record, folder):
    """The report as HTML.

    Parameters
    ----------
    record : dict
        What `soapgap.demo.run_demo` wrote to results.json; steps may be missing or have failed.
    folder : path
        Where the figures are.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files(__package__) / "data" / "report.html.j2").read_text(encoding="utf-8"))
    figures = {
        name: data_uri(Path(folder) / name) for step in record["steps"] for name, _ in step["figures"]
    }
    return template.render(record=record, cards=cards(record), figures=figures)
