"""Functions of the distance that radial functions are multiplied with: the cutoff, and a weight."""

import math

import numpy as np

from soapgap.errors import InputError

__all__ = ["check_cutoff", "cutoff_function", "cutoff_transition", "product", "radial_scaling"]

CUTOFF_SHAPES = ("cosine", "septic")


def cutoff_function(r, cutoff: float, width: float, shape: str = "cosine") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cutoff function and its first two derivatives: 1 for r <= rc - w, 0 for r >= rc, and with u = (rc - r) / w between

        cosine    f = (1 - cos(pi u)) / 2
        septic    f = u^4 (35 - 84 u + 70 u^2 - 20 u^3)

    The cosine is GAP's (Bartok and Csanyi, Int. J. Quantum Chem. 115, 1051 (2015)). Its second derivative jumps at both
    ends of the transition (here it is that of the outer side), so forces have kinks there, and over long runs at constant
    energy every crossing of a kink moves the energy a little. The septic polynomial, the lowest one whose first three
    derivatives vanish at both ends, has continuous third derivatives.

    Parameters
    ----------
    r : array_like
        Distances (Angstrom).
    cutoff, width : float
        rc and w (Angstrom), 0 < w <= rc.
    shape : {"cosine", "septic"}

    Returns
    -------
    f, f', f'' : ndarray, shape of r
        Dimensionless, per Angstrom, per Angstrom^2.

    Raises
    ------
    InputError
        If not 0 < width <= cutoff, or the shape is not known.
    """
    check_cutoff(cutoff, width, shape)
    r = np.asarray(r, dtype=np.float64)
    inner, outer = r <= cutoff - width, r >= cutoff
    curves = cutoff_transition(r, cutoff, width, shape)
    flat = np.where(inner, 1.0, 0.0), np.zeros(r.shape), np.zeros(r.shape)
    return tuple(np.where(inner | outer, constant, curve) for constant, curve in zip(flat, curves))


def cutoff_transition(r, cutoff: float, width: float, shape: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The curve of `cutoff_function` between rc - w and rc, continued to any r: one-sided derivatives at the ends.

    Written so that it is exactly zero at rc. Parameters and result as in `cutoff_function`.
    """
    r = np.asarray(r)
    u = (cutoff - (r if r.dtype == np.longdouble else r.astype(np.float64))) / width
    if shape == "septic":
        v = 1 - u
        low = np.minimum(u, v)  # f(u) = 1 - f(v): the smaller of the two keeps all digits
        half = low**4 * (35 - 84 * low + 70 * low**2 - 20 * low**3)
        return np.where(u < v, half, 1 - half), -140 * (u * v) ** 3 / width, 420 * (u * v) ** 2 * (v - u) / width**2
    k = np.pi / width
    return np.sin(0.5 * np.pi * u) ** 2, -0.5 * k * np.sin(np.pi * u), 0.5 * k**2 * np.cos(np.pi * u)


def radial_scaling(r, rate: float, scale: float, exponent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weight of a neighbour by its distance, and its first two derivatives:

        u(r) = c / (c + (r / r0)^m)

    1 at the centre, 1/(1 + 1/c) at r0, falling like r^-m far away (M. J. Willatt, F. Musil and M. Ceriotti, Phys. Chem.
    Chem. Phys. 20, 29661 (2018); featomic's "Willatt2018" and QUIP's cutoff_rate, cutoff_scale, cutoff_dexp).

    Parameters
    ----------
    r : array_like
        Distances (Angstrom), >= 0.
    rate, scale : float
        c > 0 (no unit), r0 > 0 (Angstrom).
    exponent : int
        m >= 1.

    Returns
    -------
    u, u', u'' : ndarray, shape of r
    """
    r = np.asarray(r, dtype=np.float64)
    m, t = exponent, r / scale
    u = rate / (rate + t**m)
    v1 = m * t**(m - 1) / (rate * scale)                 # u = 1/v with v = 1 + t^m / c
    v2 = m * (m - 1) * t**max(m - 2, 0) / (rate * scale**2)
    return u, -u**2 * v1, 2 * u**3 * v1**2 - u**2 * v2


def product(f, g) -> np.ndarray:
    """Value, first and second derivative of f g; f three arrays (n_r,), g (3, n_r, n_functions)."""
    f, f1, f2 = (value[:, None] for value in f)
    return np.stack([f * g[0], f1 * g[0] + f * g[1], f2 * g[0] + 2 * f1 * g[1] + f * g[2]])


def check_cutoff(cutoff: float, width: float, shape: str) -> None:
    """Raise InputError unless 0 < width <= cutoff and the shape is known."""
    if shape not in CUTOFF_SHAPES:
        raise InputError(f"cutoff_function: got {shape!r}, expected one of {', '.join(map(repr, CUTOFF_SHAPES))}")
    if not (math.isfinite(cutoff) and 0 < width <= cutoff):
        raise InputError(f"cutoff function: got cutoff {cutoff:g} and transition width {width:g} Angstrom, expected "
                         "0 < width <= cutoff")
