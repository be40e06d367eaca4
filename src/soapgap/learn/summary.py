"""What the user sees at the end: a table of errors, a JSON file of them, and parity plots."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from soapgap import figures
from soapgap.data.observables import OBSERVABLES, error_units
from soapgap.files import write_atomically
from soapgap.learn.errors import Comparison


def error_table(errors: dict[str, dict]) -> Table:
    """Table of errors.

    Parameters
    ----------
    errors : {"train": ..., "test": ...} of `validate.errors`
    """
    present = [o for name, o in OBSERVABLES.items() if any(name in e for groups in errors.values() for e in groups.values())]
    table = Table(title="errors", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    for heading in ("data", "config_type"):
        table.add_column(heading)
    for observable in present:
        for measure in ("MAE", "RMSE"):
            table.add_column(f"{observable.words}\n{measure}\n{observable.error_unit}", justify="right")
    for data, groups in errors.items():
        for group, entry in groups.items():
            cells = [f"{entry[o.name][measure]:.{o.decimals}f}" if o.name in entry else ""
                     for o in present for measure in ("mae", "rmse")]
            table.add_row(data, group, *cells)
    return table


def write_errors(path: Path, errors: dict, training: dict) -> None:
    """The errors and what they belong to, as JSON."""
    content = {"units": error_units(), "errors": errors, "training": training}
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_parity_plots(path: Path, comparisons: dict[str, dict[str, Comparison]]) -> None:
    """Predictions against reference, one panel per quantity, train and test, as a PNG file.

    Parameters
    ----------
    comparisons : {"train": ..., "test": ...} of `validate.compare`

    Raises
    ------
    ImportError
        matplotlib is not installed (`pip install soapgap[plot]`).
    """
    present = [o for name, o in OBSERVABLES.items() if any(len(c[name].reference) for c in comparisons.values())]
    with figures.drawing(4.2 * len(present), 4.0, 1, len(present)) as (figure, panels):
        for axes, observable in zip(panels[0], present, strict=True):
            unit, found = observable.unit, {data: c[observable.name] for data, c in comparisons.items()}
            parts = {data: (c.reference, c.predicted) for data, c in found.items() if len(c.reference)}
            rmse = {data: np.sqrt(np.mean((predicted - reference) ** 2)) for data, (reference, predicted) in parts.items()}
            figures.parity(axes, parts, unit, observable.label,
                           {data: f"{data}, RMSE {value:.3g} {unit}" for data, value in rmse.items()})
        figures.save(figure, path)
