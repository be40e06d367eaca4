"""Space shared out over ranks: who has which atoms, and which atoms a rank must see.

Coordinates are fractional along periodic directions and lengths along unit vectors elsewhere, so that any cell will do.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from soapgap.neighbours.arrays import complete_box, find_pairs

__all__ = ["Geometry", "bisect", "own_pairs", "share_out"]

_SNAP = 0.02  # of a rank's share: a frame is not cut to even out less


class Geometry:
    """Cell and periodicity of one structure.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Lattice vectors as rows, Angstrom. Those of directions that are not periodic are not used.
    pbc : ndarray of bool, shape (3,)

    Attributes
    ----------
    box : ndarray, shape (3, 3)
        The cell with unit vectors, normal to the others, along directions that are not periodic.
    heights : ndarray, shape (3,)
        Distance of the planes at fractional coordinates 0 and 1; 1 Angstrom along directions that are not periodic.

    Raises
    ------
    InputError
        For a periodic direction without a cell vector, and numbers that are not finite.
    """

    def __init__(self, cell: np.ndarray, pbc: np.ndarray) -> None:
        self.cell, self.pbc = np.asarray(cell, dtype=float), np.asarray(pbc, dtype=bool)
        self.box = complete_box(self.cell, self.pbc)
        self._inverse = np.linalg.inv(self.box)
        self.heights = 1.0 / np.linalg.norm(self._inverse, axis=0)

    def coordinates(self, positions: np.ndarray) -> np.ndarray:
        """Coordinates of positions, not wrapped; shape (n, 3)."""
        # not positions @ inverse: numpy's BLAS would leave its threads spinning on cores that the evaluator needs next
        return np.einsum("ia,ab->ib", positions, self._inverse)

    def unrolled(self, positions: np.ndarray) -> np.ndarray:
        """Positions in Angstrom along each axis, periodic axes opened where they are emptiest; shape (n, 3)."""
        coordinates = self.coordinates(positions)
        if len(coordinates):
            start, _ = self.extents(coordinates)
            away = coordinates - start
            coordinates = np.where(self.pbc, away - np.floor(away), away)
        return coordinates * self.heights

    def extents(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and length of the shortest box around points, along each axis; periodic axes are closed to circles."""
        start, length = np.empty((2, 3))
        for axis in range(3):
            start[axis], length[axis] = (_arc if self.pbc[axis] else _span)(coordinates[:, axis])
        return start, length


