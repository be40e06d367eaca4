r"""QUIP's other radial bases of `soap` ("POLY" and "GTO"), and its extra decay of the neighbour density.

Both bases have the form of `soapgap.radial.basis`, with the h_l of `soapgap.radial.smearing.smeared_gaussian`,

    R_nl(r) = g(r) sum_q h_l(r, x_q) M_qn,     g(r) = f_c(r) D(r),

where f_c is the cutoff function and D the decay. The radii are a fine grid, and M fits h_l on it by least squares: with
the basis functions phi_n, their values B_qn = phi_n(x_q) and their overlap S = L L^T,

    x_q = q R_b / (3 n_max), q = 0 .. 3 n_max - 1,     R_b = rc + sigma sqrt(2 b ln 10),
    S_nm = int_0^Rb x^2 phi_n phi_m dx,     A = B L^(-T),     M = (A^+)^T,

A^+ the pseudo-inverse, so that sum_q h_q M_qn is the coefficient of the orthonormal function n in the fit of h. The
centre's own Gaussian has the coefficients sum_q exp(-x_q^2 / 2 sigma^2) M_qn (of l = 0).

The basis functions overlap strongly. The rounding of S changes L, and with it the descriptor, in QUIP as here, by an
error that grows with the condition number of S: about 1e-13 for four functions of POLY, 1e-9 for six, 1e-6 for eight,
1e-3 for ten, and 1e-9 for ten of GTO. The two programs agree to that and no better. The formulas below are evaluated
in double precision in the order in which they are written, which comes closest to QUIP's numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gamma, gammainc

from soapgap.errors import InputError
from soapgap.radial.jets import variable
from soapgap.radial.limits import size_fault

__all__ = ["RadialFit", "decay", "gto_fit", "poly_fit"]


@dataclass(frozen=True, eq=False)
class RadialFit:
    """A radial basis fitted on a fine grid.

    Attributes
    ----------
    radii : ndarray, shape (n_radii,)
        x_q (Angstrom), n_radii = 3 n_max.
    matrix : ndarray, shape (n_radii, n_max) or (l_max + 1, n_radii, n_max)
        M_qn, the same for all l (POLY) or one for each l (GTO); Angstrom^(3/2).
    centre : ndarray, shape (n_max,)
        The l = 0 coefficients of the centre's own Gaussian, without Y_00 and without central_weight; Angstrom^(3/2).
    """

    radii: np.ndarray
    matrix: np.ndarray
    centre: np.ndarray


def poly_fit(n_max: int, cutoff: float, atom_sigma: float, basis_error_exponent: float = 10.0) -> RadialFit:
    r"""QUIP's `radial_basis=POLY`: powers of the distance from the end of the grid.

    With n = 1 .. n_max and R_b as in `soapgap.quip.radial`:

        phi_n(x) = (R_b - x)^(n+2) / N_n,     N_n^2 = R_b^(2n+7) / ((n + 3)(2n + 5)(2n + 7)),
        S_nm = 2 R_b^(n+m+7) / ((n + m + 5)(n + m + 6)(n + m + 7)) / (N_n N_m)

    Parameters
    ----------
    n_max : int
        Number of radial functions, within `soapgap.radial.limits.LIMITS`.
    cutoff, atom_sigma : float
        rc and sigma (Angstrom), positive.
    basis_error_exponent : float
        b > 0: the grid ends where a Gaussian at rc has fallen to 10^-b.

    Returns
    -------
    RadialFit
        `matrix` of shape (n_radii, n_max).

    Raises
    ------
    InputError
        If a parameter is outside its range, or the functions overlap too much for double precision
        (n_max of about a dozen or more).
    """
    radii, end = _grid("POLY", n_max, cutoff, atom_sigma, basis_error_exponent)
    n = np.arange(1, n_max + 1)
    norms = np.sqrt(_power(end, 2 * n + 7) / ((n + 3.0) * (2 * n + 5) * (2 * n + 7)))
    values = np.array([_power(end - x, n + 2) for x in radii]) / norms
    total = n[:, None] + n
    overlap = (2 * _power(end, total + 7) / ((5.0 + total) * (6 + total) * (7 + total))) / (norms[:, None] * norms)
    matrix = _least_squares("POLY", values, overlap)
    return RadialFit(radii, matrix, _centre(radii, matrix, atom_sigma))


def gto_fit(n_max: int, l_max: int, cutoff: float, atom_sigma: float, basis_error_exponent: float = 10.0) -> RadialFit:
    r"""QUIP's `radial_basis=GTO`: Gaussians at the origin, which fall to a thousandth at equally spaced radii.

    With n = 1 .. n_max, one set for each l, and R_b as in `soapgap.quip.radial`:

        phi_n(x) = x^l exp(-beta_n x^2),     R_n = n R_b / n_max,     R_n^l exp(-beta_n R_n^2) = 0.001,
        S_nm = 1/2 R_b^(2t) u^(-t) gamma(t, u),     t = l + 3/2,     u = (beta_n + beta_m) R_b^2

    with gamma(t, u) the lower incomplete gamma function. The numbers in the condition on beta_n are in Angstrom.

    Parameters
    ----------
    n_max : int
        Number of radial functions, within `soapgap.radial.limits.LIMITS`.
    l_max : int
        Largest angular momentum, within the same limits.
    cutoff, atom_sigma : float
        rc and sigma (Angstrom), positive.
    basis_error_exponent : float
        b > 0: the grid ends where a Gaussian at rc has fallen to 10^-b.

    Returns
    -------
    RadialFit
        `matrix` of shape (l_max + 1, n_radii, n_max).

    Raises
    ------
    InputError
        If a parameter is outside its range, the narrowest function would not decay (R_1 below one Angstrom and a large
        l), or the functions overlap too much for double precision.
    """
    radii, end = _grid("GTO", n_max, cutoff, atom_sigma, basis_error_exponent)
    _check_size("GTO", "l_max", l_max)
    matrix = np.array([_gto_matrix(radii, end, n_max, l) for l in range(l_max + 1)])
    return RadialFit(radii, matrix, _centre(radii, matrix[0], atom_sigma))


def _gto_matrix(radii, end, n_max, l):
    reach = np.arange(1, n_max + 1) * end / n_max
    exponents = -(math.log(0.001) - l * np.log(reach)) / reach**2
    if exponents.min() <= 0:
        raise InputError(f"radial_basis GTO: for l = {l} and n_max = {n_max} the function that falls to 0.001 at "
                         f"{reach[0]:g} Angstrom does not decay, expected R_b / n_max > {0.001 ** (1 / l):g} Angstrom; take "
                         "a smaller n_max or l_max")
    values = radii[:, None]**l * np.exp(-exponents * radii[:, None]**2)
    t, u = l + 1.5, (exponents[:, None] + exponents) * end**2
    overlap = 0.5 * end**(2 * t) * u**-t * gamma(t) * gammainc(t, u)
    return _least_squares("GTO", values, overlap)


def _grid(name, n_max, cutoff, atom_sigma, basis_error_exponent):
    """The radii x_q and R_b, with the parameters checked."""
    _check_size(name, "n_max", n_max)
    for key, value in (("cutoff", cutoff), ("atom_sigma", atom_sigma), ("basis_error_exponent", basis_error_exponent)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"radial_basis {name}: {key} is {value!r}, expected a positive number")
    end = cutoff + atom_sigma * math.sqrt(2 * basis_error_exponent * math.log(10))
    return np.arange(3 * n_max) * end / (3 * n_max), end


def _check_size(basis, name, value):
    if fault := size_fault(name, value):
        raise InputError(f"radial_basis {basis}: {name} is {value!r}, {fault}")


def _is_whole(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _power(base, exponents):
    """base to each of the positive whole exponents by repeated squaring.

    Not numpy's power: the last bit of R_b^k shows in L, and products are what QUIP's numbers agree with best.
    """
    out = np.ones(exponents.shape)
    square, left = base, exponents
    while left.any():
        out = np.where(left % 2 == 1, out * square, out)
        square, left = square * square, left // 2
    return out


def _least_squares(name, values, overlap):
    """M, (n_radii, n_max), from B and S: with A = B L^(-T) = Q R, M = Q R^(-T)."""
    try:
        factor = np.linalg.cholesky(overlap)
    except np.linalg.LinAlgError:
        raise InputError(f"radial_basis {name}: {len(overlap)} functions overlap too much for double precision (their "
                         "overlap matrix is not positive definite), expected fewer; take a smaller n_max or another "
                         "radial_basis") from None
    q, r = np.linalg.qr(solve_triangular(factor, values.T, lower=True).T)
    return solve_triangular(r, q.T).T


def _centre(radii, matrix, atom_sigma):
    return np.exp(-0.5 * (radii / atom_sigma) ** 2) @ matrix


def decay(r, m: int, r0: float, rho: float) -> np.ndarray:
    r"""The extra radial decay of the neighbour density and its first two derivatives.

        D(r) = 1                            m = 0
             = (r0 / r)^m                   m > 0, rho = 0
             = rho / (rho + (r / r0)^m)     m > 0, rho > 0

    (the radial scaling of Willatt, Musil and Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), for rho > 0). At r = 0
    these are the limits, which are infinite for m > 0 and rho = 0.

    Parameters
    ----------
    r : array_like, shape (n_r,)
        Distances (Angstrom), >= 0.
    m : int
        Exponent, `cutoff_dexp`, 0 or more.
    r0 : float
        Length, `cutoff_scale` (Angstrom), positive.
    rho : float
        `cutoff_rate`, 0 or more.

    Returns
    -------
    ndarray, shape (3, n_r)
        D (dimensionless), D' (per Angstrom), D'' (per Angstrom^2).

    Raises
    ------
    InputError
        If a parameter or a distance is outside its range.
    """
    r = np.atleast_1d(np.asarray(r, dtype=np.float64))
    if not (_is_whole(m) and m >= 0):
        raise InputError(f"radial decay: cutoff_dexp is {m!r}, expected a whole number, 0 or more")
    if not (math.isfinite(r0) and r0 > 0):
        raise InputError(f"radial decay: cutoff_scale is {r0!r} Angstrom, expected a positive number")
    if not (math.isfinite(rho) and rho >= 0):
        raise InputError(f"radial decay: cutoff_rate is {rho!r}, expected 0 or more")
    if not (r >= 0).all():
        raise InputError(f"radial decay: the smallest distance is {r.min():g} Angstrom, expected 0 or more")
    if m == 0:
        return np.stack([np.ones_like(r), np.zeros_like(r), np.zeros_like(r)])
    x = variable(r) * (1.0 / r0)
    if rho == 0:
        with np.errstate(divide="ignore"):
            powers = x.f[None] ** -np.array([m, m + 1, m + 2])[:, None].astype(np.float64)
        return powers * np.array([1.0, -m / r0, m * (m + 1) / r0**2])[:, None]
    out = np.empty((3, len(r)))
    near = x.f <= 1.0  # beyond r0 in powers of r0 / r, which cannot overflow
    out[:, near] = (rho / (x[near] ** m + rho)).stacked()
    far = rho * x[~near] ** -m
    out[:, ~near] = (far / (far + 1.0)).stacked()
    return out
