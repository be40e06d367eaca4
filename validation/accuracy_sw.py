"""A potential of pairs and triplets fitted to Stillinger-Weber silicon: elastic constants and forces.

    python benchmarks/accuracy_sw.py [--output FOLDER]

Stillinger-Weber energies are sums over pairs and over triplets of a centre and two of its neighbours (F. H. Stillinger
and T. A. Weber, Phys. Rev. B 31, 5262 (1985)), so `distance_2b` and `angle_3b` can represent them. LAMMPS computes
energies, forces and virials of strained and rattled diamond cells and of a melt; nothing is read from disk. The same fit
is made with the triplet splines (`exact = false`) and without them.

The status is 1 unless C11, C12 and C44 (atoms relaxed) are within 1 % of Stillinger-Weber's own and the forces of a test
set made with other seeds have a root mean square error below 0.02 eV/A.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

import soapgap
from soapgap.demo.elastic import cubic_constants, table
from soapgap.demo.reference import StillingerWeber

LIMITS = {"percent": 1.0, "force": 0.02}
LATTICE = 5.431  # A
MELTS = {"melt 2000 K": 2000.0, "melt 3500 K": 3500.0}


def label(atoms: Atoms, kind: str, calculator) -> Atoms:
    """A frame with energy (eV), forces (eV/A) and virial W = -V sigma (eV)."""
    atoms.calc = calculator
    frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    frame.info = {"config_type": kind, "energy": atoms.get_potential_energy(),
                  "virial": -atoms.get_volume() * atoms.get_stress(voigt=False)}
    frame.arrays["forces"] = atoms.get_forces()
    return frame


def solids(repeat: int, strain: float, rattle: float, n: int, rng, kind: str, calculator) -> list[Atoms]:
    """Diamond cells under random strains (standard deviation of each component) with normal displacements (A)."""
    frames = []
    for _ in range(n):
        atoms = bulk("Si", cubic=True, a=LATTICE) * (repeat, repeat, repeat)
        random = rng.normal(0.0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (random + random.T)), scale_atoms=True)
        atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
        frames.append(label(atoms, kind, calculator))
    return frames


def melt(kind: str, n: int, rng, calculator) -> list[Atoms]:
    """Frames 0.1 ps apart of 64 atoms, melted at 5000 K for 2 ps and kept at the temperature for 1 ps before."""
    atoms = bulk("Si", cubic=True, a=LATTICE * 0.985) * (2, 2, 2)  # the melt is denser
    atoms.positions += rng.normal(0.0, 0.2, atoms.positions.shape)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=5000.0, rng=rng)
    dynamics = Langevin(atoms, 2.0 * units.fs, temperature_K=5000.0, friction=0.02 / units.fs, rng=rng, fixcm=False)
    dynamics.run(1000)
    dynamics.set_temperature(temperature_K=MELTS[kind])
    dynamics.run(500)
    frames = []
    for _ in range(n):
        dynamics.run(50)
        frames.append(label(atoms.copy(), kind, calculator))
        atoms.calc = calculator
    return frames


def frames_of(seed: int, share: float, calculator) -> list[Atoms]:
    """All kinds of frames; `share` of the number in the training set."""
    rng = np.random.default_rng(seed)

    def some(n):
        return round(share * n)

    return [
        *solids(1, 0.01, 0.02, some(40), rng, "strained", calculator),
        *solids(1, 0.04, 0.05, some(40), rng, "strained", calculator),
        *solids(2, 0.01, 0.10, some(30), rng, "rattled", calculator),
        *solids(2, 0.02, 0.15, some(20), rng, "rattled", calculator),
        *[frame for kind in MELTS for frame in melt(kind, some(20), rng, calculator)],
    ]


def settings(folder: Path, name: str, exact: bool) -> dict:
    """What is fitted.

    Stillinger-Weber and all its derivatives vanish at 3.77118 A, slowly at first as r falls: a cutoff function with a
    wide transition resembles it, so that little is left to the Gaussians. The data are exact, hence the small sigmas.
    """
    return {
        "output": str(folder / f"{name}.safetensors"),
        "e0": {"Si": 0.0},
        "default_sigma": [1e-4, 0.002, 0.001],
        "sparse_jitter": 1e-10,
        "exact": exact,
        "data": {"train": str(folder / "sw_train.xyz"), "test": str(folder / "sw_test.xyz")},
        "terms": [
            {"kind": "distance_2b", "cutoff": 3.8, "cutoff_transition_width": 2.0, "theta": 0.4, "delta": 10.0, "n_sparse": 40},
            {"kind": "angle_3b", "cutoff": 3.8, "cutoff_transition_width": 3.0, "theta": 0.7, "delta": 10.0,
             "n_sparse": 1000},
        ],
        "baseline": {"kind": "none"},
    }


def one_fit(folder: Path, exact: bool) -> dict:
    """Fit, errors of the test set by kind, elastic constants."""
    start = time.perf_counter()
    name = "sw_exact" if exact else "sw_splines"
    result = soapgap.fit(settings(folder, name, exact), threads=1, quiet=True, restart=True)
    seconds = time.perf_counter() - start
    calculator = soapgap.SoapGAP(folder / f"{name}.safetensors", n_threads=1)
    crystal = bulk("Si", cubic=True, a=LATTICE)
    return {"exact": exact, "errors": result.errors["test"], "constants": vars(cubic_constants(crystal, calculator)),
            "seconds": seconds, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "warnings": result.warnings}


def print_run(run: dict, reference: dict) -> None:
    """Both tables of one fit."""
    print(f"\nexact = {str(run['exact']).lower()}: {run['seconds']:.0f} s, peak of the process so far "
          f"{run['gigabytes']:.2f} GB; test set")
    print(f"{'':14s}{'E MAE':>9s}{'E RMSE':>9s}{'F MAE':>9s}{'F RMSE':>9s}{'W RMSE':>9s}")
    print(f"{'':14s}{'meV/atom':>9s}{'meV/atom':>9s}{'eV/A':>9s}{'eV/A':>9s}{'meV/atom':>9s}")
    for kind, e in run["errors"].items():
        print(f"{kind:14s}{e['energy']['mae']:9.3f}{e['energy']['rmse']:9.3f}{e['force']['mae']:9.4f}"
              f"{e['force']['rmse']:9.4f}{e['virial']['rmse']:9.3f}")
    print(table({"model": run["constants"], "reference": reference}), flush=True)


def misses(run: dict, reference: dict) -> list[str]:
    """What is outside its limit."""
    found = [f"exact = {run['exact']}: {name} off by {percent:.2f} %" for name in ("c11", "c12", "c44")
             if not (percent := 100 * abs(run["constants"][name] / reference[name] - 1)) <= LIMITS["percent"]]
    force = run["errors"]["all"]["force"]["rmse"]
    return found + ([] if force < LIMITS["force"] else [f"exact = {run['exact']}: force RMSE {force:.4f} eV/A"])


def main() -> int:
    """Data, two fits, verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("accuracy-sw"), help="folder for data, models and numbers")
    folder = parser.parse_args().output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    calculator = StillingerWeber()
    for name, seed, share in (("train", 1, 1.0), ("test", 3, 0.5)):
        frames = frames_of(seed, share, calculator)
        write(folder / f"sw_{name}.xyz", frames, format="extxyz")
        print(f"{name}: {len(frames)} frames, {sum(map(len, frames))} atoms")
    reference = vars(cubic_constants(bulk("Si", cubic=True, a=LATTICE), calculator))
    runs = [one_fit(folder, exact) for exact in (False, True)]
    for run in runs:
        print_run(run, reference)
    (folder / "accuracy_sw.json").write_text(json.dumps({"reference": reference, "runs": runs}, indent=1) + "\n")
    found = [miss for run in runs for miss in misses(run, reference)]
    print("\n".join(found) or "all limits are kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
