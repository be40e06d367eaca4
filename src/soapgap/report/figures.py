"""Figures as SVG text that can stand in an HTML page: no external reference, colours and fonts of the page.

Colours of the drawing are written as place holders and become CSS variables, so that a figure follows a light or a dark page.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

INK, SOFT, LINE, TRAIN, TEST, MARK = "#010101", "#020202", "#030303", "#3f7cc4", "#d9772b", "#b3372f"
VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", TRAIN: "var(--train)", TEST: "var(--test)",
             MARK: "var(--bad)"}
COLOURS = {"train": TRAIN, "test": TEST}
LARGEST_SVG = 400_000  # characters: a figure that would be larger becomes a picture
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
}


@contextmanager
def drawing(width: float, height: float, n_rows: int = 1, n_columns: int = 1, **options) -> Iterator[tuple]:
    """A figure in the style of the report and its axes (n_rows, n_columns), sizes in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(n_rows, n_columns, squeeze=False, **options)


def svg(figure, name: str, label: str) -> str:
    """A figure as an `<svg>` element.

    Parameters
    ----------
    name : of the figure, unique on the page; it goes before all its ids
    label : what it shows, for those who cannot see it
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", dpi=160, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    content = text.getvalue()
    content = content[content.index("<svg"):]
    content = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", content, flags=re.DOTALL)
    content = re.sub(r"\n\s*", " ", content)
    content = re.sub(r'(<svg[^>]*?) (?:height|width)="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", content))
    content = re.sub(r' xmlns(:\w+)?="[^"]*"', "", content)
    content = re.sub(r'\bid="', f'id="{name}-', content)
    content = re.sub(r'href="#', f'href="#{name}-', content).replace("url(#", f"url(#{name}-")
    content = re.sub(r"font-family:[^;\"]*;? ?", "", content)
    content = re.sub(r"font: ((?:\w+ )*)([\d.]+)px [^;\"]*", _font, content)
    for colour, variable in VARIABLES.items():
        content = content.replace(colour, variable)
    return content.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _font(found: re.Match) -> str:
    weight = "font-weight: 600; " if re.search(r"bold|[67]00", found[1]) else ""
    return f"{weight}font-size: {found[2]}px"


def picture(figure) -> str:
    """A figure of someone else as an `<img>`: SVG data as it is, or a PNG picture if that would be large."""
    data = io.BytesIO()
    figure.savefig(data, format="svg", bbox_inches="tight", facecolor="white")
    kind, content = "svg+xml", data.getvalue()
    if len(content) > LARGEST_SVG:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150, bbox_inches="tight", facecolor="white")
        kind, content = "png", data.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
