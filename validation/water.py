"""Liquid water (PBE0+TS, 64 molecules): 20 ps of molecular dynamics in LAMMPS with a fitted model.

    python validation/accuracy.py water --data WATER_FOLDER --output FOLDER
    python validation/water.py FOLDER [--ps 20]

The first test snapshot runs at 300 K (Nose-Hoover chain, 0.5 fs). The run counts as stable if no O-H bond is longer than 1.6 A
in any stored frame, every hydrogen keeps its oxygen, and the mean temperature of the last three quarters is within 3 % of
300 K. First peaks of the radial distribution functions stand beside those of the snapshots.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from ase.io import read, write

from soapgap import figures, programs
from soapgap.files import write_atomically

TEMPERATURE, STEP = 300.0, 0.0005  # K, ps
EVERY = 20  # steps between stored frames
LONGEST_BOND = 1.6  # A
PAIRS = {"O-H": ("O", "H"), "O-O": ("O", "O"), "H-H": ("H", "H")}
MASSES = {"H": 1.008, "O": 15.999}

INPUT = """\
units           metal
atom_style      atomic
atom_modify     map yes
boundary        p p p
read_data       start.data
mass            1 {H}
mass            2 {O}
pair_style      soapgap
pair_coeff      * * {model} H O
neighbor        1.0 bin
neigh_modify    every 1 delay 0 check yes
timestep        {step}
velocity        all create {temperature} 2026 mom yes rot no dist gaussian
fix             1 all nvt temp {temperature} {temperature} 0.05
thermo          {every}
thermo_style    custom step time temp pe econserve press
thermo_modify   format float %.8f
dump            1 all custom {every} water.dump id xu yu zu
dump_modify     1 sort id format float %.5f
run             {steps}
"""


def simulate(start: Atoms, folder: Path, ps: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Run LAMMPS: positions (n_frames, n_atoms, 3), the thermo table (step, time, T, E, conserved, pressure), seconds."""
    write(folder / "start.data", start, format="lammps-data", specorder=["H", "O"], atom_style="atomic")
    write_atomically(folder / "in.water", INPUT.format(model="model.safetensors", step=STEP, temperature=TEMPERATURE,
                                                       every=EVERY, steps=round(ps / STEP), **MASSES))
    began = time.perf_counter()
    programs.run(["lmp", "-in", "in.water", "-log", "log.water"], folder, "water.out", 7200)
    seconds = time.perf_counter() - began
    positions = []
    with open(folder / "water.dump") as dump:
        while dump.readline():
            for _ in range(8):
                dump.readline()
            positions.append([[float(x) for x in dump.readline().split()[1:]] for _ in range(len(start))])
    rows = [[float(word) for word in line.split()] for line in (folder / "log.water").read_text().splitlines()
            if len(line.split()) == 6 and line.split()[0].isdigit()]
    return np.array(positions), np.array(rows), seconds


def molecules(atoms: Atoms) -> np.ndarray:
    """For every hydrogen, (index, index of the nearest oxygen)."""
    hydrogen, oxygen = (np.flatnonzero(atoms.symbols == symbol) for symbol in "HO")
    distances = get_distances(atoms.positions[hydrogen], atoms.positions[oxygen], atoms.cell, atoms.pbc)[1]
    return np.column_stack([hydrogen, oxygen[distances.argmin(axis=1)]])


