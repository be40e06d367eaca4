"""A function of one distance: what it computes, its numbers, and how they lie in a model file."""

from dataclasses import dataclass, field

import numpy as np

from soapgap.model.terms.term import TERM_HEAD, Cost, Term, register
from soapgap.radial.table import RadialTable

__all__ = ["PER_PAIR", "PairTerm"]

PER_PAIR = 1500.0  # cost of one neighbour (`Cost`)


@register
@dataclass
class PairTerm(Term):
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

    kind = "pair"
    needs_all = True

    species: tuple[str, str]
    cutoff: float
    table: RadialTable
    origin: dict
    sparse: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The two species."""
        return tuple(self.species)

    @property
    def n_sparse(self) -> int | None:
        """Number of sparse points; None if it is no Gaussian process."""
        return len(self.sparse["sparse_points"]) if "sparse_points" in self.sparse else None

    @property
    def shown_species(self) -> str:
        """Such as Si-O."""
        return "-".join(self.species)

    @property
    def shown_parameters(self) -> str:
        """What its origin says in single numbers and words."""
        of = self.origin.get("quip", {})
        shown = {"delta": of["delta"], "theta": " ".join(f"{t:g}" for t in of["theta"] or ())} if of else self.origin
        return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in shown.items() if key != "kind" and np.isscalar(value))

    def costs(self) -> dict[str, Cost]:
        """See `Term.costs`."""
        return dict.fromkeys(self.species, Cost(neighbour=PER_PAIR))

    @property
    def n_out(self) -> int:
        """Number of outputs of a centre."""
        return self.table.values.shape[2]

    def _kernel(self):
        """What rows of a design matrix need of a Gaussian process; None if it is none, or its parameters are not known."""
        known = ("theta", "delta", "cutoff_function", "cutoff_transition_width")
        if "sparse_points" not in self.sparse or any(key not in self.origin for key in known):
            return None
        return {"kind": "gaussian", "n_sparse": len(self.sparse["sparse_points"])} | {key: self.origin[key] for key in known}

    def _metadata(self, store):
        return TERM_HEAD | {"kind": "pair", "species": list(self.species), "kernel": self._kernel(), "origin": self.origin,
                            "source": {"kind": "pair_table", "cutoff": float(self.cutoff),
                                       "segments": [list(s) for s in self.table.segments]},
                            "tensors": store({"radial": self.table.values} | self.sparse)}

    @classmethod
    def _from_file(cls, meta, tensors):
        arrays, source = {role: tensors[name] for role, name in meta["tensors"].items()}, meta["source"]
        table = RadialTable(source["segments"], arrays.pop("radial"))
        return cls(tuple(meta["species"]), source["cutoff"], table, meta["origin"], arrays)
