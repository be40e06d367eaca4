"""`angle_3b` and `distance_3b`: three-body potentials as Gaussian processes.

    e = sum over triplets f sum_s alpha_s F_s k(x, X_s),
    k(x, y) = delta^2 s(x, y) / sqrt(s(x, x) s(y, y)),    s(x, y) = sum_pi exp(-1/2 sum_d (x_pi(d) - y_d)^2 / theta_d^2)

(A. P. Bartok and G. Csanyi, Int. J. Quantum Chem. 115, 1051 (2015)) with f the weight and x the descriptor of a triplet
(`soapgap.kinds.three_body.triplets`), F_s the weight of the triplet that the sparse point was taken from, and pi the
permutations of x that exchange equal atoms. With a single one (angle_3b, or three different species) s is 1 for x = y.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from soapgap.kinds.few_body import FewBodyKernel
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.kinds.three_body.triplets import TripletKind
from soapgap.model import Model, TripletTerm
from soapgap.neighbours.arrays import NeighbourArrays


@dataclass(frozen=True)
class TripletKernel(FewBodyKernel):
    """The kernel of one choice of three species.

    Attributes
    ----------
    kind : TripletKind
        Which triplets, their descriptors and weights.
    theta : ndarray, shape (3,)
        Length scales in the units of x; those of distances that equal atoms exchange are equal.
    delta : float
        eV, prior standard deviation of one triplet.
    points : ndarray, shape (n_sparse, 3)
        X_s.
    cutoffs : ndarray, shape (n_sparse,)
        F_s.
    """

    what: ClassVar[str] = "triplets"

    kind: TripletKind
    theta: np.ndarray
    delta: float
    points: np.ndarray
    cutoffs: np.ndarray

    @property
    def name(self) -> str:
        """See `Kernel.name`."""
        return f"{'angle_3b' if self.kind.angle else 'distance_3b'} ({'-'.join(self.symbols)})"

    @property
    def symbols(self) -> tuple[str, str, str]:
        """The three species."""
        return self.kind.species

    @property
    def cutoff(self) -> float:
        """Angstrom."""
        return self.kind.cutoff

    @property
    def n_fixed(self) -> int:
        """The centre of angle_3b."""
        return 1 if self.kind.angle else 0

    @property
    def permutations(self) -> np.ndarray:
        """See `TripletKind.permutations`."""
        return self.kind.permutations

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse, 4) F_s and X_s."""
        return np.column_stack([self.cutoffs, self.points])

    def with_points(self, points: np.ndarray, origins: np.ndarray | None = None) -> TripletKernel:
        """The kernel with these sparse points, (n_sparse, 4)."""
        return replace(self, points=np.ascontiguousarray(points[:, 1:]), cutoffs=np.ascontiguousarray(points[:, 0]),
                       origins=origins)

    def trial_points(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Descriptors of the right size."""
        return np.column_stack([np.ones(n), self.cutoff * rng.random((n, 3))])

    @property
    def thetas(self) -> list[float]:
        """Length scales of the three components."""
        return [float(theta) for theta in self.theta]

    def with_thetas(self, thetas: Sequence[float]) -> TripletKernel:
        """The kernel with these length scales."""
        return replace(self, theta=np.array(thetas, float))

    def candidates(self, neighbours: NeighbourArrays, species: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """See `TripletKind.candidates`."""
        return self.kind.candidates(neighbours, species)

    def between(self) -> Covariance:
        """F_s F_t k(X_s, X_t) / delta^2 of rows (n, 4)."""
        theta, orders = self.theta, self.permutations

        def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return sum(np.exp(-0.5 * cdist(first[:, order], second, "sqeuclidean")) for order in orders)

        def norms(x: np.ndarray) -> np.ndarray:
            return np.sqrt(sum(np.exp(-0.5 * ((x[:, order] - x) ** 2).sum(axis=1)) for order in orders))

        def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            x, y = first[:, 1:] / theta, second[:, 1:] / theta
            return (first[:, 0] / norms(x))[:, None] * similarity(x, y) * (second[:, 0] / norms(y))

        return Covariance(between, lambda points: points[:, 0] ** 2)

    def stored(self, model: Model) -> list[tuple[TripletTerm, np.ndarray]]:
        """See `FewBodyKernel.stored`."""
        geometry = "angle" if self.kind.angle else "distances"
        return [(term, term.sparse_points) for term in model.terms_of(TripletTerm)
                if term.geometry == geometry and term.symbols == self.symbols]

    def covariance(self) -> np.ndarray:
        """K_MM = F_s F_t k(X_s, X_t), (n_sparse, n_sparse), eV^2."""
        covariance = self.delta**2 * self.between().between(self.sparse_points, self.sparse_points)
        return 0.5 * (covariance + covariance.T)

    def row_terms(self, exact: bool) -> list[TripletTerm]:
        """The terms that it becomes: one for each species of centres."""
        return self.finished(np.zeros(self.n_sparse))

    def finished(self, weights: np.ndarray) -> list[TripletTerm]:
        """See `Kernel.finished`: one term for angle_3b, one for every different species as centre for distance_3b."""
        kind = self.kind
        origin = {
            "kind": "angle_3b" if kind.angle else "distance_Nb",
            "species": list(kind.species),
            "cutoff": kind.cutoff,
            "cutoff_transition_width": kind.cutoff_transition_width,
            "covariance_type": "ard_se",
            "theta": [float(t) for t in self.theta],
            "delta": self.delta,
        }
        if not kind.angle:
            origin |= {"order": 3, "compact_clusters": False}
        return [
            TripletTerm(
                centre=view.centre, neighbours=view.neighbours, geometry="angle" if kind.angle else "distances",
                kernel="ard_se", cutoff=kind.cutoff, cutoff_transition_width=kind.cutoff_transition_width,
                delta=self.delta, f0=0.0, zeta=1.0, theta=self.theta[view.columns], permutations=view.permutations,
                count=kind.count, third_cutoff=kind.third_cutoff, shared=not kind.angle,
                sparse_points=np.ascontiguousarray(self.points[:, view.columns]),
                weights=(weights * self.cutoffs)[None], origin=dict(origin), sparse={"sparse_cutoff": self.cutoffs},
            )
            for view in kind.views
        ]
