"""Liquid water with quantum and with classical nuclei: python run.py --data WATER_FOLDER [--output FOLDER] [--threads N]

WATER_FOLDER holds water_deepmd_400.xyz (README.md says where it comes from). A model is fitted, water at 300 K is run with
classical nuclei and as ring polymers in i-PI, and the O-H radial distributions and the kinetic energies of the protons are
compared: quantum_water.json, radial.png and kinetic.png in FOLDER. What is finished is kept, what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import water_analysis as analysis
import water_figures as figures
from ase import Atoms
from ase.io import read, write
from ase.units import kB
from water_runs import TIME_STEP, Plan, seconds_per_frame, simulate

import soapgap
from soapgap.files import write_atomically
from soapgap.potential import default_threads

SETTLING = 0.25  # of every run is not looked at
BLOCKS = 8
WINDOWS = {"bond": (0.7, 1.4, 0.025), "hydrogen bond": (1.4, 2.4, 0.15)}  # A: from, to, and half the range of the fitted top
NAMES = ("H", "O")


def split(path: Path, folder: Path, n_train: int, n_test: int, seed: int) -> tuple[list[Atoms], list[Atoms]]:
    """Training and test frames, drawn with the seed; also written as train.xyz and test.xyz."""
    frames = read(path, ":")
    if len(frames) < n_train + n_test:
        sys.exit(f"run.py: {path} has {len(frames)} frames, {n_train} + {n_test} are wanted (--n-train, --n-test)")
    order = np.random.default_rng(seed).permutation(len(frames))
    parts = {"train": order[:n_train], "test": order[n_train:n_train + n_test]}
    chosen = {name: [frames[k] for k in sorted(which)] for name, which in parts.items()}
    for name, part in chosen.items():
        write(folder / f"{name}.xyz", part, format="extxyz")
    return chosen["train"], chosen["test"]


def fit(folder: Path, threads: int, settings: dict | None = None) -> tuple[Path, dict]:
    """The model and its errors; made now unless it is there."""
    model, report = folder / "water.safetensors", folder / "fit.json"
    if model.is_file() and report.is_file():
        print(f"{model.name}: fitted earlier, kept", flush=True)
        return model, json.loads(report.read_text())
    config = settings or tomllib.loads(Path(__file__).with_name("fit.toml").read_text())
    config["output"] = str(model)
    config["data"] |= {name: str(folder / f"{name}.xyz") for name in ("train", "test")}
    start = time.monotonic()
    result = soapgap.fit(config, threads=threads, report=False)
    found = {name: groups["all"] for name, groups in result.errors.items()} | {"seconds": time.monotonic() - start}
    write_atomically(report, json.dumps(found, indent=1) + "\n")
    return model, found


def distributions(folder: Path, plan: Plan, start: Atoms, r_data: analysis.RadialDistribution) -> dict:
    """O-H distribution of a run over all its beads, in the order of time, and the bonds: settled frames only."""
    g, nearest = [], []
    for path in sorted(folder.glob("run.pos_*.xyz")):
        steps, frames = analysis.read_positions(path, len(start))
        one, bonds = r_data.of(frames[steps >= SETTLING * plan.steps])
        g.append(one)
        nearest.append(bonds)
    if len(g) != plan.beads:
        sys.exit(f"run.py: {folder} has the positions of {len(g)} beads of {plan.beads}")
    return {"g": np.mean(g, axis=0), "bonds": np.array(nearest)}


def peaks(r: np.ndarray, g: np.ndarray) -> dict:
    """First two O-H peaks of g (n_frames, n_bins), with errors of the heights and places from blocks of frames."""
    found = {}
    for name, window in WINDOWS.items():
        whole = analysis.peak(r, g.mean(axis=0), *window)
        parts = [analysis.peak(r, part.mean(axis=0), *window) for part in np.array_split(g, BLOCKS)]
        errors = {f"{key}_error": float(np.std([part[key] for part in parts], ddof=1) / np.sqrt(BLOCKS)) for key in whole}
        found[name] = whole | errors
    return found


def kinetic_energies(table: dict, plan: Plan, counts: dict[str, int]) -> dict:
    """Kinetic energies per atom (meV) with errors: the centroid virial estimator; with one bead that of the velocities.

    With one bead the virial estimator is 3/2 kT at every step, which would say nothing about the run.
    """
    late = table["step"] >= SETTLING * plan.steps
    kind = "md" if plan.beads == 1 else "cv"
    found = {}
    for name in NAMES:
        mean, error = analysis.block_error(1000.0 * table[f"{kind}_{name}"][late] / counts[name], BLOCKS)
        found[name] = {"mean": mean, "error": error}
    temperature, error = analysis.block_error(table["temperature"][late], BLOCKS)
    slope = np.polyfit(table["time"][late], table["conserved"][late], 1)[0]
    found |= {"temperature": {"mean": temperature, "error": error}, "gyration_H": float(table["gyration_H"][late].mean()),
              "conserved_drift_meV_per_atom_per_ps": float(1000.0 * slope / sum(counts.values())),
              "ps": float(table["time"][-1])}
    return found


def minimum_modes(model: Path, start: Atoms, threads: int, store: Path) -> dict[str, np.ndarray]:
    """Normal modes at the nearest minimum of the model: "omega2", and every species' share of each; kept in a file."""
    if not store.is_file():
        omega2, modes = analysis.normal_modes(analysis.quench(start, model, threads))
        np.savez(store, omega2=omega2, **analysis.species_weights(start.symbols, modes))
    with np.load(store) as kept:
        return dict(kept)


