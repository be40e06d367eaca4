"""Several outputs of a centre: each is a model of its own; any derivative of them is pulled back; for every kind of term."""

import json
import resource
from dataclasses import replace

import numpy as np
import pytest
from few_body_models import (
    embedding_terms,
    make_average_model,
    make_channels_model,
    make_few_body_model,
    triplet_terms,
)
from models import CUTOFF, SPECIES, make_two_species_model, pair_term, random_structure
from soapgap._evaluator import Evaluator
from test_model_file import sealed

from soapgap.errors import InputError, ModelFileError
from soapgap.model import Model, RadialTable, Reduction
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential
from soapgap.reduction.model import reduce_model
from soapgap.reduction.soap import reduce_term
from soapgap.reduction.triplet import tabulated

E0 = {"Si": -1.25, "O": -0.5}
N_OUT = 3


def with_outputs(term, n=N_OUT):
    """The term with n sets of weights, and n terms with one each. Curves and grids are multiplied by n factors."""
    rng = np.random.default_rng(3)
    if hasattr(term, "weights"):
        weights = rng.normal(size=(n, term.weights.shape[1]))
        parts = [replace(term, weights=row[None]) for row in weights]
        if getattr(term, "grid", None) is None:
            return replace(term, weights=weights), parts
        parts = [tabulated(replace(part, grid=None), 0.4) for part in parts]
        whole = replace(term, weights=weights, grid=None)
        grid = replace(parts[0].grid, coefficients=np.stack([part.grid.coefficients for part in parts]),
                       report=parts[0].grid.report | {"of": whole.digest()})
        return replace(whole, grid=grid), parts
    name = "energy" if hasattr(term, "densities") else "table"
    table, factors = getattr(term, name), rng.normal(size=n)
    parts = [replace(term, **{name: RadialTable(table.segments, table.values * f)}) for f in factors]
    return replace(term, **{name: RadialTable(table.segments, table.values * factors)}), parts


def everything():
    """One model of each kind, by name: several outputs, and as many models with one."""
    two, channels = make_two_species_model(), make_channels_model()
    kinds = {"soap": two.terms[:2], "zeta 2.5": [replace(term, zeta=2.5) for term in two.terms[:2]],
             "zeta 1": [replace(term, zeta=1.0) for term in two.terms[:2]], "channels": channels.terms,
             "average": make_average_model().terms, "pair": [pair_term(("Si", "O"), 0.6), pair_term(("O", "O"), 0.75)],
             "embedding": list(embedding_terms().values()), "triplets": list(triplet_terms().values()),
             "triplets, splines": [tabulated(term, 0.4) for term in list(triplet_terms().values())[:2]]}
    return kinds


KINDS = everything()


def models(kind, n=N_OUT):
    made = [with_outputs(term, n) for term in KINDS[kind]]
    if kind == "average":  # terms of one descriptor have the weights in common
        made = [made[0], (replace(made[1][0], weights=made[0][0].weights),
                          [replace(a, weights=b.weights) for a, b in zip(made[1][1], made[0][1], strict=True)])]
    return (Model(SPECIES, E0, [whole for whole, _ in made]),
            [Model(SPECIES, E0, [parts[o] for _, parts in made]) for o in range(n)])


@pytest.fixture(scope="module")
def neighbours():
    return neighbour_arrays(random_structure(21), CUTOFF, SPECIES)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_as_many_models(neighbours, kind, threads):
    """Values, and the derivative of the sum of each output."""
    whole, single = models(kind)
    assert whole.properties[0].n_out == N_OUT
    evaluator = Model.from_bytes(whole.to_bytes()).evaluator(threads)
    values, pairs = evaluator.outputs(neighbours)
    assert pairs is None
    for o, model in enumerate(single):
        energies, gradients = model.evaluator().evaluate(neighbours)
        scale = np.abs(energies - [E0[SPECIES[k]] for k in neighbours.centre_species]).max()
        assert scale > 1e-3
        np.testing.assert_allclose(values[:, o], energies, rtol=0, atol=1e-12 * max(scale, 1.0))
        also, pairs = evaluator.outputs(neighbours, output=o)
        np.testing.assert_allclose(also, values, rtol=0, atol=1e-12 * max(scale, 1.0))
        np.testing.assert_allclose(pairs, gradients, rtol=0, atol=1e-12 * np.abs(gradients).max())
    with pytest.raises(InputError, match="3 energies.*outputs"):
        evaluator.evaluate(neighbours)


