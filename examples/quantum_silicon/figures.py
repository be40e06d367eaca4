"""The two figures."""

import numpy as np
from ase.units import kB

from soapgap.figures import INK, LINE, TEST, TRAIN, drawing, save

COLOURS = {"classical": TEST, "quantum": TRAIN}


def draw_kinetic_energy(path, points, phonons):
    """Kinetic energy against temperature, and its difference from the phonons' value for the same number of beads."""
    hottest = max(point["temperature"] for point in points)
    grid = np.linspace(20, 1.05 * hottest, 200)
    with drawing(8.6, 3.6, 1, 2) as (figure, ((left, right),)):
        left.plot(grid, 1500 * kB * grid, color=TEST, lw=1, label="classical, 3/2 kT")
        left.plot(grid, [phonons.kinetic(t) for t in grid], color=TRAIN, lw=1, label="phonons")
        for kind, marker in (("classical", "s"), ("quantum", "o")):
            chosen = [point for point in points if point["kind"] == kind]
            t, mean, error, reference = (
                np.array([point[key] for point in chosen])
                for key in ("temperature", "kinetic", "kinetic_error", "kinetic_phonons")
            )
            label = "molecular dynamics" if kind == "classical" else "path integrals (number of beads)"
            left.errorbar(t, mean, error, fmt=marker, ms=4, color=COLOURS[kind], label=label)
            percent = 100 / reference
            right.errorbar(t, percent * (mean - reference), percent * error, fmt=marker, ms=4, color=COLOURS[kind])
            if kind == "quantum":
                left.scatter(t, reference, marker="_", s=120, color=INK, lw=1, zorder=3, label="phonons, the same beads")
                for point in chosen:
                    left.annotate(point["beads"], (point["temperature"], point["kinetic"]), (0, 7), fontsize=8, color=TRAIN,
                                  textcoords="offset points", ha="right")  # fmt: skip
        right.axhline(0, color=LINE, lw=1)
        left.set(title="kinetic energy", xlabel="T, K", ylabel="meV/atom", xlim=(0, None), ylim=(0, None))
        right.set(title="difference from the phonons' value, same beads", xlabel="T, K", ylabel="percent", xlim=(0, None))
        left.legend(fontsize=8)
        save(figure, path)


def draw_heat_capacity(path, capacities, phonons):
    """Heat capacity against temperature; the horizontal bars are the intervals of the finite differences."""
    grid = np.linspace(10, 1.05 * max(row["high"] for row in capacities), 300)
    with drawing(5.4, 3.6) as (figure, ((axes,),)):
        axes.plot(grid, np.full_like(grid, 3.0), color=TEST, lw=1, label="classical harmonic crystal, 3k")
        axes.plot(grid, [phonons.capacity(t) for t in grid], color=TRAIN, lw=1, label="phonons")
        for kind, marker, label in (("classical", "s", "molecular dynamics"), ("quantum", "o", "path integrals")):
            rows = [row for row in capacities if row["kind"] == kind]
            low, high, value, error = (np.array([row[key] for row in rows]) for key in ("low", "high", "capacity", "error"))
            middle, half = (low + high) / 2, (high - low) / 2
            axes.errorbar(middle, value, error, half, fmt=marker, ms=4, elinewidth=1, color=COLOURS[kind], label=label)
            if kind == "quantum":
                reference = [row["phonons"] for row in rows]
                axes.scatter(middle, reference, marker="_", s=120, color=INK, lw=1, zorder=3, label="phonons, same intervals")
        axes.set(title="heat capacity at constant volume", xlabel="T, K", ylabel="k per atom", xlim=(0, None), ylim=(0, None))
        axes.legend(fontsize=8, loc="lower right")
        save(figure, path)
