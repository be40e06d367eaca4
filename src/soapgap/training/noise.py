"""How much each observation is trusted: gap_fit's rules for the standard deviations sigma.

A row of the linear system is divided by its sigma. `default_sigma = [energy, force, virial]` holds for every frame
whose `config_type` is not in `config_type_sigma`; the type "default" there replaces it. With `sigma_per_atom` (the
default) the energy and the virial of a frame of N atoms have sigma sqrt(N); a frame's own keys `energy_sigma`,
`force_sigma`, `virial_sigma`, `force_atom_sigma` (a column), `force_component_sigma` (three columns) and
`virial_component_sigma` are absolute, without the sqrt(N). A logical column `force_mask` excludes the forces of the
atoms where it is true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from soapgap.errors import InputError
from soapgap.training.config import FitConfig
from soapgap.training.dataset import Structure
from soapgap.training.virials import as_tensor, as_voigt


@dataclass(frozen=True)
class Sigmas:
    """Standard deviations of one frame: energy (eV), forces (n_atoms, 3) (eV/A), virial (6,) (eV).

    `used_forces`, (n_atoms, 3), tells which force components count.
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    used_forces: np.ndarray


def sigmas(structure: Structure, config: FitConfig) -> Sigmas:
    """Standard deviations of the observations of one frame (QUIP's rules, module docstring).

    Raises
    ------
    InputError
        A sigma that is zero or negative although the frame has that observation.
    """
    n = len(structure.atoms)
    default = config.config_type_sigma.get("default", config.default_sigma)
    per_energy, per_force, per_virial = config.config_type_sigma.get(structure.config_type, default)
    root = np.sqrt(n) if config.sigma_per_atom else 1.0
    own = structure.overrides
    energy = float(own.get("energy_sigma", per_energy * root))
    forces = np.full((n, 3), float(own.get("force_sigma", per_force)))
    if "force_atom_sigma" in own:
        forces[:] = own["force_atom_sigma"].reshape(n, 1)
    if "force_component_sigma" in own:
        forces[:] = own["force_component_sigma"].reshape(n, 3)
    virial = np.full(6, float(own.get("virial_sigma", per_virial * root)))
    if "virial_component_sigma" in own:
        virial = as_voigt(as_tensor(own["virial_component_sigma"], "virial_component_sigma", structure.where))
    used = np.ones((n, 3), bool)
    if "force_mask" in own:
        used[own["force_mask"].reshape(n).astype(bool)] = False
    _check(structure, energy, forces[used], virial)
    return Sigmas(energy, forces, virial, used)


def _check(structure: Structure, energy: float, forces: np.ndarray, virial: np.ndarray) -> None:
    for what, values, present in (
        ("energy", np.atleast_1d(energy), structure.energy is not None),
        ("force", forces, structure.forces is not None),
        ("virial", virial, structure.virial is not None),
    ):
        if present and values.size and not values.min() > 0.0:
            key = "forces" if what == "force" else what
            raise InputError(f"{structure.where} (config_type {structure.config_type!r}): the {what} sigma is "
                             f'{values.min():g}, expected > 0; not to fit this quantity, set data.{key}_key = ""')


def unused_types(structures: Iterable[Structure], config: FitConfig) -> list[str]:
    """Types in `config_type_sigma` that no frame has: most likely misspelt."""
    present = {s.config_type for s in structures} | {"default"}
    return [name for name in config.config_type_sigma if name not in present]
