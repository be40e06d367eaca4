"""External potentials at work: energies, forces, virials and energies of the atoms of structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from soapgap.errors import InputError
from soapgap.model.external.permission import folders_of, require_permission
from soapgap.model.external.specification import AsePotential, LammpsPotential, Potential, check_potentials
from soapgap.model.external.values import ExternalValues

__all__ = ["External"]


def _sum(first, second):
    return None if first is None or second is None else first + second


class External:
    """The sum of external potentials.

    All LAMMPS potentials are one LAMMPS input with `hybrid/overlay`, as they are for a user, so that long-range solvers and
    charges act in the same way.

    Parameters
    ----------
    potentials : sequence of Potential
        Of a model.
    species : sequence of str
        Of the model: the atom types of LAMMPS.
    allow : bool
        Whether foreign code may run (`soapgap.model.external.permission`).
    folders : sequence of Path
        Where files that potentials name are looked for, before the current folder and LAMMPS_POTENTIALS.

    Raises
    ------
    InputError
        Words that cannot be used, code that is not allowed, a program or module that is not installed.
    """

    def __init__(self, potentials: Sequence[Potential], species: Sequence[str], allow: bool = False,
                 folders: Sequence[Path] = ()) -> None:
        check_potentials(potentials, species)
        for potential in potentials:
            require_permission(potential, allow)
        self._engines = list(_engines(potentials, list(species), [*folders, *folders_of(potentials)]))

    def __bool__(self) -> bool:
        return bool(self._engines)

    def compute(self, atoms: Atoms) -> ExternalValues:
        """The sum for one structure; see `parts`."""
        total = ExternalValues(0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3)), np.zeros(len(atoms)))
        for _, values in self.parts(atoms):
            total = ExternalValues(*(_sum(a, b) for a, b in zip(total, values, strict=True)))
        return total

    def parts(self, atoms: Atoms) -> Iterator[tuple[str, ExternalValues]]:
        """Name and values of each potential; those of LAMMPS together.

        Raises
        ------
        InputError
            The potential cannot be computed for this structure, or is not finite.
        """
        for engine in self._engines:
            values = engine.compute(atoms)
            numbers = [np.ravel(v) for v in values if v is not None]
            if not all(np.isfinite(v).all() for v in numbers):
                raise InputError(f"{engine.label}: energy, forces or virial are not finite; are two atoms on one site?")
            yield engine.label, values


def _engines(potentials: Sequence[Potential], species: list[str], folders: Sequence[Path]) -> Iterator:
    styles = [p for p in potentials if isinstance(p, LammpsPotential)]
    if styles:
        from soapgap.model.external.lammps_engine import LammpsEngine

        yield LammpsEngine(styles, species, folders)
    for potential in potentials:
        if isinstance(potential, AsePotential):
            from soapgap.model.external.ase_engine import AseEngine

            yield AseEngine(potential)
