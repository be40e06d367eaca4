"""Neighbour lists that are kept: made with a skin, used as long as they are complete, several of them side by side."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from soapgap.neighbours.arrays import NeighbourArrays, complete_box, neighbour_arrays

__all__ = ["NeighbourCache", "outgrown", "still_complete", "to_try"]

MEMORY = 1 << 30  # bytes that the lists of one cache may hold together
PATIENCE = 8  # a list may fail this many times the number of lists; beads that take turns need 2


def still_complete(before: np.ndarray, box_before: np.ndarray, positions: np.ndarray, box: np.ndarray, pbc: np.ndarray,
                   cutoff: float, skin: float) -> np.ndarray | None:
    """Whether a list of pairs within cutoff + skin still has all pairs within the cutoff.

    With x_0, h_0 the positions and cell then and x, h those now, F = h_0^-1 h is how the cell was strained, and d = x - x_0 F
    (less lattice vectors) how far each atom moved beside that. Two atoms that are not in the list were more than r_c + skin
    apart; now they are at least sigma_min(F) (r_c + skin) - 2 max |d| apart. While this is r_c or more, nothing is missing.

    Parameters
    ----------
    before, positions : ndarray, shape (n_atoms, 3)
        Angstrom, then and now.
    box_before, box : ndarray, shape (3, 3)
        Cells as `complete_box` gives them, then and now.
    pbc : ndarray of 3 bool
    cutoff, skin : float
        Angstrom.

    Returns
    -------
    ndarray, shape (n_atoms, 3), or None
        The positions, less lattice vectors where atoms were put to the other side of the cell: those to use with the list.
    """
    stretch, moved = 1.0, positions - before
    if not np.array_equal(box, box_before):
        strain = np.linalg.solve(box_before, box)
        stretch = np.linalg.svd(strain, compute_uv=False)[-1] if np.isfinite(strain).all() else 0.0
        moved = positions - np.einsum("nk,kx->nx", before, strain)
    limit = 0.5 * (stretch * (cutoff + skin) - cutoff)
    if not limit > 0.0:
        return None
    if _within(moved, limit):
        return positions
    if not (pbc.any() and np.isfinite(moved).all()):
        return None
    jumps = np.rint(np.einsum("nk,kx->nx", moved, np.linalg.inv(box))) * pbc
    if not jumps.any() or not _within(moved - (jumps := np.einsum("nk,kx->nx", jumps, box)), limit):
        return None
    return positions - jumps


def _within(moved: np.ndarray, limit: float) -> bool:
    # written so that a position that is not a number is not within anything
    return bool(np.einsum("ij,ij->i", moved, moved).max(initial=0.0) <= limit**2)


def to_try(kept: list) -> list:
    """Lists, the latest use last, in the order in which they are worth a trial.

    The last one first, which beads that are close together share; then the one not used for longest: beads take turns.
    """
    return kept[-1:] + kept[:-1]


def outgrown(distances: Sequence[float], skin: float) -> int | None:
    """The list, if any, that a structure used until it needed a new one.

    Without this the outgrown lists of all beads would be tried for each bead at every step.

    Parameters
    ----------
    distances : sequence of float
        For each list, how far the structure is from the one that used the list last (largest difference of a coordinate).
    skin : float
        Angstrom. Within a quarter of it the new list serves both, so it is safe to drop the old one.
    """
    nearest = min(range(len(distances)), key=distances.__getitem__, default=None)
    return nearest if nearest is not None and distances[nearest] <= 0.25 * skin else None


class _KeptList:
    """A list for cutoff + skin, and the structure that it was made for."""

    def __init__(self, atoms: Atoms, cutoff: float, skin: float, species: Sequence[str]):
        self.arrays = neighbour_arrays(atoms, cutoff + skin, species)
        self.cutoff, self.skin = cutoff, skin
        self.positions, self.numbers, self.pbc = atoms.positions.copy(), atoms.numbers.copy(), np.array(atoms.pbc, bool)
        self.latest = self.positions.copy()  # of the structure that used it last
        self.misses = 0  # structures in a row that could not use it
        self.box = complete_box(atoms.cell.array.copy(), self.pbc)

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays that grow with the number of pairs."""
        a = self.arrays
        return sum(x.nbytes for x in (a.neighbour_atom, a.neighbour_species, a.vectors, a.shift))

    def follow(self, atoms: Atoms) -> bool:
        """Brings the vectors up to date, or says that the list is no longer complete."""
        if not (np.array_equal(atoms.numbers, self.numbers) and np.array_equal(atoms.pbc, self.pbc)):
            return False
        cell = atoms.cell.array
        box = self.box if not self.pbc.any() else cell if self.pbc.all() else complete_box(cell, self.pbc)
        positions = still_complete(self.positions, self.box, atoms.positions, box, self.pbc, self.cutoff, self.skin)
        if positions is None:
            return False
        self.arrays.move(positions, box)
        np.copyto(self.latest, atoms.positions)
        self.misses = 0
        return True

    def distance(self, atoms: Atoms) -> float:
        """How far the atoms are from those that used the list last: the largest difference of a coordinate."""
        if not np.array_equal(atoms.numbers, self.numbers):
            return np.inf
        return float(np.abs(atoms.positions - self.latest).max(initial=0.0))


