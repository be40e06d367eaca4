"""What all kinds of terms of a model have in common, and the kinds that exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

__all__ = ["TERMS", "TERM_HEAD", "Cost", "Term", "register"]

#: Its version.
TERM_HEAD = {"kind_version": 1}


class Cost(NamedTuple):
    """What a term takes for one centre, counted in floating-point operations of the kernel's matrix products.

    These are the fastest operations there are. What others cost in these units was measured once (docs/parallel.md): the ratios
    are those of the loops, and hardly depend on the machine.

    Attributes
    ----------
    centre : float
        Of the centre itself.
    neighbour : float
        Of one neighbour, summed over the species that are seen.
    triplet : float
        Of two neighbours, summed over the ordered pairs of species that are seen.
    """

    centre: float = 0.0
    neighbour: float = 0.0
    triplet: float = 0.0


class Term:
    """One kind of summand of a model's energy, a function of the neighbours of a centre.

    Attributes
    ----------
    kind : str
        Its name in model files.
    needs_all : bool
        It acts only between atoms of all its species at once; otherwise among whichever of them there are.
    cutoff : float
        Angstrom.
    n_out : int
        Number of outputs of a centre: sets of weights.
    n_sparse : int or None
        Number of sparse points, None if it has none.
    cancellation, rounding : float or None
        S = sum |weights| delta^2 in eV, which says how strongly weights cancel, and what this leaves of a local energy's last
        digits, eV; None if it is not known.
    whole_structure : bool
        Its energy belongs to all atoms of a structure together.
    """

    kind: ClassVar[str]
    needs_all: ClassVar[bool] = False
    cutoff: float
    n_out: int = 1
    n_sparse: int | None = None
    cancellation: float | None = None
    rounding: float | None = None
    whole_structure: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of the species that it knows, that of its centre first."""
        raise NotImplementedError

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How it was made: for information and export."""
        return self.origin

    @property
    def name(self) -> str:
        """The kind as the user knows it, such as distance_2b or zbl."""
        return str(self.recipe.get("kind", self.kind))

    @property
    def shown_species(self) -> str:
        """Its species in words."""
        return f"{self.symbols[0]} in {' '.join(self.symbols[1:])}"

    @property
    def shown_parameters(self) -> str:
        """Its parameters in words."""
        return ""

    def exact(self) -> Term:
        """The term without what evaluation uses in its place."""
        return self

    def costs(self) -> dict[str, Cost]:
        """What it costs, by the species of the centre."""
        raise NotImplementedError


#: All kinds, by their names in model files.
TERMS: dict[str, type[Term]] = {}


def register(kind: type[Term]) -> type[Term]:
    """Make a kind of terms known to `Model`, as a decorator of its class."""
    TERMS[kind.kind] = kind
    return kind
