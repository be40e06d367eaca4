"""Sparse points of pairs and triplets: among all of the data or, if they are too many, those that a draw keeps.

The points of all kernels of a term are collected in one pass over the structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from soapgap.config.kind import TermConfig
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError
from soapgap.kinds.kernel import NO_ORIGIN, Context, Planned, Quota
from soapgap.kinds.sparse.select import select, unique_rows
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.ordered_map import ordered_map
from soapgap.say import Reporter


def config_types(number: int, term: TermConfig, context: Context) -> dict[str | None, np.ndarray]:
    """The structures that sparse points are taken from, as masks by config type; one entry None if types do not count.

    Raises
    ------
    InputError
        `config_type_n_sparse` names a type that no structure has.
    """
    if term.config_type_n_sparse is None:
        return {None: np.ones(len(context.structures), bool)}
    types = np.array([s.config_type for s in context.structures])
    strange = sorted(set(term.config_type_n_sparse) - set(types.tolist()))
    if strange:
        raise InputError(f"terms[{number}].config_type_n_sparse names {', '.join(strange)}; the config types of the training "
                         f"data are {', '.join(sorted(set(types.tolist())))}")
    left = sorted(set(types.tolist()) - set(term.config_type_n_sparse))
    if left:
        context.say.line(f"terms[{number}]: no sparse points are taken from config_type {', '.join(left)}")
    return {kind: types == kind for kind in term.config_type_n_sparse}


def quotas(number: int, term: TermConfig, counts: np.ndarray, limit: int, context: Context) -> tuple[Quota, ...]:
    """Quotas of a kernel of pairs or triplets.

    Parameters
    ----------
    counts : ndarray, shape (n_structures,)
        Instances in each structure.
    limit : int
        Of the instances to choose from.
    """
    found = []
    for place, (kind, mask) in enumerate(config_types(number, term, context).items()):
        n_sparse = term.n_sparse if kind is None else term.config_type_n_sparse[kind]
        mine = np.where(mask, counts, 0)
        total = int(mine.sum())
        kept = total if n_sparse is None else min(total, max(limit, 2 * n_sparse))
        found.append(Quota(kind, mine, n_sparse, kept, () if kind is None else (2 + place,)))
    return tuple(found)


@dataclass
class _Draw:
    """The instances of one quota that are looked for: their numbers, and what has been found of them.

    `numbers` count all candidates of the structures of the quota or, for an index file, those that are valid.
    """

    item: Planned
    quota: Quota
    numbers: np.ndarray
    only_valid: bool
    parts: list[np.ndarray] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.starts = np.cumsum(self.quota.counts) - self.quota.counts


def choose_points(items: Sequence[Planned], context: Context) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse points of the kernels of one term, which are `soapgap.kinds.few_body.FewBodyKernel`.

    Returns
    -------
    list of (points, origins)
        (n, 1 + d) weights F_s and descriptors X_s, and (n, 2) structure and atom of each, -1 if they were given.
    """
    seed, say = context.config.seed, context.say
    draws = [_draw(item, quota, seed) for item in items for quota in (() if item.given is not None else item.quotas)]
    if draws:
        _collect(draws, items[0].kernel, context)
    chosen = []
    for item in items:
        if item.given is not None:
            chosen.append((item.given, np.full((len(item.given), 2), NO_ORIGIN)))
            continue
        chosen.append(_union(item, [_choose(draw, seed, say) for draw in draws if draw.item is item], say))
    return chosen


def _draw(item: Planned, quota: Quota, seed: int) -> _Draw:
    total = int(quota.counts.sum())
    if item.indices is not None:
        return _Draw(item, quota, item.indices, True)
    numbers = np.arange(total)
    if quota.kept < total:
        rng = np.random.default_rng([seed, *item.position, *quota.seeds, 1])
        numbers = np.sort(rng.choice(total, quota.kept, replace=False))
    return _Draw(item, quota, numbers, False)


def _collect(draws: Sequence[_Draw], kernel, context: Context) -> None:
    """Fill the draws' parts with rows (structure, atom, weight, descriptor), in the order of the data."""
    structures, species = context.structures, context.species

    def found(_, index: int) -> list[np.ndarray]:
        here = [draw for draw in draws if draw.quota.counts[index]]
        return _found(here, index, neighbours_of(structures[index], kernel.cutoff, species), species) if here else []

    with context.say.task(kernel.what, len(structures)) as task:
        for index, rows in enumerate(ordered_map(found, range(len(structures)), range(context.threads))):
            here = [draw for draw in draws if draw.quota.counts[index]]
            for draw, mine in zip(here, rows, strict=True):
                if draw.only_valid:
                    low, high = np.searchsorted(draw.numbers, [draw.seen, draw.seen + len(mine)])
                    draw.seen += len(mine)
                    mine = mine[draw.numbers[low:high] - draw.seen + len(mine)]
                draw.parts.append(mine)
            task.advance(1)


def _found(draws: Sequence[_Draw], index: int, neighbours: NeighbourArrays, species: list[str]) -> list[np.ndarray]:
    """The rows of one structure for each draw."""
    rows: list[list[np.ndarray]] = [[] for _ in draws]
    for item in {id(draw.item): draw.item for draw in draws}.values():
        passed = 0
        for points, valid, atoms in item.kernel.candidates(neighbours, species):
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
    item, kernel, quota = draw.item, draw.item.kernel, draw.quota
    pool = np.concatenate(draw.parts)
    scaled = kernel.scaled(pool[:, 2:])
    unique = unique_rows(scaled)
    where = f"terms[{item.position[0]}]"
    of = f"{kernel.what} of {kernel.name}" + ("" if quota.config_type is None else f" in config_type {quota.config_type}")
    if quota.n_sparse is None:
        if item.indices is not None and len(unique) < len(pool):
            say.line(f"{where}: {len(pool) - len(unique)} sparse points of {kernel.name} are copies of others and left out")
        return pool[unique]
    if len(unique) < quota.n_sparse:
        say.warning(f"{where}: only {len(unique)} different {of}: n_sparse reduced from {quota.n_sparse}")
    rows = pool[unique][:, 2:] if item.method == "cholesky" else scaled[unique]
    chosen = select(rows, quota.most, item.method, [seed, *item.position, *quota.seeds], kernel.between())
    if len(chosen) < min(quota.n_sparse, len(unique)):
        say.warning(f"{where}: {len(chosen)} points span the kernels of all {of} to rounding (1e-13 delta^2): n_sparse reduced "
                    f"from {quota.n_sparse}")
    return pool[unique[chosen]]


def _union(item: Planned, parts: Sequence[np.ndarray], say: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """The points of all config types, in the order of the data, each once."""
    rows = np.concatenate(parts)
    if len(parts) > 1:
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        unique = unique_rows(item.kernel.scaled(rows[:, 2:]))
        if len(unique) < len(rows):
            say.line(f"terms[{item.position[0]}]: {len(rows) - len(unique)} sparse points of {item.kernel.name} are the same "
                     "in several config types and taken once")
        rows = rows[unique]
    return np.ascontiguousarray(rows[:, 2:]), rows[:, :2].astype(np.int64)
