"""From atoms to pairs: the only file that knows the neighbour-list library (vesin)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from vesin import NeighborList

from soapgap._evaluator import pair_vectors, sort_pairs
from soapgap.errors import InputError

__all__ = ["NeighbourArrays", "complete_box", "concatenate", "find_pairs", "neighbour_arrays", "species_indices"]

_FLAT = 1e-12  # of the longest: heights of a cell below this are rounding errors of vectors in one plane


@dataclass
class NeighbourArrays:
    """A full neighbour list in compressed rows: every atom is a centre, every periodic image a neighbour of its own.

    The neighbours of a centre are in the order of their atoms, then of their cells. So the same pairs give the same bits,
    whenever and wherever the list was made; some models need that order (`needs.order`).

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
    shift : ndarray, int64, shape (n_pairs, 3), or None
        Lattice vectors between the two atoms as they are given: r_ij = r_j - r_i + shift . cell.
    n_atoms : int
    """

    centre_atom: np.ndarray
    centre_species: np.ndarray
    offsets: np.ndarray
    neighbour_atom: np.ndarray
    neighbour_species: np.ndarray
    vectors: np.ndarray
    n_atoms: int
    shift: np.ndarray | None = None

    def move(self, positions: np.ndarray, box: np.ndarray) -> None:
        """Overwrites the vectors with those of other positions and another cell (as `complete_box` gives it)."""
        pair_vectors(self, np.ascontiguousarray(positions), np.ascontiguousarray(box))


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


def complete_box(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """The cell with vectors of length 1, normal to the others, in directions that are not periodic.

    Raises
    ------
    InputError
        If the vectors of the periodic directions are missing, dependent or not finite.
    """
    if not np.isfinite(cell).all():
        raise InputError(f"the cell {cell.tolist()} is not finite: expected numbers in Angstrom; check where the structure "
                         "comes from")
    if pbc.any() and np.linalg.matrix_rank(cell[pbc], tol=_FLAT * np.abs(cell[pbc]).max()) < pbc.sum():
        fault = ""
        if cell[pbc].any(axis=1).all():
            lie = "in one plane" if pbc.sum() == 3 else "on one line"
            fault = f", whose {pbc.sum()} vectors of periodic directions lie {lie}"
        raise InputError(f"periodic along {pbc.tolist()} but the cell is {cell.tolist()}{fault}: give a cell vector for every "
                         "periodic direction, independent of the others, or set pbc to False there")
    return complete_cell(np.where(pbc[:, None], cell, 0.0)) if not pbc.all() else cell


def find_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float):
    """All pairs of atoms within a cutoff, in any cell, wherever the atoms are: they need not lie inside the cell.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, 3)
        Angstrom.
    cell : ndarray, shape (3, 3)
        Rows are lattice vectors; those of directions that are not periodic are not looked at.
    pbc : sequence of 3 bool
    cutoff : float
        Angstrom.

    Returns
    -------
    offsets : ndarray, int64, shape (n_atoms + 1,)
        Pairs of atom i are entries offsets[i] .. offsets[i + 1] - 1 of the others.
    j : ndarray, int64, shape (n_pairs,)
        Every pair occurs in both directions, an atom and its own images too. Those of an atom are sorted by j, then by the
        cell of the image.
    shift : ndarray, int64, shape (n_pairs, 3)
        r_ij = r_j - r_i + shift . cell.

    Raises
    ------
    InputError
        A position is not finite, or the cell is unusable.
    """
    pbc = np.asarray(pbc, dtype=bool)
    return _pairs_in_box(positions, complete_box(cell, pbc), pbc, cutoff)


def _pairs_in_box(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, cutoff: float):
    """`find_pairs` in a cell that is complete already."""
    if not np.isfinite(positions).all():
        raise InputError("the structure has a position that is not finite: expected numbers in Angstrom; check where the "
                         "structure comes from")
    # einsum, not @: numpy's BLAS would leave its threads spinning for 20 ms, on the cores that the evaluator needs next
    home = np.floor(np.einsum("nk,kx->nx", positions, np.linalg.inv(box))) * pbc
    wrapped = positions - np.einsum("nk,kx->nx", home, box)
    # each pair once, which is a shorter search: `sort_pairs` adds the other direction
    search = NeighborList(cutoff=cutoff, full_list=False, sorted=False, n_threads=1)
    i, j, shift = search.compute(points=_without_wide_gaps(wrapped, box[~pbc], cutoff), box=box, periodic=pbc,
                                 quantities="ijS")
    # the library's size_t, looked at as int64: pages of fresh memory cost more than what is done with them
    offsets, j, shift = sort_pairs(len(positions), i.view(np.int64), j.view(np.int64), shift)
    if home.any():
        home = home.astype(np.int64)
        shift += np.repeat(home, np.diff(offsets), axis=0)
        shift -= np.take(home, j, axis=0)  # indexing with an array of indices is three times slower
    return offsets, j, shift


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


def neighbour_arrays(atoms: Atoms, cutoff: float, species: Sequence[str]) -> NeighbourArrays:
    """Full neighbour list of a structure in any cell: triclinic, smaller than the cutoff, partly or not periodic.

    Parameters
    ----------
    atoms : ase.Atoms
    cutoff : float
        Angstrom.
    species : sequence of str
        Chemical symbols in the model's order.

    Raises
    ------
    InputError
        If an element is not in `species`, or a position or cell vector is unusable.
    """
    kinds = species_indices(atoms, species)
    pbc = np.asarray(atoms.pbc, dtype=bool)
    box = complete_box(atoms.cell.array, pbc)
    offsets, j, shift = _pairs_in_box(atoms.positions, box, pbc, cutoff)
    n = len(atoms)
    arrays = NeighbourArrays(np.arange(n, dtype=np.int64), kinds, offsets, j, kinds[j], np.empty((len(j), 3)), n, shift)
    arrays.move(atoms.positions, box)
    return arrays


def concatenate(parts: Sequence[NeighbourArrays]) -> NeighbourArrays:
    """Several structures as one, side by side and out of reach of each other; atoms are numbered through."""
    if len(parts) == 1:
        return parts[0]
    atoms = np.cumsum([0, *(part.n_atoms for part in parts)])
    pairs = np.cumsum([0, *(len(part.neighbour_atom) for part in parts)])

    def joined(name, steps=None):
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(arrays if steps is None else [a + s for a, s in zip(arrays, steps[:-1], strict=True)])

    offsets = np.concatenate([part.offsets[:-1] + s for part, s in zip(parts, pairs[:-1], strict=True)] + [pairs[-1:]])
    return NeighbourArrays(joined("centre_atom", atoms), joined("centre_species"), offsets, joined("neighbour_atom", atoms),
                           joined("neighbour_species"), joined("vectors"), int(atoms[-1]))
