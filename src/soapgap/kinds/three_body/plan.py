"""From `angle_3b` and `distance_3b` terms to kernels with their sparse points, one per choice of species in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from scipy.spatial.distance import cdist

from soapgap.config.terms import Angle3bConfig, Distance3bConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError
from soapgap.kinds.kernel import ThreeBodyKernel
from soapgap.kinds.sparse.files import files_of, read_indices, triplet_points
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.kinds.sparse.select_few import Quota, choose_points, quotas
from soapgap.kinds.three_body.kernel import TripletKernel
from soapgap.kinds.three_body.triplets import TripletKind, count_triplets
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.say import Reporter

POOL_TRIPLETS = 2**18
Term = Angle3bConfig | Distance3bConfig
ONE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class PlannedTriplet:
    """A three-body kernel to be.

    Attributes
    ----------
    theta : length scales of the three components
    counts : (n_structures,) triplets of each structure (as seen from every centre)
    position : term and kernel, for the draw
    quotas : how many points to take from which structures
    given : (n, 4) F_s and X_s from a file
    indices : numbers of the triplets in the data that an index file names
    """

    config: Term
    kind: TripletKind
    species: list[str]
    counts: np.ndarray
    position: tuple[int, int]
    theta: tuple[float, float, float] = ONE
    quotas: tuple[Quota, ...] = ()
    given: np.ndarray | None = None
    indices: np.ndarray | None = None
    what: str = "triplets"

    @property
    def n_sparse(self) -> int:
        """Number of sparse points (an upper bound: duplicates are removed later)."""
        if self.given is not None or self.indices is not None:
            return len(self.indices if self.given is None else self.given)
        return sum(quota.most for quota in self.quotas)

    @property
    def kept(self) -> int:
        """Among how many triplets sparse points are chosen."""
        return sum(quota.kept for quota in self.quotas)

    @property
    def method(self) -> str:
        """`sparse_method`."""
        return self.config.sparse_method

    @property
    def name(self) -> str:
        """The species."""
        return "-".join(self.kind.species)

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.config.kind} ({self.name})"

    def kernel(self, points: np.ndarray, origins: np.ndarray | None = None) -> ThreeBodyKernel:
        """The kernel with these sparse points, (n_sparse, 4): F_s and X_s."""
        kernel = TripletKernel(self.kind, np.array(self.theta), self.config.delta,
                               np.ascontiguousarray(points[:, 1:]), np.ascontiguousarray(points[:, 0]))
        return ThreeBodyKernel(kernel, self.species, origins)

    def random_points(self, rng: np.random.Generator) -> np.ndarray:
        """Points for a trial, (n_sparse, 4)."""
        return np.column_stack([np.ones(self.n_sparse), self.config.cutoff * rng.random((self.n_sparse, 3))])

    def candidates(self, neighbours: NeighbourArrays) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The triplets of a structure: (n, 4) F and x, whether they count, and the atom that each is seen from."""
        return self.kind.candidates(neighbours, self.species)

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """x in units of theta, (n, 3)."""
        return points[:, 1:] / self.theta

    def covariance(self) -> Covariance:
        """F_s F_t k(X_s, X_t) / delta^2 of rows (n, 4)."""
        theta, orders = np.array(self.theta), self.kind.permutations

        def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return sum(np.exp(-0.5 * cdist(first[:, order], second, "sqeuclidean")) for order in orders)

        def norms(x: np.ndarray) -> np.ndarray:
            return np.sqrt(sum(np.exp(-0.5 * ((x[:, order] - x) ** 2).sum(axis=1)) for order in orders))

        def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            x, y = first[:, 1:] / theta, second[:, 1:] / theta
            return (first[:, 0] / norms(x))[:, None] * similarity(x, y) * (second[:, 0] / norms(y))

        return Covariance(between, lambda points: points[:, 0] ** 2)


