"""Inner optimisation: deltas and sigmas of one configuration, and what the best ones are in the words of `fit.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from soapgap.config import FitConfig
from soapgap.data.observables import OBSERVABLES
from soapgap.tune.objectives import (
    DECADE,
    FoldObjective,
    LikelihoodObjective,
    System,
    TunedParameters,
    trained_triangle,
)

TOLERANCE = 1e-6
MAX_STEPS = 100
DIGITS = 3


@dataclass(frozen=True)
class Optimum:
    """The best factors found.

    Attributes
    ----------
    x : ndarray
        Logarithms of the factors, these rounded to three digits.
    value : float
        Objective there.
    start : float
        Objective at the configured values.
    n_evaluations : int
        Of the objective.
    """

    x: np.ndarray
    value: float
    start: float
    n_evaluations: int


def optimise(objective: LikelihoodObjective | FoldObjective, parameters: TunedParameters, restarts: int, seed: int) -> Optimum:
    """Minimise by L-BFGS-B from the configured values and from random ones, with its gradient in closed form.

    A parabola, (log10 of the factor)^2 times `objective.pull`, keeps parameters that the data do not determine where they
    are; they may go three decades.

    Parameters
    ----------
    restarts : int
        Number of random starts, half a decade (one standard deviation) around the configured values.
    """
    count, n = 0, len(parameters.names)
    start = objective.value(np.zeros(n))[0]
    if n == 0:
        return Optimum(np.zeros(0), start, start, 1)

    def pulled(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        value, gradient = objective.value(x)
        return value + objective.pull * (x @ x) / DECADE**2, gradient + 2.0 * objective.pull * x / DECADE**2

    low, high = parameters.bounds.T
    rng = np.random.default_rng([seed, n])
    starts = [np.zeros(n), *(np.clip(0.5 * DECADE * rng.standard_normal(n), low, high) for _ in range(restarts))]
    found = [minimize(pulled, x, jac=True, method="L-BFGS-B", bounds=parameters.bounds,
                      options={"maxiter": MAX_STEPS, "ftol": TOLERANCE}) for x in starts]
    best = min(found, key=lambda result: result.fun)
    x = np.clip(np.log([rounded(factor, DIGITS) for factor in np.exp(best.x)]), low, high)
    return Optimum(x, objective.value(x)[0], start, count + 2)


def calibrated(system: System, parameters: TunedParameters, objective: FoldObjective, x: np.ndarray) -> np.ndarray:
    """Give all sigmas and deltas the common factor that k-fold errors leave open.

    Predictions depend on their ratios alone (but for the jitter). The factor c with c^2 = rho^2 / n maximises the likelihood
    of the data for given ratios, so that sigmas have the size of the residuals. It is not applied if a sigma or a delta is
    fixed, or if the jitter would make the errors larger by more than 0.1 %.
    """
    tied = [*parameters.of_kernel, *(parameters.group(group.label) for group in system.groups)]
    if min(tied) < 0:
        return x
    n_rows = sum(group.rows.n_rows for group in system.groups)
    common = np.log(abs(trained_triangle(system, parameters, x)[-1, -1]) / np.sqrt(n_rows))
    new = np.log([rounded(factor, DIGITS) for factor in np.exp(x + common)])
    low, high = parameters.bounds.T
    inside = np.isfinite(new).all() and (new >= low).all() and (new <= high).all()
    return new if inside and objective.value(new)[0] <= objective.value(x)[0] + 1e-3 else x


def rounded(value: float, digits: int) -> float:
    """The number with so many significant digits."""
    return float(f"{value:.{digits - 1}e}")


def tuned_values(config: FitConfig, parameters: TunedParameters, x: np.ndarray) -> dict[str, Any]:
    """The keys of `fit.toml` that the factors change, with their new values.

    Returns
    -------
    dict
        Such as {"terms[0].delta": 0.3, "default_sigma": [...], "config_type_sigma": {...}}
    """
    factors = dict(zip(parameters.names, np.exp(x), strict=True))
    values: dict[str, Any] = {}
    for name, factor in factors.items():
        if name[0] == "delta":
            values[f"terms[{name[1]}].delta"] = _product(config.terms[name[1]].delta, factor)
    for kind, observable in OBSERVABLES.items():
        if observable.sigma.setting and ("sigma", kind) in factors:
            setting = observable.sigma.setting
            values[setting] = _product(getattr(config, setting), factors["sigma", kind])
    places = _places()
    if not any(name[0] == "sigma" and name[1] in places for name in factors):
        return values
    values["default_sigma"] = _sigmas(config.default_sigma, {k: factors.get(("sigma", k), 1.0) for k in places})
    default = config.config_type_sigma.get("default", config.default_sigma)
    own_types = {t for t, kind, _ in parameters.of_group if ("sigma", kind) not in factors and kind in places}
    types = sorted({*config.config_type_sigma, *own_types})
    for config_type in types:
        of_type = {kind: factors.get(("sigma", kind), 1.0) for kind in places}
        of_type |= {kind: np.exp(x[number]) for (t, kind, _), number in parameters.of_group.items() if t == config_type}
        start = config.config_type_sigma.get(config_type, default)
        values.setdefault("config_type_sigma", {})[config_type] = _sigmas(start, of_type)
    return values


def _places() -> list[str]:
    """The observables of `default_sigma`, in its order."""
    found = {o.sigma.place: name for name, o in OBSERVABLES.items() if o.sigma.place is not None}
    return [found[place] for place in sorted(found)]


def _sigmas(start: tuple[float, ...], factors: dict[str, float]) -> list[float]:
    """`default_sigma` times the factors."""
    return [_product(value, factors[kind]) for value, kind in zip(start, _places(), strict=False)]


def _product(value: float, factor: float) -> float:
    return rounded(value * factor, 12)