def distribution(frames: list[Atoms], pair: tuple[str, str], width: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Radial distribution function up to half the shortest cell edge."""
    edges = np.arange(0.0, 0.5 * min(frames[0].cell.lengths()), width)
    counts = np.zeros(len(edges) - 1)
    for atoms in frames:
        first, second = (np.flatnonzero(atoms.symbols == symbol) for symbol in pair)
        distances = get_distances(atoms.positions[first], atoms.positions[second], atoms.cell, atoms.pbc)[1]
        ideal = len(first) * (len(second) - (pair[0] == pair[1])) / atoms.get_volume()
        counts += np.histogram(distances[distances > 1e-6], edges)[0] / ideal
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return (edges[:-1] + edges[1:]) / 2, counts / len(frames) / shells


def peak(r: np.ndarray, g: np.ndarray, above: float) -> tuple[float, float]:
    """Position and height of the highest maximum between `above` and `above` + 1.5 A; parabola through three bins."""
    window = np.flatnonzero((r > above) & (r < above + 1.5))
    k = window[g[window].argmax()]
    a, b, c = g[k - 1], g[k], g[k + 1]
    shift = 0.5 * (a - c) / (a - 2 * b + c)
    return float(r[k] + shift * (r[1] - r[0])), float(b - 0.25 * (a - c) * shift)


def judge_run(start: Atoms, positions: np.ndarray, thermo: np.ndarray) -> tuple[dict, list[Atoms]]:
    """Temperature, bonds; the frames of the last three quarters."""
    bonds, longest, strangers = molecules(start), 0.0, 0
    frames = [Atoms(start.symbols, p, cell=start.cell, pbc=True) for p in positions]
    for atoms in frames:
        now = molecules(atoms)
        strangers += int((now != bonds).any())
        vectors = atoms.positions[bonds[:, 0]] - atoms.positions[bonds[:, 1]]
        scaled = atoms.cell.scaled_positions(vectors)
        longest = max(longest, float(np.linalg.norm((scaled - np.round(scaled)) @ atoms.cell.array, axis=1).max()))
    late = thermo[len(thermo) // 4:]
    found = {
        "ps": float(thermo[-1, 1]), "temperature": float(late[:, 2].mean()), "temperature_sd": float(late[:, 2].std()),
        "pressure_GPa": float(late[:, 5].mean() * 1e-4), "conserved_drift_meV_per_atom_per_ps":
        float(1000.0 * np.polyfit(late[:, 1], late[:, 4], 1)[0] / len(start)),
        "longest_bond": longest, "frames_with_other_bonds": strangers,
    }
    found["stable"] = bool(longest < LONGEST_BOND and strangers == 0 and abs(found["temperature"] / TEMPERATURE - 1) < 0.03)
    return found, frames[len(frames) // 4:]


def compare_distributions(late: list[Atoms], data: list[Atoms], path: Path) -> dict:
    """First peaks of the run and of the snapshots, and the figure."""
    peaks = {}
    with figures.drawing(10, 3.2, 1, 3) as (figure, panels):
        for panel, (name, pair) in zip(panels[0], PAIRS.items()):
            above = {"O-H": (0.7, 1.4), "O-O": (2.2,), "H-H": (1.2, 2.0)}[name]
            peaks[name] = {}
            for label, frames in (("run", late[::5]), ("snapshots", data)):
                r, g = distribution(frames, pair)
                peaks[name][label] = [peak(r, g, start) for start in above]
                panel.plot(r, g, label={"run": "soapgap, LAMMPS", "snapshots": "data"}[label])
            panel.set(xlabel="r (A)", ylabel=f"g({name})", ylim=(0, 4), xlim=(0.5, None))
            panel.legend()
        figures.save(figure, path)
    return peaks


def main() -> int:
    """Run, numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of the fit")
    parser.add_argument("--ps", type=float, default=20.0)
    options = parser.parse_args()
    folder = options.folder.resolve()
    start = read(folder / "test.xyz", 0)
    positions, thermo, seconds = simulate(start, folder, options.ps)
    run, late = judge_run(start, positions, thermo)
    run |= {"seconds": seconds, "microseconds_per_atom_and_step": 1e6 * seconds * STEP / options.ps / len(start)}
    run["peaks"] = compare_distributions(late, read(folder / "train.xyz", ":"), folder / "water_run.png")
    print(f"{run['ps']:.1f} ps in {seconds:.0f} s ({run['microseconds_per_atom_and_step']:.0f} us per atom and step): "
          f"{run['temperature']:.1f} +- {run['temperature_sd']:.1f} K, {run['pressure_GPa']:.2f} GPa, conserved energy "
          f"{run['conserved_drift_meV_per_atom_per_ps']:+.4f} meV/atom/ps")
    print(f"longest O-H bond {run['longest_bond']:.3f} A; frames in which a hydrogen is nearer to another oxygen: "
          f"{run['frames_with_other_bonds']} of {len(positions)}")
    for name, both in run["peaks"].items():
        print(f"g({name}): " + "; ".join(f"{label} " + ", ".join(f"{height:.2f} at {r:.3f} A" for r, height in found)
                                        for label, found in both.items()))
    (folder / "water_run.json").write_text(json.dumps(run, indent=1) + "\n")
    print("stable" if run["stable"] else "NOT stable")
    return 0 if run["stable"] else 1


if __name__ == "__main__":
    sys.exit(main())
