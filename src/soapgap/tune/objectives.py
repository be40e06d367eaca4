"""What tuning minimises, as functions of the logarithms of the factors by which sigmas and deltas are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from soapgap.data.observables import OBSERVABLES
from soapgap.tune.grouped import Group, Label, merge, merge_rows
from soapgap.tune.likelihood import (
    Covariances,
    combine,
    evidence,
    leave_each_out,
    residuals,
    weights_by_scale,
    weights_of,
)

DECADE = np.log(10.0)
FACTOR = 1000.0  # how far a sigma or a delta may go from its start
LIKELIHOOD_PULL = 1.0  # what a decade away from the start adds to -2 log p: nothing beside an observation, ...
FOLD_PULL = 1e-3  # ... and to the logarithm of an error: a tenth of a per cent
MIN_ROWS = 20  # fewer observations do not determine a sigma of their own


@dataclass(frozen=True)
class System:
    """The triangles of a configuration.

    Attributes
    ----------
    groups : sequence of Group
        Rows by fold, config_type and kind of observation.
    prior : Covariances
        K_mm of every kernel.
    terms : sequence of int
        Term of the configuration that every kernel belongs to.
    """

    groups: Sequence[Group]
    prior: Covariances
    terms: Sequence[int]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return 1 + max(group.label.fold for group in self.groups)

    def kinds(self) -> list[str]:
        """Kinds of observations that occur."""
        present = {group.label.kind for group in self.groups}
        return [kind for kind in OBSERVABLES if kind in present]


@dataclass(frozen=True)
class TunedParameters:
    """Which sigmas and deltas are tuned, and which of them share a factor.

    Attributes
    ----------
    names : tuple of tuple
        Of every parameter: ("delta", term), ("sigma", kind) or ("sigma", kind, config_type).
    of_kernel : ndarray
        (n_kernels,) parameter of its delta, -1 if none.
    of_group : dict
        Parameter of the sigma of a group, by (config_type, kind, own); absent if none.
    bounds : ndarray
        (n, 2) of the logarithms of the factors.
    """

    names: tuple[tuple, ...]
    of_kernel: np.ndarray
    of_group: dict[tuple[str, str, bool], int]
    bounds: np.ndarray

    def group(self, label: Label) -> int:
        """Parameter of a group, -1 if its sigma stays."""
        return self.of_group.get((label.config_type, label.kind, label.own), -1)

    def noise(self, x: np.ndarray, parameter: int) -> float:
        """Factor of the sigmas of a group."""
        return 1.0 if parameter < 0 else float(np.exp(x[parameter]))

    def scales(self, x: np.ndarray) -> np.ndarray:
        """Factors of the deltas of all kernels."""
        return np.where(self.of_kernel < 0, 1.0, np.exp(np.append(x, 0.0)[self.of_kernel]))

    def gather(self, by_kernel: np.ndarray) -> np.ndarray:
        """Derivatives by the logarithms of kernels' factors, as those by the parameters."""
        gradient = np.zeros(len(self.names))
        chosen = self.of_kernel >= 0
        np.add.at(gradient, self.of_kernel[chosen], by_kernel[chosen])
        return gradient


def make_parameters(system: System, sigmas: str, deltas: bool) -> TunedParameters:
    """One factor for the delta of each term and for sigmas.

    Parameters
    ----------
    sigmas : "kind", one factor for each kind of observation; "config_type", one for each kind and type of frames (types
        with fewer than 20 observations of it go with the type that has most); "fixed"
    deltas : bool
        False to leave the deltas alone.
    """
    names: list[tuple] = []
    of_kernel = np.full(len(system.terms), -1)
    bounds = []
    largest = np.log(system.prior.largest_scales)
    if deltas:
        for term in sorted(set(system.terms)):
            members = [k for k, t in enumerate(system.terms) if t == term]
            of_kernel[members] = len(names)
            names.append(("delta", term))
            bounds.append((-np.log(FACTOR), min(np.log(FACTOR), max(0.0, largest[members].min()))))
    of_group: dict[tuple[str, str, bool], int] = {}
    for key, name in _sigma_names(system, sigmas).items():
        if name not in names:
            names.append(name)
            bounds.append((-np.log(FACTOR), np.log(FACTOR)))
        of_group[key] = names.index(name)
    return TunedParameters(tuple(names), of_kernel, of_group, np.array(bounds).reshape(-1, 2))


