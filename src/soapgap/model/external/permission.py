"""Which foreign code a model file may start.

A model file is data: whoever opens one does not expect it to run programs. Pair styles of LAMMPS that run scripts and
calculators other than a few of ASE's own, which are formulas in Python, are therefore started only if the user says so. The
configuration of a fit is the user's own word: what it names is trusted in that process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from soapgap.errors import InputError
from soapgap.model.external.specification import LammpsPotential, Potential

__all__ = ["VARIABLE", "require_permission", "trust", "trusted_folders"]

VARIABLE = "SOAPGAP_ALLOW_EXTERNAL"

_trusted: dict[str, Path] = {}

_KNOWN_CALCULATORS = {"ase.calculators.acn:ACN", "ase.calculators.eam:EAM", "ase.calculators.emt:EMT",
                      "ase.calculators.lj:LennardJones", "ase.calculators.morse:MorsePotential",
                      "ase.calculators.tip3p:TIP3P", "ase.calculators.tip4p:TIP4P"}
_SCRIPTED_STYLES = ("python", "mliap", "kim")


def _key(potential: Potential) -> str:
    return json.dumps(potential.as_json(), sort_keys=True)


def trust(potentials: Sequence[Potential], folder: Path) -> None:
    """Let potentials that the user named run in this process; the files that they name lie in this folder."""
    _trusted.update({_key(potential): folder for potential in potentials})


def trusted_folders(potentials: Sequence[Potential]) -> list[Path]:
    """Where the files of trusted potentials lie."""
    return list(dict.fromkeys(_trusted[key] for potential in potentials if (key := _key(potential)) in _trusted))


def require_permission(potential: Potential, allow: bool) -> None:
    """Refuse a potential that runs code of its own, unless the user allows it.

    Parameters
    ----------
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
    if harmless or allow or "all" in named or name in named or _key(potential) in _trusted:
        return
    raise InputError(f"the model needs to run code of {name} ({potential.label}); if you trust the model file, allow it: "
                     f"allow_external=True in Python, --allow-external on the command line, or {VARIABLE}={name} in the "
                     "environment")
