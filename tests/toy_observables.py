"""Two observables that the package does not know."""

import numpy as np

from soapgap.data.observables import Observable, SigmaRule


class CarbonEnergy(Observable):
    """The energy of all carbon atoms of a structure: a sum of some of the outputs."""

    name, unit, needs, sigma = "carbon_energy", "eV", {"local"}, SigmaRule(value=0.002, own={"carbon_energy_sigma": ()})

    def map(self, outputs, structure):
        return outputs.local[np.array(structure.symbols) == "C"].sum(axis=0)[None]


class BondForce(Observable):
    """The force that drives the first two atoms apart, half of (F_1 - F_0) . u: derivatives of the outputs."""

    name, unit, order, sign, needs, sigma = "bond_force", "eV/A", 1, -1.0, {"gradient"}, SigmaRule(value=0.01)

    def map(self, outputs, structure):
        u = structure.atoms.positions[1] - structure.atoms.positions[0]
        along = 0.5 * u / np.linalg.norm(u)
        return (along @ outputs.gradient[3:6] - along @ outputs.gradient[:3])[None]
