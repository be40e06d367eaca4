"""A fit from beginning to end; every step is a module of its own.

    read and check > baseline and e0 > plan and estimate > sparse points > design matrix, folded by QR > weights >
    errors > model, state, report
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import soapgap
from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.potential import default_threads
from soapgap.reduction import describe_reductions, reduce_model
from soapgap.training import report
from soapgap.training.baseline import baseline_terms, baseline_values, dimer_scan, switch_radii
from soapgap.training.config import FitConfig, read_config
from soapgap.training.dataset import Dataset, read_dataset
from soapgap.training.design import DesignMatrix, targets
from soapgap.training.e0 import atom_energies
from soapgap.training.environments import shortest_distances
from soapgap.training.estimate import available_memory, estimate, size
from soapgap.training.files import OutputFiles
from soapgap.training.kernels import rows_evaluator
from soapgap.training.noise import sigmas, unused_types
from soapgap.training.progress import Reporter, clock
from soapgap.training.solve import StreamingQR, regulariser
from soapgap.training.sparse_points import Plan, make_kernels, plan_kernels
from soapgap.training.state import FitState, identity, load_state, pack, unpack
from soapgap.training.validate import compare, errors, virial_sign_is_suspect

CHECKPOINT_SECONDS = 300.0


@dataclass
class FitResult:
    """What a fit gives.

    Attributes
    ----------
    model : the fitted model, as saved
    errors : {"train": ..., "test": ...}: by "all" and config_type, by quantity ("energy", "force", "virial",
        "local_energy", "curvature"): n, rmse, mae in meV/atom, eV/A, meV/atom, meV, eV/A^2
    files : where the model and its companions are
    warnings : what the user should have read
    seconds : wall time by step
    """

    model: Model
    errors: dict[str, dict]
    files: OutputFiles
    warnings: list[str]
    seconds: dict[str, float] = field(default_factory=dict)


def fit(config: Mapping[str, Any] | str | os.PathLike, *, threads: int | None = None, restart: bool = False,
        quiet: bool = False, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> FitResult:
    """Train a model and save it.

    Parameters
    ----------
    config : path of a `fit.toml`, or its content as nested dictionaries (docs/training.md explains the keys)
    threads : for all parts of the fit; by default OMP_NUM_THREADS or all cores
    restart : begin anew even if MODEL.fit holds an interrupted fit of the same configuration and data
    quiet : print nothing
    checkpoint_seconds : how often MODEL.fit is written while the fit runs

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
    with threadpool_limits(1, "blas"):  # the threads are ours: the result does not depend on their number
        return _Fit(settings, folder, name, threads, Reporter(quiet), checkpoint_seconds).run(restart)


