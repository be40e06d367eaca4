"""Small models with seeded random weights: every kind of term, nothing fitted, quick to make."""

import functools

import numpy as np
import pytest
from ase import Atoms

from soapgap.model import Model, PairTerm, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.bases import gto_basis
from soapgap.radial.table import radial_table

SPECIES = ["Si", "O"]
CUTOFF = 4.0


def random_structure(seed: int, n_atoms: int = 24, length: float = 7.5, species=SPECIES, closest: float = 1.4) -> Atoms:
    """Random atoms in a cube, no two closer than `closest` (Angstrom)."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=[length] * 3, pbc=True)
    while len(atoms) < n_atoms:
        trial = atoms + Atoms(species[len(atoms) % len(species)], [rng.uniform(0.0, length, 3)])
        if len(atoms) == 0 or trial.get_distances(-1, range(len(atoms)), mic=True).min() > closest:
            atoms = trial
    return atoms


def pair_term(pair, amplitude: float, cutoff: float = CUTOFF) -> PairTerm:
    """A repulsive hill with a shallow well, V(r) = f_c(r) A (exp(-2 (r - 1.6)) - 0.3 exp(-(r - 1.6)))."""

    def potential(r, lo, hi):
        f, t = [np.ones_like(r), 0.0 * r, 0.0 * r], np.pi * (r - cutoff + 1.0)
        if lo >= cutoff - 1.0:  # the cutoff function falls over 1 Angstrom
            f = [0.5 + 0.5 * np.cos(t), -0.5 * np.pi * np.sin(t), -0.5 * np.pi**2 * np.cos(t)]
        steep, flat = np.exp(-2.0 * (r - 1.6)), 0.3 * np.exp(-(r - 1.6))
        v = amplitude * np.array([steep - flat, -2.0 * steep + flat, 4.0 * steep - flat])
        product = [f[0] * v[0], f[1] * v[0] + f[0] * v[1], f[2] * v[0] + 2.0 * f[1] * v[1] + f[0] * v[2]]
        return np.array(product)[:, :, np.newaxis]

    table = radial_table(potential, [0.0, cutoff - 1.0, cutoff])
    return PairTerm(tuple(pair), cutoff, table, {"kind": "distance_2b", "amplitude": amplitude})


def soap_term(centre: str, species, n_max: int, l_max: int, points, weights, zeta: float = 2.0) -> SoapTerm:
    """A SOAP term with the given sparse points and weights; GTO basis."""
    basis = gto_basis(n_max, l_max, CUTOFF, atom_sigma=0.5, cutoff_transition_width=1.0)
    centre_values = np.zeros((len(species), n_max))
    centre_values[list(species).index(centre)] = basis.centre
    return SoapTerm(centre, list(species), n_max, l_max, CUTOFF, zeta, 1.0, basis.table(), centre_values,
                    points, weights, basis=basis.parameters)


@functools.cache
def make_two_species_model(n_max: int = 4, l_max: int = 4, n_sparse: int = 12) -> Model:
    """Si and O: a SOAP term per centre, a pair term per pair of species, e0. The same model at every call."""
    rng = np.random.default_rng(20251121)
    n = len(SPECIES) * n_max
    n_features = (l_max + 1) * n * (n + 1) // 2
    e0 = {"Si": -1.25, "O": -0.5}
    blank = [soap_term(s, SPECIES, n_max, l_max, np.full((1, n_features), n_features**-0.5), np.zeros((1, 1)))
             for s in SPECIES]
    evaluator = Model(SPECIES, e0, blank).evaluator()
    structures = [random_structure(seed) for seed in (1, 2)]
    terms = []
    for index, centre in enumerate(SPECIES):
        rows = [evaluator.features(index, neighbour_arrays(a, CUTOFF, SPECIES)) for a in structures]
        rows = np.concatenate(rows)
        points = rows[rng.choice(len(rows), n_sparse, replace=False)]
        terms.append(soap_term(centre, SPECIES, n_max, l_max, points, rng.normal(size=(1, n_sparse))))
    terms += [pair_term(pair, amplitude) for pair, amplitude in
              ((("Si", "Si"), 0.9), (("Si", "O"), 0.6), (("O", "O"), 0.75))]
    return Model(SPECIES, e0, terms, {"command": "tests/models.py"})


@pytest.fixture(scope="session")
def two_species_model() -> Model:
    return make_two_species_model()
