"""The reduced form of a term: the same function, with fewer operations."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from evaluator_tools import breaks, energy, model, moved, reference_energies, run, soap_term, structures
from models import make_two_species_model, random_structure

from soapgap.errors import InputError, ModelFileError
from soapgap.model import Model, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.reduction.model import describe_reductions, exact_model, reduce_model
from soapgap.reduction.soap import reduce_term

SPECIES = ["Si", "O"]


def with_reductions(exact):
    """A reduced form for every soap term, even where it saves nothing (as in these small models)."""
    return replace(exact, terms=[reduce_term(t, 1e-10) if isinstance(t, SoapTerm) else t for t in exact.terms])


def forms(zeta, radial_basis="gto", n_sparse=30, **options):
    """A two-species model, and the same with reductions; and its structures."""
    terms = [soap_term(s, SPECIES, zeta=zeta, n_sparse=n_sparse, seed=k, radial_basis=radial_basis, **options)
             for k, s in enumerate(SPECIES)]
    exact = model(*terms)
    return exact, with_reductions(exact), structures(SPECIES, breaks=breaks(*terms))


@pytest.mark.parametrize("radial_basis", ["gto", "equispaced"])
@pytest.mark.parametrize("zeta", [1.0, 2.0, 2.5, 4.0])
def test_reduced_and_exact_agree(zeta, radial_basis):
    exact, reduced, frames = forms(zeta, radial_basis)
    assert all(t.reduced is not None for t in reduced.terms)
    for atoms in frames.values():
        pairs = [run(m.evaluator(), atoms) for m in (exact, reduced)]
        bounds = (1e-9, 1e-9, 1e-9 * len(atoms) * exact.evaluator().cutoff)  # eV, eV/A; a virial sums r times forces
        for a, b, bound in zip(*pairs, bounds):
            np.testing.assert_allclose(b, a, rtol=0, atol=bound)
            assert np.abs(a).max() > 1e5 * bound  # the bound means something


@pytest.mark.parametrize("normalise", [True, False])
def test_rotation_alone_changes_rounding_only(normalise):
    exact, _, frames = forms(4.0, normalise=normalise)
    rotated = model(*(reduce_term(t, 0.0, collapse=False) for t in exact.terms))
    assert all(len(t.reduced.features) == t.n_features for t in rotated.terms)
    for atoms in frames.values():
        for a, b in zip(run(exact.evaluator(), atoms), run(rotated.evaluator(), atoms)):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())


@pytest.mark.parametrize("zeta", [1.0, 2.0, 4.0])
def test_the_reduced_form_is_the_slow_reference_s_function(zeta):
    _, reduced, frames = forms(zeta, "equispaced")
    for atoms in frames.values():
        expected = reference_energies(reduced, atoms)
        np.testing.assert_allclose(run(reduced.evaluator(), atoms)[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("zeta", [1.0, 2.0, 4.0])
def test_forces_and_virial_are_derivatives_of_the_reduced_energy(zeta):
    _, reduced, frames = forms(zeta, "equispaced")
    evaluator, atoms, h = reduced.evaluator(), frames["triclinic"], 1e-3
    _, forces, virial = run(evaluator, atoms)

    def slope(change):
        e = [energy(evaluator, change(s * h)) for s in (-2, -1, 1, 2)]
        return (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)

    rng = np.random.default_rng(4)
    for _ in range(4):
        direction = rng.normal(size=forces.shape)
        expected = -np.sum(forces * direction)
        np.testing.assert_allclose(slope(lambda t, d=direction: moved(atoms, atoms.positions + t * d)), expected,
                                   rtol=0, atol=1e-8 * np.abs(forces).max())
    for a in range(3):
        for b in range(3):
            def strained(t, a=a, b=b):
                strain = np.eye(3)
                strain[a, b] += t
                return moved(atoms, atoms.positions @ strain.T, atoms.cell.array @ strain.T)
            np.testing.assert_allclose(slope(strained), -virial[a, b], rtol=0, atol=1e-8 * np.abs(virial).max())


def test_quip_s_equispaced_basis_has_fewer_dimensions_than_n_max():
    """Its last function is empty for every l > 0, whatever n_max: a fact of that basis, found, not assumed."""
    term = soap_term("Si", ["Si"], n_max=8, l_max=4, cutoff=5.0, radial_basis="equispaced", n_sparse=40)
    n_radial = reduce_term(term, 1e-10).reduced.n_radial
    assert n_radial[0] <= 8
    assert max(n_radial[1:]) <= 7


def test_each_zeta_has_its_form():
    for zeta, n_sparse, form in ((1.0, 30, "merged_points"), (2.0, 400, "matrix"), (2.0, 6, "points"), (4.0, 30, "points")):
        term = soap_term("Si", ["Si"], zeta=zeta, n_sparse=n_sparse)
        reduced = reduce_term(term, 1e-10).reduced
        assert reduced.form == form
        assert len(reduced.points) == {"points": n_sparse, "merged_points": 1, "matrix": len(reduced.features)}[form]
        assert reduced.flops <= term.flops


def test_equal_points_are_merged_and_weightless_ones_dropped():
    term = soap_term("Si", ["Si"], n_sparse=10)
    points = np.concatenate([term.sparse_points, term.sparse_points[:4]])
    weights = np.concatenate([term.weights, [[0.5, -1.0, 2.0, 0.25]]], axis=1)
    weights[0, 7] = 0.0
    weights[0, 3] = -weights[0, 13]  # cancels its twin
    doubled = replace(term, sparse_points=points, weights=weights)
    reduced = reduce_term(doubled, 1e-12).reduced
    assert reduced.form == "merged_points"
    assert len(reduced.points) == 8
    atoms = random_structure(3, species=["Si"])
    whole, less = (run(model(t).evaluator(), atoms) for t in (doubled, replace(doubled, reduced=reduced)))
    for a, b in zip(whole, less):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-10)


def test_a_real_fit_s_size_is_reduced_within_the_tolerance():
    """Many points of one kind of environment, as a fit has them: features go, and the file says what that changed."""
    term = soap_term("Si", ["Si"], n_max=8, l_max=6, cutoff=5.0, radial_basis="equispaced", n_sparse=60)
    reduced = reduce_model(model(term)).terms[0].reduced
    assert reduced.flops < 0.85 * term.flops
    assert reduced.report["force_error"] <= max(1e-9, 3 * reduced.report["force_rounding"])
    wider = reduce_model(model(term), 1e-4).terms[0].reduced
    assert wider.flops < reduced.flops
    assert reduced.report["force_error"] < wider.report["force_error"] <= 1e-4


def test_mixed_precision_keeps_the_tolerance():
    """Small features in single precision; all of them in single precision would be wrong by much more."""
    term = soap_term("Si", ["Si"], n_max=8, l_max=6, cutoff=5.0, radial_basis="equispaced", n_sparse=60)
    rng = np.random.default_rng(8)
    half = rng.normal(size=30) * 1e4
    term.weights[0] = np.concatenate([half, -half])  # they cancel, as fitted weights do
    exact, mixed = model(term), reduce_model(model(term), 1e-6, "mixed")
    reduced = mixed.terms[0].reduced
    assert 0 < reduced.n_single < len(reduced.features)
    assert reduced.report["force_error"] <= 1e-6
    assert "single precision" in describe_reductions(mixed)[0]
    careless = replace(reduced, n_single=len(reduced.features) - 1, features=np.sort(reduced.features),
                       points=reduced.points[:, np.argsort(reduced.features)])
    careless = replace(exact, terms=[replace(term, reduced=careless)])
    atoms = random_structure(3, species=["Si"])
    want, got, bad = (run(m.evaluator(), atoms)[1] for m in (exact, mixed, careless))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    assert np.abs(bad - want).max() > 1e-5
    nb = neighbour_arrays(atoms, 5.0, ["Si"])
    for a, b in zip(exact.evaluator().rows(0, nb, local=True), mixed.evaluator().rows(0, nb, local=True)):
        np.testing.assert_array_equal(a, b)  # rows never come from single precision


def test_many_points_in_blocks_and_mixed_precision():
    """More sparse points than one block of the kernel holds (2048)."""
    term = soap_term("Si", ["Si"], n_max=3, l_max=2, n_sparse=40)
    points = np.concatenate([term.sparse_points * (1.0 - 1e-3 * k) for k in range(60)])
    rng = np.random.default_rng(1)
    many = replace(term, sparse_points=points, weights=rng.normal(size=(1, len(points))))
    mixed = reduce_term(many, 1e-12, single_budget=1e-7)
    assert mixed.reduced.n_single > 0
    atoms = random_structure(3, species=["Si"])
    for a, b in zip(run(model(many).evaluator(), atoms), run(model(mixed).evaluator(), atoms)):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6)
    assert run(model(mixed).evaluator(), atoms)[0].sum() == pytest.approx(energy(model(mixed).evaluator(), atoms))


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="precision.*mixed"):
        reduce_model(make_two_species_model(), precision="half")


def test_a_reduction_that_saves_nothing_is_not_kept():
    exact = make_two_species_model()
    assert all(t.reduced is None for t in reduce_model(exact).terms[:2])
    assert "no reduction" in describe_reductions(reduce_model(exact))[0]


def test_a_term_without_points_or_weights_is_harmless():
    term = soap_term("Si", ["Si"], n_sparse=3)
    silent = replace(term, weights=np.zeros((1, 3)))
    empty = replace(term, sparse_points=term.sparse_points[:0], weights=np.zeros((1, 0)))
    atoms = random_structure(3, species=["Si"])
    for one in (silent, empty):
        energies, forces, _ = run(reduce_model(model(one)).evaluator(), atoms)
        assert not energies.any()
        assert not forces.any()


def test_rows_of_the_design_matrix_do_not_notice():
    exact = make_two_species_model()
    kept = Model(exact.species, exact.e0, [reduce_term(t, 1e-14, collapse=False) for t in exact.terms[:2]])
    merged = copy.deepcopy(exact.terms[0])
    merged.weights[0, 2] = 0.0  # its reduced form drops a point: rows must come from the term itself
    dropped = Model(exact.species, exact.e0, [reduce_term(merged, 1e-14)])
    assert dropped.terms[0].reduced.form == "merged_points"
    nb = neighbour_arrays(random_structure(5), exact.evaluator().cutoff, exact.species)
    for term, other in ((0, kept), (1, kept), (0, dropped)):
        for a, b in zip(exact.evaluator().rows(term, nb, local=True), other.evaluator().rows(term, nb, local=True)):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-13 * max(1.0, np.abs(a).max()))


def test_features_and_coefficients_stay_those_of_the_term():
    exact = make_two_species_model()
    nb = neighbour_arrays(random_structure(5), exact.evaluator().cutoff, exact.species)
    for name in ("features", "coefficients"):
        a, b = (getattr(m.evaluator(), name)(0, nb) for m in (exact, with_reductions(exact)))
        np.testing.assert_array_equal(a, b)


def test_round_trip_and_removal(tmp_path):
    reduced = with_reductions(make_two_species_model())
    reduced.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    assert again.to_bytes() == reduced.to_bytes()
    assert exact_model(again).to_bytes() == make_two_species_model().to_bytes()
    assert all("operations" in line for line in describe_reductions(again))


def test_a_stale_reduction_is_not_written():
    reduced = copy.deepcopy(with_reductions(make_two_species_model()))
    reduced.terms[0].weights[0, 0] += 1.0
    with pytest.raises(InputError, match="changed after its reduction"):
        reduced.to_bytes()


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r.features.__setitem__(1, r.features[0]), "ascending"),
    (lambda r: r.features.__setitem__(-1, 10**6), "ascending"),
    (lambda r: setattr(r, "n_radial", r.n_radial[:-1]), "one entry for each l"),
    (lambda r: r.n_radial.__setitem__(0, 99), "out of range"),
    (lambda r: setattr(r, "form", "octagon"), "octagon.*upgrade"),
    (lambda r: setattr(r, "form", "matrix"), "matrix"),
    (lambda r: setattr(r, "n_single", 10**5), "keeps no feature"),
    (lambda r: setattr(r, "points", r.points[:-1]), "weights|shape"),
])
def test_inconsistent_reductions_are_refused(change, words):
    broken = copy.deepcopy(with_reductions(make_two_species_model()))
    change(broken.terms[0].reduced)
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(broken.to_bytes())


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan])
def test_a_tolerance_must_be_positive(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        reduce_model(make_two_species_model(), tolerance)


def test_phases_are_timed_when_asked_for(monkeypatch):
    nb = neighbour_arrays(random_structure(5), 4.0, SPECIES)
    plain = make_two_species_model().evaluator()
    plain.evaluate(nb)
    assert plain.profile() == {}
    monkeypatch.setenv("SOAPGAP_PROFILE", "1")
    timed = make_two_species_model().evaluator()
    timed.evaluate(nb)
    phases = timed.profile()
    assert set(phases) >= {"density expansion", "power spectrum", "kernel"}
    assert all(seconds > 0.0 for seconds in phases.values())
