"""From `angle_3b` and `distance_3b` terms to kernels with their sparse points, one per choice of species in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase.data import atomic_numbers

from soapgap.errors import InputError
from soapgap.training.config_terms import Angle3bConfig, Distance3bConfig
from soapgap.training.dataset import Structure
from soapgap.training.environments import neighbours_of
from soapgap.training.kernels import ThreeBodyKernel
from soapgap.training.ordered_map import ordered_map
from soapgap.training.progress import Reporter
from soapgap.training.sparsify import select, unique_rows
from soapgap.training.triplet_kernel import TripletKernel
from soapgap.training.triplets import TripletKind, count_triplets

POOL_TRIPLETS = 2**18
Term = Angle3bConfig | Distance3bConfig


@dataclass(frozen=True)
class PlannedTriplet:
    """A three-body kernel to be.

    Attributes
    ----------
    counts : (n_structures,) triplets of each structure (as seen from every centre)
    kept : among how many of them sparse points are chosen
    position : term and kernel, for the draw
    """

    config: Term
    kind: TripletKind
    species: list[str]
    n_sparse: int
    counts: np.ndarray
    kept: int
    position: tuple[int, int]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.config.kind} ({'-'.join(self.kind.species)})"

    def kernel(self, points: np.ndarray) -> ThreeBodyKernel:
        """The kernel with these sparse points, (n_sparse, 4): F_s and X_s."""
        kernel = TripletKernel(self.kind, np.array(self.config.theta), self.config.delta,
                               np.ascontiguousarray(points[:, 1:]), np.ascontiguousarray(points[:, 0]))
        return ThreeBodyKernel(kernel, self.species)

    def random_points(self, rng: np.random.Generator) -> np.ndarray:
        """Points for a trial, (n_sparse, 4)."""
        return np.column_stack([np.ones(self.n_sparse), self.config.cutoff * rng.random((self.n_sparse, 3))])


def plan_triplets(number: int, term: Term, species: list[str], structures: Sequence[Structure],
                  say: Reporter) -> list[PlannedTriplet]:
    """The kernels of one term: of the species that it names, or of all that come within its cutoff.

    Parameters
    ----------
    number : place of the term in the configuration
    species : of the data, by atomic number

    Raises
    ------
    InputError
        The term names species that the data do not have; no triplet is within its cutoff; theta distinguishes atoms of
        the same species.
    """
    triples = list(_triples(number, term, species))
    counts = np.array([count_triplets(neighbours_of(s, term.cutoff, species), len(species), term.cutoff)
                       for s in structures])
    planned = []
    for triple in triples:
        kind = TripletKind(isinstance(term, Angle3bConfig), triple, term.cutoff, term.cutoff_transition_width)
        _check_theta(number, term, kind)
        mine = sum(counts[:, species.index(v.centre), species.index(v.neighbours[0]), species.index(v.neighbours[1])]
                   for v in kind.views)
        total = int(mine.sum())
        if total == 0:
            continue
        kept = min(total, max(POOL_TRIPLETS, 2 * term.n_sparse))
        item = PlannedTriplet(term, kind, species, min(term.n_sparse, total), mine, kept, (number, len(planned)))
        if kept < total:
            say.line(f"terms[{number}]: sparse points of {item.label} are chosen from {kept} of {total} triplets, drawn "
                     "at random")
        planned.append(item)
    if not planned:
        what = f"three atoms {'-'.join(term.species)}" if term.species else "three atoms"
        raise InputError(f"terms[{number}]: no {what} of the training data are within cutoff = {term.cutoff:g} A of one "
                         "of them; give a larger cutoff")
    if len(planned) < len(triples):
        say.line(f"terms[{number}]: {len(triples) - len(planned)} triplets of species never come within the cutoff and "
                 "get no three-body potential")
    return planned


def _triples(number: int, term: Term, species: list[str]) -> Iterator[tuple[str, str, str]]:
    """Centres and unordered neighbours for angle_3b, three unordered species by atomic number for distance_3b."""
    angle = isinstance(term, Angle3bConfig)
    if term.species is not None:
        strange = [symbol for symbol in term.species if symbol not in species]
        if strange:
            raise InputError(f"terms[{number}].species names {', '.join(strange)}; the species of the training data are "
                             f"{', '.join(species)}")
        yield term.species if angle else tuple(sorted(term.species, key=atomic_numbers.__getitem__))
    elif angle:
        yield from ((centre, *pair) for centre in species for pair in combinations_with_replacement(species, 2))
    else:
        yield from combinations_with_replacement(species, 3)


def _check_theta(number: int, term: Term, kind: TripletKind) -> None:
    theta = np.array(term.theta)
    if (theta[kind.permutations] != theta).any():
        a, b, c = kind.species
        raise InputError(f"terms[{number}].theta = [{', '.join(f'{t:g}' for t in theta)}] belongs to the distances {a}-{b}, "
                         f"{a}-{c}, {b}-{c}, among which equal atoms can be exchanged: expected equal numbers there; give "
                         "one number for all, or one term for each choice of species")


def choose_triplets(items: Sequence[PlannedTriplet], structures: Sequence[Structure], seed: int, threads: int,
                    say: Reporter) -> list[np.ndarray]:
    """Sparse points of all kernels of one term, each (n, 4): F_s and X_s."""
    with say.task(f"triplets of {items[0].config.kind}", len(structures)) as task:
        pools = _collect(items, structures, seed, threads, task.advance)
    return [_choose(item, pool, seed, say) for item, pool in zip(items, pools, strict=True)]


def _collect(items: Sequence[PlannedTriplet], structures: Sequence[Structure], seed: int, threads: int,
             advance) -> list[np.ndarray]:
    """The triplets to choose from, in the order of the data."""
    chosen, starts = [], []
    for item in items:
        total = int(item.counts.sum())
        drawn = np.arange(total)
        if item.kept < total:
            drawn = np.sort(np.random.default_rng([seed, *item.position, 1]).choice(total, item.kept, replace=False))
        chosen.append(drawn)
        starts.append(np.cumsum(item.counts) - item.counts)
    species, cutoff = items[0].species, items[0].kind.cutoff

    def triplets(_, index: int) -> list[np.ndarray]:
        neighbours = neighbours_of(structures[index], cutoff, species)
        return [_drawn(item, neighbours, drawn, int(start[index]))
                for item, drawn, start in zip(items, chosen, starts, strict=True)]

    parts: list[list[np.ndarray]] = [[] for _ in items]
    for found in ordered_map(triplets, range(len(structures)), range(threads)):
        for part, points in zip(parts, found, strict=True):
            part.append(points)
        advance(1)
    return [np.concatenate(part) for part in parts]


def _drawn(item: PlannedTriplet, neighbours, drawn: np.ndarray, start: int) -> np.ndarray:
    """Those triplets of one structure, numbered from `start` on, that are among the ascending numbers `drawn`."""
    found = [np.empty((0, 4))]
    for points, valid in item.kind.candidates(neighbours, item.species):
        low, high = np.searchsorted(drawn, [start, start + len(points)])
        here = drawn[low:high] - start
        found.append(points[here[valid[here]]])
        start += len(points)
    return np.concatenate(found)


def _choose(item: PlannedTriplet, pool: np.ndarray, seed: int, say: Reporter) -> np.ndarray:
    scaled = pool[:, 1:] / item.config.theta
    unique = unique_rows(scaled)
    if len(unique) < item.config.n_sparse:
        say.warning(f"terms[{item.position[0]}]: only {len(unique)} different triplets of {item.label}: n_sparse reduced "
                    f"from {item.config.n_sparse}")
    chosen = select(scaled[unique], item.n_sparse, item.config.sparse_method, [seed, *item.position])
    return pool[unique[chosen]]
