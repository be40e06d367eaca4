"""The least-squares solution by streaming QR: rows come in blocks and are folded into one triangle.

The weights alpha = U^-1 beta minimise

    |Lambda^(-1/2) (y - K_nm alpha)|^2 + alpha^T K_mm alpha = |Lambda^(-1/2) (y - K_nm U^-1 beta)|^2 + |beta|^2,

with U^T U = K_mm + jitter: beta is the least-squares solution of [Lambda^(-1/2) K_nm U^-1; 1] beta = [Lambda^(-1/2) y; 0]
("V method" and QR: L. Foster et al., J. Mach. Learn. Res. 10, 857 (2009)). The weights alpha are large and cancel, beta are
not: solved for beta, predictions hardly feel in which order rows were folded in, and by how many ranks. Only the triangle R of
the QR factorisation and Q^T y are kept, so memory does not depend on the amount of data; the normal equations R^T R, whose
condition number is the square, are never made. Several right-hand sides y with the same K_nm and Lambda share one triangle.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import lapack, solve_triangular

from soapgap.errors import SoapGAPError
from soapgap.learn.state import unpack

PANEL, WIDE_PANEL, WIDE = 32, 64, 2000  # columns of a panel; the wide one is a fifth faster for many columns


class StreamingQR:
    """R and Q^T Y of a tall matrix [A | Y] whose rows arrive in blocks.

    The right-hand sides are further columns of the matrix: the triangle of [A | Y] is [[R, Q^T Y], [0, T]], with T^T T the
    products of the residuals of the rows seen so far; for one right-hand side |T| is the norm of its residual. A block is
    folded in by LAPACK's `tpqrt` (QR of a triangle on top of a block), 2 rows (M + n_rhs)^2 operations.

    Parameters
    ----------
    n_columns : int
        M, number of unknowns of each right-hand side.
    n_rhs : int
        Number of right-hand sides.
    triangle : ndarray, shape (M + n_rhs, M + n_rhs), optional
        State to continue from (as the property `triangle` gives it); zeros by default.
    """

    def __init__(self, n_columns: int, n_rhs: int = 1, triangle: np.ndarray | None = None) -> None:
        self.n_columns, self.n_rhs = n_columns, n_rhs
        size = n_columns + n_rhs
        self._r = np.zeros((size, size), order="F") if triangle is None else np.array(triangle, float, order="F")
        if self._r.shape != (size, size):
            raise ValueError(f"triangle has shape {self._r.shape}, expected {(size, size)}")

    @property
    def triangle(self) -> np.ndarray:
        """[[R, Q^T Y], [0, T]], (M + n_rhs, M + n_rhs), upper triangular; a view."""
        return self._r

    @property
    def r(self) -> np.ndarray:
        """R, (M, M), upper triangular; a view."""
        return self._r[:self.n_columns, :self.n_columns]

    def update(self, block: np.ndarray, trapezoid: int = 0) -> None:
        """Fold rows [A | Y] in.

        Parameters
        ----------
        block : ndarray, shape (rows, M + n_rhs)
            In Fortran order; destroyed.
        trapezoid : int
            Number of trailing rows of the block that form an upper trapezoid (LAPACK's L).
        """
        if len(block) == 0:
            return
        panel = min(PANEL if self.n_columns < WIDE else WIDE_PANEL, len(self._r))
        r, _, _, info = lapack.dtpqrt(trapezoid, panel, self._r, block, overwrite_a=1, overwrite_b=1)
        if info != 0:
            raise SoapGAPError(f"LAPACK dtpqrt failed with info = {info}")
        self._r = r

    def fold(self, packed: np.ndarray) -> None:
        """Take in the triangle of other rows (`pack`), 2/3 (M + n_rhs)^3 operations."""
        self.update(unpack(packed), trapezoid=len(self._r))

    def clear(self) -> None:
        """Forget all rows."""
        self._r[:] = 0.0

    def regularised_solution(self, factors: Iterable[np.ndarray] | None = None) -> np.ndarray:
        """Solutions, (M, n_rhs), with the rows of a regulariser folded in last; ends this factorisation.

        Parameters
        ----------
        factors : iterable of ndarray, optional
            Upper triangular blocks of the regulariser, in the order of the columns; by default the identity.
        """
        rows = np.zeros((self.n_columns, len(self._r)), order="F")
        if factors is None:
            np.fill_diagonal(rows, 1.0)
        column = 0
        for factor in factors or ():
            here = slice(column, column + len(factor))
            rows[here, here] = factor
            column += len(factor)
        self.update(rows, trapezoid=self.n_columns)
        solution = solve_triangular(self.r, self._r[:self.n_columns, self.n_columns:])
        if not np.isfinite(solution).all():
            raise SoapGAPError("the solution of the linear system is not finite; increase sparse_jitter")
        return solution
