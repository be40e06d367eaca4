"""Terms of few bodies - pairs, triplets, embedding - against a slow reference and against differences of their own energy."""

from dataclasses import replace

import ase
import numpy as np
import pytest
import reference as ref
from derivatives import assert_derivatives, assert_same, assert_slopes
from evaluator_tools import equivalents, moved, structures
from few_body_models import (
    ALONE,
    BREAKS,
    E0,
    RHO_RANGE,
    embedding_terms,
    make_few_body_model,
    make_ordered_model,
    triplet_term,
    triplet_terms,
)
from models import SPECIES, random_structure

from soapgap.errors import InputError
from soapgap.model import EmbeddingTerm, Model, PairTerm, TripletTerm
from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays
from soapgap.reduction.model import describe_reductions, exact_model, reduce_model

KINDS = ("tiny", "slab", "molecule")
ODD_POWER = triplet_term("O", ("Si", "Si"), "angle", "dot_product", ALONE, zeta=1.5, delta=0.05)


def alone(term):
    """A model of one term."""
    return Model(SPECIES, E0, [term])


def all_terms():
    """Every term of the test models, by name and form."""
    terms = triplet_terms() | embedding_terms() | {"angle, dot, odd power": ODD_POWER}
    terms |= {f"ordered {n}": term for n, term in enumerate(make_ordered_model().terms)}
    splines = [term for term in make_few_body_model("spline").terms if getattr(term, "grid", None) is not None]
    return terms | {f"{name}: spline": term for name, term in zip(triplet_terms(), splines, strict=True)}


NAMES = [*triplet_terms(), *embedding_terms(), "angle, dot, odd power", "ordered 0", "ordered 1", "ordered 2",
         *(f"{name}: spline" for name in triplet_terms())]


def frames_of(term, seed):
    """Structures in which a triplet's or an embedding's atoms occur."""
    return structures([term.centre, *(term.neighbours if isinstance(term, TripletTerm) else term.densities)], seed, BREAKS)


def arrays_of(evaluator, atoms):
    return neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)


def run(evaluator, atoms):
    """Energies (with what neighbours are handed), forces and virial."""
    nb = arrays_of(evaluator, atoms)
    shares = np.empty(len(nb.neighbour_atom))
    energies, gradients = evaluator.evaluate(nb, shares=shares)
    handed = np.bincount(nb.neighbour_atom, weights=shares, minlength=nb.n_atoms)
    return energies + handed, *evaluator.forces_and_virial(nb, gradients)


def energy(evaluator, atoms):
    return evaluator.evaluate(arrays_of(evaluator, atoms), gradients=False)[0].sum()


# ---- the reference: formulas of the terms' docstrings ------------------------------------------------

def slow_cutoff(term, r):
    t = (r - term.cutoff + term.cutoff_transition_width) / term.cutoff_transition_width
    return 0.5 * (np.cos(np.pi * np.clip(t, 0.0, 1.0)) + 1.0)


def slow_similarity(term, x, y):
    total = 0.0
    for order in term.permutations:
        q = ((x[..., order] - y) ** 2 / np.asarray(term.theta) ** 2).sum(axis=-1)
        rho = np.sqrt(q)
        total = total + (np.exp(-q / 2) if term.kernel == "ard_se" else np.where(rho < 1, (1 - rho)**4 * (4 * rho + 1), 0.0))
    return total


def slow_sum_of_kernels(term, x):
    points = term.sparse_points
    if term.kernel == "dot_product":
        return term.weights[0] @ (term.delta**2 * (points @ x) ** term.zeta)
    norm = np.sqrt(slow_similarity(term, x, x) * slow_similarity(term, points, points))
    return term.weights[0] @ (term.delta**2 * slow_similarity(term, x, points) / norm + term.f0**2)


def slow_triplets(term, symbols, near):
    """e_i of all atoms, and how much of it each centre i hands to each atom j: (n,), (n, n)."""
    whole, handed = np.zeros(len(symbols)), np.zeros((len(symbols),) * 2)
    for i, row in enumerate(near):
        row = [pair for pair in sorted(row, key=lambda pair: pair[0]) if np.linalg.norm(pair[1]) < term.cutoff]
        first, second = ([pair for pair in row if symbols[pair[0]] == symbol] for symbol in term.neighbours)
        for a, (j, v) in enumerate(first if symbols[i] == term.centre else []):
            for k, w in first[a + 1:] if term.neighbours[0] == term.neighbours[1] else second:
                r = np.array([np.linalg.norm(v), np.linalg.norm(w), np.linalg.norm(w - v)])
                x = r if term.geometry == "distances" else np.array([r[0] + r[1], (r[0] - r[1]) ** 2, r[2]])
                f = slow_cutoff(term, r)
                e = term.count * f[0] * f[1] * (1.0 - term.third_cutoff * f[2]) * slow_sum_of_kernels(term, x)
                whole[i] += e
                handed[i, [j]] += e / 3 if term.shared else 0.0
                handed[i, [k]] += e / 3 if term.shared else 0.0
    return whole, handed


