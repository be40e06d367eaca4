"""From the terms of the configuration to kernels with their sparse points.

A `soap` term becomes one kernel per centre species, a `distance_2b` term one per pair of species that occurs in the
data (as gap_fit's add_species does), a three-body term one per triplet of species (`triplet_points`). What will be made
is planned first, so that memory and time can be told before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np

from soapgap.basis import make_basis
from soapgap.errors import InputError
from soapgap.model import Model, SoapTerm
from soapgap.training.config import FitConfig
from soapgap.training.config_terms import Distance2bConfig, SoapConfig
from soapgap.training.dataset import Structure
from soapgap.training.environments import collect_features, pool_sizes
from soapgap.training.kernels import DistanceKernel, Kernel, SoapKernel
from soapgap.training.pair_kernel import PairKernel, sparse_grid
from soapgap.training.progress import Reporter
from soapgap.training.sparsify import select, unique_rows
from soapgap.training.triplet_points import PlannedTriplet, choose_triplets, plan_triplets


@dataclass(frozen=True)
class PlannedSoap:
    """A SOAP kernel to be: its term without sparse points, and how many of how many environments to take."""

    config: SoapConfig
    empty: SoapTerm
    n_sparse: int
    pool: tuple[int, int]
    position: tuple[int, int]

    def kernel(self, points: np.ndarray, index: int) -> SoapKernel:
        """The kernel with these sparse points, as SOAP term number `index` of the rows' evaluator."""
        e = self.empty
        term = SoapTerm(e.centre, e.neighbours, e.n_max, e.l_max, e.cutoff, e.zeta, e.delta, e.table, e.centre_values,
                        points, np.zeros((1, len(points))), e.normalise, e.basis)
        return SoapKernel(term, index)


@dataclass(frozen=True)
class PlannedPair:
    """A `distance_2b` kernel to be: its sparse points are a grid, known at once."""

    kernel: DistanceKernel

    @property
    def n_sparse(self) -> int:
        """Number of sparse points."""
        return self.kernel.n_sparse


