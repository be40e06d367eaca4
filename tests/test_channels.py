"""Soap terms whose channels are not one for each species, against a slow reference and against differences."""

from dataclasses import replace

import ase
import numpy as np
import pytest
import reference as ref
from derivatives import VOIGT, assert_derivatives, assert_row_derivatives, assert_same, assert_slopes
from evaluator_tools import energy, equivalents, run, structures
from few_body_models import BREAKS, E0, make_channels_model
from models import CUTOFF, SPECIES, random_structure

from soapgap.errors import InputError
from soapgap.model import Channels, Model, RadialTable
from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays
from soapgap.reduction.model import exact_model, reduce_model
from soapgap.reduction.soap import reduce_term

KINDS = ("tiny", "slab", "molecule")
TERMS = range(5)


def alone(index, n_sparse=8):
    """A model of one of the terms."""
    return Model(SPECIES, E0, [make_channels_model(n_sparse).terms[index]])


def with_reductions(model):
    """A reduced form for every term, even where it saves nothing."""
    return replace(model, terms=[reduce_term(term, 1e-10) for term in model.terms])


def frames(seed):
    return structures(SPECIES, seed, BREAKS)


# ---- the reference: formulas of soapgap.model.terms.soap's docstrings ----------------------------------------------------

def slow_coefficients(term, environment):
    """c_{lm,I}: every neighbour adds its own species' R_nl Y_lm to the channel that its species belongs to."""
    n_max, channels = term.n_max, term.channels
    c = np.zeros(((term.l_max + 1) ** 2, channels.n, n_max))
    c[0] = term.centre_values
    for symbol, vector in environment:
        if symbol not in term.neighbours:
            continue
        place = term.neighbours.index(symbol)
        values = term.table.values if term.table.values.ndim == 3 else term.table.values[place]
        r_nl = RadialTable(term.table.segments, values).evaluate(np.linalg.norm(vector))[0].reshape(-1, n_max)
        angular = ref.real_harmonics(vector, term.l_max)[0]
        for l in range(term.l_max + 1):
            for lm in range(l * l, (l + 1) ** 2):
                c[lm, channels.of_neighbour[place]] += angular[lm] * r_nl[l]
    return c.reshape(len(c), -1)


def slow_features(term, environment):
    """p_l,IJ = F_l f_IJ sum_m c_{lm,I} c_{lm,J}, of all J <= I (f = 1 or sqrt 2), or of a list with its own f; over |p|."""
    c, pairs = slow_coefficients(term, environment), term.channels.pairs
    if pairs is None:
        pairs = [(i, j, 1.0 if i == j else 2**0.5) for i in range(c.shape[1]) for j in range(i + 1)]
    p = [term.channels.l_factors[l] * factor * (c[l * l:(l + 1) ** 2, int(i)] @ c[l * l:(l + 1) ** 2, int(j)])
         for l in range(term.l_max + 1) for i, j, factor in pairs]
    return ref.normalised(np.array(p))


def slow_kernels(term, x):
    """delta^2 (x . X_s + offset)^zeta for every sparse point."""
    return term.delta**2 * (term.sparse_points @ x + term.channels.kernel_offset) ** term.zeta


def slow_energies(model, atoms):
    near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
    energies = np.array([model.e0[s] for s in atoms.symbols])
    for term in model.terms:
        for i, symbol in enumerate(atoms.symbols):
            if symbol == term.centre:
                energies[i] += term.weights[0] @ slow_kernels(term, slow_features(term, near[i]))
    return energies


def test_the_model_has_every_kind_of_channels():
    terms = make_channels_model().terms
    assert {len(set(t.channels.of_neighbour)) for t in terms} == {1, 2}
    assert {t.table.values.ndim for t in terms} == {3, 4}
    assert {t.channels.pairs is None for t in terms} == {True, False}
    assert {t.zeta % 1 == 0 for t in terms if t.channels.kernel_offset > 0} == {True, False}
    assert any(t.channels.l_factors == [1.0] * 4 for t in terms)
    assert any((t.channels.pairs[:, 1] > t.channels.pairs[:, 0]).any() for t in terms if t.channels.pairs is not None)
    assert any(t.channels.n > len(set(t.channels.of_neighbour)) for t in terms)  # one that nobody adds to