def slow_densities(term, symbols, near):
    return np.array([sum(term.densities[symbols[j]].evaluate(np.linalg.norm(v))[0][0, 0] for j, v in row
                         if symbols[j] in term.densities) for row in near])


def slow_embedding(term, symbols, near):
    rho, last = slow_densities(term, symbols, near), term.energy.values[-1, :, 0]
    inside = term.energy.evaluate(rho)[0][:, 0]  # this table is a straight line below its start, and zero from its end on
    u = np.where(rho < term.energy.cutoff, inside, last[0] + (rho - term.energy.cutoff) * last[1])
    return np.where(np.array(symbols) == term.centre, u, 0.0)


def slow_energies(model, atoms):
    """e_i and what is handed over, for a whole model."""
    symbols = list(atoms.symbols)
    near = ref.neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    whole, handed = np.array([model.e0[s] for s in symbols]), np.zeros((len(atoms),) * 2)
    for term in model.terms:
        if isinstance(term, PairTerm):
            whole += ref.pair_energies(term, symbols, atoms.positions, atoms.cell.array, atoms.pbc)
        elif isinstance(term, EmbeddingTerm):
            whole += slow_embedding(term, symbols, near)
        else:
            e, h = slow_triplets(term, symbols, near)
            whole, handed = whole + e, handed + h
    return whole, handed


def assert_reference(model, atoms):
    evaluator = model.evaluator()
    nb = arrays_of(evaluator, atoms)
    shares = np.empty(len(nb.neighbour_atom))
    whole, _ = evaluator.evaluate(nb)
    kept, _ = evaluator.evaluate(nb, shares=shares)
    handed = np.zeros((len(atoms),) * 2)
    np.add.at(handed, (np.repeat(nb.centre_atom, np.diff(nb.offsets)), nb.neighbour_atom), shares)
    expected, expected_handed = slow_energies(model, atoms)
    bound = 1e-12 * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(whole, expected, rtol=0, atol=bound)
    np.testing.assert_allclose(handed, expected_handed, rtol=0, atol=bound)
    np.testing.assert_allclose(kept, expected - expected_handed.sum(axis=1), rtol=0, atol=bound)
    return expected - [model.e0[s] for s in atoms.symbols], expected_handed


@pytest.mark.parametrize("name", [name for name in NAMES if "spline" not in name])
def test_every_term_against_the_reference(name):
    term = all_terms()[name]
    for kind, atoms in frames_of(term, seed=1).items():
        energies, handed = assert_reference(alone(term), atoms)
        if kind in KINDS:
            assert np.abs(energies).max() > 1e-4
            assert (np.abs(handed).max() > 1e-4) == getattr(term, "shared", False)


@pytest.mark.parametrize("make", [make_few_body_model, make_ordered_model])
def test_whole_models_against_the_reference(make):
    model = make()
    assert model.evaluator().needs.order == (make is make_ordered_model)
    assert model.evaluator().needs.handed
    for atoms in structures(SPECIES, seed=3).values():
        assert_reference(model, atoms)


def test_embedding_goes_on_in_straight_lines():
    """Three structures: below the table, inside of it, and beyond."""
    term = embedding_terms()["embedding of O"]
    evaluator, seen = alone(term).evaluator(), []
    for length in (3.4, 2.8, 2.4):
        atoms = ase.Atoms("OSi", [[0, 0, 0], [0.49 * length] * 3], cell=[length] * 3, pbc=True)
        near = ref.neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
        rho = slow_densities(term, list(atoms.symbols), near)[0]
        seen.append(int(np.searchsorted(RHO_RANGE, rho)))
        got, forces, _ = run(evaluator, atoms)
        np.testing.assert_allclose(got - [E0["O"], E0["Si"]], slow_embedding(term, list(atoms.symbols), near), atol=1e-12)
        errors = [np.abs(ref.forces(lambda r, a=atoms: energy(evaluator, moved(a, r)), atoms.positions, step) - forces).max()
                  for step in (2e-3, 1e-3, 5e-4)]
        assert min(errors) < 1e-9
    assert seen == [0, 1, 2]
    assert np.abs(forces).max() > 1e-3


