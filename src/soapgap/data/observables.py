"""The observables of an interatomic potential: energy, energies of the atoms, forces, virial, curvatures.

    energy        sum_i E_i
    local energy  E_i
    force         -dE/dR
    virial        -dE/dstrain, xx yy zz yz xz xy
    curvature     e^T H e, a central difference of dE/dR . e

Importing this module registers them, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from soapgap.config.data import DataConfig
from soapgap.data.lookup import curvatures, local_energies, lookup, numbers
from soapgap.data.observable import OBSERVABLES, Observable, Outputs, SigmaRule, error_units, present, register, values_of
from soapgap.data.structure import Structure
from soapgap.data.virials import COMPONENTS, as_tensor, as_voigt, check_signs
from soapgap.errors import InputError

__all__ = ["OBSERVABLES", "Observable", "Outputs", "SigmaRule", "error_units", "present", "register", "values_of"]


class Energy(Observable):
    """The energy of a structure."""

    name, label, tally = "energy", "energy", "energies"
    unit, error_unit, factor, per_atom = "eV/atom", "meV/atom", 1000.0, True
    settings, common = ("energy_key",), True
    sigma = SigmaRule(place=0, extensive=True, own={"energy_sigma": ()})

    def read(self, frame, keys, own, where):
        """The number under `energy_key`."""
        value = lookup(frame, keys.energy_key, per_atom=False)
        return {} if value is None else {self.name: float(numbers(value, (), f"the energy ({keys.energy_key})", where))}

    def map(self, outputs, structure):
        """The sum over the centres, (1, ...)."""
        return np.asarray(outputs.energy)[None]


class LocalEnergy(Observable):
    """The energies of the atoms."""

    name, label, tally = "local_energy", "energy of an atom", "local_energies"
    unit, error_unit, factor = "eV", "meV", 1000.0
    settings, column, mask, mask_includes = ("local_energy_key",), True, "local_property_mask", True
    needs = frozenset({"local"})
    sigma = SigmaRule(setting="local_energy_sigma", own={"local_energy_sigma": (), "local_property_sigma": ()})

    def read(self, frame, keys, own, where):
        """The column `local_energy_key`; 0 where the mask excludes it."""
        values = local_energies(frame, keys.local_energy_key, own.get(self.mask), where)
        return {} if values is None else {self.name: values}

    def values(self, structure):
        """Those that the mask includes."""
        return structure.known[self.name][self.used(structure)]

    def atoms(self, structure):
        """One row each."""
        return np.flatnonzero(self.used(structure))

    def map(self, outputs, structure):
        """Those that the mask includes, (n_rows, ...)."""
        return outputs.local[self.used(structure)]


class Force(Observable):
    """The components of the forces."""

    name, label, tally = "force", "force component", "force_components"
    unit, error_unit = "eV/A", "eV/A"
    settings, column, common = ("forces_key",), True, True
    mask, vector, order, sign = "force_mask", 3, 1, -1.0
    needs = frozenset({"gradient"})
    sigma = SigmaRule(place=1, own={"force_sigma": (), "force_atom_sigma": (1,), "force_component_sigma": (3,)})

    def read(self, frame, keys, own, where):
        """The columns `forces_key`; 0 where the mask excludes them, whatever the file says."""
        forces = lookup(frame, keys.forces_key, per_atom=True)
        if forces is None:
            return {}
        if self.mask in own and np.shape(forces) == (len(frame), 3):
            forces = np.where(own[self.mask].astype(bool).reshape(-1, 1), 0.0, np.array(forces, dtype=float))
        return {self.name: numbers(forces, (len(frame), 3), f"the force ({keys.forces_key})", where)}

    def values(self, structure):
        """Components of the atoms that the mask leaves, x y z of each."""
        return structure.known[self.name][self.used(structure)].ravel()

    def atoms(self, structure):
        """Three rows each."""
        return np.repeat(np.flatnonzero(self.used(structure)), 3)

    def spread(self, value, key, structure):
        """One for all, for each atom, or for each component."""
        return np.broadcast_to(value, (len(structure.atoms), 3))[self.used(structure)].ravel()

    def map(self, outputs, structure):
        """dE/dR of the atoms that the mask leaves, (n_rows, ...); a view if it leaves all."""
        used = self.used(structure)
        return outputs.gradient if used.all() else outputs.gradient[np.repeat(used, 3)]


class Virial(Observable):
    """The virial W = -dE/dstrain."""

    name, label, tally = "virial", "virial component", "virial_components"
    unit, error_unit, factor, per_atom = "eV/atom", "meV/atom", 1000.0, True
    settings, common = ("virial_key", "stress_key"), True
    component_names, order, sign = COMPONENTS, 1, -1.0
    convention = "W = -dE/dstrain (a positive trace wants to expand) or ASE's stress = +(dE/dstrain)/volume"
    needs = frozenset({"strain"})
    sigma = SigmaRule(place=2, extensive=True, own={"virial_sigma": (), "virial_component_sigma": None})

    def read(self, frame, keys, own, where):
        """W (eV) from the virial, or from the stress as -V sigma; both must agree when both are there."""
        virial = lookup(frame, keys.virial_key, per_atom=False)
        stress = lookup(frame, keys.stress_key, per_atom=False)
        from_virial = from_stress = None
        if virial is not None:
            values = numbers(virial, None, f"the virial ({keys.virial_key})", where)
            from_virial = as_tensor(values, keys.virial_key, where)
        if stress is not None:
            volume = abs(np.linalg.det(frame.cell.array))
            if volume == 0.0:
                raise InputError(f"{where}: a stress ({keys.stress_key}) needs a cell, and this frame has none")
            values = numbers(stress, None, f"the stress ({keys.stress_key})", where)
            from_stress = -volume * as_tensor(values, keys.stress_key, where)
        if from_virial is not None and from_stress is not None:
            check_signs(from_virial, from_stress, len(frame), keys.virial_key, keys.stress_key, where)
        found = from_virial if from_virial is not None else from_stress
        return {} if found is None else {self.name: found}

    def values(self, structure):
        """The six components."""
        return as_voigt(structure.known[self.name])

    def spread(self, value, key, structure):
        """One for all, or one for each component."""
        if key == "virial_component_sigma":
            return as_voigt(as_tensor(value, key, structure.where))
        return np.full(6, value.item())

    def map(self, outputs, structure):
        """dE/dstrain, (6, ...)."""
        return outputs.strain


class Curvature(Observable):
    """Curvatures along given directions e of length 1 in the space of all coordinates, as gap_fit takes them.

        e^T H e = [ dE/dR(R + delta e) . e - dE/dR(R - delta e) . e ] / (2 delta) + O(delta^2)

    Rows of the design matrix, the baseline and the predictions in the table of errors are all made by the same difference, so
    that its error of second order cancels among them.
    """

    name, label, tally = "curvature", "curvature", "curvatures"
    unit, error_unit, order = "eV/A^2", "eV/A^2", 2
    settings, elsewhere, needs = ("hessian_key",), True, frozenset({"gradient"})
    sigma = SigmaRule(place=3, own={"hessian_sigma": ()})

    def read(self, frame: Atoms, keys: DataConfig, own: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
        """Values and directions, (n,) and (n, n_atoms, 3)."""
        found = curvatures(frame, keys.hessian_key, where)
        return {} if found is None else {self.name: found[0], "directions": found[1]}

    def frame_key(self, key):
        """Their number."""
        return key and f"n_{key}"

    def rows(self, at: Callable, structure: Structure, delta: float) -> np.ndarray:
        """Central differences of the slopes, (n, ...)."""
        found = []
        for direction in structure.directions:
            ends, along = [], direction.ravel()

            def slope(outputs: Outputs, along=along) -> np.ndarray:
                return along @ outputs.gradient

            for step in (delta, -delta):
                moved = structure.atoms.copy()
                moved.positions += step * direction
                ends.append(at(replace(structure, atoms=moved), slope))
            found.append((ends[0] - ends[1]) / (2.0 * delta))
        return np.array(found)

    def evaluations(self, structure):
        """Both ends of every direction."""
        return 2 * self.n_rows(structure)


for _observable in (Energy(), LocalEnergy(), Force(), Virial(), Curvature()):
    register(_observable)
