"""How everything is drawn: one style, parity and learning curves, and figures as PNG, as SVG files or as part of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from soapgap.files import write_atomically

INK, SOFT, LINE, TRAIN, TEST, MARK = "#1f2937", "#667085", "#e4e8ee", "#3f7cc4", "#d9772b", "#b3372f"
#: On a page colours are CSS variables, so that a figure follows a light or a dark page.
VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", TRAIN: "var(--train)", TEST: "var(--test)",
             MARK: "var(--bad)"}
COLOURS = {"train": TRAIN, "test": TEST}
LARGEST_SVG = 400_000  # characters: a figure that would be larger becomes a picture
MANY = 20_000  # points; more are shown as a density
CELLS = 150
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.4,
    "mathtext.default": "regular",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "soapgap",
    "savefig.dpi": 160,
}


@contextmanager
def drawing(width: float, height: float, n_rows: int = 1, n_columns: int = 1, **options) -> Iterator[tuple]:
    """A figure in this style and its axes (n_rows, n_columns), sizes in inches; options are those of `subplots`.

    Raises
    ------
    ImportError
        matplotlib is not installed (`pip install soapgap[plot]`).
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(n_rows, n_columns, squeeze=False, **options)


def save(figure, path: Path) -> None:
    """Write a figure of `drawing` as PNG or SVG, as the suffix says; the file appears whole or not at all."""
    content, kind = io.BytesIO(), Path(path).suffix[1:]
    colours = {"facecolor": "white"} if kind == "png" else {"metadata": NO_METADATA}
    figure.savefig(content, format=kind, **colours)
    write_atomically(path, content.getvalue())


def svg(figure, name: str, label: str) -> str:
    """A figure of `drawing` as an `<svg>` element: no external reference, colours of the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Of the figure, unique on the page: all its ids depend on it.
    label : str
        What it shows, for those who cannot see it.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata=NO_METADATA)
    root = ElementTree.fromstring(text.getvalue())
    for element in root.iter():
        for child in [c for c in element if c.tag.endswith(("}metadata", "}style"))]:
            element.remove(child)
        names = {key: key.rpartition("}")[2] for key in element.keys()}
        element.attrib = {names[key]: value for key, value in element.items()}
        element.tag = element.tag.rpartition("}")[2]
        element.tail = element.text = (element.text or "").strip() or None
        if element.tag == "g":  # nothing refers to them
            element.attrib.pop("id", None)
    for key in ("width", "height", "version"):
        del root.attrib[key]
    root.attrib |= {"role": "img", "aria-label": label}
    content = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in VARIABLES.items():
        content = content.replace(colour, variable)
    return content


def picture(figure) -> str:
    """A figure of someone else as the source of an `<img>`: SVG data, or a PNG picture if that would be large."""
    data = io.BytesIO()
    figure.savefig(data, format="svg", bbox_inches="tight", facecolor="white")
    kind, content = "svg+xml", data.getvalue()
    if len(content) > LARGEST_SVG:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150, bbox_inches="tight", facecolor="white")
        kind, content = "png", data.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def parity(ax, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str, title: str,
           names: Mapping[str, str] | None = None) -> None:
    """Prediction against reference; a density if there are many values.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    parts : dict
        {"train" or "test": (reference, predicted)}, arrays of equal length.
    unit, title : str
    names : dict, optional
        What the legend says of a part, its key by default.
    """
    everything = np.concatenate([values for part in parts.values() for values in part])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.03 * (high - low) or 0.01 * abs(high) or 1.0
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, color=SOFT, lw=0.7, zorder=1)
    for order, (label, (reference, predicted)) in enumerate(parts.items(), 2):
        if len(reference) > MANY:
            _density(ax, reference, predicted, ends, COLOURS[label], order)
        else:
            ax.scatter(reference, predicted, s=5, color=COLOURS[label], alpha=0.6, linewidths=0, rasterized=True, zorder=order)
        ax.plot([], [], "o", ms=4, color=COLOURS[label], label=(names or {}).get(label, label))
    ax.set(xlim=ends, ylim=ends, xlabel=f"reference ({unit})", ylabel=f"model ({unit})", title=title)
    ax.set_box_aspect(1)
    ax.legend(loc="upper left")
    few_ticks(ax, 5, 5)


def _density(ax, x: np.ndarray, y: np.ndarray, ends: tuple[float, float], colour: str, order: int) -> None:
    """Counts in cells as opacity, on a logarithmic scale."""
    from matplotlib.colors import to_rgb

    counts = np.histogram2d(y, x, bins=CELLS, range=[ends, ends])[0]
    pixels = np.zeros((CELLS, CELLS, 4))
    pixels[..., :3] = to_rgb(colour)
    pixels[..., 3] = np.where(counts > 0, 0.5 + 0.5 * np.log1p(counts) / np.log1p(counts.max()), 0.0)
    ax.imshow(pixels, extent=(*ends, *ends), origin="lower", interpolation="nearest", zorder=order, aspect="auto")


def learning_curve(ax, sizes: Sequence[int], errors: Mapping[str, Sequence[float]], unit: str, title: str,
                   band: Sequence[Sequence[float]] = ()) -> None:
    """Errors of frames that were not fitted against the number of training frames, both logarithmic.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    sizes : sequence of int
        Numbers of training frames.
    errors : dict
        {name of the measure: values}, the first in the colour of test data.
    unit, title : str
    band : sequence of sequence of float, optional
        (lowest, highest): range over the draws of the frames.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for (name, values), colour in zip(errors.items(), (TEST, TRAIN)):
        ax.plot(sizes, values, "o-", ms=3.5, color=colour, label=name)
    if len(band):
        ax.fill_between(sizes, *band, color=TEST, alpha=0.15, lw=0)
    ax.set(xscale="log", yscale="log", xlabel="training frames", ylabel=f"error ({unit})", title=title)
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0), numticks=20))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.legend(loc="upper right")


def few_ticks(ax, n_x: int, n_y: int) -> None:
    """At most about so many intervals along each axis."""
    ax.locator_params(axis="x", nbins=n_x)
    ax.locator_params(axis="y", nbins=n_y)
