"""What every kind of term of a model says of itself."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from few_body_models import make_channels_model, make_few_body_model
from models import make_two_species_model

import soapgap
import soapgap.learn.plan  # every kind of kernel
from soapgap.config.kind import TermConfig
from soapgap.kinds.kernel import Kernel
from soapgap.model import TERMS, Model, Term
from soapgap.parallel.cost import CostModel
from soapgap.reduction.model import describe_reductions, exact_model
from soapgap.reduction.triplet import tabulated

MODELS = {"two species": make_two_species_model, "few bodies": lambda: make_few_body_model("spline"),
          "channels": make_channels_model}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_all_kinds_are_here():
    assert {term.kind for make in MODELS.values() for term in make().terms} == set(TERMS)


def test_terms_say_what_they_are(model):
    for term in model.terms:
        assert TERMS[term.kind] is type(term)
        assert set(term.symbols) <= set(model.species)
        assert all(symbol in term.shown_species for symbol in term.symbols)
        assert term.n_sparse is None or term.n_sparse > 0
        assert (term.cancellation is None) == (term.kind in ("pair", "embedding"))
        assert set(term.costs()) <= set(term.symbols)
        assert all(sum(cost) > 0.0 for cost in term.costs().values())
        assert term.name
        assert term.exact().kind == term.kind


def test_exact_terms_are_the_model_without_reduction(model):
    exact = exact_model(model)
    assert [type(term) for term in exact.terms] == [type(term) for term in model.terms]
    assert all(getattr(term, "reduced", None) is None and getattr(term, "grid", None) is None for term in exact.terms)


def test_costs_of_terms_add_up(model):
    """The cost of a centre is that of the terms one by one, if they have the same cutoff."""
    longest = max(term.cutoff for term in model.terms)
    terms = [term for term in model.terms if term.cutoff == longest]
    kinds = np.arange(len(model.species))
    whole = CostModel(replace(model, terms=terms))(kinds, np.full(len(kinds), 20.0)) - 1.0
    parts = sum(CostModel(replace(model, terms=[term]))(kinds, np.full(len(kinds), 20.0)) - 1.0 for term in terms)
    np.testing.assert_allclose(whole, parts, rtol=1e-12)


def test_a_spline_that_was_not_measured_is_described():
    """`reduce_model` measures its splines; a model may have others."""
    model = make_few_body_model()
    first = next(term for term in model.terms if term.kind == "triplet")
    (line,) = describe_reductions(Model(model.species, model.e0, [tabulated(first, 0.3)]))
    assert "a spline of" in line
    assert "forces" not in line


def subclasses(kind: type) -> set[str]:
    return {kind.__name__}.union(*map(subclasses, kind.__subclasses__()))


def test_hardly_any_code_asks_which_kind_a_term_is():
    """Kinds are told apart by what they say and register; a ladder of isinstance would be a list of kinds."""
    kinds = set().union(*map(subclasses, (Term, Kernel, TermConfig)))
    asked = []
    for path in Path(soapgap.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
            named = ast.walk(node.args[1]) if call else [node.cls] if isinstance(node, ast.MatchClass) else []
            asked += [f"{path.name}:{node.lineno}" for part in named if getattr(part, "id", "") in kinds]
    assert "SoapTerm" in kinds
    assert len(asked) <= 3, asked
