"""Calculators of ASE as external potentials."""

from __future__ import annotations

import importlib

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

from soapgap.errors import InputError
from soapgap.model.external.specification import AsePotential
from soapgap.model.external.values import ExternalValues

__all__ = ["AseEngine"]


class AseEngine:
    """One calculator.

    Raises
    ------
    InputError
        Its module is not installed, has no such class, or the class does not take the arguments.
    """

    def __init__(self, potential: AsePotential) -> None:
        self.label = potential.label
        module, name = potential.calculator.split(":")
        try:
            cls = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise InputError(f"{self.label}: {error}; install the package that it comes from in the environment of soapgap"
                             ) from None
        except AttributeError:
            raise InputError(f"{self.label}: the module {module} has no {name}; expected module:Class") from None
        try:
            self._calculator = cls(**potential.arguments)
        except Exception as error:  # whatever a foreign constructor raises
            raise InputError(f"{self.label}: it does not take the arguments {potential.arguments}: {type(error).__name__}: "
                             f"{error}") from None

    def compute(self, atoms: Atoms) -> ExternalValues:
        """Energy, forces, virial and energies of the atoms of one structure.

        Without periodicity the virial is W = sum_i r_i (x) F_i; else it is -V times the calculator's stress.

        Raises
        ------
        InputError
            The calculator fails.
        """
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.calc = self._calculator
        try:
            forces = np.array(bare.get_forces(), float)
            energy = float(bare.get_potential_energy())
            return ExternalValues(energy, forces, self._virial(bare, forces), self._energies(bare, energy))
        except Exception as error:  # whatever foreign code raises
            raise InputError(f"{self.label} fails for {atoms.get_chemical_formula()}: {type(error).__name__}: {error}"
                             ) from None

    def _virial(self, atoms: Atoms, forces: np.ndarray) -> np.ndarray | None:
        if not atoms.pbc.any():
            moments = np.einsum("ia,ib->ab", atoms.positions, forces)
            return 0.5 * (moments + moments.T)
        try:
            return -atoms.get_volume() * voigt_6_to_full_3x3_stress(atoms.get_stress())
        except (PropertyNotImplementedError, NotImplementedError):
            return None

    def _energies(self, atoms: Atoms, energy: float) -> np.ndarray | None:
        try:
            energies = np.array(atoms.get_potential_energies(), float)
        except (PropertyNotImplementedError, NotImplementedError):
            return None
        complete = energies.shape == (len(atoms),) and abs(energies.sum() - energy) <= 1e-8 * max(1.0, np.abs(energies).sum())
        return energies if complete else None
