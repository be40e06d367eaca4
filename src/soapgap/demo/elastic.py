"""Step: lattice constant and elastic constants of diamond silicon against the reference potential.

As a command it compares a silicon model with the Stillinger-Weber potential::

    python -m soapgap.demo.elastic MODEL
"""

import sys
from dataclasses import asdict

from ase.build import bulk

from soapgap.demo import comparison
from soapgap.demo.workflow import Check, StepResult
from soapgap.physics.elastic import cubic_constants

TITLE = "Lattice constant and elastic constants against the reference"
TEXT = (
    "Diamond silicon with the model and with the Stillinger-Weber potential that labelled the training data, by the same "
    "function: the edge at which the pressure vanishes, then central differences of the stress between small strains, the "
    "atoms relaxed in each strained cell."
)
A0_LIMIT = 0.3  # percent
CONSTANT_LIMIT = 10.0  # percent


def run(flow):
    """Run the comparison as a command and check it."""
    from soapgap.demo import plots

    result = comparison.run(flow, "elastic", "strains", table)
    model, reference = result["model"], result["reference"]
    percent = {key: 100 * (model[key] - reference[key]) / reference[key] for key, *_ in ROWS}
    rows = [
        [name, form.format(model[key]), form.format(reference[key]), f"{percent[key]:+.2f} %", unit.replace("A", "Å")]
        for key, name, unit, form in ROWS
    ]
    constants = ("c11", "c12", "c44")
    plots.elastic_bars(
        flow.folder / "elastic.svg",
        [key.upper() for key in constants],
        [model[key] for key in constants],
        [reference[key] for key in constants],
    )
    worst = max(abs(percent[key]) for key in constants)
    return StepResult(
        summary=(
            f"The lattice constant is {model['a0']:.4f} Å (reference {reference['a0']:.4f}); the elastic constants differ by "
            f"at most {worst:.1f} %."
        ),
        tables=[("Diamond silicon", ["quantity", "soapgap", "Stillinger-Weber", "difference", "unit"], rows)],
        figures=[("elastic.svg", "bars of C11, C12, C44 for model and reference")],
        checks=[
            Check("error of the lattice constant", abs(percent["a0"]), A0_LIMIT, "%"),
            Check("largest error of C11, C12, C44", worst, CONSTANT_LIMIT, "%"),
        ],
        numbers=result,
    )


def compare(model_path, n_threads=1):
    """Constants of diamond silicon with a model and with the Stillinger-Weber reference: a dict of two dicts."""
    from soapgap.calculator import SoapGAP
    from soapgap.physics.stillinger_weber import StillingerWeber

    crystal = bulk("Si", cubic=True, a=5.43)
    calculator = SoapGAP(model_path, n_threads=n_threads)
    e0 = calculator.potential.model.e0.get("Si", 0.0)
    return {
        "model": asdict(cubic_constants(crystal, calculator, atom_energy=e0)),
        "reference": asdict(cubic_constants(crystal, StillingerWeber())),
    }


ROWS = (
    ("a0", "lattice constant a0", "A", "{:.4f}"),
    ("cohesive_energy", "cohesive energy", "eV/atom", "{:.4f}"),
    ("c11", "C11", "GPa", "{:.1f}"),
    ("c12", "C12", "GPa", "{:.1f}"),
    ("c44", "C44", "GPa", "{:.1f}"),
    ("c44_unrelaxed", "C44, atoms not relaxed", "GPa", "{:.1f}"),
)


def table(result):
    """The comparison as lines of text."""
    lines = [f"{'':26s}{'soapgap':>12s}{'SW':>12s}{'difference':>12s}"]
    for key, name, unit, form in ROWS:
        model, reference = result["model"][key], result["reference"][key]
        percent = 100 * (model - reference) / reference
        lines.append(f"{name + ', ' + unit:26s}{form.format(model):>12s}{form.format(reference):>12s}{percent:>+11.2f}%")
    return "\n".join(lines)


def main(arguments=None):
    """Command line."""
    return comparison.command("soapgap.demo.elastic", __doc__.splitlines()[0], compare, table, arguments)


if __name__ == "__main__":
    sys.exit(main())
