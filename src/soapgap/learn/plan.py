"""From the terms of the configuration to kernels with their sparse points.

What will be made is planned first, so that memory and time can be told before. Which kernels a term becomes, and how their
sparse points are chosen, is the matter of its kind (`soapgap.kinds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

import soapgap.kinds.distance_2b.plan
import soapgap.kinds.soap.plan
import soapgap.kinds.three_body.plan  # noqa: F401  (each registers its kind)
from soapgap.config import FitConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import POOL_BYTES
from soapgap.kinds.kernel import Context, Kernel, Planned, numbered, plan
from soapgap.say import Reporter

__all__ = ["Plan", "make_kernels", "plan_kernels"]


@dataclass(frozen=True)
class Plan:
    """All kernels to be, in the order of the model's terms.

    Attributes
    ----------
    items : list of Planned
        The kernels.
    context : Context
        What they were planned from.
    saved : int or None
        Number of sparse points of an earlier fit, which are taken over; None if they are chosen.
    """

    items: list[Planned]
    context: Context
    saved: int | None = None

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points (an upper bound if they are chosen: duplicates are removed later)."""
        return sum(item.n_sparse for item in self.items) if self.saved is None else self.saved

    @property
    def terms(self) -> list[int]:
        """The term of the configuration that every kernel belongs to."""
        return [item.position[0] for item in self.items]

    @property
    def by_term(self) -> list[list[Planned]]:
        """The kernels of each term together."""
        return [list(group) for _, group in groupby(self.items, lambda item: item.position[0])]

    @property
    def thetas(self) -> dict[str, list[float]]:
        """Length scales of the kernels by term and species, for fits that add data to this one."""
        return {item.key: item.kernel.thetas for item in self.items if item.kernel.thetas}

    def trial_kernels(self) -> list[Kernel]:
        """Kernels with any sparse points, to measure the time of rows with."""
        rng = np.random.default_rng(0)
        return numbered([item.kernel.with_points(item.kernel.trial_points(item.n_sparse, rng)) for item in self.items])


def plan_kernels(config: FitConfig, species: list[str], shortest: dict, structures: Sequence[Structure],
                 say: Reporter, pool_bytes: int = POOL_BYTES, folder: Path = Path("."),
                 thetas: dict[str, list[float]] | None = None) -> Plan:
    """Expand the terms over species.

    Parameters
    ----------
    shortest : dict
        Shortest training distance (Angstrom) of the pairs of species that occur within the cutoff.
    pool_bytes : int
        Memory for the environments that sparse points are chosen from, or for what stands for them.
    folder : Path
        What paths of `sparse_file` are relative to.
    thetas : dict of str to list of float, optional
        `Plan.thetas` of the fit that these data are added to, where `theta_fac` is not that of these data.

    Raises
    ------
    InputError
        `n_sparse`, `config_type_n_sparse` or `sparse_file` do not fit the species and config types of the data; no pair or
        triplet is within a term's cutoff; a three-body term names species that the data do not have.
    """
    context = Context(config, species, structures, say, shortest, folder, thetas or {}, pool_bytes)
    return Plan([item for number, term in enumerate(config.terms) for item in plan(term, number, context)], context)


def make_kernels(plan: Plan, threads: int, say: Reporter, saved: Sequence[np.ndarray] | None = None,
                 origins: Sequence[np.ndarray] | None = None) -> list[Kernel]:
    """Kernels with their sparse points.

    Parameters
    ----------
    saved : sequence of ndarray, optional
        Sparse points of every kernel from an interrupted fit; they are chosen if None.
    origins : sequence of ndarray, shape (n_sparse, 2), optional
        Their origins.
    """
    if saved is None:
        context = replace(plan.context, threads=threads, say=say)
        chosen = [pair for group in plan.by_term for pair in group[0].kernel.choose(group, context)]
    else:
        known = [None] * len(saved) if origins is None else [np.array(places) for places in origins]
        chosen = [(np.array(points), places) for points, places in zip(saved, known, strict=True)]
    return numbered([item.kernel.with_points(*one) for item, one in zip(plan.items, chosen, strict=True)])
