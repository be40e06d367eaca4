"""The text of an i-PI input: `input.xml.j2` with settled values.

What the values are is decided in `soapgap.ipi.starter.write`; the template is XML as it will be, with conditions.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from textwrap import fill, indent
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from jinja2 import Environment, StrictUndefined

from soapgap.ipi.starter.gle import GLE

__all__ = ["InputValues", "comment", "input_text"]

_WIDTH = 108
_COMMENT = re.compile(r"^( *)<!-- (.*?)\s*-->", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class InputValues:
    """Everything that an input says, settled.

    Attributes
    ----------
    kind : str
        As the user calls it: nve, nvt, pimd, npt, npt-pimd, rpmd.
    ensemble : str
        i-PI's name: nve, nvt, npt.
    n_beads, n_steps, seed, port, batch : int
    temperature : float
        Kelvin.
    pressure : float
        GPa.
    timestep, tau : float
        Femtoseconds.
    thermostat : str or None
        langevin, svr, pile_l, pile_g or piglet.
    gle : GLE or None
    barostat : str
        isotropic or flexible.
    stride : int
        Steps between two frames of the trajectories.
    mode, address : str
        Of the socket, or "ffdirect".
    start, model, pes : str
        Files as i-PI finds them from the folder of the input.
    periodic : tuple of bool
    orthogonal : bool
        Whether all angles of the cell are right.
    title : str
        Sentences for the head of the file.
    commands : tuple of str
        What the user types.
    """

    kind: str
    ensemble: str
    n_beads: int
    temperature: float
    pressure: float
    timestep: float
    n_steps: int
    stride: int
    seed: int
    thermostat: str | None
    tau: float
    gle: GLE | None
    barostat: str
    mode: str
    address: str
    port: int
    batch: int
    start: str
    model: str
    pes: str
    periodic: tuple[bool, bool, bool]
    orthogonal: bool
    title: str
    commands: tuple[str, ...]


def input_text(values: InputValues) -> str:
    """The whole input file.

    Parameters
    ----------
    values : InputValues

    Returns
    -------
    str
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"xml": escape, "number": "{:.12g}".format, "spaced": _spaced, "instruction": _instruction,
                            "matrices": _matrices}
    template = environment.from_string((files("soapgap.ipi.starter") / "input.xml.j2").read_text(encoding="utf-8"))
    text = template.render(v=values, many=values.n_beads > 1, often=max(1, values.stride // 10), properties=_properties(values),
                           pbc="".join("T" if flag else "F" for flag in values.periodic),
                           lengths_only=values.barostat == "flexible" and values.orthogonal)
    return _COMMENT.sub(lambda found: indent(comment(re.sub(r"\s*\n\s*", " ", found[2])), found[1]), text)


def comment(text: str) -> str:
    """An XML comment, wrapped. Two hyphens in a row are forbidden there and are set apart."""
    return f"<!-- {fill(_spaced(text), _WIDTH, subsequent_indent='     ', break_long_words=False, break_on_hyphens=False)} -->"


def _spaced(text: str) -> str:
    return re.sub("-(?=-)", "- ", text)


def _instruction(lines: tuple[str, ...]) -> str:
    # A processing instruction, because options begin with the two hyphens that a comment must not hold. It ends at "?>",
    # which a file name could hold: inside the shell's quotes it may be cut in two.
    safe = [line.replace("?>", "?''>") for line in lines]
    return "\n".join(["<?commands", *(f"     {line}" for line in safe), "?>"])


def _properties(v: InputValues) -> str:
    names = ["step", "time{picosecond}", "conserved{electronvolt}", "temperature{kelvin}", "potential{electronvolt}"]
    names.append("kinetic_cv{electronvolt}" if v.n_beads > 1 else "kinetic_md{electronvolt}")
    if all(v.periodic):
        names.append("pressure_cv{gigapascal}" if v.n_beads > 1 else "pressure_md{gigapascal}")
    if v.ensemble == "npt":
        names += ["volume{angstrom3}", "cell_h{angstrom}"]
    return fill("[ " + ", ".join(names) + " ]", _WIDTH)


def _matrices(values: np.ndarray, name: str, units: str) -> str:
    rows = [", ".join(map(repr, row.tolist())) for row in values.reshape(-1, values.shape[-1])]
    attribute = f" units={quoteattr(units)}" if units else ""
    return f'<{name} shape="{values.shape}"{attribute}>\n[ ' + ",\n".join(rows) + f" ]\n</{name}>"
