"""What a potential of another program gives for one structure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["ExternalValues"]


class ExternalValues(NamedTuple):
    """What external potentials give for one structure.

    Attributes
    ----------
    energy : float
        eV.
    forces : ndarray, shape (n_atoms, 3)
        eV/Angstrom.
    virial : ndarray, shape (3, 3), or None
        W = -dE/dstrain, eV; None if the potential does not give it.
    energies : ndarray, shape (n_atoms,), or None
        Energies of the atoms, eV, which sum to `energy`; None if the potential does not give it.
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray | None
    energies: np.ndarray | None
