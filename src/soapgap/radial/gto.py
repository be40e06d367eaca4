"""Gaussian-type radial functions, orthonormalised symmetrically (Lowdin).

The primitive functions overlap strongly: the smallest eigenvalue of their overlap matrix is 4e-6 for ten functions and
1e-10 for sixteen, so that orthonormal functions formed in double precision carry errors of 1e-10 and more. Here they
are formed in decimal arithmetic with digits to spare and rounded once, at the end.
"""

import math
from decimal import Decimal, localcontext

import numpy as np

__all__ = ["gto_functions"]

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")


def gto_functions(x, n_max: int, cutoff: float) -> np.ndarray:
    r"""Orthonormal Gaussian-type functions R_n(x), n = 0 .. n_max - 1.

    The primitives are (Musil et al., J. Chem. Phys. 154, 114109 (2021), appendix A)

        phi_n(x) = N_n x^n exp(-x^2 / 2 sigma_n^2),   sigma_n = cutoff max(sqrt n, 1) / n_max,
        S_nm = int_0^inf x^2 phi_n phi_m dx = N_n N_m Gamma(a) / 2 b^a,
        a = (n + m + 3)/2,   b = (1/sigma_n^2 + 1/sigma_m^2)/2,   N_n such that S_nn = 1,

    and the functions R = S^(-1/2) phi, so that int_0^inf x^2 R_n R_m dx is the unit matrix.

    Parameters
    ----------
    x : array_like, shape (n_x,)
        Distances (Angstrom).
    n_max : int
        Number of functions.
    cutoff : float
        Radius that sets the widths (Angstrom).

    Returns
    -------
    ndarray, shape (n_x, n_max)
        R_n(x) in Angstrom^(-3/2), rounded from decimal arithmetic.
    """
    x = np.asarray(x, dtype=np.float64)
    with localcontext() as context:
        context.prec = 34 + 2 * n_max
        unit = n_max / Decimal(float(cutoff))             # lengths in units of cutoff / n_max
        y = np.array([Decimal(value) * unit for value in x.tolist()], dtype=object)
        primitives = np.empty((len(x), n_max), dtype=object)
        gaussian = _exp(-y * y / 2)
        power = np.full(len(x), Decimal(1), dtype=object)
        for n in range(n_max):
            normalisation = (Decimal(2) / _primitive_integral(n, n)).sqrt()
            width_gaussian = gaussian if n < 2 else _exp(-y * y / (2 * n))
            primitives[:, n] = normalisation * power * width_gaussian
            power = power * y
        functions = primitives.dot(_inverse_square_root(_overlap(n_max))) * (unit * unit * unit).sqrt()
        return functions.astype(np.float64)


def _exp(values):
    return np.array([value.exp() for value in values], dtype=object)


def _primitive_integral(n, m):
    """2 int_0^inf y^(n+m+2) exp(-b y^2) dy = Gamma(a) / b^a, widths in units of cutoff / n_max."""
    twice_a = n + m + 3
    b = (1 / Decimal(max(n, 1)) + 1 / Decimal(max(m, 1))) / 2
    if twice_a % 2 == 0:
        gamma = Decimal(math.factorial(twice_a // 2 - 1))
    else:
        gamma = Decimal(math.prod(range(1, twice_a - 1, 2))) / 2 ** ((twice_a - 1) // 2) * _PI.sqrt()
    return gamma / b ** (twice_a // 2) / (b.sqrt() if twice_a % 2 else 1)


def _overlap(n_max):
    """S_nm of the normalised primitives, in decimal arithmetic."""
    raw = np.array([[_primitive_integral(n, m) for m in range(n_max)] for n in range(n_max)], dtype=object)
    norm = [raw[n, n].sqrt() for n in range(n_max)]
    return np.array([[raw[n, m] / (norm[n] * norm[m]) for m in range(n_max)] for n in range(n_max)], dtype=object)


def _inverse_square_root(matrix):
    """S^(-1/2) of a positive definite decimal matrix by the coupled Newton-Schulz iteration.

    Y = S/s, Z = 1;  T = (3 - Z Y)/2, Y <- Y T, Z <- T Z;  Y -> (S/s)^(1/2), Z -> (S/s)^(-1/2), with s >= |S|
    (Higham, Functions of Matrices, SIAM 2008, section 6.7). Each step more than doubles the smallest eigenvalue of Y
    until it is near one, then squares the error.
    """
    size = len(matrix)
    one = np.array([[Decimal(int(i == j)) for j in range(size)] for i in range(size)], dtype=object)
    norm = max(sum(abs(value) for value in row) for row in matrix)
    root, inverse = matrix / norm, one
    error = Decimal(1)
    while error > Decimal("1e-20"):
        step = (3 * one - inverse.dot(root)) / 2
        error = max(abs(value) for value in (step - one).flat)
        root, inverse = root.dot(step), step.dot(inverse)
    return inverse / norm.sqrt()