def _sigma_names(system: System, sigmas: str) -> dict[tuple[str, str, bool], tuple]:
    """Name of the parameter of every kind of group that has one."""
    counts: dict[tuple[str, str], int] = {}
    for group in system.groups:
        if not group.label.own and sigmas != "fixed":
            key = (group.label.config_type, group.label.kind)
            counts[key] = counts.get(key, 0) + group.rows.n_rows
    names: dict[tuple[str, str, bool], tuple] = {}
    for (config_type, kind), n_rows in counts.items():
        of_kind = {t: n for (t, k), n in counts.items() if k == kind}
        if sum(of_kind.values()) < MIN_ROWS or not OBSERVABLES[kind].sigma.configured:
            continue
        if sigmas == "kind" or OBSERVABLES[kind].sigma.place is None:  # which has one sigma in the configuration
            names[config_type, kind, False] = ("sigma", kind)
        else:
            names[config_type, kind, False] = ("sigma", kind,
                                               config_type if n_rows >= MIN_ROWS else max(of_kind, key=of_kind.__getitem__))
    return names


class LikelihoodObjective:
    """-2 log p of the data, with a weak pull towards the configured values."""

    pull = LIKELIHOOD_PULL

    def __init__(self, system: System, parameters: TunedParameters) -> None:
        self._prior, self._parameters = system.prior, parameters
        by_parameter: dict[int, list] = {}
        for group in system.groups:
            by_parameter.setdefault(parameters.group(group.label), []).append(group.rows)
        self._numbers = list(by_parameter)
        self._rows = [merge_rows(rows) for rows in by_parameter.values()]

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """-2 log p and its gradient."""
        p = self._parameters
        found = evidence(self._rows, self._prior, np.array([p.noise(x, n) for n in self._numbers]), p.scales(x))
        gradient = p.gather(found.by_scale)
        for number, slope in zip(self._numbers, found.by_noise, strict=True):
            if number >= 0:
                gradient[number] += slope
        return found.value, gradient


