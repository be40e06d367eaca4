"""Radial functions as tables of quintic Hermite pieces.

A table holds value, first and second derivative of several functions at equally spaced knots. Between two knots every
function is the one polynomial of degree five that matches all six numbers, so a tabulated function is twice
continuously differentiable, and its value and its slope always belong to the same function. Where a function has a
kink in a higher derivative (the cosine cutoff has two) the table is broken: the point is stored twice, with the
derivatives from the left and from the right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.errors import InputError

__all__ = ["RadialTable", "radial_table", "weighted_table"]

#: Random points at which each piece is checked, and the seed that makes two runs agree bit for bit.
CHECK_POINTS, CHECK_SEED = 509, 20130503
#: Intervals a piece starts with, and may end with.
FIRST_INTERVALS, MOST_INTERVALS = 16, 1 << 14
#: The random points miss the worst one by a little; a piece is accepted at this fraction of a bound.
MARGIN = 0.5


@dataclass
class RadialTable:
    """Functions of a distance, tabulated for quintic Hermite interpolation.

    Attributes
    ----------
    segments : list of (start, stop, n_intervals)
        Pieces in ascending order, each starting where the last one stopped (Angstrom).
    values : ndarray, float64, shape (n_rows, 3, n_functions) or (n_tables, n_rows, 3, n_functions)
        One table, or several with the same knots (one for each neighbour species; `evaluate` is for one). Value, first and
        second derivative at the knots (units of the function, per Angstrom, per Angstrom^2). Knot k of a segment lies at
        start + k (stop - start) / n_intervals, k = 0 .. n_intervals. The rows of the segments follow one another; a common
        end point is stored twice, with one-sided derivatives.

    Raises
    ------
    InputError
        If the shapes do not belong together, a segment is empty or does not follow the last one, or a number is not
        finite.
    """

    segments: list[tuple[float, float, int]]
    values: np.ndarray

    def __post_init__(self):
        self.segments = [(float(start), float(stop), int(n)) for start, stop, n in self.segments]
        self.values = np.ascontiguousarray(self.values, dtype=np.float64)
        if not self.segments:
            raise InputError("radial table: got no segment, expected at least one (start, stop, n_intervals)")
        for index, (start, stop, n) in enumerate(self.segments):
            follows = index == 0 or start == self.segments[index - 1][1]
            if not (np.isfinite(start) and np.isfinite(stop) and start < stop and n >= 1 and follows):
                raise InputError(f"radial table: segment {index} is {(start, stop, n)}, expected start < stop, "
                                 "n_intervals >= 1 and the start where the segment before stops")
        rows = sum(n + 1 for _, _, n in self.segments)
        if self.values.ndim not in (3, 4) or self.values.shape[-3:-1] != (rows, 3):
            raise InputError(f"radial table: values have the shape {self.values.shape}, expected ({rows}, 3, "
                             "n_functions): one row for every knot of every segment")
        if not np.isfinite(self.values).all():
            raise InputError("radial table: values hold a number that is not finite; expected finite values, first and "
                             "second derivatives at every knot")

    @property
    def n_functions(self) -> int:
        """Number of tabulated functions."""
        return self.values.shape[-1]

    @property
    def cutoff(self) -> float:
        """End of the last segment (Angstrom); every function is zero from there on."""
        return self.segments[-1][1]

    def evaluate(self, r) -> tuple[np.ndarray, np.ndarray]:
        """Values and slopes of all functions: the definition that the evaluator follows.

        With t = (r - r_k)/h in the interval of knots r_k and r_k + h, and f, f', f'' at the two knots (0, 1),

            p(r) = f_0 a_0 + h f'_0 a_1 + h^2 f''_0 a_2 + f_1 b_0 + h f'_1 b_1 + h^2 f''_1 b_2,

        where a_i, b_i are the quintic Hermite polynomials of t. Zero at and beyond the last stop; below the first
        start, the straight line with the value and slope found there.

        Parameters
        ----------
        r : array_like, shape (n,)
            Distances (Angstrom).

        Returns
        -------
        value, slope : ndarray, shape (n, n_functions)
            In the units of the function, and per Angstrom.
        """
        r = np.atleast_1d(np.asarray(r, dtype=np.float64))
        value = np.zeros((len(r), self.n_functions))
        slope = np.zeros_like(value)
        first = self.segments[0][0]
        below = r < first
        if below.any():
            slope[below] = self.values[0, 1]
            value[below] = self.values[0, 0] + (r[below] - first)[:, None] * self.values[0, 1]
        row = 0
        for start, stop, n in self.segments:
            inside = (r >= start) & (r < stop)
            if inside.any():
                value[inside], slope[inside] = _hermite(self.values[row:row + n + 1], start, stop, n, r[inside])
            row += n + 1
        return value, slope


def radial_table(function: Callable[[np.ndarray, float, float], np.ndarray], breaks: Sequence[float],
                 rtol_value: float = 1e-11, rtol_slope: float = 1e-9, scale: float | None = None) -> RadialTable:
    """Tabulate smooth functions between break points, finely enough.

    The number of intervals of a piece is doubled until interpolated value and slope agree with the function in the
    middle of every interval, and at some five hundred random points (the same in every run), within half of

        rtol_value * scale    and    rtol_slope * scale / Angstrom.

    Parameters
    ----------
    function : callable(r, lo, hi) -> array, shape (3, len(r), n_functions)
        Value, first and second derivative on the piece [lo, hi]; at its ends the derivatives from the inside.
    breaks : sequence of float
        Ends of the pieces in ascending order (Angstrom). Beyond the last one the table is zero.
    rtol_value, rtol_slope : float
        Bounds relative to `scale`.
    scale : float, optional
        What the bounds are relative to, in the units of the functions; by default the largest absolute value of any
        function in the table. State it for functions that diverge, or that are small differences of large numbers.

    Returns
    -------
    RadialTable

    Raises
    ------
    InputError
        If the breaks do not ascend, a value is not finite, or the bounds are not reached with 16384 intervals (the
        function is then not smooth on a piece, its derivatives are wrong, or its rounding error exceeds the bounds).
    """
    breaks = [float(b) for b in breaks]
    if len(breaks) < 2 or not np.isfinite(breaks).all() or any(a >= b for a, b in zip(breaks, breaks[1:])):
        raise InputError(f"radial table: got the break points {breaks}, expected two or more ascending distances")
    pieces = [_Piece(function, lo, hi) for lo, hi in zip(breaks, breaks[1:])]
    if scale is None:
        scale = max(piece.largest for piece in pieces)
    for piece in pieces:
        piece.refine(MARGIN * rtol_value * scale, MARGIN * rtol_slope * scale)
    return RadialTable([(p.lo, p.hi, p.n) for p in pieces],
                       np.concatenate([p.knots.transpose(1, 0, 2) for p in pieces]))


def weighted_table(function: Callable[[np.ndarray, float, float], np.ndarray], breaks: Sequence[float], weights,
                   rtol_value: float = 1e-12, rtol_slope: float = 1e-10, scale: float | None = None) -> RadialTable:
    """The table of one function, a weighted sum of many: sum_s weights_s f_s.

    Weights of a fit are large and cancel. So the knots are chosen for the single functions, which are well conditioned, and
    the sum at the knots is made with extended precision: rounded too early, values that differ by 1e-16 of the weights' sum
    would, divided by the distance of the knots, be seen in the slope.

    Parameters
    ----------
    function : callable(r, lo, hi) -> array, shape (3, len(r), n_functions)
        As in `radial_table`, of the single functions; it is also called with distances of type `numpy.longdouble`, and should
        keep that type.
    breaks : sequence of float
    rtol_value, rtol_slope : float
    scale : float, optional
        As in `radial_table`, for the single functions.
    weights : array_like, shape (n_functions,)

    Returns
    -------
    RadialTable
        Of one function.

    Raises
    ------
    InputError
        As `radial_table`.
    """
    single = radial_table(function, breaks, rtol_value, rtol_slope, scale)
    weights, rows = np.asarray(weights, dtype=np.longdouble), []
    for lo, hi, n in single.segments:
        knots = np.linspace(lo, hi, n + 1).astype(np.longdouble)
        rows.append((function(knots, lo, hi) @ weights).T)
    return RadialTable(single.segments, np.concatenate(rows).astype(np.float64)[:, :, None])


class _Piece:
    """One smooth piece under refinement: knots (3, n + 1, n_functions) and exact numbers at the check points."""

    def __init__(self, function, lo, hi):
        self.function, self.lo, self.hi, self.n = function, lo, hi, FIRST_INTERVALS
        self.check_r = np.sort(np.random.default_rng(CHECK_SEED).uniform(lo, hi, CHECK_POINTS))
        exact = self._exact(np.concatenate([np.linspace(lo, hi, self.n + 1), self.check_r]))
        self.knots, self.check = exact[:, :self.n + 1], exact[:, self.n + 1:]
        self.largest = np.abs(exact[0]).max()

    def refine(self, value_bound, slope_bound):
        while True:
            # The middles of all intervals are a check now, and the new knots if it fails.
            ends = np.linspace(self.lo, self.hi, 2 * self.n + 1)
            middles = self._exact(ends[1::2])
            errors = np.maximum(self._errors(self.check_r, self.check), self._errors(ends[1::2], middles))
            if (errors <= (value_bound, slope_bound)).all():
                return
            if 2 * self.n > MOST_INTERVALS:
                raise InputError(
                    f"radial table: on [{self.lo:g}, {self.hi:g}] Angstrom {self.n} intervals leave errors of "
                    f"{errors[0]:.1e} (value) and {errors[1]:.1e} (slope), expected at most {value_bound:.1e} and "
                    f"{slope_bound:.1e}; add break points where the function is not smooth, check its derivatives, "
                    "or, if rounding limits it, state a larger `scale`")
            knots = np.empty((3, 2 * self.n + 1, self.knots.shape[2]))
            knots[:, ::2], knots[:, 1::2] = self.knots, middles
            self.knots, self.n = knots, 2 * self.n

    def _errors(self, r, exact):
        value, slope = _hermite(self.knots.transpose(1, 0, 2), self.lo, self.hi, self.n, r)
        return np.abs(value - exact[0]).max(), np.abs(slope - exact[1]).max()

    def _exact(self, r):
        exact = np.asarray(self.function(r, self.lo, self.hi), dtype=np.float64)
        if exact.ndim != 3 or exact.shape[:2] != (3, len(r)):
            raise InputError(f"radial table: the function gave the shape {exact.shape}, expected (3, {len(r)}, "
                             "n_functions): value, first and second derivative")
        if not np.isfinite(exact).all():
            raise InputError(f"radial table: the function is not finite somewhere on [{self.lo:g}, {self.hi:g}] "
                             "Angstrom; expected finite values and derivatives; start the table at a larger distance")
        return exact


def _hermite(knots, start, stop, n, r):
    """Quintic Hermite value and slope on one segment; knots (n + 1, 3, n_functions), r inside the segment."""
    h = (stop - start) / n
    k = np.clip(((r - start) / h).astype(np.int64), 0, n - 1)
    t = (r - start) / h - k
    s = 1.0 - t
    # Polynomials of the left knot in t; those of the right knot are their mirror images in s.
    value_weights, slope_weights = [], []
    for u, v, sign in ((t, s, 1.0), (s, t, -1.0)):
        value_weights += [v**3 * (1 + 3 * u + 6 * u**2), sign * h * u * v**3 * (1 + 3 * u), h**2 * u**2 * v**3 / 2]
        slope_weights += [-sign * 30 * u**2 * v**2 / h, v**2 * (1 + 2 * u - 15 * u**2),
                          sign * h * u * v**2 * (2 - 5 * u) / 2]
    both = np.concatenate([knots[k], knots[k + 1]], axis=1)
    return (np.einsum("pi,pif->pf", np.transpose(value_weights), both),
            np.einsum("pi,pif->pf", np.transpose(slope_weights), both))
