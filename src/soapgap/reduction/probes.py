"""Structures that show what a change of a model does to its forces, within its data and far outside of them."""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from soapgap.neighbours.arrays import neighbour_arrays

__all__ = ["largest_differences", "probe_structures"]

#: Smallest distance in units of the sum of covalent radii, and volume per atom in units of a sphere of twice the radius.
_PACKINGS = ((0.95, 1.3), (0.8, 1.0), (0.6, 0.9), (0.4, 0.8))


#: Grown clusters: smallest distance between atoms that are not bonded, in units of the sum of covalent radii.
_GROWTHS = (1.2, 0.9)


def probe_structures(term, n_atoms: int = 24, closest: float = 0.0) -> list[Atoms]:
    """Random packings of the term's species, from ordinary to far too close, clusters with bonds, and pairs in vacuum.

    Always the same for the same species: positions come from a generator with a fixed seed. Packings closer than `closest`
    (in units of the sum of covalent radii) are left out.
    """
    rng = np.random.default_rng(20260)
    species = list(dict.fromkeys([term.centre, *term.neighbours]))
    structures = [_packing(species, n_atoms, *packing, rng) for packing in _PACKINGS if packing[0] >= closest]
    structures += [_grown(species, 2 * n_atoms, gap, rng) for gap in _GROWTHS]
    bond = 2.0 * _radius(term.centre)
    structures += [Atoms([term.centre, other], [[0.0, 0.0, 0.0], [0.0, 0.0, share * bond]])
                   for other in term.neighbours for share in (0.5, 1.0)]
    return structures


def largest_differences(model, other, structures) -> tuple[float, float]:
    """Largest differences of a local energy (eV) and of a force component (eV/Angstrom) between two models; NaN if one is."""
    first, second = model.evaluator(), other.evaluator()
    energy = force = 0.0
    for atoms in structures:
        pairs = neighbour_arrays(atoms, first.cutoff, first.species)
        results = [e.evaluate(pairs) for e in (first, second)]
        forces = [e.forces_and_virial(pairs, g)[0] for e, (_, g) in zip((first, second), results)]
        energy = np.maximum(energy, np.abs(results[0][0] - results[1][0]).max())  # unlike max, it keeps a NaN
        force = np.maximum(force, np.abs(forces[0] - forces[1]).max())
    return float(energy), float(force)


def _radius(symbol):
    return float(covalent_radii[atomic_numbers[symbol]])


def _packing(species, n_atoms, closest, volume, rng):
    """Atoms placed one after the other in a periodic cube, none closer than this many sums of radii where that is possible."""
    symbols = [species[k % len(species)] for k in range(n_atoms)]
    radii = np.array([_radius(s) for s in symbols])
    side = float((volume * np.sum(4.0 / 3.0 * np.pi * (1.25 * radii) ** 3)) ** (1.0 / 3.0))
    positions = np.empty((0, 3))
    for k in range(n_atoms):
        trials = rng.random((200, 3)) * side
        apart = trials[:, None] - positions[None]
        apart -= side * np.round(apart / side)
        distances = np.linalg.norm(apart, axis=2) / (radii[k] + radii[:k])
        room = distances.min(axis=1) if k else np.ones(len(trials))
        fits = np.flatnonzero(room >= closest)
        best = fits[0] if len(fits) else int(np.argmax(room))
        positions = np.vstack([positions, trials[best]])
    return Atoms(symbols, positions, cell=[side] * 3, pbc=True)


def _grown(species, n_atoms, closest, rng):
    """A cluster in which every atom is bonded to an earlier one, at 0.9 to 1.1 sums of radii, and near to no other."""
    symbols = [species[int(k)] for k in rng.integers(len(species), size=n_atoms)]
    radii = np.array([_radius(s) for s in symbols])
    positions = np.zeros((1, 3))
    for k in range(1, n_atoms):
        partner = rng.integers(k, size=200)
        direction = rng.normal(size=(200, 3))
        direction *= (rng.uniform(0.9, 1.1, 200) * (radii[k] + radii[partner]) / np.linalg.norm(direction, axis=1))[:, None]
        trials = positions[partner] + direction
        distances = np.linalg.norm(trials[:, None] - positions[None], axis=2) / (radii[k] + radii[:k])
        distances[np.arange(200), partner] = np.inf
        room = distances.min(axis=1)
        fits = np.flatnonzero(room >= closest)
        best = fits[0] if len(fits) else int(np.argmax(room))
        positions = np.vstack([positions, trials[best]])
    return Atoms(symbols, positions)