def harmonic(modes: dict[str, np.ndarray], temperature: float, beads: int) -> dict:
    """Kinetic energies per atom (meV) in these modes, by number of beads, and exact; and what the modes are like."""
    omega2, found = modes["omega2"], {}
    for n in (*sorted({1, 4, 8, 16, 32, 64, beads}), None):
        energies = analysis.mode_kinetic(omega2, temperature, n)
        found["exact" if n is None else str(n)] = {name: float(1000.0 * modes[name] @ energies) for name in NAMES}
    found["highest_wavenumber"] = float(np.sqrt(omega2[-1]) / (2.0 * np.pi * 2.99792458e10))
    found["imaginary_modes"] = int((omega2 < -1e-3 * omega2[-1]).sum())
    return found


def evaluate(folder: Path, plans: dict[str, Plan], start: Atoms, train: list[Atoms], modes: dict) -> dict:
    """All numbers of the runs, and the figures."""
    counts = {name: int((start.symbols == name).sum()) for name in NAMES}
    g_of = analysis.RadialDistribution(start.symbols, cell=start.cell.array)
    g_data, bonds_data = g_of.of(np.array([atoms.positions for atoms in train]))
    curves, numbers, tables = {"snapshots": g_data.mean(axis=0)}, {}, {}
    low, high = bonds_data.min(), bonds_data.max()
    numbers["snapshots"] = {"peaks": peaks(g_of.r, g_data), "bonds": [float(low), float(high)]}
    for name, plan in plans.items():
        tables[name] = analysis.read_properties(folder / name / "run.out")
        found = distributions(folder / name, plan, start, g_of)
        curves[name] = found["g"].mean(axis=0)
        bonds = found["bonds"]
        numbers[name] = {"beads": plan.beads, "steps": plan.steps, "kinetic": kinetic_energies(tables[name], plan, counts),
                         "peaks": peaks(g_of.r, found["g"]), "bonds": [float(bonds.min()), float(bonds.max())],
                         "bonds_outside_data": float(((bonds < low) | (bonds > high)).mean())}
    numbers["classical_3_2_kT"] = 1500.0 * kB * plans["quantum"].temperature
    beads, temperature = plans["quantum"].beads, plans["quantum"].temperature
    numbers["harmonic"] = harmonic(modes, temperature, beads)
    for name in NAMES:
        found = numbers["quantum"]["kinetic"][name]
        errors = analysis.kinetic_errors(modes["omega2"], modes[name], temperature, beads, TIME_STEP, 1e-3 * found["mean"])
        found["frequency_factor"] = errors.pop("frequency_factor")
        found |= {key: 1000.0 * value for key, value in errors.items()}
    hydrogen = numbers["quantum"]["kinetic"]["H"]
    figures.radial(folder / "radial.png", g_of.r, {name: curves[name] for name in ("snapshots", "classical", "quantum")})
    table = tables["quantum"]
    levels = {"classical, 3/2 kT": numbers["classical_3_2_kT"],
              "corrected for beads and time step": hydrogen["corrected"]}
    figures.kinetic(folder / "kinetic.png", table["time"], 1000.0 * table["cv_H"] / counts["H"],
                    SETTLING * table["time"][-1], levels)
    return numbers


