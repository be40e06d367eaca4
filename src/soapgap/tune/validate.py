"""Errors of the best settings on training data that the fit has not seen: one structure left out, and learning curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soapgap import figures
from soapgap.data.observables import OBSERVABLES
from soapgap.tune.grouped import TallRows, each_structure, split
from soapgap.tune.likelihood import combine, left_out_residuals, residuals, weights_of
from soapgap.tune.objectives import trained_triangle
from soapgap.tune.trial import Tuned

WORST = 10


def scaled_rows(tuned: Tuned) -> Iterator[tuple[int, list]]:
    """Number of every structure with its rows by kind and the factors of their sigmas, [(part, rows, f), ...]."""
    p = tuned.prepared
    for number, rows in each_structure(p.design, p.evaluators(), p.structures, p.problem.targets):
        yield number, [(part, own, tuned.parameters.noise(tuned.x, tuned.parameters.group(part.label)))
                       for part, own in split(rows, p.parts[number])]


def leave_one_out(tuned: Tuned, advance=lambda amount: None) -> dict[str, Any]:
    """Errors of every structure by the fit to all others, from a second pass over the rows.

    Returns
    -------
    result : "errors", {config_type or "all": {kind: {"n", "rmse", "mae"}}} in error units, and
        "worst", the structures with the largest residuals in units of sigma: place, config_type and root mean square
    """
    triangle = trained_triangle(tuned.system, tuned.parameters, tuned.x)
    collected: dict[tuple[str, str], list[np.ndarray]] = {}
    strange = []
    for number, parts in scaled_rows(tuned):
        structure = tuned.prepared.structures[number]
        if parts:
            found = left_out_residuals(np.concatenate([rows / f for _, rows, f in parts]), triangle)
            strange.append((float(np.sqrt(np.mean(found**2))), structure))
            first = 0
            for part, rows, f in parts:
                error = found[first:first + len(rows)] * f * part.unit
                first += len(rows)
                for config_type in {"all", structure.config_type}:
                    collected.setdefault((config_type, part.label.kind), []).append(error)
        advance(structure.effort)
    strange.sort(key=lambda item: -item[0])
    worst = [{"where": s.where, "config_type": s.config_type, "rms_in_sigma": round(rms, 2)} for rms, s in strange[:WORST]]
    return {"errors": _table(collected), "worst": worst}


def _table(collected: dict[tuple[str, str], list[np.ndarray]]) -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = {"all": {}}
    for (config_type, kind), parts in sorted(collected.items()):
        error = np.concatenate(parts) * OBSERVABLES[kind].factor
        table.setdefault(config_type, {})[kind] = {"n": len(error), "rmse": float(np.sqrt(np.mean(error**2))),
                                                   "mae": float(np.mean(np.abs(error)))}
    return table if len(table) != 2 else {"all": table["all"]}


def default_sizes(n_frames: int) -> tuple[int, ...]:
    """Numbers of training frames, each about half the next, down to a sixteenth."""
    return tuple(sorted({max(1, round(n_frames / 2**k)) for k in range(5)}))


def learning_curve(tuned: Tuned, sizes: Sequence[int], n_seeds: int, seed: int, advance=lambda amount: None) -> dict[str, Any]:
    """Errors on folds that are left out, against the number of training frames.

    For seed s the fold s (modulo the number of folds) is left out; the other frames are drawn in a random order and the
    first n of them are fitted, so that the smaller sets are parts of the larger ones. Sparse points are the same for all.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of frames n; those that are larger than what is there are cut down to it.

    Returns
    -------
    dict
        "sizes", "seeds", and "errors", {kind: [[RMSE of every seed] of every size]} in error units.
    """
    folds = np.array([parts[0].label.fold if parts else -1 for parts in tuned.prepared.parts])
    held_out = [k % tuned.system.n_folds for k in range(n_seeds)]
    most = min(np.count_nonzero((folds != fold) & (folds >= 0)) for fold in held_out)
    sizes = sorted({min(int(n), int(most)) for n in sizes})
    steps = [_steps(folds, fold, sizes, [seed, 3, k]) for k, fold in enumerate(held_out)]
    bins = _fold_in(tuned, steps, len(sizes), advance)
    prior = tuned.system.prior.triangle(tuned.parameters.scales(tuned.x))
    kinds = tuned.system.kinds()
    errors = {kind: [[0.0] * n_seeds for _ in sizes] for kind in kinds}
    for k, fold in enumerate(held_out):
        triangle = prior
        left_out = {kind: [g for g in tuned.system.groups if g.label.fold == fold and g.label.kind == kind] for kind in kinds}
        for place in range(len(sizes)):
            triangle = combine(triangle, [bins[k][place]])
            weights = weights_of(triangle)
            for kind, groups in left_out.items():
                squares = sum(float(np.sum(residuals(g.errors, weights) ** 2)) for g in groups)
                n = max(1, sum(g.rows.n_rows for g in groups))
                errors[kind][place][k] = OBSERVABLES[kind].factor * float(np.sqrt(squares / n))
    return {"sizes": sizes, "seeds": n_seeds, "units": {kind: OBSERVABLES[kind].error_unit for kind in kinds}, "errors": errors}


def _steps(folds: np.ndarray, held_out: int, sizes: Sequence[int], seed: Sequence[int]) -> np.ndarray:
    """The first size at which every structure is fitted, -1 if at none."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero((folds != held_out) & (folds >= 0)))
    steps = np.full(len(folds), -1)
    for place in reversed(range(len(sizes))):
        steps[order[:sizes[place]]] = place
    return steps


def _fold_in(tuned: Tuned, steps: Sequence[np.ndarray], n_sizes: int, advance) -> list[list[np.ndarray]]:
    """One triangle for every seed and step between two sizes, in one pass over the rows."""
    n_columns = tuned.system.prior.n_columns
    n_rows = [sum(len(part.sigma) for part in parts) for parts in tuned.prepared.parts]
    tall = [[TallRows(sum(n for n, at in zip(n_rows, of_seed, strict=True) if at == place), n_columns)
             for place in range(n_sizes)] for of_seed in steps]
    for number, parts in scaled_rows(tuned):
        block = [rows / f for _, rows, f in parts]
        for of_seed, mine in zip(steps, tall, strict=True):
            if block and of_seed[number] >= 0:
                mine[of_seed[number]].add(np.concatenate(block))
        advance(tuned.prepared.structures[number].effort)
    return [[t.finish() for t in mine] for mine in tall]


def plot_curve(path: Path, curve: dict[str, Any]) -> None:
    """The learning curve as a PNG file: mean over the seeds, and the range from the smallest to the largest.

    Raises
    ------
    ImportError
        matplotlib is not installed (`pip install soapgap[plot]`).
    """
    with figures.drawing(4.2 * len(curve["errors"]), 3.6, 1, len(curve["errors"])) as (figure, panels):
        for axes, (kind, values) in zip(panels[0], curve["errors"].items(), strict=True):
            errors = np.array(values)
            figures.learning_curve(axes, curve["sizes"], {"RMSE, left out": errors.mean(axis=1)}, curve["units"][kind],
                                   OBSERVABLES[kind].label, (errors.min(axis=1), errors.max(axis=1)))
        figures.save(figure, path)
