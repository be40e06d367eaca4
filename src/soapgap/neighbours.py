"""From atoms to pairs: the only file that knows the neighbour-list library (vesin)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from vesin import NeighborList

from soapgap.errors import InputError

__all__ = ["NeighbourArrays", "NeighbourCache", "neighbour_arrays"]


@dataclass
class NeighbourArrays:
    """A full neighbour list in compressed rows: every atom is a centre, every periodic image a neighbour of its own.

    Attributes
    ----------
    centre_atom : ndarray, int64, shape (n_centres,)
        Atom that each centre is.
    centre_species : ndarray, int32, shape (n_centres,)
        Index into the model's species.
    offsets : ndarray, int64, shape (n_centres + 1,)
        Neighbours of centre i are entries offsets[i] .. offsets[i + 1] - 1.
    neighbour_atom, neighbour_species : ndarray, int64 and int32, shape (n_pairs,)
        The atom that the neighbour is an image of, and its species.
    vectors : ndarray, float64, shape (n_pairs, 3)
        r_ij = r_j - r_i in Angstrom.
    n_atoms : int
    """

    centre_atom: np.ndarray
    centre_species: np.ndarray
    offsets: np.ndarray
    neighbour_atom: np.ndarray
    neighbour_species: np.ndarray
    vectors: np.ndarray
    n_atoms: int


def species_indices(atoms: Atoms, species: Sequence[str]) -> np.ndarray:
    """Index of each atom's element in `species`, int32.

    Raises
    ------
    InputError
        If an element is not among them.
    """
    of_number = np.full(len(chemical_symbols), -1, dtype=np.int32)
    for index, symbol in enumerate(species):
        of_number[chemical_symbols.index(symbol)] = index
    indices = of_number[atoms.numbers]
    if (indices < 0).any():
        strange = sorted({chemical_symbols[z] for z in atoms.numbers[indices < 0]})
        raise InputError(f"the structure has {', '.join(strange)}, the model knows {', '.join(species)}: "
                         "use a model that was trained for all elements of the structure")
    return indices


def _periodic_pairs(atoms: Atoms, cutoff: float, ordered: bool):
    """Centre, neighbour and translation of all pairs within the cutoff, sorted by centre; if `ordered`, also within it."""
    positions, cell = atoms.positions, atoms.cell.array
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise InputError("the structure has a position or cell vector that is not finite: expected numbers in Angstrom; "
                         "check where the structure comes from")
    pbc = np.asarray(atoms.pbc, dtype=bool)
    if pbc.any() and np.linalg.matrix_rank(cell[pbc]) < pbc.sum():
        raise InputError(f"periodic along {pbc.tolist()} but the cell is {cell.tolist()}: give a cell vector for every "
                         "periodic direction, or set pbc to False there")
    box = complete_cell(np.where(pbc[:, None], cell, 0.0)) if not pbc.all() else cell
    positions = _without_wide_gaps(positions, box[~pbc], cutoff)
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    i, j, shift = search.compute(points=positions, box=box, periodic=pbc, quantities="ijS")
    if ordered:
        order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
        i, j, shift = i[order], j[order], shift[order]
    # not shift @ box: numpy's BLAS would leave its threads spinning for 20 ms, on the cores that the evaluator wants next
    return i.astype(np.int64), j.astype(np.int64), np.einsum("pk,kx->px", shift.astype(np.float64), box)


def _without_wide_gaps(positions: np.ndarray, directions: np.ndarray, cutoff: float) -> np.ndarray:
    """Positions with the same pairs, moved together along unit vectors without periodicity where gaps exceed the cutoff.

    The search shares space out in cells: one atom that flew 10^5 Angstrom off a slab would cost it minutes or its life.
    """
    for direction in directions:
        along = positions @ direction
        if len(along) == 0 or np.ptp(along) < 50.0 * cutoff:
            continue
        order = np.argsort(along, kind="stable")
        excess = np.zeros(len(along))
        excess[order[1:]] = np.cumsum(np.maximum(np.diff(along[order]) - 1.1 * cutoff, 0.0))
        positions = positions - excess[:, None] * direction
    return positions


def _vectors(positions: np.ndarray, counts: np.ndarray, j: np.ndarray, translation: np.ndarray, out=None) -> np.ndarray:
    """r_j - r_i + translation; written into `out` if given, because fresh memory costs six times the arithmetic."""
    out = np.empty((len(j), 3)) if out is None else out
    np.take(positions, j, axis=0, out=out, mode="clip")  # indices are valid; "raise" would make a copy
    np.subtract(out, np.repeat(positions, counts, axis=0), out=out)
    return np.add(out, translation, out=out)


def neighbour_arrays(atoms: Atoms, cutoff: float, species: Sequence[str], ordered: bool = False) -> NeighbourArrays:
    """Full neighbour list of a structure in any cell: triclinic, smaller than the cutoff, partly or not periodic.

    Parameters
    ----------
    atoms : ase.Atoms
    cutoff : float
        Angstrom.
    species : sequence of str
        Chemical symbols in the model's order.
    ordered : bool
        Neighbours of a centre in the order of their atoms, then of their cells (for models that need it, `needs_order`).

    Raises
    ------
    InputError
        If an element is not in `species`, or a position or cell vector is unusable.
    """
    kinds = species_indices(atoms, species)
    i, j, translation = _periodic_pairs(atoms, cutoff, ordered)
    n = len(atoms)
    offsets = np.zeros(n + 1, dtype=np.int64)
    counts = np.bincount(i, minlength=n)
    np.cumsum(counts, out=offsets[1:])
    arrays = NeighbourArrays(np.arange(n, dtype=np.int64), kinds, offsets, j, kinds[j],
                             _vectors(atoms.positions, counts, j, translation), n)
    arrays._counts, arrays._translation = counts, translation
    return arrays


class NeighbourCache:
    """A neighbour list with a skin, made anew only when it must be.

    A list for cutoff + skin stays complete until some atom has moved by more than skin/2 since it was made. It is also
    dropped when the cell, the periodicity, the species or the number of atoms change.

    Attributes
    ----------
    n_built : int
        How often a list was made.
    """

    def __init__(self, cutoff: float, species: Sequence[str], skin: float, ordered: bool = False):
        self.cutoff, self.species, self.skin, self.ordered = cutoff, tuple(species), skin, ordered
        self.n_built = 0
        self._arrays = None

    def update(self, atoms: Atoms) -> NeighbourArrays:
        """The neighbours of `atoms`, with current vectors (pairs beyond the cutoff may be among them).

        The next call may overwrite the arrays that this one returns.
        """
        if not self._still_valid(atoms):
            self._arrays = neighbour_arrays(atoms, self.cutoff + self.skin, self.species, self.ordered)
            self._positions, self._cell = atoms.positions.copy(), atoms.cell.array.copy()
            self._pbc, self._numbers = atoms.pbc.copy(), atoms.numbers.copy()
            self.n_built += 1
        else:
            a = self._arrays
            _vectors(atoms.positions, a._counts, a.neighbour_atom, a._translation, out=a.vectors)
        return self._arrays

    def _still_valid(self, atoms: Atoms) -> bool:
        if self._arrays is None or self.skin <= 0.0 or len(atoms) != len(self._numbers):
            return False
        if not (np.array_equal(atoms.numbers, self._numbers) and np.array_equal(atoms.pbc, self._pbc)
                and np.array_equal(atoms.cell.array, self._cell)):
            return False
        moved = atoms.positions - self._positions
        # not (x <= limit): a position that is not a number also ends the list's life
        return bool(np.einsum("ij,ij->i", moved, moved).max(initial=0.0) <= (0.5 * self.skin) ** 2)
