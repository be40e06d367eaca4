"""An embedding function of a sum over pairs: what it computes, its numbers, and how they lie in a model file."""

from dataclasses import dataclass, field

from soapgap.model.terms.term import TERM_HEAD
from soapgap.radial.table import RadialTable

__all__ = ["EmbeddingTerm"]


@dataclass
class EmbeddingTerm:
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

    centre: str
    densities: dict[str, RadialTable]
    energy: RadialTable
    cutoff: float
    origin: dict = field(default_factory=dict)

    def _metadata(self, store):
        def table(name, values):
            return {"segments": [list(s) for s in values.segments], "tensors": store.part(name)({"radial": values.values})}

        return TERM_HEAD | {"kind": "embedding", "centre": self.centre, "neighbours": list(self.densities),
                        "cutoff": float(self.cutoff), "energy": table("energy", self.energy),
                        "densities": [table(f"density{n}", d) for n, d in enumerate(self.densities.values())],
                        "origin": self.origin}

    @classmethod
    def _from_file(cls, meta, tensors):
        def table(part):
            return RadialTable(part["segments"], tensors[part["tensors"]["radial"]])

        densities = dict(zip(meta["neighbours"], (table(part) for part in meta["densities"])))
        return cls(meta["centre"], densities, table(meta["energy"]), meta["cutoff"], meta["origin"])
