"""What is remembered of the geometry of a frame: a few numbers instead of the atoms.

The fingerprint of N atoms with fractional coordinates s is

    psi_m = sqrt(2 / 3N) sum_(i,a) cos(2 pi s_ia + phi_mia),     m = 1 .. 8,

with fixed random phases phi. It does not see which periodic image of an atom is in the file, and for small differences it is a
random projection: the expected |psi - psi'|^2 is 8 (2 pi)^2 times the mean square of the differences of s. Frames that
are near each other are so found among 10^5 without keeping their atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import complete_cell

from soapgap.neighbours import neighbour_arrays

N_PROJECTIONS = 8
OPEN_LENGTH = 20.0  # Angstrom: what stands for the cell vector of a direction without periodicity
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
    """The eight numbers psi of the module docstring.

    Parameters
    ----------
    fractional : (n_atoms, 3), in units of the cell vectors
    """
    n = len(fractional)
    return np.sqrt(2.0 / (3 * n)) * np.cos(2.0 * np.pi * fractional + _phases(n)).sum(axis=(1, 2))


def length_scale(cell: np.ndarray) -> float:
    """What a difference of fingerprints must be multiplied by to become a displacement (A, root mean square)."""
    return abs(np.linalg.det(cell)) ** (1.0 / 3.0) / (2.0 * np.pi * np.sqrt(N_PROJECTIONS))


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
