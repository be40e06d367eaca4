"""How many radial and angular functions a basis may have: the one place that says so.

Configurations, bases made here and bases of QUIP keep to it. The reader of model files accepts more, because a table read
from soap_turbo counts the radial functions of all species together.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

__all__ = ["LIMITS", "size_fault"]

LIMITS = {"n_max": (1, 32), "l_max": (0, 32)}


def size_fault(name: str, value: Any) -> str | None:
    """What is wrong with the size of a basis, in words; None if nothing is.

    Parameters
    ----------
    name : {"n_max", "l_max"}
    value : object
        What was given.

    Returns
    -------
    str or None
        Such as "expected a whole number from 1 to 32".
    """
    low, high = LIMITS[name]
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"expected a whole number from {low} to {high}"
