"""What a model is, and its file.

A model file is safetensors: a header, then the arrays. All metadata are one canonical JSON string (sorted keys, no
blanks) under the single key ``soapgap``; its ``checksum`` is the SHA-256 over that string without the checksum entry,
followed by name, type, shape and bytes of every array in the order of their names. Two identical models are identical
files. Reading and checking is done by the C++ evaluator alone, for every host; this module writes.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from soapgap._evaluator import Evaluator
from soapgap.errors import InputError, ModelFileError
from soapgap.files import write_atomically
from soapgap.radial_table import RadialTable

__all__ = ["Model", "PairTerm", "RadialTable", "Reduction", "SoapTerm"]

FORMAT = 1
_HEAD = {"kind_version": 1, "n_out": 1, "irreps": "0e", "source": "pair_table"}


@dataclass
class Reduction:
    """What evaluation uses in place of a soap term: the same function with fewer operations (`soapgap.reduction`).

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

    def _metadata(self):
        return {"form": self.form, "n_radial": [int(n) for n in self.n_radial], "n_points": len(self.points),
                "n_single": int(self.n_single), "report": self.report}

    def _arrays(self):
        return {"radial": self.table, "centre_values": self.centre_values, "features": self.features,
                "points": self.points, "weights": self.weights}

    @classmethod
    def _from_file(cls, meta, tensors):
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        return cls(meta["form"], meta["n_radial"], arrays["radial"], arrays["centre_values"],
                   arrays["features"].astype(np.int64), arrays["points"], arrays["weights"], meta["report"],
                   meta["n_single"])


