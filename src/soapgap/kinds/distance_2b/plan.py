"""From `distance_2b` terms to kernels with their sparse points, one per pair of species in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soapgap.config.terms import Distance2bConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError
from soapgap.kinds.distance_2b.kernel import PairKernel, sparse_grid
from soapgap.kinds.kernel import DistanceKernel
from soapgap.kinds.sparse.files import files_of, pair_points, read_indices
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.kinds.sparse.select_few import Quota, choose_points, quotas
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.radial.cutoff import cutoff_function
from soapgap.say import Reporter

POOL_PAIRS = 2**21


@dataclass(frozen=True)
class PlannedPair:
    """A `distance_2b` kernel to be.

    Attributes
    ----------
    kernel : with its sparse points if they are known at once (a grid, a file), else with as many others
    position : term and kernel, for the draw
    quotas : how many points to take from which structures
    given : (n, 2) F_s and distances from a file
    indices : numbers of the pairs in the data that an index file names
    method : `sparse_method`
    """

    kernel: DistanceKernel
    method: str = "grid"
    position: tuple[int, int] = (0, 0)
    quotas: tuple[Quota, ...] = ()
    given: np.ndarray | None = None
    indices: np.ndarray | None = None
    what: str = "pairs"

    @property
    def n_sparse(self) -> int:
        """Number of sparse points (an upper bound: duplicates are removed later)."""
        return self.kernel.n_sparse

    @property
    def label(self) -> str:
        """For messages."""
        return self.kernel.name

    @property
    def kept(self) -> int:
        """Among how many distances sparse points are chosen."""
        return sum(quota.kept for quota in self.quotas)

    def with_points(self, points: np.ndarray, origins: np.ndarray | None = None) -> DistanceKernel:
        """The kernel with these sparse points: distances, (n,), or F_s and distances, (n, 2)."""
        points = np.array(points)
        cutoffs = None if points.ndim == 1 else np.ascontiguousarray(points[:, 0])
        distances = points if points.ndim == 1 else np.ascontiguousarray(points[:, 1])
        kernel = replace(self.kernel.kernel, sparse=distances, cutoffs=cutoffs)
        return DistanceKernel(kernel, self.kernel.species, origins)

    def candidates(self, neighbours: NeighbourArrays) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(n, 2) f_c(r) and r of the pairs of a structure, that they all count, and the first atom of each."""
        centre, r = _pairs(self.kernel.kernel, neighbours, self.kernel.species)
        k = self.kernel.kernel
        f, _, _ = cutoff_function(r, k.cutoff, k.cutoff_transition_width, k.cutoff_function)
        yield np.column_stack([f, r]), np.ones(len(r), bool), centre

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """The distances in units of theta, (n, 1)."""
        return points[:, 1:] / self.kernel.kernel.theta

    def covariance(self) -> Covariance:
        """F_s F_t exp(-(r_s - r_t)^2 / (2 theta^2))."""
        theta = self.kernel.kernel.theta

        def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            apart = (first[:, None, 1] - second[:, 1]) / theta
            return first[:, None, 0] * second[:, 0] * np.exp(-0.5 * apart**2)

        return Covariance(between, lambda points: points[:, 0] ** 2)


