"""An embedding function of a sum over pairs: what it computes, its numbers, and how they lie in a model file."""

from dataclasses import dataclass, field

from soapgap.model.terms.pair import PER_PAIR
from soapgap.model.terms.term import TERM_HEAD, Cost, Term, register
from soapgap.radial.table import RadialTable

__all__ = ["EmbeddingTerm"]


@register
@dataclass
class EmbeddingTerm(Term):
    """An embedded-atom energy: e_i = U(rho_i), rho_i = sum over neighbours j of n_j(r_ij).

    (M. S. Daw and M. I. Baskes, Phys. Rev. B 29, 6443 (1984).)

    Attributes
    ----------
    centre : str
    densities : dict of str to RadialTable
        n(r) of each neighbour species, zero from the end of its table on.
    energy : RadialTable
        U(rho) in eV; it continues in straight lines beyond both ends.
    cutoff : float
        Angstrom; the longest of the densities.
    origin : dict
        Where it comes from, for info and export.
    """

    kind = "embedding"
    name = "embedding"

    centre: str
    densities: dict[str, RadialTable]
    energy: RadialTable
    cutoff: float
    origin: dict = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Centre and neighbours."""
        return self.centre, *self.densities

    def costs(self) -> dict[str, Cost]:
        """See `Term.costs`; a neighbour is seen twice, forward and back."""
        return {self.centre: Cost(neighbour=2.0 * PER_PAIR * len(self.densities))}

    @property
    def n_out(self) -> int:
        """Number of outputs of a centre."""
        return self.energy.values.shape[2]

    def _metadata(self, store):
        def table(name, values):
            return {"segments": [list(s) for s in values.segments], "tensors": store.part(name)({"radial": values.values})}

        return TERM_HEAD | {"kind": "embedding", "centre": self.centre, "neighbours": list(self.densities),
                            "source": {"kind": "pair_table", "cutoff": float(self.cutoff)}, "kernel": None,
                            "energy": table("energy", self.energy),
                            "densities": [table(f"density{n}", d) for n, d in enumerate(self.densities.values())],
                            "origin": self.origin}

    @classmethod
    def _from_file(cls, meta, tensors):
        def table(part):
            return RadialTable(part["segments"], tensors[part["tensors"]["radial"]])

        densities = dict(zip(meta["neighbours"], (table(part) for part in meta["densities"])))
        return cls(meta["centre"], densities, table(meta["energy"]), meta["source"]["cutoff"], meta["origin"])