@pytest.mark.parametrize("index", TERMS)
def test_coefficients_and_features_against_the_reference(index):
    model = make_channels_model()
    evaluator, term = model.evaluator(), model.terms[index]
    assert evaluator.n_features(index) == term.n_features
    for atoms in frames(seed=1).values():
        near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
        near = [row for row, symbol in zip(near, atoms.symbols) if symbol == term.centre]
        nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
        c, x = (np.array([slow(term, row) for row in near]) for slow in (slow_coefficients, slow_features))
        assert np.abs(x).max() > 0.1
        np.testing.assert_allclose(evaluator.coefficients(index, nb), c, rtol=0, atol=1e-13 * np.abs(c).max())
        np.testing.assert_allclose(evaluator.features(index, nb), x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("index", TERMS)
def test_energies_and_rows_against_the_reference(index):
    model = alone(index)
    evaluator, term = model.evaluator(), model.terms[0]
    for atoms in frames(seed=2).values():
        expected = slow_energies(model, atoms)
        near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF)
        rows = [slow_kernels(term, slow_features(term, row)) for row, s in zip(near, atoms.symbols) if s == term.centre]
        assert np.abs(np.sum(rows, axis=0)).max() > 0.1
        np.testing.assert_allclose(run(evaluator, atoms)[0], expected, rtol=0, atol=1e-12)
        assert energy(evaluator, atoms) == run(evaluator, atoms)[0].sum()
        nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
        np.testing.assert_allclose(evaluator.rows(0, nb)[0], np.sum(rows, axis=0), rtol=1e-12)


def test_the_whole_model_against_the_reference():
    model = make_channels_model()
    for atoms in frames(seed=3).values():
        np.testing.assert_allclose(run(model.evaluator(), atoms)[0], slow_energies(model, atoms), rtol=0, atol=1e-12)


def test_plain_channels_are_a_plain_term():
    """Written out, what a term without `channels` means gives the same bits, and tables for each neighbour the same numbers."""
    term = make_channels_model().terms[4]
    shared = RadialTable(term.table.segments, term.table.values[0])
    copies = RadialTable(term.table.segments, np.stack([shared.values] * 2))
    plain = replace(term, table=shared, channels=None)
    channels = Channels([0, 1], 2, [1.0 / np.sqrt(2 * l + 1) for l in range(4)])
    atoms = frames(seed=4)["triclinic"]
    results = [run(Model(SPECIES, E0, [t]).evaluator(), atoms)
               for t in (plain, replace(plain, channels=channels), replace(plain, channels=channels, table=copies))]
    for one, two, three in zip(*results):
        np.testing.assert_array_equal(two, one)
        np.testing.assert_allclose(three, one, rtol=0, atol=1e-13)


# ---- finite differences -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", TERMS)
def test_forces_and_virial_against_differences(index, kind, reduced):
    model, atoms = alone(index), frames(seed=5)[kind]
    assert_derivatives((with_reductions(model) if reduced else model).evaluator(), atoms)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", TERMS)