def _pairs(kernel: PairKernel, neighbours: NeighbourArrays, species: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """First atom and distance of the pairs within the cutoff, each once, except that an atom sees its own images twice."""
    centre, other, vectors = kernel.pairs(neighbours, list(species))
    if kernel.species[0] == kernel.species[1]:
        once = centre <= other
    else:
        first = species.index(kernel.species[0])
        once = neighbours.centre_species[np.searchsorted(neighbours.centre_atom, centre)] == first
    return centre[once], np.linalg.norm(vectors[once], axis=1)


def plan_pairs(number: int, term: Distance2bConfig, species: list[str], shortest: dict, structures: Sequence[Structure],
               folder: Path, thetas: dict, say: Reporter) -> list[PlannedPair]:
    """The kernels of one term: of all pairs of species that come within its cutoff.

    Parameters
    ----------
    number : place of the term in the configuration
    shortest : shortest training distance (Angstrom) of the pairs of species
    folder : what relative paths are relative to
    thetas : length scales of an earlier fit by name of the kernel (`Plan.thetas`), in place of those of these data

    Raises
    ------
    InputError
        No pair is within the cutoff; a file of sparse points that is not right; a config type that does not exist.
    """
    found = [pair for pair, distance in shortest.items() if distance < term.cutoff]
    if not found:
        raise InputError(f"terms[{number}]: no two atoms of the training data are within cutoff = {term.cutoff:g} A")
    skipped = len(species) * (len(species) + 1) // 2 - len(found)
    if skipped:
        say.line(f"terms[{number}]: {skipped} pairs of species never come within the cutoff and get no pair potential")
    kernels = [PairKernel(pair, term.cutoff, term.cutoff_transition_width, term.theta or 1.0, term.delta, np.empty(0),
                          term.cutoff_function) for pair in found]
    counts = ranges = None
    if term.theta_fac is not None or term.sparse_method not in ("grid", "file"):
        counts, ranges = _survey(kernels, structures, species, term.cutoff)
    planned = []
    for place, kernel in enumerate(kernels):
        if term.theta_fac is not None:
            name = f"terms[{number}] {'-'.join(kernel.species)}"
            own = term.theta_fac * ranges[place] if ranges[place] >= 1e-8 else 1.0
            kernel = replace(kernel, theta=thetas.get(name, [float(own)])[0])
            say.line(f"terms[{number}]: theta of distance_2b ({'-'.join(kernel.species)}) is {kernel.theta:.6g} A")
        planned.append(PlannedPair(DistanceKernel(kernel, species), term.sparse_method, (number, place)))
    if term.sparse_method == "grid":
        return [replace(p, kernel=p.with_points(sparse_grid(shortest[p.kernel.kernel.species], term.cutoff, term.n_sparse)))
                for p in planned]
    return _with_choices(number, term, planned, structures, counts, folder, say)


def _survey(kernels: Sequence[PairKernel], structures: Sequence[Structure], species: Sequence[str],
            cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pairs, (n_kernels, n_structures), and the range of their distances, (n_kernels,)."""
    counts = np.zeros((len(kernels), len(structures)), np.int64)
    low, high = np.full(len(kernels), np.inf), np.full(len(kernels), -np.inf)
    for index, structure in enumerate(structures):
        neighbours = neighbours_of(structure, cutoff, species)
        for place, kernel in enumerate(kernels):
            _, r = _pairs(kernel, neighbours, species)
            counts[place, index] = len(r)
            low[place], high[place] = min(low[place], r.min(initial=np.inf)), max(high[place], r.max(initial=-np.inf))
    return counts, high - low


def _with_choices(number: int, term: Distance2bConfig, planned: list[PlannedPair], structures: Sequence[Structure],
                  counts: np.ndarray | None, folder: Path, say: Reporter) -> list[PlannedPair]:
    """What is known of the sparse points before the data are looked through."""
    if term.sparse_file is not None:
        names = ["-".join(p.kernel.kernel.species) for p in planned]
        files = files_of(number, term.sparse_file, names, folder, lambda a, b: sorted(a.split("-")) == sorted(b.split("-")))
    finished = []
    for place, item in enumerate(planned):
        pair = item.kernel.kernel.species
        if term.sparse_method == "file":
            given = pair_points(files[place], pair, term.cutoff)
            finished.append(replace(item, given=given, kernel=item.with_points(given)))
            continue
        item = replace(item, quotas=quotas(number, term, structures, counts[place], POOL_PAIRS, say))
        n_points = sum(quota.most for quota in item.quotas)
        if term.sparse_method == "index_file":
            item = replace(item, indices=read_indices(files[place], int(counts[place].sum()), f"pairs of {'-'.join(pair)}"))
            n_points = len(item.indices)
        trial = np.linspace(0.1, term.cutoff, n_points)
        finished.append(replace(item, kernel=item.with_points(trial)))
    return finished


def choose_pairs(items: Sequence[PlannedPair], structures: Sequence[Structure], seed: int, threads: int,
                 say: Reporter) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Sparse points of all kernels of one term and their origins."""
    if items[0].method == "grid":
        return [(item.kernel.sparse_points, None) for item in items]
    kernel = items[0].kernel
    return choose_points(items, structures, kernel.kernel.cutoff, kernel.species, seed, threads, say)
