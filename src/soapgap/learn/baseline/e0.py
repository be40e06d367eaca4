"""Energies of isolated atoms, e0: given, from isolated-atom frames, fitted to the compositions, or the mean energy per atom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError


def is_isolated(structure: Structure, cutoff: float, species: Sequence[str]) -> bool:
    """True for one atom alone, with no periodic image within the cutoff.

    Parameters
    ----------
    structure : Structure
    cutoff : float
        Angstrom.
    species : sequence of str
        Chemical symbols of the model.

    Returns
    -------
    bool
    """
    return len(structure.atoms) == 1 and len(neighbours_of(structure, cutoff, species).vectors) == 0


def atom_energies(rule: str | dict[str, float], structures: Sequence[Structure], species: Sequence[str],
                  cutoff: float, baseline_energies: Sequence[float], offset: float = 0.0) -> dict[str, float]:
    """Energy of an isolated atom of every species (eV).

    Parameters
    ----------
    rule : "isolated", "fit", "average", or the energies themselves
    species : sequence of str
        Chemical symbols.
    cutoff : float
        Largest cutoff of the model (Angstrom): an isolated atom has no neighbour within it.
    baseline_energies : sequence of float
        Energy of the baseline of every structure (eV), subtracted first.
    offset : float
        Added to the energy of every species (eV).

    Notes
    -----
    "fit" minimises sum_k w_k (E_k - E_base,k - sum_s n_ks e0_s)^2 over all frames with an energy, w_k the weight of the
    file; where the compositions do not determine e0 (all frames of one stoichiometry), the solution of the smallest norm is
    taken. "average" (gap_fit's e0_method=average) is the same number for all species, the mean of (E_k - E_base,k)/N_k over
    these frames, isolated atoms among them, weighted by w_k. Local energies that are known for all atoms of a frame give its
    energy as their sum.
    """
    if isinstance(rule, dict):
        found = _given(rule, species)
    elif rule == "isolated":
        found = _from_isolated(structures, species, cutoff, baseline_energies)
    else:
        found = _from_all(rule, structures, species, baseline_energies)
    return {symbol: energy + offset for symbol, energy in found.items()}


def _from_all(rule: str, structures: Sequence[Structure], species: Sequence[str],
              baseline_energies: Sequence[float]) -> dict[str, float]:
    rows = [k for k, s in enumerate(structures) if s.total_energy is not None]
    if not rows:
        raise InputError(f'e0 = "{rule}" needs energies, and no frame has one; give the values: e0 = {{Si = -0.79}}')
    weights = np.array([structures[k].weight for k in rows])
    if rule == "average":
        per_atom = [(structures[k].total_energy - baseline_energies[k]) / len(structures[k].atoms) for k in rows]
        return dict.fromkeys(species, float(np.average(per_atom, weights=weights)))
    counts = np.array([[structures[k].symbols.count(symbol) for symbol in species] for k in rows], float)
    energies = np.array([structures[k].total_energy - baseline_energies[k] for k in rows])
    roots = np.sqrt(weights)
    solution = np.linalg.lstsq(counts * roots[:, None], energies * roots, rcond=None)[0]
    return dict(zip(species, solution.tolist(), strict=True))


def _given(rule: dict[str, float], species: Sequence[str]) -> dict[str, float]:
    missing = [symbol for symbol in species if symbol not in rule]
    if missing:
        raise InputError(f"e0 gives no energy for {', '.join(missing)}, which the training data contain; add it")
    extra = [symbol for symbol in rule if symbol not in species]
    if extra:
        raise InputError(f"e0 names {', '.join(extra)}, but the training data contain only {', '.join(species)}")
    return {symbol: rule[symbol] for symbol in species}


def _from_isolated(structures, species, cutoff, baseline_energies) -> dict[str, float]:
    found: dict[str, tuple[float, str]] = {}
    for structure, baseline in zip(structures, baseline_energies, strict=True):
        if structure.total_energy is None or not is_isolated(structure, cutoff, species):
            continue
        symbol, energy = structure.symbols[0], structure.total_energy - baseline
        if symbol in found and abs(found[symbol][0] - energy) > 1e-6:
            raise InputError(f"two isolated {symbol} atoms have different energies: {found[symbol][0]:.6f} eV "
                             f"({found[symbol][1]}) and {energy:.6f} eV ({structure.where}); keep one")
        found.setdefault(symbol, (energy, structure.where))
    missing = [symbol for symbol in species if symbol not in found]
    if missing:
        example = ", ".join(f"{symbol} = ..." for symbol in species)
        raise InputError(f'e0 = "isolated" needs a frame with one atom alone and its energy (no neighbour within '
                         f"{cutoff:g} A) for {', '.join(missing)}; add it, or set e0 = {{{example}}} or e0 = \"fit\"")
    return {symbol: found[symbol][0] for symbol in species}
