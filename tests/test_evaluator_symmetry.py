"""What must not change, and what happens at the edges: no neighbours, one site, unknown species, the cutoff itself."""

import dataclasses

import ase
import ase.build
import numpy as np
import pytest
import reference as ref
from evaluator_tools import TRICLINIC, breaks, energy, model, moved, pair_term, run, soap_term, structures
from scipy.spatial.transform import Rotation

from soapgap.errors import InputError
from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays

KINDS = ("tiny", "triclinic", "slab", "chain", "molecule")


@pytest.fixture(scope="module")
def potential():
    kw = dict(n_max=5, l_max=4, zeta=4.0)
    return model(soap_term("O", ["O", "Ti"], **kw), soap_term("Ti", ["Ti", "O"], seed=1, zeta=2.5, n_max=3, l_max=6),
                 pair_term(("O", "Ti")), pair_term(("Ti", "Ti"), cutoff=3.1), e0={"O": -1.25, "Ti": 2.5})


@pytest.fixture(scope="module")
def evaluator(potential):
    return potential.evaluator()


@pytest.fixture(scope="module")
def samples(potential):
    return structures(["O", "Ti"], seed=5, breaks=breaks(*potential.terms))


def assert_same(got, expected, bound=2e-13):
    for one, two in zip(got, expected, strict=True):
        assert np.abs(two).max() > 1e-3
        np.testing.assert_allclose(one, two, rtol=0, atol=bound * max(1.0, np.abs(two).max()))


# ---- invariances --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_rotation_and_inversion(evaluator, samples, kind):
    atoms = samples[kind]
    energies, forces, virial = run(evaluator, atoms)
    for turn in [*Rotation.random(3, random_state=1).as_matrix(), -np.eye(3), np.diag([1.0, 1.0, -1.0])]:
        turned = moved(atoms, atoms.positions @ turn.T, atoms.cell.array @ turn.T)
        assert_same(run(evaluator, turned), (energies, forces @ turn.T, turn @ virial @ turn.T))


@pytest.mark.parametrize("kind", KINDS)
def test_translation_and_choice_of_images(evaluator, samples, kind):
    atoms = samples[kind]
    expected = run(evaluator, atoms)
    rng = np.random.default_rng(2)
    for _ in range(3):
        assert_same(run(evaluator, moved(atoms, atoms.positions + rng.normal(size=3) * 20)), expected, 1e-12)
        images = rng.integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        assert_same(run(evaluator, moved(atoms, atoms.positions + images @ atoms.cell.array)), expected, 1e-12)


@pytest.mark.parametrize("kind", ["tiny", "triclinic"])
def test_choice_of_cell_vectors(evaluator, samples, kind):
    atoms = samples[kind]
    other = np.array([[1, 0, 0], [2, 1, 0], [-1, 1, 1]]) @ atoms.cell.array
    assert_same(run(evaluator, moved(atoms, atoms.positions, other)), run(evaluator, atoms))


@pytest.mark.parametrize("kind", KINDS)
def test_permutation(evaluator, samples, kind):
    atoms = samples[kind]
    energies, forces, virial = run(evaluator, atoms)
    order = np.random.default_rng(3).permutation(len(atoms))
    assert_same(run(evaluator, atoms[order]), (energies[order], forces[order], virial))


@pytest.mark.parametrize("kind", ["tiny", "triclinic", "slab", "chain"])
def test_extensivity(evaluator, samples, kind):
    atoms = samples[kind]
    energies, forces, virial = run(evaluator, atoms)
    repeats = np.where(atoms.pbc, [2, 1, 3], 1)
    n = int(repeats.prod())
    assert n > 1
    expected = np.tile(energies, n), np.tile(forces, (n, 1)), n * virial
    assert_same(run(evaluator, atoms.repeat(repeats)), expected, 1e-12)


def test_far_fragments_do_not_see_each_other(evaluator, samples):
    atoms = samples["molecule"]
    energies, forces, virial = run(evaluator, atoms)
    both = atoms + moved(atoms, atoms.positions + [40.0, 0.0, 0.0])
    assert_same(run(evaluator, both), (np.tile(energies, 2), np.tile(forces, (2, 1)), 2 * virial))


