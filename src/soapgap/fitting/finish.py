"""The end of a fit: what a user should be warned of, where the model comes from, and the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soapgap
from soapgap.data.dataset import Dataset
from soapgap.data.observables import OBSERVABLES
from soapgap.errors import InputError, SoapGAPError
from soapgap.files import write_atomically
from soapgap.fitting.result import FitResult
from soapgap.kinds.kernel import Kernel
from soapgap.learn import summary
from soapgap.learn.baseline.baseline import dimer_scan, switch_radii
from soapgap.learn.errors import Comparison, sign_is_suspect
from soapgap.learn.problem import Problem
from soapgap.learn.state import FitState
from soapgap.model import Model
from soapgap.model.external import lammps_lines
from soapgap.report.file import ReportInput, write_report
from soapgap.report.sparse_map import draw_sparse_map, sparse_map
from soapgap.report.tuning import read_tuning
from soapgap.say import Reporter

if TYPE_CHECKING:
    from soapgap.fitting.earlier import Earlier

Comparisons = dict[str, dict[str, Comparison]]


def provenance(problem: Problem, jitter: float, name: str, errors: dict, earlier: Earlier | None) -> dict[str, Any]:
    """Who made the model and from what; nothing that differs between two identical fits.

    Parameters
    ----------
    problem : Problem
    jitter : float
        What was added to the diagonal of K_mm, eV^2.
    name : str
        Of the configuration.
    errors : dict
        `FitResult.errors`.
    earlier : Earlier or None
        The fit that the data were added to.

    Returns
    -------
    dict
    """
    added = {} if earlier is None else {"added_to": earlier.training_data}
    return {
        "program": f"soapgap {soapgap.__version__}",
        "command": f"soapgap fit {name}" if name.endswith(".toml") else "soapgap.fit(config)",
        "config": problem.config.recorded(jitter),
        "training_data": problem.training_data,
        "errors": errors,
        **added,
    }


def check_physics(problem: Problem, model: Model, comparisons: Comparisons, say: Reporter) -> None:
    """Signs of the virials, and repulsion below the data."""
    for name, observable in OBSERVABLES.items():
        if observable.convention and sign_is_suspect(comparisons["train"][name]):
            say.warning(f"the training {observable.words}s fit better with the opposite sign: expected "
                        f"{observable.convention}; check the data")
    radii = switch_radii(problem.config.baseline, problem.species, problem.shortest)
    ends = {pair: problem.shortest.get(pair, outer) for pair, (_, outer) in radii.items()}
    for pair, attraction in dimer_scan(model, ends).items():
        label, end = "-".join(pair), f"{ends[pair]:.2f} A, where the data begin"
        if attraction is None:
            say.line(f"dimer scan: {label} repels from 0.2 A to {end}")
        else:
            say.warning(f"dimer scan: {label} attracts between {attraction[0]:.2f} and {attraction[1]:.2f} A; expected "
                        f"repulsion up to {end}")


def write_companions(result: FitResult, problem: Problem, comparisons: Comparisons, state: FitState, say: Reporter) -> None:
    """State, errors and plots beside the model, and the lines for LAMMPS if it needs them."""
    files = result.files
    for path in (files.report, files.report_data):  # of an older fit
        path.unlink(missing_ok=True)
    _write(files.errors, lambda: summary.write_errors(files.errors, result.errors, problem.training_data), say)
    _write(files.parity, lambda: _plot(files.parity, comparisons, say), say)
    _write(files.state, lambda: state.save(files.state), say)
    if result.model.external:
        lines = lammps_lines(result.model.external, result.model.species, files.model.name)
        _write(files.lammps, lambda: write_atomically(files.lammps, "\n".join(lines) + "\n"), say)
    else:
        files.lammps.unlink(missing_ok=True)


def tell(result: FitResult, output: str, say: Reporter) -> None:
    """The table of errors, what took how long, and where everything is."""
    say.show(summary.error_table(result.errors))
    say.line("seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in result.seconds.items()))
    beside = ", ".join(path.name for path in result.files.companions) or "nothing"
    say.line(f"model: {output} (beside it {beside})")


def write_report_files(result: FitResult, problem: Problem, test: Dataset | None, kernels: Sequence[Kernel],
                       comparisons: Comparisons, threads: int, say: Reporter) -> None:
    """MODEL.report.html and MODEL.report.json; what goes wrong there is a warning, for the model is written."""
    files, numbers = result.files, result.conditions
    conditions = {"whole system": {"condition": numbers.system}}
    for name, value in numbers.covariance.items():
        conditions[f"K_MM of {name}"] = {"condition": value, "jitter": numbers.jitter}
    say.line("report: checks of the model ...")
    try:
        written = write_report(files.report, files.report_data, ReportInput(
            result.model, files.model.name, problem.train, comparisons, test, problem.config.recorded(numbers.jitter),
            shortest=problem.shortest, warnings=list(say.warnings), seconds=result.seconds, threads=threads,
            planned_seconds=result.planned_seconds, planned_bytes=result.planned_bytes, peak_bytes=result.peak_bytes,
            condition=conditions, sparse_map=_maps(problem, kernels, threads),
            **read_tuning(files.model.with_name(f"{files.model.name}.tune.jsonl"), problem.train.sha256)))
    except SoapGAPError as error:
        say.warning(f"the model is written and whole, but its report is not: {error}")
        return
    for text in written.warnings:
        say.warning(text)
    for text in written.lines:
        say.line(text)


def _maps(problem: Problem, kernels: Sequence[Kernel], threads: int) -> list:
    """Caption and picture of each map of sparse points; none without matplotlib."""
    maps = sparse_map(kernels, problem.train.structures, problem.species, problem.config.cutoff, threads=threads)
    try:
        return [(one.name, draw_sparse_map(one)) for one in maps]
    except ImportError:
        return []


def _write(path: Path, write: Callable[[], None], say: Reporter) -> None:
    """A file beside the model: what was there belongs to an older fit; a failure does not undo the new one."""
    try:
        path.unlink(missing_ok=True)
        write()
    except (InputError, OSError) as error:
        say.warning(f"the model is written and whole, but {path.name} is not: {error}")


def _plot(path: Path, comparisons: Comparisons, say: Reporter) -> None:
    try:
        summary.write_parity_plots(path, comparisons)
    except ImportError:
        say.line("no parity plots: matplotlib is not installed (pip install 'soapgap[plot]')")
