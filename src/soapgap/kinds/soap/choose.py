"""The sparse points of SOAP kernels, chosen among the environments in the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soapgap.kinds.kernel import NO_ORIGIN, Context, Planned
from soapgap.kinds.soap.select import Choice, Environments, choose, environments
from soapgap.kinds.sparse.select import unique_rows
from soapgap.model import Model
from soapgap.say import Reporter


def choose_soap(items: Sequence[Planned], context: Context) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse points of the kernels of one term, each (n, d), and their origins, (n, 2)."""
    if all(item.given is not None for item in items):
        evaluators = []
    else:  # of the terms without points, one for each thread, to make features with
        terms = [item.kernel.term for item in items]
        first = Model(context.species, dict.fromkeys(context.species, 0.0), terms, {}).evaluator(1)
        evaluators = [first, *(first.clone() for _ in range(context.threads - 1))]
    return [_choose(item, place, evaluators, context) for place, item in enumerate(items)]


def _choose(item: Planned, place: int, evaluators: Sequence, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Of one kernel, which is term number `place` of the evaluators."""
    if item.given is not None:
        return item.given, np.full((len(item.given), 2), NO_ORIGIN)
    term, config, say = item.kernel.term, context.config, context.say

    def them(numbers: np.ndarray) -> Environments:
        return environments(evaluators, place, term.centre, term.n_features, context.structures, numbers, config.cutoff,
                            context.species, say)

    where = f"terms[{item.position[0]}]"
    if item.indices is not None:
        every = them(np.arange(len(context.structures)))
        return _different(every.take(item.indices), every.places[item.indices], where, term.centre, say)
    found = []
    for quota in item.quotas:
        if quota.most:
            what = Choice(quota.most, item.method, term.zeta, [config.seed, *item.position, *quota.seeds], context.pool_bytes,
                          where, f"environments of {term.centre}{of_type(quota.config_type)}")
            found.append(choose(them(np.flatnonzero(quota.counts)), what, say))
    if len(found) == 1:
        return found[0]
    points, origins = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((origins[:, 1], origins[:, 0]))
    return _different(points[order], origins[order], where, term.centre, say)


def of_type(kind: str | None) -> str:
    """In which structures, in words."""
    return "" if kind is None else f" in config_type {kind}"


def _different(points: np.ndarray, origins: np.ndarray, where: str, centre: str, say: Reporter) -> tuple:
    """Without copies."""
    unique = unique_rows(points)
    if len(unique) < len(points):
        say.line(f"{where}: {len(points) - len(unique)} sparse points of {centre} are copies of others and left out")
    return points[unique], origins[unique]
