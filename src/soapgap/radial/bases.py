"""The radial bases that there are, by name; `soapgap.radial.basis` says what they have in common."""

import math

import numpy as np
import scipy.linalg
from scipy.special import erf

from soapgap.errors import InputError
from soapgap.radial.basis import SoapBasis
from soapgap.radial.cutoff import check_cutoff
from soapgap.radial.gto import gto_functions
from soapgap.radial.limits import LIMITS, size_fault

__all__ = ["equispaced_basis", "gto_basis", "make_basis"]

Y_00 = 1.0 / math.sqrt(4.0 * math.pi)


def gto_basis(n_max: int, l_max: int, cutoff: float, atom_sigma: float, cutoff_transition_width: float,
              central_weight: float = 1.0, cutoff_function: str = "cosine",
              radial_scaling: dict | None = None) -> SoapBasis:
    r"""Gaussian-type radial functions, with the conventions of featomic (librascal).

    With the orthonormal functions R_n of `soapgap.radial.gto.gto_functions` (widths sigma_n = rc max(sqrt n, 1) / n_max) and
    Gaussians of unit norm, int g^2 d^3x = 1, the coefficients are the projections of the density,

        c_nlm = sum_j f_c(r_j) int R_n(x) Y_lm g(x - r_j) d^3x,    g(x) = (pi sigma^2)^(-3/4) exp(-x^2/2 sigma^2),
        R_nl(r) = f_c(r) 4 pi (pi sigma^2)^(-3/4) int_0^inf x^2 R_n(x) h_l(r, x) dx

    (Musil et al., J. Chem. Phys. 154, 114109 (2021), section II C and appendix A; sigma is `atom_sigma`). The integral
    is a Gauss-Legendre sum on panels short against sigma and the narrowest R_n, exact to rounding: unlike the closed
    form with 1F1, it loses no digits to the overlap of the primitives. c_nlm equals the coefficient of featomic's
    `SphericalExpansion` (TensorProduct of SphericalHarmonics and Gto, max_radial = n_max - 1, Gaussian density of
    width `atom_sigma`, ShiftedCosine smoothing) with no factor. The centre's own Gaussian adds
    central_weight R_n0(0) Y_00 to c_n00 (featomic's `center_atom_weight`).

    Parameters
    ----------
    n_max, l_max : int
        Number of radial functions, largest angular momentum; within `soapgap.radial.limits.LIMITS`.
    cutoff, atom_sigma, cutoff_transition_width : float
        rc, sigma, w (Angstrom), 0 < w <= rc, 0 < sigma.
    central_weight : float
        Weight of the centre's own Gaussian.
    cutoff_function : {"cosine", "septic"}
        Shape of f_c, see `soapgap.radial.cutoff.cutoff_function`.
    radial_scaling : dict, optional
        `rate`, `scale`, `exponent` of the weight u(r), see `soapgap.radial.cutoff.radial_scaling`; by default u = 1.

    Returns
    -------
    SoapBasis

    Raises
    ------
    InputError
        If a parameter is outside its range.
    """
    parameters = _parameters("gto", cutoff_function, radial_scaling, n_max=n_max, l_max=l_max, cutoff=cutoff,
                             atom_sigma=atom_sigma, cutoff_transition_width=cutoff_transition_width,
                             central_weight=central_weight)
    n_max, sigma = parameters["n_max"], parameters["atom_sigma"]
    feature = min(sigma, cutoff / n_max)
    n_panels = math.ceil((cutoff + 9 * sigma) / (2 * feature))
    node, weight = np.polynomial.legendre.leggauss(16)
    half = (cutoff + 9 * sigma) / (2 * n_panels)
    radii = (half * (2 * np.arange(n_panels)[:, None] + 1 + node)).ravel()
    weights = np.tile(half * weight, n_panels) * radii**2
    norm = 4 * math.pi * (math.pi * sigma**2) ** -0.75
    matrix = norm * weights[:, None] * gto_functions(radii, n_max, cutoff)
    centre = parameters["central_weight"] * Y_00 * (np.exp(-0.5 * (radii / sigma) ** 2) @ matrix)
    return SoapBasis(n_max, parameters["l_max"], parameters["cutoff"], parameters, centre, radii, matrix)


