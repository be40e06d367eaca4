"""What a fit asks of a kind of term: its kernels, planned, with their sparse points, and as terms of the model.

A kind is its table of `fit.toml` (`soapgap.config.kind.TermConfig`), a subclass of `Kernel`, and its way to `plan` kernels:

    @register                                          the table, with kind: Literal["mine"]
    class MineConfig(TermConfig): ...

    @dataclass(frozen=True)                            the kernel of one choice of species
    class MineKernel(Kernel): ...

    @plan.register                                     which kernels there are, and how their points are chosen
    def _(config: MineConfig, number, context): return [Planned(MineKernel(...), (number, 0), ...)]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatch
from pathlib import Path

import numpy as np

from soapgap.config import FitConfig
from soapgap.config.kind import TermConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import POOL_BYTES
from soapgap.model import Model, Term
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.say import Reporter

NO_ORIGIN = -1


@dataclass(frozen=True)
class Context:
    """What kernels are planned, and their sparse points chosen, from.

    Attributes
    ----------
    config : FitConfig
        Of the whole fit.
    species : list of str
        Chemical symbols of the model.
    structures : sequence of Structure
        The training data.
    say : Reporter
        For messages.
    shortest : mapping of tuple of str to float
        Shortest training distance (Angstrom) of the pairs of species that occur within the cutoff.
    folder : Path
        What paths of `sparse_file` are relative to.
    thetas : mapping of str to list of float
        `Plan.thetas` of the fit that these data are added to, where `theta_fac` is not that of these data.
    pool_bytes : int
        Memory for the environments that sparse points are chosen from, or for what stands for them.
    threads : int
        For the choice.
    """

    config: FitConfig
    species: list[str]
    structures: Sequence[Structure]
    say: Reporter
    shortest: Mapping[tuple[str, str], float] = field(default_factory=dict)
    folder: Path = Path(".")
    thetas: Mapping[str, list[float]] = field(default_factory=dict)
    pool_bytes: int = POOL_BYTES
    threads: int = 1


@dataclass(frozen=True)
class Kernel(ABC):
    """One kernel of a fit with its sparse points: columns of the design matrix, and terms of the model.

    Attributes
    ----------
    name : str
        For messages, such as "soap (Si)".
    symbols : tuple of str
        The species that it is for, that of the centre first, if it has one.
    sparse_points : ndarray, shape (n_sparse, ...)
        One in each row.
    origins : ndarray or None
        Structure and atom in the training data of every sparse point, (n_sparse, 2), -1 where there is none.
    index : int
        Of its first term among those of the evaluator that makes rows (`rows_evaluator`).
    """

    origins: np.ndarray | None = field(default=None, kw_only=True)
    index: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.origins is None:
            object.__setattr__(self, "origins", np.full((self.n_sparse, 2), NO_ORIGIN))

    @property
    def n_sparse(self) -> int:
        """Number of sparse points, the number of columns of this kernel."""
        return len(self.sparse_points)

    # ---- what a fit needs of it

    @abstractmethod
    def covariance(self) -> np.ndarray:
        """K_MM, (n_sparse, n_sparse), eV^2; a new array."""

    def rows(self, evaluator, neighbours: NeighbourArrays, gradients: bool = True, strain: bool = True, local: bool = False):
        """Rows of the design matrix of one structure, not yet divided by sigma (`Evaluator.rows` has the formulas).

        Parameters
        ----------
        evaluator : Evaluator
            `rows_evaluator` of all kernels, used by this call alone; its `species` say what `neighbours` means.
        neighbours : NeighbourArrays
            Full neighbour list of the structure, at least up to the cutoff.
        gradients, strain, local : bool
            Which rows are made beside that of the energy.

        Returns
        -------
        energy_row : ndarray, shape (n_sparse,)
        gradient_rows : ndarray, shape (3 n_atoms, n_sparse), or None
            Derivatives by positions.
        strain_rows : ndarray, shape (6, n_sparse), or None
            Derivatives by strain in the order xx yy zz yz xz xy.
        local_rows : ndarray, shape (n_atoms, n_sparse), or None
            Of the energies of the atoms, which add up to the energy row. None also where a kernel does not know them.
        """
        n_terms = len(self.row_terms(exact=True))
        parts = [evaluator.rows(self.index + k, neighbours, gradients, strain, local) for k in range(n_terms)]
        return tuple(None if made[0] is None else sum(made[1:], start=made[0]) for made in zip(*parts, strict=True))

    @abstractmethod
    def finished(self, weights: np.ndarray) -> list[Term]:
        """The terms of the fitted model.

        Parameters
        ----------
        weights : ndarray, shape (n_sparse,)
            alpha_s (1/eV).
        """

    def row_terms(self, exact: bool) -> list[Term]:
        """Terms of the evaluator that its rows are made by, whose rows add up to them; none if they are made in Python.

        Parameters
        ----------
        exact : bool
            With every feature, also those that vanish in all sparse points.
        """
        return []

    # ---- its sparse points

    def with_points(self, points: np.ndarray, origins: np.ndarray | None = None) -> Kernel:
        """The kernel with these sparse points, as `sparse_points` gives them."""
        return replace(self, sparse_points=points, origins=origins)

    def trial_points(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Any points, to measure the time of rows with."""
        return self.sparse_points

    @property
    def thetas(self) -> list[float]:
        """Length scales, which a fit that adds data takes over; none if they do not depend on data."""
        return []

    @staticmethod
    def choose(items: Sequence[Planned], context: Context) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Sparse points and their origins of all kernels of one term; those that were given, unless the kind has a choice."""
        return [(item.given, None) for item in items]

    # ---- its memory, in bytes

    @property
    def point_bytes(self) -> int:
        """Of one sparse point, where that is worth counting."""
        return 0

    @property
    def scratch_bytes(self) -> int:
        """Of each thread, while rows are made."""
        return 0

    @staticmethod
    def pool_bytes(items: Sequence[Planned]) -> int:
        """What is kept while the sparse points of one term are chosen."""
        return 0


@dataclass(frozen=True)
class Quota:
    """How many sparse points to take from which structures.

    Attributes
    ----------
    config_type : str or None
        Of the structures; None: all.
    counts : ndarray, shape (n_structures,)
        Instances in each structure, 0 in those that do not count.
    n_sparse : int or None
        Number of points, None: all.
    kept : int
        Among how many instances they are chosen.
    seeds : tuple of int
        What tells this draw from others.
    """

    config_type: str | None
    counts: np.ndarray
    n_sparse: int | None
    kept: int
    seeds: tuple[int, ...]

    @property
    def most(self) -> int:
        """Upper bound of the number of points."""
        total = int(self.counts.sum())
        return total if self.n_sparse is None else min(self.n_sparse, total)


@dataclass(frozen=True)
class Planned:
    """A kernel to be.

    Attributes
    ----------
    kernel : Kernel
        Without its sparse points.
    position : tuple of int
        Term and kernel, for the draw.
    method : str
        `sparse_method`.
    quotas : tuple of Quota
        How many points to take from which structures.
    given : ndarray or None
        The sparse points, if they are known before the data are looked through.
    indices : ndarray or None
        Numbers of the instances in the data that an index file names.
    """

    kernel: Kernel
    position: tuple[int, int]
    method: str = ""
    quotas: tuple[Quota, ...] = ()
    given: np.ndarray | None = None
    indices: np.ndarray | None = None

    @property
    def n_sparse(self) -> int:
        """Number of sparse points (an upper bound if they are chosen: duplicates are removed later)."""
        for known in (self.given, self.indices):
            if known is not None:
                return len(known)
        return sum(quota.most for quota in self.quotas)

    @property
    def key(self) -> str:
        """Term and species."""
        return f"terms[{self.position[0]}] {'-'.join(self.kernel.symbols)}"


@singledispatch
def plan(config: TermConfig, number: int, context: Context) -> list[Planned]:
    """The kernels of one term.

    Parameters
    ----------
    config : TermConfig
        The term's table.
    number : int
        Its place in the configuration.

    Raises
    ------
    InputError
        Numbers or files that do not fit the species or config types of the data; nothing that the term is for is within its
        cutoff.
    """
    raise NotImplementedError(f"kind = {config.kind!r} has no plan of its kernels")


def numbered(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels with their `index`."""
    found, index = [], 0
    for kernel in kernels:
        n_terms = len(kernel.row_terms(exact=True))
        found.append(replace(kernel, index=index) if n_terms else kernel)
        index += n_terms
    return found


def rows_evaluator(species: list[str], kernels: Sequence[Kernel], exact: bool = False):
    """The evaluator that makes rows, with the terms of all kernels in the order of their `index`.

    Unless `exact`, features that vanish in all sparse points are left out (`soapgap.reduction.soap`).
    """
    terms = [term for kernel in kernels for term in kernel.row_terms(exact)]
    return Model(species, dict.fromkeys(species, 0.0), terms, {}).evaluator(1)
