"""Energy of a crystal against its volume, its equilibrium and its bulk modulus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState
from ase.units import GPa
from scipy.optimize import minimize_scalar

from soapgap.potential import Potential
from soapgap.report.model_crystals import Crystal

SEARCH = (0.7, 1.4)  # volumes between which the minimum is looked for, in units of that of the frame
N_SEARCH = 36
SPAN, N_VOLUMES = 0.10, 41  # the curve goes from 0.9 to 1.1 of the volume of the minimum
REFERENCE_SPAN = 0.25
EQUATION = "birchmurnaghan"


def at_volume(atoms: Atoms, volume: float) -> Atoms:
    """The structure scaled isotropically to a volume (A^3), scaled positions unchanged."""
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1.0 / 3.0), scale_atoms=True)
    return scaled


def equation_of_state(volumes: np.ndarray, energies: np.ndarray) -> dict[str, float] | None:
    """Minimum and bulk modulus from a least-squares fit of the Birch-Murnaghan equation of state.

    Parameters
    ----------
    volumes, energies : ndarray, shape (n,)
        A^3 and eV, both per atom.

    Returns
    -------
    {"volume": A^3/atom, "energy": eV/atom, "bulk_modulus": GPa}, or None if the data have no minimum that it could find
    """
    try:
        volume, energy, modulus = EquationOfState(volumes, energies, eos=EQUATION).fit(warn=False)
    except (ValueError, RuntimeError, TypeError, np.linalg.LinAlgError):  # what scipy and ASE raise if there is no minimum
        return None
    if not (np.isfinite([volume, energy, modulus]).all() and modulus > 0.0 and volumes[0] <= volume <= volumes[-1]):
        return None
    return {"volume": float(volume), "energy": float(energy), "bulk_modulus": float(modulus / GPa)}


def energy_volume(potential: Potential, crystal: Crystal) -> dict[str, Any]:
    """E(V) of a crystal by the model, atoms following the cell, beside the reference.

    The curve spans 10 % of the volume to both sides of the model's minimum, and all reference volumes if there are several.

    Returns
    -------
    JSON values: "volumes" and "energies" of the curve, "reference_volumes" and "reference_energies" (per atom, A^3 and eV,
    energies less those of the isolated atoms), "model" and "reference": `equation_of_state` or None, "warning" or None
    """
    atoms, n = crystal.atoms, len(crystal.atoms)
    isolated = sum(potential.model.e0[symbol] for symbol in atoms.get_chemical_symbols())

    def energy(volume: float) -> float:
        return (potential.compute(at_volume(atoms, volume * n)).energy - isolated) / n

    own = atoms.get_volume() / n
    minimum, warning = _minimum(energy, own)
    centre = own if minimum is None else minimum
    volumes = centre * np.linspace(1.0 - SPAN, 1.0 + SPAN, N_VOLUMES)
    model = None if minimum is None else equation_of_state(volumes, np.array([energy(v) for v in volumes]))
    several = len(crystal.volumes) >= 3
    shown = _grid(volumes, crystal.volumes) if several else volumes
    return {
        "formula": crystal.formula,
        "frame": crystal.frame.where,
        "config_type": crystal.frame.config_type,
        "n_atoms": n,
        "volumes": shown.tolist(),
        "energies": [energy(v) for v in shown],
        "reference_volumes": crystal.volumes.tolist(),
        "reference_energies": crystal.energies.tolist(),
        "model": model,
        "reference": _reference(crystal, centre) if several else None,
        "warning": warning and f"E(V) of {crystal.formula} ({crystal.frame.where}): {warning}",
    }


def _minimum(energy: Callable[[float], float], own: float) -> tuple[float | None, str | None]:
    """The volume of the minimum nearest to that of the frame, and what is wrong with the curve, if anything is."""
    grid = own * np.linspace(*SEARCH, N_SEARCH)
    values = np.array([energy(v) for v in grid])
    inner = np.flatnonzero((values[1:-1] <= values[:-2]) & (values[1:-1] <= values[2:])) + 1
    if len(inner) == 0:
        return None, f"the model's energy has no minimum between {grid[0]:.2f} and {grid[-1]:.2f} Å³ per atom"
    k = inner[np.argmin(np.abs(grid[inner] - own))]
    found = minimize_scalar(energy, bounds=(grid[k - 1], grid[k + 1]), method="bounded", options={"xatol": 1e-6 * own})
    lower = grid[values < found.fun - 1e-3]
    if len(lower):
        return float(found.x), (f"the energy at {lower[0]:.2f} Å³ per atom is lower than that of the minimum near the data, at "
                                f"{found.x:.2f} Å³: the crystal could collapse into it")
    return float(found.x), None


def _grid(volumes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    low, high = min(volumes[0], reference[0]), max(volumes[-1], reference[-1])
    return np.linspace(low, high, max(N_VOLUMES, int(N_VOLUMES * (high - low) / (volumes[-1] - volumes[0]))))


def _reference(crystal: Crystal, centre: float) -> dict[str, float] | None:
    """The equation of state of the reference, from the volumes within 25 % of the minimum if these are at least five."""
    near = np.abs(crystal.volumes / centre - 1.0) <= REFERENCE_SPAN
    if len(np.unique(crystal.volumes[near])) < 5:
        return None
    return equation_of_state(crystal.volumes[near], crystal.energies[near])
