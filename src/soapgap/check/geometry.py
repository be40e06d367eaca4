"""What is remembered of the geometry of a frame: a few numbers instead of the atoms.

The fingerprint of N atoms with fractional coordinates s is

    psi_ma = sqrt(2 / N) sum_i cos(2 pi s_ia + phi_mia),     m = 1 .. 8,     a = 1 .. 3,

with fixed random phases phi. It does not see which periodic image of an atom is in the file, and for small differences it is a
random projection: with the lengths L_a of the cell vectors, the expected square of

    sum_a L_a (psi_ma - psi'_ma) / (2 pi),     summed over m,

is 8 times the mean square of the displacements (A^2; of their components along the cell vectors, if those are not at right
angles). Frames that are near each other are so found among 10^5 without keeping their atoms. Each direction has its own
numbers because cells with a surface are long in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import complete_cell

from soapgap.neighbours.arrays import neighbour_arrays

N_PROJECTIONS = 8
OPEN_LENGTH = 20.0  # Angstrom: what is used as the cell vector of a direction without periodicity
CONTACT_CUTOFF, CONTACT_FACTOR = 3.0, 1.3  # Angstrom, and in units of the largest sum of covalent radii of the frame


@dataclass(frozen=True)
class Contacts:
    """Shortest distance (A) of the pairs of species within reach, and the largest asymmetry of an atom's surroundings.

    The asymmetry of atom i is |sum_j (1 - r_ij^2 / cutoff^2)^2 r_ij / |r_ij||: zero where symmetry makes forces vanish.
    """

    shortest: tuple[tuple[int, int, float], ...]
    asymmetry: float


def reference_cell(atoms: Atoms) -> np.ndarray:
    """Cell (A) for fractional coordinates: that of the frame, with vectors of 20 A where it is not periodic."""
    pbc = np.asarray(atoms.pbc, bool)
    if pbc.all():
        return atoms.cell.array.copy()
    cell = complete_cell(np.where(pbc[:, None], atoms.cell.array, 0.0))
    cell[~pbc] *= OPEN_LENGTH / np.linalg.norm(cell[~pbc], axis=1)[:, None]
    return cell


@lru_cache(maxsize=64)
def _phases(n_atoms: int) -> np.ndarray:
    return np.random.default_rng(n_atoms).uniform(0.0, 2.0 * np.pi, (N_PROJECTIONS, n_atoms, 3))


def fingerprint(fractional: np.ndarray) -> np.ndarray:
    """The numbers psi of the module docstring, (8, 3).

    Parameters
    ----------
    fractional : ndarray, shape (n_atoms, 3)
        In units of the cell vectors.
    """
    n = len(fractional)
    return np.sqrt(2.0 / n) * np.cos(2.0 * np.pi * fractional + _phases(n)).sum(axis=1)


def as_length(psi: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Fingerprints in Angstrom, (8,): the length of a difference is the displacement of an atom, root mean square.

    Parameters
    ----------
    psi : ndarray, shape (8, 3)
        A fingerprint or the difference of two.
    cell : ndarray, shape (3, 3)
        Angstrom.
    """
    return psi @ np.linalg.norm(cell, axis=1) / (2.0 * np.pi * np.sqrt(N_PROJECTIONS))


def contacts(atoms: Atoms) -> Contacts:
    """Shortest distances by pair of atomic numbers, and the asymmetry, of one frame.

    Raises
    ------
    InputError
        A periodic direction without a cell vector.
    """
    numbers = atoms.numbers
    kinds = np.unique(numbers)
    cutoff = max(CONTACT_CUTOFF, CONTACT_FACTOR * 2.0 * max(covalent_radii[z] for z in kinds))
    symbols = [Atoms([z]).get_chemical_symbols()[0] for z in kinds]
    pairs = neighbour_arrays(atoms, cutoff, symbols)
    if len(pairs.vectors) == 0:
        return Contacts((), 0.0)
    r = np.linalg.norm(pairs.vectors, axis=1)
    centre = np.repeat(np.arange(len(atoms)), np.diff(pairs.offsets))
    table = np.full((len(kinds), len(kinds)), np.inf)
    np.minimum.at(table, (pairs.centre_species[centre], pairs.neighbour_species), r)
    found = tuple((int(kinds[i]), int(kinds[j]), float(table[i, j]))
                  for i in range(len(kinds)) for j in range(i, len(kinds)) if np.isfinite(table[i, j]))
    directions = pairs.vectors * ((1.0 - (r / cutoff) ** 2) ** 2 / np.maximum(r, 1e-12))[:, None]
    pull = np.zeros((len(atoms), 3))
    np.add.at(pull, centre, directions)
    return Contacts(found, float(np.linalg.norm(pull, axis=1).max()))