class NeighbourCache:
    """Neighbour lists with a skin, made again only when necessary.

    A list stays complete until some atom has moved by about skin/2 since it was made; a change of the cell that moves all
    atoms along takes its part of the skin, lattice vectors do not count. Several lists serve several replicas of a structure,
    such as the beads of a ring polymer, in any order: each structure takes a list that is complete for it.

    Parameters
    ----------
    cutoff, skin : float
        Angstrom. Without a skin nothing is kept.
    species : sequence of str
        Chemical symbols in the model's order.
    n_lists : int
        Number of lists that are kept, or that of the structures last given together, if larger. The one that was not used for
        longest goes first. They also go when all together hold more than 1 GiB.

    Attributes
    ----------
    n_built : int
        How often a list was made.

    Notes
    -----
    One thread at a time: the lists that a call returns are those that the next call changes.
    """

    def __init__(self, cutoff: float, species: Sequence[str], skin: float, n_lists: int = 1):
        self.cutoff, self.species, self.skin, self.n_lists = cutoff, tuple(species), skin, n_lists
        self.n_built = 0
        self._lists: list[_KeptList] = []  # the last used one comes last

    def __getstate__(self) -> dict:
        """A copy starts without lists: another thread may be changing these."""
        return self.__dict__ | {"_lists": []}

    def update(self, atoms: Atoms) -> NeighbourArrays:
        """The neighbours of `atoms`, with current vectors (pairs beyond the cutoff may be among them).

        The next call may overwrite the arrays that this one returns.
        """
        return self.update_many([atoms])[0]

    def update_many(self, frames: Sequence[Atoms]) -> list[NeighbourArrays]:
        """The neighbours of several structures, each with arrays of its own."""
        used: list[_KeptList] = []
        for atoms in frames:
            used.append(self._find(atoms, used) or self._build(atoms, max(self.n_lists, len(frames)), used))
        return [one.arrays for one in used]

    def _find(self, atoms: Atoms, used: list[_KeptList]) -> _KeptList | None:
        for one in to_try([one for one in self._lists if one not in used]):
            if one.follow(atoms):
                self._lists.remove(one)
                self._lists.append(one)
                return one
            one.misses += 1
            if one.misses > PATIENCE * len(self._lists):  # its structure has found another list and will not come back to it
                self._lists.remove(one)
        return None

    def _build(self, atoms: Atoms, n_lists: int, used: list[_KeptList]) -> _KeptList:
        one = _KeptList(atoms, self.cutoff, self.skin, self.species)
        self.n_built += 1
        if self.skin > 0.0:
            last = outgrown([np.inf if other in used else other.distance(atoms) for other in self._lists], self.skin)
            if last is not None:
                del self._lists[last]
            self._lists.append(one)
            while len(self._lists) > 1 and (len(self._lists) > n_lists or self._held() > MEMORY):
                del self._lists[0]
        return one

    def _held(self) -> int:
        return sum(one.n_bytes for one in self._lists)