def test_centres_do_not_depend_on_their_batch(evaluator):
    atoms = ase.build.bulk("TiO", "rocksalt", a=4.3, cubic=True).repeat((3, 3, 2))
    atoms.rattle(0.15, seed=4)
    assert len(atoms) > 128
    arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
    energies, gradients = evaluator.evaluate(arrays)
    for i in (0, 17, 63, 64, 143):
        part = rows(arrays, i, i + 1)
        alone, slopes = evaluator.evaluate(part)
        pairs = slice(arrays.offsets[i], arrays.offsets[i + 1])
        np.testing.assert_allclose(alone, energies[i:i + 1], rtol=0, atol=1e-13)
        np.testing.assert_allclose(slopes[pairs], gradients[pairs], rtol=0, atol=1e-13 * np.abs(gradients).max())


def rows(arrays, first, last):
    """Some of the centres; offsets then start above zero."""
    return NeighbourArrays(arrays.centre_atom[first:last].copy(), arrays.centre_species[first:last].copy(),
                           arrays.offsets[first:last + 1].copy(), arrays.neighbour_atom, arrays.neighbour_species,
                           arrays.vectors, arrays.n_atoms)


# ---- edges --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("zeta", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("normalise", [True, False])
def test_isolated_atom(zeta, normalise):
    for weight in (1.0, 0.0):
        term = soap_term("Si", ["Si"], zeta=zeta, normalise=normalise, central_weight=weight, delta=0.6)
        potential = model(term, e0={"Si": -3.5})
        evaluator = potential.evaluator()
        atoms = ase.Atoms("Si", [[1.0, 2.0, 3.0]])
        energies, forces, virial = run(evaluator, atoms)
        x = ref.features([], ref.table_radial(term.table), ["Si"], 4, 3, term.centre_values, normalise)
        expected = -3.5 + ref.kernel_energy(x, term.sparse_points, term.weights[0], 0.6, zeta)
        np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-14)
        assert (energies[0] == -3.5) == (weight == 0.0)
        arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
        np.testing.assert_allclose(evaluator.features(0, arrays)[0], x, rtol=0, atol=1e-15)
        for rows_ in (forces, virial, *evaluator.rows(0, arrays)[1:3]):
            np.testing.assert_array_equal(rows_, 0.0)


def test_no_centre_term_at_the_cutoff_is_finite():
    """Without the centre's own Gaussian p vanishes as a lone neighbour leaves: x keeps its length up to there."""
    term = soap_term("Si", ["Si"], central_weight=0.0)
    evaluator = model(term).evaluator()
    for r in (3.0, 3.9, 3.999, 4.0, 4.001):
        energies, forces, virial = run(evaluator, ase.Atoms("Si2", [[0, 0, 0], [0, 0, r]]))
        for array in (energies, forces, virial):
            assert np.isfinite(array).all()
        assert (np.abs(energies).max() > 0) == (r < 4.0)


@pytest.mark.parametrize("kind", ["tiny", "molecule"])
def test_two_atoms_on_one_site(evaluator, potential, samples, kind):
    """Energy and forces are those of the limit: the density has no singular point."""
    soap = model(*potential.terms[:2], e0=potential.e0).evaluator()
    atoms = samples[kind]
    atoms = atoms + ase.Atoms("Ti", [atoms.positions[0]])
    atoms = moved(atoms, np.vstack([atoms.positions[:-1], atoms.positions[:1]]))
    energies, forces, virial = run(soap, atoms)
    expected = np.array([potential.e0[symbol] for symbol in atoms.symbols])
    for term in potential.terms[:2]:
        expected += ref.soap_energies(term, ref.table_radial(term.table), list(atoms.symbols), atoms.positions,
                                      atoms.cell.array, atoms.pbc)
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-9)  # the evaluator parts them by 1e-10 Angstrom
    errors = [np.abs(ref.forces(lambda r: energy(soap, moved(atoms, r)), atoms.positions, step) - forces).max()
              for step in (2e-3, 1e-3, 5e-4)]
    assert np.isfinite(errors).all()
    assert min(errors) < 1e-9 * np.abs(forces).max()
    assert np.abs(forces[-1]).max() > 1e-3
    for gap in (1e-13, 1e-10, 1e-9, 1e-7):
        near = moved(atoms, atoms.positions + np.eye(len(atoms))[-1][:, None] * [0.0, gap, 0.0])
        for one, two in zip(run(soap, near), (energies, forces, virial)):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-8 + 100 * gap)
    for array in run(evaluator, atoms):  # with pair terms, which have no direction there: finite, and defined
        assert np.isfinite(array).all()


