"""A function of three atoms: what it computes, its numbers, and how they lie in a model file."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from soapgap.errors import InputError
from soapgap.model.terms.term import TERM_HEAD, Cost, Term, register

__all__ = ["TripletGrid", "TripletTerm"]

# What one triplet costs (`Cost`): by its spline, or for one sparse point and one permutation.
_PER_SPLINE, _PER_EXPONENTIAL = 6000.0, 400.0


@dataclass
class TripletGrid:
    """A triplet term's sum over kernels as a tensor product of quintic B-splines in the three components of x.

    Attributes
    ----------
    n_intervals : list of int
        Of the ranges that the components have for distances below the cutoff: [0, cutoff], [0, cutoff] and [0, 2 cutoff], for
        the geometry "angle" [0, 2 cutoff], [0, cutoff^2] and [0, 2 cutoff].
    coefficients : ndarray, shape n_intervals + 5
        At the point (k_1 + t_1, k_2 + t_2, k_3 + t_3) in units of the intervals, the splines k .. k + 5 of each axis overlap.
    report : dict
        Tolerance, measured error, and a hash of the term it was made from.
    """

    n_intervals: list[int]
    coefficients: np.ndarray
    report: dict = field(default_factory=dict)


@register
@dataclass
class TripletTerm(Term):
    """A function of three atoms, a Gaussian process in three variables:

        e_i = count sum over unordered pairs of neighbours {j, k} of
              f_c(r_ij) f_c(r_ik) (1 - third_cutoff f_c(r_jk)) sum_s weights_s k(x, X_s)

    with GAP's cosine f_c. Kernels, with permutations pi and s(x, y) = sum_pi kappa(x o pi, y):
    ``ard_se`` and ``pp``: k = delta^2 s(x, X) / sqrt(s(x, x) s(X, X)) + f0^2, kappa = exp(-q/2) or, with rho^2 = q,
    (1 - rho)^4 (4 rho + 1) for rho < 1; q = sum_k (x_k - X_k)^2 / theta_k^2. ``dot_product``: k = delta^2 (x . X)^zeta.

    Attributes
    ----------
    centre : str
        Chemical symbol of atom i.
    neighbours : tuple of two str
        Of j and k, in the order in which x has them.
    geometry : {"distances", "angle"}
        x = (r_ij, r_ik, r_jk), or (r_ij + r_ik, (r_ij - r_ik)^2, r_jk) as in GAP's angle_3b.
    kernel : {"ard_se", "pp", "dot_product"}
    cutoff, cutoff_transition_width : float
        Angstrom.
    delta, f0, zeta : float
    theta : ndarray, shape (3,)
        Length scales, in the units of x.
    permutations : ndarray of int, shape (n_permutations, 3)
    count : float
        How often a triplet counts: 2 for angle_3b (both orders of the neighbours), 1 otherwise.
    third_cutoff : float
        2/3 for connected clusters that are counted once (their weight, shared out over three centres), 0 otherwise.
    shared : bool
        The energy is divided equally among the three atoms; otherwise the centre has it. (Forces do not depend on it.)
    sparse_points : ndarray, shape (n_sparse, 3)
    weights : ndarray, shape (1, n_sparse)
        alpha_s F_s, F_s the value of the cutoff functions where the sparse point was found.
    origin : dict
        ``kind`` ("angle_3b", "distance_Nb") and its parameters, for info and export.
    sparse : dict of str to ndarray
        What an export needs besides.
    grid : TripletGrid, optional
        Used by evaluation in place of the sparse points.
    """

    kind = "triplet"
    needs_all = True

    centre: str
    neighbours: tuple[str, str]
    geometry: str
    kernel: str
    cutoff: float
    cutoff_transition_width: float
    delta: float
    f0: float
    zeta: float
    theta: np.ndarray
    permutations: np.ndarray
    count: float
    third_cutoff: float
    shared: bool
    sparse_points: np.ndarray
    weights: np.ndarray
    origin: dict = field(default_factory=dict)
    sparse: dict[str, np.ndarray] = field(default_factory=dict)
    grid: TripletGrid | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Centre and neighbours."""
        return self.centre, *self.neighbours

    @property
    def n_sparse(self) -> int:
        """Number of sparse points."""
        return len(self.sparse_points)

    @property
    def shown_species(self) -> str:
        """Such as O with Si Si."""
        return f"{self.centre} with {' '.join(self.neighbours)}"

    @property
    def shown_parameters(self) -> str:
        """Kernel and scales."""
        return f"{self.kernel}, delta {self.delta:g}, theta {' '.join(f'{t:g}' for t in self.theta)}"

    def exact(self) -> "TripletTerm":
        """The term without its spline."""
        return replace(self, grid=None)

    def costs(self) -> dict[str, Cost]:
        """See `Term.costs`."""
        n_ordered = 1.0 if self.neighbours[0] == self.neighbours[1] else 2.0
        cost = _PER_SPLINE if self.grid else _PER_EXPONENTIAL * len(self.sparse_points) * len(self.permutations)
        return {self.centre: Cost(triplet=n_ordered * cost)}

    @property
    def cancellation(self) -> float:
        """S = sum |weights| delta^2 in eV: rounding of one triplet's energy is at least about eps S."""
        return float(np.abs(self.weights).sum() * self.delta**2)

    def digest(self) -> str:
        """SHA-256 of all that a grid is made from."""
        shape = (self.geometry, self.kernel, self.cutoff, self.delta, self.f0, self.zeta,
                 [float(t) for t in self.theta], np.asarray(self.permutations).tolist())
        sha = hashlib.sha256(repr(shape).encode())
        for array in (self.sparse_points, self.weights):
            sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return sha.hexdigest()

    @property
    def n_out(self) -> int:
        """Number of outputs of a centre."""
        return len(self.weights)

    def _metadata(self, store):
        grid = None
        if self.grid is not None:
            if self.grid.report.get("of") != self.digest():
                raise InputError(f"the triplet term of {self.centre} was changed after its table was made: make it again "
                                 "(soapgap.reduction.model.reduce_model) or set `grid` to None")
            coefficients = self.grid.coefficients
            grid = {"n_intervals": [int(n) for n in self.grid.n_intervals], "report": self.grid.report,
                    "tensors": store.part("grid")({"coefficients": coefficients.reshape(-1, *coefficients.shape[-3:])})}
        return TERM_HEAD | {
            "kind": "triplet", "centre": self.centre, "neighbours": list(self.neighbours),
            "source": {"kind": "triplets", "geometry": self.geometry, "cutoff": float(self.cutoff),
                       "cutoff_transition_width": float(self.cutoff_transition_width), "count": float(self.count),
                       "third_cutoff": float(self.third_cutoff), "shared": bool(self.shared)},
            "kernel": {"kind": self.kernel, "delta": float(self.delta), "f0": float(self.f0), "zeta": float(self.zeta),
                       "theta": [float(t) for t in self.theta],
                       "permutations": np.asarray(self.permutations, dtype=int).tolist(), "n_sparse": len(self.sparse_points)},
            "origin": self.origin, "grid": grid,
            "tensors": store({"sparse_points": self.sparse_points, "weights": self.weights} | self.sparse)}

    @classmethod
    def _from_file(cls, meta, tensors):
        source, kernel, grid = meta["source"], meta["kernel"], meta["grid"]
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        points, weights = arrays.pop("sparse_points"), arrays.pop("weights")
        if grid is not None:
            coefficients = tensors[grid["tensors"]["coefficients"]]
            grid = TripletGrid(grid["n_intervals"], coefficients[0] if len(coefficients) == 1 else coefficients, grid["report"])
        return cls(meta["centre"], tuple(meta["neighbours"]), kernel=kernel["kind"], theta=np.array(kernel["theta"]),
                   permutations=np.array(kernel["permutations"], dtype=int), sparse_points=points, weights=weights,
                   origin=meta["origin"], sparse=arrays, grid=grid, **{key: kernel[key] for key in ("delta", "f0", "zeta")},
                   **{key: source[key] for key in ("geometry", "cutoff", "cutoff_transition_width", "count", "third_cutoff",
                                                   "shared")})