class _Fit:
    """The steps of a fit and what they hand on."""

    def __init__(self, config: FitConfig, folder: Path, name: str, threads: int, say: Reporter,
                 checkpoint_seconds: float) -> None:
        self.config, self.folder, self.name, self.threads, self.say = config, folder, name, threads, say
        self.checkpoint_seconds = checkpoint_seconds
        self.files = OutputFiles(folder / config.output)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start

    def run(self, restart: bool) -> FitResult:
        """All steps in order."""
        self.files.check_writable()
        self.files.refuse_inputs(self.folder / name for name in (*self.config.data.file_names, self.name))
        with self._timed("reading and checking"):
            self._read()
            self._baseline()
            plan = plan_kernels(self.config, self.species, self.shortest, self.train.structures, self.say)
        with self._timed("estimate"):
            self._estimate(plan)
        state = None if restart else self._interrupted()
        with self._timed("sparse points"):
            self.kernels = make_kernels(plan, self.config, self.species, self.train.structures, self.threads, self.say,
                                        None if state is None else state.sparse)
        with self._timed("design matrix and QR"):
            solver = self._factorise(state)
        with self._timed("solution"):
            model = self._solve(solver)
        with self._timed("reduction"):
            model = self._reduce(model)
        with self._timed("errors"):
            comparisons = self._compare(model)
        return self._finish(model, comparisons)

    def _read(self) -> None:
        """Training and test data, checked."""
        data = self.config.data
        self.train = read_dataset(data.train, data, self.folder)
        self.test = read_dataset(data.test, data, self.folder) if data.test else None
        self.species = self.train.species
        self.say.line(_describe("train", self.train))
        if self.test is not None:
            self.say.line(_describe("test", self.test))
            strange = sorted(set(self.test.species) - set(self.species))
            if strange:
                raise InputError(f"the test data contain {', '.join(strange)}, which the training data do not; add "
                                 "such frames to the training data, or remove them from the test data")
        for structure in self.train.structures:
            sigmas(structure, self.config)  # raises if one is zero
        strange = self.train.contradicting_sums()
        if strange:
            self.say.warning(f"in {len(strange)} training frames the local energies do not add up to the energy (by more than "
                             f"1 meV per atom), first in {strange[0].where}: do both contain the energies of the isolated "
                             "atoms?")
        for kind in unused_types(self.train.structures, self.config):
            self.say.warning(f"config_type_sigma.{kind}: no training frame has this {data.config_type_key}")

    def _baseline(self) -> None:
        """Short-range repulsion, e0, and what remains to be learnt."""
        structures = self.train.structures
        self.shortest = shortest_distances(structures, self.config.cutoff, self.species)
        self.baseline = baseline_terms(self.config.baseline, self.species, self.shortest)
        values = baseline_values(self.baseline, self.species, structures, self.config.hessian_delta)
        self.e0 = atom_energies(self.config.e0, structures, self.species, self.config.cutoff, [v.energy for v in values])
        self.targets = [targets(s, self.e0, v) for s, v in zip(structures, values, strict=True)]
        self.say.line("e0 (eV): " + ", ".join(f"{symbol} {energy:.6g}" for symbol, energy in self.e0.items()))
        touched = sum(bool(np.any(v.forces)) for v in values)
        if touched:
            self.say.line(f"the short-range baseline acts in {touched} training frames and is subtracted there")

    def _estimate(self, plan: Plan) -> None:
        """Say what the fit will need before it starts."""
        needs = estimate(plan, self.config, self.species, self.train.structures, self.targets, self.threads)
        self.say.line(f"{plan.n_columns} sparse points in {len(plan.items)} kernel{'s' * (len(plan.items) > 1)}")
        self.say.line(f"estimate: {size(needs.bytes)} of memory (triangle {size(needs.triangle)}, blocks of rows "
                      f"{size(needs.blocks)}, environments {size(needs.environments)}), {clock(needs.seconds)} with "
                      f"{self.threads} thread{'s' * (self.threads > 1)}")
        free = available_memory()
        if free is not None and needs.bytes > free:
            self.say.warning(f"this machine has only {size(free)} of free memory; reduce n_sparse")

    def _identity(self) -> str:
        frames = {"frames": list(self.train.n_frames)}  # which frames belong to which file, hence to which weight
        return identity(self.config.as_json() | frames, self.train.sha256, soapgap.__version__)

    def _interrupted(self) -> FitState | None:
        """The state of an interrupted fit of the same configuration and data, if there is one."""
        state = load_state(self.files.state)
        if state is None or state.complete or state.identity != self._identity():
            return None
        self.say.line(f"{self.files.state.name} holds this fit after {state.n_done} of {len(self.train.structures)} "
                      "structures: going on from there (--restart begins anew)")
        return state

    def _factorise(self, state: FitState | None) -> StreamingQR:
        """The design matrix in blocks, folded into one triangle, with checkpoints."""
        structures = self.train.structures
        design = DesignMatrix(self.kernels, self.species, self.config)
        solver = StreamingQR(design.n_columns, None if state is None else unpack(state.packed))
        first = rows_evaluator(self.species, self.kernels, self.config.exact)
        evaluators = [first, *(first.clone() for _ in range(self.threads - 1))]
        effort = [s.effort for s in structures]
        done, last_saved = (0 if state is None else state.n_done), time.perf_counter()
        with self.say.task("design matrix", sum(effort), sum(effort[:done])) as task:
            for end, block in design.blocks(structures, self.targets, evaluators, done):
                solver.update(block)
                task.advance(sum(effort[done:end]))
                done = end
                if done < len(structures) and time.perf_counter() - last_saved >= self.checkpoint_seconds:
                    self._checkpoint(solver, done)
                    last_saved = time.perf_counter()
        return solver

    def _state(self, packed: np.ndarray, n_done: int, complete: bool) -> FitState:
        return FitState(self._identity(), n_done, complete, packed, [k.sparse_points for k in self.kernels])

    def _checkpoint(self, solver: StreamingQR, n_done: int) -> None:
        try:
            self._state(pack(solver.triangle), n_done, False).save(self.files.state)
        except InputError as error:  # the fit can still end well: the user may make room in the meantime
            self.say.warning(f"no checkpoint: {error}")

    def _solve(self, solver: StreamingQR) -> Model:
        """Weights from the triangle and the regulariser; the model without its errors."""
        self.final = pack(solver.triangle)
        jitter = self.config.sparse_jitter
        weights = solver.regularised_solution(regulariser(k.covariance(), jitter, k.name) for k in self.kernels)
        terms, column = [], 0
        for kernel in self.kernels:
            terms += kernel.finished(weights[column:column + kernel.n_sparse])
            column += kernel.n_sparse
        return Model(self.species, self.e0, terms + self.baseline, {})

    def _reduce(self, model: Model) -> Model:
        """The reduced forms of the terms, unless the configuration wants every operation."""
        if self.config.exact:
            return model
        c = self.config
        model = reduce_model(model, c.reduction_tolerance, c.precision, c.triplet_tolerance)
        for line in describe_reductions(model):
            self.say.line(line)
        return model

    def _compare(self, model: Model) -> dict[str, dict]:
        """Reference and prediction of the training and the test data."""
        comparisons = {}
        for label, data in (("train", self.train), ("test", self.test)):
            if data is not None:
                with self.say.task(f"errors ({label})", len(data.structures)) as task:
                    comparisons[label] = compare(model, data.structures, self.threads, task.advance,
                                                 self.config.hessian_delta)
        return comparisons

    def _finish(self, model: Model, comparisons: dict[str, dict]) -> FitResult:
        """Warnings, provenance, files, report."""
        table = {label: errors(comparison) for label, comparison in comparisons.items()}
        model.provenance = self._provenance(table)
        self._check_physics(model, comparisons)
        model.save(self.files.model)
        self._companion(self.files.errors,
                        lambda: report.write_errors(self.files.errors, table, model.provenance["training_data"]))
        self._companion(self.files.parity, lambda: self._plot(comparisons))
        state = self._state(self.final, len(self.train.structures), True)
        self._companion(self.files.state, lambda: state.save(self.files.state))
        self.say.show(report.error_table(table))
        self.say.line("seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in self.seconds.items()))
        self.say.line(f"model: {self.config.output} (beside it "
                      f"{', '.join(f.name for f in self.files.companions if f.exists()) or 'nothing'})")
        return FitResult(model, table, self.files, self.say.warnings, self.seconds)

    def _companion(self, path: Path, write) -> None:
        """A file beside the model: what was there belongs to an older fit; a failure does not undo the new one."""
        try:
            path.unlink(missing_ok=True)
            write()
        except (InputError, OSError) as error:
            self.say.warning(f"the model is written and whole, but {path.name} is not: {error}")

    def _plot(self, comparisons: dict[str, dict]) -> None:
        try:
            report.write_parity_plots(self.files.parity, comparisons)
        except ImportError:
            self.say.line("no parity plots: matplotlib is not installed (pip install 'soapgap[plot]')")

    def _provenance(self, table: dict) -> dict[str, Any]:
        """Who made the model and from what; nothing that differs between two identical fits."""
        return {
            "program": f"soapgap {soapgap.__version__}",
            "command": f"soapgap fit {self.name}" if self.name.endswith(".toml") else "soapgap.fit(config)",
            "config": self.config.as_json(),
            "training_data": {"files": list(self.train.files), "sha256": self.train.sha256, **self.train.counts()},
            "errors": table,
        }

    def _check_physics(self, model: Model, comparisons: dict[str, dict]) -> None:
        """Signs of the virials, and repulsion below the data."""
        if virial_sign_is_suspect(comparisons["train"]["virial"]):
            self.say.warning("the training virials fit better with the opposite sign: expected W = -dE/dstrain (a "
                             "positive trace wants to expand) or ASE's stress = +(dE/dstrain)/volume; check the data")
        radii = switch_radii(self.config.baseline, self.species, self.shortest)
        ends = {pair: self.shortest.get(pair, outer) for pair, (_, outer) in radii.items()}
        for pair, attraction in dimer_scan(model, ends).items():
            label, end = "-".join(pair), f"{ends[pair]:.2f} A, where the data begin"
            if attraction is None:
                self.say.line(f"dimer scan: {label} repels from 0.2 A to {end}")
            else:
                self.say.warning(f"dimer scan: {label} attracts between {attraction[0]:.2f} and {attraction[1]:.2f} A; "
                                 f"expected repulsion up to {end}")


def _describe(label: str, data: Dataset) -> str:
    counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in data.counts().items())
    return f"{label}: {counts}; species {', '.join(data.species)}"
