"""Trials and learning curve for a report, from the log of `soapgap tune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from soapgap.learn.tune_log import CURVE, TRIAL, TuneLog


def read_tuning(path: Path, sha256: str) -> dict[str, Any]:
    """What MODEL.tune.jsonl says about these training data.

    Only trials with the last objective and on all frames are comparable; others are left out.

    Parameters
    ----------
    path : Path
        The log; nothing is known if it does not exist.
    sha256 : str
        Of the training data.

    Returns
    -------
    "tuning", "tuning_objective" and "learning_curve" of a `ReportInput`; empty if the log has no trial of these data

    Raises
    ------
    InputError
        The log cannot be read.
    """
    entries = TuneLog(path).entries
    trials = [e for e in entries if e.get("event") == TRIAL and e.get("data_sha256") == sha256]
    if not trials:
        return {}
    objective, most = trials[-1]["objective"], max(e["n_frames"] for e in trials)
    shown = [_trial(e) for e in trials if e["objective"] == objective and e["n_frames"] == most]
    curves = [e["result"] for e in entries if e.get("event") == CURVE]
    return {"tuning": shown, "tuning_objective": f"objective ({objective})",
            "learning_curve": _curve(curves[-1]) if curves else []}


def _trial(entry: Mapping[str, Any]) -> dict[str, Any]:
    errors = {kind: values["rmse"] for kind, values in entry["errors"]["all"].items()}
    return {"parameters": dict(entry["settings"]), "objective": entry["value"], "rmse": errors,
            "seconds": sum(entry["seconds"].values())}


def _curve(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Root mean square over the seeds, with the lowest and the highest."""
    points = []
    for place, n in enumerate(curve["sizes"]):
        of_size = {kind: np.array(values[place]) for kind, values in curve["errors"].items()}
        points.append({"n_frames": n, "errors": {kind: {"rmse": float(np.sqrt(np.mean(v**2))), "lowest": float(v.min()),
                                                        "highest": float(v.max())} for kind, v in of_size.items()}})
    return points
