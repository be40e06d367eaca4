r"""QUIP's Glue potential (pair terms and embedded atoms), the usual baseline of a GAP, as piecewise cubic polynomials.

    E = sum_i U_{t_i}( sum_j n_{t_j}(r_ij) ) + 1/2 sum_i sum_j V_{t_i t_j}(r_ij),

where t_i is the element of atom i and the sums over j run over the neighbours (periodic images included). Atoms of
other elements are ignored, and pairs of elements without a table have V = 0. n, U and V are given by tables; here
they become exact piecewise polynomials with all their break points.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

from soapgap.errors import InputError

__all__ = ["GlueParams", "GlueType", "PiecewiseCubic", "GlueTable", "density", "embedding", "pair"]


@dataclass(frozen=True)
class GlueTable:
    """Knots of a cubic spline and its slopes at the two ends.

    Attributes
    ----------
    x, y : tuple of float
        Two or more knots in ascending order, and the values there.
    slopes : (float or None, float or None)
        Slope at the first and at the last knot; None is a natural end (second derivative zero).

    Raises
    ------
    InputError
        If there are fewer than two knots, they do not ascend, or a number is not finite.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    slopes: tuple[float | None, float | None] = (0.0, 0.0)

    def __post_init__(self):
        for name in ("x", "y", "slopes"):
            object.__setattr__(self, name, tuple(None if v is None else float(v) for v in getattr(self, name)))
        if len(self.x) != len(self.y) or len(self.x) < 2:
            raise InputError(f"spline table: got {len(self.x)} knots and {len(self.y)} values, expected two or more of each")
        if len(self.slopes) != 2:
            raise InputError(f"spline table: got {len(self.slopes)} end slopes, expected 2")
        if not np.isfinite([*self.x, *self.y, *(s for s in self.slopes if s is not None)]).all():
            raise InputError("spline table: a number is not finite, expected finite knots, values and slopes")
        for a, b in zip(self.x, self.x[1:]):
            if not a < b:
                raise InputError(f"spline table: got the knots {a:g} and {b:g} after one another, expected ascending knots, "
                                 "each once")


@dataclass(frozen=True)
class GlueType:
    """An element of a Glue potential.

    Attributes
    ----------
    atomic_number : int
    density : GlueTable
        n(r) that an atom of this element adds to its neighbours' density; knots in Angstrom.
    embedding : GlueTable
        U(rho) of an atom of this element (eV).
    spline : bool
        Whether n is the spline through the knots (`do_spline`), or the one cubic of `density`.
    """

    atomic_number: int
    density: GlueTable
    embedding: GlueTable
    spline: bool = False


@dataclass(frozen=True)
class GlueParams:
    """A Glue potential as a QUIP file holds it.

    Attributes
    ----------
    label : str
    types : tuple of GlueType
        One for every element.
    pairs : dict of (int, int) to GlueTable
        V(r) (eV, knots in Angstrom) for two atomic numbers, the smaller one first; a pair that is missing has V = 0.

    Raises
    ------
    InputError
        If an element comes twice, or a pair has an element that is not among the types.
    """

    label: str
    types: tuple[GlueType, ...]
    pairs: dict[tuple[int, int], GlueTable] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "types", tuple(self.types))
        elements = [t.atomic_number for t in self.types]
        if not elements or len(set(elements)) != len(elements) or min(elements) < 1:
            raise InputError(f'Glue "{self.label}": got the atomic numbers {elements}, expected one or more, each once')
        for a, b in self.pairs:
            if a > b or not {a, b} <= set(elements):
                raise InputError(f'Glue "{self.label}": got the pair {(a, b)}, expected two of the atomic numbers '
                                 f"{elements}, the smaller one first")


