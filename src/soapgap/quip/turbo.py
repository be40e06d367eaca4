r"""The density expansion of QUIP's `soap_turbo` descriptors (Caro, Phys. Rev. B 100, 024112 (2019)).

Around a centre, the neighbours of one species at the distances r_j and in the directions u_j have the coefficients

    X_{n,lm} = sum_j R_nl(r_j) Y_lm(u_j),    R_nl(r) = 4 pi c_n(r) (rc/tau)^2 exp(-y) i_l(y),
    y = (r/tau)^2,  tau = sigma_t + scaling_t r,  c_n = sqrt(rc) A (W I)_n.

I_n is the overlap of a Gaussian at the neighbour with the radial function phi_n, W = S^(-1/2) makes these orthonormal,
A is an amplitude that falls to zero at rc, i_l the modified spherical Bessel function of the first kind. Lengths in I_n
and A are in units of rc = rcut_hard: xi_j = r_j/rc, xi_s = rcut_soft/rc, s = s_0 + scaling_r xi_j, s_0 = sigma_r/rc.

Values are those of QUIP, so that its published models keep their meaning:

* I_n = int_0^1 exp(-(xi - xi_j)^2 / 2 s^2) f(xi) phi_n(xi) dxi with the filter f = 1 up to xi_s and
  exp(-(xi - xi_s)^2 / 2 q), q = ((1 - xi_s)/nf)^2, beyond. QUIP sums the part beyond xi_s by a recurrence that omits its
  boundary term at xi = 1; what it loses is subtracted here (`_omitted`).
* That part counts only if xi_s - xi_j < 4 s, and the Gaussian function of "poly3gauss" only if xi_j < 4 (s_0 + s). R_nl
  jumps there, by 1e-5 of itself or so; these distances are among the `breaks`. At rcut_soft R_nl is smooth.
* W is the inverse, by Cholesky factorisation, of the symmetric square root that the singular value decomposition of S
  gives (LAPACK's gesvd, potrf, potri). S is so ill-conditioned that the rounding errors of LAPACK, which differ between
  libraries and processors, reach the descriptor: 1e-7 with eight polynomials, in QUIP as here.
* Not followed: at small y, where it does not matter, QUIP has the first terms of a series for exp(-y) i_l(y).

Derivatives are the exact ones of these values. QUIP's own are not (they come from the incomplete recurrence, and are wrong
by about 1e-7), and with them molecular dynamics would not conserve the energy.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import lapack

from soapgap.errors import InputError
from soapgap.radial.jets import Jet, exp, variable
from soapgap.radial.smearing import scaled_bessel

__all__ = ["TurboSoap", "turbo_soap"]

Y_00 = 1.0 / math.sqrt(4.0 * math.pi)
#: QUIP cuts its Gaussians at this many widths, and its amplitude where 1 + 2 xi^3 - 3 xi^2 is not above this number.
N_WIDTHS, SMALLEST_BRACKET = 4.0, 1e-10
#: Nodes of a Gauss-Legendre panel one Gaussian width long; distances treated at once, which bounds the memory.
PANEL_NODES, BLOCK = 16, 512


@dataclass(frozen=True, eq=False)
class TurboSoap:
    """What an evaluator needs of one `soap_turbo` descriptor; made by `turbo_soap`.

    A channel is a radial function of one species of neighbours; channel I = species n_max + n, where species with fewer
    functions than n_max leave their last channels empty.

    Attributes
    ----------
    n_max, l_max : int
        Largest number of radial functions of any species, largest angular momentum.
    cutoff : float
        rcut_hard (Angstrom); R_nl(r) = 0 for r >= cutoff.
    species_z, alpha_max : tuple of int
        Atomic number and number of radial functions of every species of neighbours, in the order of the channels.
    central_index : int
        Index of the central species in `species_z`, from 0.
    centre : ndarray, shape (n_max,)
        What the central atom itself adds to X_{n,00} of its species (Y_00 included).
    pairs, pair_factors : ndarray of int64, shape (n_pairs, 2); ndarray, shape (n_pairs,)
        Channels (I, J), I <= J, and 1 for I = J, otherwise sqrt 2: before normalisation (and contraction) the component
        pair (l_max + 1) + l of the descriptor is factor sum_m X_{I,lm} X_{J,lm}.
    contraction : (int, int) or None
        (nu_R, nu_S) of a compress_mode "nu_R_nu_S", which is left to the caller.
    warnings : tuple of str
        What a user should know.
    """

    n_max: int
    l_max: int
    cutoff: float
    species_z: tuple[int, ...]
    central_index: int
    alpha_max: tuple[int, ...]
    centre: np.ndarray
    pairs: np.ndarray
    pair_factors: np.ndarray
    contraction: tuple[int, int] | None
    warnings: tuple[str, ...]
    _expansions: tuple["_Expansion", ...] = field(repr=False)

    def radial(self, species: int, r) -> np.ndarray:
        """R_nl of the neighbours of one species, and its first two derivatives.

        Parameters
        ----------
        species : int
            Index in `species_z`.
        r : array_like, shape (n_r,)
            Distances >= 0 (Angstrom).

        Returns
        -------
        ndarray, shape (3, n_r, (l_max + 1) n_max)
            R, R' (per Angstrom), R'' (per Angstrom^2); function index l n_max + n. At a break, those of the outer side.
        """
        r = np.atleast_1d(np.asarray(r, dtype=np.float64))
        out = np.zeros((3, len(r), (self.l_max + 1) * self.n_max))
        breaks = self.breaks(species)
        for lo, hi in zip(breaks, breaks[1:]):
            inside = (r >= lo) & (r < hi)
            out[:, inside] = self.radial_piece(species, r[inside], lo, hi)
        return out

    def radial_piece(self, species: int, r, lo: float, hi: float) -> np.ndarray:
        """As `radial`, by the formula that holds between two neighbouring `breaks` lo and hi, continued to both of them.

        This is what `soapgap.radial.table.radial_table` asks for.
        """
        expansion = self._expansions[species]
        out = np.zeros((3, len(r), self.l_max + 1, self.n_max))
        for k in range(0, len(r), BLOCK):
            out[:, k:k + BLOCK, :, :expansion.alpha_max] = expansion.piece(r[k:k + BLOCK], 0.5 * (lo + hi), self.l_max)
        return out.reshape(3, len(r), (self.l_max + 1) * self.n_max)

    def breaks(self, species: int) -> list[float]:
        """Distances between which R_nl is smooth: ascending, from 0 to the cutoff (Angstrom).

        Where QUIP switches a part of the integrals on or off, where it sets the amplitude to zero, and, if the amplitude is
        a fractional power of rc - r, distances ever closer to rc, with which a table can follow it.
        """
        return self._expansions[species].breaks()


@dataclass(eq=False)
class _Expansion:
    """The radial functions of one species of neighbours."""

    alpha_max: int
    sigma_r: float
    sigma_t: float
    sigma_r_scaling: float
    sigma_t_scaling: float
    amplitude_scaling: float
    gaussian: bool
    cutoff: float
    soft: float
    nf: float
    enhancement: int

    def __post_init__(self):
        self.xi_s, self.s_0 = self.soft / self.cutoff, self.sigma_r / self.cutoff
        self.n_polynomials = self.alpha_max - self.gaussian
        self.norm = math.sqrt(2 / self.s_0) * math.pi**-0.25  # of the Gaussian function
        self.filter_width = (1 - self.xi_s) / self.nf
        self.overlap = self._overlap()
        self.root = _inverse_root(self.overlap)
        # W phi is a small difference of large numbers, and is therefore summed with more digits.
        xi, weights = (column[:, None] for column in self._nodes())
        self.nodes = xi[:, 0].astype(np.float64)
        k = np.arange(1, self.n_polynomials + 1)
        polynomials = ((1 - xi) ** (k + 2) * np.sqrt(2 * k + 5)) @ self.root[:self.n_polynomials].astype(np.longdouble)
        self.main = weights * polynomials * (xi < self.xi_s)
        fading = np.exp(-0.5 * ((xi - self.xi_s) / self.filter_width) ** 2)
        self.filtered = weights * polynomials * fading * ((xi > self.xi_s) & (xi < 1))
        self.bump = weights * np.exp(-0.5 * (xi / self.s_0) ** 2) * (self.norm * self.root[-1])
        # The distances at which the filtered part sets in, the Gaussian function stops, and the amplitude ends.
        self.filter_start = (self.soft - N_WIDTHS * self.sigma_r) / (1 + N_WIDTHS * self.sigma_r_scaling)
        slope = 1 - N_WIDTHS * self.sigma_r_scaling
        self.gaussian_end = 2 * N_WIDTHS * self.sigma_r / slope if self.gaussian and slope > 0 else math.inf
        u = math.sqrt(SMALLEST_BRACKET / 3)  # solves u^2 (3 - 2 u) = bracket with the next line
        self.end = self.cutoff * (1 - u * (1 + u / 3)) if self.amplitude_scaling else self.cutoff

    def breaks(self) -> list[float]:
        inner = [self.filter_start, self.gaussian_end, self.end]
        if 2 * self.amplitude_scaling % 1:
            inner += [self.cutoff - (self.cutoff - self.end) * 4.0**k for k in range(1, 9)]
        points = [0.0, *sorted(r for r in inner if 0 < r < self.cutoff), self.cutoff]
        # Two switches may be one but for rounding.
        return [r for k, r in enumerate(points) if k == 0 or r - points[k - 1] > 1e-12 * self.cutoff]

    def piece(self, r, inside, l_max) -> np.ndarray:
        """R_nl, R', R'' at r, (3, n_r, l_max + 1, alpha_max), by the formula that holds at the distance `inside`."""
        if inside > self.end:
            return np.zeros((3, len(r), l_max + 1, self.alpha_max))
        r = variable(r)
        s = self.s_0 + self.sigma_r_scaling / self.cutoff * r
        radial = self._amplitude(r, s)[:, None] * self._integrals(r / self.cutoff, s, inside)
        tau = self.sigma_t + self.sigma_t_scaling * r
        angular = _angular((r / tau) ** 2.0, l_max) * ((self.cutoff / tau) ** 2.0)[:, None]
        return 4 * math.pi * math.sqrt(self.cutoff) * (radial[:, None, :] * angular[:, :, None]).stacked()

    def central(self, weight: float) -> np.ndarray:
        """What a central atom adds to X_{n,00}, (alpha_max,): a neighbour at r = 0, or its Gaussian function."""
        if not self.gaussian:
            return weight * Y_00 * self.piece(np.zeros(1), 0.0, 0)[0, 0, 0]
        height = (1.0, math.sqrt(2 / math.pi) * self.s_0, self.s_0**2)[self.enhancement]
        factor = math.sqrt(4 * math.pi) * math.pi**0.25 * math.sqrt(0.5 * self.sigma_r) * self.cutoff**3
        return height * weight * factor / (self.sigma_t**2 * self.sigma_r) * (self.root @ self.overlap[:, -1])

    def _overlap(self):
        """S of phi_n = sqrt(2n + 5) (1 - xi)^(n + 2) and, as the last, the Gaussian function.

        W magnifies the rounding errors of S; written like this they are QUIP's. So is the recurrence for
        int_0^1 exp(-xi^2 / 2 s_0^2) (1 - xi)^k, which also omits its boundary term at xi = 1: k = 1, exp(-1/2 s_0^2).
        """
        n = 2.0 * np.arange(1, self.alpha_max + 1) + 5
        overlap = np.sqrt(n[:, None] * n) / (0.5 * (n[:, None] + n))
        if self.gaussian:
            v = self.s_0**2
            below, moment = 0.0, math.sqrt(0.5 * math.pi * v) * math.erf(1 / math.sqrt(2 * v))
            for k in range(1, self.alpha_max + 2):
                below, moment = moment, v * (k - 1) * below + moment - v
                if k > 2:
                    overlap[-1, k - 3] = overlap[k - 3, -1] = self.norm * moment * math.sqrt(n[k - 3])
        np.fill_diagonal(overlap, 1.0)
        return overlap

    def _nodes(self):
        """Gauss-Legendre nodes and weights in xi for [0, xi_s], [xi_s, 1] and, for a wide Gaussian function, beyond."""
        ends = [(0.0, self.xi_s, self.s_0), (self.xi_s, 1.0, min(self.s_0, self.filter_width))]
        if self.gaussian and 9 * self.s_0 > 1:
            ends.append((1.0, 9 * self.s_0, self.s_0))
        node, weight = np.polynomial.legendre.leggauss(PANEL_NODES)
        parts = []
        for lo, hi, longest in ends:
            n_panels = math.ceil((hi - lo) / longest)
            half = np.longdouble(hi - lo) / (2 * n_panels)
            xi = lo + half * (2 * np.arange(n_panels)[:, None] + 1 + node)
            parts.append((xi.ravel(), np.tile(half * weight, n_panels)))
        return (np.concatenate(column) for column in zip(*parts))

    def _integrals(self, xi, s, inside) -> Jet:
        """(W I)_n, (n_r, alpha_max)."""
        functions, filtered = self.main, inside > self.filter_start
        if filtered:
            functions = functions + self.filtered
        if self.gaussian and inside < self.gaussian_end:
            functions = functions + self.bump
        functions = functions.astype(np.float64)
        z = (self.nodes - xi[:, None]) / s[:, None]
        kernel = exp(-0.5 * z * z)
        out = Jet(kernel.f @ functions, kernel.d @ functions, kernel.dd @ functions)
        return out - self._omitted(xi, s) if filtered else out

    def _omitted(self, xi, s) -> Jet:
        """What QUIP's recurrence loses of (W I)_n, (n_r, alpha_max).

        The filtered Gaussian is one of centre mu and variance v. Of int (1 - xi)^k the recurrence loses E_k times the value
        of the Gaussian at xi = 1: E_0 = 0, E_1 = v, E_k = v (k - 1) E_{k-2} + (1 - mu) E_{k-1}.
        """
        q = self.filter_width**2
        total = s * s + q
        v, gap = q * s * s / total, ((1 - self.xi_s) * s * s + q * (1.0 - xi)) / total
        end = exp(-0.5 * ((1.0 - xi) / s) ** 2.0) * math.exp(-0.5 * self.nf**2)
        below, lost, out = v, gap * v, 0.0
        for k in range(3, self.n_polynomials + 3):
            below, lost = lost, (k - 1) * v * below + gap * lost
            out = out + (end * lost)[:, None] * (math.sqrt(2 * k + 1) * self.root[k - 3])
        return out

    def _amplitude(self, r, s) -> Jet:
        """A, (n_r,). The bracket 1 + 2 xi^3 - 3 xi^2 is u^2 (3 - 2 u) with u = 1 - xi."""
        u, xi, p = (self.cutoff - r) / self.cutoff, r / self.cutoff, self.amplitude_scaling
        out = u ** (2 * p) * (3.0 - 2.0 * u) ** p / s
        if self.enhancement == 1:
            out = out * (xi + math.sqrt(2 / math.pi) * s)
        elif self.enhancement == 2:
            out = out * (xi * xi + s * s + math.sqrt(8 / math.pi) * s * xi)
        return out


