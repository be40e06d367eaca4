"""Sparse points by pivoted Cholesky factorisation of the kernel matrix, in bounded memory.

    s_{k+1} = argmax_i v_i,     v_i = k(x_i, x_i) - k_i K_ss^(-1) k_i^T

v_i is the variance of the Gaussian process at x_i that the points taken so far leave: each new point is where they know
least (S. Fine and K. Scheinberg, J. Mach. Learn. Res. 2, 243 (2001); H. Harbrecht, M. Peters and R. Schneider, Appl.
Numer. Math. 62, 428 (2012)). As a determinant, the points maximise the growth of det K_ss step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

#: Residual variance, in units of the largest variance, that is nothing but rounding.
ROUNDING = 1e-13
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Covariance:
    """A kernel on rows of an array.

    Attributes
    ----------
    between : callable
        k(x_i, y_j), (len(x), len(y)), of two arrays of rows.
    own : callable
        k(x_i, x_i), (len(x),).
    """

    between: Callable[[np.ndarray, np.ndarray], np.ndarray]
    own: Callable[[np.ndarray], np.ndarray]


def polynomial(zeta: float) -> Covariance:
    """(x . y)^zeta, the kernel of a SOAP term without delta^2; products below 0 count as 0."""

    def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.maximum(first @ second.T, 0.0) ** zeta

    def own(rows: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij->i", rows, rows) ** zeta

    return Covariance(between, own)


def pivots(rows: np.ndarray, n_points: int, covariance: Covariance, n_bytes: int) -> np.ndarray:
    """Rows by pivoted Cholesky factorisation, in the order of their choice.

    The factor is held for as many candidates as `n_bytes` allow, those with the largest v_i. An old v_i is an upper bound
    of the present one, because v_i only falls; so as long as the best candidate is not below the bounds of all other rows
    it is the best of all, and else the bounds above it are made again. The points are therefore those of the whole matrix.
    Ties (to rounding) go to the smaller index: the first point is the first row if all have the same variance.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
    n_points : int
        How many to take, at most n.
    n_bytes : int
        Memory for the factor of the candidates and, if not all rows are, for a copy of theirs.

    Returns
    -------
    indices : ndarray
        n_points of them, or fewer if all v_i have fallen below 1e-13 of the largest variance.
    """
    bounds = covariance.own(rows)
    chosen = _Chosen(rows, covariance, bounds.copy(), n_points)
    floor = ROUNDING * max(bounds.max(), np.finfo(float).tiny / ROUNDING)
    n_candidates = n_bytes // (8 * n_points)
    if n_candidates < len(rows):
        n_candidates = max(n_bytes // (8 * (n_points + rows.shape[1])), 1)  # with a copy of their rows
    stalled = False
    while len(chosen) < n_points:
        before = len(chosen)
        order = np.argsort(-np.rint(bounds / floor), kind="stable")
        candidates = np.sort(order[:n_candidates])
        outside = bounds[order[n_candidates]] if n_candidates < len(rows) else -np.inf
        best = _extend(chosen, candidates, outside, floor, bounds, stalled)
        if best <= floor and outside <= floor:
            break
        _renew(chosen, np.flatnonzero(bounds > max(best, floor)), bounds)
        stalled = len(chosen) == before
    return chosen.indices


class _Chosen:
    """The points taken so far and the Cholesky factor of their kernel matrix."""

    def __init__(self, rows: np.ndarray, covariance: Covariance, own: np.ndarray, n_points: int) -> None:
        self.rows, self.covariance, self.own, self.n_points = rows, covariance, own, n_points
        self.factor = np.zeros((n_points, n_points))
        self._indices: list[int] = []

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def indices(self) -> np.ndarray:
        return np.array(self._indices, dtype=np.int64)

    def add(self, index: int, row: np.ndarray) -> None:
        self.factor[len(self), :len(row)] = row
        self._indices.append(index)

    def parts_of(self, which: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of the factor that belong to these rows of the kernel matrix, (n, number of points), some at a time."""
        k, points = len(self), self.rows[self.indices]
        size = max(1, CHUNK_BYTES // (8 * max(k, 1)))
        for begin in range(0, len(which) if k else 0, size):
            part = slice(begin, begin + size)
            kernels = self.covariance.between(self.rows[which[part]], points)
            yield part, solve_triangular(self.factor[:k, :k], kernels.T, lower=True, overwrite_b=True, check_finite=False).T


def _extend(chosen: _Chosen, candidates: np.ndarray, outside: float, floor: float, bounds: np.ndarray,
            stalled: bool) -> float:
    """Take points among the candidates while the best is surely the best of all; its variance when that ends.

    `stalled`: all bounds are new, so that whatever still stands between the first point and `outside` is rounding.
    """
    factor = np.zeros((len(candidates), chosen.n_points), order="F")
    for part, rows in chosen.parts_of(candidates):
        factor[part, :rows.shape[1]] = rows
    mine = chosen.rows if len(candidates) == len(chosen.rows) else chosen.rows[candidates]
    variance = chosen.own[candidates] - np.einsum("ij,ij->i", factor, factor)
    variance[np.isneginf(bounds[candidates])] = -np.inf
    while len(chosen) < chosen.n_points:
        best, k = variance.max(), len(chosen)
        if best <= floor or (best < outside - floor and not stalled):
            break
        stalled, p = False, int(np.argmax(variance >= best - floor))
        column = chosen.covariance.between(mine, mine[p:p + 1])[:, 0]
        column -= factor[:, :k] @ factor[p, :k]
        factor[:, k] = column / np.sqrt(variance[p])
        factor[p, k] = np.sqrt(variance[p])
        chosen.add(int(candidates[p]), factor[p, :k + 1])
        variance -= factor[:, k] ** 2
        variance[p] = -np.inf
    bounds[candidates] = variance
    return float(variance.max())


def _renew(chosen: _Chosen, which: np.ndarray, bounds: np.ndarray) -> None:
    """Replace the bounds of these rows by their present variances; never above the old ones, whatever the rounding."""
    for part, rows in chosen.parts_of(which):
        here = which[part]
        bounds[here] = np.minimum(bounds[here], chosen.own[here] - np.einsum("ij,ij->i", rows, rows))
