"""`angle_3b` and `distance_3b`: three-body potentials as Gaussian processes, and their rows of the design matrix.

    e = sum over triplets f sum_s alpha_s F_s k(x, X_s),
    k(x, y) = delta^2 s(x, y) / sqrt(s(x, x) s(y, y)),    s(x, y) = sum_pi exp(-1/2 sum_d (x_pi(d) - y_d)^2 / theta_d^2)

(A. P. Bartok and G. Csanyi, Int. J. Quantum Chem. 115, 1051 (2015)) with f the weight and x the descriptor of a triplet
(`soapgap.kinds.three_body.triplets`), F_s the weight of the triplet that the sparse point was taken from, and pi the
permutations of x that exchange equal atoms. With a single one (angle_3b, or three different species) s is 1 for x = y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from soapgap.data.virials import STRAINS
from soapgap.kinds.three_body.triplets import TripletKind, Triplets, View, angle_coordinates, triplet_chunks
from soapgap.model import TripletTerm
from soapgap.neighbours.arrays import NeighbourArrays

BLOCK = 2**17  # kernels of one chunk: the dozen arrays of this size that are at work stay near the processor
N_BLOCKS = 12
#: Ends of the three distances among centre, first and second neighbour.
_HEADS, _TAILS = (1, 2, 2), (0, 0, 1)


@dataclass(frozen=True)
class TripletKernel:
    """The kernel of one choice of three species.

    Attributes
    ----------
    kind : which triplets, their descriptors and weights
    theta : (3,) length scales in the units of x; those of distances that equal atoms exchange are equal
    delta : eV, prior standard deviation of one triplet
    points : (n_sparse, 3) X_s
    cutoffs : (n_sparse,) F_s
    """

    kind: TripletKind
    theta: np.ndarray
    delta: float
    points: np.ndarray
    cutoffs: np.ndarray

    @property
    def n_sparse(self) -> int:
        """Number of sparse points, the number of columns of this kernel."""
        return len(self.points)

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

    def rows(self, neighbours: NeighbourArrays, species: list[str], gradients: bool, strain: bool):
        """Rows of the design matrix of one structure, as `Evaluator.kernel_rows` gives them for a soap term.

        Parameters
        ----------
        neighbours : full neighbour list of the structure, at least up to the cutoff
        species : chemical symbols that the species indices of `neighbours` mean

        Returns
        -------
        energy_row : (n_sparse,) sum of f F_s k(x, X_s) over all triplets
        gradient_rows : (3 n_atoms, n_sparse) its derivatives by positions, or None
        strain_rows : (6, n_sparse) by strains in the order xx yy zz yz xz xy, or None
        """
        energy = np.zeros(self.n_sparse)
        gradient = np.zeros((neighbours.n_atoms, 3, self.n_sparse)) if gradients else None
        strains = np.zeros((6, self.n_sparse)) if strain else None
        size = max(1, BLOCK // max(1, self.n_sparse))
        for view in self.kind.views:
            for triplets in triplet_chunks(neighbours, species, view, self.kind.cutoff, size):
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

    def local_rows(self, neighbours: NeighbourArrays, species: list[str]) -> np.ndarray:
        """Rows of the energies of the atoms, (n_atoms, n_sparse), as the fitted model has them.

        A triplet of angle_3b belongs to its centre, one of distance_3b to its three atoms alike. They add up to the energy
        row.
        """
        rows = np.zeros((neighbours.n_atoms, self.n_sparse))
        n_owners = 1 if self.kind.angle else 3
        size = max(1, BLOCK // max(1, self.n_sparse))
        for view in self.kind.views:
            for triplets in triplet_chunks(neighbours, species, view, self.kind.cutoff, size):
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

    def terms(self, weights: np.ndarray) -> list[TripletTerm]:
        """The fitted potential: one term for angle_3b, one for every different species as centre for distance_3b.

        Parameters
        ----------
        weights : (n_sparse,) alpha_s (1/eV)
        """
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
