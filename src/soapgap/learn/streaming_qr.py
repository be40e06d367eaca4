"""The least-squares solution by streaming QR: rows come in blocks and are folded into one triangle.

The weights alpha = U^-1 beta minimise

    |Lambda^(-1/2) (y - K_nm alpha)|^2 + alpha^T K_mm alpha = |Lambda^(-1/2) (y - K_nm U^-1 beta)|^2 + |beta|^2,

with U^T U = K_mm + jitter: beta is the least-squares solution of [Lambda^(-1/2) K_nm U^-1; 1] beta = [Lambda^(-1/2) y; 0]
("V method" and QR: L. Foster et al., J. Mach. Learn. Res. 10, 857 (2009)). The weights alpha are large and cancel, beta are
not: solved for beta, predictions hardly feel in which order rows were folded in, and by how many ranks. Only the triangle R of
the QR factorisation and Q^T y are kept, so memory does not depend on the amount of data; the normal equations R^T R, whose
condition number is the square, are never made.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import lapack, solve_triangular

from soapgap.errors import SoapGAPError
from soapgap.learn.state import unpack

PANEL, WIDE_PANEL, WIDE = 32, 64, 2000  # columns of a panel; the wide one is a fifth faster for many columns


class StreamingQR:
    """R and Q^T y of a tall matrix [A | y] whose rows arrive in blocks.

    The right-hand side is one more column of the matrix: the triangle of [A | y] is [[R, Q^T y], [0, rho]], with rho
    the norm of the residual of the rows seen so far. A block is folded in by LAPACK's `tpqrt` (QR of a triangle on top
    of a block), 2 rows (M + 1)^2 operations.

    Parameters
    ----------
    n_columns : M, number of unknowns
    triangle : (M + 1, M + 1) state to go on from (as `triangle` gives it); zeros by default
    """

    def __init__(self, n_columns: int, triangle: np.ndarray | None = None) -> None:
        self.n_columns = n_columns
        size = n_columns + 1
        self._r = np.zeros((size, size), order="F") if triangle is None else np.array(triangle, float, order="F")
        if self._r.shape != (size, size):
            raise ValueError(f"triangle has shape {self._r.shape}, expected {(size, size)}")

    @property
    def triangle(self) -> np.ndarray:
        """[[R, Q^T y], [0, rho]], (M + 1, M + 1), upper triangular; a view."""
        return self._r

    def update(self, block: np.ndarray, trapezoid: int = 0) -> None:
        """Fold rows [A | y] in.

        Parameters
        ----------
        block : (rows, M + 1), Fortran order; destroyed
        trapezoid : number of trailing rows of the block that form an upper trapezoid (LAPACK's L)
        """
        if len(block) == 0:
            return
        panel = min(PANEL if self.n_columns < WIDE else WIDE_PANEL, self.n_columns + 1)
        r, _, _, info = lapack.dtpqrt(trapezoid, panel, self._r, block, overwrite_a=1, overwrite_b=1)
        if info != 0:
            raise SoapGAPError(f"LAPACK dtpqrt failed with info = {info}")
        self._r = r

    def fold(self, packed: np.ndarray) -> None:
        """Take in the triangle of other rows (`pack`), 2/3 (M + 1)^3 operations."""
        self.update(unpack(packed), trapezoid=self.n_columns + 1)

    def clear(self) -> None:
        """Forget all rows."""
        self._r[:] = 0.0

    def regularised_solution(self, factors: Iterable[np.ndarray] | None = None) -> np.ndarray:
        """Solution, (M,), with the rows of a regulariser folded in last; ends this factorisation.

        Parameters
        ----------
        factors : upper triangular blocks of the regulariser, in the order of the columns; by default the identity
        """
        rows = np.zeros((self.n_columns, self.n_columns + 1), order="F")
        if factors is None:
            np.fill_diagonal(rows, 1.0)
        column = 0
        for factor in factors or ():
            here = slice(column, column + len(factor))
            rows[here, here] = factor
            column += len(factor)
        self.update(rows, trapezoid=self.n_columns)
        solution = solve_triangular(self._r[:-1, :-1], self._r[:-1, -1])
        if not np.isfinite(solution).all():
            raise SoapGAPError("the solution of the linear system is not finite; increase sparse_jitter")
        return solution
