"""The Gaussian process before it has seen data: K_mm and its factor, which makes rows of the design matrix well conditioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from soapgap.data.dataset import Dataset
from soapgap.errors import InputError
from soapgap.kinds.kernel import Kernel
from soapgap.learn.conditions import condition_of_covariance, why_singular
from soapgap.say import Reporter

JITTERS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # eV^2

Jitter = float | Literal["auto"]


@dataclass(frozen=True)
class Prior:
    """Sparse points and their covariance.

    Attributes
    ----------
    jitter : float
        Added to the diagonal of K_mm, eV^2.
    factors : list of ndarray
        Of each kernel U, upper triangular, U^T U = K_mm + jitter.
    conditions : dict of str to float
        Condition number of K_mm + jitter, by the name of the kernel.
    """

    jitter: float
    factors: list[np.ndarray]
    conditions: dict[str, float]

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """K_nm U^-1 in the place of K_nm.

        Parameters
        ----------
        rows : ndarray
            (n, M + n_rhs) K_nm and targets; changed and returned.
        """
        column = 0
        for factor in self.factors:
            here = slice(column, column := column + len(factor))
            if len(rows):
                rows[:, here] = solve_triangular(factor, rows[:, here].T, trans="T", check_finite=False).T
        return rows

    def weights(self, beta: np.ndarray) -> np.ndarray:
        """alpha = U^-1 beta, (M, n_rhs)."""
        parts, column = [], 0
        for factor in self.factors:
            parts.append(solve_triangular(factor, beta[column:column + len(factor)], check_finite=False))
            column += len(factor)
        return np.concatenate(parts)


def regulariser(covariance: np.ndarray, jitter: float) -> np.ndarray:
    """U with U^T U = K_mm + jitter 1, upper triangular.

    Parameters
    ----------
    covariance : ndarray
        K_mm, (n, n), eV^2; destroyed.
    jitter : float
        eV^2.

    Raises
    ------
    numpy.linalg.LinAlgError
        The matrix is not positive definite in double precision.
    """
    covariance[np.diag_indices_from(covariance)] += jitter
    return cholesky(covariance.T, lower=False, overwrite_a=True)  # symmetric; .T is in LAPACK's order


def jitters_to_try(jitter: Jitter) -> tuple[float, ...]:
    """What a configuration lets a fit add to the diagonal of K_mm, the first choice first.

    Parameters
    ----------
    jitter : float or "auto"
        eV^2; "auto" is 1e-8, or ten times that and so on up to 1e-4 if K_mm is not positive definite.

    Returns
    -------
    tuple of float
    """
    return JITTERS if jitter == "auto" else (jitter,)


def make_prior(kernels: Sequence[Kernel], jitter: Jitter, train: Dataset, say: Reporter) -> Prior:
    """Factors of the covariance of all kernels.

    Parameters
    ----------
    kernels : sequence of Kernel
        In the order of their columns.
    jitter : float or "auto"
        Added to the diagonal of K_mm, eV^2 (`jitters_to_try`).
    train : Dataset
        To name sparse points in messages.
    say : Reporter

    Returns
    -------
    Prior

    Raises
    ------
    InputError
        K_mm is not positive definite with the given jitter; says which points coincide.
    """
    tried = jitters_to_try(jitter)
    for value in tried:
        factors: list[np.ndarray] = []
        try:
            for kernel in kernels:
                factors.append(regulariser(kernel.covariance(), value))
            break
        except np.linalg.LinAlgError:
            why = (f"the covariance of the {kernel.n_sparse} sparse points of {kernel.name} is not positive definite with "
                   f"sparse_jitter = {value:g}: {why_singular(kernel, train)}")
            if value == tried[-1]:
                raise InputError(f"{why}; increase sparse_jitter or reduce n_sparse") from None
            say.warning(f"{why}; going on with ten times that")
    conditions = {kernel.name: condition_of_covariance(factor) for kernel, factor in zip(kernels, factors, strict=True)}
    return Prior(value, factors, conditions)