def _angular(y: Jet, l_max: int) -> Jet:
    """E_l(y) = exp(-y) i_l(y), (n_r, l_max + 1), by E_l' = (l E_{l-1} + (l + 1) E_{l+1}) / (2l + 1) - E_l."""
    values = [scaled_bessel(y.f, l_max + 2)]
    for _ in range(2):
        here = values[-1]
        l = np.arange(len(here) - 1)[:, None]
        below = np.concatenate([np.zeros_like(here[:1]), here[:-2]])
        values.append((l * below + (l + 1) * here[1:]) / (2 * l + 1) - here[:-1])
    return y[:, None].apply(*(value[:l_max + 1].T for value in values))


def _inverse_root(overlap):
    """S^(-1/2) by singular value decomposition, and Cholesky factorisation of the upper triangle."""
    u, values, vt, svd_failed = lapack.dgesvd(overlap)
    factor, factor_failed = lapack.dpotrf((u * np.sqrt(values)) @ vt)
    inverse, inverse_failed = lapack.dpotri(factor)
    if svd_failed or factor_failed or inverse_failed:
        raise InputError(f"soap_turbo: the overlap matrix of alpha_max = {len(overlap)} radial functions is singular in "
                         "double precision; expected at most about ten functions; take a smaller alpha_max")
    return np.triu(inverse) + np.triu(inverse, 1).T


