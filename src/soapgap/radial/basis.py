r"""Radial bases of the density expansion, and the cutoff function.

Around a centre the neighbours are seen as a density of Gaussians, expanded in radial functions and real spherical
harmonics (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115 (2013)). For a neighbour at the distance r the
coefficient is c_nlm = R_nl(r) Y_lm, and both bases offered here have the same form,

    R_nl(r) = f_c(r) sum_q h_l(r, x_q) M_qn,      h_l(r, x) = exp(-(r^2 + x^2)/2 sigma^2) i_l(r x / sigma^2),

where f_c is the cutoff function, i_l the modified spherical Bessel function of the first kind and h_l the radial part
of a Gaussian of width sigma at the distance r, as seen at the radius x. If neighbours are to count less the farther away
they are, f_c is multiplied by a weight u(r) (`radial_scaling`). A basis is its radii x_q and its matrix M:

* "gto": Gaussian-type functions, the x_q and M integrate h_l against them (`gto_basis`);
* "equispaced": QUIP's Gaussians at equal spacing, fitted to h_l at their centres (`equispaced_basis`).

Nothing else in the project knows these formulas: models carry the table that `SoapBasis.table` makes.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.special import erf

from soapgap.errors import InputError
from soapgap.radial.gto import gto_functions
from soapgap.radial.limits import LIMITS, size_fault
from soapgap.radial.smearing import smeared_gaussian
from soapgap.radial.table import RadialTable, radial_table

__all__ = ["RadialTable", "SoapBasis", "cutoff_function", "cutoff_transition", "equispaced_basis", "gto_basis",
           "make_basis", "product", "radial_scaling", "radial_table"]

CUTOFF_SHAPES = ("cosine", "septic")
Y_00 = 1.0 / math.sqrt(4.0 * math.pi)


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
    _check_cutoff(cutoff, width, shape)
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


@dataclass(frozen=True)
class SoapBasis:
    """A radial basis of the density expansion.

    Attributes
    ----------
    n_max, l_max : int
        Radial functions n = 0 .. n_max - 1 and angular momenta l = 0 .. l_max.
    cutoff : float
        Angstrom; R_nl(r) = 0 for r >= cutoff.
    parameters : dict
        Everything needed to make the basis again with `make_basis`.
    centre : ndarray, shape (n_max,)
        What the centre's own Gaussian adds to c_{n00}: central_weight times its radial coefficient times Y_00.
    radii : ndarray, shape (n_radii,)
        x_q (Angstrom).
    matrix : ndarray, shape (n_radii, n_max) or (l_max + 1, n_radii, n_max)
        M_qn, the same for all l or one for each.
    """

    n_max: int
    l_max: int
    cutoff: float
    parameters: dict
    centre: np.ndarray
    radii: np.ndarray
    matrix: np.ndarray

    def radial(self, r) -> np.ndarray:
        """R_nl and its first two derivatives from the formulas (not from a table), at the distances r (Angstrom).

        Returns
        -------
        ndarray, shape (3, n_r, (l_max + 1) n_max)
            R, R', R''; the function index is l n_max + n. At rc - w the second derivative is that of the inner side.
        """
        r = np.atleast_1d(np.asarray(r, dtype=np.float64))
        width, shape = self.parameters["cutoff_transition_width"], self.parameters["cutoff_function"]
        return product(cutoff_function(r, self.cutoff, width, shape), self._weighted(np.minimum(r, self.cutoff)))

    def table(self, rtol: float = 1e-11) -> RadialTable:
        """The table of R_nl that a model carries: pieces [0, rc - w] and [rc - w, rc], function index l n_max + n.

        Parameters
        ----------
        rtol : float
            Bound of the error of a value, relative to max|R_nl|; that of a slope is 100 times as large (per Angstrom).

        Returns
        -------
        RadialTable
        """
        width, shape = self.parameters["cutoff_transition_width"], self.parameters["cutoff_function"]
        inner = self.cutoff - width

        def piece(r, lo, hi):
            weighted = self._weighted(r)
            return product(cutoff_transition(r, self.cutoff, width, shape), weighted) if lo >= inner else weighted

        return radial_table(piece, [0.0, inner, self.cutoff] if inner > 0 else [0.0, self.cutoff], rtol, 100.0 * rtol)

    def _weighted(self, r) -> np.ndarray:
        """R_nl without the cutoff function: `smeared` times u(r), if there is one."""
        scaling = self.parameters.get("radial_scaling")
        return self.smeared(r) if scaling is None else product(radial_scaling(r, **scaling), self.smeared(r))

    def smeared(self, r) -> np.ndarray:
        """R_nl without the cutoff function and without u(r): sum_q h_l(r, x_q) M_qn and its first two derivatives.

        Parameters
        ----------
        r : ndarray, shape (n_r,)
            Distances (Angstrom).

        Returns
        -------
        ndarray, shape (3, n_r, (l_max + 1) n_max)
        """
        # Blocks of neighbouring distances see only the radii within 9 sigma, where h_l is not below 1e-17.
        sigma = self.parameters["atom_sigma"]
        out = np.zeros((3, len(r), self.l_max + 1, self.n_max))
        order = np.argsort(r, kind="stable")
        for block in np.array_split(order, max(1, len(r) // 32)):
            if len(block) == 0:
                continue
            near = np.flatnonzero((self.radii >= r[block[0]] - 9 * sigma) & (self.radii <= r[block[-1]] + 9 * sigma))
            h = smeared_gaussian(r[block], self.radii[near], sigma, self.l_max)
            out[:, block] = np.matmul(h, self.matrix[..., near, :]).transpose(0, 2, 1, 3)
        return out.reshape(3, len(r), -1)


def product(f, g) -> np.ndarray:
    """Value, first and second derivative of f g; f three arrays (n_r,), g (3, n_r, n_functions)."""
    f, f1, f2 = (value[:, None] for value in f)
    return np.stack([f * g[0], f1 * g[0] + f * g[1], f2 * g[0] + 2 * f1 * g[1] + f * g[2]])


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
        Shape of f_c, see `soapgap.radial.basis.cutoff_function`.
    radial_scaling : dict, optional
        `rate`, `scale`, `exponent` of the weight u(r), see `soapgap.radial.basis.radial_scaling`; by default u = 1.

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
                         f"soapgap.radial.basis.{makers[radial_basis].__name__}") from error


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
    _check_cutoff(out["cutoff"], out["cutoff_transition_width"], cutoff_shape)
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


def _check_cutoff(cutoff, width, shape):
    if shape not in CUTOFF_SHAPES:
        raise InputError(f"cutoff_function: got {shape!r}, expected one of {', '.join(map(repr, CUTOFF_SHAPES))}")
    if not (math.isfinite(cutoff) and 0 < width <= cutoff):
        raise InputError(f"cutoff function: got cutoff {cutoff:g} and transition width {width:g} Angstrom, expected "
                         "0 < width <= cutoff")
