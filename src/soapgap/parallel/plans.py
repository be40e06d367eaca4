"""What the root decides: who gets which atoms, and how long neighbour lists live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from soapgap.errors import InputError
from soapgap.neighbours.arrays import complete_box, species_indices
from soapgap.neighbours.cache import outgrown, still_complete, to_try
from soapgap.parallel.cost import CostModel
from soapgap.parallel.domains import Geometry, bisect, share_out
from soapgap.parallel.share import Batch

__all__ = ["RankPlan", "Plans"]

_IMBALANCE = 0.05  # above this the largest cost of a rank over the mean, less 1, is worth a second division
_GUESS = 32.0  # neighbours of an atom of which nothing is known


@dataclass
class RankPlan:
    """A batch as it was when its lists were made.

    Attributes
    ----------
    number : int
        Its name between ranks.
    batch : Batch
    positions : ndarray, shape (n_atoms, 3)
    cells : ndarray, shape (n_frames, 3, 3)
    latest : ndarray, shape (n_atoms, 3)
        Positions that used it last.
    """

    number: int
    batch: Batch
    positions: np.ndarray
    cells: np.ndarray
    latest: np.ndarray

    def follow(self, frames: Sequence[Atoms], positions: np.ndarray, cutoff: float, skin: float) -> np.ndarray | None:
        """Positions, less lattice vectors, for which the lists are complete; None if they are not (`still_complete`)."""
        batch = self.batch
        if [len(atoms) for atoms in frames] != batch.sizes.tolist():
            return None
        if not (np.array_equal(_end_to_end([atoms.numbers for atoms in frames]), batch.numbers)
                and np.array_equal(np.array([atoms.pbc for atoms in frames]), batch.pbc)):
            return None
        cells = np.array([atoms.cell.array for atoms in frames])
        if not np.isfinite(cells).all():
            return None
        followed = np.empty_like(positions)
        for frame, cell in enumerate(cells):
            its, pbc = batch.atoms_of(frame), batch.pbc[frame]
            usable = still_complete(self.positions[its], complete_box(self.cells[frame], pbc), positions[its],
                                    complete_box(cell, pbc), pbc, cutoff, skin)
            if usable is None:
                return None
            followed[its] = usable
        self.latest = positions
        return followed

    def distance(self, numbers: np.ndarray, positions: np.ndarray) -> float:
        """How far atoms are from those that used the plan last: the largest difference of a coordinate."""
        if not np.array_equal(numbers, self.batch.numbers):
            return np.inf
        return float(np.abs(positions - self.latest).max(initial=0.0))


class Plans:
    """The plans that are alive, latest use last.

    Parameters
    ----------
    model : Model
    evaluator : Evaluator
        Of the model.
    n_ranks : int
    skin : float
        Angstrom; without one no plan is used twice.
    n_lists : int
        How many frames may have lists at a time, in batches that take turns.
    """

    def __init__(self, model, evaluator, n_ranks: int, skin: float, n_lists: int) -> None:
        self._cost, self._species, self._cutoff = CostModel(model), evaluator.species, evaluator.cutoff
        self._n_ranks, self._skin, self._n_lists = n_ranks, skin, n_lists
        self._whole = evaluator.needs.sums  # frames must not be cut
        self._alive: list[RankPlan] = []
        self._next = 1
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # species and numbers of neighbours of the last batch

    def check(self, frames: Sequence[Atoms]) -> None:
        """Raises InputError as `soapgap.neighbours.arrays.neighbour_arrays` does."""
        for atoms in frames:
            species_indices(atoms, self._species)
            complete_box(atoms.cell.array, np.asarray(atoms.pbc, dtype=bool))
            if not np.isfinite(atoms.positions).all():
                raise InputError("the structure has a position that is not finite: expected numbers in Angstrom; check where "
                                 "the structure comes from")

    def find(self, frames: Sequence[Atoms], positions: np.ndarray) -> tuple[RankPlan, np.ndarray] | None:
        """The plan whose lists are complete for these frames, and the positions to use with it."""
        if self._skin <= 0.0:
            return None
        for plan in to_try(self._alive):
            usable = plan.follow(frames, positions, self._cutoff, self._skin)
            if usable is not None:
                self._alive.remove(plan)
                self._alive.append(plan)
                return plan, usable
        return None

    def add(self, frames: Sequence[Atoms], positions: np.ndarray) -> tuple[RankPlan, list[int]]:
        """A new plan, and the numbers of those that it replaces."""
        numbers = _end_to_end([atoms.numbers for atoms in frames])
        species = _end_to_end([species_indices(atoms, self._species) for atoms in frames]).astype(np.int32)
        n_neighbours = np.full(len(species), _GUESS)
        if self._last is not None and np.array_equal(species, self._last[0]):
            n_neighbours = self._last[1]
        batch = Batch(np.array([len(atoms) for atoms in frames], dtype=np.int64), species, numbers,
                      np.array([atoms.cell.array for atoms in frames]).reshape(-1, 3, 3),
                      np.array([atoms.pbc for atoms in frames]).reshape(-1, 3), np.zeros(len(species), np.int32))
        batch.owner = self._divide(batch, positions, self._cost(species, n_neighbours))
        plan = RankPlan(self._next, batch, positions, batch.cells, positions)
        self._next += 1
        dropped = self._make_room(plan)
        self._alive.append(plan)
        return plan, dropped

    def _make_room(self, new: RankPlan) -> list[int]:
        room = self._n_lists - len(new.batch.sizes) if self._skin > 0.0 else -1
        last = outgrown([plan.distance(new.batch.numbers, new.positions) for plan in self._alive], self._skin)
        dropped = [] if last is None else [self._alive.pop(last).number]
        while self._alive and sum(len(plan.batch.sizes) for plan in self._alive) > room:
            dropped.append(self._alive.pop(0).number)
        return dropped

    def forget(self, plan: RankPlan) -> None:
        """Never find this plan again; the ranks drop it when the next one is made."""
        plan.positions = np.full_like(plan.positions, np.nan)

    def improve(self, plan: RankPlan, n_neighbours: np.ndarray) -> bool:
        """Divide again with the true numbers of neighbours, if that is worth it; whether it was."""
        batch = plan.batch
        self._last = (batch.species, n_neighbours)
        costs = self._cost(batch.species, n_neighbours)
        before = self.imbalance(costs, batch.owner)
        if before <= _IMBALANCE:
            return False
        owner = self._divide(batch, plan.positions, costs)
        if self.imbalance(costs, owner) > before - 0.5 * _IMBALANCE:
            return False
        batch.owner = owner
        return True

    def imbalance(self, costs: np.ndarray, owner: np.ndarray) -> float:
        """The largest cost of a rank over the mean, less 1."""
        loads = np.bincount(owner, weights=costs, minlength=self._n_ranks)
        return float(loads.max() / loads.mean() - 1.0) if loads.any() else 0.0

    def loads(self) -> tuple[np.ndarray, np.ndarray]:
        """Atoms, and their counted cost, of each rank in the last batch."""
        batch = self._alive[-1].batch
        costs = self._cost(batch.species, self._last[1])
        return tuple(np.bincount(batch.owner, weights=w, minlength=self._n_ranks) for w in (None, costs))

    def _divide(self, batch: Batch, positions: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """The rank of every atom."""
        owner = np.zeros(batch.n_atoms, dtype=np.int32)
        frames = [batch.atoms_of(frame) for frame in range(len(batch.sizes))]
        shares = share_out([float(costs[its].sum()) for its in frames], self._n_ranks, self._whole)
        for frame, its in enumerate(frames):
            if len(shares[frame]) == 1:
                owner[its] = shares[frame][0][0]
                continue
            geometry = Geometry(batch.cells[frame], batch.pbc[frame])
            owner[its] = bisect(geometry.unrolled(positions[its]), costs[its], shares[frame])
        return owner


def _end_to_end(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if len(arrays) else np.empty(0, dtype=int)
