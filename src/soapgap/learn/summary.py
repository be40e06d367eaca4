"""What the user sees at the end: a table of errors, a JSON file of them, and parity plots."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from soapgap import figures
from soapgap.files import write_atomically
from soapgap.learn.errors import QUANTITIES, Comparison

LABELS = {
    "energy": ("energy", "eV/atom"),
    "force": ("force component", "eV/A"),
    "virial": ("virial component", "eV/atom"),
    "local_energy": ("energy of an atom", "eV"),
    "curvature": ("curvature", "eV/A^2"),
}


def error_table(errors: dict[str, dict]) -> Table:
    """Table of errors.

    Parameters
    ----------
    errors : {"train": ..., "test": ...} of `validate.errors`
    """
    present = [q for q in QUANTITIES if any(q in entry for groups in errors.values() for entry in groups.values())]
    table = Table(title="errors", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    for heading in ("data", "config_type"):
        table.add_column(heading)
    for quantity in present:
        for measure in ("MAE", "RMSE"):
            table.add_column(f"{quantity.replace('_', ' ')}\n{measure}\n{QUANTITIES[quantity]}", justify="right")
    for data, groups in errors.items():
        for group, entry in groups.items():
            cells = []
            for quantity in present:
                for measure in ("mae", "rmse"):
                    cells.append(_number(quantity, entry[quantity][measure]) if quantity in entry else "")
            table.add_row(data, group, *cells)
    return table


def _number(quantity: str, value: float) -> str:
    return f"{value:.4f}" if quantity in ("force", "curvature") else f"{value:.2f}"


def write_errors(path: Path, errors: dict, training: dict) -> None:
    """The errors and what they belong to, as JSON."""
    content = {"units": QUANTITIES, "errors": errors, "training": training}
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
    present = [q for q in QUANTITIES if any(len(c[q].reference) for c in comparisons.values())]
    with figures.drawing(4.2 * len(present), 4.0, 1, len(present)) as (figure, panels):
        for axes, quantity in zip(panels[0], present, strict=True):
            label, unit = LABELS[quantity]
            parts = {data: (c[quantity].reference, c[quantity].predicted) for data, c in comparisons.items()
                     if len(c[quantity].reference)}
            rmse = {data: np.sqrt(np.mean((predicted - reference) ** 2)) for data, (reference, predicted) in parts.items()}
            figures.parity(axes, parts, unit, label, {data: f"{data}, RMSE {value:.3g} {unit}" for data, value in rmse.items()})
        figures.save(figure, path)
