"""Functions of one variable with their first two derivatives, by the rules of differentiation.

A formula that is written once for a `Jet` gives the value and both derivatives that a table needs.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf as _erf

__all__ = ["Jet", "constant", "erf", "exp", "sqrt", "variable"]


@dataclass(frozen=True, eq=False)
class Jet:
    """f, f' and f'' at the points of one variable; broadcasts like arrays.

    Attributes
    ----------
    f, d, dd : ndarray
        Value, first and second derivative.
    """

    f: np.ndarray
    d: np.ndarray
    dd: np.ndarray

    __array_priority__ = 1000  # numpy arrays leave the arithmetic to this class

    def apply(self, f, d, dd) -> "Jet":
        """g(self), from g, g' and g'' at self.f."""
        return Jet(f, d * self.d, dd * self.d**2 + d * self.dd)

    def __getitem__(self, index) -> "Jet":
        return Jet(self.f[index], self.d[index], self.dd[index])

    def __neg__(self):
        return Jet(-self.f, -self.d, -self.dd)

    def __add__(self, other):
        other = _jet(other)
        return Jet(self.f + other.f, self.d + other.d, self.dd + other.dd)

    __radd__ = __add__

    def __sub__(self, other):
        return self + (-_jet(other))

    def __rsub__(self, other):
        return (-self) + other

    def __mul__(self, other):
        if not isinstance(other, Jet):
            return Jet(self.f * other, self.d * other, self.dd * other)
        return Jet(self.f * other.f, self.d * other.f + self.f * other.d,
                   self.dd * other.f + 2.0 * self.d * other.d + self.f * other.dd)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self * (other**-1.0 if isinstance(other, Jet) else 1.0 / np.asarray(other, dtype=np.float64))

    def __rtruediv__(self, other):
        return other * self**-1.0

    def __pow__(self, exponent: float):
        """A fixed real exponent; 0^0 = 1."""
        n = float(exponent)
        f = self.f**n
        d = n * self.f**(n - 1.0) if n != 0.0 else np.zeros_like(self.f)
        dd = n * (n - 1.0) * self.f**(n - 2.0) if n not in (0.0, 1.0) else np.zeros_like(self.f)
        return self.apply(f, d, dd)

    def stacked(self) -> np.ndarray:
        """One array [value, first, second derivative, ...]."""
        return np.stack(np.broadcast_arrays(self.f, self.d, self.dd))


def variable(x) -> Jet:
    """The variable itself: x, 1, 0 (in extended precision if x is)."""
    x = np.asarray(x)
    x = x if x.dtype == np.longdouble else x.astype(np.float64)
    return Jet(x, np.ones_like(x), np.zeros_like(x))


def constant(c) -> Jet:
    """c, 0, 0."""
    c = np.asarray(c, dtype=np.float64)
    return Jet(c, np.zeros_like(c), np.zeros_like(c))


def exp(a: Jet) -> Jet:
    f = np.exp(a.f)
    return a.apply(f, f, f)


def sqrt(a: Jet) -> Jet:
    return a**0.5


def erf(a: Jet) -> Jet:
    d = 2.0 / math.sqrt(math.pi) * np.exp(-a.f**2)
    return a.apply(_erf(a.f.astype(np.float64)), d, -2.0 * a.f * d)  # scipy's has no extended precision


def _jet(value) -> Jet:
    return value if isinstance(value, Jet) else constant(value)
