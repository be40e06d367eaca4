"""How good a model is on a data set: errors by quantity and by config_type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.data.virials import as_voigt
from soapgap.learn.curvature import model_curvatures
from soapgap.ordered_map import ordered_map

QUANTITIES = {
    "energy": "meV/atom",
    "force": "eV/A",
    "virial": "meV/atom",
    "local_energy": "meV",
    "curvature": "eV/A^2",
}
_MILLI = ("energy", "virial", "local_energy")


@dataclass(frozen=True)
class Comparison:
    """Reference and prediction of one quantity of a data set, value by value.

    Attributes
    ----------
    reference, predicted : (n,) energy per atom (eV), force component (eV/A), virial component per atom (eV), energy of an
        atom (eV), or curvature (eV/A^2)
    types : (n,) config_type of the frame of each value
    species : (n,) chemical symbol of the atom of each value, "" where the value is not that of one atom
    frames : (n,) number of the structure of each value, counted from 0 in the order in which they were compared
    atoms : (n,) number of the atom in its structure, counted from 0; -1 where the value is not that of one atom
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
    hessian_delta : displacement for the curvatures (A)

    Returns
    -------
    comparisons : by quantity, the keys of `QUANTITIES`
    """
    first = model.evaluator(1)
    evaluators = [first, *(first.clone() for _ in range(n_threads - 1))]
    collected: dict[str, list] = {quantity: [] for quantity in QUANTITIES}
    results = ordered_map(lambda evaluator, s: _compare_one(evaluator, s, hessian_delta), structures, evaluators)
    for index, (structure, pairs) in enumerate(zip(structures, results, strict=True)):
        for quantity, (reference, predicted) in pairs.items():
            collected[quantity].append(_labelled(structure, index, quantity, reference, predicted))
        advance(1)
    return {quantity: _join(parts) for quantity, parts in collected.items()}


def _compare_one(evaluator, structure: Structure, delta: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reference and prediction of what is known about one structure."""
    neighbours = neighbours_of(structure, evaluator.cutoff, evaluator.species)
    n = len(structure.atoms)
    need_gradients = structure.forces is not None or structure.virial is not None
    energies, gradients = evaluator.evaluate(neighbours, gradients=need_gradients)
    pairs = {}
    if structure.energy is not None:
        pairs["energy"] = np.array([structure.energy / n]), np.array([energies.sum() / n])
    if need_gradients:
        forces, virial = evaluator.forces_and_virial(neighbours, gradients)
        if structure.forces is not None:
            used = structure.used_forces
            pairs["force"] = structure.forces[used].ravel(), forces[used].ravel()
        if structure.virial is not None:
            pairs["virial"] = as_voigt(structure.virial) / n, as_voigt(virial) / n
    if structure.local_energies is not None:
        used = structure.used_local_energies
        pairs["local_energy"] = structure.local_energies[used], _local_energies(evaluator, neighbours)[used]
    if structure.curvatures is not None:
        pairs["curvature"] = structure.curvatures, model_curvatures(evaluator, structure, delta)
    return pairs


def _labelled(structure: Structure, index: int, quantity: str, reference: np.ndarray, predicted: np.ndarray) -> Comparison:
    """The values of one structure with what they belong to."""
    n = len(reference)
    atoms, species = np.full(n, -1), np.full(n, "")
    if quantity in ("force", "local_energy"):
        atoms = np.flatnonzero(structure.used_local_energies)
        if quantity == "force":
            atoms = np.repeat(np.flatnonzero(structure.used_forces), 3)
        species = np.array(structure.symbols)[atoms]
    return Comparison(reference, predicted, np.full(n, structure.config_type), species, np.full(n, index), atoms)


def _local_energies(evaluator, neighbours) -> np.ndarray:
    """Energies of the atoms, with what each has of the three-body energies around other centres, (n_atoms,), eV."""
    shares = np.zeros(len(neighbours.neighbour_atom)) if evaluator.shares_energy else None
    energies, _ = evaluator.evaluate(neighbours, gradients=False, shares=shares)
    if shares is None:
        return energies
    return energies + np.bincount(neighbours.neighbour_atom, weights=shares, minlength=neighbours.n_atoms)


def _join(parts: list[Comparison]) -> Comparison:
    if not parts:
        return Comparison(np.empty(0), np.empty(0), np.empty(0, str))
    return Comparison(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Comparison)))


def errors(comparisons: dict[str, Comparison]) -> dict[str, dict[str, dict[str, float]]]:
    """Root mean square and mean absolute errors.

    Returns
    -------
    errors : {config_type or "all": {quantity: {"n", "rmse", "mae"}}} in the units of `QUANTITIES`; quantities without data
        are absent
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
                unit = 1000.0 if quantity in _MILLI else 1.0
                entry[quantity] = {
                    "n": len(difference),
                    "rmse": unit * float(np.sqrt(np.mean(difference**2))),
                    "mae": unit * float(np.mean(np.abs(difference))),
                }
        table[group] = entry
    return table


def virial_sign_is_suspect(comparison: Comparison) -> bool:
    """True if the virials of the data fit better with the opposite sign: they were most likely given so."""
    if len(comparison.reference) == 0:
        return False
    right = np.sum((comparison.predicted - comparison.reference) ** 2)
    wrong = np.sum((comparison.predicted + comparison.reference) ** 2)
    return bool(wrong < right)
