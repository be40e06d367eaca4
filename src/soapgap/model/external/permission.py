"""Which foreign code a model file may start.

A model file is data: whoever opens one does not expect it to run programs. Pair styles of LAMMPS that run scripts and
calculators other than a few of ASE's own, which are formulas in Python, are therefore started only if the user says so. The
configuration of a fit is the user's own word: a potential that is read from one carries that with it (`named_by_the_user`), as
long as it is in memory. The entry in a model file does not, whoever wrote the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soapgap.errors import InputError
from soapgap.model.external.specification import LammpsPotential, Potential

__all__ = ["VARIABLE", "folders_of", "named_by_the_user", "require_permission"]

VARIABLE = "SOAPGAP_ALLOW_EXTERNAL"

_KNOWN_CALCULATORS = {"ase.calculators.acn:ACN", "ase.calculators.eam:EAM", "ase.calculators.emt:EMT",
                      "ase.calculators.lj:LennardJones", "ase.calculators.morse:MorsePotential",
                      "ase.calculators.tip3p:TIP3P", "ase.calculators.tip4p:TIP4P"}
_SCRIPTED_STYLES = ("python", "mliap", "kim")


def named_by_the_user(potentials: Sequence[Potential], folder: Path) -> list[Potential]:
    """The same potentials, which may run code of their own.

    Parameters
    ----------
    potentials : sequence of LammpsPotential and AsePotential
        That the user named, or allowed.
    folder : Path
        Where the files that they name lie.

    Returns
    -------
    list of LammpsPotential and AsePotential
    """
    return [replace(potential, named_in=folder) for potential in potentials]


def folders_of(potentials: Sequence[Potential]) -> list[Path]:
    """Where the files of potentials lie that the user named, each folder once."""
    return list(dict.fromkeys(potential.named_in for potential in potentials if potential.named_in is not None))


def require_permission(potential: Potential, allow: bool) -> None:
    """Refuse a potential that runs code of its own, unless the user named or allows it.

    Parameters
    ----------
    potential : LammpsPotential or AsePotential
    allow : bool
        The user's word as an argument; the other way is the environment variable, which holds names of modules or pair styles,
        separated by commas, or `all`.

    Raises
    ------
    InputError
        It is not allowed; the message says how to allow it.
    """
    if isinstance(potential, LammpsPotential):
        name, harmless = potential.style, potential.style.split("/")[0] not in _SCRIPTED_STYLES
    else:
        name, harmless = potential.calculator.split(":")[0], potential.calculator in _KNOWN_CALCULATORS
    named = [word.strip() for word in os.environ.get(VARIABLE, "").split(",")]
    if harmless or allow or "all" in named or name in named or potential.named_in is not None:
        return
    raise InputError(f"the model needs to run code of {name} ({potential.label}); if you trust the model file, allow it: "
                     f"allow_external=True in Python, --allow-external on the command line, or {VARIABLE}={name} in the "
                     "environment")