def test_empty_lists(evaluator):
    nothing = NeighbourArrays(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int64),
                              np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, 3)), 0)
    energies, gradients = evaluator.evaluate(nothing)
    forces, virial = evaluator.forces_and_virial(nothing, gradients)
    assert energies.shape == (0,)
    assert gradients.shape == forces.shape == (0, 3)
    np.testing.assert_array_equal(virial, 0.0)
    assert evaluator.features(0, nothing).shape == (0, evaluator.n_features(0))
    assert evaluator.coefficients(0, nothing).shape == (0, 25, 10)
    energy_row, gradient_rows, strain_rows, local_rows = evaluator.rows(0, nothing, local=True)
    assert gradient_rows.shape == local_rows.shape == (0, 6)
    np.testing.assert_array_equal(energy_row, 0.0)
    np.testing.assert_array_equal(strain_rows, 0.0)


def test_unknown_species_are_not_seen(evaluator, samples):
    """Centres of species -1 have no energy; neighbours of species -1 are as if they were not there."""
    atoms = samples["triclinic"]
    arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
    arrays.centre_species[2] = -1
    arrays.neighbour_species[arrays.neighbour_atom == 2] = -1
    energies, gradients = evaluator.evaluate(arrays)
    forces, virial = evaluator.forces_and_virial(arrays, gradients)
    keep = np.array([0, 1, 3, 4])
    without = run(evaluator, atoms[keep])
    assert energies[2] == 0.0
    np.testing.assert_array_equal(forces[2], 0.0)
    assert_same((energies[keep], forces[keep], virial), without)


def test_pairs_beyond_the_cutoff_contribute_exactly_nothing(evaluator, samples):
    atoms = samples["tiny"]
    wide = neighbour_arrays(atoms, evaluator.cutoff + 1.5, evaluator.species)
    far = np.linalg.norm(wide.vectors, axis=1) >= evaluator.cutoff
    assert far.sum() > 20
    offsets = np.concatenate([[0], np.cumsum(~far)])[wide.offsets]
    cut = NeighbourArrays(wide.centre_atom, wide.centre_species, offsets, wide.neighbour_atom[~far],
                          wide.neighbour_species[~far], wide.vectors[~far], wide.n_atoms)
    energies, gradients = evaluator.evaluate(wide)
    expected, slopes = evaluator.evaluate(cut)
    np.testing.assert_array_equal(gradients[far], 0.0)
    np.testing.assert_array_equal(gradients[~far], slopes)
    np.testing.assert_array_equal(energies, expected)
    assert_same((expected, *evaluator.forces_and_virial(cut, slopes)), run(evaluator, atoms))


def test_neighbours_at_the_cutoff_exactly(evaluator):
    for r, seen in ((np.nextafter(4.0, 0), True), (4.0, False)):
        arrays = neighbour_arrays(ase.Atoms("OTi", [[0, 0, 0], [r, 0, 0]]), 4.5, evaluator.species)
        c = evaluator.coefficients(0, arrays)[0][:, 5:]
        assert np.abs(c).max() < 1e-20
        assert (np.abs(c).max() > 0) == seen


@pytest.mark.parametrize(("name", "value", "message"), [
    ("vectors", np.nan, "not finite"), ("centre_species", 2, "expected -1 to 1"), ("neighbour_species", -2, "-1 to 1"),
    ("centre_atom", 99, "indices from"), ("neighbour_atom", -1, "indices from"), ("offsets", 10**9, "offsets")])
def test_unusable_arrays_are_refused(evaluator, name, value, message):
    atoms = ase.Atoms("OTi", [[0, 0, 0], [1.9, 0.2, 0]], cell=TRICLINIC * 1.2, pbc=True)
    arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
    broken = getattr(arrays, name).copy()
    broken[-1] = value
    arrays = dataclasses.replace(arrays, **{name: broken})

    def use():
        gradients = evaluator.evaluate(arrays)[1]
        evaluator.forces_and_virial(arrays, gradients)

    with pytest.raises(InputError, match=message):
        use()
    with pytest.raises(InputError, match=message):
        evaluator.rows(1, arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused_by_pair_terms_too(value):
    evaluator = model(pair_term(("O", "Ti"))).evaluator()
    arrays = neighbour_arrays(ase.Atoms("OTi", [[0, 0, 0], [1.9, 0.2, 0]]), evaluator.cutoff, evaluator.species)
    assert np.abs(evaluator.evaluate(arrays)[1]).max() > 1e-3
    arrays.vectors[-1, 1] = value
    with pytest.raises(InputError, match="not finite"):
        evaluator.evaluate(arrays)
