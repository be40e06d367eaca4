"""How well the linear system of a fit is conditioned, and in words why it is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from soapgap.data.dataset import Dataset
from soapgap.kinds.kernel import Kernel

COINCIDING = 1e-12


@dataclass(frozen=True)
class Conditions:
    """Condition numbers, in the 1-norm.

    Attributes
    ----------
    jitter : float
        What was added to the diagonal of K_mm, eV^2.
    covariance : dict of str to float
        Of K_mm + jitter, by the name of the kernel.
    system : float
        Of R, the triangle of [Lambda^(-1/2) K_nm U^-1; 1].
    """

    jitter: float
    covariance: dict[str, float]
    system: float

    def __str__(self) -> str:
        kernels = ", ".join(f"{name} {value:.0e}" for name, value in self.covariance.items())
        return f"condition numbers: whole system {self.system:.0e}; K_MM with a jitter of {self.jitter:g} eV^2: {kernels}"


def condition_of_triangle(triangle: np.ndarray) -> float:
    """Of an upper triangle (n, n), LAPACK's estimate; infinite if it is singular."""
    reciprocal, _ = lapack.dtrcon(triangle, norm="1", uplo="U")
    return 1.0 / reciprocal if reciprocal > 0.0 else np.inf


def condition_of_covariance(factor: np.ndarray) -> float:
    """Of U^T U, given the upper triangle U, LAPACK's estimate."""
    sizes = np.abs(factor)
    norm = float((sizes.T @ sizes.sum(axis=1)).max())  # an upper bound of the 1-norm of U^T U
    reciprocal, _ = lapack.dpocon(factor, norm, uplo="U")
    return 1.0 / reciprocal if reciprocal > 0.0 else np.inf


def why_singular(kernel: Kernel, train: Dataset) -> str:
    """In words, which sparse points make K_mm singular: two that coincide, or all of them together."""
    covariance = kernel.covariance()
    scale = np.sqrt(covariance.diagonal())
    if not scale.all():
        point = int(np.argmin(scale))
        return f"point {_place(kernel, point, train)} has a kernel of zero with itself"
    correlation = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlation, -np.inf)
    first, second = sorted(int(k) for k in np.unravel_index(np.argmax(correlation), correlation.shape))
    gap = 1.0 - correlation[first, second]
    pair = f"{_place(kernel, first, train)} and {_place(kernel, second, train)}"
    if gap < COINCIDING:
        more = int(np.count_nonzero(np.triu(correlation) > 1.0 - COINCIDING)) - 1
        others = f", and {more} more pairs" if more else ""
        return f"the points {pair} coincide (correlation 1 - {max(gap, 0.0):.0e}){others}"
    rank = np.linalg.matrix_rank(covariance, hermitian=True)
    return (f"no two points coincide (the closest are {pair}, correlation 1 - {gap:.0e}), but together they span only {rank} "
            f"dimensions to rounding")


def _place(kernel: Kernel, point: int, train: Dataset) -> str:
    structure, atom = kernel.origins[point]
    if structure < 0:
        return f"number {point}"
    return f"number {point} ({train.structures[structure].where}, atom {atom})"
