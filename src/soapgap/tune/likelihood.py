"""Marginal likelihood of the sparse GP, and errors of what is left out, from triangles alone.

The model of the data is that of the fit: y ~ N(0, Lambda + K_nm (K_mm + jitter)^-1 K_mn) ("deterministic training
conditional" or "subset of regressors", J. Quinonero-Candela and C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005)).

Rows come in groups. All sigmas of a group are multiplied by one factor f and the delta of a kernel by one factor s. With
the weights written as beta = s^2 alpha,

    |sum over groups of f^-1 [Lambda^(-1/2) (y - K_nm beta)]|^2 + beta^T P beta,     P = K_mm / s^2 + jitter / s^4,

neither factor touches a row or a column: every evaluation stacks the triangles T of the groups, divided by f, on U with
U^T U = P, and costs M^3 whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, solve, solve_triangular

from soapgap.learn.prior import regulariser
from soapgap.learn.streaming_qr import StreamingQR

ROUNDING = 1e-14  # what a Cholesky factorisation can bear on the diagonal, beside the trace


@dataclass(frozen=True)
class Rows:
    """A group of rows [Lambda^(-1/2) K_nm | Lambda^(-1/2) y].

    Attributes
    ----------
    triangle : ndarray
        (r, M + 1), the rows themselves or, if r = M + 1, the upper triangle of their QR factorisation.
    n_rows : int
        How many rows there are.
    log_noise : float
        Log|Lambda|, the sum of log sigma^2 of the rows (sigma in the units of the observation).
    """

    triangle: np.ndarray
    n_rows: int
    log_noise: float


@dataclass(frozen=True)
class Covariances:
    """K_mm of every kernel, as configured, and the jitter.

    Attributes
    ----------
    covariances : sequence of ndarray
        (m, m) each, eV^2, in the order of the columns.
    jitter : float
        eV^2.
    """

    covariances: Sequence[np.ndarray]
    jitter: float

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points of all kernels."""
        return sum(map(len, self.covariances))

    @property
    def places(self) -> list[slice]:
        """Columns of every kernel."""
        ends = np.cumsum([0, *map(len, self.covariances)])
        return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]

    @property
    def largest_scales(self) -> np.ndarray:
        """The largest s of every kernel for which K_mm + jitter / s^2 can still be factorised."""
        traces = np.array([np.trace(covariance) for covariance in self.covariances])
        return np.sqrt(self.jitter / (ROUNDING * traces))

    def factors(self, scales: np.ndarray) -> list[np.ndarray]:
        """U of every kernel, upper triangular, U^T U = K_mm / s^2 + jitter / s^4.

        Raises
        ------
        numpy.linalg.LinAlgError
            A matrix is not positive definite in double precision.
        """
        return [regulariser(np.array(covariance), self.jitter / s**2) / s
                for covariance, s in zip(self.covariances, scales, strict=True)]

    def triangle(self, scales: np.ndarray) -> np.ndarray:
        """[[U, 0], [0, 0]], (M + 1, M + 1)."""
        triangle = np.zeros((self.n_columns + 1, self.n_columns + 1), order="F")
        for here, factor in zip(self.places, self.factors(scales), strict=True):
            triangle[here, here] = factor
        return triangle