@dataclass
class SoapTerm:
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
        R_nl(r), function l * n_max + n; shared by all neighbour species.
    centre_values : ndarray, shape (len(neighbours), n_max)
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
    """

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

    @property
    def n_features(self) -> int:
        """(l_max + 1) N (N + 1) / 2 with N = len(neighbours) n_max."""
        n = len(self.neighbours) * self.n_max
        return (self.l_max + 1) * n * (n + 1) // 2

    @property
    def cancellation(self) -> float:
        """S = sum |weights| delta^2 in eV: rounding of a local energy is at least about 4 eps zeta S."""
        return float(np.abs(self.weights).sum() * self.delta**2)

    @property
    def flops(self) -> int:
        """Floating-point operations of the kernel and its derivative without reduction, per centre."""
        return 4 * self.n_features * len(self.sparse_points)

    def digest(self) -> str:
        """SHA-256 of all numbers that a reduction is made from."""
        sha = hashlib.sha256(repr((self.zeta, self.delta, self.n_max, self.l_max, self.normalise)).encode())
        for array in (self.table.values, self.centre_values, self.sparse_points, self.weights):
            sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return sha.hexdigest()

    def _metadata(self):
        return _HEAD | ({} if self.reduced is None else {"kind_version": 2}) | {
            "kind": "soap", "centre": self.centre, "neighbours": list(self.neighbours), "n_max": int(self.n_max),
            "l_max": int(self.l_max), "n_sparse": len(self.sparse_points), "cutoff": float(self.cutoff),
            "zeta": float(self.zeta), "delta": float(self.delta), "normalise": bool(self.normalise), "basis": self.basis,
            "segments": [list(s) for s in self.table.segments]}

    def _arrays(self):
        return {"radial": self.table.values, "centre_values": self.centre_values, "sparse_points": self.sparse_points,
                "weights": self.weights}

    @classmethod
    def _from_file(cls, meta, tensors):
        keys = ("centre", "neighbours", "n_max", "l_max", "cutoff", "zeta", "delta", "normalise", "basis")
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        table = RadialTable(meta["segments"], arrays.pop("radial"))
        reduced = Reduction._from_file(meta["reduced"], tensors) if "reduced" in meta else None
        return cls(table=table, reduced=reduced, **arrays, **{key: meta[key] for key in keys})


@dataclass
class PairTerm:
    """A function of one distance for one pair of species: e_i = sum over neighbours j of V(r_ij).

    A physical pair contributes 2 V. For ``distance_2b``, V = f_c(r) sum_s alpha_s delta^2 exp(-(r - X_s)^2/2 theta^2),
    so GAP's counting of ordered pairs is in it; for ``zbl``, V holds the factor 1/2.

    Attributes
    ----------
    species : tuple of two str
    cutoff : float
        Angstrom, the end of the table.
    table : RadialTable
        One function, V(r) in eV.
    origin : dict
        Where V comes from: ``kind`` ("distance_2b", "zbl") and its parameters.
    sparse : dict of str to ndarray
        What an export needs besides, e.g. sparse points and weights of a ``distance_2b``.
    """

    species: tuple[str, str]
    cutoff: float
    table: RadialTable
    origin: dict
    sparse: dict[str, np.ndarray] = field(default_factory=dict)

    def _metadata(self):
        return _HEAD | {"kind": "pair", "species": list(self.species), "cutoff": float(self.cutoff),
                        "origin": self.origin, "segments": [list(s) for s in self.table.segments]}

    def _arrays(self):
        return {"radial": self.table.values} | self.sparse

    @classmethod
    def _from_file(cls, meta, tensors):
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        table = RadialTable(meta["segments"], arrays.pop("radial"))
        return cls(tuple(meta["species"]), meta["cutoff"], table, meta["origin"], arrays)


@dataclass
class Model:
    """A potential: E = sum_i e0(Z_i) + the sum of its terms.

    Attributes
    ----------
    species : list of str
        Chemical symbols.
    e0 : dict of str to float
        Energy of the isolated atom of each species, eV.
    terms : list of SoapTerm and PairTerm
    provenance : dict
        Who made it and from what: JSON values only, no times, so that identical fits are identical files.
    """

    species: list[str]
    e0: dict[str, float]
    terms: list
    provenance: dict = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The model file's content.

        Raises
        ------
        InputError
            If a species has no e0, or an array has the wrong shape or a number that is not finite.
        """
        if sorted(self.e0) != sorted(self.species):
            raise InputError(f"e0 is given for {sorted(self.e0)}, the species are {sorted(self.species)}: "
                             "give one energy per species")
        tensors, terms = {}, []
        for index, term in enumerate(self.terms):
            terms.append(term._metadata() | {"tensors": self._add_tensors(tensors, str(index), term)})
            reduced = getattr(term, "reduced", None)
            if reduced is not None:
                if reduced.report.get("of") != term.digest():
                    raise InputError(f"terms[{index}] was changed after its reduction was made: reduce it again "
                                     "(soapgap.reduction.reduce_model) or set `reduced` to None")
                terms[-1]["reduced"] = reduced._metadata() | {
                    "tensors": self._add_tensors(tensors, f"{index}.reduced", reduced)}
        meta = {"format": FORMAT, "units": {"energy": "eV", "length": "Angstrom"}, "species": list(self.species),
                "e0": [float(self.e0[s]) for s in self.species], "terms": terms, "provenance": self.provenance}
        digest = _checksum(_canonical(meta), tensors)
        return save_tensors(tensors, metadata={"soapgap": _canonical(meta | {"checksum": digest})})

    @classmethod
    def _add_tensors(cls, tensors, prefix, part):
        return {role: cls._add_tensor(tensors, f"{prefix}.{role}", np.asarray(array, dtype=np.float64))
                for role, array in part._arrays().items()}

    @staticmethod
    def _add_tensor(tensors, name, array):
        if not np.isfinite(array).all():
            raise InputError(f"the model's array {name} holds a number that is not finite; expected finite numbers: "
                             "was the fit's input sound?")
        for known, other in tensors.items():  # terms of several centre species share one radial table
            if other.shape == array.shape and np.array_equal(other, array) and array.size > 1000:
                return known
        tensors[name] = np.ascontiguousarray(array)
        return name

    def save(self, path) -> None:
        """Write the model file; it appears complete or not at all."""
        content = self.to_bytes()
        Evaluator(content)  # what cannot be read back is not written
        write_atomically(path, content)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """The model in a file's content; raises ModelFileError if it is not whole, unaltered and known."""
        return cls._checked(content)[0]

    @classmethod
    def _checked(cls, content):
        evaluator = Evaluator(content)
        meta = json.loads(evaluator.metadata)
        tensors = load_tensors(content)
        kinds = {"soap": SoapTerm, "pair": PairTerm}
        terms = [kinds[t["kind"]]._from_file(t, tensors) for t in meta["terms"]]
        return cls(meta["species"], dict(zip(meta["species"], meta["e0"])), terms, meta["provenance"]), evaluator

    @classmethod
    def load(cls, path) -> "Model":
        """Read a model file.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, altered, or from a newer soapgap.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"model file {path}: {error.strerror}; expected a model written by soapgap") from None
        try:
            return cls.from_bytes(content)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None

    @property
    def checksum(self) -> str:
        """SHA-256 of the model, as its file states it."""
        return json.loads(Evaluator(self.to_bytes()).metadata)["checksum"]

    def evaluator(self, n_threads: int = 1) -> Evaluator:
        """The C++ evaluator of this model."""
        return Evaluator(self.to_bytes(), n_threads)

    def baseline(self) -> "Model":
        """Only the terms that do not come from the fit (short-range repulsion), with e0 = 0."""
        terms = [t for t in self.terms if isinstance(t, PairTerm) and t.origin.get("kind") == "zbl"]
        return Model(self.species, dict.fromkeys(self.species, 0.0), terms)


def _canonical(meta) -> str:
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _checksum(metadata: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        shape = "".join(f"{extent}," for extent in tensors[name].shape)
        digest.update(f"\n{name}\nF64\n{shape}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name], dtype="<f8").tobytes())
    return digest.hexdigest()
