"""What a report is made of, and its JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import soapgap
from soapgap.data.dataset import Dataset
from soapgap.data.environments import shortest_distances
from soapgap.data.observables import OBSERVABLES, error_units
from soapgap.learn.baseline.baseline import Pair
from soapgap.model import Model
from soapgap.report.model_checks import check_model
from soapgap.report.numbers import Comparisons, describe_data, errors_by, histograms, outliers


@dataclass
class ReportInput:
    """Everything that a report shows.

    Attributes
    ----------
    model : Model
        The fitted model.
    name : str
        Of its file.
    train, test : Dataset
        The data; no test data: None.
    comparisons : {"train": {quantity: Comparison}, "test": ...} of `validate.compare`, of all structures in their order
    config : mapping of str to object or None
        The whole configuration as JSON values (`FitConfig.recorded`), None if it is not known.
    shortest : mapping of Pair to float or None
        Shortest training distance (A) of the pairs of species; computed if it is not given.
    warnings : sequence of str
        What the fit has warned of.
    seconds : mapping of str to float
        Wall time by step.
    planned_seconds, planned_bytes : float or None
        What the estimate said.
    planned_parts : bytes by purpose
    peak_bytes : int or None
        Most memory that the process has held.
    threads : int
        Of the fit.
    condition : {what: {"condition": number, "jitter": number, ...}}
    sparse_map : sequence of (str, object)
        (caption, matplotlib figure).
    learning_curve : {"n_frames": number, "errors": {quantity: {"rmse", or also "mae", "lowest", "highest"}}}, of frames that
        were not fitted, in the units of `validate.errors`
    tuning : sequence of mapping of str to object
        Trials in their order, {"parameters": {name: value}, "objective": number, smaller is better, or None if it failed,
        "rmse": {quantity: number}, "seconds": number}; the last two may be missing (`soapgap.report.tuning.read_tuning`).
    tuning_objective : str
        What the objective is.
    check_seconds : float
        Phonons of a crystal are not begun if they would take longer.
    """

    model: Model
    name: str
    train: Dataset
    comparisons: Comparisons
    test: Dataset | None = None
    config: Mapping[str, Any] | None = None
    shortest: Mapping[Pair, float] | None = None
    warnings: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    planned_seconds: float | None = None
    planned_bytes: int | None = None
    planned_parts: Mapping[str, int] = field(default_factory=dict)
    peak_bytes: int | None = None
    threads: int = 1
    condition: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sparse_map: Sequence[tuple[str, Any]] = ()
    learning_curve: Sequence[Mapping[str, Any]] = ()
    tuning: Sequence[Mapping[str, Any]] = ()
    tuning_objective: str = "objective"
    check_seconds: float = 30.0


def report_content(source: ReportInput) -> dict[str, Any]:
    """All numbers of a report, as JSON values; the checks of the model are made here."""
    model = source.model
    data = {"train": source.train} | ({"test": source.test} if source.test is not None else {})
    shortest = source.shortest
    if shortest is None:
        cutoff = max((term.cutoff for term in model.terms), default=0.0)
        shortest = shortest_distances(source.train.structures, cutoff, model.species)
    checks = check_model(model, source.train.structures, shortest, source.threads, source.check_seconds)
    found = checks.pop("warnings")
    return plain({
        "program": f"soapgap {soapgap.__version__}",
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "model": describe_model(model, source.name),
        "config": None if source.config is None else dict(source.config),
        "data": {label: describe_data(one) for label, one in data.items()},
        "units": error_units(),
        "errors": {label: {"by_config_type": errors_by(parts, "types"), "by_species": errors_by(parts, "species")}
                   for label, parts in source.comparisons.items()},
        "histograms": histograms(source.comparisons),
        "outliers": {label: {q: worst for q in OBSERVABLES if q in parts and (worst := outliers(parts[q], q, data[label]))}
                     for label, parts in source.comparisons.items()},
        "checks": checks,
        "learning_curve": [dict(point) for point in source.learning_curve],
        "tuning": {"objective": source.tuning_objective, "trials": [dict(trial) for trial in source.tuning]},
        "condition": {name: dict(numbers) for name, numbers in source.condition.items()},
        "cost": {
            "seconds": dict(source.seconds),
            "planned_seconds": source.planned_seconds,
            "planned_bytes": source.planned_bytes,
            "planned_parts": dict(source.planned_parts),
            "peak_bytes": source.peak_bytes,
            "threads": source.threads,
        },
        "warnings": [*source.warnings, *(text for text in found if not _said(text, source.warnings))],
    })


def _said(text: str, warnings: Sequence[str]) -> bool:
    """The fit warns of attracting dimers as well, with the same first words."""
    return any(one.startswith(text.partition(" attracts ")[0]) for one in warnings)


def describe_model(model: Model, name: str) -> dict[str, Any]:
    """File, checksum, species and terms of a model."""
    return {
        "file": name,
        "checksum": model.checksum,
        "species": list(model.species),
        "e0": {symbol: float(model.e0[symbol]) for symbol in model.species},
        "cutoff": max((float(term.cutoff) for term in model.terms), default=0.0),
        "terms": [{"kind": term.name, "species": term.shown_species.replace("-", "–"), "cutoff": float(term.cutoff),
                   "n_sparse": term.n_sparse} for term in model.terms],
    }


def plain(value: Any) -> Any:
    """As JSON knows it: no numpy types, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def as_text(content: Mapping[str, Any]) -> str:
    """The content of MODEL.report.json."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
