"""The soap term of a model: what it computes, its numbers, and how they lie in a model file."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from soapgap.errors import InputError
from soapgap.model.terms.term import TERM_HEAD, Cost, Term, register
from soapgap.radial.table import RadialTable

__all__ = ["Channels", "Reduction", "SoapTerm"]

# What a centre costs (`Cost`), forward and back.
_PER_NEIGHBOUR = 4400.0  # sorting, harmonics, table lookup
_PER_COEFFICIENT = 17.0  # one neighbour's part of one c_nlm
_PER_PRODUCT = 25.0  # one c_nlm c_n'lm of the power spectrum


@dataclass
class Reduction:
    """What evaluation uses in place of a soap term: the same function with fewer operations (`soapgap.reduction.soap`).

    Attributes
    ----------
    form : str
        "points": all sparse points in their order. "merged_points": fewer points, own weights. "matrix" (zeta = 2): `points`
        is the symmetric A of e = delta^2 x . A x.
    n_radial : list of int
        Radial functions of each l, at most n_max.
    table : ndarray, shape (n_channels, n_rows, 3, sum of n_radial)
        Rotated radial functions of each neighbour species, at the knots of the term's own table.
    centre_values : ndarray, shape (n_channels, n_radial[0])
    features : ndarray of int
        Indices of the features that the kernel sees, among those of the rotated functions: ascending, first those multiplied
        in double precision, then the `n_single` others.
    points : ndarray, shape (n_points, len(features))
    weights : ndarray, shape (1, n_points)
    report : dict
        Counts before and after, tolerance and measured errors, and a hash of the term it was made from.
    """

    form: str
    n_radial: list[int]
    table: np.ndarray
    centre_values: np.ndarray
    features: np.ndarray
    points: np.ndarray
    weights: np.ndarray
    report: dict = field(default_factory=dict)
    n_single: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the kernel and its derivative, per centre."""
        return (2 if self.form == "matrix" else 4) * self.points.size

    def _metadata(self, store):
        return {"form": self.form, "n_radial": [int(n) for n in self.n_radial], "n_points": len(self.points),
                "n_single": int(self.n_single), "report": self.report,
                "tensors": store({"radial": self.table, "centre_values": self.centre_values, "features": self.features,
                                  "points": self.points, "weights": self.weights})}

    @classmethod
    def _from_file(cls, meta, tensors):
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        return cls(meta["form"], meta["n_radial"], arrays["radial"], arrays["centre_values"],
                   arrays["features"].astype(np.int64), arrays["points"], arrays["weights"], meta["report"],
                   meta["n_single"])


@dataclass
class Channels:
    """How neighbours and products of channels differ from the plain case, where each species has a channel of its own.

    Attributes
    ----------
    of_neighbour : list of int
        The channel that each neighbour species adds to: several may share one.
    n : int
        Number of channels.
    l_factors : list of float
        Factor of the features of each l; plain (2 l + 1)^(-1/2).
    kernel_offset : float
        Added to every x . X_s (QUIP's covariance_sigma0, squared).
    pairs : ndarray, shape (n_pairs, 3), optional
        Features of each l where they are not all J <= I: I, J (functions, channel * n_max + n) and a factor.
    average : int, optional
        Terms with the same number make one descriptor of the whole structure: the coefficients of all their centres are
        summed, and x and e belong to the sum; every centre gets an equal part of e.
    """

    of_neighbour: list[int]
    n: int
    l_factors: list[float]
    kernel_offset: float = 0.0
    pairs: np.ndarray | None = None
    average: int | None = None


