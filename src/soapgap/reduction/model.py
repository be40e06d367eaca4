"""The same function at less cost, compiled into a model: each kind of terms has its own way.

What is left out is set by tolerances (eV/Angstrom); what it did to forces is then measured on probe structures. A soap term
has fewer features and points (`soapgap.reduction.soap`), a triplet term a spline (`soapgap.reduction.triplet`); other kinds
stay as they are.
"""

from dataclasses import replace

import numpy as np

from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.reduction import soap, triplet  # noqa: F401  (they register what is known of their kinds)
from soapgap.reduction.kinds import Tolerances, described, reduced

__all__ = ["DEFAULT_TOLERANCE", "DEFAULT_TRIPLET_TOLERANCE", "describe_reductions", "exact_model", "reduce_model"]

DEFAULT_TOLERANCE = 1e-9  # eV/Angstrom
DEFAULT_TRIPLET_TOLERANCE = 1e-5  # eV/Angstrom


def reduce_model(model: Model, tolerance: float = DEFAULT_TOLERANCE, precision: str = "double",
                 triplet_tolerance: float = DEFAULT_TRIPLET_TOLERANCE) -> Model:
    """A model with the reduced form of every soap and triplet term beside the term itself.

    Parameters
    ----------
    model : Model
    tolerance : float
        eV/Angstrom. The largest change of a force on the probe structures; rounding alone may exceed it in models whose
        weights cancel strongly, and then rounding is the measure.
    precision : "double" or "mixed"
    triplet_tolerance : float
        eV/Angstrom. The same for the splines of triplet terms.

    Returns
    -------
    Model
        The terms' own points and weights are untouched. A term whose reduction saves nothing has none.

    Raises
    ------
    InputError
        If the tolerance is not a positive number, or the precision none of the two.
    """
    if precision not in ("double", "mixed"):
        raise InputError(f"precision = {precision!r}, expected \"double\" or \"mixed\"")
    for name, value, usual in (("tolerance", tolerance, DEFAULT_TOLERANCE),
                               ("triplet_tolerance", triplet_tolerance, DEFAULT_TRIPLET_TOLERANCE)):
        if not (np.isfinite(value) and value > 0.0):
            raise InputError(f"{name} = {value}, expected a positive number of eV/Angstrom (default {usual:g}); for no "
                             "reduction at all ask for the exact form")

    wanted = Tolerances(tolerance, triplet_tolerance, precision)
    return replace(model, terms=[reduced(term, model.species, wanted) if term.n_out == 1 else term for term in model.terms])


def exact_model(model: Model) -> Model:
    """The model without any reduction: it evaluates every sparse point with every feature."""
    return replace(model, terms=[term.exact() for term in model.terms])


def describe_reductions(model: Model) -> list[str]:
    """One line per soap or triplet term: which reduction it has, what it saves, and the errors that were measured."""
    return [line for line in map(described, model.terms) if line is not None]
