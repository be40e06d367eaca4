"""`distance_2b`: a pair potential as a Gaussian process, and its final spline.

    V(r) = f_c(r) sum_s alpha_s F_s delta^2 exp(-(r - X_s)^2 / (2 theta^2))

with F_s = f_c(X_s) if X_s is a distance of the data and 1 if it lies on a grid (A. P. Bartok and G. Csanyi, Int. J. Quantum
Chem. 115, 1051 (2015)). Every ordered pair counts, as in GAP: a physical pair of atoms contributes 2 V(r).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from soapgap.kinds.few_body import FewBodyKernel
from soapgap.kinds.sparse.select_cholesky import Covariance
from soapgap.model import Model, PairTerm
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.radial.cutoff import cutoff_function, cutoff_transition
from soapgap.radial.table import RadialTable, weighted_table


@dataclass(frozen=True)
class PairKernel(FewBodyKernel):
    """The kernel of one pair of species.

    Attributes
    ----------
    symbols : tuple of str
        The two chemical symbols.
    cutoff, cutoff_transition_width, theta : float
        Angstrom.
    delta : float
        eV, prior standard deviation of one (ordered) pair.
    sparse : ndarray, shape (n_sparse,)
        Distances X_s (Angstrom).
    cutoff_function : str
        Shape of f_c, see `soapgap.radial.cutoff.cutoff_function`.
    cutoffs : ndarray, shape (n_sparse,), or None
        F_s; None: all 1.
    """

    what: ClassVar[str] = "pairs"
    n_fixed: ClassVar[int] = 0
    permutations: ClassVar[np.ndarray] = np.zeros((1, 1), int)

    symbols: tuple[str, str]
    cutoff: float
    cutoff_transition_width: float
    theta: float
    delta: float
    sparse: np.ndarray
    cutoff_function: str = "cosine"
    cutoffs: np.ndarray | None = None

    @property
    def name(self) -> str:
        """See `Kernel.name`."""
        return f"distance_2b ({'-'.join(self.symbols)})"

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse,) distances X_s (Angstrom), or (n_sparse, 2) F_s and X_s if there are weights."""
        return self.sparse if self.cutoffs is None else np.column_stack([self.cutoffs, self.sparse])

    def with_points(self, points: np.ndarray, origins: np.ndarray | None = None) -> PairKernel:
        """The kernel with these sparse points: distances, (n,), or F_s and distances, (n, 2)."""
        points = np.array(points)
        cutoffs = None if points.ndim == 1 else np.ascontiguousarray(points[:, 0])
        distances = points if points.ndim == 1 else np.ascontiguousarray(points[:, 1])
        return replace(self, sparse=distances, cutoffs=cutoffs, origins=origins)

    def trial_points(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Distances up to the cutoff."""
        return np.linspace(0.1, self.cutoff, n)

    @property
    def thetas(self) -> list[float]:
        """One length scale."""
        return [float(self.theta)]

    def with_thetas(self, thetas: Sequence[float]) -> PairKernel:
        """The kernel with this length scale."""
        return replace(self, theta=thetas[0])

    def candidates(self, neighbours: NeighbourArrays, species: list[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """See `FewBodyKernel.candidates`: each pair once, except that an atom sees its own images twice."""
        centre, other, vectors = self.pairs(neighbours, species)
        if self.symbols[0] == self.symbols[1]:
            once = centre <= other
        else:
            first = species.index(self.symbols[0])
            once = neighbours.centre_species[np.searchsorted(neighbours.centre_atom, centre)] == first
        r = np.linalg.norm(vectors[once], axis=1)
        f, _, _ = cutoff_function(r, self.cutoff, self.cutoff_transition_width, self.cutoff_function)
        yield np.column_stack([f, r]), np.ones(len(r), bool), centre[once]

    def between(self) -> Covariance:
        """F_s F_t exp(-(r_s - r_t)^2 / (2 theta^2))."""

        def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            apart = (first[:, None, 1] - second[:, 1]) / self.theta
            return first[:, None, 0] * second[:, 0] * np.exp(-0.5 * apart**2)

        return Covariance(between, lambda points: points[:, 0] ** 2)

    def stored(self, model: Model) -> list[tuple[PairTerm, np.ndarray]]:
        """See `FewBodyKernel.stored`."""
        return [(term, term.sparse["sparse_points"].reshape(-1, 1)) for term in model.terms_of(PairTerm)
                if term.name == "distance_2b" and sorted(term.species) == sorted(self.symbols) and term.n_sparse is not None]

    def covariance(self) -> np.ndarray:
        """K_MM = F_s F_t delta^2 exp(-(X_s - X_t)^2 / (2 theta^2)), (n_sparse, n_sparse), eV^2."""
        covariance = self._gaussians(self.sparse)[0]
        return covariance if self.cutoffs is None else covariance * self.cutoffs[:, None] * self.cutoffs

    def _gaussians(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """delta^2 exp(...) and its first two derivatives, each (len(r), n_sparse)."""
        u = (r[:, None] - self.sparse) / self.theta
        g = self.delta**2 * np.exp(-0.5 * u * u)
        return g, -u / self.theta * g, (u * u - 1.0) / self.theta**2 * g

    def row_terms(self, exact: bool) -> list[PairTerm]:
        """The term without its table: rows are made from the formula."""
        return [self._term(RadialTable([(0.0, self.cutoff, 1)], np.zeros((2, 3, 1))), np.zeros(self.n_sparse))]

    def pairs(self, neighbours: NeighbourArrays, species: list[str]):
        """Centre and neighbour atom and vector of all ordered pairs of this kernel within the cutoff."""
        first, second = (species.index(symbol) for symbol in self.symbols)
        per_centre = np.diff(neighbours.offsets)
        a = np.repeat(neighbours.centre_species, per_centre)
        b = neighbours.neighbour_species
        chosen = ((a == first) & (b == second)) | ((a == second) & (b == first))
        chosen &= np.einsum("ij,ij->i", neighbours.vectors, neighbours.vectors) < self.cutoff**2
        centre = np.repeat(neighbours.centre_atom, per_centre)
        return centre[chosen], neighbours.neighbour_atom[chosen], neighbours.vectors[chosen]

    def finished(self, weights: np.ndarray) -> list[PairTerm]:
        """See `Kernel.finished`: the fitted pair potential as the spline that the evaluator runs."""
        weights = weights if self.cutoffs is None else weights * self.cutoffs
        return [self._term(weighted_table(self._piece, self._breaks(), weights), weights)]

    def _term(self, table: RadialTable, weights: np.ndarray) -> PairTerm:
        origin = {
            "kind": "distance_2b",
            "cutoff": self.cutoff,
            "cutoff_transition_width": self.cutoff_transition_width,
            "cutoff_function": self.cutoff_function,
            "theta": self.theta,
            "delta": self.delta,
        }
        extra = {} if self.cutoffs is None else {"sparse_cutoff": self.cutoffs}
        return PairTerm(self.symbols, self.cutoff, table, origin, {"sparse_points": self.sparse, "weights": weights} | extra)

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
