"""Curvatures along given directions, as gap_fit takes them: central differences of first derivatives.

    e^T H e = [ dE/dR(R + delta e) . e - dE/dR(R - delta e) . e ] / (2 delta) + O(delta^2)

with e of length 1 in the space of all coordinates. Rows of the design matrix, the baseline and the predictions in the
table of errors are all made by the same difference, so that its error of second order cancels among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of


def central_differences(structure: Structure, delta: float, slope: Callable[[Structure, np.ndarray], np.ndarray]) -> np.ndarray:
    """Curvatures of any quantity along the directions of the structure.

    Parameters
    ----------
    delta : displacement (Angstrom)
    slope : (displaced structure, direction (n_atoms, 3)) -> derivative along the direction, a number or an array

    Returns
    -------
    curvatures : (n_directions, ...)
    """
    found = []
    for direction in structure.directions:
        ends = []
        for step in (delta, -delta):
            moved = structure.atoms.copy()
            moved.positions += step * direction
            ends.append(slope(replace(structure, atoms=moved), direction))
        found.append((ends[0] - ends[1]) / (2.0 * delta))
    return np.array(found)


def model_curvatures(evaluator, structure: Structure, delta: float) -> np.ndarray:
    """Curvatures (eV/Angstrom^2) that a model has along the directions of the structure, (n_directions,)."""

    def slope(moved: Structure, direction: np.ndarray) -> float:
        neighbours = neighbours_of(moved, evaluator.cutoff, evaluator.species)
        _, gradients = evaluator.evaluate(neighbours)
        forces, _ = evaluator.forces_and_virial(neighbours, gradients)
        return -float(np.sum(forces * direction))

    return central_differences(structure, delta, slope)
