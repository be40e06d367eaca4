"""The evaluator against the slow reference and against finite differences of its own energy."""

import ase
import numpy as np
import pytest
import reference as ref
from derivatives import STEPS, STRAINS, assert_best, assert_derivatives, assert_slopes
from evaluator_tools import (
    breaks,
    energy,
    model,
    moved,
    pair_term,
    reference_energies,
    run,
    soap_term,
    structures,
)

from soapgap.neighbours.arrays import neighbour_arrays

KINDS = ("tiny", "triclinic", "slab", "chain", "molecule")
#: Sizes that do and do not fill the vector width, with one and two species and both bases.
SIZES = {
    "smallest": dict(n_max=1, l_max=0, cutoff=3.2),
    "small": dict(n_max=3, l_max=2),
    "even": dict(n_max=4, l_max=5),
    "odd": dict(n_max=5, l_max=4, radial_basis="equispaced"),
    "large": dict(n_max=10, l_max=12, cutoff=5.0, cutoff_transition_width=0.5),
}


def one_species(**kw):
    term = soap_term("Si", ["Si"], **kw)
    return model(term), [term], ["Si"]


def two_species(**kw):
    """Terms for both centres, neighbours in different orders, and pairs of every kind."""
    terms = [soap_term("O", ["O", "Ti"], **kw), soap_term("Ti", ["Ti", "O"], **{**kw, "seed": 1}),
             pair_term(("O", "Ti")), pair_term(("Ti", "Ti"), cutoff=3.1, depth=0.2), pair_term(("O", "O"), depth=-0.1)]
    return model(*terms, e0={"O": -1.25, "Ti": 2.5}), terms, ["O", "Ti"]


# ---- against the reference ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [one_species, two_species])
def test_coefficients_and_features_against_the_reference(make, size):
    potential, terms, species = make(**SIZES[size])
    evaluator = potential.evaluator()
    kinds = ("tiny", "molecule") if size == "large" else KINDS
    for kind, atoms in structures(species, breaks=breaks(*terms)).items():
        if kind not in kinds:
            continue
        arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
        for index, term in enumerate(terms):
            if not hasattr(term, "zeta"):
                continue
            near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, term.cutoff)
            near = [row for row, symbol in zip(near, atoms.symbols) if symbol == term.centre]
            place = ref.table_radial(term.table), term.neighbours, term.n_max, term.l_max, term.centre_values
            c = np.array([ref.coefficients(row, *place) for row in near])
            got = evaluator.coefficients(index, arrays)
            assert got.shape == c.shape == (len(near), (term.l_max + 1) ** 2, len(species) * term.n_max)
            np.testing.assert_allclose(got, c, rtol=0, atol=1e-13 * np.abs(c).max())
            x = np.array([ref.features(row, *place) for row in near])
            got = evaluator.features(index, arrays)
            assert got.shape == x.shape == (len(near), evaluator.n_features(index))
            np.testing.assert_allclose(got, x, rtol=0, atol=1e-14)
            assert np.abs(x).max() > 0.1
            np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, rtol=1e-14)


def test_unnormalised_features_against_the_reference():
    potential, (term,), species = one_species(normalise=False, zeta=2.0)
    evaluator = potential.evaluator()
    for atoms in structures(species).values():
        arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
        near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, term.cutoff)
        x = np.array([ref.features(row, ref.table_radial(term.table), ["Si"], 4, 3, term.centre_values, False)
                      for row in near])
        np.testing.assert_allclose(evaluator.features(0, arrays), x, rtol=0, atol=1e-14 * np.abs(x).max())
        assert abs(np.linalg.norm(x[0]) - 1) > 1e-3


