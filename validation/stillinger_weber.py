"""Stillinger-Weber silicon as data for a fit, and the elastic constants of what was fitted.

    python validation/stillinger_weber.py FOLDER
    python validation/accuracy.py stillinger_weber --data FOLDER --output FOLDER [--exact]
    python validation/stillinger_weber.py FOLDER --model FOLDER/model.safetensors

LAMMPS computes energies, forces and virials of strained and rattled diamond cells and of a melt; nothing is read from disk.
The test set is made with other seeds. The status of the last line is 1 unless C11, C12 and C44 (atoms relaxed) are within 1 %
of Stillinger-Weber's own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from soapgap import SoapGAP
from soapgap.physics.elastic import cubic_constants
from soapgap.physics.stillinger_weber import StillingerWeber

LIMIT = 1.0  # percent
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


def judge(path: Path) -> int:
    """Constants of the model beside those of Stillinger-Weber; status 1 if one of C11, C12, C44 is outside the limit."""
    crystal = bulk("Si", cubic=True, a=LATTICE)
    ours, theirs = (vars(cubic_constants(crystal, each)) for each in (SoapGAP(path, n_threads=1), StillingerWeber()))
    for name, value in theirs.items():
        print(f"{name:16s}{ours[name]:12.4f}{value:12.4f}{100 * (ours[name] / value - 1):+9.2f} %")
    return int(not all(abs(ours[name] / theirs[name] - 1) <= LIMIT / 100 for name in ("c11", "c12", "c44")))


def main() -> int:
    """Data, or the verdict on the elastic constants of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for sw_train.xyz and sw_test.xyz")
    parser.add_argument("--model", type=Path, help="judge this model instead")
    options = parser.parse_args()
    if options.model is not None:
        return judge(options.model)
    options.folder.mkdir(parents=True, exist_ok=True)
    calculator = StillingerWeber()
    for name, seed, share in (("train", 1, 1.0), ("test", 3, 0.5)):
        frames = frames_of(seed, share, calculator)
        write(options.folder / f"sw_{name}.xyz", frames, format="extxyz")
        print(f"{name}: {len(frames)} frames, {sum(map(len, frames))} atoms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