@pytest.mark.parametrize("n", [1, N_OUT])
@pytest.mark.parametrize("kind", KINDS)
def test_a_given_derivative_is_pulled_back(neighbours, kind, n):
    """L = sum of random numbers times outputs: against 4th-order differences of L along random directions of all vectors."""
    whole, single = models(kind, n)
    evaluator, rng = whole.evaluator(), np.random.default_rng(8)
    adjoint = rng.normal(size=(len(neighbours.centre_atom), n))
    values, pairs = evaluator.outputs(neighbours, adjoint=adjoint)
    np.testing.assert_allclose(values, evaluator.outputs(neighbours)[0], rtol=0, atol=1e-12 * np.abs(values).max())
    start = neighbours.vectors.copy()
    try:
        for _ in range(2):
            direction = rng.normal(size=start.shape)

            def moved(step, direction=direction):
                neighbours.vectors[:] = start + step * direction
                return float((evaluator.outputs(neighbours)[0] * adjoint).sum())

            expected = float((pairs * direction).sum())
            errors = []
            for h in (1e-3, 3e-4, 1e-4):
                numeric = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
                errors.append(abs(numeric - expected))
            assert np.isfinite(errors).all()
            assert abs(expected) > 1e-2
            assert min(errors) < 3e-7 * np.abs(pairs).sum()
    finally:
        neighbours.vectors[:] = start
    if kind != "average":  # linear in the adjoint: each centre's own derivative, times its number
        parts = [model.evaluator().evaluate(neighbours)[1] for model in single]
        centre = np.repeat(np.arange(len(neighbours.centre_atom)), np.diff(neighbours.offsets))
        together = sum(adjoint[centre, o, None] * part for o, part in enumerate(parts))
        np.testing.assert_allclose(pairs, together, rtol=0, atol=1e-11 * np.abs(together).max())


def in_mixed_precision(term):
    """Points with rotated radial functions; the products of small features in single precision."""
    one = reduce_term(replace(term, zeta=4.0, weights=term.weights[:1]), 1e-6, single_budget=1e-9)
    assert one.reduced.form == "points"
    assert one.reduced.n_single > 0
    whole = replace(term, zeta=4.0)
    return replace(whole, reduced=replace(one.reduced, weights=term.weights, report={"of": whole.digest()}))


def as_matrices(term):
    """A_o = sum_s weights_os X_s X_s^T of each output, one below the other."""
    matrices = np.concatenate([(term.sparse_points.T * weights) @ term.sparse_points for weights in term.weights])
    tables = np.stack([term.table.values] * term.n_channels)
    return replace(term, reduced=Reduction("matrix", [term.n_max] * (term.l_max + 1), tables, term.centre_values,
                                           np.arange(term.n_features), matrices, np.zeros((term.n_out, len(matrices))),
                                           {"of": term.digest()}))


def one_output(term, o):
    """The term with its weights of output o alone, those of its reduced points, too."""
    whole = replace(term, weights=term.weights[o:o + 1])
    return replace(whole, reduced=replace(term.reduced, weights=term.reduced.weights[o:o + 1], report={"of": whole.digest()}))


@pytest.mark.parametrize(("reduction", "tolerance"), [(in_mixed_precision, 1e-9), (as_matrices, 1e-12)])
def test_reduced_forms_have_the_outputs_too(neighbours, reduction, tolerance):
    """Mixed precision: as many models with the same reduced points; matrices: the exact points."""
    model, _ = models("soap")
    reduced = replace(model, terms=[reduction(term) for term in model.terms])
    exact = replace(reduced, terms=[replace(term, reduced=None) for term in reduced.terms]).evaluator()
    evaluator = reduced.evaluator()
    for o in range(N_OUT):
        if reduction is as_matrices:
            expected = exact.outputs(neighbours, output=o)
        else:
            expected = replace(reduced, terms=[one_output(term, o) for term in reduced.terms]).evaluator().evaluate(neighbours)
        values, pairs = evaluator.outputs(neighbours, output=o)
        reference = expected[0] if expected[0].ndim == 1 else expected[0][:, o]
        np.testing.assert_allclose(values[:, o], reference, rtol=0, atol=tolerance * np.abs(values).max())
        np.testing.assert_allclose(pairs, expected[1], rtol=0, atol=tolerance * np.abs(pairs).max())
        far = exact.outputs(neighbours, output=o)[1]
        assert np.abs(pairs - far).max() < 1e-4 * np.abs(far).max()
    assert reduce_model(model).terms[0] is model.terms[0]  # several outputs are left as they are


def test_sums_of_parts_are_those_of_the_whole(neighbours):
    """A host that cuts a structure into pieces: sums are added up, then each piece is evaluated with them."""
    evaluator = make_average_model().evaluator()
    energies, gradients = evaluator.evaluate(neighbours)
    half, cut = len(neighbours.centre_atom) // 2, int(neighbours.offsets[len(neighbours.centre_atom) // 2])
    pieces = []
    for centres, pairs in ((slice(0, half), slice(0, cut)), (slice(half, None), slice(cut, None))):
        offsets = neighbours.offsets[centres.start:(centres.stop or len(neighbours.centre_atom)) + 1] - pairs.start
        pieces.append(replace(neighbours, centre_atom=neighbours.centre_atom[centres], offsets=offsets.copy(),
                              centre_species=neighbours.centre_species[centres], vectors=neighbours.vectors[pairs],
                              neighbour_atom=neighbours.neighbour_atom[pairs], shift=None,
                              neighbour_species=neighbours.neighbour_species[pairs]))
    sums = sum(evaluator.accumulate(piece) for piece in pieces)
    made = [evaluator.evaluate(piece, sums=sums) for piece in pieces]
    np.testing.assert_allclose(np.concatenate([e for e, _ in made]), energies, rtol=1e-13)
    np.testing.assert_allclose(np.concatenate([g for _, g in made]), gradients, rtol=0, atol=1e-13 * np.abs(gradients).max())
    assert np.abs(evaluator.evaluate(pieces[0])[0] - made[0][0]).max() > 1e-3  # alone it is another structure
    assert make_two_species_model().evaluator().accumulate(neighbours).size == 0
    with pytest.raises(InputError, match="sums"):
        evaluator.evaluate(neighbours, sums=sums[:-1].copy())