def turbo_soap(parameters: dict[str, str]) -> TurboSoap:
    """Read the parameters of one `soap_turbo` descriptor.

    Parameters
    ----------
    parameters : dict of str to str
        The key=value pairs of the descriptor, without braces; other keys are ignored, since descriptor strings also carry
        those of the fit. In brackets: defaults; lengths in Angstrom; a single value is for all species.

        * rcut_hard or cutoff; rcut_soft or cutoff_transition_width (0.5, inwards from rcut_hard); nf (4); l_max
        * n_species (1); central_index (1), from 1; radial_enhancement (0), 0 to 2; scaling_mode (polynomial), no other
        * basis (poly3), or poly3gauss; compress_mode (none), or trivial, or a_b with a, b = 0, 1, 2
        * per species: species_Z; alpha_max or n_max; amplitude_scaling (1); central_weight (1); atom_sigma_r, atom_sigma_t
          or atom_sigma for both; atom_sigma_r_scaling, atom_sigma_t_scaling or atom_sigma_scaling for both (0)

    Returns
    -------
    TurboSoap

    Raises
    ------
    InputError
        If a parameter is missing, malformed or out of range, or asks for what is not supported: the basis "poly3operator"
        and a `compress_file`.
    """
    n_species, = _numbers(parameters, "n_species", 1, default="1", kind=int, low=1)
    species_z = _numbers(parameters, "species_Z", n_species, kind=int, low=1)
    alpha_max = _numbers(parameters, "alpha_max", n_species, other="n_max", kind=int, low=1)
    central_index = _numbers(parameters, "central_index", 1, default="1", kind=int, low=1, high=n_species)[0] - 1
    l_max, = _numbers(parameters, "l_max", 1, kind=int, low=0)
    expansions = _read_expansions(parameters, alpha_max)
    weights, warnings = _numbers(parameters, "central_weight", n_species, default="1"), ()
    if n_species == 1 and weights != (1.0,):  # a defect of QUIP, with which its models were made
        warnings = (f"soap_turbo: central_weight = {weights[0]:g} is ignored and 1 is used, as QUIP does if n_species is 1",)
        weights = (1.0,)
    centre = np.zeros(max(alpha_max))
    centre[:alpha_max[central_index]] = expansions[central_index].central(weights[central_index])
    trivial, contraction = _read_compression(parameters, alpha_max)
    pairs = _pairs(alpha_max, trivial)
    factors = np.where(pairs[:, 0] == pairs[:, 1], 1.0, math.sqrt(2.0))
    return TurboSoap(len(centre), l_max, expansions[0].cutoff, species_z, central_index, alpha_max, centre, pairs, factors,
                     contraction, warnings, expansions)


