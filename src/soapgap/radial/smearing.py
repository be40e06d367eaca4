r"""The radial part of a Gaussian seen from a centre: h_l(r, x), and the Bessel functions in it.

A Gaussian of width sigma at the position r, expanded around the origin, is

    exp(-|x - r|^2 / 2 sigma^2) = 4 pi sum_lm h_l(r, x) Y_lm(x) Y_lm(r),
    h_l(r, x) = exp(-(r^2 + x^2)/2 sigma^2) i_l(r x / sigma^2)

with i_l the modified spherical Bessel function of the first kind (Kaufmann and Baumeister, J. Phys. B 22, 1 (1989)).
"""

import math

import numpy as np

__all__ = ["scaled_bessel", "smeared_gaussian"]


def scaled_bessel(t, l_max: int) -> np.ndarray:
    """exp(-t) i_l(t) for l = 0 .. l_max, i_l the modified spherical Bessel function of the first kind.

    From i_{l-1} - i_{l+1} = (2l + 1)/t i_l: upward from l = 0 and 1 where t > l_max^2/2, which loses no digits; else
    the ratios i_l/i_{l-1} = t / (2l + 1 + t i_{l+1}/i_l) downward, which is stable for every t >= 0.

    Parameters
    ----------
    t : array_like
        Arguments >= 0.
    l_max : int
        Largest order.

    Returns
    -------
    ndarray, shape (l_max + 1,) + shape of t
    """
    t = np.asarray(t, dtype=np.float64)
    flat = t.ravel()
    out = np.empty((l_max + 1, len(flat)))
    safe = np.where(flat > 0, flat, 1.0)
    out[0] = np.where(flat > 0, -np.expm1(-2 * flat) / (2 * safe), 1.0)
    bands = [0.0, 1.0, 8.0, max(64.0, l_max**2 / 2)]
    for low, high in zip(bands, bands[1:]):
        chosen = np.flatnonzero((flat >= low) & (flat < high))
        if len(chosen):
            _bessel_downward(flat[chosen], high, out, chosen)
    chosen = np.flatnonzero(flat >= bands[-1])
    if l_max >= 1 and len(chosen):
        x = flat[chosen]
        below, here = out[0, chosen], (1 + np.exp(-2 * x)) / (2 * x) - out[0, chosen] / x
        out[1, chosen] = here
        for order in range(1, l_max):
            below, here = here, below - (2 * order + 1) / x * here
            out[order + 1, chosen] = here
    return out.reshape((l_max + 1,) + t.shape)


def _bessel_downward(x, high, out, chosen):
    """Fill out[1:, chosen] from out[0, chosen] by downward ratios, for x < high."""
    l_max = len(out) - 1
    # The error of the first ratio shrinks by the product of all ratios squared, exp(-(start^2 - l^2)/x) at large x.
    start = int(math.sqrt(l_max**2 + 44 * high)) + 12
    ratio = x / (start + 0.5 + np.sqrt((start + 1.5) ** 2 + x**2))
    ratios = np.empty((l_max + 1, len(x)))
    for order in range(start, 0, -1):
        ratio = x / (2 * order + 1 + x * ratio)
        if order <= l_max:
            ratios[order] = ratio
    value = out[0, chosen]
    for order in range(1, l_max + 1):
        value = value * ratios[order]
        out[order, chosen] = value


def smeared_gaussian(r: np.ndarray, x: np.ndarray, sigma: float, l_max: int) -> np.ndarray:
    """h_l(r, x) and its first two derivatives in r.

    With E_l(t) = exp(-t) i_l(t) and t = r x / sigma^2, h_l = exp(-(r - x)^2 / 2 sigma^2) E_l(t), and
    i_l' = (l i_{l-1} + (l + 1) i_{l+1}) / (2l + 1) gives

        dh_l/dr = -(r/sigma^2) h_l + (x/sigma^2) (l h_{l-1} + (l + 1) h_{l+1}) / (2l + 1),

    which holds at r = 0 too; applied twice for the second derivative.

    Parameters
    ----------
    r : ndarray, shape (n_r,)
        Distances of the Gaussian (Angstrom), >= 0.
    x : ndarray, shape (n_x,)
        Radii (Angstrom), >= 0.
    sigma : float
        Width (Angstrom).
    l_max : int
        Largest angular momentum.

    Returns
    -------
    ndarray, shape (3, l_max + 1, n_r, n_x)
        h (dimensionless), dh/dr (per Angstrom), d2h/dr2 (per Angstrom^2).
    """
    x_scaled = x / sigma**2
    gaussian = np.exp(-0.5 * ((r[:, None] - x) / sigma) ** 2)
    h = gaussian * scaled_bessel(r[:, None] * x_scaled, l_max + 2)
    r_scaled = (r / sigma**2)[:, None]
    first = _ladder(h, x_scaled) - r_scaled * h[:-1]
    second = _ladder(first, x_scaled) - r_scaled * first[:-1] - h[:-2] / sigma**2
    return np.stack([h[:l_max + 1], first[:l_max + 1], second])


def _ladder(h, x_scaled):
    """x/sigma^2 (l h_{l-1} + (l + 1) h_{l+1}) / (2l + 1) for all l but the last."""
    l = np.arange(len(h) - 1)[:, None, None]
    up = (l + 1) / (2 * l + 1) * x_scaled * h[1:]
    up[1:] += (l / (2 * l + 1))[1:] * x_scaled * h[:-2]
    return up