def test_several_properties_in_one_file(neighbours):
    """The second property has its own offsets, number of outputs and terms; the arrays may be shared."""
    model = make_two_species_model()

    def add(meta):
        energy = meta["properties"][0]
        meta["properties"].append(energy | {"name": "charge", "unit": "e", "offsets": [[0.5], [-0.25]],
                                            "terms": energy["terms"][2:]})

    evaluator = Evaluator(sealed(model.to_bytes(), add), 2)
    assert [tuple(p) for p in evaluator.properties] == [("energy", "eV", "0e", 1), ("charge", "e", "0e", 1)]
    assert evaluator.n_terms == 8
    pairs = replace(model, e0={"Si": 0.5, "O": -0.25}, terms=model.terms[2:]).evaluator()
    for ours, theirs in ((evaluator.outputs(neighbours, "charge", output=0), pairs.outputs(neighbours, output=0)),
                         (evaluator.evaluate(neighbours), model.evaluator().evaluate(neighbours))):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="no property 'spin'; it has energy, charge"):
        evaluator.outputs(neighbours, "spin")
    with pytest.raises(ModelFileError, match="properties energy, charge"):
        Model.from_bytes(evaluator.content)


@pytest.mark.parametrize(("options", "words"), [
    ({"output": 3}, "output number 3.*has 3 outputs"), ({"output": -1}, "output number -1"),
    ({"output": 0, "adjoint": np.zeros((24, 3))}, "both"), ({"adjoint": np.zeros((24, 2))}, "adjoint"),
])
def test_what_does_not_fit_is_refused(neighbours, options, words):
    evaluator = models("soap")[0].evaluator()
    with pytest.raises(InputError, match=words):
        evaluator.outputs(neighbours, **options)


def test_offsets_that_one_e0_cannot_hold_are_refused():
    """The class of models has one e0 for each species; nothing is lost without a word."""
    def change(meta):
        (energy,) = meta["properties"]
        energy["offsets"] = [[0.25 * o for o in range(energy["n_out"])] for _ in meta["species"]]

    content = sealed(Model(SPECIES, dict.fromkeys(SPECIES, 0.0), models("soap")[0].terms).to_bytes(), change)
    assert Evaluator(content).properties[0].n_out == N_OUT
    with pytest.raises(ModelFileError, match="different offsets for one species"):
        Model.from_bytes(content)


def test_terms_must_have_as_many_outputs():
    model = make_two_species_model()
    with pytest.raises(InputError, match="1, 3 outputs"):
        replace(model, terms=[with_outputs(model.terms[0])[0], *model.terms[1:]]).to_bytes()


# ---- one reading of a file -------------------------------------------------------------------------------------------

def test_clones_share_the_model():
    """Four clones of a model of 30 MB: no bytes of their own, the same numbers."""
    term = make_two_species_model().terms[0]
    n = 30_000_000 // (8 * term.n_features)
    rng = np.random.default_rng(0)
    points = np.abs(rng.normal(size=(n, term.n_features)))
    model = Model(SPECIES, E0, [replace(term, sparse_points=points, weights=rng.normal(size=(1, n)))])
    first = model.evaluator()
    assert len(first.content) > 29_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clones = [first.clone(k + 1) for k in range(4)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1000  # kB
    nb = neighbour_arrays(random_structure(3), CUTOFF, SPECIES)
    expected = first.evaluate(nb)[0]
    for number, clone in enumerate(clones):
        assert clone.content is first.content
        assert clone.metadata is first.metadata
        assert (clone.n_threads, clone.species, clone.needs) == (number + 1, first.species, first.needs)
        np.testing.assert_allclose(clone.evaluate(nb)[0], expected, rtol=1e-12)


def test_a_file_is_read_once(tmp_path, monkeypatch):
    """`Potential(path)` makes its evaluator while it reads, and writes nothing."""
    path = tmp_path / "model.safetensors"
    make_few_body_model().save(path)
    monkeypatch.setattr(Model, "to_bytes", lambda self: pytest.fail("the model was written to be read again"))
    made = []
    monkeypatch.setattr("soapgap.model.model.Evaluator", lambda *arguments: made.append(1) or Evaluator(*arguments))
    potential = Potential(path, n_threads=2)
    assert made == [1]
    assert potential.evaluator.n_threads == 2
    assert potential.evaluator.content == path.read_bytes()
    assert json.loads(potential.evaluator.metadata)["species"] == potential.model.species
