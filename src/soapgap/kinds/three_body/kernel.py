"""`angle_3b` and `distance_3b`: three-body potentials as Gaussian processes, and their rows of the design matrix.

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
from scipy.sparse import csc_matrix, csr_matrix
from scipy.spatial.distance import cdist

from soapgap.data.virials import STRAINS
from soapgap.kinds.few_body import FewBodyKernel
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.kinds.three_body.triplets import TripletKind, Triplets, View, angle_coordinates, triplet_chunks
from soapgap.model import Model, TripletTerm
from soapgap.neighbours.arrays import NeighbourArrays

BLOCK = 2**17  # kernels of one chunk: the dozen arrays of this size that are at work stay near the processor
N_BLOCKS = 12
#: Ends of the three distances among centre, first and second neighbour.
_HEADS, _TAILS = (1, 2, 2), (0, 0, 1)


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

    @property
    def scratch_bytes(self) -> int:
        """The blocks in which rows are made."""
        return 8 * N_BLOCKS * BLOCK

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

    def _scale(self) -> np.ndarray:
        """delta^2 F_s / sqrt(s(X_s, X_s)), (n_sparse,)."""
        own, _ = _self_similarity(self.points / self.theta, self.kind.permutations)
        return self.delta**2 * self.cutoffs / np.sqrt(own)

    def covariance(self) -> np.ndarray:
        """K_MM = F_s F_t k(X_s, X_t), (n_sparse, n_sparse), eV^2."""
        z = self.points / self.theta
        scale = self._scale() / self.delta
        covariance, _ = _similarity(z, z, self.kind.permutations, False)
        covariance *= scale[:, None] * scale
        return 0.5 * (covariance + covariance.T)

    def rows(self, evaluator, neighbours: NeighbourArrays, gradients: bool, strain: bool):
        """See `Kernel.rows`: sums of f F_s k(x, X_s) over all triplets."""
        energy = np.zeros(self.n_sparse)
        gradient = np.zeros((neighbours.n_atoms, 3, self.n_sparse)) if gradients else None
        strains = np.zeros((6, self.n_sparse)) if strain else None
        size = max(1, BLOCK // max(1, self.n_sparse))
        for view in self.kind.views:
            for triplets in triplet_chunks(neighbours, evaluator.species, view, self.kind.cutoff, size):
                weight, similar, slopes = self._chunk(view, triplets, gradients or strain)
                energy += weight @ similar
                if gradients:
                    _add_gradients(triplets, slopes, gradient)
                if strain:
                    strains += _strain_matrix(triplets) @ slopes
        scale = self._scale()
        rows = [energy, None if gradient is None else gradient.reshape(3 * neighbours.n_atoms, self.n_sparse), strains]
        for row in rows:
            if row is not None:
                row *= scale
        return tuple(rows)

    def local_rows(self, evaluator, neighbours: NeighbourArrays) -> np.ndarray:
        """See `Kernel.local_rows`: a triplet of angle_3b belongs to its centre, one of distance_3b to its three atoms alike."""
        rows = np.zeros((neighbours.n_atoms, self.n_sparse))
        n_owners = 1 if self.kind.angle else 3
        size = max(1, BLOCK // max(1, self.n_sparse))
        for view in self.kind.views:
            for triplets in triplet_chunks(neighbours, evaluator.species, view, self.kind.cutoff, size):
                weight, similar, _ = self._chunk(view, triplets, False)
                place = (triplets.atoms[:n_owners].ravel(), np.tile(np.arange(len(weight)), n_owners))
                owners = csr_matrix((np.tile(weight / n_owners, n_owners), place), shape=(len(rows), len(weight)))
                rows += owners @ similar
        return rows * self._scale()

    def _chunk(self, view: View, triplets: Triplets, need_slopes: bool):
        """f/sqrt(s(x, x)), (n,); s(x, X_s), (n, n_sparse); derivatives of their product by r_1, r_2, r_12, (3 n, n_sparse)."""
        r = triplets.distances
        theta = self.theta[view.columns]
        points = self.points[:, view.columns] / theta
        f, f_slopes = self._weights(r)
        z, jacobian = self._coordinates(r, theta)
        own, own_slopes = _self_similarity(z, view.permutations)
        similar, slopes = _similarity(z, points, view.permutations, need_slopes)
        norm = 1.0 / np.sqrt(own)
        if not need_slopes:
            return f * norm, similar, None
        norm_slopes = -0.5 * (norm / own)[:, None] * own_slopes  # by z
        out = np.empty((3, *similar.shape))
        for m in range(3):
            column = norm * f_slopes[:, m] + f * np.einsum("td,td->t", norm_slopes, jacobian[:, :, m])
            np.multiply(column[:, None], similar, out=out[m])
            for d in range(3):
                factor = f * norm * jacobian[:, d, m]
                if factor.any():
                    out[m] += factor[:, None] * slopes[d]
        return f * norm, similar, out.reshape(-1, self.n_sparse)

    def _weights(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count times f_c(r_1) f_c(r_2) (1 - b f_c(r_12)), (n,), and its derivatives by the distances, (n, 3)."""
        (f1, f2, f3), (g1, g2, g3) = (values.T for values in self.kind.cutoffs(r))
        third = 1.0 - self.kind.third_cutoff * f3
        slopes = np.column_stack([g1 * f2 * third, f1 * g2 * third, -self.kind.third_cutoff * f1 * f2 * g3])
        return self.kind.count * f1 * f2 * third, self.kind.count * slopes

    def _coordinates(self, r: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x / theta, (n, 3), and its derivatives [n, component, distance]."""
        jacobian = np.zeros((len(r), 3, 3))
        if self.kind.angle:
            x = angle_coordinates(r)
            jacobian[:, 0, :2] = 1.0
            jacobian[:, 1, 0] = 2.0 * (r[:, 0] - r[:, 1])
            jacobian[:, 1, 1] = -jacobian[:, 1, 0]
            jacobian[:, 2, 2] = 1.0
        else:
            x = r
            jacobian[:] = np.eye(3)
        return x / theta, jacobian / theta[:, None]

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


def _similarity(z: np.ndarray, points: np.ndarray, permutations: np.ndarray, need_slopes: bool):
    """s(z, Z_s) in units of theta, (n, n_sparse), and its derivatives by the components of z, three of that shape."""
    total = np.zeros((len(z), len(points)))
    slopes = [np.zeros_like(total) for _ in range(3)] if need_slopes else None
    for order in permutations:
        apart = [z[:, order[d], None] - points[:, d] for d in range(3)]
        kappa = apart[0] * apart[0]
        kappa += apart[1] * apart[1]
        kappa += apart[2] * apart[2]
        kappa *= -0.5
        np.exp(kappa, out=kappa)
        total += kappa
        for d in range(3 if need_slopes else 0):
            apart[d] *= kappa
            slopes[order[d]] -= apart[d]
    return total, slopes


def _self_similarity(z: np.ndarray, permutations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """s(z, z), (n,), and its derivatives by z, (n, 3)."""
    total, slopes = np.zeros(len(z)), np.zeros(z.shape)
    for order in permutations:
        apart = z[:, order] - z
        kappa = np.exp(-0.5 * np.einsum("td,td->t", apart, apart))
        total += kappa
        pull = kappa[:, None] * apart
        slopes += pull
        slopes[:, order] -= pull
    return total, slopes


def _units(triplets: Triplets) -> np.ndarray:
    return triplets.vectors / np.linalg.norm(triplets.vectors, axis=2)[:, :, None]


def _add_gradients(triplets: Triplets, slopes: np.ndarray, gradient: np.ndarray) -> None:
    """Add derivatives by positions, (n_atoms, 3, n_sparse), from those by distances: u to the head, -u to the tail.

    Every column of the sparse matrix is one distance of one triplet, with three numbers for each of its two atoms. Its
    rows are the atoms of this chunk only.
    """
    here, local = np.unique(triplets.atoms, return_inverse=True)
    local = local.reshape(triplets.atoms.shape)
    units = _units(triplets).reshape(-1, 3)
    axes = np.arange(3)
    rows = np.stack([3 * local[list(ends)].ravel()[:, None] + axes for ends in (_HEADS, _TAILS)], axis=1)
    entries = np.stack([units, -units], axis=1)
    matrix = csc_matrix((entries.ravel(), rows.ravel(), np.arange(0, 6 * len(units) + 1, 6)),
                        shape=(3 * len(here), len(units)))
    gradient[here] += (matrix @ slopes).reshape(len(here), 3, -1)


def _strain_matrix(triplets: Triplets) -> np.ndarray:
    """Derivatives of the distances by strain, (6, 3 n)."""
    units, vectors = _units(triplets).reshape(-1, 3), triplets.vectors.reshape(-1, 3)
    return np.stack([units[:, a] * vectors[:, b] for a, b in STRAINS])
