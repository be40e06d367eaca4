"""Settings to begin with: standard deviations from the scatter of the data, sparse points from its size.

With the robust standard deviations over all frames

    S_E of (E - sum n e) / sqrt(N),   S_F of the force components (root mean square),   S_V of the components of W / sqrt(N),

the suggestion is sigma_E = 0.001 S_E, sigma_F = 0.05 S_F, sigma_V = 0.03 S_V, rounded to 1, 2 or 5 times a power of ten and
held within limits. sigma_F is not smaller than the noise that net forces show, |sum F| / sqrt(3 N). The square roots are
those by which a fit multiplies the sigmas of energies and virials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from soapgap.check.frames import FrameTable
from soapgap.check.outliers import robust_scale

SHARE = {"energy": 0.001, "force": 0.05, "virial": 0.03}
LIMITS = {"energy": (5e-4, 0.005), "force": (0.005, 0.3), "virial": (0.002, 0.5)}
FALLBACK = {"energy": 0.001, "force": 0.1, "virial": 0.05}
SPARSE_LIMITS, SPARSE_FACTOR = (50, 4000), 10.0


@dataclass(frozen=True)
class Suggestion:
    """What to put into fit.toml.

    Attributes
    ----------
    default_sigma : tuple of float
        Energy (eV), force (eV/A) and virial (eV), energy and virial per sqrt(N) as in a fit.
    n_sparse : dict of str to int
        By chemical symbol.
    scatter : dict of str to float
        What the sigmas come from; 0.0 where there are no data.
    """

    default_sigma: tuple[float, float, float]
    n_sparse: dict[str, int]
    scatter: dict[str, float]

    def lines(self) -> list[str]:
        """As it is written in fit.toml."""
        points = ", ".join(f"{symbol} = {n}" for symbol, n in self.n_sparse.items())
        absent = [what for what in SHARE if self.scatter[what] == 0.0]
        remark = f"  # no scatter of {', '.join(absent)}: a usual value" if absent else ""
        sigmas = ", ".join(f"{sigma:g}" for sigma in self.default_sigma)
        return [f"default_sigma = [{sigmas}]{remark}", f"n_sparse = {{ {points} }}"]


def suggest(table: FrameTable, rest: np.ndarray) -> Suggestion:
    """The rule of the module docstring.

    Parameters
    ----------
    rest : ndarray
        Energies per atom without their average by species (eV), NaN where there is none (`soapgap.check.outliers.residuals`).
    """
    n = table.column("n_atoms")
    known = np.isfinite(rest)
    scatter = {"energy": robust_scale(rest[known] * np.sqrt(n[known]))}
    rms, net = table.column("rms_force"), table.column("net_force")
    many = np.isfinite(rms) & (n > 1)
    scatter["force"] = float(np.sqrt(np.average(rms[many] ** 2, weights=n[many]))) if many.any() else 0.0
    noise = float(np.median(net[many] * np.sqrt(n[many] / 3.0))) if many.any() else 0.0
    virials = [f.virial / np.sqrt(f.n_atoms) for f in table.frames if f.virial is not None and f.n_atoms > 1]
    scatter["virial"] = robust_scale(np.concatenate([v[np.triu_indices(3)] for v in virials])) if virials else 0.0
    smallest = {"energy": 0.0, "force": noise, "virial": 0.0}
    sigma = tuple(_sigma(what, scatter[what], smallest[what]) for what in SHARE)
    points = {chemical_symbols[z]: _n_sparse(count) for z, count in table.atoms_by_species().items()}
    return Suggestion(sigma, points, scatter | {"force_noise": noise})


def _sigma(what: str, scatter: float, smallest: float) -> float:
    if scatter == 0.0:
        return FALLBACK[what]
    low, high = LIMITS[what]
    return _rounded(min(max(SHARE[what] * scatter, low, smallest), high))


def _rounded(value: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten, in the logarithm."""
    power = 10.0 ** np.floor(np.log10(value))
    nearest = min((1.0, 2.0, 5.0, 10.0), key=lambda m: abs(np.log(value / (m * power))))
    return float(f"{nearest * power:.1g}")


def _n_sparse(n_environments: int) -> int:
    """Ten times the square root of the number of environments, in steps of 50; all of them if they are few."""
    low, high = SPARSE_LIMITS
    return min(n_environments, int(np.clip(50 * round(SPARSE_FACTOR * np.sqrt(n_environments) / 50), low, high)))
