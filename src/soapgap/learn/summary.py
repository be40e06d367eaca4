"""What the user sees at the end: a table of errors, a JSON file of them, and parity plots."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = [q for q in QUANTITIES if any(len(c[q].reference) for c in comparisons.values())]
    figure = Figure(figsize=(4.2 * len(present), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, quantity in zip(np.atleast_1d(figure.subplots(1, len(present))), present, strict=True):
        _parity(axes, quantity, comparisons)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    write_atomically(path, content.getvalue())


def _parity(axes, quantity: str, comparisons: dict[str, dict[str, Comparison]]) -> None:
    label, unit = LABELS[quantity]
    for data, colour in (("train", "tab:blue"), ("test", "tab:orange")):
        comparison = comparisons.get(data, {}).get(quantity)
        if comparison is not None and len(comparison.reference):
            rmse = np.sqrt(np.mean((comparison.predicted - comparison.reference) ** 2))
            axes.plot(comparison.reference, comparison.predicted, ".", ms=3, color=colour, rasterized=True,
                      label=f"{data}, RMSE {rmse:.3g} {unit}")
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color="0.4", lw=0.8, zorder=0)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", title=label,
             xlabel=f"reference ({unit})", ylabel=f"model ({unit})")
    axes.legend(fontsize=8)
