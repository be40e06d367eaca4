"""From the triangle to weights, and from weights to the model that is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soapgap.config import FitConfig
from soapgap.kinds.kernel import Kernel
from soapgap.learn.conditions import Conditions, condition_of_triangle
from soapgap.learn.prior import Prior
from soapgap.learn.problem import Problem
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.model import Model
from soapgap.reduction.model import describe_reductions, reduce_model
from soapgap.say import Reporter


def solve(solver: StreamingQR, prior: Prior, say: Reporter) -> tuple[np.ndarray, Conditions]:
    """Weights of all kernels, (M, n_rhs), from the triangle of all rows, whitened by the prior; ends the factorisation."""
    weights = prior.weights(solver.regularised_solution())
    conditions = Conditions(prior.jitter, prior.conditions, condition_of_triangle(solver.r))
    say.line(str(conditions))
    return weights, conditions


def assemble(problem: Problem, kernels: Sequence[Kernel], weights: np.ndarray) -> Model:
    """The model whose energy has the first of these weights, (M, n_rhs); without reduced forms and provenance."""
    terms, column = [], 0
    for kernel in kernels:
        terms += kernel.finished(weights[column:column + kernel.n_sparse, 0])
        column += kernel.n_sparse
    return Model(problem.species, problem.e0, terms + problem.reference.terms, {}, problem.reference.external)


def reduced(model: Model, config: FitConfig, say: Reporter) -> Model:
    """The model with reduced forms of its terms, unless the configuration wants every operation."""
    if config.exact:
        return model
    model = reduce_model(model, config.reduction_tolerance, config.precision, config.triplet_tolerance)
    for line in describe_reductions(model):
        say.line(line)
    return model
