"""Virials and stresses: shapes, and the sign, the mistake that every code of this kind lets through silently."""

from __future__ import annotations

import numpy as np

from soapgap.errors import InputError

STRAINS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # xx yy zz yz xz xy
COMPONENTS = tuple("xyz"[a] + "xyz"[b] for a, b in STRAINS)
RELATIVE_TOLERANCE = 0.01
ABSOLUTE_TOLERANCE = 1e-3  # eV per atom: the rounding of printed stresses

_UNITS = {"GPa": 160.21766, "kbar": 1602.1766, "bar": 1602176.6, "Hartree/Bohr^3": 1.0 / 183.6315}


def as_tensor(values: np.ndarray, key: str, where: str) -> np.ndarray:
    """Symmetric (3, 3) tensor from (3, 3), 9 or 6 numbers (Voigt: xx yy zz yz xz xy)."""
    if values.shape == (6,):
        tensor = np.empty((3, 3))
        for value, (a, b) in zip(values, STRAINS, strict=True):
            tensor[a, b] = tensor[b, a] = value
        return tensor
    if values.size != 9:
        raise InputError(f"{where}: {key} has {values.size} numbers, expected 9, or 6 (xx yy zz yz xz xy)")
    tensor = values.reshape(3, 3)
    return 0.5 * (tensor + tensor.T)


def as_voigt(tensor: np.ndarray) -> np.ndarray:
    """The six components xx yy zz yz xz xy of a symmetric (3, 3) tensor."""
    return np.array([tensor[a, b] for a, b in STRAINS])


def check_signs(virial: np.ndarray, minus_v_stress: np.ndarray, n_atoms: int, virial_key: str, stress_key: str,
                where: str) -> None:
    """Compare a virial with the stress of the same frame.

    With W = -dE/dstrain (eV; a positive trace wants to expand) and ASE's stress sigma = (1/V) dE/dstrain (eV/A^3;
    positive is tension), W = -V sigma. They may differ by 1 % of the larger one plus 1 meV per atom.

    Raises
    ------
    InputError
        They differ; the message says whether by the sign, by a unit, or otherwise.
    """
    scale = max(np.abs(virial).max(), np.abs(minus_v_stress).max())
    if np.abs(virial - minus_v_stress).max() <= RELATIVE_TOLERANCE * scale + ABSOLUTE_TOLERANCE * n_atoms:
        return
    norm = float(np.sum(minus_v_stress**2))
    factor = float(np.sum(virial * minus_v_stress)) / norm if norm > 0.0 else np.inf
    a, b = np.unravel_index(np.argmax(np.abs(virial - minus_v_stress)), (3, 3))
    component = "xyz"[a] + "xyz"[b]
    raise InputError(
        f"{where}: {virial_key} and {stress_key} contradict each other ({_diagnosis(factor)}): component {component} "
        f"of the virial is {virial[a, b]:.6g} eV, -volume * stress is {minus_v_stress[a, b]:.6g} eV. Expected: virial "
        "= -dE/dstrain in eV (a positive trace wants to expand) and ASE's stress = +(dE/dstrain)/volume in eV/A^3 "
        '(positive is tension). Correct the data, or read only the right one: data.virial_key = "" or '
        'data.stress_key = ""'
    )


def _diagnosis(factor: float) -> str:
    if abs(factor + 1.0) < 0.05:
        return "their signs do not fit: one of them follows the opposite sign convention"
    for unit, size in _UNITS.items():
        for sign in (1.0, -1.0):
            if abs(factor * size * sign - 1.0) < 0.05:
                also = " and of the opposite sign" if sign < 0 else ""
                return f"the stress looks as if it were in {unit}{also}"
    return f"virial is {factor:.4g} times -volume * stress"