def test_rows_against_differences(index, kind):
    model, atoms = alone(index), frames(seed=6)[kind]
    evaluator = model.evaluator()
    gradient_rows, strain_rows = assert_row_derivatives(evaluator, 0, atoms)
    _, forces, virial = run(evaluator, atoms)
    weights = model.terms[0].weights[0]
    np.testing.assert_allclose(-(gradient_rows @ weights).reshape(-1, 3), forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(-strain_rows @ weights, [virial[a, b] for a, b in VOIGT], rtol=0, atol=1e-12)


def test_dimer_scan_across_the_cutoff():
    evaluator, direction = make_channels_model().evaluator(), np.array([0.6, -0.48, 0.64])

    def at(r):
        energies, forces, _ = run(evaluator, ase.Atoms("OSi", [np.zeros(3), r * direction]))
        return energies.sum(), forces[1] @ direction

    grid = [r for r in np.linspace(0.8, 4.2, 60) if np.abs(r - np.array([3.0, 4.0])).min() > 5e-3]
    assert_slopes(at, grid, 2e-10)
    for place in (3.0, 4.0):
        np.testing.assert_allclose(at(place - 1e-9), at(place + 1e-9), rtol=0, atol=1e-7)
    assert at(4.0) == at(50.0)
    assert at(4.0)[1] == 0.0


# ---- invariances and edges ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind):
    evaluator, atoms = make_channels_model().evaluator(), frames(seed=7)[kind]
    for twin, expected in equivalents(atoms, *run(evaluator, atoms)):
        assert_same(run(evaluator, twin), expected)


def test_one_channel_does_not_know_its_neighbours_species():
    """Two species in one channel with one table: exchanging them changes nothing but the centres."""
    evaluator, atoms = alone(0).evaluator(), ase.Atoms("SiOSi", [[0, 0, 0], [1.7, 0, 0.2], [0.1, 2.1, 0.3]])
    other = ase.Atoms("SiSiO", atoms.positions)
    assert run(evaluator, atoms)[0][0] == pytest.approx(run(evaluator, other)[0][0], abs=1e-13)
    several = alone(3).evaluator()  # one channel too, but tables of their own
    centre = [run(several, ase.Atoms(symbols, atoms.positions))[0][0] for symbols in ("OOSi", "OSiO")]
    assert abs(centre[0] - centre[1]) > 1e-4


def test_edges():
    model = make_channels_model()
    evaluator = model.evaluator()
    for symbol in SPECIES:
        atom = ase.Atoms(symbol, [[1.0, 2.0, 3.0]])
        energies, forces, virial = run(evaluator, atom)
        np.testing.assert_allclose(energies, slow_energies(model, atom), rtol=0, atol=1e-13)
        assert energies[0] != E0[symbol]
        assert not forces.any()
        assert not virial.any()
    nothing = NeighbourArrays(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64),
                              np.zeros(0, np.int32), np.zeros((0, 3)), 0)
    assert evaluator.evaluate(nothing)[1].shape == (0, 3)
    for index in TERMS:
        assert evaluator.features(index, nothing).shape == (0, model.terms[index].n_features)
        assert not evaluator.rows(index, nothing)[0].any()
    for numbers in run(evaluator, ase.Atoms("SiOSi", [[0, 0, 0], [0, 0, 0], [1.5, 0.6, 0.3]])):
        assert np.isfinite(numbers).all()
    nb = neighbour_arrays(random_structure(3), CUTOFF, SPECIES)
    nb.vectors[3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        evaluator.evaluate(nb)


def test_unknown_species_are_not_seen():
    evaluator, atoms = make_channels_model().evaluator(), frames(seed=7)["triclinic"]
    nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
    nb.centre_species[2] = nb.neighbour_species[nb.neighbour_atom == 2] = -1
    energies, gradients = evaluator.evaluate(nb)
    forces, virial = evaluator.forces_and_virial(nb, gradients)
    keep = [0, 1, 3, 4]
    assert energies[2] == 0.0
    np.testing.assert_array_equal(forces[2], 0.0)
    assert_same((energies[keep], forces[keep], virial), run(evaluator, atoms[keep]))


def test_energies_only_and_threads():
    model, nb = make_channels_model(), neighbour_arrays(random_structure(9, n_atoms=60, length=10.0), CUTOFF, SPECIES)
    once, again, single = (model.evaluator(n).evaluate(nb) for n in (2, 2, 1))
    np.testing.assert_array_equal(model.evaluator().evaluate(nb, gradients=False)[0], single[0])
    for a, b, c in zip(once, again, single):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=0, atol=1e-13 * np.abs(c).max())


# ---- reduction and file -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n_sparse", [8, 60])
@pytest.mark.parametrize("how", [reduce_model, with_reductions])
def test_reduced_forms_keep_forces(how, n_sparse):
    model = make_channels_model(n_sparse)
    reduced = how(model)
    if n_sparse == 60:
        assert any(term.reduced is not None for term in reduced.terms)
    for seed in (11, 12):
        atoms = random_structure(seed)
        one, two = run(model.evaluator(), atoms), run(reduced.evaluator(), atoms)
        assert np.abs(one[1]).max() > 0.1
        np.testing.assert_allclose(two[0], one[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(two[1], one[1], rtol=0, atol=1e-9)
    assert exact_model(reduced).to_bytes() == model.to_bytes()


def test_a_reduction_of_other_channels_is_refused():
    term = with_reductions(make_channels_model()).terms[1]
    for change in ({"kernel_offset": 0.4}, {"l_factors": [1.0, 1.0, 1.0, 0.5]}, {"pairs": term.channels.pairs[::-1]},
                   {"of_neighbour": [1, 0]}):
        with pytest.raises(InputError, match="changed after its reduction was made"):
            Model(SPECIES, E0, [replace(term, channels=replace(term.channels, **change))]).to_bytes()


@pytest.mark.parametrize("reduced", [False, True])
def test_round_trip_of_the_file(reduced):
    model = with_reductions(make_channels_model()) if reduced else make_channels_model()
    content = model.to_bytes()
    again = Model.from_bytes(content)
    assert again.to_bytes() == content
    for old, new in zip(model.terms, again.terms, strict=True):
        for name, value in vars(old.channels).items():
            np.testing.assert_array_equal(getattr(new.channels, name), value)
        np.testing.assert_array_equal(new.table.values, old.table.values)