def show(numbers: dict) -> None:
    """The numbers as text."""
    for name in ("snapshots", "classical", "quantum"):
        for where, p in numbers[name]["peaks"].items():
            print(f"g(O-H), {name}, {where}: {p['height']:.2f} +- {p['height_error']:.2f} at {p['r']:.3f} +- "
                  f"{p['r_error']:.3f} A, width at half height {p['fwhm']:.3f} A")
    for name in ("classical", "quantum"):
        part = numbers[name]
        k, bonds = part["kinetic"], part["bonds"]
        print(f"{name} ({part['beads']} beads, {k['ps']:.1f} ps): kinetic energy of H {k['H']['mean']:.1f} +- "
              f"{k['H']['error']:.1f}, of O {k['O']['mean']:.1f} +- {k['O']['error']:.1f} meV (3/2 kT: "
              f"{numbers['classical_3_2_kT']:.1f}); {k['temperature']['mean']:.1f} +- {k['temperature']['error']:.1f} K; O-H "
              f"bonds {bonds[0]:.2f} to {bonds[1]:.2f} A, {100 * part['bonds_outside_data']:.2f} % outside those of the data")
    h, k = numbers["harmonic"], numbers["quantum"]["kinetic"]["H"]
    print("normal modes at a minimum, kinetic energy of H: "
          + ", ".join(f"{h[beads]['H']:.1f} ({beads} beads)" for beads in ("4", "8", "16", "32", "64"))
          + f", {h['exact']['H']:.1f} meV (exact)")
    print(f"with all frequencies times {k['frequency_factor']:.3f} they have the run's value. Then "
          f"{numbers['quantum']['beads']} beads leave out {k['beads']:.1f} meV, and the time step adds {k['time_step']:.1f}: "
          f"corrected, {k['corrected']:.1f} meV")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of water_deepmd_400.xyz")
    parser.add_argument("--output", type=Path, default=Path("quantum-water"))
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--beads", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4000, help="of the quantum run, 0.5 fs each")
    parser.add_argument("--classical-steps", type=int, default=20000)
    parser.add_argument("--stride", type=int, default=40, help="steps between stored positions of all beads")
    parser.add_argument("--n-train", type=int, default=150)
    parser.add_argument("--n-test", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the division of the data")
    return parser.parse_args()


def main() -> int:
    """Fit, run, compare."""
    options = arguments()
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = options.data / "water_deepmd_400.xyz"
    if not path.is_file():
        sys.exit(f"run.py: {path} is not there; README.md says where the data come from")
    train, test = split(path, folder, options.n_train, options.n_test, options.seed)
    model, errors = fit(folder, options.threads)
    plans = {"classical": Plan(1, options.classical_steps, options.stride),
             "quantum": Plan(options.beads, options.steps, options.stride)}
    try:
        numbers = {"fit": errors, "threads": options.threads} | compare(folder, plans, model, train, test[0], options.threads)
    except soapgap.SoapGAPError as error:
        sys.exit(f"run.py: {error}")
    write_atomically(folder / "quantum_water.json", json.dumps(numbers, indent=1) + "\n")
    e = errors["test"]
    print(f"fit: test force RMSE {1000 * e['force']['rmse']:.1f} meV/A, energy RMSE {e['energy']['rmse']:.2f} meV/atom")
    show(numbers)
    return 0


def compare(folder: Path, plans: dict[str, Plan], model: Path, train: list[Atoms], start: Atoms, threads: int) -> dict:
    """Run what the plans say from one structure; all numbers. The estimate of the time comes first."""
    frame = seconds_per_frame(model, start, threads)
    minutes = {name: frame * plan.beads * plan.steps / 60 for name, plan in plans.items()}
    print(f"one evaluation: {1000 * frame:.1f} ms ({1e6 * frame / len(start):.0f} us per atom) with {threads} threads; about "
          + ", ".join(f"{value:.1f} min for the {name} run" for name, value in minutes.items()), flush=True)
    seconds = {name: simulate(folder / name, plan, model, start, threads) for name, plan in plans.items()}
    began = time.monotonic()
    modes = minimum_modes(model, start, threads, folder / "quantum" / "modes.npz")
    numbers = evaluate(folder, plans, start, train, modes)
    return numbers | {"seconds": seconds | {"analysis": time.monotonic() - began}, "milliseconds_per_evaluation": 1000 * frame}


if __name__ == "__main__":
    sys.exit(main())