@pytest.mark.parametrize("zeta", [1.0, 2.0, 4.0, 5.0, 1.5, 2.7])
@pytest.mark.parametrize("make", [one_species, two_species])
def test_energies_against_the_reference(make, zeta):
    potential, terms, species = make(zeta=zeta, delta=0.7)
    evaluator = potential.evaluator()
    for atoms in structures(species, breaks=breaks(*terms)).values():
        expected = reference_energies(potential, atoms)
        energies = run(evaluator, atoms)[0]
        assert energies.shape == (len(atoms),)
        assert np.ptp(expected) > 1e-4
        np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-13)
        assert energy(evaluator, atoms) == energies.sum()  # without the backward half, too


def test_forces_and_virial_against_differences_of_the_reference():
    potential, terms, species = two_species(n_max=3, l_max=2)
    evaluator = potential.evaluator()
    atoms = structures(species, breaks=breaks(*terms))["tiny"]
    forces, virial = run(evaluator, atoms)[1:]

    def slow(positions, cell=None):
        return reference_energies(potential, moved(atoms, positions, cell)).sum()

    errors = [np.abs(ref.forces(slow, atoms.positions, step) - forces).max() for step in (1e-3, 5e-4)]
    assert_best(errors, np.abs(forces).max(), 2e-10)
    errors = [np.abs(ref.virial(slow, atoms.positions, atoms.cell.array, step) - virial).max() for step in (2e-4, 1e-4)]
    assert_best(errors, np.abs(virial).max(), 2e-10)


# ---- finite differences -------------------------------------------------------------------------------------------

FORCE_CASES = [(make, kind, kw) for make in (one_species, two_species) for kind in KINDS
               for kw in (dict(zeta=4.0), dict(zeta=1.0, n_max=5, l_max=4, radial_basis="equispaced"),
                          dict(zeta=2.3, normalise=kind != "tiny"))]


@pytest.mark.parametrize(("make", "kind", "kw"), FORCE_CASES)
def test_forces_and_virial_against_differences(make, kind, kw):
    potential, terms, species = make(**kw)
    atoms = structures(species, seed=2, breaks=breaks(*terms))[kind]
    assert_derivatives(potential.evaluator(), atoms, steps=(*STEPS, 2e-4), strains=(*STRAINS, 1e-4), least=0.0)


def test_forces_of_a_large_term_against_differences():
    potential, terms, species = one_species(**SIZES["large"], n_sparse=20)
    evaluator = potential.evaluator()
    atoms = structures(species, seed=3, breaks=breaks(*terms))["tiny"]
    forces = run(evaluator, atoms)[1]
    errors = [np.abs(ref.forces(lambda r: energy(evaluator, moved(atoms, r)), atoms.positions, step) - forces).max()
              for step in (2e-3, 1e-3, 5e-4)]
    assert_best(errors, np.abs(forces).max(), 2e-10)


@pytest.mark.parametrize("zeta", [1.0, 2.5])
def test_dimer_scan_across_the_cutoffs(zeta):
    """Differences on every smooth piece; at the ends of the transition energy and force are continuous."""
    potential, terms, _ = two_species(zeta=zeta)
    evaluator = potential.evaluator()
    places = breaks(*terms)

    def at(r):
        direction = np.array([0.6, -0.48, 0.64])
        energies, forces, _ = run(evaluator, ase.Atoms("OTi", [np.zeros(3), r * direction]))
        return energies.sum(), forces[1] @ direction, np.abs(np.cross(forces[1], direction)).max()

    grid = np.linspace(0.85, max(places) + 0.3, 90)
    grid = grid[np.min(np.abs(grid[:, None] - places), axis=1) > 4.1e-3]
    along = assert_slopes(at, grid, 2e-10)
    assert max(at(r)[2] for r in grid) < 1e-13 * np.abs(along).max()
    for place in places:
        below, above = at(np.nextafter(place, 0) - 1e-9), at(place + 1e-9)
        assert abs(below[0] - above[0]) < 1e-7
        assert abs(below[1] - above[1]) < 1e-7
    beyond = at(max(places))
    assert beyond[1] == 0.0
    assert beyond[0] == at(50.0)[0]
