"""A fit from beginning to end; every step is a module of its own.

    read and check, baseline, e0, plan (problem) > memory and time (estimate) > sparse points > design matrix, folded by QR
    (factorise) > weights (solve) > reduced forms > errors (validate) > model, state, report
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from soapgap.config import FitConfig, read_config
from soapgap.data.dataset import read_dataset
from soapgap.errors import InputError
from soapgap.fitting.assemble import assemble, reduced, solve
from soapgap.fitting.earlier import Earlier, earlier_fit
from soapgap.fitting.finish import check_physics, provenance, tell, write_companions, write_report_files
from soapgap.fitting.result import FitResult
from soapgap.learn.baseline.baseline_potentials import outside_values, with_outside
from soapgap.learn.compare_shares import compare_together
from soapgap.learn.errors import errors
from soapgap.learn.estimate import Estimate, fit_into, seconds_of
from soapgap.learn.factorise import Checkpoints, factorise
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import make_prior
from soapgap.learn.problem import list_bytes, pool_bytes, pose, read_test, sparse_files
from soapgap.learn.state import FitState, find_state, pack, unpack
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.learn.usage import as_bytes, available_memory, peak_bytes, size
from soapgap.model import Model
from soapgap.model.companions import OutputFiles
from soapgap.potential import default_threads
from soapgap.ranks import Ranks, start_ranks
from soapgap.say import Reporter, clock


def fit(config: Mapping[str, Any] | str | os.PathLike, *, threads: int | None = None, memory: str | int | None = None,
        restart: bool = False, resume: bool = False, add_to: str | os.PathLike | None = None, quiet: bool = False,
        report: bool = True, checkpoint_seconds: float | None = None) -> FitResult:
    """Train a model and save it.

    Under `mpiexec` the rows of the design matrix are shared out among the ranks; every rank returns the result.

    Parameters
    ----------
    config : str or path-like or dict
        Path of a `fit.toml`, or its content as nested dictionaries (docs/training.md explains the keys).
    threads : int, optional
        For all parts of the fit; by default OMP_NUM_THREADS or all cores, one under `mpiexec`.
    memory : str or int, optional
        What the processes on this machine may use together, bytes or "4GB"; by default no limit.
    restart : bool
        Start again even if MODEL.fit holds an interrupted fit of the same configuration and data.
    resume : bool
        An error if MODEL.fit does not hold such a fit; by default it is used if it is there.
    add_to : str or path-like, optional
        Model file of an earlier fit; `data.train` is added to its data without their being read again.
    quiet : bool
        Print nothing.
    report : bool
        Write MODEL.report.html and MODEL.report.json, too, which checks crystals, dimers and the speed of the model.
    checkpoint_seconds : float, optional
        How often MODEL.fit is written while the fit runs; by default so that it takes 5 % of the time.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        Anything in the configuration or the data that cannot be used, or a file that cannot be written; no file is left
        behind except the checkpoint of an interrupted fit.
    """
    settings, folder, name = read_config(config)
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise InputError(f"threads = {threads}, expected at least 1")
    if restart and resume:
        raise InputError("restart and resume exclude each other; give one of them")
    ranks = start_ranks()
    limit = as_bytes(memory) if isinstance(memory, str) else memory
    with threadpool_limits(1, "blas"):  # the threads are ours: the result does not depend on their number
        job = _Fit(settings, folder, name, threads, limit, ranks, Reporter(quiet or not ranks.is_root), checkpoint_seconds)
        return job.run(restart, resume, add_to, report)


class _Fit:
    """The steps of a fit and what they hand on."""

    def __init__(self, config: FitConfig, folder: Path, name: str, threads: int, memory: int | None, ranks: Ranks,
                 say: Reporter, checkpoint_seconds: float | None) -> None:
        self.config, self.folder, self.name, self.threads, self.ranks, self.say = config, folder, name, threads, ranks, say
        self.memory = None if memory is None else memory // ranks.here
        self.checkpoint_seconds = checkpoint_seconds
        self.files = OutputFiles(folder / config.output)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start

    def run(self, restart: bool, resume: bool, add_to, report: bool) -> FitResult:
        """All steps in order."""
        self._check_files(add_to)
        with self._timed("reading and checking"):
            self.earlier = None if add_to is None else earlier_fit(self.folder / add_to, self.config)
            self._read()
        with self.ranks.guard():
            with self._timed("estimate"):
                self._estimate()
            with self._timed("sparse points"):
                state = self._choose(restart, resume)
                self._make_prior(state)
            with self._timed("design matrix and QR"):
                solver = self._factorise(state)
            with self._timed("solution"):
                model = self._solve(solver) if self.ranks.is_root else None
            with self._timed("reduction"):
                model = self.ranks.broadcast(reduced(model, self.config, self.say) if self.ranks.is_root else None)
            with self._timed("errors"):
                comparisons = self._compare(model)
            return self.ranks.broadcast(self._finish(model, comparisons, report) if self.ranks.is_root else None)

    def _check_files(self, add_to) -> None:
        if self.ranks.is_root:
            self.files.check_writable()
        inputs = [self.folder / name for name in (*self.config.data.file_names, self.name)]
        inputs += sparse_files(self.config, self.folder)
        self.files.refuse_inputs(inputs if add_to is None else [*inputs, *Earlier.files(self.folder / add_to)])

    def _read(self) -> None:
        """Training and test data, checked; what is to be learnt from them."""
        train = read_dataset(self.config.data.train, self.config.data, self.folder)
        species = train.species if self.earlier is None else self.earlier.fixed.species
        self.test = read_test(self.config, self.folder, species, self.say)
        self.problem = pose(self.config, train, self.say, pool_bytes(self.memory),
                            None if self.earlier is None else self.earlier.fixed, self.folder, list_bytes(self.memory))
        if self.earlier is not None:
            self.earlier.check_baseline(self.problem.reference.fingerprint)
        tests = [] if self.test is None else self.test.structures
        self.outside_test = outside_values(self.problem.reference.external, species, tests, self.config.hessian_delta, self.say,
                                           "test")

    def _estimate(self) -> None:
        """Say what the fit will need before it starts; threads and blocks that fit into the memory."""
        p, threads, plan = self.problem, self.threads, self.problem.plan
        self.needs, self.threads, self.block_rows = fit_into(self.memory, plan, p.train.structures, threads)
        self.planned_seconds = 0.0
        if self.ranks.is_root:
            self.planned_seconds = seconds_of(p, self.threads * self.ranks.here) / (self.ranks.size / self.ranks.here)
        self.say.line(f"{plan.n_columns} sparse points in {len(plan.items)} kernel{'s' * (len(plan.items) > 1)}")
        self.say.line(_describe(self.needs, self.planned_seconds, self.threads, self.ranks.size))
        if self.threads < threads:
            self.say.warning(f"{self.threads} of {threads} threads: more do not fit into the memory")
        free = available_memory()
        if free is not None and self.needs.bytes * self.ranks.here > free:
            self.say.warning(f"this machine has only {size(free)} of free memory; reduce n_sparse")

    def _choose(self, restart: bool, resume: bool) -> FitState | None:
        """Sparse points: from an interrupted or an earlier fit, or chosen; the state to go on from, on the root."""
        state, points = None, None
        p = self.problem
        if self.ranks.is_root:
            state = self._interrupted(restart, resume)
            if state is None and self.earlier is not None:
                state = self.earlier.beginning(self._identity())
            points = None if state is None else (state.sparse, state.origins)
            if points is None:
                self.kernels = make_kernels(p.plan, self.threads, self.say)
                points = [k.sparse_points for k in self.kernels], [k.origins for k in self.kernels]
        sparse, origins = self.ranks.broadcast(points)
        if state is not None or not self.ranks.is_root:
            self.kernels = make_kernels(p.plan, self.threads, self.say, sparse, origins)
        return state

    def _make_prior(self, state: FitState | None) -> None:
        """K_mm and its factor; an error if it is singular, before the long part.

        Rows that have been folded in hold the factor of their jitter: no other may be chosen for the rest, by another CPU for
        example.
        """
        jitter = self.config.sparse_jitter if state is None else state.jitter
        prior = make_prior(self.kernels, jitter, self.problem.train, self.say) if self.ranks.is_root else None
        self.prior = self.ranks.broadcast(prior)

    def _identity(self) -> str:
        return self.problem.identity(None if self.earlier is None else self.earlier.identity)

    def _interrupted(self, restart: bool, resume: bool) -> FitState | None:
        """The state of an interrupted fit of the same configuration and data, if there is one."""
        if restart:
            return None
        state = find_state(self.files.state, self._identity(), resume)
        if state is not None:
            self.say.line(f"{self.files.state.name} holds this fit after {state.n_done} of "
                          f"{len(self.problem.train.structures)} structures: continuing from there (--restart starts again)")
        return state

    def _factorise(self, state: FitState | None) -> StreamingQR:
        """The design matrix in blocks, folded into one triangle, with checkpoints."""
        done = self.ranks.broadcast(0 if state is None else state.n_done)
        solver = StreamingQR(sum(k.n_sparse for k in self.kernels), self.problem.n_rhs,
                             None if state is None else unpack(state.packed))
        checkpoints = Checkpoints(self._checkpoint, self.checkpoint_seconds)
        if self.ranks.is_root and state is None and self.checkpoint_seconds is None:
            checkpoints.write(solver, 0)  # the choice of the sparse points was work, too
        factorise(self.problem, self.kernels, self.prior, solver, done, self.block_rows, self.threads, self.ranks, checkpoints,
                  self.say)
        if self.ranks.is_root and checkpoints.is_due:
            checkpoints.write(solver, len(self.problem.train.structures))
        return solver

    def _state(self, solver_triangle, n_done: int, complete: bool) -> FitState:
        earlier = [] if self.earlier is None else self.earlier.training_data
        return FitState(self._identity(), n_done, complete, solver_triangle, [k.sparse_points for k in self.kernels],
                        [k.origins for k in self.kernels], self.problem.facts(self.prior.jitter, earlier), self.problem.n_rhs)

    def _checkpoint(self, solver: StreamingQR, n_done: int) -> None:
        try:
            self._state(pack(solver.triangle), n_done, False).save(self.files.state)
        except InputError as error:  # the fit can still end well: the user may make room in the meantime
            self.say.warning(f"no checkpoint: {error}")

    def _solve(self, solver: StreamingQR) -> Model:
        """Weights from the triangle; the model without its errors."""
        self.final = pack(solver.triangle)
        weights, self.conditions = solve(solver, self.prior, self.say)
        return assemble(self.problem, self.kernels, weights)

    def _compare(self, model: Model) -> dict[str, dict]:
        """Reference and prediction of the training and the test data, on the root; every rank predicts a part."""
        comparisons = {}
        outside = self.problem.reference.outside
        for label, data, values in (("train", self.problem.train, outside), ("test", self.test, self.outside_test)):
            if data is None:
                continue
            with self.say.task(f"errors ({label})", len(data.structures) // self.ranks.size) as task:
                found = compare_together(model, data.structures, self.ranks, self.threads, task.advance,
                                         self.config.hessian_delta)
            if found is not None:
                comparisons[label] = with_outside(found, data.structures, values)
        return comparisons

    def _finish(self, model: Model, comparisons: dict[str, dict], report: bool) -> FitResult:
        """Warnings, provenance, files, report."""
        table = {label: errors(comparison) for label, comparison in comparisons.items()}
        model.provenance = provenance(self.problem, self.prior.jitter, self.name, table, self.earlier)
        check_physics(self.problem, model, comparisons, self.say)
        model.save(self.files.model)
        result = FitResult(model, table, self.files, self.say.warnings, self.conditions, self.seconds, self.planned_seconds,
                           self.needs.bytes, peak_bytes())
        state = self._state(self.final, len(self.problem.train.structures), True)
        write_companions(result, self.problem, comparisons, state, self.say)
        if report:
            write_report_files(result, self.problem, self.test, self.kernels, comparisons, self.threads, self.say)
        tell(result, self.config.output, self.say)
        return result


def _describe(needs: Estimate, seconds: float, threads: int, n_ranks: int) -> str:
    workers = f"{threads} thread{'s' * (threads > 1)}" + (f" on each of {n_ranks} ranks" if n_ranks > 1 else "")
    return (f"estimate: {size(needs.bytes)} of memory{' for each rank' * (n_ranks > 1)} (triangle {size(needs.triangle)}, "
            f"blocks of rows {size(needs.blocks)}, environments {size(needs.environments)}), {clock(seconds)} with {workers}")