@register
@dataclass
class SoapTerm(Term):
    """SOAP of one centre species with a polynomial kernel: e = sum_s weights_s delta^2 (x . X_s)^zeta, x = p/|p|.

    Attributes
    ----------
    centre : str
        Chemical symbol of the centres.
    neighbours : list of str
        Species that are seen; their order is that of the channels.
    n_max, l_max : int
    cutoff : float
        Angstrom.
    zeta : float
    delta : float
        Standard deviation of the local energy, eV.
    table : RadialTable
        R_nl(r), function l * n_max + n; shared by all neighbour species, unless its values have a leading axis for them.
    centre_values : ndarray, shape (n_channels, n_max)
        Added to c_{I,00} of every centre: its own Gaussian (Y_00 included).
    sparse_points : ndarray, shape (n_sparse, n_features)
        Features as `Evaluator.features` gives them.
    weights : ndarray, shape (1, n_sparse)
        GAP's alpha.
    normalise : bool
    basis : dict
        How the table was made: radial_basis, atom_sigma, cutoff_transition_width, ... (for info and export).
    reduced : Reduction, optional
        Used by evaluation in place of the above. A term that is changed needs a new one.
    channels : Channels, optional
        Where they are not one for each neighbour species, with all products as features.
    """

    kind = "soap"
    name = "soap"

    centre: str
    neighbours: list[str]
    n_max: int
    l_max: int
    cutoff: float
    zeta: float
    delta: float
    table: RadialTable
    centre_values: np.ndarray
    sparse_points: np.ndarray
    weights: np.ndarray
    normalise: bool = True
    basis: dict = field(default_factory=dict)
    reduced: Reduction | None = None
    channels: Channels | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Centre and neighbours."""
        return self.centre, *self.neighbours

    @property
    def recipe(self) -> dict:
        """How its table was made."""
        return self.basis

    @property
    def n_sparse(self) -> int:
        """Number of sparse points."""
        return len(self.sparse_points)

    @property
    def whole_structure(self) -> bool:
        """The descriptor is averaged over a structure."""
        return self.channels is not None and self.channels.average is not None

    @property
    def shown_parameters(self) -> str:
        """Sizes and scales."""
        basis = ", ".join(f"{key} {self.basis[key]}" for key in ("radial_basis", "atom_sigma") if key in self.basis)
        return f"n_max {self.n_max}, l_max {self.l_max}, zeta {self.zeta:g}, delta {self.delta:g}, {basis}"

    def exact(self) -> "SoapTerm":
        """The term without its reduced form."""
        return replace(self, reduced=None)

    def costs(self) -> dict[str, Cost]:
        """See `Term.costs`."""
        used = self.reduced or self
        functions = self.reduced.n_radial if self.reduced else [self.n_max] * (self.l_max + 1)
        width = 2.0 * np.arange(len(functions)) + 1.0
        listed = None if self.channels is None else self.channels.pairs
        if listed is None:
            n = self.n_channels * np.array(functions, dtype=float)
            products = float(width @ (0.5 * n * (n + 1.0)))
        else:
            products = float(width.sum() * len(listed))
        neighbour = _PER_NEIGHBOUR + _PER_COEFFICIENT * float(width @ functions)
        return {self.centre: Cost(used.flops + _PER_PRODUCT * products, len(set(self.neighbours)) * neighbour)}

    @property
    def n_channels(self) -> int:
        """One for each neighbour species, unless `channels` says otherwise."""
        return len(self.neighbours) if self.channels is None else self.channels.n

    @property
    def n_features(self) -> int:
        """(l_max + 1) N (N + 1) / 2 with N = n_channels n_max, unless `channels` lists the products."""
        n = self.n_channels * self.n_max
        listed = None if self.channels is None else self.channels.pairs
        return (self.l_max + 1) * (n * (n + 1) // 2 if listed is None else len(listed))

    def groups(self) -> list[tuple[np.ndarray, int]]:
        """The tables of R_nl (n_rows, 3, n_functions) that neighbours are looked up in, each with the channel it adds to."""
        values = self.table.values
        if values.ndim == 4:
            return list(zip(values, self.channels.of_neighbour))
        return [(values, channel) for channel in range(self.n_channels)]

    @property
    def cancellation(self) -> float:
        """S = sum |weights| delta^2 in eV: rounding of a local energy is at least about 4 eps zeta S."""
        return float(np.abs(self.weights).sum() * self.delta**2)

    @property
    def rounding(self) -> float:
        """4 eps zeta S in eV."""
        return 4 * np.finfo(float).eps * self.zeta * self.cancellation

    @property
    def flops(self) -> int:
        """Floating-point operations of the kernel and its derivative without reduction, per centre."""
        return 4 * self.n_features * len(self.sparse_points)

    def digest(self) -> str:
        """SHA-256 of all numbers that a reduction is made from."""
        shape = (self.zeta, self.delta, self.n_max, self.l_max, self.normalise)
        if self.channels is not None:
            c = self.channels
            shape += (list(c.of_neighbour), c.n, list(c.l_factors), c.kernel_offset)
        sha = hashlib.sha256(repr(shape).encode())
        listed = () if self.channels is None or self.channels.pairs is None else (self.channels.pairs,)
        for array in (self.table.values, self.centre_values, self.sparse_points, self.weights, *listed):
            sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return sha.hexdigest()

    @property
    def n_out(self) -> int:
        """Number of outputs of a centre."""
        return len(self.weights)

    def _metadata(self, store):
        own = self.channels or Channels([], 0, [])
        arrays = {"radial": self.table.values, "centre_values": self.centre_values, "sparse_points": self.sparse_points,
                  "weights": self.weights}
        if own.pairs is not None:
            arrays["pairs"] = own.pairs
        if self.reduced is not None and self.reduced.report.get("of") != self.digest():
            raise InputError(f"the soap term of {self.centre} was changed after its reduction was made: reduce it again "
                             "(soapgap.reduction.model.reduce_model) or set `reduced` to None")
        return TERM_HEAD | {
            "kind": "soap", "centre": self.centre, "neighbours": list(self.neighbours),
            "source": {"kind": "pair_table", "cutoff": float(self.cutoff), "n_max": int(self.n_max), "l_max": int(self.l_max),
                       "segments": [list(s) for s in self.table.segments], "basis": self.basis,
                       "channels": None if self.channels is None else {
                           "of_neighbour": [int(k) for k in own.of_neighbour], "n": int(own.n),
                           "table_per_neighbour": self.table.values.ndim == 4}},
            "features": {"kind": "power_spectrum", "normalise": bool(self.normalise),
                         "l_factors": None if self.channels is None else [float(f) for f in own.l_factors],
                         "average": None if own.average is None else int(own.average)},
            "kernel": {"kind": "polynomial", "zeta": float(self.zeta), "delta": float(self.delta),
                       "offset": float(own.kernel_offset), "n_sparse": len(self.sparse_points)},
            "reduced": None if self.reduced is None else self.reduced._metadata(store.part("reduced")),
            "tensors": store(arrays)}

    @classmethod
    def _from_file(cls, meta, tensors):
        source, features, kernel = meta["source"], meta["features"], meta["kernel"]
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        table, pairs = RadialTable(source["segments"], arrays.pop("radial")), arrays.pop("pairs", None)
        reduced = Reduction._from_file(meta["reduced"], tensors) if meta["reduced"] else None
        channels = None
        if source["channels"] is not None:
            c = source["channels"]
            channels = Channels(c["of_neighbour"], c["n"], features["l_factors"], kernel["offset"], pairs, features["average"])
        return cls(meta["centre"], meta["neighbours"], table=table, reduced=reduced, channels=channels,
                   **{key: source[key] for key in ("n_max", "l_max", "cutoff", "basis")}, normalise=features["normalise"],
                   **{key: kernel[key] for key in ("zeta", "delta")}, **arrays)