def _read_expansions(parameters, alpha_max):
    """One `_Expansion` per species."""
    cutoff, = _numbers(parameters, "rcut_hard", 1, other="cutoff", above=0)
    width, = _numbers(parameters, "cutoff_transition_width", 1, default="0.5")
    soft, = _numbers(parameters, "rcut_soft", 1, default=repr(cutoff - width))
    if not 0 < soft < cutoff:
        raise InputError(f"soap_turbo: rcut_soft is {soft:g} and rcut_hard {cutoff:g} Angstrom, expected "
                         "0 < rcut_soft < rcut_hard; correct them, or cutoff_transition_width")
    _word(parameters, "scaling_mode", ("polynomial",))
    gaussian = _word(parameters, "basis", ("poly3", "poly3gauss")) == "poly3gauss"
    nf, = _numbers(parameters, "nf", 1, default="4", above=0)
    enhancement, = _numbers(parameters, "radial_enhancement", 1, default="0", kind=int, low=0, high=2)
    widths = [_numbers(parameters, f"atom_sigma_{which}", len(alpha_max), other="atom_sigma", above=0) for which in "rt"]
    slopes = [_numbers(parameters, f"atom_sigma_{which}_scaling", len(alpha_max), other="atom_sigma_scaling", default="0",
                       low=0) for which in "rt"]
    powers = _numbers(parameters, "amplitude_scaling", len(alpha_max), default="1", low=0)
    return tuple(_Expansion(*own, gaussian, cutoff, soft, nf, enhancement)
                 for own in zip(alpha_max, *widths, *slopes, powers))


