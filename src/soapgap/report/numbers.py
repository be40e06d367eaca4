"""The numbers of a report: errors by config_type and by species, histograms, outliers, what the data are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soapgap.data.dataset import Dataset
from soapgap.data.observables import OBSERVABLES
from soapgap.learn.errors import Comparison

Comparisons = Mapping[str, Mapping[str, Comparison]]  # "train" or "test": quantity: Comparison

N_OUTLIERS, MOST_BINS = 6, 61
PERCENTILES = (50, 90, 99)


def error_entry(reference: np.ndarray, predicted: np.ndarray, scale: float) -> dict[str, Any]:
    """n, mae, rmse, the percentiles 50, 90 and 99 of |error|, max, and spread, the standard deviation of the reference."""
    size = scale * np.abs(predicted - reference)
    percentiles = np.percentile(size, PERCENTILES)
    return {
        "n": len(size),
        "mae": float(size.mean()),
        "rmse": float(np.sqrt(np.mean(size**2))),
        **{f"p{p}": float(value) for p, value in zip(PERCENTILES, percentiles, strict=True)},
        "max": float(size.max()),
        "spread": scale * float(np.std(reference)),
    }


def errors_by(comparisons: Mapping[str, Comparison], what: str) -> dict[str, dict[str, Any]]:
    """Errors by group.

    Parameters
    ----------
    what : "types" (config_type, with "all" first) or "species" (of the atom, for forces and local energies)

    Returns
    -------
    {group: {quantity: `error_entry`}} in error units
    """
    groups = sorted({str(name) for c in comparisons.values() for name in np.unique(getattr(c, what))} - {""})
    table: dict[str, dict[str, Any]] = {group: {} for group in (["all", *groups] if what == "types" else groups)}
    for quantity, c in comparisons.items():
        for group in table:
            chosen = np.ones(len(c.reference), bool) if group == "all" else getattr(c, what) == group
            if chosen.any():
                table[group][quantity] = error_entry(c.reference[chosen], c.predicted[chosen], OBSERVABLES[quantity].factor)
    return table


def histograms(comparisons: Comparisons) -> dict[str, Any]:
    """Distribution of the errors (predicted - reference) of each observable, the same bins for train and test.

    The bins reach to the largest 99.5th percentile of |error|; "outside" counts what is beyond.

    Returns
    -------
    {quantity: {"edges": (n + 1,), label: {"counts": (n,), "outside": number}}} in error units
    """
    found = {}
    for quantity, observable in OBSERVABLES.items():
        errors = {label: observable.factor * (parts[quantity].predicted - parts[quantity].reference)
                  for label, parts in comparisons.items() if quantity in parts and len(parts[quantity].reference)}
        if not errors:
            continue
        reach = max(float(np.percentile(np.abs(e), 99.5)) for e in errors.values()) or 1e-12
        n_bins = int(np.clip(2.0 * np.sqrt(max(map(len, errors.values()))), 15, MOST_BINS)) | 1  # odd: one bin is around zero
        edges = np.linspace(-reach, reach, n_bins + 1)
        found[quantity] = {"edges": edges.tolist()}
        for label, e in errors.items():
            counts = np.histogram(e, edges)[0]
            found[quantity][label] = {"counts": counts.tolist(), "outside": int(len(e) - counts.sum())}
    return found


def outliers(comparison: Comparison, quantity: str, data: Dataset, n: int = N_OUTLIERS) -> list[dict[str, Any]]:
    """The frames that the model misses most, each with its worst value, worst first; of forces, the atom with the longest
    difference vector.

    Returns
    -------
    list of {"frame", "config_type", "atom" and "species" (None if there is none), "component" ("xx"; None unless virial),
    "reference", "predicted" (numbers, for forces three), "error" (its size), "times_rmse"}; error units
    """
    if len(comparison.reference) == 0:
        return []
    observable = OBSERVABLES[quantity]
    width, names = observable.vector, observable.component_names
    reference, predicted = (observable.factor * v.reshape(-1, width) for v in (comparison.reference, comparison.predicted))
    size = np.linalg.norm(predicted - reference, axis=1)
    rms = float(np.sqrt(np.mean(size**2))) or 1.0
    order = np.argsort(-size, kind="stable")
    first = np.unique(comparison.frames[::width][order], return_index=True)[1]  # the worst value of every frame
    entries = []
    for k in order[np.sort(first)[:n]].tolist():
        frame, atom = int(comparison.frames[k * width]), int(comparison.atoms[k * width])
        structure = data.structures[frame]
        pair = (reference[k].tolist(), predicted[k].tolist())
        entries.append({
            "frame": structure.where.removesuffix(" (counted from 0)"),
            "config_type": structure.config_type,
            "atom": atom if atom >= 0 else None,
            "species": str(comparison.species[k * width]) or None,
            "component": names[k % len(names)] if names else None,
            "reference": pair[0] if width > 1 else pair[0][0],
            "predicted": pair[1] if width > 1 else pair[1][0],
            "error": float(size[k]),
            "times_rmse": float(size[k]) / rms,
        })
    return entries


def describe_data(data: Dataset) -> dict[str, Any]:
    """Files, fingerprint, counts, atoms by species, and what each config_type holds."""
    species = data.species
    types: dict[str, dict[str, Any]] = {}
    for s in data.structures:
        row = types.setdefault(s.config_type, {"frames": 0, "atoms": 0, "energies": 0, "force_components": 0, "virials": 0,
                                               "smallest": len(s.atoms), "largest": 0})
        row["frames"] += 1
        row["atoms"] += len(s.atoms)
        row["energies"] += s.energy is not None
        row["force_components"] += OBSERVABLES["force"].n_rows(s)
        row["virials"] += s.virial is not None
        row["smallest"], row["largest"] = min(row["smallest"], len(s.atoms)), max(row["largest"], len(s.atoms))
    symbols = np.concatenate([s.symbols for s in data.structures])
    return {
        "files": list(data.files),
        "sha256": data.sha256,
        "counts": data.counts(),
        "species": {symbol: int(np.count_nonzero(symbols == symbol)) for symbol in species},
        "config_types": dict(sorted(types.items())),
    }
