"""The figures of the report, as SVG files. Data come in as arrays; nothing is computed here but running means."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#2563a8", "#d9772b", "#b8c0cc", "#27313f"
STYLE = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "xtick.color": "#5b6675",
    "ytick.color": "#5b6675",
    "axes.grid": True,
    "grid.color": "#e9edf2",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "soapgap",
}


@contextmanager
def figure(path, width, height, n_columns):
    """A figure with ``n_columns`` axes side by side, saved whole as SVG when the block ends without an error."""
    path = Path(path)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        yield np.atleast_1d(fig.subplots(1, n_columns))
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".svg")
        os.close(handle)
        try:
            fig.savefig(temporary, format="svg", dpi=200, metadata={"Date": None})
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def parity(path, panels):
    """Reference against model.

    Parameters
    ----------
    path : path
        SVG file.
    panels : sequence of (title, unit, {"train": (reference, model), "test": (reference, model)})
        Arrays of equal length per set.
    """
    with figure(path, 8.6, 3.1, len(panels)) as axes:
        for ax, (title, unit, sets) in zip(axes, panels, strict=True):
            everything = np.concatenate([np.ravel(part) for pair in sets.values() for part in pair])
            low, high = everything.min(), everything.max()
            margin = 0.04 * (high - low)
            ax.plot([low - margin, high + margin], [low - margin, high + margin], color=GREY, lw=1, zorder=1)
            for (name, (reference, model)), colour, size in zip(sets.items(), (BLUE, ORANGE), (7, 7), strict=True):
                ax.scatter(
                    np.ravel(reference), np.ravel(model), s=size, color=colour, alpha=0.75, linewidths=0,
                    label=name, rasterized=True, zorder=2 if name == "train" else 3,
                )  # fmt: skip
            ax.set(title=title, xlabel=f"reference, {unit}", ylabel=f"model, {unit}", aspect="equal")
            ax.set_xlim(low - margin, high + margin)
            ax.set_ylim(low - margin, high + margin)
        axes[0].legend(loc="upper left", handletextpad=0.2)


def conserved_series(path, time, energy, drift, second, per_atom):
    """A conserved energy with its line, and a second quantity beside it.

    Parameters
    ----------
    path : path
        SVG file.
    time : array (n,)
        Picoseconds.
    energy : array (n,)
        eV; shown relative to its mean, meV/atom.
    drift : Drift
        The line, eV and ps.
    second : tuple (title, label, values, [(level, name), ...])
        A quantity over the same times and horizontal lines to compare it with.
    per_atom : int
        Number of atoms.
    """
    title, label, values, levels = second
    scale = 1000.0 / per_atom
    with figure(path, 8.6, 2.7, 2) as (left, right):
        left.plot(time, (energy - energy.mean()) * scale, color=BLUE, lw=0.6)
        left.plot(time, (time - time.mean()) * drift.slope * scale, color=ORANGE, lw=1.6, label="linear fit")
        left.set(title="conserved energy", xlabel="time, ps", ylabel="E - mean, meV/atom")
        left.legend(loc="upper right")
        right.plot(time, values, color=GREY, lw=0.6)
        running = np.cumsum(values) / np.arange(1, len(values) + 1)
        right.plot(time, running, color=BLUE, lw=1.6, label="running mean")
        for (level, name), dashes in zip(levels, ("--", ":"), strict=False):
            right.axhline(level, color=INK, ls=dashes, lw=1, label=name)
        right.set(title=title, xlabel="time, ps", ylabel=label)
        low, high = right.get_ylim()
        right.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
        right.legend(loc="upper center", ncols=1 + len(levels), fontsize=8, columnspacing=1.0, handlelength=1.6)


def elastic_bars(path, names, model, reference):
    """Elastic constants, model beside reference, GPa."""
    with figure(path, 5.6, 2.4, 1) as (ax,):
        x = np.arange(len(names))
        for offset, values, colour, label in ((-0.19, reference, GREY, "Stillinger-Weber"), (0.19, model, BLUE, "soapgap")):
            bars = ax.bar(x + offset, values, 0.36, color=colour, label=label)
            ax.bar_label(bars, fmt="%.1f", padding=2, fontsize=8.5, color=INK)
        ax.set_xticks(x, names)
        ax.set(ylabel="GPa")
        ax.margins(y=0.15)
        ax.grid(visible=False, axis="x")
        ax.legend(loc="upper right")
