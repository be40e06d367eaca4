"""A search for the best settings of a fit, with training data alone.

    memory > trials: rows, deltas and sigmas, k-fold errors > tuned.toml > one structure left out > learning curve >
    on demand: the fit of the best settings, which evaluates the test data
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import soapgap
from soapgap.config import FitConfig, read_config
from soapgap.config.data import as_files
from soapgap.config.toml import to_toml
from soapgap.data.dataset import read_dataset
from soapgap.errors import InputError
from soapgap.files import hash_files, hash_json, write_atomically
from soapgap.fitting.pipeline import FitResult, fit
from soapgap.learn.tune_log import CURVE, LEFT_OUT, TEST_BEGUN, TEST_DONE, TRIAL, TuneLog
from soapgap.learn.usage import size
from soapgap.model.companions import OutputFiles
from soapgap.potential import default_threads
from soapgap.ranks import launched_ranks
from soapgap.say import Reporter
from soapgap.tune.config import TuneConfig, candidates, changed, read_toml, read_tune_config
from soapgap.tune.objectives import make_parameters
from soapgap.tune.report import curve_line, errors_line, left_out_lines, summary_warnings, trial_line, trial_table
from soapgap.tune.trial import Bench, Tuned, make_system, memory_needed, pose_trial, prepare, tune_trial
from soapgap.tune.validate import default_sizes, learning_curve, leave_one_out, plot_curve

STAGES = (0.25, 0.5, 1.0)  # of the frames, when candidates are halved
KEPT = 1.0 / 3.0  # of the candidates, from stage to stage


@dataclass(frozen=True)
class TuneResult:
    """What a search gives.

    Attributes
    ----------
    best : dict of str to object
        The best trial, as the log has it: "settings", "tuned", "value", "errors", ...
    trials : list of dict of str to object
        All trials on all frames, the best first.
    tuned : Path
        The path of the configuration with the best values.
    log : Path
        The path of the log.
    leave_one_out, curve : dict of str to object or None
        See `tune_validate`; None if not wanted.
    warnings : list of str
        What the user should have read.
    final : FitResult or None
        The fit of the best settings, if it was asked for.
    """

    best: dict[str, Any]
    trials: list[dict[str, Any]]
    tuned: Path
    log: Path
    leave_one_out: dict[str, Any] | None
    curve: dict[str, Any] | None
    warnings: list[str]
    final: FitResult | None


def tune(config: str | os.PathLike, settings: Mapping[str, Any] | str | os.PathLike | None = None, *,
         threads: int | None = None, output: str = "tuned.toml", final: bool = False, again: bool = False,
         quiet: bool = False) -> TuneResult:
    """Search for the best deltas, sigmas and whatever else the settings name. Test data are not opened.

    Parameters
    ----------
    config : path of a `fit.toml`
    settings : path of the settings of the search, or their content (docs/tuning.md explains the keys)
    threads : int, optional
        For the rows; by default OMP_NUM_THREADS or all cores.
    output : str
        Name of the file with the best values, in the folder of `config`.
    final : bool
        Afterwards fit the best settings to all training data and evaluate the test data, once.
    again : bool
        Evaluate test data that were evaluated before; the log says so.
    quiet : bool
        Print nothing.

    Returns
    -------
    TuneResult

    Raises
    ------
    InputError
        Anything in the configuration, the settings or the data that cannot be used; test data that were evaluated before.
    """
    if launched_ranks() > 1:
        raise InputError("soapgap tune runs in one process: start it without mpiexec, with --threads")
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise InputError(f"threads = {threads}, expected at least 1")
    found, path = read_tune_config(settings)
    with threadpool_limits(1, "blas"):
        search = _Search(Path(config), found, path, threads, output, Reporter(quiet))
        search.run()
        result = search.validate()
    if not final:
        return result
    return replace(result, final=search.final_fit(again), warnings=search.say.warnings)


class _Search:
    """The steps of a search and what they hand on."""

    def __init__(self, config: Path, settings: TuneConfig, settings_path: Path | None, threads: int, output: str,
                 say: Reporter) -> None:
        self.settings, self.say = settings, say
        self.name, self.content = config.name, read_toml(config)
        self.config, self.folder, _ = read_config(config)
        self.tuned = self.folder / output
        if self.tuned.parent != self.folder:
            raise InputError(f"--output {output}: expected the name of a file, which will lie beside {config.name} so that the "
                             "paths in it stay right")
        model = self.folder / self.config.output
        inputs = [config, *([settings_path] if settings_path else []), model,
                  *(self.folder / name for name in self.config.data.file_names)]
        if any(self.tuned.resolve() == path.resolve() for path in inputs):
            raise InputError(f"--output {output}: would be written over an input; choose another name")
        OutputFiles(model).check_writable()
        self.files = {kind: model.with_name(model.name + kind) for kind in (".tune.jsonl", ".tune.json", ".learning_curve.png")}
        self.log = TuneLog(self.files[".tune.jsonl"])
        trainable = {**self.content, "data": {k: v for k, v in self.content["data"].items() if k != "test"}}
        self.train_config = read_config(trainable)[0]
        train = read_dataset(self.train_config.data.train, self.train_config.data, self.folder)
        self._kept: tuple[float, str, Tuned] | None = None  # value, fingerprint and triangles of the best trial so far
        self.bench = Bench(trainable, train, settings, threads, settings.max_sparse, self.folder)

    def run(self) -> None:
        """All trials; the best ones; tuned.toml."""
        tried = candidates(self.settings, self.bench.content, self.name)
        self._fit_memory()
        stages = self._stages(len(tried))
        for number, n_frames in enumerate(stages):
            if len(stages) > 1:
                self.say.line(f"stage {number + 1} of {len(stages)}: {len(tried)} candidates on {n_frames} frames")
            trials = [self._trial(values, n_frames, f"{k + 1}/{len(tried)}") for k, values in enumerate(tried)]
            order = sorted(range(len(tried)), key=lambda k: (trials[k]["value"], k))
            if number + 1 < len(stages):
                kept = order[:max(1, math.ceil(KEPT * len(tried)))]
                tried = [tried[k] for k in sorted({0, *kept})]  # the fit as it is stays in, to compare with
        self.trials = [trials[k] for k in order]
        self.first, self.best = trials[0], self.trials[0]
        self.values = {**self.best["settings"], **self.best["tuned"]}
        head = (f"# Written by soapgap tune from {self.name}: the best of {len(self.trials)} trials.\n"
                f"# The trials and their errors are in {self.log.path.name}.\n\n")
        write_atomically(self.tuned, head + to_toml(changed(self.content, self.values)))
        self._say_best()

    def _stages(self, n_candidates: int) -> list[int]:
        """Number of frames of every stage."""
        n = len(self.bench.train.structures)
        s = self.settings
        few = s.method == "grid" or (s.method == "auto" and s.n_candidates <= s.max_trials)
        if few or n_candidates < 4 or STAGES[0] * n < 2 * s.folds:
            return [n]
        return [math.ceil(part * n) for part in STAGES]

    def _fit_memory(self) -> None:
        """Tell the memory of the triangles; take fewer sparse points if they would not fit into it."""
        wanted = None
        while True:
            problem, parts = pose_trial(self.bench, {}, say=self.say if wanted is None else None)
            n_columns = problem.plan.n_columns
            wanted = n_columns if wanted is None else wanted
            needed = memory_needed(parts, n_columns)
            if needed <= self.settings.memory or n_columns <= 100:
                break
            self.bench = replace(self.bench, max_sparse=int(0.9 * n_columns * math.sqrt(self.settings.memory / needed)))
        groups = len({part.label for of_structure in parts for part in of_structure})
        self.say.line(f"tuning: {n_columns} sparse points, {groups} triangles (kinds of observations x types of frames x "
                      f"{self.settings.folds} folds), at most {size(needed)} of memory")
        if problem.config.terms != self.train_config.terms:
            self.say.line(f"tuning takes fewer sparse points than the fit (max_sparse = {self.settings.max_sparse}, memory = "
                          f"{size(self.settings.memory)}); {self.tuned.name} has all of them")
        if needed > self.settings.memory:
            self.say.warning(f"the triangles need {size(needed)}, more than memory = {size(self.settings.memory)}: take fewer "
                             "folds")

    def _identity(self, values: Mapping[str, Any], n_frames: int) -> str:
        """Fingerprint of a trial: everything that decides its numbers."""
        config = read_config(changed(self.bench.content, values))[0]
        ours = self.settings.model_dump(mode="json", exclude={"search", "method", "max_trials", "memory", "leave_one_out",
                                                              "learning_curve", "max_sparse"})
        train = self.bench.train
        return hash_json(soapgap.__version__, config.as_json(), ours, self.bench.max_sparse, n_frames, train.sha256,
                           train.n_frames)

    def _trial(self, values: dict[str, Any], n_frames: int, place: str) -> dict[str, Any]:
        """One trial, from the log if it is there."""
        identity = self._identity(values, n_frames)
        entry = self.log.find(TRIAL, identity)
        if entry is None:
            frames = None if n_frames == len(self.bench.train.structures) else n_frames
            result, tuned = tune_trial(self.bench, values, frames, self.say)
            if frames is None and (self._kept is None or result["value"] < self._kept[0]):
                self._kept = (result["value"], identity, tuned)
            entry = self.log.append(TRIAL, identity, data_sha256=self.bench.train.sha256, objective=self.settings.objective,
                                    program=f"soapgap {soapgap.__version__}", **result)
            self.say.line(f"trial {place}: {trial_line(entry)}")
        else:
            self.say.line(f"trial {place} (in the log): {trial_line(entry)}")
        return entry

    def _say_best(self) -> None:
        self.say.show(trial_table(self.trials, self.settings.objective))
        for line in errors_line(self.first, self.best):
            self.say.line(line)
        for warning in summary_warnings(self.best, self.settings, self.values):
            self.say.warning(warning)
        shown = ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.values.items())
        self.say.line(f"best: {shown or 'the fit as it is'}\nwritten to {self.tuned.name}; log: {self.log.path.name}")

    def validate(self) -> TuneResult:
        """One structure left out and the learning curve, for the best settings; the summary as JSON."""
        s = self.settings
        left_out = curve = None
        identity = self.best["identity"]
        wanted = s.learning_curve
        if s.leave_one_out:
            left_out = self._logged(LEFT_OUT, identity, leave_one_out)
            for line in left_out_lines(left_out):
                self.say.line(line)
        if wanted is not None:
            sizes = wanted.sizes or default_sizes(len(self.bench.train.structures) * (s.folds - 1) // s.folds)
            key = hash_json(identity, sizes, wanted.seeds, s.seed)
            curve = self._logged(CURVE, key, lambda tuned, advance: learning_curve(tuned, sizes, wanted.seeds, s.seed, advance))
            self.say.line(curve_line(curve))
            try:
                plot_curve(self.files[".learning_curve.png"], curve)
            except ImportError:
                self.say.line("no plot of the learning curve: matplotlib is not installed (pip install 'soapgap[plot]')")
        summary = {"data_sha256": self.bench.train.sha256, "objective": s.objective, "trials": self.trials, "best": self.best,
                   "leave_one_out": left_out, "learning_curve": curve, "warnings": self.say.warnings}
        write_atomically(self.files[".tune.json"], json.dumps(summary, indent=1) + "\n")
        return TuneResult(self.best, self.trials, self.tuned, self.log.path, left_out, curve, self.say.warnings, None)

    def _logged(self, event: str, identity: str, compute) -> dict[str, Any]:
        """A result from the log, or computed from the triangles of the best settings and logged."""
        entry = self.log.find(event, identity)
        if entry is None:
            tuned = self._tuned()
            with self.say.task(event, sum(s.effort for s in tuned.prepared.structures)) as task:
                entry = self.log.append(event, identity, result=compute(tuned, task.advance))
        return entry["result"]

    def _tuned(self) -> Tuned:
        """The triangles of the best trial, made again if it was in the log."""
        if self._kept is None or self._kept[1] != self.best["identity"]:
            prepared = prepare(self.bench, self.best["settings"])
            with self.say.task("rows", sum(s.effort for s in prepared.structures)) as task:
                system = make_system(prepared, task.advance)
            parameters = make_parameters(system, self.settings.sigmas, self.settings.deltas)
            x = np.log([self.best["factors"][" ".join(map(str, name))] for name in parameters.names])
            self._kept = (self.best["value"], self.best["identity"], Tuned(prepared, system, parameters, x))
        return self._kept[2]

    def final_fit(self, again: bool) -> FitResult:
        """Fit the best settings to all training data; the test data are opened here and nowhere else."""
        config: FitConfig = read_config(self.tuned)[0]
        if not config.data.test:
            raise InputError(f"--final: {self.name} has no data.test to evaluate; soapgap fit {self.tuned.name} fits without")
        test_sha256 = hash_files((self.folder / entry.file for entry in as_files(config.data.test)), "data file")
        identity = hash_json(config.as_json(), self.bench.train.sha256, test_sha256)
        earlier = self.log.earlier_tests(test_sha256, identity)
        if earlier:
            other = "the same" if earlier[-1]["identity"] == identity else "other"
            message = f"the test set has been evaluated before, with {other} settings, on {earlier[-1]['date']}"
            if not again:
                raise InputError(f"--final: {message} ({self.log.path.name}); a test set that is looked at again and again "
                                 "becomes training data; --again evaluates it once more, and the log will say so")
            self.say.warning(f"{message}: this is evaluation number {len(earlier) + 1}")
        shared = {"data_sha256": self.bench.train.sha256, "test_sha256": test_sha256, "evaluation": len(earlier) + 1}
        self.log.append(TEST_BEGUN, identity, **shared)
        result = fit(self.tuned, threads=self.bench.threads, quiet=self.say.quiet)
        self.log.append(TEST_DONE, identity, **shared, tuned=self.values, errors=result.errors["test"])
        return result
