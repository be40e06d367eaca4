"""How good a model is on a data set: errors by quantity and by config_type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from soapgap.data.observables import OBSERVABLES, Observable, present, values_of
from soapgap.data.structure import Structure
from soapgap.learn.predict import model_outputs
from soapgap.ordered_map import ordered_map


@dataclass(frozen=True)
class Comparison:
    """Reference and prediction of one observable of a data set, value by value.

    Attributes
    ----------
    reference, predicted : ndarray
        (n,) in the unit of the observable: energy per atom (eV), force component (eV/A), virial component per atom (eV),
        energy of an atom (eV), curvature (eV/A^2).
    types : ndarray
        (n,) config_type of the frame of each value.
    species : ndarray
        (n,) chemical symbol of the atom of each value, "" where the value is not that of one atom.
    frames : ndarray
        (n,) number of the structure of each value, counted from 0 in the order in which they were compared.
    atoms : ndarray
        (n,) number of the atom in its structure, counted from 0; -1 where the value is not that of one atom.
    """

    reference: np.ndarray
    predicted: np.ndarray
    types: np.ndarray
    species: np.ndarray = field(default_factory=lambda: np.empty(0, str))
    frames: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    atoms: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def compare(model, structures: Sequence[Structure], n_threads: int = 1,
            advance=lambda amount: None, hessian_delta: float = 0.01) -> dict[str, Comparison]:
    """Predict all structures and put the predictions beside the reference.

    Forces and local energies that the masks of the data exclude are left out.

    Parameters
    ----------
    hessian_delta : float
        Displacement for the curvatures (A).

    Returns
    -------
    dict of str to Comparison
        By the name of the observable; empty ones where there are no data.
    """
    first = model.evaluator(1)
    evaluators = [first, *(first.clone() for _ in range(n_threads - 1))]
    collected: dict[str, list] = {name: [] for name in OBSERVABLES}
    results = ordered_map(lambda evaluator, s: predict(evaluator, s, hessian_delta), structures, evaluators)
    for index, (structure, predicted) in enumerate(zip(structures, results, strict=True)):
        for observable in present(structure):
            collected[observable.name].append(_compared(structure, index, observable, predicted[observable.name]))
        advance(1)
    return {name: _join(parts) for name, parts in collected.items()}


def predict(evaluator, structure: Structure, hessian_delta: float = 0.01) -> dict[str, np.ndarray]:
    """What a model gives for every observable that a structure has, (n_rows,), in the units of the observations."""
    return values_of(lambda moved, needs: model_outputs(evaluator, moved, needs), structure, hessian_delta)


def _compared(structure: Structure, index: int, observable: Observable, predicted: np.ndarray) -> Comparison:
    """The values of one structure with what they belong to."""
    n, reference, atoms = len(predicted), observable.values(structure), observable.atoms(structure)
    if observable.per_atom:
        reference, predicted = reference / len(structure.atoms), predicted / len(structure.atoms)
    species = np.full(n, "") if atoms is None else np.array(structure.symbols)[atoms]
    atoms = np.full(n, -1) if atoms is None else atoms
    return Comparison(reference, predicted, np.full(n, structure.config_type), species, np.full(n, index), atoms)


def _join(parts: list[Comparison]) -> Comparison:
    if not parts:
        return Comparison(np.empty(0), np.empty(0), np.empty(0, str))
    return Comparison(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Comparison)))


def errors(comparisons: dict[str, Comparison]) -> dict[str, dict[str, dict[str, float]]]:
    """Root mean square and mean absolute errors.

    Returns
    -------
    dict
        {config_type or "all": {observable: {"n", "rmse", "mae"}}} in their error units; those without data are absent.
    """
    types = sorted({str(name) for c in comparisons.values() for name in np.unique(c.types)})
    groups = ["all", *types] if len(types) > 1 else ["all"]
    table: dict[str, dict[str, dict[str, float]]] = {}
    for group in groups:
        entry = {}
        for quantity, comparison in comparisons.items():
            chosen = slice(None) if group == "all" else comparison.types == group
            difference = (comparison.predicted - comparison.reference)[chosen]
            if len(difference):
                unit = OBSERVABLES[quantity].factor
                entry[quantity] = {
                    "n": len(difference),
                    "rmse": unit * float(np.sqrt(np.mean(difference**2))),
                    "mae": unit * float(np.mean(np.abs(difference))),
                }
        table[group] = entry
    return table


def sign_is_suspect(comparison: Comparison) -> bool:
    """True if the values of the data fit better with the opposite sign: they were most likely given so."""
    if len(comparison.reference) == 0:
        return False
    right = np.sum((comparison.predicted - comparison.reference) ** 2)
    wrong = np.sum((comparison.predicted + comparison.reference) ** 2)
    return bool(wrong < right)
