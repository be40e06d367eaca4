"""Sparse points of pairs and triplets: among all of the data or, if they are too many, those that a draw keeps.

The points of all kernels of a term are collected in one pass over the structures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError
from soapgap.kinds.sparse.select import select, unique_rows
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.ordered_map import ordered_map
from soapgap.say import Reporter

NO_ORIGIN = -1


@dataclass(frozen=True)
class Quota:
    """How many sparse points to take from which structures.

    Attributes
    ----------
    config_type : of the structures; None: all
    counts : (n_structures,) instances in each structure, 0 in those that do not count
    n_sparse : number of points, None: all
    kept : among how many instances they are chosen
    seeds : what tells this draw from others
    """

    config_type: str | None
    counts: np.ndarray
    n_sparse: int | None
    kept: int
    seeds: tuple[int, ...]

    @property
    def most(self) -> int:
        """Upper bound of the number of points."""
        total = int(self.counts.sum())
        return total if self.n_sparse is None else min(self.n_sparse, total)


def config_types(number: int, term, structures: Sequence[Structure], say: Reporter) -> dict[str | None, np.ndarray]:
    """The structures that sparse points are taken from, as masks by config type; one entry None if types do not count.

    Raises
    ------
    InputError
        `config_type_n_sparse` names a type that no structure has.
    """
    if term.config_type_n_sparse is None:
        return {None: np.ones(len(structures), bool)}
    types = np.array([s.config_type for s in structures])
    strange = sorted(set(term.config_type_n_sparse) - set(types.tolist()))
    if strange:
        raise InputError(f"terms[{number}].config_type_n_sparse names {', '.join(strange)}; the config types of the training "
                         f"data are {', '.join(sorted(set(types.tolist())))}")
    left = sorted(set(types.tolist()) - set(term.config_type_n_sparse))
    if left:
        say.line(f"terms[{number}]: no sparse points are taken from config_type {', '.join(left)}")
    return {kind: types == kind for kind in term.config_type_n_sparse}


def quotas(number: int, term, structures: Sequence[Structure], counts: np.ndarray, limit: int,
           say: Reporter) -> tuple[Quota, ...]:
    """Quotas of a kernel of pairs or triplets.

    Parameters
    ----------
    counts : (n_structures,) instances in each structure
    limit : of the instances to choose from
    """
    found = []
    for place, (kind, mask) in enumerate(config_types(number, term, structures, say).items()):
        n_sparse = term.n_sparse if kind is None else term.config_type_n_sparse[kind]
        mine = np.where(mask, counts, 0)
        total = int(mine.sum())
        kept = total if n_sparse is None else min(total, max(limit, 2 * n_sparse))
        found.append(Quota(kind, mine, n_sparse, kept, () if kind is None else (2 + place,)))
    return tuple(found)


class FewBody(Protocol):
    """A planned kernel of pairs or triplets, as this module sees it."""

    position: tuple[int, int]
    what: str
    label: str
    quotas: tuple[Quota, ...]
    given: np.ndarray | None
    indices: np.ndarray | None
    method: str

    def candidates(self, neighbours: NeighbourArrays) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(n, 1 + d) weight and descriptor, whether it counts, and the atom, of the instances of a structure."""

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """The descriptors in units in which distances are compared, (n, d)."""

    def covariance(self) -> Covariance:
        """The kernel of the rows (n, 1 + d)."""


@dataclass
class _Draw:
    """The instances of one quota that are looked for: their numbers, and what has been found of them.

    `numbers` count all candidates of the structures of the quota or, for an index file, those that are valid.
    """

    item: FewBody
    quota: Quota
    numbers: np.ndarray
    only_valid: bool
    parts: list[np.ndarray] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.starts = np.cumsum(self.quota.counts) - self.quota.counts


