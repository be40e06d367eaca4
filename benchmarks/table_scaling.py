"""Cost of a step in LAMMPS from few atoms to many, on one and two ranks, and what that means on many ranks.

The time of a step of one rank is modelled as

    t = a n + b g + c        n own atoms, g ghost atoms

a: everything per own atom (evaluator, neighbour list, integration), b: everything per ghost (its position sent, its force
sent back, its share of the neighbour list), c: what a step costs with nothing to do. The three come from a least-squares
fit to the runs on one rank. Those on two ranks are not in the fit: they check it.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import Table, interleaved, median
from systems import CUTOFF, describe_fit, silicon_fit
from table_lammps import SKIN, Runner, lammps_is_there

CELLS = (2, 3, 4, 6, 8, 12)
DENSITY = 8 / 5.431**3
RANKS = 10_000
MESSAGES, LATENCY, PER_GHOST_BYTES, BANDWIDTH = 12, 2e-6, 48.0, 5e9  # of an ordinary cluster's network, per rank and step
COLUMNS = [("n_atoms", "atoms", "d"), ("ranks", "ranks", "d"), ("own", "own atoms", ".0f"), ("ghosts", "ghosts", ".0f"),
           ("measured_us", "us/step", ".0f"), ("model_us", "model", ".0f"), ("error", "model is off by", ".1%")]
FORECAST = [("own", "atoms/rank", ".0f"), ("atoms", "atoms", ".0e"), ("ghosts", "ghosts", ".0f"), ("us", "us/step", ".0f"),
            ("network", "of it network", ".1%"), ("efficiency", "efficiency", ".0%"), ("steps", "steps/s", ".0f")]


def measure(options, screen):
    """The runs with the model beside them, and the forecast."""
    if not lammps_is_there(screen):
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(silicon_fit(options, screen, 8, 6), Path(folder, "model.safetensors"))
        style = "pair_style soapgap\npair_coeff * * model.safetensors Si"
        runners = {(n, ranks): Runner(style, Path(folder), ranks, n) for n in CELLS for ranks in (1, 2)}
        runs = interleaved(runners, options.pairs, lambda text: screen.progress(f"scaling: {text}"))
    rows = [{"n_atoms": 8 * n**3, "ranks": ranks, "own": 8 * n**3 / ranks, "ghosts": results[0]["ghosts"],
             "measured_us": 1e6 * median([result["loop"] for result in results])} for (n, ranks), results in runs.items()]
    rows.sort(key=lambda row: (row["ranks"], row["n_atoms"]))
    law = fit_law([row for row in rows if row["ranks"] == 1])
    for row in rows:
        row["model_us"] = float(law @ (row["own"], row["ghosts"], 1.0))
        row["error"] = row["model_us"] / row["measured_us"] - 1.0
    notes = [f"model from the runs on one rank: {law[0]:.2f} us per own atom + {law[1]:.3f} us per ghost + {law[2]:.0f} us; "
             "the runs on two ranks check it", f"soapgap 8, 6, 1000 sparse points, skin {SKIN:g} A; " + describe_fit(options)]
    yield Table("scaling", f"LAMMPS, cost of a step, medians of {options.pairs} interleaved rounds", COLUMNS, rows, notes)
    notes = [f"efficiency: {law[0]:.2f} us x own atoms over the whole; ghosts: a cubic domain, cutoff and skin "
             f"{CUTOFF + SKIN:g} A",
             f"network, assumed and not measured: {MESSAGES} messages of {LATENCY * 1e6:g} us, {PER_GHOST_BYTES:g} bytes per "
             f"ghost at {BANDWIDTH / 1e9:g} GB/s; perfect balance, no other costs"]
    yield Table("forecast", f"the model on {RANKS} ranks (a calculation, not a measurement)", FORECAST, forecast(law), notes)


def fit_law(rows) -> np.ndarray:
    """us per own atom, per ghost and per step, none negative; relative errors count alike."""
    from scipy.optimize import nnls

    times = np.array([row["measured_us"] for row in rows])
    columns = np.array([[row["own"], row["ghosts"], 1.0] for row in rows])
    return nnls(columns / times[:, None], np.ones(len(rows)))[0]


def forecast(law) -> list[dict]:
    """The law on many ranks, with an assumed network."""
    rows = []
    for own in (10, 30, 100, 300, 1000, 10_000):
        side = (own / DENSITY) ** (1 / 3)
        ghosts = DENSITY * (side + 2 * (CUTOFF + SKIN)) ** 3 - own
        network = 1e6 * (MESSAGES * LATENCY + ghosts * PER_GHOST_BYTES / BANDWIDTH)
        us = float(law @ (own, ghosts, 1.0)) + network
        rows.append({"own": own, "atoms": own * RANKS, "ghosts": ghosts, "us": us, "network": network / us,
                     "efficiency": law[0] * own / us, "steps": 1e6 / us})
    return rows


def plot(figure, tables):
    """Measured against model, and the forecast's efficiency."""
    left, right = figure.subplots(1, 2)
    for ranks, marker in ((1, "o"), (2, "s")):
        rows = [row for row in tables[0].rows if row["ranks"] == ranks]
        sizes = [row["n_atoms"] for row in rows]
        left.plot(sizes, [row["measured_us"] for row in rows], marker, label=f"{ranks} rank{'s' * (ranks > 1)}")
        left.plot(sizes, [row["model_us"] for row in rows], "C7-", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="atoms", ylabel="us / step", title="measured, and the model (lines)")
    left.legend()
    rows = tables[1].rows
    right.plot([row["own"] for row in rows], [row["efficiency"] for row in rows], "o-")
    right.set(xscale="log", xlabel="atoms per rank", ylabel="efficiency", ylim=(0, 1), title=f"model, {RANKS} ranks")
