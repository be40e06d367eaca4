"""How much each observation is trusted: gap_fit's rules for the standard deviations sigma.

A row of the linear system is divided by its sigma. `default_sigma = [energy, force, virial, curvature]` (the last may be
left out) holds for every frame whose `config_type` is not in `config_type_sigma`; the type "default" there replaces it.
With `sigma_per_atom` (the default) the energy and the virial of a frame of N atoms have sigma sqrt(N). Local energies have
`local_energy_sigma`. A frame's own keys `energy_sigma`, `force_sigma`, `virial_sigma`, `hessian_sigma`,
`local_energy_sigma` (or gap_fit's `local_property_sigma`), `force_atom_sigma` (a column), `force_component_sigma` (three
columns) and `virial_component_sigma` are absolute, without the sqrt(N). A logical column `force_mask` excludes the forces
of the atoms where it is true; `local_property_mask` includes the local energies of the atoms where it is true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from soapgap.config import FitConfig
from soapgap.data.dataset import Structure
from soapgap.data.virials import as_tensor, as_voigt
from soapgap.errors import InputError


@dataclass(frozen=True)
class Sigmas:
    """Standard deviations of one frame.

    Energy (eV), forces (n_atoms, 3) (eV/A), virial (6,) (eV), local energies (eV), curvatures (eV/A^2); None where no sigma
    of curvatures is given. `used_forces`, (n_atoms, 3), tells which force components count.
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    used_forces: np.ndarray
    local_energy: float
    curvature: float | None


def sigmas(structure: Structure, config: FitConfig) -> Sigmas:
    """Standard deviations of the observations of one frame (QUIP's rules, module docstring).

    Raises
    ------
    InputError
        A sigma that is zero, negative or missing although the frame has that observation.
    """
    n = len(structure.atoms)
    default = config.config_type_sigma.get("default", config.default_sigma)
    per_energy, per_force, per_virial, *rest = config.config_type_sigma.get(structure.config_type, default)
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
    local = float(own.get("local_energy_sigma", own.get("local_property_sigma", config.local_energy_sigma)))
    curvature = [float(own["hessian_sigma"])] if "hessian_sigma" in own else rest
    used = np.repeat(structure.used_forces[:, None], 3, axis=1)
    found = Sigmas(energy, forces, virial, used, local, curvature[0] if curvature else None)
    _check(structure, found)
    return found


def _check(structure: Structure, sigma: Sigmas) -> None:
    place = f"{structure.where} (config_type {structure.config_type!r})"
    if structure.curvatures is not None and sigma.curvature is None:
        raise InputError(f"{place}: has curvatures ({len(structure.curvatures)} of them), but no sigma for them: expected a "
                         "fourth number in default_sigma or config_type_sigma, or hessian_sigma in the frame (eV/A^2); "
                         'not to fit this quantity, set data.hessian_key = ""')
    for what, values, present, key in (
        ("energy", sigma.energy, structure.energy is not None, "energy"),
        ("force", sigma.forces[sigma.used_forces], structure.forces is not None, "forces"),
        ("virial", sigma.virial, structure.virial is not None, "virial"),
        ("local energy", sigma.local_energy, structure.local_energies is not None, "local_energy"),
        ("curvature", sigma.curvature, structure.curvatures is not None, "hessian"),
    ):
        if present and np.size(values) and not np.min(values) > 0.0:
            raise InputError(f"{place}: the {what} sigma is {np.min(values):g}, expected > 0; not to fit this quantity, "
                             f'set data.{key}_key = ""')


def unused_types(structures: Iterable[Structure], config: FitConfig) -> list[str]:
    """Types in `config_type_sigma` that no frame has: most likely misspelt."""
    present = {s.config_type for s in structures} | {"default"}
    return [name for name in config.config_type_sigma if name not in present]
