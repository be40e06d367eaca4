"""One rank's share of a batch: neighbour lists of its own centres, and what they contribute to every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from soapgap.neighbours.arrays import NeighbourArrays, concatenate
from soapgap.parallel.domains import Geometry, own_pairs

__all__ = ["Batch", "RankShare", "Totals"]

_PAIRS_PER_CALL = 400_000  # of several frames in one call of the evaluator: bounds the memory of their gradients


@dataclass
class Batch:
    """Several structures end to end, and who has which atom.

    Attributes
    ----------
    sizes : ndarray of int, shape (n_frames,)
    species : ndarray, int32, shape (n_atoms,)
        Indices into the model's species; atoms of all frames end to end.
    numbers : ndarray, shape (n_atoms,)
        Atomic numbers, for external potentials.
    cells : ndarray, shape (n_frames, 3, 3)
    pbc : ndarray of bool, shape (n_frames, 3)
    owner : ndarray, int32, shape (n_atoms,)
        Rank of each atom.
    """

    sizes: np.ndarray
    species: np.ndarray
    numbers: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    owner: np.ndarray
    ends: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.ends = np.cumsum(self.sizes)

    @property
    def n_atoms(self) -> int:
        """Of all frames together."""
        return len(self.species)

    def atoms_of(self, frame: int) -> slice:
        """Where a frame's atoms are in arrays of all atoms."""
        return slice(int(self.ends[frame] - self.sizes[frame]), int(self.ends[frame]))

    def structure(self, frame: int, positions: np.ndarray) -> Atoms:
        """A frame as ASE has it, from positions of all atoms."""
        its = self.atoms_of(frame)
        return Atoms(self.numbers[its], positions[its], cell=self.cells[frame], pbc=self.pbc[frame])


class Totals:
    """Sums over ranks in one flat array, which is what travels.

    Attributes
    ----------
    flat : ndarray
    forces : ndarray, shape (n_atoms, 3)
    energies : ndarray, shape (n_atoms,)
    virial : ndarray, shape (n_frames, 3, 3)
    energy : ndarray, shape (n_frames,)
    no_energies, no_virial : ndarray, shape (n_frames,)
        Above 0 where an external potential does not give it.
    failed, serving : ndarray, shape (1,)
        Number of ranks that could not do their share; number of ranks that are in `serve`.
    """

    def __init__(self, n_atoms: int, n_frames: int, flat: np.ndarray | None = None) -> None:
        shapes = {"forces": (n_atoms, 3), "energies": (n_atoms,), "virial": (n_frames, 3, 3), "energy": (n_frames,),
                  "no_energies": (n_frames,), "no_virial": (n_frames,), "failed": (1,), "serving": (1,)}
        self.flat = np.zeros(sum(math.prod(shape) for shape in shapes.values())) if flat is None else flat
        start = 0
        for name, shape in shapes.items():
            end = start + math.prod(shape)
            setattr(self, name, self.flat[start:end].reshape(shape))
            start = end


@dataclass
class _Part:
    """A frame's centres on this rank: its rows and pairs in the arrays of the call."""

    frame: int
    arrays: NeighbourArrays
    box: np.ndarray


