"""What a search says: a line for each trial, a table of all, warnings about the best."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from soapgap.data.observables import OBSERVABLES
from soapgap.tune.config import TuneConfig

WORSE = 1.02  # an error that grew by more than this factor is worth a warning
CONFIDENT = 2.0  # an error so many times larger than its sigma shows that the likelihood trusts the rows too much


def described(settings: dict[str, Any]) -> str:
    """Settings of a trial in one line."""
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items()) or "as it is"


def _errors(errors: dict[str, dict]) -> str:
    return ", ".join(f"{OBSERVABLES[kind].words} {_with_unit(kind, entry['rmse'])}"
                     for kind, entry in errors["all"].items())


def number(kind: str, value: float) -> str:
    """An error of an observable, in its error unit."""
    return f"{value:.{OBSERVABLES[kind].decimals}f}"


def _with_unit(kind: str, value: float) -> str:
    return f"{number(kind, value)} {OBSERVABLES[kind].error_unit}"


def trial_line(trial: dict[str, Any]) -> str:
    """What was tried, and the k-fold errors."""
    seconds = sum(trial["seconds"].values())
    return f"{described(trial['settings'])}: RMSE {_errors(trial['errors'])} ({seconds:.0f} s)"


def trial_table(trials: Sequence[dict[str, Any]], objective: str) -> Table:
    """All trials, the best first."""
    kinds = list(trials[0]["errors"]["all"])
    table = Table(title="trials (root mean square k-fold errors, with tuned deltas and sigmas)", box=box.SIMPLE_HEAD,
                  pad_edge=False, collapse_padding=True, title_justify="left")
    table.add_column("settings")
    for kind in kinds:
        table.add_column(f"{OBSERVABLES[kind].words}\n{OBSERVABLES[kind].error_unit}", justify="right")
    table.add_column("log\nlikelihood", justify="right")
    table.add_column(f"objective\n({objective})", justify="right")
    table.add_column("seconds", justify="right")
    for trial in trials:
        cells = [number(kind, trial["errors"]["all"][kind]["rmse"]) for kind in kinds]
        table.add_row(described(trial["settings"]), *cells, f"{trial['log_likelihood']:.0f}", f"{trial['value']:.4f}",
                      f"{sum(trial['seconds'].values()):.0f}")
    return table


def errors_line(first: dict[str, Any], best: dict[str, Any]) -> list[str]:
    """The errors of the fit as it is, and what tuning made of them."""
    return [f"k-fold RMSE before: {_errors(first['errors_before'])}", f"k-fold RMSE after:  {_errors(best['errors'])}"]


def summary_warnings(best: dict[str, Any], settings: TuneConfig, values: dict[str, Any]) -> list[str]:
    """What is suspicious about the best trial."""
    found = []
    if best["at_bound"]:
        found.append(f"{', '.join(best['at_bound'])}: as far from the start as it may go; the data do not determine it, or the "
                     "start was far off")
    if settings.objective != "likelihood":
        return found
    found.append("the likelihood takes the errors of all force components for independent noise; those of a model that cannot "
                 "be exact are not, so that it is over-confident and may give energies too little weight: compare with "
                 'objective = "kfold"')
    for kind, entry in best["errors"]["all"].items():
        before, after = best["errors_before"]["all"][kind]["rmse"], entry["rmse"]
        if after > WORSE * before:
            found.append(f"the likelihood made the k-fold error of the {OBSERVABLES[kind].words} larger: from "
                         f"{number(kind, before)} to {_with_unit(kind, after)}")
    force = best["errors"]["all"].get("force")
    sigma = values.get("default_sigma", (0.0, math.inf))[OBSERVABLES["force"].sigma.place]
    if force and force["rmse"] > CONFIDENT * sigma:
        found.append(f"the k-fold error of the forces, {force['rmse']:.4f} eV/A, is more than {CONFIDENT:g} times their tuned "
                     f"sigma, {sigma:.4f} eV/A")
    return found


def left_out_lines(result: dict[str, Any]) -> list[str]:
    """Errors with one structure left out, and the strangest structures."""
    mae = ", ".join(f"{OBSERVABLES[kind].words} MAE {number(kind, e['mae'])} RMSE {_with_unit(kind, e['rmse'])}"
                    for kind, e in result["errors"]["all"].items())
    worst = "; ".join(f"{item['where']} ({item['config_type']}): {item['rms_in_sigma']:g} sigma"
                      for item in result["worst"][:3])
    return [f"one structure left out: {mae}", f"farthest from the others' fit: {worst}"]


def curve_line(curve: dict[str, Any]) -> str:
    """The learning curve in one line for each kind."""
    lines = ["learning curve (frames: mean RMSE over the seeds)"]
    for kind, values in curve["errors"].items():
        points = ", ".join(f"{n}: {number(kind, sum(v) / len(v))}" for n, v in zip(curve["sizes"], values, strict=True))
        lines.append(f"  {OBSERVABLES[kind].words} ({curve['units'][kind]})  {points}")
    return "\n".join(lines)
