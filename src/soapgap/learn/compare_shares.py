"""Predictions of a data set by several ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.learn.errors import Comparison, compare
from soapgap.model import Model
from soapgap.ranks import Ranks


def compare_together(model: Model, structures: Sequence[Structure], ranks: Ranks, threads: int,
                     advance: Callable[[int], None], hessian_delta: float) -> dict[str, Comparison] | None:
    """`compare` of all structures, each predicted by one rank; in the order of the data, on the root."""
    mine = share(structures, ranks)
    part = compare(model, [structures[k] for k in mine], threads, advance, hessian_delta)
    parts = ranks.gather({quantity: replace(c, frames=c.frames + mine.start) for quantity, c in part.items()})
    return None if parts is None else {quantity: _joined([part[quantity] for part in parts]) for quantity in part}


def share(structures: Sequence[Structure], ranks: Ranks) -> range:
    """The run of structures that is this rank's, so that all have about as many atoms."""
    ends = np.cumsum([s.effort for s in structures])
    cuts = np.searchsorted(ends, ends[-1] * np.arange(ranks.size + 1) / ranks.size)
    cuts[-1] = len(structures)
    return range(cuts[ranks.rank], cuts[ranks.rank + 1])


def _joined(parts: Sequence[Comparison]) -> Comparison:
    return Comparison(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Comparison)))
