"""Two atoms alone: the curve that a model draws for every pair of species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.learn.baseline.baseline import DIMER_BOX, Pair, species_pairs
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential

FIRST_DISTANCE = 0.2
N_DISTANCES = 200


def dimer_curve(potential: Potential, pair: Pair, shortest: float | None,
                reference: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
    """Energy of two atoms less those of the isolated atoms, from 0.2 A to the cutoff.

    Parameters
    ----------
    shortest : float or None
        Shortest distance of the pair in the training data (A), None if the pair does not occur.
    reference : sequence of tuple of float
        Distances (A) and energies (eV) of dimers in the data.

    Returns
    -------
    JSON values: "distances" (A), "energies" (eV) and "forces" (-dE/dr, eV/A; NaN where an external potential refuses),
    "shortest", "reference_distances", "reference_energies", "well": distance and energy of the minimum beyond `shortest` or
    None, "attraction": first and last distance below `shortest` at which the atoms attract each other, or None
    """
    distances = np.linspace(FIRST_DISTANCE, potential.cutoff, N_DISTANCES)
    energies, forces = _own_values(potential, pair, distances)
    if potential.external:
        outside = np.array([_external_values(potential, pair, r) for r in distances])
        energies, forces = energies + outside[:, 0], forces + outside[:, 1]
    attractive = distances[(forces < 0.0) & (distances < (shortest or 0.0))]
    return {
        "pair": "-".join(pair),
        "distances": distances.tolist(),
        "energies": energies.tolist(),
        "forces": forces.tolist(),
        "shortest": shortest,
        "reference_distances": [r for r, _ in reference],
        "reference_energies": [e for _, e in reference],
        "well": _well(distances, energies, shortest or FIRST_DISTANCE),
        "attraction": [float(attractive[0]), float(attractive[-1])] if len(attractive) else None,
    }


def _own_values(potential: Potential, pair: Pair, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies less e0 (eV) and -dE/dr (eV/A) by the terms of the model: all dimers side by side, out of each other's reach."""
    n, evaluator = len(distances), potential.evaluator
    positions = np.zeros((n, 2, 3))
    positions[:, :, 0] = 3.0 * potential.cutoff * np.arange(n)[:, None]
    positions[:, 1, 2] = distances
    atoms = Atoms(list(pair) * n, positions.reshape(-1, 3))
    pairs = neighbour_arrays(atoms, potential.cutoff, potential.species)
    energies, gradients = evaluator.evaluate(pairs)
    forces, _ = evaluator.forces_and_virial(pairs, gradients)
    isolated = sum(potential.model.e0[symbol] for symbol in pair)
    return energies.reshape(n, 2).sum(axis=1) - isolated, forces.reshape(n, 2, 3)[:, 1, 2]


def _external_values(potential: Potential, pair: Pair, r: float) -> tuple[float, float]:
    """Energy and -dE/dr of the external potentials; alone or, if they want periodicity, in a large cube; NaN if they refuse."""
    atoms = Atoms(list(pair), [[0.0, 0.0, 0.0], [0.0, 0.0, r]])
    for periodic in (False, True):
        if periodic:
            atoms.set_cell([DIMER_BOX] * 3)
            atoms.pbc = True
        try:
            values = potential.external.compute(atoms)
            return values.energy, float(values.forces[1, 2])
        except InputError:
            continue
    return np.nan, np.nan


def _well(distances: np.ndarray, energies: np.ndarray, start: float) -> dict[str, float] | None:
    """The minimum beyond `start`, if it is one and below zero."""
    known = np.flatnonzero((distances >= start) & np.isfinite(energies))
    if len(known) < 3:
        return None
    k = known[np.argmin(energies[known])]
    if k in (known[0], known[-1]) or energies[k] >= 0.0:
        return None
    return {"distance": float(distances[k]), "energy": float(energies[k])}


def reference_dimers(structures: Sequence[Structure], e0: Mapping[str, float],
                     cutoff: float) -> dict[Pair, list[tuple[float, float]]]:
    """Distances (A) and energies less those of the isolated atoms (eV) of the frames that are two atoms alone."""
    species = list(e0)
    found: dict[Pair, list[tuple[float, float]]] = {}
    for structure in structures:
        atoms = structure.atoms
        if len(atoms) != 2 or structure.total_energy is None:
            continue
        if (atoms.pbc & (atoms.cell.lengths() < 2.0 * cutoff)).any():
            continue  # images are near
        pair = tuple(sorted(structure.symbols, key=species.index))
        energy = structure.total_energy - sum(e0[symbol] for symbol in pair)
        found.setdefault(pair, []).append((float(atoms.get_distance(0, 1, mic=bool(atoms.pbc.any()))), float(energy)))
    return {pair: sorted(points) for pair, points in found.items()}


def dimer_curves(potential: Potential, structures: Sequence[Structure], shortest: Mapping[Pair, float]) -> list[dict[str, Any]]:
    """`dimer_curve` of every pair of species of the model."""
    e0 = {symbol: potential.model.e0[symbol] for symbol in potential.model.species}
    reference = reference_dimers(structures, e0, potential.cutoff)
    return [dimer_curve(potential, pair, shortest.get(pair), reference.get(pair, ())) for pair in species_pairs(list(e0))]
