"""`distance_2b`: a pair potential as a Gaussian process, its rows of the design matrix and its final spline.

    V(r) = f_c(r) sum_s alpha_s F_s delta^2 exp(-(r - X_s)^2 / (2 theta^2))

with F_s = f_c(X_s) if X_s is a distance of the data and 1 if it lies on a grid (A. P. Bartok and G. Csanyi, Int. J. Quantum
Chem. 115, 1051 (2015)). Every ordered pair counts, as in GAP: a physical pair of atoms contributes 2 V(r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from soapgap.data.virials import STRAINS
from soapgap.model import PairTerm
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.radial.cutoff import cutoff_function, cutoff_transition
from soapgap.radial.table import weighted_table

CHUNK_PAIRS = 16384


@dataclass(frozen=True)
class PairKernel:
    """The kernel of one pair of species.

    Attributes
    ----------
    species : the two chemical symbols
    cutoff, cutoff_transition_width, theta : Angstrom
    delta : eV, prior standard deviation of one (ordered) pair
    sparse : (n_sparse,) distances X_s (Angstrom)
    cutoff_function : shape of f_c, see `soapgap.radial.cutoff.cutoff_function`
    cutoffs : (n_sparse,) F_s; None: all 1
    """

    species: tuple[str, str]
    cutoff: float
    cutoff_transition_width: float
    theta: float
    delta: float
    sparse: np.ndarray
    cutoff_function: str = "cosine"
    cutoffs: np.ndarray | None = None

    @property
    def n_sparse(self) -> int:
        """Number of sparse points, the number of columns of this kernel."""
        return len(self.sparse)

    def covariance(self) -> np.ndarray:
        """K_MM = F_s F_t delta^2 exp(-(X_s - X_t)^2 / (2 theta^2)), (n_sparse, n_sparse), eV^2."""
        covariance = self._gaussians(self.sparse)[0]
        return covariance if self.cutoffs is None else covariance * self.cutoffs[:, None] * self.cutoffs

    def _gaussians(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """delta^2 exp(...) and its first two derivatives, each (len(r), n_sparse)."""
        u = (r[:, None] - self.sparse) / self.theta
        g = self.delta**2 * np.exp(-0.5 * u * u)
        return g, -u / self.theta * g, (u * u - 1.0) / self.theta**2 * g

    def radial(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """k(r, X_s) = f_c(r) F_s delta^2 exp(...) and dk/dr, each (len(r), n_sparse)."""
        f, f1, _ = cutoff_function(r, self.cutoff, self.cutoff_transition_width, self.cutoff_function)
        g, g1, _ = self._gaussians(r)
        if self.cutoffs is not None:
            g, g1 = g * self.cutoffs, g1 * self.cutoffs
        return f[:, None] * g, f1[:, None] * g + f[:, None] * g1

    def rows(self, neighbours: NeighbourArrays, species: list[str], gradients: bool, strain: bool):
        """Rows of the design matrix of one structure, as `Evaluator.kernel_rows` gives them for a soap term.

        Parameters
        ----------
        neighbours : full neighbour list of the structure, at least up to the cutoff
        species : chemical symbols that the species indices of `neighbours` mean

        Returns
        -------
        energy_row : (n_sparse,) sum of k over all ordered pairs
        gradient_rows : (3 n_atoms, n_sparse) dk/dR, or None
        strain_rows : (6, n_sparse) dk/dstrain in the order xx yy zz yz xz xy, or None
        """
        n_atoms, n_sparse = neighbours.n_atoms, self.n_sparse
        centre, other, vectors = self.pairs(neighbours, species)
        energy = np.zeros(n_sparse)
        gradient = np.zeros((3, n_atoms, n_sparse)) if gradients else None
        strains = np.zeros((6, n_sparse)) if strain else None
        for start in range(0, len(vectors), CHUNK_PAIRS):
            d = vectors[start:start + CHUNK_PAIRS]
            i, j = centre[start:start + CHUNK_PAIRS], other[start:start + CHUNK_PAIRS]
            r = np.linalg.norm(d, axis=1)
            k, slope = self.radial(r)
            energy += k.sum(axis=0)
            unit = d / r[:, None]
            columns = np.arange(len(r))
            for axis in range(3 if gradients else 0):
                entries = np.concatenate([unit[:, axis], -unit[:, axis]])
                place = (np.concatenate([j, i]), np.concatenate([columns, columns]))
                gradient[axis] += csr_matrix((entries, place), shape=(n_atoms, len(r))) @ slope
            for row, (a, b) in enumerate(STRAINS if strain else ()):
                strains[row] += (unit[:, a] * d[:, b]) @ slope
        if gradients:
            gradient = gradient.transpose(1, 0, 2).reshape(3 * n_atoms, n_sparse)
        return energy, gradient, strains

    def local_rows(self, neighbours: NeighbourArrays, species: list[str]) -> np.ndarray:
        """Rows of the energies of the atoms, (n_atoms, n_sparse): the sum of k over the ordered pairs of each atom.

        They add up to the energy row: a pair of atoms gives half of its energy, one k, to each of them.
        """
        centre, _, vectors = self.pairs(neighbours, species)
        rows = np.zeros((neighbours.n_atoms, self.n_sparse))
        for start in range(0, len(vectors), CHUNK_PAIRS):
            k, _ = self.radial(np.linalg.norm(vectors[start:start + CHUNK_PAIRS], axis=1))
            place = (centre[start:start + CHUNK_PAIRS], np.arange(len(k)))
            rows += csr_matrix((np.ones(len(k)), place), shape=(neighbours.n_atoms, len(k))) @ k
        return rows

    def pairs(self, neighbours: NeighbourArrays, species: list[str]):
        """Centre and neighbour atom and vector of all ordered pairs of this kernel within the cutoff."""
        first, second = (species.index(symbol) for symbol in self.species)
        per_centre = np.diff(neighbours.offsets)
        a = np.repeat(neighbours.centre_species, per_centre)
        b = neighbours.neighbour_species
        chosen = ((a == first) & (b == second)) | ((a == second) & (b == first))
        chosen &= np.einsum("ij,ij->i", neighbours.vectors, neighbours.vectors) < self.cutoff**2
        centre = np.repeat(neighbours.centre_atom, per_centre)
        return centre[chosen], neighbours.neighbour_atom[chosen], neighbours.vectors[chosen]

    def pair_term(self, weights: np.ndarray) -> PairTerm:
        """The fitted pair potential as the spline that the evaluator runs.

        Parameters
        ----------
        weights : (n_sparse,) alpha_s (1/eV)
        """
        extra = {}
        if self.cutoffs is not None:
            weights, extra = weights * self.cutoffs, {"sparse_cutoff": self.cutoffs}
        table = weighted_table(self._piece, self._breaks(), weights)
        origin = {
            "kind": "distance_2b",
            "cutoff": self.cutoff,
            "cutoff_transition_width": self.cutoff_transition_width,
            "cutoff_function": self.cutoff_function,
            "theta": self.theta,
            "delta": self.delta,
        }
        return PairTerm(self.species, self.cutoff, table, origin, {"sparse_points": self.sparse, "weights": weights} | extra)

    def _breaks(self) -> list[float]:
        start = self.cutoff - self.cutoff_transition_width
        return [0.0, start, self.cutoff] if start > 0.0 else [0.0, self.cutoff]

    def _piece(self, r: np.ndarray, low: float, high: float) -> np.ndarray:
        """k, dk/dr, d2k/dr2, (3, len(r), n_sparse), one-sided at the ends of the transition of the cutoff function."""
        g, g1, g2 = self._gaussians(r)
        if high < self.cutoff:
            return np.stack([g, g1, g2])
        curves = cutoff_transition(r, self.cutoff, self.cutoff_transition_width, self.cutoff_function)
        f, f1, f2 = (values[:, None] for values in curves)
        return np.stack([f * g, f1 * g + f * g1, f2 * g + 2.0 * f1 * g1 + f * g2])


def sparse_grid(shortest: float, cutoff: float, n_sparse: int) -> np.ndarray:
    """`n_sparse` equally spaced distances from the shortest one in the data to the cutoff (Angstrom)."""
    if n_sparse == 1:
        return np.array([0.5 * (shortest + cutoff)])
    return np.linspace(shortest, cutoff, n_sparse)
