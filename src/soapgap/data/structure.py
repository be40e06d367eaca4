"""One frame of the data: what is known about it, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from soapgap.data.observable import OBSERVABLES, present
from soapgap.neighbours.shared import SharedLists


@dataclass(frozen=True)
class Structure:
    """One frame: what is known about it, and how well.

    Attributes
    ----------
    atoms : Atoms
        Positions, cell, periodicity and species only.
    where : str
        File and frame number, for messages.
    config_type : str
        Label of the frame ("default" if it has none).
    known : dict of str to object
        Observations by the name of the observable, and what its rows need beside them: energy (eV), local_energy (n_atoms,)
        (eV), force (n_atoms, 3) (eV/Angstrom), virial (3, 3), symmetric, W = -dE/dstrain (eV), curvature (n,) e^T H e
        (eV/Angstrom^2) along directions (n, n_atoms, 3), each of length 1.
    overrides : dict of str to ndarray
        The noise keys of the frame itself (`energy_sigma`, ...; `noise`).
    weight : float
        How much the observations count in the sum of squares.
    lists : SharedLists or None
        Where the neighbour list of the atoms is kept.
    """

    atoms: Atoms
    where: str
    config_type: str
    known: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, np.ndarray] = field(default_factory=dict)
    weight: float = 1.0
    lists: SharedLists | None = field(default=None, compare=False, repr=False)

    energy = property(lambda self: self.known.get("energy"), doc="eV, or None.")
    local_energies = property(lambda self: self.known.get("local_energy"), doc="(n_atoms,) eV, or None.")
    forces = property(lambda self: self.known.get("force"), doc="(n_atoms, 3) eV/Angstrom, or None.")
    virial = property(lambda self: self.known.get("virial"), doc="(3, 3) eV, or None.")
    curvatures = property(lambda self: self.known.get("curvature"), doc="(n,) eV/Angstrom^2, or None.")
    directions = property(lambda self: self.known.get("directions"), doc="(n, n_atoms, 3), or None.")

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of every atom."""
        return self.atoms.get_chemical_symbols()

    def used(self, name: str) -> np.ndarray:
        """Atoms that the mask of an observable leaves, (n_atoms,)."""
        return OBSERVABLES[name].used(self)

    @property
    def total_energy(self) -> float | None:
        """The energy (eV), or the sum of the local energies if all are known, else None."""
        if self.energy is None and self.local_energies is not None and self.used("local_energy").all():
            return float(self.local_energies.sum())
        return self.energy

    @property
    def n_rows(self) -> int:
        """Number of rows that the observations make in the design matrix."""
        return sum(observable.n_rows(self) for observable in present(self))

    @property
    def effort(self) -> int:
        """What the rows cost, in atoms: a curvature takes the gradients of the whole structure twice."""
        return len(self.atoms) * (1 + sum(observable.evaluations(self) for observable in present(self)))
