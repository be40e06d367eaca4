"""What kernels of pairs and of triplets share: length scales and sparse points that are chosen among the instances in the data.

Points are rows of F_s, the value of the cutoff functions where the point was found, and X_s, its descriptor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from soapgap.config.kind import TermConfig
from soapgap.data.environments import neighbours_of
from soapgap.kinds.kernel import Context, Kernel, Planned
from soapgap.kinds.sparse.files import MODEL_SUFFIX, best_points, files_of, read_indices, read_points
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.kinds.sparse.select_few import choose_points, quotas
from soapgap.model import Model, Term
from soapgap.neighbours.arrays import NeighbourArrays


@dataclass(frozen=True)
class FewBodyKernel(Kernel):
    """A kernel of pairs or triplets.

    Attributes
    ----------
    what : str
        Its instances in the data, "pairs" or "triplets".
    cutoff : float
        Angstrom.
    n_fixed : int
        How many of its `symbols` have a place of their own; the others can be exchanged.
    permutations : ndarray, shape (n_permutations, d)
        Of the d components of the descriptor that exchange equal atoms.
    """

    what: ClassVar[str]

    @property
    @abstractmethod
    def thetas(self) -> list[float]:
        """Length scales, one for each component of the descriptor."""

    @abstractmethod
    def with_thetas(self, thetas: Sequence[float]) -> FewBodyKernel:
        """The kernel with these length scales."""

    @abstractmethod
    def candidates(self, neighbours: NeighbourArrays, species: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """The instances in a structure: (n, 1 + d) F and x, whether they count, and the atom that each is seen from."""

    @abstractmethod
    def between(self) -> Covariance:
        """F_s F_t k(X_s, X_t) / delta^2 of rows (n, 1 + d)."""

    @abstractmethod
    def stored(self, model: Model) -> list[tuple[Term, np.ndarray]]:
        """Terms of a model that are kernels like this one, and their X_s."""

    def scaled(self, points: np.ndarray) -> np.ndarray:
        """x in units of theta, (n, d), of rows (n, 1 + d)."""
        return points[:, 1:] / self.thetas

    @staticmethod
    def choose(items: Sequence[Planned], context: Context) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `Kernel.choose`."""
        return choose_points(items, context)

    @staticmethod
    def pool_bytes(items: Sequence[Planned]) -> int:
        """Structure, atom, F and x of the instances that points are chosen from."""
        return 8 * 6 * sum(quota.kept for item in items for quota in item.quotas)


def survey(kernels: Sequence[FewBodyKernel], context: Context) -> tuple[np.ndarray, np.ndarray]:
    """How many instances count, (n_kernels, n_structures), and the ranges of x, (n_kernels, d), equal atoms exchanged."""
    counts = np.zeros((len(kernels), len(context.structures)), np.int64)
    n_components = len(kernels[0].thetas)
    low, high = np.full((len(kernels), n_components), np.inf), np.full((len(kernels), n_components), -np.inf)
    for index, structure in enumerate(context.structures):
        neighbours = neighbours_of(structure, kernels[0].cutoff, context.species)
        for place, kernel in enumerate(kernels):
            for points, valid, _ in kernel.candidates(neighbours, context.species):
                x = points[valid, 1:]
                counts[place, index] += len(x)
                low[place] = np.minimum(low[place], x.min(axis=0, initial=np.inf))
                high[place] = np.maximum(high[place], x.max(axis=0, initial=-np.inf))
    for place, kernel in enumerate(kernels):
        low[place] = low[place][kernel.permutations].min(axis=0)
        high[place] = high[place][kernel.permutations].max(axis=0)
    return counts, high - low


def with_own_thetas(item: Planned, theta_fac: float | Sequence[float], ranges: np.ndarray, context: Context) -> Planned:
    """Length scales in units of the range of the data, or those of the fit that these data are added to."""
    own = np.where(ranges >= 1e-8, np.array(theta_fac) * ranges, 1.0)
    kernel = item.kernel.with_thetas(context.thetas.get(item.key, own.tolist()))
    shown = ", ".join(f"{theta:.6g}" for theta in kernel.thetas)
    context.say.line(f"terms[{item.position[0]}]: theta of {kernel.name} is {shown}{' A' * (len(ranges) == 1)}")
    return replace(item, kernel=kernel)


def with_choices(config: TermConfig, planned: list[Planned], counts: Sequence[np.ndarray], valid: np.ndarray | None,
                 limit: int, context: Context) -> list[Planned]:
    """What is known of the sparse points before the data are looked through.

    Parameters
    ----------
    counts : sequence of ndarray, shape (n_structures,)
        Candidates of each kernel in each structure; not used with sparse_method = "file".
    valid : ndarray, shape (n_kernels,), or None
        How many of them count, for sparse_method = "index_file".
    limit : int
        Of the instances to choose from.
    """
    number = planned[0].position[0]
    if config.sparse_file is not None:
        fixed = planned[0].kernel.n_fixed
        names = ["-".join(item.kernel.symbols) for item in planned]
        files = files_of(number, config.sparse_file, names, context.folder,
                         lambda a, b: _same_species(a.split("-"), b.split("-"), fixed))
    finished = []
    for place, item in enumerate(planned):
        kernel = item.kernel
        if config.sparse_method == "file":
            finished.append(replace(item, given=points_of_file(files[place], kernel)))
            continue
        item = replace(item, quotas=quotas(number, config, counts[place], limit, context))
        kept, total = sum(quota.kept for quota in item.quotas), sum(int(quota.counts.sum()) for quota in item.quotas)
        if config.sparse_method == "index_file":
            item = replace(item, indices=read_indices(files[place], int(valid[place]), f"{kernel.what} {names[place]}"))
        elif kept < total:
            context.say.line(f"terms[{number}]: sparse points of {kernel.name} are chosen from {kept} of {total} "
                             f"{kernel.what}, drawn at random")
        finished.append(item)
    return finished


def _same_species(first: list[str], second: list[str], fixed: int) -> bool:
    return first[:fixed] == second[:fixed] and sorted(first[fixed:]) == sorted(second[fixed:])


def points_of_file(path: Path, kernel: FewBodyKernel) -> np.ndarray:
    """F_s and X_s, (n, 1 + d), from QUIP's text or a model file.

    Raises
    ------
    InputError
        The file is another descriptor's, or a model has no such term.
    """
    what = f"the {kernel.name.split(' ')[0]} kernel of {'-'.join(kernel.symbols)}"
    if path.suffix != MODEL_SUFFIX:
        return read_points(path, len(kernel.thetas), what)
    return best_points(path, what, [
        (np.column_stack([term.sparse.get("sparse_cutoff", np.ones(len(points))), points]),
         [] if term.cutoff == kernel.cutoff else [f"cutoff is {term.cutoff:g}, expected {kernel.cutoff:g}"])
        for term, points in kernel.stored(Model.load(path))])
