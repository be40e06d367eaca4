"""The plots of a report. Numbers come in as in its JSON (curves, histograms) or as comparisons (parity)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soapgap import figures
from soapgap.data.observables import OBSERVABLES
from soapgap.figures import COLOURS, INK, LINE, MARK, SOFT, TEST, TRAIN, drawing, few_ticks, svg
from soapgap.report.model_phonons import IMAGINARY
from soapgap.report.numbers import Comparisons

SIZE = (4.5, 3.2)  # inches of one plot; two stand beside each other on the page
SQUARE, WIDE, SMALL = (3.55, 3.3), (4.95, 3.3), (3.2, 2.35)
MOST_PAIRS = 36
VIEW = 0.3  # part of the volume to both sides of the minimum that an E(V) plot shows


def printed(unit: str) -> str:
    """A unit as it is printed: A is an angstrom sign."""
    return unit.replace("/A", "/Å").replace("^2", "²")


def error_unit(quantity: str) -> str:
    """Of the errors of an observable, as it is printed."""
    return printed(OBSERVABLES[quantity].error_unit)


def heading(quantity: str) -> str:
    """An observable with the unit of its errors."""
    return f"{OBSERVABLES[quantity].label} ({error_unit(quantity)})"


def parity(quantity: str, comparisons: Comparisons) -> str:
    """Prediction against reference, train and test; a density if there are many values."""
    parts = {label: (c[quantity].reference, c[quantity].predicted) for label, c in comparisons.items()
             if quantity in c and len(c[quantity].reference)}
    with drawing(*SQUARE) as (figure, axes):
        label = OBSERVABLES[quantity].label
        figures.parity(axes[0, 0], parts, printed(OBSERVABLES[quantity].unit), label)
        return svg(figure, f"parity-{quantity}", f"{label}: prediction against reference")


def error_histogram(quantity: str, histogram: Mapping[str, Any]) -> str:
    """Share of the values per bin of error."""
    edges = np.array(histogram["edges"])
    with drawing(*WIDE) as (figure, axes):
        ax = axes[0, 0]
        for label in ("train", "test"):
            if label in histogram:
                counts = np.array(histogram[label]["counts"], float)
                share = 100.0 * counts / max(counts.sum() + histogram[label]["outside"], 1.0)
                ax.stairs(share, edges, color=COLOURS[label], fill=True, alpha=0.18)
                ax.stairs(share, edges, color=COLOURS[label], lw=1.3, label=label)
        ax.set(xlabel=f"model − reference ({error_unit(quantity)})", ylabel="values per bin (%)", ylim=(0.0, None),
               xlim=(edges[0], edges[-1]), title=f"error of the {OBSERVABLES[quantity].label}")
        ax.legend(loc="upper right")
        few_ticks(ax, 5, 5)
        return svg(figure, f"histogram-{quantity}", f"distribution of the errors of the {OBSERVABLES[quantity].label}")


def dimers(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """Energy of two atoms against their distance, a plot per pair; what lies below the data is shaded."""
    found = []
    for k, curve in enumerate(curves[:MOST_PAIRS]):
        with drawing(*SMALL) as (figure, axes):
            _dimer(axes[0, 0], curve)
            found.append(svg(figure, f"dimer-{k}", f"energy of two atoms alone, {curve['pair']}, against their distance"))
    return found


def _dimer(ax, curve: Mapping[str, Any]) -> None:
    r, energy = np.array(curve["distances"]), np.array(curve["energies"], float)
    shortest = curve["shortest"]
    known = energy[(r >= (shortest or 0.5 * r[-1])) & np.isfinite(energy)]
    if len(known) == 0:
        known = np.zeros(1)
    low, high = min(0.0, float(known.min())), float(known.max())
    top = max(0.5, -2.5 * low, 1.25 * min(high, max(-4.0 * low, 8.0)))
    bottom = max(min(low, float(np.nanmin(energy, initial=0.0))), low - 2.0 * top) - 0.08 * top  # wells below the data, too
    ax.axhline(0.0, color=SOFT, lw=0.6, zorder=1)
    if shortest is not None:
        ax.axvspan(0.0, shortest, color=LINE, alpha=0.55, lw=0, zorder=0)
        ax.axvline(shortest, color=SOFT, lw=0.8, ls=(0, (3, 2)), zorder=1)
        ax.annotate(f"data from {shortest:.2f} Å", (shortest, 1.0), (3, -3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", va="top", fontsize=7.5, color=SOFT)
    ax.plot(r, energy, color=TRAIN, clip_on=True, zorder=3)
    if curve["reference_distances"]:
        ax.plot(curve["reference_distances"], curve["reference_energies"], "o", ms=3, color=INK, zorder=4)
    if curve["attraction"]:
        bad = (r >= curve["attraction"][0]) & (r <= curve["attraction"][1])
        ax.plot(r[bad], energy[bad], color=MARK, lw=2.2, zorder=4)
    ax.set(title=curve["pair"].replace("-", "–"), xlabel="distance (Å)", ylabel="energy (eV)", xlim=(0.0, r[-1]),
           ylim=(bottom, top))
    few_ticks(ax, 6, 4)


def crystal_name(entry: Mapping[str, Any]) -> str:
    """Formula, config_type and frame."""
    frame = entry["frame"].removesuffix(" (counted from 0)").rpartition(", ")[2]
    return f"{entry['formula']}, {entry['config_type']}, {frame}"


def energy_volume(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """E(V) of every crystal: the model's curve and the reference."""
    found = []
    for k, curve in enumerate(curves):
        with drawing(*SIZE) as (figure, axes):
            ax = axes[0, 0]
            ax.plot(curve["volumes"], curve["energies"], color=TRAIN, label="model", zorder=2)
            ax.plot(curve["reference_volumes"], curve["reference_energies"], "o", ms=3.5, mfc="none", mew=1.0, color=INK,
                    label="reference", zorder=3)
            if curve["model"]:
                ax.plot(curve["model"]["volume"], curve["model"]["energy"], "|", ms=11, mew=1.2, color=MARK, zorder=4,
                        label="minimum of the model")
            ax.set(xlabel="volume (Å³/atom)", ylabel="E − Σ e0 (eV/atom)", title=crystal_name(curve))
            _near_minimum(ax, curve)
            ax.legend(loc="upper center")
            ax.ticklabel_format(useOffset=False)
            few_ticks(ax, 6, 5)
            found.append(svg(figure, f"volume-{k}", f"energy of {curve['formula']} against volume"))
    return found


