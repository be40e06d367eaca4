"""The kernels of a fit: what the design matrix needs to know of a term, and what the term becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from soapgap.kinds.distance_2b.kernel import PairKernel
from soapgap.kinds.three_body.kernel import TripletKernel
from soapgap.model import Model, PairTerm, SoapTerm, TripletTerm
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.reduction.soap import reduce_term


class _WithOrigins:
    """`origins` of every sparse point: structure and atom in the training data, (n_sparse, 2), -1 where there is none."""

    def __post_init__(self) -> None:
        if self.origins is None:
            object.__setattr__(self, "origins", np.full((self.n_sparse, 2), -1))


@dataclass(frozen=True)
class SoapKernel(_WithOrigins):
    """A SOAP kernel with its sparse points; `index` is its term in the evaluator that makes its rows."""

    term: SoapTerm
    index: int
    origins: np.ndarray | None = None

    @property
    def n_sparse(self) -> int:
        """Number of sparse points, the number of columns of this kernel."""
        return len(self.term.sparse_points)

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse, d) features."""
        return self.term.sparse_points

    @property
    def name(self) -> str:
        """For messages."""
        return f"soap ({self.term.centre})"

    def covariance(self) -> np.ndarray:
        """K_MM = delta^2 (X_s . X_t)^zeta, (n_sparse, n_sparse), eV^2."""
        covariance = self.sparse_points @ self.sparse_points.T
        np.power(covariance, self.term.zeta, out=covariance)
        covariance *= self.term.delta**2
        return covariance

    def rows(self, evaluator, neighbours, gradients: bool, strain: bool):
        """Rows of the design matrix of one structure (`Evaluator.kernel_rows`)."""
        return evaluator.kernel_rows(self.index, neighbours, gradients=gradients, strain=strain)

    def local_rows(self, evaluator, neighbours) -> np.ndarray:
        """Rows of the energies of the atoms, (n_atoms, n_sparse): zero for atoms that are no centres of this kernel."""
        rows = np.zeros((neighbours.n_atoms, self.n_sparse))
        for centre in np.flatnonzero(neighbours.centre_species == evaluator.species.index(self.term.centre)):
            alone = _one_centre(neighbours, centre)
            rows[neighbours.centre_atom[centre]], _, _ = evaluator.kernel_rows(self.index, alone, gradients=False, strain=False)
        return rows

    def finished(self, weights: np.ndarray) -> list[SoapTerm]:
        """The term of the fitted model."""
        return [replace(self.term, weights=weights.reshape(1, -1))]


@dataclass(frozen=True)
class _FewBodyKernel(_WithOrigins):
    """What `DistanceKernel` and `ThreeBodyKernel` share: a kernel of pairs or triplets among the species of the model."""

    kernel: PairKernel | TripletKernel
    species: list[str]
    origins: np.ndarray | None = None

    @property
    def n_sparse(self) -> int:
        """Number of sparse points, the number of columns of this kernel."""
        return self.kernel.n_sparse

    def covariance(self) -> np.ndarray:
        """K_MM, (n_sparse, n_sparse), eV^2."""
        return self.kernel.covariance()

    def rows(self, evaluator, neighbours, gradients: bool, strain: bool):
        """Rows of the design matrix of one structure."""
        return self.kernel.rows(neighbours, self.species, gradients, strain)

    def local_rows(self, evaluator, neighbours) -> np.ndarray:
        """Rows of the energies of the atoms, (n_atoms, n_sparse)."""
        return self.kernel.local_rows(neighbours, self.species)


class DistanceKernel(_FewBodyKernel):
    """A `distance_2b` kernel among the species of the model."""

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse,) distances X_s (Angstrom), or (n_sparse, 2) weight F_s and X_s if there are weights."""
        k = self.kernel
        return k.sparse if k.cutoffs is None else np.column_stack([k.cutoffs, k.sparse])

    @property
    def name(self) -> str:
        """For messages."""
        return f"distance_2b ({'-'.join(self.kernel.species)})"

    def finished(self, weights: np.ndarray) -> list[PairTerm]:
        """The term of the fitted model."""
        return [self.kernel.pair_term(weights)]


class ThreeBodyKernel(_FewBodyKernel):
    """An `angle_3b` or `distance_3b` kernel among the species of the model."""

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse, 4) weight F_s and descriptor X_s of every point."""
        return np.column_stack([self.kernel.cutoffs, self.kernel.points])

    @property
    def name(self) -> str:
        """For messages."""
        kind = self.kernel.kind
        return f"{'angle_3b' if kind.angle else 'distance_3b'} ({'-'.join(kind.species)})"

    def finished(self, weights: np.ndarray) -> list[TripletTerm]:
        """The terms of the fitted model, one per species of centres."""
        return self.kernel.terms(weights)


Kernel = SoapKernel | DistanceKernel | ThreeBodyKernel


def _one_centre(neighbours: NeighbourArrays, centre: int) -> NeighbourArrays:
    """The environment of one centre alone."""
    here = slice(neighbours.offsets[centre], neighbours.offsets[centre + 1])
    offsets = np.array([0, here.stop - here.start], dtype=np.int64)
    return NeighbourArrays(neighbours.centre_atom[centre:centre + 1], neighbours.centre_species[centre:centre + 1], offsets,
                           neighbours.neighbour_atom[here], neighbours.neighbour_species[here], neighbours.vectors[here],
                           neighbours.n_atoms)


#: What leaving out features may change in a kernel x . X_s of size 1, on average: so far below its last place that weights
#: of size 1e4, which cancel, do not bring it back.
_ROUNDING = 1e-20


def rows_evaluator(species: list[str], kernels: Sequence[Kernel], exact: bool = False):
    """The evaluator that makes the rows of the SOAP kernels, in the order of their `index`.

    Unless `exact`, features that vanish in all sparse points are left out (`soapgap.reduction.soap`).
    """
    terms = [kernel.term for kernel in kernels if isinstance(kernel, SoapKernel)]
    if not exact:
        terms = [_without_vanishing_features(term) for term in terms]
    return Model(species, dict.fromkeys(species, 0.0), terms, {}).evaluator(1)


def _without_vanishing_features(term: SoapTerm) -> SoapTerm:
    n = len(term.sparse_points)
    even = np.full((1, n), 1.0 / (max(n, 1) * term.zeta * term.delta**2))  # the weights are not known yet: all alike
    return reduce_term(replace(term, weights=even), _ROUNDING, collapse=False)
