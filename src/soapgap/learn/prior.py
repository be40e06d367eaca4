"""The Gaussian process before it has seen data: K_mm and its factor, which makes rows of the design matrix well conditioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from soapgap.data.dataset import Dataset
from soapgap.errors import InputError
from soapgap.kinds.kernel import Kernel
from soapgap.learn.conditions import condition_of_covariance, why_singular
from soapgap.say import Reporter

JITTERS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # eV^2


@dataclass(frozen=True)
class Prior:
    """Sparse points and their covariance.

    Attributes
    ----------
    jitter : added to the diagonal of K_mm, eV^2
    factors : of each kernel U, upper triangular, U^T U = K_mm + jitter
    conditions : condition number of K_mm + jitter, by the name of the kernel
    """

    jitter: float
    factors: list[np.ndarray]
    conditions: dict[str, float]

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """K_nm U^-1 in the place of K_nm.

        Parameters
        ----------
        rows : (n, M + 1) K_nm and targets; changed and returned
        """
        column = 0
        for factor in self.factors:
            here = slice(column, column := column + len(factor))
            if len(rows):
                rows[:, here] = solve_triangular(factor, rows[:, here].T, trans="T", check_finite=False).T
        return rows

    def weights(self, beta: np.ndarray) -> np.ndarray:
        """alpha = U^-1 beta, (M,)."""
        parts, column = [], 0
        for factor in self.factors:
            parts.append(solve_triangular(factor, beta[column:column + len(factor)], check_finite=False))
            column += len(factor)
        return np.concatenate(parts)


def regulariser(covariance: np.ndarray, jitter: float) -> np.ndarray:
    """U with U^T U = K_mm + jitter 1, upper triangular.

    Parameters
    ----------
    covariance : K_mm, (n, n), eV^2; destroyed
    jitter : eV^2

    Raises
    ------
    numpy.linalg.LinAlgError
        The matrix is not positive definite in double precision.
    """
    covariance[np.diag_indices_from(covariance)] += jitter
    return cholesky(covariance.T, lower=False, overwrite_a=True)  # symmetric; .T is in LAPACK's order


def make_prior(kernels: Sequence[Kernel], jitter: float | None, train: Dataset, say: Reporter) -> Prior:
    """Factors of the covariance of all kernels.

    Parameters
    ----------
    jitter : added to the diagonal of K_mm, eV^2; None: 1e-8, or ten times that and so on if K_mm is not positive definite
    train : to name sparse points in messages

    Raises
    ------
    InputError
        K_mm is not positive definite with the given jitter; says which points coincide.
    """
    tried = JITTERS if jitter is None else (jitter,)
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
