"""One trial: a configuration, its rows in one pass over the data, its best deltas and sigmas, its errors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soapgap.config import FitConfig, read_config
from soapgap.data.dataset import Dataset, Structure
from soapgap.errors import InputError
from soapgap.kinds.kernel import Kernel, rows_evaluator
from soapgap.learn.design import DesignMatrix
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import jitters_to_try
from soapgap.learn.problem import Fixed, Problem, pose
from soapgap.say import Reporter
from soapgap.tune.config import TuneConfig, changed
from soapgap.tune.grouped import Part, choose_folds, label_parts, make_groups, n_bytes, plan_groups
from soapgap.tune.likelihood import Covariances
from soapgap.tune.objectives import (
    FoldObjective,
    LikelihoodObjective,
    System,
    TunedParameters,
    fold_errors,
    make_parameters,
)
from soapgap.tune.optimise import calibrated, optimise, tuned_values

FEW = 50  # kernels with fewer sparse points than this are never thinned out
SYSTEMS = 2  # the triangles of a trial and of the best one before it
MERGED = 2  # the triangles that an objective merges are at most twice as many as those of the groups


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share.

    Attributes
    ----------
    content : dict of str to object
        Of `fit.toml`, without its test data.
    train : Dataset
        The training data, read once.
    settings : TuneConfig
        Of the search.
    max_sparse : int
        Sparse points of all kernels together.
    folder : Path
        What relative paths in the content are relative to.
    """

    content: Mapping[str, Any]
    train: Dataset
    settings: TuneConfig
    threads: int
    max_sparse: int
    folder: Path = Path(".")


@dataclass(frozen=True)
class Prepared:
    """A configuration with its sparse points, before any row is made."""

    problem: Problem
    kernels: Sequence[Kernel]
    parts: Sequence[Sequence[Part]]
    threads: int

    @property
    def structures(self) -> Sequence[Structure]:
        """The training frames that are used."""
        return self.problem.train.structures

    @property
    def design(self) -> DesignMatrix:
        """Maker of rows."""
        return DesignMatrix(self.kernels, self.problem.species, self.problem.config)

    def evaluators(self) -> list:
        """One for each thread."""
        first = rows_evaluator(self.problem.species, self.kernels, self.problem.config.exact)
        return [first, *(first.clone() for _ in range(self.threads - 1))]


