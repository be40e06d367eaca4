"""What a model does where there are no data: dimers, E(V), phonons; and how fast it is. Each check has a result or a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.learn.baseline.baseline import Pair
from soapgap.model import Model
from soapgap.potential import Potential
from soapgap.report.model_crystals import Crystal, find_crystals
from soapgap.report.model_dimers import dimer_curves
from soapgap.report.model_phonons import MOST_ATOMS, MOST_SECONDS, phonon_check
from soapgap.report.model_speed import measure_speed
from soapgap.report.model_volume import at_volume, energy_volume

N_PHONONS = 2  # crystals whose phonons are computed, of lowest energy


def check_model(model: Model, structures: Sequence[Structure], shortest: Mapping[Pair, float], threads: int = 1,
                seconds: float = MOST_SECONDS) -> dict[str, Any]:
    """All checks of a model.

    Parameters
    ----------
    structures : sequence of Structure
        The training data.
    shortest : mapping of Pair to float
        Shortest training distance (A) of the pairs of species (`soapgap.data.environments.shortest_distances`).
    seconds : float
        Phonons of a crystal are not begun if they would take longer.

    Returns
    -------
    {"dimers", "energy_volume", "phonons", "speed"}, each {"results": ..., "remark": one line, "" if there is nothing to say}
    and "warnings": what the reader should have seen; all JSON values
    """
    warnings: list[str] = []
    try:
        potential = Potential(model, n_threads=threads)
        potential.compute(structures[0].atoms)
    except InputError as error:
        model = replace(model, external=[])
        potential = Potential(model, n_threads=threads)
        warnings.append(f"the checks are without the external potentials of the model: {error}")
    curves = dimer_curves(potential, structures, shortest)
    crystals, remark = find_crystals(structures, model.e0)
    volumes = [energy_volume(potential, crystal) for crystal in crystals]
    phonons, reasons = _phonons(potential, crystals, volumes, seconds)
    warnings += [_attraction(curve) for curve in curves if curve["attraction"]]
    warnings += [entry["warning"] for entry in (*volumes, *phonons) if entry["warning"]]
    return {
        "dimers": {"results": curves, "remark": ""},
        "energy_volume": {"results": volumes, "remark": remark},
        "phonons": {"results": phonons, "remark": "; ".join(reasons) or ("" if crystals else remark)},
        "speed": {"results": measure_speed(model, structures), "remark": ""},
        "warnings": warnings,
    }


def _phonons(potential: Potential, crystals: Sequence[Crystal], volumes: Sequence[dict],
             seconds: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Phonons of the crystals of lowest energy at the volume where the model has its minimum, and why some have none."""
    results: list[dict[str, Any]] = []
    reasons = []
    for crystal, curve in zip(crystals, volumes, strict=True):
        name = f"{crystal.formula} ({crystal.frame.where})"
        if len(results) == N_PHONONS:
            reasons.append(f"only the {N_PHONONS} crystals of lowest energy are looked at")
            break
        if curve["model"] is None:
            reasons.append(f"{name}: the model has no equilibrium volume")
            continue
        if len(crystal.atoms) > MOST_ATOMS:
            reasons.append(f"{name}: the primitive cell has {len(crystal.atoms)} atoms, more than {MOST_ATOMS}")
            continue
        try:
            atoms = at_volume(crystal.atoms, curve["model"]["volume"] * len(crystal.atoms))
            found = phonon_check(potential, atoms, seconds)
        except InputError as error:
            reasons.append(f"{name}: {error}")
            continue
        named = {"formula": crystal.formula, "frame": crystal.frame.where, "config_type": crystal.frame.config_type}
        results.append(named | found)
    return results, reasons


def _attraction(curve: Mapping[str, Any]) -> str:
    first, last = curve["attraction"]
    return (f"dimer scan: {curve['pair']} attracts between {first:.2f} and {last:.2f} Å; expected repulsion up to "
            f"{curve['shortest']:.2f} Å, where the data begin")