def _span(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(np.ptp(x))


def _arc(x: np.ndarray) -> tuple[float, float]:
    """The shortest arc of a circle of circumference 1 that has all points on it."""
    x = np.sort(x - np.floor(x))
    gaps = np.diff(x, append=x[0] + 1.0)
    widest = int(gaps.argmax())
    return float(x[(widest + 1) % len(x)]), float(1.0 - gaps[widest])


def share_out(costs: Sequence[float], n_ranks: int, whole: bool = False) -> list[list[tuple[int, float]]]:
    """Which ranks work on which frames of a batch: frames first, parts of frames where their number does not divide.

    The costs of all frames laid end to end are cut into equal pieces, one for each rank. So n frames on n ranks are whole, and
    of 5 frames on 2 ranks the third is cut in two.

    Parameters
    ----------
    costs : sequence of float
        Of the frames.
    n_ranks : int
    whole : bool
        Never cut a frame.

    Returns
    -------
    For each frame the ranks that share it, each with its part of the frame's cost.
    """
    if whole:
        return _whole_frames(costs, n_ranks)
    ends = np.cumsum(costs, dtype=float)
    total = float(ends[-1]) if len(ends) else 0.0
    if not total > 0.0:
        return [[(0, 1.0)] for _ in costs]
    cuts = total * np.arange(n_ranks + 1) / n_ranks
    nearest = ends[np.abs(ends[:, None] - cuts[None, :]).argmin(axis=0)]
    cuts = np.where(np.abs(nearest - cuts) <= _SNAP * total / n_ranks, nearest, cuts)
    cuts[0], cuts[-1] = 0.0, total
    shares = []
    for end, cost in zip(ends, costs):
        overlaps = np.minimum(cuts[1:], end) - np.maximum(cuts[:-1], end - cost)
        parts = [(rank, float(overlap / cost)) for rank, overlap in enumerate(overlaps) if overlap > 1e-12 * total]
        shares.append(parts or [(0, 1.0)])
    return shares


def _whole_frames(costs: Sequence[float], n_ranks: int) -> list[list[tuple[int, float]]]:
    """The dearest frame first, each to the rank that has least."""
    loads = [(0.0, rank) for rank in range(n_ranks)]
    shares: list[list[tuple[int, float]]] = [[] for _ in costs]
    for frame in sorted(range(len(costs)), key=lambda f: -costs[f]):
        load, rank = heapq.heappop(loads)
        shares[frame] = [(rank, 1.0)]
        heapq.heappush(loads, (load + costs[frame], rank))
    return shares


def bisect(points: np.ndarray, costs: np.ndarray, shares: Sequence[tuple[int, float]]) -> np.ndarray:
    """Recursive coordinate bisection: the rank of each point.

    A box is cut across its longest side so that each half of the ranks gets its part of the cost, until every rank has a box.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        In Angstrom along each axis.
    costs : ndarray, shape (n,)
    shares : sequence of (int, float)
        Ranks and their parts of the whole cost.

    Returns
    -------
    ndarray, int32, shape (n,)
    """
    owner = np.empty(len(points), dtype=np.int32)
    todo = [(np.arange(len(points)), list(shares))]
    while todo:
        these, ranks = todo.pop()
        if len(ranks) == 1 or len(these) == 0:
            owner[these] = ranks[0][0]
            continue
        first, second = ranks[: len(ranks) // 2], ranks[len(ranks) // 2:]
        part = sum(share for _, share in first) / sum(share for _, share in ranks)
        axis = int(np.ptp(points[these], axis=0).argmax())
        these = these[np.argsort(points[these, axis], kind="stable")]
        below = np.cumsum(costs[these])
        n_first = int(np.searchsorted(below - 0.5 * costs[these], part * below[-1]))
        todo += [(np.sort(these[:n_first]), first), (np.sort(these[n_first:]), second)]
    return owner


def own_pairs(geometry: Geometry, positions: np.ndarray, own: np.ndarray, reach: float
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within `reach` whose centre is one of a domain's own atoms.

    The domain sees the box around its own atoms, wider by `reach` on every side. Along an axis where this is a whole period the
    search itself is periodic; along any other every atom has at most one image in the box.

    Parameters
    ----------
    geometry : Geometry
    positions : ndarray, shape (n_atoms, 3)
        Angstrom; need not be wrapped.
    own : ndarray of bool, shape (n_atoms,)
    reach : float
        Cutoff and skin, Angstrom.

    Returns
    -------
    centres : ndarray, int64, shape (n_centres,)
        The own atoms, ascending.
    offsets, j : ndarray, int64, shapes (n_centres + 1,) and (n_pairs,)
        Their neighbours in compressed rows, sorted by j, then shift.
    shift : ndarray, int64, shape (n_pairs, 3)
        r_ij = r_j - r_i + shift . cell.
    """
    if not own.any():
        return np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64), np.empty((0, 3), np.int64)
    n_atoms = len(positions)
    keep, periods, searched = np.ones(n_atoms, bool), np.zeros((n_atoms, 3), np.int64), geometry.pbc
    if not own.all():
        keep, periods, searched = _within_reach(geometry, positions, own, reach)
    seen, periods, mine = np.flatnonzero(keep), periods[keep], own[keep]
    points = positions[seen] + np.einsum("nk,kx->nx", periods, geometry.box)
    offsets, j, shift = find_pairs(points, geometry.cell, searched, reach)
    counts = np.diff(offsets)
    if not mine.all():
        kept = np.repeat(mine, counts)
        j, shift, counts = j[kept], shift[kept], counts[mine]
    shift += np.take(periods, j, axis=0) - np.repeat(periods[mine], counts, axis=0)
    return seen[mine], np.concatenate([[0], np.cumsum(counts)]), seen[j], shift


def _within_reach(geometry: Geometry, positions: np.ndarray, own: np.ndarray, reach: float):
    """Atoms with an image in the box of the domain, the periods that bring it there, and the axes that stay periodic."""
    coordinates = geometry.coordinates(positions)
    start, length = geometry.extents(coordinates[own])
    margin = reach / geometry.heights * (1.0 + 1e-9) + 1e-9
    keep, searched = np.ones(len(positions), bool), geometry.pbc.copy()
    periods = np.zeros((len(positions), 3), dtype=np.int64)
    for axis in range(3):
        if geometry.pbc[axis] and length[axis] + 2.0 * margin[axis] >= 1.0:
            continue
        along = coordinates[:, axis] - (start[axis] - margin[axis])
        if geometry.pbc[axis]:
            searched[axis] = False
            periods[:, axis] = -np.floor(along).astype(np.int64)
            along = along + periods[:, axis]
        keep &= (along >= 0.0) & (along <= length[axis] + 2.0 * margin[axis])
    return keep, periods, searched