class PiecewiseCubic:
    """A function that is one polynomial of degree three or less between each two break points.

    With the origin o_p and the coefficients c_pk of piece p: f(x) = sum_k c_pk (x - o_p)^k.

    Parameters
    ----------
    breaks : array_like, shape (n_breaks,)
        Ascending.
    origins : array_like, shape (n_breaks + 1,)
    coefficients : array_like, shape (n_breaks + 1, 4)
        The first piece lies below the first break, the last one above the last break.

    Attributes
    ----------
    breaks : ndarray, shape (n_breaks,)
        Where a derivative may jump.
    """

    def __init__(self, breaks, origins, coefficients):
        self.breaks = np.array(breaks, dtype=np.float64)
        self._origins = np.array(origins, dtype=np.float64)
        self._coefficients = np.array(coefficients, dtype=np.float64)

    def evaluate(self, x) -> np.ndarray:
        """Value, first and second derivative; at a break point those of the piece above it.

        Parameters
        ----------
        x : array_like, shape (n,)

        Returns
        -------
        ndarray, shape (3, n)
        """
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        return self._polynomials(x, np.searchsorted(self.breaks, x, side="right"))

    def piece(self, x, lo: float, hi: float) -> np.ndarray:
        """As `evaluate`, with the polynomial that holds between lo and hi continued to all x: its ends belong to it.

        Parameters
        ----------
        x : array_like, shape (n,)
        lo, hi : float
            lo < hi, without a break point between them; they may be infinite.

        Returns
        -------
        ndarray, shape (3, n)

        Raises
        ------
        InputError
            If there is a break point between lo and hi, or not lo < hi.
        """
        first = int(np.searchsorted(self.breaks, lo, side="right"))
        if not lo < hi or first != np.searchsorted(self.breaks, hi, side="left"):
            inside = self.breaks[(self.breaks > lo) & (self.breaks < hi)]
            raise InputError(f"piecewise cubic: got the piece [{lo:g}, {hi:g}] with the break points {inside.tolist()} in it, "
                             "expected lo < hi and no break point between them")
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        return self._polynomials(x, np.full(x.shape, first))

    def _polynomials(self, x, piece):
        c0, c1, c2, c3 = self._coefficients[piece].T
        t = x - self._origins[piece]
        return np.stack([c0 + t * (c1 + t * (c2 + t * c3)), c1 + t * (2 * c2 + t * 3 * c3), 2 * c2 + 6 * c3 * t])


def density(element: GlueType) -> PiecewiseCubic:
    """n(r), what an atom of this element adds to the density at a distance r; zero at and beyond the last knot r_d.

    With `spline`, the cubic spline through the knots, below the first one its straight line there. Otherwise the
    one cubic p (r_d - r)^3 that is closest to the values rho_k at the knots a_k in the sense of least squares:

        n(r) = p (r_d - r)^3,      p = sum_k rho_k (r_d - a_k)^3 / sum_k (r_d - a_k)^6.

    Parameters
    ----------
    element : GlueType

    Returns
    -------
    PiecewiseCubic
        Of r in Angstrom.
    """
    if element.spline:
        return _spline(element.density, zero_beyond=True)
    knots, values = np.array(element.density.x), np.array(element.density.y)
    cubes = (knots[-1] - knots) ** 3
    return PiecewiseCubic(knots[-1:], [knots[-1]] * 2, [[0, 0, 0, -(values @ cubes) / (cubes @ cubes)], [0, 0, 0, 0]])


def embedding(element: GlueType) -> PiecewiseCubic:
    """U(rho), the energy (eV) of an atom of this element in a density rho.

    The cubic spline through the knots; below the first and above the last one its straight lines there.

    Parameters
    ----------
    element : GlueType

    Returns
    -------
    PiecewiseCubic
        Of rho, in the units of `density`.
    """
    return _spline(element.embedding, zero_beyond=False)


def pair(table: GlueTable) -> PiecewiseCubic:
    """V(r), the energy (eV) of a pair at a distance r: the cubic spline through the knots.

    Below the first knot its straight line there; zero at and beyond the last one.

    Parameters
    ----------
    table : GlueTable

    Returns
    -------
    PiecewiseCubic
        Of r in Angstrom.
    """
    return _spline(table, zero_beyond=True)


def _spline(table, zero_beyond):
    """Spline through the knots, with the slope given or the second derivative zero at either end, and its surroundings."""
    ends = [(2, 0.0) if slope is None else (1, slope) for slope in table.slopes]
    knots = np.array(table.x)
    spline = CubicSpline(knots, table.y, bc_type=tuple(ends))
    inner = spline.c[::-1].T
    below, above = ([spline(x), spline(x, 1), 0, 0] for x in (knots[0], knots[-1]))
    above = [0, 0, 0, 0] if zero_beyond else above
    return PiecewiseCubic(knots, [knots[0], *knots[:-1], knots[-1]], [below, *inner, above])