@dataclass(frozen=True)
class Plan:
    """All kernels to be, in the order of the model's terms."""

    items: list[PlannedSoap | PlannedPair | PlannedTriplet]

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points (an upper bound: duplicates are removed later)."""
        return sum(item.n_sparse for item in self.items)

    @property
    def soaps(self) -> list[PlannedSoap]:
        """The SOAP kernels."""
        return [item for item in self.items if isinstance(item, PlannedSoap)]

    @property
    def triplets(self) -> list[list[PlannedTriplet]]:
        """The three-body kernels, those of each term together."""
        triplets = (item for item in self.items if isinstance(item, PlannedTriplet))
        return [list(group) for _, group in groupby(triplets, lambda item: item.position[0])]


def plan_kernels(config: FitConfig, species: list[str], shortest: dict, structures: Sequence[Structure],
                 say: Reporter) -> Plan:
    """Expand the terms over species.

    Parameters
    ----------
    shortest : shortest training distance (Angstrom) of the pairs of species that occur within the cutoff

    Raises
    ------
    InputError
        `n_sparse` is given per species and does not fit the species of the data; no pair or triplet is within a term's
        cutoff; a three-body term names species that the data do not have.
    """
    items: list[PlannedSoap | PlannedPair | PlannedTriplet] = []
    for number, term in enumerate(config.terms):
        if isinstance(term, SoapConfig):
            items += _plan_soaps(number, term, species, structures, say)
        elif isinstance(term, Distance2bConfig):
            items += _plan_pairs(number, term, species, shortest, say)
        else:
            items += plan_triplets(number, term, species, structures, say)
    return Plan(items)


def _plan_soaps(number: int, term: SoapConfig, species: list[str], structures, say: Reporter) -> list[PlannedSoap]:
    wanted = _n_sparse(number, term, species)
    basis = make_basis(term.radial_basis, n_max=term.n_max, l_max=term.l_max, cutoff=term.cutoff,
                       atom_sigma=term.atom_sigma, cutoff_transition_width=term.cutoff_transition_width,
                       central_weight=term.central_weight, cutoff_function=term.cutoff_function)
    table = basis.table()
    empties = []
    for index, centre in enumerate(species):
        own = np.zeros((len(species), term.n_max))
        own[index] = basis.centre
        empty = SoapTerm(centre, list(species), term.n_max, term.l_max, term.cutoff, term.zeta, term.delta, table, own,
                         np.empty((0, 0)), np.empty((1, 0)), basis=basis.parameters)
        empty.sparse_points = np.empty((0, empty.n_features))
        empties.append(empty)
    sizes = pool_sizes(structures, species, [e.n_features for e in empties], [wanted[s] for s in species])
    planned = []
    for index, (empty, size) in enumerate(zip(empties, sizes, strict=True)):
        n_sparse = wanted[empty.centre]
        if size[0] < n_sparse:
            say.warning(f"terms[{number}]: only {size[0]} environments of {empty.centre}: "
                        f"n_sparse reduced from {n_sparse}")
        if size[1] < size[0]:
            say.line(f"terms[{number}]: sparse points of {empty.centre} are chosen from {size[1]} of {size[0]} "
                     "environments, drawn at random")
        planned.append(PlannedSoap(term, empty, min(n_sparse, size[0]), size, (number, index)))
    return planned


def _n_sparse(number: int, term: SoapConfig, species: list[str]) -> dict[str, int]:
    if isinstance(term.n_sparse, int):
        return dict.fromkeys(species, term.n_sparse)
    if sorted(term.n_sparse) != sorted(species):
        raise InputError(f"terms[{number}].n_sparse names {', '.join(sorted(term.n_sparse))}; expected one number for "
                         f"each species of the training data: {', '.join(sorted(species))}")
    return dict(term.n_sparse)


def _plan_pairs(number: int, term: Distance2bConfig, species: list[str], shortest: dict,
                say: Reporter) -> list[PlannedPair]:
    planned = []
    for pair, distance in shortest.items():
        if distance < term.cutoff:
            grid = sparse_grid(distance, term.cutoff, term.n_sparse)
            kernel = PairKernel(pair, term.cutoff, term.cutoff_transition_width, term.theta, term.delta, grid,
                                term.cutoff_function)
            planned.append(PlannedPair(DistanceKernel(kernel, species)))
    if not planned:
        raise InputError(f"terms[{number}]: no two atoms of the training data are within cutoff = {term.cutoff:g} A")
    skipped = len(species) * (len(species) + 1) // 2 - len(planned)
    if skipped:
        say.line(f"terms[{number}]: {skipped} pairs of species never come within the cutoff and get no pair potential")
    return planned


def make_kernels(plan: Plan, config: FitConfig, species: list[str], structures: Sequence[Structure], threads: int,
                 say: Reporter, saved: Sequence[np.ndarray] | None = None) -> list[Kernel]:
    """Kernels with their sparse points.

    Parameters
    ----------
    saved : sparse points of every kernel from an interrupted fit; they are chosen anew if None
    """
    evaluators = []
    if plan.soaps and saved is None:
        empty = Model(species, dict.fromkeys(species, 0.0), [item.empty for item in plan.soaps], {})
        first = empty.evaluator(1)
        evaluators = [first, *(first.clone() for _ in range(threads - 1))]
    triplet_points = iter(())
    if saved is None:
        triplet_points = chain.from_iterable(choose_triplets(group, structures, config.seed, threads, say)
                                             for group in plan.triplets)
    kernels: list[Kernel] = []
    index = 0
    for number, item in enumerate(plan.items):
        if isinstance(item, PlannedPair):
            kernels.append(item.kernel)
            continue
        if isinstance(item, PlannedTriplet):
            kernels.append(item.kernel(next(triplet_points) if saved is None else np.array(saved[number])))
            continue
        if saved is not None:
            points = np.array(saved[number])
        else:
            points = _choose(item, index, config, species, structures, evaluators, say)
        kernels.append(item.kernel(points, index))
        index += 1
    return kernels


def _choose(item: PlannedSoap, index: int, config: FitConfig, species: list[str], structures: Sequence[Structure],
            evaluators: Sequence, say: Reporter) -> np.ndarray:
    seed = [config.seed, *item.position]
    with say.task(f"environments of {item.empty.centre}", len(structures)) as task:
        pool = collect_features(evaluators, structures, index, item.empty.centre, config.cutoff, species, item.pool,
                                [*seed, 1], task.advance)
    unique = unique_rows(pool)
    if len(unique) < item.n_sparse:
        say.warning(f"terms[{item.position[0]}]: only {len(unique)} different environments of {item.empty.centre}: "
                    f"n_sparse reduced from {item.n_sparse}")
    if len(unique) < len(pool):
        pool = pool[unique]
    return pool[select(pool, item.n_sparse, item.config.sparse_method, seed)]
