"""Arrays that the evaluator is given: those that do not fit are refused, and parts of a list leave nothing undefined."""

from dataclasses import replace

import numpy as np
import pytest
from few_body_models import make_average_model, make_few_body_model
from models import make_two_species_model, random_structure

from soapgap.errors import InputError, ModelFileError
from soapgap.neighbours.arrays import neighbour_arrays

MODELS = [make_two_species_model, make_few_body_model, make_average_model]


def prepared(make):
    evaluator = make().evaluator()
    return evaluator, neighbour_arrays(random_structure(1), evaluator.cutoff, evaluator.species)


def part(arrays, first, last):
    """Rows of some centres, with the pairs of all."""
    cut = {name: getattr(arrays, name)[first:last].copy() for name in ("centre_atom", "centre_species")}
    return replace(arrays, offsets=arrays.offsets[first:last + 1].copy(), **cut)


@pytest.mark.parametrize("make", MODELS)
def test_pairs_of_other_rows_get_zeros(make):
    """The list of a part may hold pairs before and after its rows."""
    evaluator, arrays = prepared(make)
    whole, sums = evaluator.evaluate(arrays)[1], evaluator.accumulate(arrays)
    found = np.zeros_like(whole)
    shares = np.full(len(whole), np.nan)
    for first, last in ((0, 5), (5, 11), (11, 11), (11, 24)):
        rows = part(arrays, first, last)
        gradients = evaluator.evaluate(rows, sums=sums, shares=shares)[1]
        outside = np.ones(len(whole), dtype=bool)
        outside[rows.offsets[0]:rows.offsets[-1]] = False
        assert not gradients[outside].any()
        assert not shares[outside].any()
        found += gradients
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-13 * np.abs(whole).max())


@pytest.mark.parametrize("value", [None, 1.0, np.float64(1.0), [0, 1], np.zeros((2, 2), dtype=np.int64)])
@pytest.mark.parametrize("name", ["centre_atom", "neighbour_atom"])
def test_atoms_that_are_no_array_are_refused(name, value):
    evaluator, arrays = prepared(make_two_species_model)
    for call in (evaluator.evaluate, evaluator.accumulate, lambda nb: evaluator.rows(0, nb),
                 lambda nb: evaluator.forces_and_virial(nb, np.zeros_like(arrays.vectors))):
        with pytest.raises(InputError, match=name):
            call(replace(arrays, **{name: value}))


def test_arrays_that_cannot_be_written_are_refused():
    evaluator, arrays = prepared(make_two_species_model)
    shares = np.zeros(len(arrays.vectors))
    shares.flags.writeable = False
    with pytest.raises(InputError, match="shares is read-only"):
        evaluator.evaluate(arrays, shares=shares)


@pytest.mark.parametrize("change", [dict(zeta=3.0), dict(weights=np.ones((1, 3))), dict(delta=0.3)])
def test_terms_of_one_average_differ_in_nothing_but_their_centres(change):
    """One p, one x, one output for all: with two functions of it the energy would not be that of the gradients."""
    model = make_average_model()
    with pytest.raises(ModelFileError, match="joins terms that differ in"):
        replace(model, terms=[model.terms[0], replace(model.terms[1], **change)]).evaluator()
