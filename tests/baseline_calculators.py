"""Calculators of ASE that the tests of external potentials name: a damped dispersion, whole and with gaps."""

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.neighbours.arrays import neighbour_arrays


def pair_sums(atoms, cutoff, function):
    """Energy (eV), forces (eV/A), virial (eV) and energies of the atoms (eV) of pairs, one by one.

    function : (symbol, symbol, r) -> V, dV/dr of one pair of atoms
    """
    symbols = atoms.get_chemical_symbols()
    nb = neighbour_arrays(atoms, cutoff, sorted(set(symbols)))
    centre = np.repeat(np.arange(len(atoms)), np.diff(nb.offsets))
    energies, forces, virial = np.zeros(len(atoms)), np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for i, j, vector in zip(centre, nb.neighbour_atom, nb.vectors, strict=True):
        r = np.linalg.norm(vector)
        if r >= cutoff:
            continue
        value, slope = function(symbols[i], symbols[j], r)
        energies[i] += 0.5 * value
        gradient = 0.5 * slope * vector / r
        forces[i] += gradient
        forces[j] -= gradient
        virial -= np.outer(vector, gradient)
    return energies.sum(), forces, virial, energies


class Dispersion(Calculator):
    """-C6 / (r^6 + a^6), smoothly to zero at the cutoff by a factor (1 - r^2/cutoff^2)^3."""

    implemented_properties: ClassVar[list[str]] = ["energy", "energies", "forces", "stress"]

    def __init__(self, c6=20.0, radius=2.5, cutoff=6.0):
        super().__init__()
        self.c6, self.radius, self.cutoff = c6, radius, cutoff

    def pair(self, first, second, r):
        damped, t = r**6 + self.radius**6, 1.0 - (r / self.cutoff) ** 2
        value = -self.c6 / damped
        slope = 6.0 * self.c6 * r**5 / damped**2
        return value * t**3, slope * t**3 - 6.0 * value * t**2 * r / self.cutoff**2

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        energy, forces, virial, energies = pair_sums(self.atoms, self.cutoff, self.pair)
        found = {"energy": energy, "forces": forces, "energies": energies}
        if self.atoms.cell.rank == 3:
            found["stress"] = full_3x3_to_voigt_6_stress(-virial / self.atoms.get_volume())
        self.results = {key: value for key, value in found.items() if key in self.implemented_properties}


class WithoutStress(Dispersion):
    """The same, of which only energy and forces are told."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]


class Broken(Dispersion):
    """A calculator that cannot do what it should."""

    def calculate(self, *arguments, **keywords):
        raise RuntimeError("no licence")