def equispaced_basis(n_max: int, l_max: int, cutoff: float, atom_sigma: float, cutoff_transition_width: float,
                     central_weight: float = 1.0, basis_error_exponent: float = 10.0,
                     cutoff_function: str = "cosine", radial_scaling: dict | None = None) -> SoapBasis:
    r"""QUIP's radial basis: Gaussians at equal spacing, collocated and Cholesky-orthonormalised.

    With a = 1/2 sigma^2 (sigma is `atom_sigma`, b `basis_error_exponent`):

        R_b = rc + sigma sqrt(2 b ln 10),   x_q = q R_b / n_max,  q = 0 .. n_max - 1,   phi_q(x) = exp(-a (x - x_q)^2)
        C_qp = phi_p(x_q),   S_qp = int_0^inf x^2 phi_q phi_p dx = L L^T,   M = C^(-1) L,
        R_nl(r) = f_c(r) sum_q h_l(r, x_q) M_qn;    the centre adds central_weight L_{0n} Y_00 to c_n00

    (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115 (2013), for the expansion; that the Gaussian is fitted at the
    x_q, not projected, and the factor 4 pi left out, is QUIP's convention.)

    Parameters
    ----------
    n_max, l_max : int
    cutoff, atom_sigma, cutoff_transition_width, central_weight : float
    cutoff_function : {"cosine", "septic"}
    radial_scaling : dict, optional
        As in `gto_basis`. QUIP has the cosine.
    basis_error_exponent : float
        b > 0: the grid ends where a Gaussian at rc has fallen to 10^-b.

    Returns
    -------
    SoapBasis

    Raises
    ------
    InputError
        If a parameter is outside its range, or the Gaussians overlap so much that S is singular in double precision.
    """
    parameters = _parameters("equispaced", cutoff_function, radial_scaling, n_max=n_max, l_max=l_max, cutoff=cutoff,
                             atom_sigma=atom_sigma, cutoff_transition_width=cutoff_transition_width,
                             central_weight=central_weight, basis_error_exponent=basis_error_exponent)
    n_max, sigma = parameters["n_max"], parameters["atom_sigma"]
    end = cutoff + sigma * math.sqrt(2 * parameters["basis_error_exponent"] * math.log(10))
    radii = end / n_max * np.arange(n_max)
    a = 0.5 / sigma**2
    total, gap = radii[:, None] + radii, radii[:, None] - radii
    squares = radii[:, None] ** 2 + radii**2
    overlap = (np.exp(-a * squares) * math.sqrt(2) * a**1.5 * total
               + a * math.sqrt(math.pi) * np.exp(-0.5 * a * gap**2) * (1 + a * total**2)
               * (1 + erf(math.sqrt(0.5 * a) * total))) / math.sqrt(128 * a**5)
    try:
        factor = np.linalg.cholesky(overlap)
    except np.linalg.LinAlgError:
        raise InputError(
            f"equispaced basis: {n_max} Gaussians of width atom_sigma = {sigma:g} at a spacing of {end / n_max:g} "
            "Angstrom overlap too much for double precision (the overlap matrix is not positive definite); expected "
            "a spacing of about half of atom_sigma or more; take a smaller n_max or a smaller atom_sigma") from None
    matrix = scipy.linalg.solve(np.exp(-a * gap**2), factor, assume_a="pos")
    centre = parameters["central_weight"] * Y_00 * factor[0]
    return SoapBasis(n_max, parameters["l_max"], parameters["cutoff"], parameters, centre, radii, matrix)


def make_basis(radial_basis: str, **parameters) -> SoapBasis:
    """Make a basis by name: `gto_basis` for "gto", `equispaced_basis` for "equispaced".

    Parameters
    ----------
    radial_basis : {"gto", "equispaced"}
    **parameters
        Arguments of that function.

    Returns
    -------
    SoapBasis

    Raises
    ------
    InputError
        If the name or an argument is not known, one is missing, or one is out of range.
    """
    makers = {"gto": gto_basis, "equispaced": equispaced_basis}
    if radial_basis not in makers:
        raise InputError(f"radial_basis: got {radial_basis!r}, expected one of {', '.join(map(repr, makers))}")
    try:
        return makers[radial_basis](**parameters)
    except TypeError as error:
        raise InputError(f"radial_basis {radial_basis!r}: {error}; expected the arguments of "
                         f"soapgap.radial.bases.{makers[radial_basis].__name__}") from error


def _parameters(radial_basis, cutoff_shape, scaling, **given):
    """Check and normalise the arguments of a basis: a dict of str, plain int and float, in a fixed order."""
    out = {"radial_basis": radial_basis, "cutoff_function": cutoff_shape}
    for name, value in given.items():
        out[name] = _number(radial_basis, name, value, name in ("n_max", "l_max"))
    if scaling is not None:
        out["radial_scaling"] = _scaling(radial_basis, scaling)
    for name in LIMITS:
        if fault := size_fault(name, out[name]):
            raise InputError(f"{radial_basis} basis: {name} is {out[name]}, {fault}")
    for name in ("cutoff", "atom_sigma", "basis_error_exponent"):
        if name in out and out[name] <= 0:
            raise InputError(f"{radial_basis} basis: {name} is {out[name]:g}, expected a positive number")
    if out["central_weight"] < 0:
        raise InputError(f"{radial_basis} basis: central_weight is {out['central_weight']:g}, expected 0 or more")
    check_cutoff(out["cutoff"], out["cutoff_transition_width"], cutoff_shape)
    return out


def _number(radial_basis, name, value, whole):
    try:
        number = int(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, str | bool) or number != value or not math.isfinite(number):
        raise InputError(f"{radial_basis} basis: {name} is {value!r}, expected a {'whole' if whole else 'finite'} number")
    return number


def _scaling(radial_basis, given):
    names = ("rate", "scale", "exponent")
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        raise InputError(f"{radial_basis} basis: radial_scaling is {given!r}, expected rate, scale and exponent")
    out = {name: _number(radial_basis, f"radial_scaling.{name}", given[name], name == "exponent") for name in names}
    for name in names:
        if out[name] <= 0:
            raise InputError(f"{radial_basis} basis: radial_scaling.{name} is {out[name]:g}, expected a positive number")
    return out
