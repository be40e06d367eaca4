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

import numpy as np
from ase import Atoms

from soapgap.config import FitConfig
from soapgap.data.lookup import numbers
from soapgap.data.observables import OBSERVABLES, Observable, present
from soapgap.data.structure import Structure
from soapgap.errors import InputError

_ORDINALS = ("first", "second", "third", "fourth")


def override_keys() -> dict[str, tuple[int, ...] | None]:
    """The keys that a frame may bring along, with the shape of what is there (`SigmaRule.own`)."""
    keys = {key: shape for observable in OBSERVABLES.values() for key, shape in observable.sigma.own.items()}
    return keys | {observable.mask: (1,) for observable in OBSERVABLES.values() if observable.mask}


def overrides(frame: Atoms, where: str) -> dict[str, np.ndarray]:
    """Sigmas and masks that a frame brings along, each where it belongs and of its shape."""
    found = {}
    for name, shape in override_keys().items():
        place, other, words = frame.info, frame.arrays, "a quantity of the whole frame"
        if shape:
            place, other, words = frame.arrays, frame.info, "a column, one row per atom"
        if name in other:
            raise InputError(f"{where}: {name} is {words}, but is given "
                             f"{'as a column' if other is frame.arrays else 'for the whole frame'}: move it")
        if name in place:
            value = np.reshape(place[name], (-1, 1)) if np.ndim(place[name]) == 1 and shape else place[name]
            found[name] = numbers(value, (len(frame), *shape) if shape else shape, name, where)
    if "local_energy_sigma" in found and "local_property_sigma" in found:
        raise InputError(f"{where}: has local_energy_sigma and local_property_sigma, which mean the same; remove one")
    return found


def sigmas(structure: Structure, config: FitConfig) -> dict[str, np.ndarray]:
    """Standard deviations of the observations of one frame (QUIP's rules, module docstring).

    Returns
    -------
    dict of str to ndarray
        Of every observable that the frame has, (n_rows,), in its units and in the order of the rows.

    Raises
    ------
    InputError
        A sigma that is zero, negative or missing although the frame has that observation.
    """
    return {observable.name: _checked(observable, structure, config) for observable in present(structure)}


def _checked(observable: Observable, structure: Structure, config: FitConfig) -> np.ndarray:
    """Of one observable, (n_rows,)."""
    own = [key for key in observable.sigma.own if key in structure.overrides]
    value = structure.overrides[own[-1]] if own else _configured(observable, structure, config)
    found = observable.spread(np.asarray(value, float), own[-1] if own else None, structure)
    if len(found) and not np.min(found) > 0.0:
        unread = f'data.{observable.settings[0]} = ""' if observable.settings else observable.to_unread
        raise InputError(f"{_frame(structure)}: the {observable.words} sigma is {np.min(found):g}, expected > 0; not to fit "
                         f"this quantity, set {unread}")
    return found


def _configured(observable: Observable, structure: Structure, config: FitConfig) -> float:
    """The sigma of the configuration for a frame of this type and size."""
    rule = observable.sigma
    value = rule.value if rule.setting is None else getattr(config, rule.setting)
    if rule.place is not None:
        of_type = config.config_type_sigma.get("default", config.default_sigma)
        of_type = config.config_type_sigma.get(structure.config_type, of_type)
        if rule.place >= len(of_type):
            raise InputError(f"{_frame(structure)}: has {observable.tally} ({observable.n_rows(structure)} of them), but no "
                             f"sigma for them: expected a {_ORDINALS[rule.place]} number in default_sigma or "
                             f"config_type_sigma, or {next(iter(rule.own))} in the frame ({observable.unit}); not to fit this "
                             f"quantity, set {observable.to_unread}")
        value = of_type[rule.place]
    return value * np.sqrt(len(structure.atoms)) if rule.extensive and config.sigma_per_atom else value


def _frame(structure: Structure) -> str:
    return f"{structure.where} (config_type {structure.config_type!r})"


def unused_types(structures: Iterable[Structure], config: FitConfig) -> list[str]:
    """Types in `config_type_sigma` that no frame has: most likely misspelt."""
    there = {s.config_type for s in structures} | {"default"}
    return [name for name in config.config_type_sigma if name not in there]
