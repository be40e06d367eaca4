"""Numbers out of energy series: drift, fluctuation, and how the fluctuation grows with the time step."""

from dataclasses import dataclass

import numpy as np

from soapgap.errors import InputError


@dataclass
class Drift:
    """A straight line through an energy series.

    Attributes
    ----------
    slope : float
        Units of energy per unit of time.
    standard_error : float
        Of the slope, correlations of the residuals included.
    fluctuation : float
        Standard deviation of the energy about the line.
    length : float
        Time from the first to the last point.
    """

    slope: float
    standard_error: float
    fluctuation: float
    length: float

    @property
    def relative(self):
        """|slope| x length / fluctuation: how far the line climbs, in units of the noise about it."""
        return abs(self.slope) * self.length / self.fluctuation if self.fluctuation > 0 else float("inf")


def correlation_time(series):
    """Integrated autocorrelation time of a series, in samples: 1/2 + sum of the normalised autocorrelations.

    The sum ends at the first window M >= 5 tau(M) (A. D. Sokal, in Functional Integration, NATO ASI B 361, 1997,
    section 3). White noise gives 1/2.
    """
    x = np.asarray(series, dtype=float) - np.mean(series)
    n = len(x)
    spectrum = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    correlation = np.fft.irfft(spectrum)[:n]
    if correlation[0] <= 0:
        return 0.5
    tau = 0.5 + np.cumsum(correlation[1:] / correlation[0])
    inside = np.nonzero(np.arange(1, n) >= 5 * tau)[0]
    return max(0.5, float(tau[inside[0] if len(inside) else -1]))


def linear_drift(time, energy):
    """Least-squares line through ``energy(time)``.

    The standard error of the slope is the least-squares one times sqrt(2 tau), tau the integrated autocorrelation
    time of the residuals, because successive energies of molecular dynamics are not independent.

    Parameters
    ----------
    time, energy : ndarray, shape (n,)
        n >= 10, evenly spaced times.

    Returns
    -------
    Drift

    Raises
    ------
    InputError
        Fewer than 10 points, unequal lengths, or numbers that are not finite.
    """
    time, energy = np.asarray(time, dtype=float), np.asarray(energy, dtype=float)
    if time.shape != energy.shape or time.ndim != 1 or len(time) < 10:
        raise InputError(f"a drift needs two series of the same length >= 10, got {time.shape} and {energy.shape}")
    if not (np.isfinite(time).all() and np.isfinite(energy).all()):
        raise InputError("the energy series has values that are not finite; the run has failed")
    t, e = time - time.mean(), energy - energy.mean()
    spread = (t @ t)
    slope = (t @ e) / spread
    residual = e - slope * t
    variance = (residual @ residual) / (len(t) - 2)
    error = np.sqrt(variance / spread * 2 * correlation_time(residual))
    return Drift(float(slope), float(error), float(np.sqrt(variance)), float(time[-1] - time[0]))


def power_law_exponent(x, y):
    """Exponent p of y = a x^p from a least-squares line through the logarithms.

    Raises
    ------
    InputError
        Fewer than two points or values that are not positive.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 2 or len(x) != len(y) or not (np.all(x > 0) and np.all(y > 0)):
        raise InputError(f"an exponent needs at least two positive pairs, got x = {x.tolist()}, y = {y.tolist()}")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
