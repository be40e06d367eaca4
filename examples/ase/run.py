"""Silicon with soapgap in ASE: relax a distorted crystal, its bulk modulus, and molecular dynamics at constant energy.

python run.py          (a few seconds)
"""

from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

import soapgap

MODEL = Path(__file__).resolve().parent.parent / "models" / "si.safetensors"
calculator = soapgap.SoapGAP(MODEL)

# atoms and cell together, from a crystal that is too large, sheared, and not in order
crystal = bulk("Si", cubic=True, a=5.55)
crystal.set_cell(crystal.cell.array @ np.array([[1.0, 0.02, 0.0], [0.02, 1.0, 0.01], [0.0, 0.01, 0.98]]), scale_atoms=True)
crystal.rattle(0.05, seed=1)
crystal.calc = calculator
BFGS(FrechetCellFilter(crystal), logfile=None).run(fmax=1e-4, steps=200)
energy = crystal.get_potential_energy() / len(crystal)
shape = "a, b, c = {:.4f}, {:.4f}, {:.4f} A, angles = {:.2f}, {:.2f}, {:.2f} degrees".format(*crystal.cell.cellpar())
print(f"relaxed: {energy:.4f} eV/atom, {shape}")

# energy against volume
volumes, energies = [], []
for scale in np.linspace(0.98, 1.02, 9):
    strained = crystal.copy()
    strained.set_cell(crystal.cell.array * scale, scale_atoms=True)
    strained.calc = calculator
    volumes.append(strained.get_volume())
    energies.append(strained.get_potential_energy())
modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()[2]
print(f"bulk modulus: {modulus / units.GPa:.1f} GPa")

# molecular dynamics: 64 atoms, 0.5 ps
atoms = crystal * (2, 2, 2)
atoms.calc = calculator
width = np.sqrt(units.kB * 600 / atoms.get_masses()[:, np.newaxis])  # Maxwell-Boltzmann; half becomes potential energy
atoms.set_velocities(width * np.random.default_rng(1).normal(size=(len(atoms), 3)))
Stationary(atoms)
totals, temperatures = [], []
dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
dynamics.attach(lambda: totals.append(atoms.get_total_energy()), interval=10)
dynamics.attach(lambda: temperatures.append(atoms.get_temperature()), interval=10)
dynamics.run(500)
spread = 1000 * np.std(totals[5:]) / len(atoms)
print(f"molecular dynamics: {np.mean(temperatures[10:]):.0f} K, total energy constant to {spread:.3f} meV/atom")