def combine(triangle: np.ndarray, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The triangle of an upper triangle, (M + 1, M + 1), on top of blocks of rows or triangles (`Rows.triangle`)."""
    solver = StreamingQR(len(triangle) - 1, triangle=triangle)
    for block in blocks:
        solver.update(np.array(block, order="F"), trapezoid=len(block) if len(block) == len(triangle) else 0)
    return solver.triangle


def leave_each_out(triangle: np.ndarray, folds: Sequence[Sequence[np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """For every fold, the triangle of everything but its blocks.

    The folds are halved again and again, so that k of them cost about k log2 k combinations in the place of k (k - 1).

    Parameters
    ----------
    triangle : ndarray
        Of what is never left out, (M + 1, M + 1).
    folds : sequence of sequence of ndarray
        Blocks of every fold.

    Yields
    ------
    number : int
        Of the fold that is left out.
    triangle : ndarray
        Of the others.
    """
    yield from _leave_out(triangle, [(number, combine(np.zeros_like(triangle), fold)) for number, fold in enumerate(folds)])


def _leave_out(triangle, folds) -> Iterator[tuple[int, np.ndarray]]:
    if len(folds) == 1:
        yield folds[0][0], triangle
        return
    middle = len(folds) // 2
    for kept, left_out in ((folds[middle:], folds[:middle]), (folds[:middle], folds[middle:])):
        yield from _leave_out(combine(triangle, [t for _, t in kept]), left_out)


def weights_of(triangle: np.ndarray) -> np.ndarray:
    """beta, (M,), from the triangle of [rows; U], (M + 1, M + 1)."""
    return solve_triangular(triangle[:-1, :-1], triangle[:-1, -1])


def residuals(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """y - K_nm beta of rows or of their triangle (then Q^T of it, of the same length)."""
    return rows[:, -1] - rows[:, :-1] @ weights


@dataclass(frozen=True)
class Evidence:
    """-2 log p(y) and its derivatives.

    Attributes
    ----------
    value : float
        -2 log p.
    by_noise : ndarray
        D value / d log f of every group.
    by_scale : ndarray
        D value / d log s of every kernel.
    """

    value: float
    by_noise: np.ndarray
    by_scale: np.ndarray


def evidence(groups: Sequence[Rows], prior: Covariances, noise: np.ndarray, scales: np.ndarray) -> Evidence:
    """Log marginal likelihood with its gradient.

        -2 log p = rho^2 + 2 log|R| - 2 log|U| + log|Lambda| + n log 2 pi,

    R the triangle of A = [f^-1 Lambda^(-1/2) K_nm; U] and rho^2 = |[f^-1 Lambda^(-1/2) y; 0] - A beta|^2. The derivatives
    need the traces of (R^T R)^-1 with the parts of A^T A, which are |T_g R^-1|^2 for a group and |U R^-1|^2, |R^-1|^2 for
    a kernel; no normal equations are formed.

    Parameters
    ----------
    groups : sequence of Rows
        Rows with the sigmas of the configuration.
    prior : Covariances
        Covariances with the deltas of the configuration.
    noise : ndarray
        (n_groups,) f, factors of the sigmas.
    scales : ndarray
        (n_kernels,) s, factors of the deltas.

    Returns
    -------
    Evidence
    """
    factors = prior.factors(scales)
    triangle = combine(prior.triangle(scales), [g.triangle / f for g, f in zip(groups, noise, strict=True)])
    weights, inverse = weights_of(triangle), lapack.dtrtri(triangle[:-1, :-1])[0]
    value = triangle[-1, -1] ** 2 + 2.0 * _log_determinant(triangle[:-1, :-1])
    by_noise, by_scale = np.zeros(len(noise)), np.zeros(len(scales))
    for k, (group, f) in enumerate(zip(groups, noise, strict=True)):
        value += group.log_noise + group.n_rows * np.log(2.0 * np.pi * f**2)
        fitted = _square(residuals(group.triangle, weights)) + _square(group.triangle[:, :-1] @ inverse)
        by_noise[k] = 2.0 * group.n_rows - 2.0 * fitted / f**2
    for k, (factor, here, s) in enumerate(zip(factors, prior.places, scales, strict=True)):
        value -= 2.0 * _log_determinant(factor)
        jitter = prior.jitter / s**4
        own = lapack.dtrtri(factor)[0]
        fitted = _square(factor @ weights[here]) + _square(factor @ inverse[here])
        fitted += jitter * (_square(weights[here]) + _square(inverse[here]) - _square(own))
        by_scale[k] = 2.0 * len(factor) - 2.0 * fitted
    return Evidence(float(value), by_noise, by_scale)


def weights_by_scale(prior: Covariances, scales: np.ndarray, weights: np.ndarray, along: np.ndarray) -> np.ndarray:
    """- along . dP/d(log s) beta of every kernel, (n_kernels,): how a linear form of the weights follows the deltas.

    Parameters
    ----------
    weights : ndarray
        Beta, (M,).
    along : ndarray
        (R^T R)^-1 of the gradient of the form, (M,).
    """
    values = np.empty(len(scales))
    for k, (covariance, here, s) in enumerate(zip(prior.covariances, prior.places, scales, strict=True)):
        product = 2.0 * (covariance @ weights[here]) / s**2 + 4.0 * prior.jitter / s**4 * weights[here]
        values[k] = along[here] @ product
    return values


def left_out_residuals(rows: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Residuals of some rows by the fit to all other rows.

        r_out = (1 - H)^-1 r,     H = A_i (R^T R)^-1 A_i^T

    with r = y - A_i beta the residuals of the fit to all rows (for a single row the well-known r / (1 - h)). Exact for given
    sparse points; to be used with all rows of a structure at once, because they share its error.

    Parameters
    ----------
    rows : ndarray
        (n, M + 1), [A_i | y_i], divided by their sigmas.
    triangle : ndarray
        (M + 1, M + 1) of all rows, these included, and U.

    Returns
    -------
    ndarray
        (n,), in units of sigma.
    """
    half = solve_triangular(triangle[:-1, :-1], rows[:, :-1].T, trans="T")
    one_minus_h = np.eye(len(rows)) - half.T @ half
    return solve(one_minus_h, residuals(rows, weights_of(triangle)), assume_a="sym")


def _square(values: np.ndarray) -> float:
    return float(np.vdot(values, values))


def _log_determinant(triangle: np.ndarray) -> float:
    return float(np.sum(np.log(np.abs(np.diag(triangle)))))
