"""A function of one distance: what it computes, its numbers, and how they lie in a model file."""

from dataclasses import dataclass, field

import numpy as np

from soapgap.model.terms.term import TERM_HEAD
from soapgap.radial.table import RadialTable

__all__ = ["PairTerm"]


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

    def _metadata(self, store):
        return TERM_HEAD | {"kind": "pair", "species": list(self.species), "cutoff": float(self.cutoff),
                        "origin": self.origin, "segments": [list(s) for s in self.table.segments],
                        "tensors": store({"radial": self.table.values} | self.sparse)}

    @classmethod
    def _from_file(cls, meta, tensors):
        arrays = {role: tensors[name] for role, name in meta["tensors"].items()}
        table = RadialTable(meta["segments"], arrays.pop("radial"))
        return cls(tuple(meta["species"]), meta["cutoff"], table, meta["origin"], arrays)
