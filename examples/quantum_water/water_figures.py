"""The two figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#2563a8", "#d9772b", "#8a94a3", "#27313f"
LABELS = {"quantum": "quantum nuclei", "classical": "classical nuclei", "snapshots": "training snapshots"}
LOOK = {"quantum": {"color": BLUE, "lw": 1.6}, "classical": {"color": ORANGE, "lw": 1.6},
        "snapshots": {"color": GREY, "lw": 1.2, "ls": "--"}}
STYLE = {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.labelcolor": INK,
         "legend.frameon": False, "axes.titlesize": 10, "axes.titlelocation": "left"}


def radial(path, r: np.ndarray, distributions: dict[str, np.ndarray]) -> None:
    """O-H radial distributions {"quantum": g, "classical": g, "snapshots": g}: the bond, and the neighbours."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 3.2), layout="constrained")
        bond, neighbours = figure.subplots(1, 2)
        for name, g in distributions.items():
            bond.plot(r, g, label=LABELS[name], **LOOK[name])
            neighbours.plot(r, g, **LOOK[name])
        bond.set(title="within the molecule", xlabel="r (Å)", ylabel="g(O-H)", xlim=(0.75, 1.3), ylim=(0, None))
        bond.legend(loc="upper right")
        inside = (r > 1.5) & (r < r[-1])
        top = max(g[inside].max() for g in distributions.values())
        neighbours.set(title="between molecules", xlabel="r (Å)", ylabel="g(O-H)", xlim=(1.2, r[-1]), ylim=(0, 1.15 * top))
        neighbours.axhline(1.0, color=GREY, lw=0.6)
        figure.savefig(Path(path), dpi=160)


def kinetic(path, time: np.ndarray, series: np.ndarray, settled: float, levels: dict[str, float]) -> None:
    """Kinetic energy per hydrogen (meV) against time (ps), the running mean from `settled` on, and levels to compare with."""
    late = time >= settled
    running = np.cumsum(series[late]) / np.arange(1, late.sum() + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(time, series, color=BLUE, lw=0.5, alpha=0.5, label="centroid virial estimator")
        axes.plot(time[late], running, color=BLUE, lw=1.8, label="running mean")
        axes.axvspan(0.0, settled, color=GREY, alpha=0.15, lw=0)
        for (name, level), dashes in zip(levels.items(), ("--", ":"), strict=True):
            axes.axhline(level, color=ORANGE if "3/2" in name else INK, ls=dashes, lw=1.1, label=name)
        high = max(series[late].max(), *levels.values())
        axes.set(xlabel="time (ps)", ylabel="kinetic energy per H (meV)", xlim=(0, time[-1]), ylim=(0, 1.35 * high))
        axes.legend(loc="upper center", ncols=3, fontsize=8.5)
        figure.savefig(Path(path), dpi=160)