def _near_minimum(ax, curve: Mapping[str, Any]) -> None:
    """Data may reach to volumes where nothing of the minimum could be seen: they are in the JSON."""
    if curve["model"] is None:
        return
    volumes, energies = (np.array([*curve[what], *curve[f"reference_{what}"]]) for what in ("volumes", "energies"))
    shown = np.abs(volumes / curve["model"]["volume"] - 1.0) <= VIEW
    if not shown.all():
        low, high = energies[shown].min(), energies[shown].max()
        ax.set_xlim((1.0 - VIEW) * curve["model"]["volume"], (1.0 + VIEW) * curve["model"]["volume"])
        ax.set_ylim(low - 0.06 * (high - low), high)


def phonons(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Bands of every crystal; imaginary frequencies are negative and red."""
    found = []
    for k, entry in enumerate(entries):
        path = entry["path"]
        if path is None:
            continue
        bands = np.array(path["bands"])
        with drawing(*SIZE) as (figure, axes):
            ax = axes[0, 0]
            x = np.array(path["x"])
            for part in np.split(np.arange(len(x)), np.flatnonzero(np.diff(x) < 1e-9) + 1):  # the path may jump
                ax.plot(x[part], bands[part], color=TRAIN, lw=1.2)
                ax.plot(x[part], np.where(bands[part] < IMAGINARY, bands[part], np.nan), color=MARK, lw=1.6)
            ax.axhline(0.0, color=SOFT, lw=0.6)
            ticks, labels = _joined_ticks(path["ticks"], path["labels"])
            ax.set_xticks(ticks, labels)
            ax.grid(visible=False, axis="y")
            ax.set(xlim=(0.0, 1.0), ylabel="frequency (THz)", ylim=(min(0.0, 1.15 * bands.min()), 1.06 * bands.max()),
                   xlabel="path through the Brillouin zone", title=crystal_name(entry))
            right = ax.secondary_yaxis("right", functions=(_wave_numbers, _frequencies))
            right.set_ylabel("wave number (cm⁻¹)")
            found.append(svg(figure, f"phonons-{k}", f"phonon bands of {entry['formula']}"))
    return found


def _wave_numbers(frequency):
    return 33.35641 * frequency


def _frequencies(wave_number):
    return wave_number / 33.35641


def _joined_ticks(ticks: Sequence[float], labels: Sequence[str]) -> tuple[list[float], list[str]]:
    """Where a path jumps, both labels at one place."""
    places: list[float] = []
    names: list[str] = []
    for place, label in zip(ticks, (label.replace("G", "Γ") for label in labels), strict=True):
        if places and abs(place - places[-1]) < 1e-6:
            names[-1] += f"|{label}"
        else:
            places.append(place)
            names.append(label)
    return places, names


def learning_curve(points: Sequence[Mapping[str, Any]], quantities: Sequence[str]) -> list[str]:
    """Error of frames that were not fitted against the number of training frames, both logarithmic."""
    found = []
    for quantity in quantities:
        with drawing(*SIZE) as (figure, axes):
            chosen = [p for p in points if quantity in p["errors"]]
            entries = [p["errors"][quantity] for p in chosen]
            known = {name: [e.get(name) for e in entries] for name in ("rmse", "mae", "lowest", "highest")}
            curves = {name.upper(): known[name] for name in ("rmse", "mae") if None not in known[name]}
            band = (known["lowest"], known["highest"]) if None not in known["lowest"] else ()
            label = OBSERVABLES[quantity].label
            figures.learning_curve(axes[0, 0], [p["n_frames"] for p in chosen], curves, error_unit(quantity), label, band)
            found.append(svg(figure, f"learning-{quantity}", f"learning curve of the {label}"))
    return found


def tuning(trials: Sequence[Mapping[str, Any]], objective: str) -> str:
    """Objective of every trial and the best so far."""
    values = np.array([np.nan if t["objective"] is None else t["objective"] for t in trials], float)
    with drawing(9.0, 2.9) as (figure, axes):
        ax = axes[0, 0]
        number = np.arange(1, len(values) + 1)
        ax.plot(number, values, "o", ms=3.5, color=TRAIN, alpha=0.75, label="trial")
        ax.step(number, np.fmin.accumulate(values), where="post", color=TEST, label="best so far")
        ax.set(xlabel="trial", ylabel=objective)
        ax.legend(loc="upper right")
        ax.ticklabel_format(axis="y", useOffset=False)
        few_ticks(ax, 8, 4)
        return svg(figure, "tuning", "objective of every trial of the tuning")
