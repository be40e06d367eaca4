"""The figures of the demo's report, as SVG files. Nothing is computed here but running means."""

import numpy as np

from soapgap.figures import INK, LINE, SOFT, TEST, TRAIN, drawing, save
from soapgap.figures import parity as draw_parity


def parity(path, panels):
    """Reference against model: `panels` is a sequence of (title, unit, {"train" or "test": (reference, model)})."""
    with drawing(8.6, 3.1, 1, len(panels)) as (figure, axes):
        for ax, (title, unit, sets) in zip(axes[0], panels, strict=True):
            draw_parity(ax, sets, unit, title)
        save(figure, path)


def conserved_series(path, time, energy, drift, second, per_atom):
    """A conserved energy with its line, and a second quantity beside it.

    Parameters
    ----------
    path : path
        SVG file.
    time : ndarray, shape (n,)
        Picoseconds.
    energy : ndarray, shape (n,)
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
    with drawing(8.6, 2.7, 1, 2) as (figure, ((left, right),)):
        left.plot(time, (energy - energy.mean()) * scale, color=TRAIN, lw=0.6)
        left.plot(time, (time - time.mean()) * drift.slope * scale, color=TEST, lw=1.6, label="linear fit")
        left.set(title="conserved energy", xlabel="time, ps", ylabel="E - mean, meV/atom")
        left.legend(loc="upper right")
        right.plot(time, values, color=SOFT, alpha=0.5, lw=0.6)
        running = np.cumsum(values) / np.arange(1, len(values) + 1)
        right.plot(time, running, color=TRAIN, lw=1.6, label="running mean")
        for (level, name), dashes in zip(levels, ("--", ":"), strict=False):
            right.axhline(level, color=INK, ls=dashes, lw=1, label=name)
        right.set(title=title, xlabel="time, ps", ylabel=label)
        low, high = right.get_ylim()
        right.set_ylim(low, high + 0.2 * (high - low))  # space for the legend
        right.legend(loc="upper center", ncols=1 + len(levels), fontsize=8, columnspacing=1.0, handlelength=1.6)
        save(figure, path)


def elastic_bars(path, names, model, reference):
    """Elastic constants, model beside reference, GPa."""
    with drawing(5.6, 2.4) as (figure, ((ax,),)):
        x = np.arange(len(names))
        for offset, values, colour, label in ((-0.19, reference, LINE, "Stillinger-Weber"), (0.19, model, TRAIN, "soapgap")):
            bars = ax.bar(x + offset, values, 0.36, color=colour, label=label)
            ax.bar_label(bars, fmt="%.1f", padding=2, fontsize=8.5, color=INK)
        ax.set_xticks(x, names)
        ax.set(ylabel="GPa")
        ax.margins(y=0.15)
        ax.grid(visible=False, axis="x")
        ax.legend(loc="upper right")
        save(figure, path)