# ---- finite differences -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_forces_and_virial_against_differences(name, kind):
    term = all_terms()[name]
    relative = 2e-9 if "pp" in name else 5e-11  # the forces of pp are small beside the energies, whose rounding counts
    assert_derivatives(alone(term).evaluator(), frames_of(term, seed=2)[kind], relative)


@pytest.mark.parametrize("form", ["direct", "spline"])
@pytest.mark.parametrize("symbols", ["OOO", "SiOSi", "OSiSi"])
def test_trimer_scan_across_the_cutoffs(symbols, form):
    """The third atom goes away from the two others: both of its distances cross every cutoff."""
    evaluator, direction = make_few_body_model(form).evaluator(), np.array([0.6, -0.48, 0.64])

    def trimer(t):
        return ase.Atoms(symbols, [np.zeros(3), [0.3, 1.8, 0.2], t * direction])

    def at(t):
        energies, forces, _ = run(evaluator, trimer(t))
        return energies.sum(), forces[2] @ direction

    def is_smooth(atoms):
        near = ref.neighbours(atoms.positions, np.zeros((3, 3)), atoms.pbc, 4.0)
        rho = [slow_densities(term, symbols, near) for term in embedding_terms().values()]
        return (np.abs(atoms.get_distances(2, [0, 1])[:, None] - BREAKS).min() > 5e-3
                and np.abs(np.array(rho)[:, :, None] - RHO_RANGE).min() > 0.02)

    grid = [t for t in np.linspace(1.0, 4.3, 70) if is_smooth(trimer(t))]
    assert len(grid) > 55
    assert_slopes(at, grid, 1e-9)
    for place in BREAKS:
        below, above = at(place - 1e-9), at(place + 1e-9)
        np.testing.assert_allclose(below, above, rtol=0, atol=1e-6)
    assert at(6.0) == at(50.0)
    assert at(6.0)[1] == 0.0


# ---- invariances --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["direct", "spline"])
@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind, form):
    evaluator, atoms = make_few_body_model(form).evaluator(), structures(SPECIES, seed=5)[kind]
    for twin, expected in equivalents(atoms, *run(evaluator, atoms)):
        assert_same(run(evaluator, twin), expected)


def test_order_of_neighbours():
    """A term that tells like neighbours apart says so, and gives the reference's numbers for the order of the atoms."""
    evaluator, atoms = make_ordered_model().evaluator(), structures(SPECIES, seed=6)["triclinic"]
    nb = arrays_of(evaluator, atoms)
    expected = evaluator.evaluate(nb)[0]
    rng, turned = np.random.default_rng(7), np.arange(len(nb.neighbour_atom))
    for first, last in zip(nb.offsets, nb.offsets[1:]):
        rng.shuffle(turned[first:last])
    nb.neighbour_atom, nb.neighbour_species, nb.vectors = (
        np.ascontiguousarray(a[turned]) for a in (nb.neighbour_atom, nb.neighbour_species, nb.vectors))
    assert np.abs(evaluator.evaluate(nb)[0] - expected).max() > 1e-3
    with_two_kinds = make_few_body_model().evaluator()
    np.testing.assert_allclose(with_two_kinds.evaluate(nb)[0], with_two_kinds.evaluate(arrays_of(with_two_kinds, atoms))[0],
                               rtol=0, atol=1e-11)


# ---- edges --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["direct", "spline"])
def test_edges(form):
    """No neighbours, no atoms, atoms on one site, species that the model does not know."""
    evaluator = make_few_body_model(form).evaluator()
    energies, forces, virial = run(evaluator, ase.Atoms("O", [[1.0, 2.0, 3.0]]))
    u = embedding_terms()["embedding of O"].energy.values[0, :, 0]
    np.testing.assert_allclose(energies, E0["O"] + u[0] - RHO_RANGE[0] * u[1], rtol=0, atol=1e-13)
    assert not forces.any()
    assert not virial.any()
    nothing = NeighbourArrays(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64),
                              np.zeros(0, np.int32), np.zeros((0, 3)), 0)
    energies, gradients = evaluator.evaluate(nothing, shares=np.empty(0))
    assert energies.shape == (0,)
    assert gradients.shape == (0, 3)
    for symbols in ("OOO", "SiSiO", "OSiSi", "SiOO"):
        for places in ([0, 0, 1], [0, 1, 1], [0, 0, 0]):
            for numbers in run(evaluator, ase.Atoms(symbols, np.array([[0.0, 0, 0], [1.5, 0.6, 0.3]])[places])):
                assert np.isfinite(numbers).all()