def _read_compression(parameters, alpha_max):
    """Whether the compression is trivial, and (nu_R, nu_S) if it is a contraction."""
    if parameters.get("compress_file", "None").strip().lower() not in ("none", ""):
        raise InputError(f"soap_turbo: got compress_file = {parameters['compress_file']}, which is not supported; expected "
                         "compress_mode = trivial or a_b, or no compression; train the model with one of these")
    modes = {"none": None, "trivial": None, **{f"{a}_{b}": (a, b) for a in range(3) for b in range(3)}}
    mode = _word(parameters, "compress_mode", tuple(modes))
    if modes[mode] and len(set(alpha_max)) > 1:
        raise InputError(f"soap_turbo: alpha_max is {' '.join(map(str, alpha_max))} with compress_mode = {mode}, expected "
                         "the same number for all species; take that, or another compress_mode")
    return mode == "trivial", modes[mode]


def _pairs(alpha_max, trivial):
    """Pairs (I, J), I <= J, of channels in the order of the components; the trivial compression keeps those with n = 0."""
    n_max = max(alpha_max)
    channels = [species * n_max + n for species, count in enumerate(alpha_max) for n in range(count)]
    return np.array([(i, j) for k, i in enumerate(channels) for j in channels[k:]
                     if not trivial or i % n_max == 0 or j % n_max == 0], dtype=np.int64)


def _word(parameters, name, choices):
    """One of several words; the first is the default."""
    value = parameters.get(name, choices[0]).strip()
    if value not in choices:
        raise InputError(f"soap_turbo: {name} is {value!r}, expected {' or '.join(choices)}; other values are not supported")
    return value


def _numbers(parameters, name, count, other=None, default=None, kind=float, low=-math.inf, high=math.inf, above=-math.inf):
    """`count` numbers of a key, or of its alternative; a single one is for all of them."""
    text = parameters.get(name, default if other is None else parameters.get(other, default))
    if text is None:
        raise InputError(f"soap_turbo: got no {name}{f' or {other}' if other else ''}, expected one; add it to the descriptor")
    try:
        values = [kind(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) not in (1, count) or not all(math.isfinite(v) and low <= v <= high and v > above for v in values):
        bounds = zip((" from", " to", " above"), (low, high, above))
        limits = "".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
        raise InputError(f"soap_turbo: {name} is {text!r}, expected {count} {'whole ' * (kind is int)}number(s){limits}; "
                         "correct the descriptor")
    return tuple(values * count if len(values) == 1 else values)
