"""What reduction asks of each kind of terms."""

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

from soapgap.model import Model, Term

__all__ = ["Tolerances", "alone", "described", "reduced"]


class Tolerances(NamedTuple):
    """How much a reduction may change.

    Attributes
    ----------
    force : float
        eV/Angstrom, of forces on probe structures.
    triplet_force : float
        The same for splines of triplet terms.
    precision : "double" or "mixed"
    """

    force: float
    triplet_force: float
    precision: str = "double"


@singledispatch
def reduced(term: Term, species: Sequence[str], wanted: Tolerances) -> Term:
    """The term with its reduced form; as it is, if its kind has none or nothing would be saved.

    Parameters
    ----------
    term : Term
    species : sequence of str
        Of the model.
    wanted : Tolerances
    """
    return term


@singledispatch
def described(term: Term) -> str | None:
    """Which reduction the term has and what it saves, in one line; None if its kind has none."""
    return None


def alone(term: Term, species: Sequence[str]) -> Model:
    """A model of this term only."""
    return Model(list(species), dict.fromkeys(species, 0.0), [term])