def thinned(config: FitConfig, n_columns: int, largest: int) -> FitConfig:
    """The configuration with fewer sparse points, in proportion; terms that have few keep them.

    Parameters
    ----------
    n_columns : int
        M of the configuration.
    largest : int
        M that is wanted.
    """
    if n_columns <= largest:
        return config
    ratio = largest / n_columns

    def fewer(n: int) -> int:
        return n if n <= FEW else max(FEW // 2, int(n * ratio))

    terms = []
    for term in config.terms:
        n = term.n_sparse
        if n is None:  # from a file, all, or by config type: as the user wants them
            terms.append(term)
            continue
        new = fewer(n) if isinstance(n, int) else {species: fewer(k) for species, k in n.items()}
        terms.append(term.model_copy(update={"n_sparse": new}))
    return config.model_copy(update={"terms": tuple(terms)})


def pose_trial(bench: Bench, values: Mapping[str, Any], n_frames: int | None = None,
               say: Reporter | None = None) -> tuple[Problem, list[list[Part]]]:
    """The configuration with other values, on all frames or some, with not more sparse points than wanted."""
    say = say or Reporter(quiet=True)
    config = read_config(changed(bench.content, values))[0]
    problem = pose(config, bench.train, say, folder=bench.folder)
    few = thinned(config, problem.plan.n_columns, bench.max_sparse)
    train = problem.train if n_frames is None else some_frames(problem.train, n_frames, bench.settings.seed)
    if few is not config or train is not problem.train:
        fixed = Fixed(problem.species, problem.shortest, problem.e0)
        problem = pose(few, train, Reporter(quiet=True), fixed=fixed, folder=bench.folder)
    s = bench.settings
    if s.folds > len(train.structures):
        raise InputError(f"folds = {s.folds}, but there are only {len(train.structures)} training frames")
    folds = choose_folds(train.structures, s.folds, s.seed, s.fold_by == "block")
    parts = [label_parts(structure, problem.config, int(fold)) for structure, fold in zip(train.structures, folds, strict=True)]
    return problem, parts


def some_frames(train: Dataset, n_frames: int, seed: int) -> Dataset:
    """A part of the frames, each config_type with its share; a smaller part is contained in a larger one."""
    types = np.array([s.config_type for s in train.structures])
    rng = np.random.default_rng([seed, 2])
    rank = np.empty(len(types))
    for config_type in np.unique(types):
        members = np.flatnonzero(types == config_type)
        rank[rng.permutation(members)] = np.arange(len(members)) / len(members)
    chosen = np.sort(np.argsort(rank, kind="stable")[:n_frames])
    return replace(train, structures=tuple(train.structures[k] for k in chosen))


def memory_needed(parts: Sequence[Sequence[Part]], n_columns: int) -> int:
    """Bytes of the triangles of a trial."""
    return (SYSTEMS + MERGED) * n_bytes(plan_groups(parts), n_columns)


def prepare(bench: Bench, values: Mapping[str, Any], n_frames: int | None = None) -> Prepared:
    """Choose the sparse points of a trial."""
    problem, parts = pose_trial(bench, values, n_frames)
    kernels = make_kernels(problem.plan, bench.threads, Reporter(quiet=True))
    return Prepared(problem, kernels, parts, bench.threads)


def make_system(prepared: Prepared, advance=lambda amount: None) -> System:
    """The triangles of a trial, in one pass over the data."""
    groups = make_groups(prepared.design, prepared.evaluators(), prepared.structures, prepared.problem.targets,
                         prepared.parts, advance)
    return System(groups, _prior(prepared), prepared.problem.plan.terms)


def _prior(prepared: Prepared) -> Covariances:
    """K_mm with the jitter that the trainer would choose."""
    config = prepared.problem.config
    covariances = [kernel.covariance() for kernel in prepared.kernels]
    for jitter in jitters_to_try(config.sparse_jitter):
        prior = Covariances(covariances, jitter)
        try:
            prior.factors(np.ones(len(covariances)))
        except np.linalg.LinAlgError:
            continue
        return prior
    raise InputError(f"the covariance of the sparse points is not positive definite with sparse_jitter = {jitter:g}; increase "
                     "it or reduce n_sparse")


def objective_of(system: System, parameters: TunedParameters, settings: TuneConfig) -> LikelihoodObjective | FoldObjective:
    """What the settings ask to be minimised."""
    if settings.objective == "likelihood":
        return LikelihoodObjective(system, parameters)
    return FoldObjective(system, parameters, settings.energy_weight)


@dataclass(frozen=True)
class Tuned:
    """A configuration with its triangles and the logarithms of the factors found for it."""

    prepared: Prepared
    system: System
    parameters: TunedParameters
    x: np.ndarray


def tune_trial(bench: Bench, values: Mapping[str, Any], n_frames: int | None, say: Reporter) -> tuple[dict[str, Any], Tuned]:
    """Make the rows of a configuration and tune its deltas and sigmas.

    Returns
    -------
    entry : dict
        What the log keeps of it.
    tuned : Tuned
        The triangles.
    """
    began = time.perf_counter()
    prepared = prepare(bench, values, n_frames)
    with say.task("rows", sum(s.effort for s in prepared.structures)) as task:
        system = make_system(prepared, task.advance)
    after_rows = time.perf_counter()
    s = bench.settings
    parameters = make_parameters(system, s.sigmas, s.deltas)
    objective = objective_of(system, parameters, s)
    found = optimise(objective, parameters, s.restarts, s.seed)
    x = calibrated(system, parameters, objective, found.x) if isinstance(objective, FoldObjective) else found.x
    names = [" ".join(map(str, name)) for name in parameters.names]
    config = read_config(changed(bench.content, values))[0]
    entry = {
        "settings": dict(values),
        "tuned": tuned_values(config, parameters, x),
        "factors": dict(zip(names, np.exp(x).tolist(), strict=True)),
        "at_bound": [name for name, at, (low, high) in zip(names, x, parameters.bounds, strict=True)
                     if min(at - low, high - at) < 0.01],
        "value": objective.value(x)[0],
        "value_before": found.start,
        **_errors(system, parameters, x),
        "jitter": system.prior.jitter,
        "n_frames": len(prepared.structures),
        "n_sparse": system.prior.n_columns,
        "n_evaluations": found.n_evaluations,
        "seconds": {"rows": round(after_rows - began, 2), "tuning": round(time.perf_counter() - after_rows, 2)},
    }
    return entry, Tuned(prepared, system, parameters, x)


def _errors(system: System, parameters: TunedParameters, x: np.ndarray) -> dict[str, Any]:
    """Both kinds of objectives, whichever was minimised, with these factors and before."""
    likelihood, before = LikelihoodObjective(system, parameters), np.zeros_like(x)
    return {
        "errors": fold_errors(system, parameters, x),
        "errors_before": fold_errors(system, parameters, before),
        "log_likelihood": -0.5 * likelihood.value(x)[0],
        "log_likelihood_before": -0.5 * likelihood.value(before)[0],
    }