def choose_points(items: Sequence[FewBody], structures: Sequence[Structure], cutoff: float, species: Sequence[str], seed: int,
                  threads: int, say: Reporter) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse points of the kernels of one term.

    Returns
    -------
    list of (points, origins)
        (n, 1 + d) weights F_s and descriptors X_s, and (n, 2) structure and atom of each, -1 if a file gave them.
    """
    draws = [_draw(item, quota, seed) for item in items for quota in (() if item.given is not None else item.quotas)]
    if draws:
        _collect(draws, structures, lambda s: neighbours_of(s, cutoff, species), threads, items[0].what, say)
    chosen = []
    for item in items:
        if item.given is not None:
            chosen.append((item.given, np.full((len(item.given), 2), NO_ORIGIN)))
            continue
        chosen.append(_union(item, [_choose(draw, seed, say) for draw in draws if draw.item is item], say))
    return chosen


def _draw(item: FewBody, quota: Quota, seed: int) -> _Draw:
    total = int(quota.counts.sum())
    if item.indices is not None:
        return _Draw(item, quota, item.indices, True)
    numbers = np.arange(total)
    if quota.kept < total:
        rng = np.random.default_rng([seed, *item.position, *quota.seeds, 1])
        numbers = np.sort(rng.choice(total, quota.kept, replace=False))
    return _Draw(item, quota, numbers, False)


def _collect(draws: Sequence[_Draw], structures: Sequence[Structure], neighbours: Callable[[Structure], NeighbourArrays],
             threads: int, what: str, say: Reporter) -> None:
    """Fill the draws' parts with rows (structure, atom, weight, descriptor), in the order of the data."""

    def found(_, index: int) -> list[np.ndarray]:
        here = [draw for draw in draws if draw.quota.counts[index]]
        return _found(here, index, neighbours(structures[index])) if here else []

    with say.task(what, len(structures)) as task:
        for index, rows in enumerate(ordered_map(found, range(len(structures)), range(threads))):
            here = [draw for draw in draws if draw.quota.counts[index]]
            for draw, mine in zip(here, rows, strict=True):
                if draw.only_valid:
                    low, high = np.searchsorted(draw.numbers, [draw.seen, draw.seen + len(mine)])
                    draw.seen += len(mine)
                    mine = mine[draw.numbers[low:high] - draw.seen + len(mine)]
                draw.parts.append(mine)
            task.advance(1)


def _found(draws: Sequence[_Draw], index: int, neighbours: NeighbourArrays) -> list[np.ndarray]:
    """The rows of one structure for each draw."""
    rows: list[list[np.ndarray]] = [[] for _ in draws]
    for item in {id(draw.item): draw.item for draw in draws}.values():
        passed = 0
        for points, valid, atoms in item.candidates(neighbours):
            for draw, mine in zip(draws, rows, strict=True):
                if draw.item is item:
                    here = _wanted(draw, int(draw.starts[index]) + passed, len(points))
                    here = here[valid[here]]
                    mine.append(np.column_stack([np.full(len(here), index), atoms[here], points[here]]))
            passed += len(points)
    return [np.concatenate(mine) for mine in rows]


def _wanted(draw: _Draw, start: int, n: int) -> np.ndarray:
    """Which of the n candidates from number `start` on are looked for."""
    if draw.only_valid:
        return np.arange(n)
    low, high = np.searchsorted(draw.numbers, [start, start + n])
    return draw.numbers[low:high] - start


def _choose(draw: _Draw, seed: int, say: Reporter) -> np.ndarray:
    """The rows of the draw that are taken, without copies."""
    item, quota = draw.item, draw.quota
    pool = np.concatenate(draw.parts)
    scaled = item.scaled(pool[:, 2:])
    unique = unique_rows(scaled)
    where = f"terms[{item.position[0]}]"
    of = f"{item.what} of {item.label}" + ("" if quota.config_type is None else f" in config_type {quota.config_type}")
    if quota.n_sparse is None:
        if item.indices is not None and len(unique) < len(pool):
            say.line(f"{where}: {len(pool) - len(unique)} sparse points of {item.label} are copies of others and left out")
        return pool[unique]
    if len(unique) < quota.n_sparse:
        say.warning(f"{where}: only {len(unique)} different {of}: n_sparse reduced from {quota.n_sparse}")
    rows = pool[unique][:, 2:] if item.method == "cholesky" else scaled[unique]
    chosen = select(rows, quota.most, item.method, [seed, *item.position, *quota.seeds], item.covariance())
    if len(chosen) < min(quota.n_sparse, len(unique)):
        say.warning(f"{where}: {len(chosen)} points span the kernels of all {of} to rounding (1e-13 delta^2): n_sparse reduced "
                    f"from {quota.n_sparse}")
    return pool[unique[chosen]]


def _union(item: FewBody, parts: Sequence[np.ndarray], say: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """The points of all config types, in the order of the data, each once."""
    rows = np.concatenate(parts)
    if len(parts) > 1:
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        unique = unique_rows(item.scaled(rows[:, 2:]))
        if len(unique) < len(rows):
            say.line(f"terms[{item.position[0]}]: {len(rows) - len(unique)} sparse points of {item.label} are the same in "
                     "several config types and taken once")
        rows = rows[unique]
    return np.ascontiguousarray(rows[:, 2:]), rows[:, :2].astype(np.int64)