def plan_triplets(number: int, term: Term, species: list[str], structures: Sequence[Structure], folder: Path,
                  thetas: dict, say: Reporter) -> list[PlannedTriplet]:
    """The kernels of one term: of the species that it names, or of all that come within its cutoff.

    Parameters
    ----------
    number : place of the term in the configuration
    species : of the data, by atomic number
    folder : what relative paths are relative to
    thetas : length scales of an earlier fit by name of the kernel (`Plan.thetas`), in place of those of these data

    Raises
    ------
    InputError
        The term names species that the data do not have; no triplet is within its cutoff; theta distinguishes atoms of
        the same species; a file of sparse points that is not right; a config type that does not exist.
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
        item = PlannedTriplet(term, kind, species, mine, (number, len(planned)), term.theta or ONE)
        if f"terms[{number}] {item.name}" in thetas if thetas else mine.sum():
            planned.append(item)
    if not planned:
        what = f"three atoms {'-'.join(term.species)}" if term.species else "three atoms"
        raise InputError(f"terms[{number}]: no {what} of the training data are within cutoff = {term.cutoff:g} A of one "
                         "of them; give a larger cutoff")
    if len(planned) < len(triples):
        say.line(f"terms[{number}]: {len(triples) - len(planned)} triplets of species never come within the cutoff and "
                 "get no three-body potential")
    valid = None
    if term.theta_fac is not None or term.sparse_method == "index_file":
        valid, ranges = _survey(planned, structures)
    if term.theta_fac is not None:
        planned = [_with_theta(item, size, thetas, say) for item, size in zip(planned, ranges, strict=True)]
    return _with_choices(planned, structures, valid, folder, say)


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
    key = "theta" if term.theta_fac is None else "theta_fac"
    theta = np.array(getattr(term, key))
    if (theta[kind.permutations] != theta).any():
        a, b, c = kind.species
        raise InputError(f"terms[{number}].{key} = [{', '.join(f'{t:g}' for t in theta)}] belongs to the distances {a}-{b}, "
                         f"{a}-{c}, {b}-{c}, among which equal atoms can be exchanged: expected equal numbers there; give "
                         "one number for all, or one term for each choice of species")


def _survey(planned: Sequence[PlannedTriplet], structures: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of triplets that count, (n_kernels,), and ranges of their components, over all exchanges of equal atoms."""
    n_valid = np.zeros(len(planned), np.int64)
    low, high = np.full((len(planned), 3), np.inf), np.full((len(planned), 3), -np.inf)
    for structure in structures:
        neighbours = neighbours_of(structure, planned[0].kind.cutoff, planned[0].species)
        for place, item in enumerate(planned):
            for points, valid, _ in item.candidates(neighbours):
                x = points[valid, 1:]
                n_valid[place] += len(x)
                low[place] = np.minimum(low[place], x.min(axis=0, initial=np.inf))
                high[place] = np.maximum(high[place], x.max(axis=0, initial=-np.inf))
    for place, item in enumerate(planned):
        low[place] = low[place][item.kind.permutations].min(axis=0)
        high[place] = high[place][item.kind.permutations].max(axis=0)
    return n_valid, high - low


def _with_theta(item: PlannedTriplet, ranges: np.ndarray, thetas: dict, say: Reporter) -> PlannedTriplet:
    theta = np.where(ranges >= 1e-8, np.array(item.config.theta_fac) * ranges, 1.0)
    theta = tuple(thetas.get(f"terms[{item.position[0]}] {item.name}", theta.tolist()))
    say.line(f"terms[{item.position[0]}]: theta of {item.label} is {', '.join(f'{t:.6g}' for t in theta)}")
    return replace(item, theta=theta)


def _with_choices(planned: list[PlannedTriplet], structures: Sequence[Structure], valid: np.ndarray | None, folder: Path,
                  say: Reporter) -> list[PlannedTriplet]:
    """What is known of the sparse points before the data are looked through."""
    term, number = planned[0].config, planned[0].position[0]
    if term.sparse_file is not None:
        angle = planned[0].kind.angle
        files = files_of(number, term.sparse_file, [item.name for item in planned], folder,
                         lambda a, b: _same_species(a.split("-"), b.split("-"), angle))
    finished = []
    for place, item in enumerate(planned):
        if term.sparse_method == "file":
            finished.append(replace(item, given=triplet_points(files[place], term.kind, item.kind.species, term.cutoff)))
            continue
        item = replace(item, quotas=quotas(number, term, structures, item.counts, POOL_TRIPLETS, say))
        if term.sparse_method == "index_file":
            item = replace(item, indices=read_indices(files[place], int(valid[place]), f"triplets {item.name}"))
        elif item.kept < sum(int(quota.counts.sum()) for quota in item.quotas):
            say.line(f"terms[{number}]: sparse points of {item.label} are chosen from {item.kept} of {int(item.counts.sum())} "
                     "triplets, drawn at random")
        finished.append(item)
    return finished


def _same_species(first: list[str], second: list[str], angle: bool) -> bool:
    fixed = 1 if angle else 0  # the centre of angle_3b
    return first[:fixed] == second[:fixed] and sorted(first[fixed:]) == sorted(second[fixed:])


def choose_triplets(items: Sequence[PlannedTriplet], structures: Sequence[Structure], seed: int, threads: int,
                    say: Reporter) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse points of all kernels of one term, each (n, 4): F_s and X_s; and their origins, (n, 2)."""
    return choose_points(items, structures, items[0].kind.cutoff, items[0].species, seed, threads, say)
