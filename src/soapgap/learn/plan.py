"""From the terms of the configuration to kernels with their sparse points.

A `soap` term becomes one kernel per centre species (`soap_points`), a `distance_2b` term one per pair of species that occurs
in the data (as gap_fit's add_species does; `pair_points`), a three-body term one per triplet of species (`triplet_points`).
What will be made is planned first, so that memory and time can be told before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from soapgap.config import FitConfig
from soapgap.config.terms import Distance2bConfig, SoapConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import POOL_BYTES
from soapgap.kinds.distance_2b.plan import PlannedPair, choose_pairs, plan_pairs
from soapgap.kinds.kernel import Kernel
from soapgap.kinds.soap.plan import PlannedSoap, choose_soap, plan_soaps, soap_evaluators
from soapgap.kinds.three_body.plan import PlannedTriplet, choose_triplets, plan_triplets
from soapgap.say import Reporter

__all__ = ["Plan", "PlannedPair", "PlannedSoap", "make_kernels", "plan_kernels"]

Planned = PlannedSoap | PlannedPair | PlannedTriplet


@dataclass(frozen=True)
class Plan:
    """All kernels to be, in the order of the model's terms.

    Attributes
    ----------
    items : the kernels
    saved : number of sparse points of an earlier fit, which are taken over; None if they are chosen
    """

    items: list[Planned]
    saved: int | None = None

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points (an upper bound if they are chosen: duplicates are removed later)."""
        return sum(item.n_sparse for item in self.items) if self.saved is None else self.saved

    @property
    def soaps(self) -> list[PlannedSoap]:
        """The SOAP kernels."""
        return [item for item in self.items if isinstance(item, PlannedSoap)]

    @property
    def pairs(self) -> list[list[PlannedPair]]:
        """The kernels of pairs, those of each term together."""
        return self._by_term(PlannedPair)

    @property
    def triplets(self) -> list[list[PlannedTriplet]]:
        """The three-body kernels, those of each term together."""
        return self._by_term(PlannedTriplet)

    def _by_term(self, kind: type) -> list[list]:
        items = (item for item in self.items if isinstance(item, kind))
        return [list(group) for _, group in groupby(items, lambda item: item.position[0])]

    @property
    def thetas(self) -> dict[str, list[float]]:
        """Length scales of the kernels of pairs and triplets by term and species, for fits that add data to this one."""
        pairs = {f"terms[{p.position[0]}] {'-'.join(p.kernel.kernel.species)}": [float(p.kernel.kernel.theta)]
                 for group in self.pairs for p in group}
        return pairs | {f"terms[{t.position[0]}] {t.name}": [float(theta) for theta in t.theta]
                        for group in self.triplets for t in group}


def plan_kernels(config: FitConfig, species: list[str], shortest: dict, structures: Sequence[Structure],
                 say: Reporter, pool_bytes: int = POOL_BYTES, folder: Path = Path("."),
                 thetas: dict[str, list[float]] | None = None) -> Plan:
    """Expand the terms over species.

    Parameters
    ----------
    shortest : shortest training distance (Angstrom) of the pairs of species that occur within the cutoff
    pool_bytes : memory for the environments that sparse points are chosen from, or for what stands for them
    folder : what paths of `sparse_file` are relative to
    thetas : `Plan.thetas` of the fit that these data are added to, where `theta_fac` is not that of these data

    Raises
    ------
    InputError
        `n_sparse`, `config_type_n_sparse` or `sparse_file` do not fit the species and config types of the data; no pair or
        triplet is within a term's cutoff; a three-body term names species that the data do not have.
    """
    items: list[Planned] = []
    for number, term in enumerate(config.terms):
        if isinstance(term, SoapConfig):
            items += plan_soaps(number, term, species, structures, pool_bytes, folder, config.radial_tolerance, say)
        elif isinstance(term, Distance2bConfig):
            items += plan_pairs(number, term, species, shortest, structures, folder, thetas or {}, say)
        else:
            items += plan_triplets(number, term, species, structures, folder, thetas or {}, say)
    return Plan(items)


def make_kernels(plan: Plan, config: FitConfig, species: list[str], structures: Sequence[Structure], threads: int,
                 say: Reporter, saved: Sequence[np.ndarray] | None = None,
                 origins: Sequence[np.ndarray] | None = None) -> list[Kernel]:
    """Kernels with their sparse points.

    Parameters
    ----------
    saved : sparse points of every kernel from an interrupted fit; they are chosen anew if None
    origins : their origins, (n_sparse, 2)
    """
    if saved is not None:
        known = [None] * len(saved) if origins is None else [np.array(places) for places in origins]
        return _finished(plan, [(np.array(points), places) for points, places in zip(saved, known, strict=True)])
    chosen: dict[tuple[int, int], tuple] = {}
    for group in plan.pairs:
        chosen |= zip((p.position for p in group), choose_pairs(group, structures, config.seed, threads, say), strict=True)
    for group in plan.triplets:
        chosen |= zip((t.position for t in group), choose_triplets(group, structures, config.seed, threads, say), strict=True)
    evaluators = soap_evaluators(plan.soaps, species, threads)
    for index, item in enumerate(plan.soaps):
        chosen[item.position] = choose_soap(item, index, config, species, structures, evaluators, say)
    return _finished(plan, [chosen[item.position] for item in plan.items])


def _finished(plan: Plan, chosen: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> list[Kernel]:
    kernels: list[Kernel] = []
    index = 0
    for item, (points, origins) in zip(plan.items, chosen, strict=True):
        if isinstance(item, PlannedPair):
            kernels.append(item.with_points(points, origins))
        elif isinstance(item, PlannedTriplet):
            kernels.append(item.kernel(points, origins))
        else:
            kernels.append(item.kernel(points, index, origins))
            index += 1
    return kernels