class FoldObjective:
    """Logarithm of the k-fold error, sum over kinds of w log RMSE, with a weak pull towards the configured values.

    `energy_weight` is w of energies (or local energies); the other kinds share the rest. RMSE in meV/atom, eV/A, ...
    """

    pull = FOLD_PULL

    def __init__(self, system: System, parameters: TunedParameters, energy_weight: float) -> None:
        self._prior, self._parameters, self._n_folds = system.prior, parameters, system.n_folds
        self.weights = kind_weights(system.kinds(), energy_weight)
        self._kinds = list(self.weights)
        self._counts = np.zeros(len(self._kinds))
        training: dict[tuple[int, int], list] = {}
        errors: dict[tuple[int, int], list] = {}
        for group in system.groups:
            label, kind = group.label, self._kinds.index(group.label.kind)
            training.setdefault((label.fold, parameters.group(label)), []).append(group.rows.triangle)
            errors.setdefault((label.fold, kind), []).append(group.errors)
            self._counts[kind] += group.rows.n_rows
        self._training = {key: merge(blocks) for key, blocks in training.items()}
        self._errors = {key: merge(blocks) for key, blocks in errors.items()}

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Logarithm of the error and its gradient."""
        scales = self._parameters.scales(x)
        scaled = [[t / self._parameters.noise(x, number) for (fold, number), t in self._training.items() if fold == f]
                  for f in range(self._n_folds)]
        squares, slopes = np.zeros(len(self._kinds)), np.zeros((len(self._kinds), len(self._parameters.names)))
        for fold, triangle in leave_each_out(self._prior.triangle(scales), scaled):
            self._add_fold(fold, triangle, x, scales, squares, slopes)
        units = np.array([OBSERVABLES[kind].factor for kind in self._kinds])
        weights = np.array(list(self.weights.values()))
        squares = np.maximum(squares, np.finfo(float).tiny)
        value = float(weights @ np.log(units * np.sqrt(squares / self._counts)))
        return value, (weights / (2.0 * squares)) @ slopes

    def _add_fold(self, fold: int, triangle: np.ndarray, x: np.ndarray, scales: np.ndarray, squares: np.ndarray,
                  slopes: np.ndarray) -> None:
        """Squares of the errors of the fold that is left out, and their derivatives through the weights beta.

        With g the gradient of a square by beta and z = (R^T R)^-1 g, the derivative by log f of a group is
        2 f^-2 (T z) . (T beta - t), that by log s of a kernel -z . dP/d(log s) beta.
        """
        weights, r = weights_of(triangle), triangle[:-1, :-1]
        left = [(n, t) for (f, n), t in self._training.items() if f != fold and n >= 0]
        gone = [residuals(t, weights) for _, t in left]
        for kind in range(len(self._kinds)):
            rows = self._errors.get((fold, kind))
            if rows is None:
                continue
            error = residuals(rows, weights)
            squares[kind] += error @ error
            along = solve_triangular(r, solve_triangular(r, -2.0 * (rows[:, :-1].T @ error), trans="T"))
            slopes[kind] += self._parameters.gather(weights_by_scale(self._prior, scales, weights, along))
            for (number, t), residual in zip(left, gone, strict=True):
                f = self._parameters.noise(x, number)
                slopes[kind, number] -= 2.0 / f**2 * (t[:, :-1] @ along) @ residual


def kind_weights(kinds: Sequence[str], energy_weight: float) -> dict[str, float]:
    """Weights of the kinds that occur, with sum 1: `energy_weight` for energies, the rest in equal parts for the others."""
    energies = [kind for kind in kinds if OBSERVABLES[kind].order == 0]
    others = [kind for kind in kinds if OBSERVABLES[kind].order > 0]
    share = energy_weight if energies and others else float(bool(energies))
    return {kind: share / len(energies) if kind in energies else (1.0 - share) / len(others) for kind in kinds}


def fold_errors(system: System, parameters: TunedParameters, x: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """Root mean square k-fold errors by config_type and kind.

    Returns
    -------
    errors : {config_type or "all": {kind: {"n", "rmse"}}} in error units
    """
    folds: list[list[Group]] = [[] for _ in range(system.n_folds)]
    for group in system.groups:
        folds[group.label.fold].append(group)
    scaled = [[g.rows.triangle / parameters.noise(x, parameters.group(g.label)) for g in fold] for fold in folds]
    sums: dict[tuple[str, str], list[float]] = {}
    for number, triangle in leave_each_out(system.prior.triangle(parameters.scales(x)), scaled):
        weights = weights_of(triangle)
        for group in folds[number]:
            error = residuals(group.errors, weights)
            for config_type in {"all", group.label.config_type}:
                entry = sums.setdefault((config_type, group.label.kind), [0.0, 0])
                entry[0] += float(error @ error)
                entry[1] += group.rows.n_rows
    table: dict[str, dict[str, dict[str, float]]] = {"all": {}}
    for (config_type, kind), (square, n) in sorted(sums.items()):
        table.setdefault(config_type, {})[kind] = {"n": n, "rmse": OBSERVABLES[kind].factor * float(np.sqrt(square / n))}
    if len(table) == 2:
        table = {"all": table["all"]}
    return table


def trained_triangle(system: System, parameters: TunedParameters, x: np.ndarray) -> np.ndarray:
    """The triangle of all rows and U, (M + 1, M + 1), with these sigmas and deltas."""
    rows = [g.rows.triangle / parameters.noise(x, parameters.group(g.label)) for g in system.groups]
    return combine(system.prior.triangle(parameters.scales(x)), rows)