class RankShare:
    """Neighbour lists of a rank's own centres in all frames of a batch.

    Parameters
    ----------
    batch : Batch
    rank : int
    positions : ndarray, shape (n_atoms, 3)
    cutoff, skin : float
        Angstrom. Lists reach to their sum.
    one_by_one : bool
        Every frame in a call of its own (models that need sums over all atoms).
    """

    def __init__(self, batch: Batch, rank: int, positions: np.ndarray, cutoff: float, skin: float, one_by_one: bool) -> None:
        self.batch, self._cutoff = batch, cutoff
        mine = batch.owner == rank
        # frames without own centres would cost time in every step
        frames = np.unique(np.searchsorted(batch.ends, np.flatnonzero(mine), side="right"))
        self._parts = [self._part(int(frame), mine, positions, cutoff + skin) for frame in frames]
        self._calls = [_joined(parts) for parts in _in_calls(self._parts, one_by_one)]
        self.move(positions)

    def _part(self, frame: int, mine: np.ndarray, positions: np.ndarray, reach: float) -> _Part:
        its = self.batch.atoms_of(frame)
        own, species = mine[its], self.batch.species[its]
        geometry = Geometry(self.batch.cells[frame], self.batch.pbc[frame])
        centres, offsets, j, shift = own_pairs(geometry, positions[its], own, reach)
        arrays = NeighbourArrays(centres, species[centres], offsets, j, species[j], np.empty((len(j), 3)), len(own), shift)
        return _Part(frame, arrays, geometry.box)

    def move(self, positions: np.ndarray, cells: np.ndarray | None = None) -> None:
        """New vectors for new positions of all atoms, and new cells of all frames if they have changed."""
        if cells is not None:
            self.batch.cells = cells
        for part in self._parts:
            if cells is not None:
                part.box = Geometry(cells[part.frame], self.batch.pbc[part.frame]).box
            part.arrays.move(positions[self.batch.atoms_of(part.frame)], part.box)

    def n_neighbours(self) -> np.ndarray:
        """Number of neighbours within the cutoff of own centres, zero for all others, shape (n_atoms,)."""
        counts = np.zeros(self.batch.n_atoms)
        for part in self._parts:
            near = np.einsum("px,px->p", part.arrays.vectors, part.arrays.vectors) < self._cutoff**2
            total = np.concatenate([[0], np.cumsum(near)])
            its = counts[self.batch.atoms_of(part.frame)]
            its[part.arrays.centre_atom] = total[part.arrays.offsets[1:]] - total[part.arrays.offsets[:-1]]
        return counts

    def add(self, evaluator, totals: Totals) -> None:
        """Add what own centres contribute to energies, forces and virials of all frames."""
        for arrays, parts in self._calls:
            shares = np.empty(len(arrays.neighbour_atom)) if evaluator.needs.handed else None
            energies, gradients = evaluator.evaluate(arrays, shares=shares)
            centre = pair = 0
            for part in parts:
                centres = slice(centre, centre + len(part.arrays.centre_atom))
                pairs = slice(pair, pair + len(part.arrays.vectors))
                centre, pair = centres.stop, pairs.stop
                self._add_part(evaluator, part, energies[centres], gradients[pairs],
                               None if shares is None else shares[pairs], totals)

    def _add_part(self, evaluator, part: _Part, energies, gradients, shares, totals: Totals) -> None:
        forces, virial = evaluator.forces_and_virial(part.arrays, gradients)
        its = self.batch.atoms_of(part.frame)
        totals.forces[its] += forces
        totals.virial[part.frame] += virial
        totals.energies[its][part.arrays.centre_atom] += energies
        totals.energy[part.frame] += energies.sum()
        if shares is not None:
            totals.energies[its] += np.bincount(part.arrays.neighbour_atom, weights=shares, minlength=part.arrays.n_atoms)
            totals.energy[part.frame] += shares.sum()


def _in_calls(parts: list[_Part], one_by_one: bool) -> list[list[_Part]]:
    """Parts that are small go into one call together."""
    calls: list[list[_Part]] = []
    n_pairs = 0
    for part in parts:
        n_pairs += len(part.arrays.vectors)
        if calls and not one_by_one and n_pairs <= _PAIRS_PER_CALL:
            calls[-1].append(part)
        else:
            calls.append([part])
            n_pairs = len(part.arrays.vectors)
    return calls


def _joined(parts: list[_Part]) -> tuple[NeighbourArrays, list[_Part]]:
    """One neighbour list for several parts, whose vectors become views into its own."""
    joined = concatenate([part.arrays for part in parts])
    starts = np.cumsum([0, *(len(part.arrays.vectors) for part in parts)])
    for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
        part.arrays.vectors = joined.vectors[start:end]
    return joined, parts