def test_unknown_species_are_not_seen():
    evaluator, atoms = make_few_body_model().evaluator(), structures(SPECIES, seed=5)["triclinic"]
    nb = arrays_of(evaluator, atoms)
    nb.centre_species[2] = nb.neighbour_species[nb.neighbour_atom == 2] = -1
    shares = np.empty(len(nb.neighbour_atom))
    energies, gradients = evaluator.evaluate(nb, shares=shares)
    forces, virial = evaluator.forces_and_virial(nb, gradients)
    energies = energies + np.bincount(nb.neighbour_atom, weights=shares, minlength=len(atoms))
    keep = [0, 1, 3, 4]
    assert energies[2] == 0.0
    np.testing.assert_array_equal(forces[2], 0.0)
    assert_same((energies[keep], forces[keep], virial), run(evaluator, atoms[keep]))


@pytest.mark.parametrize("form", ["direct", "spline"])
def test_energies_only_and_two_threads_are_the_same_bits(form):
    model = make_few_body_model(form)
    nb, results = neighbour_arrays(random_structure(9, n_atoms=60, length=10.0), 4.0, SPECIES), []
    for n_threads, gradients in ((1, True), (2, True), (2, True), (1, False)):
        shares = np.empty(len(nb.neighbour_atom))
        results.append((*model.evaluator(n_threads).evaluate(nb, gradients, shares), shares))
    for energies, gradients, shares in results[1:]:
        np.testing.assert_array_equal(energies, results[0][0])
        np.testing.assert_array_equal(shares, results[0][2])
        if gradients is not None:
            np.testing.assert_array_equal(gradients, results[0][1])


def test_vectors_that_are_not_finite_are_refused():
    for name in ("angle", "embedding of O"):
        evaluator, nb = alone(all_terms()[name]).evaluator(), neighbour_arrays(random_structure(9), 4.0, SPECIES)
        nb.vectors[:] = np.nan
        with pytest.raises(InputError, match="not finite"):
            evaluator.evaluate(nb)


# ---- splines ------------------------------------------------------------------------------------------------------

def test_splines_follow_the_kernels():
    direct, spline = (make_few_body_model(form).evaluator() for form in ("direct", "spline"))
    for seed in range(4):
        atoms = random_structure(40 + seed, closest=1.5)
        one, two = run(direct, atoms), run(spline, atoms)
        assert 0.0 < np.abs(two[1] - one[1]).max() < 1e-5
        np.testing.assert_allclose(two[0], one[0], rtol=0, atol=1e-5)


def test_splines_keep_their_promise():
    model = make_few_body_model("spline")
    assert exact_model(model).to_bytes() == make_few_body_model().to_bytes()
    smooth = [term for term in model.terms if isinstance(term, TripletTerm) and term.kernel != "pp"]
    assert all(0.0 < term.grid.report["force_error"] <= 1e-5 for term in smooth)
    assert sum("spline of" in line for line in describe_reductions(replace(model, terms=smooth))) == len(smooth) == 6
    assert Model.from_bytes(model.to_bytes()).to_bytes() == model.to_bytes()


def test_a_spline_of_another_term_is_refused():
    term = make_few_body_model("spline").terms[3]
    for change in ({"weights": 2.0 * term.weights}, {"theta": 1.1 * term.theta}, {"f0": 1.0}, {"cutoff": 4.5},
                   {"sparse_points": term.sparse_points + 0.1}, {"permutations": np.array([[0, 2, 1]])}):
        with pytest.raises(InputError, match="changed after its table was made"):
            alone(replace(term, **change)).to_bytes()
    atoms, twice = random_structure(41), alone(replace(term, count=2 * term.count))  # no part of the spline
    e0 = np.array([E0[s] for s in atoms.symbols])
    assert_same([run(twice.evaluator(), atoms)[0] - e0], [2 * (run(alone(term).evaluator(), atoms)[0] - e0)])


def test_dot_products_of_any_power_are_reduced():
    """Powers that are no whole number have no value for negative products, which margins of the grid may ask for."""
    model = alone(ODD_POWER)
    atoms = random_structure(41)
    exact, reduced = run(model.evaluator(), atoms), run(reduce_model(model).evaluator(), atoms)
    np.testing.assert_allclose(reduced[1], exact[1], rtol=0, atol=1e-5)
