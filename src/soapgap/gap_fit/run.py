"""A fit from gap_fit's command line, from beginning to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soapgap.config import read_config
from soapgap.errors import InputError
from soapgap.fitting.pipeline import FitResult, fit
from soapgap.gap_fit.config import Translation, translate
from soapgap.gap_fit.dump import kernel_names, make_system, write_system
from soapgap.gap_fit.files import append_indices, in_our_order, write_points, write_xml
from soapgap.gap_fit.toml import write_fit_toml
from soapgap.gap_fit.words import CommandLine, read_command_line
from soapgap.kinds.kernel import Kernel
from soapgap.learn.estimate import fit_into, seconds_of
from soapgap.learn.plan import make_kernels
from soapgap.learn.problem import Problem, pool_bytes, read_problem
from soapgap.learn.state import load_state
from soapgap.learn.usage import as_bytes, size
from soapgap.potential import default_threads
from soapgap.ranks import start_ranks
from soapgap.say import Reporter, clock


def run(words: Sequence[str], *, toml: Path | None = None, threads: int | None = None, memory: str | None = None,
        resume: bool = False, restart: bool = False, quiet: bool = False, quoted: str = "soapgap gap-fit") -> FitResult | None:
    """Do the fit that gap_fit would do.

    Parameters
    ----------
    words : sequence of str
        gap_fit's arguments.
    toml : Path, optional
        Write the configuration to this file and stop.
    threads : int, optional
    memory : str, optional
    resume, restart, quiet : bool
        As in `soapgap.fit`.
    quoted : str
        The command, for the model file.

    Returns
    -------
    FitResult, or None if nothing was fitted (`toml`, dryrun=T)

    Raises
    ------
    InputError
        Anything that is unknown, not supported, or wrong in the data.
    """
    command = read_command_line(words)
    ranks = start_ranks()
    say = Reporter(quiet or not ranks.is_root)
    translation = translate(command)
    for note in translation.notes:
        say.line(f"note: {note}")
    gap_file = Path(command.values["gap_file"])
    _check_folders(command, translation)
    _make_ready(translation, gap_file, ranks.is_root)
    ranks.broadcast(None)  # the files are there
    if toml is not None:
        write_fit_toml(toml, translation.config, f"{quoted}\n" + "".join(f"note: {note}\n" for note in translation.notes))
        say.line(f"{toml}: soapgap fit {toml} does the same fit")
        return None
    if command.values["dryrun"]:
        _plan(translation, threads, memory, say)
        return None
    result = fit(translation.config, threads=threads, memory=memory, resume=resume, restart=restart, quiet=quiet)
    if ranks.is_root:
        _write(command, translation, result, gap_file, quoted, say)
    return result


def _check_folders(command: CommandLine, translation: Translation) -> None:
    """What is written after the fit has a folder to be written to."""
    wanted = [("linear_system_dump_file", command.values["linear_system_dump_file"])]
    wanted += [("print_sparse_index", name) for name in translation.terms.index_files]
    for option, name in wanted:
        if name and not Path(name).parent.is_dir():
            raise InputError(f"{option}={name}: there is no folder {Path(name).parent}; create it")


def _make_ready(translation: Translation, gap_file: Path, is_root: bool) -> None:
    """Sparse points of soap in files of our order of species, where that differs."""
    tables, files = in_our_order(translation.config["terms"], translation.survey.species, str(gap_file))
    if files:
        translation.config["terms"] = tables
        if is_root:
            write_points(files)


def _plan(translation: Translation, threads: int | None, memory: str | None, say: Reporter) -> None:
    """Read the data and say what the fit would need."""
    config, folder, _ = read_config(translation.config)
    limit = None if memory is None else as_bytes(memory)
    problem = read_problem(config, folder, say, pool_bytes(limit))
    needs, threads, _ = fit_into(limit, problem.plan, problem.train.structures, threads or default_threads())
    say.line(f"dryrun: {problem.plan.n_columns} sparse points, {size(needs.bytes)} of memory, "
             f"{clock(seconds_of(problem, threads))} with {threads} threads; nothing is fitted")


def _write(command: CommandLine, translation: Translation, result: FitResult, gap_file: Path, quoted: str,
           say: Reporter) -> None:
    """The XML file and what else was asked for."""
    values, terms = command.values, translation.terms
    result.model.provenance["command"] = quoted
    result.model.save(result.files.model)
    data = Path(values["atoms_filename"]) if values["do_copy_atoms_file"] else None
    label = write_xml(gap_file, result.model, command.text, data, values["sparse_separate_file"])
    say.line(f"{gap_file}: the same potential for QUIP, label {label}")
    prefix = values["linear_system_dump_file"]
    if prefix or any(terms.index_files):
        problem, kernels = _again(translation, result, say)
        append_indices(terms, problem, kernels, kernel_names(problem, kernels))
        if prefix:
            with say.task("linear system", len(problem.train.structures)) as task:
                write_system(prefix, make_system(problem, kernels, terms.coordinates), task.advance)
            say.line(f"linear system: {prefix}_Kmm, {prefix}_Kmn.0, {prefix}_lambda.0, {prefix}_globalY.0")


def _again(translation: Translation, result: FitResult, say: Reporter) -> tuple[Problem, list[Kernel]]:
    """The problem and the kernels of the fit that has just ended."""
    config, folder, _ = read_config(translation.config)
    problem = read_problem(config, folder, Reporter(quiet=True))
    state = load_state(result.files.state)
    if state is None:
        raise InputError(f"{result.files.state} cannot be read again")
    return problem, make_kernels(problem.plan, 1, say, state.sparse, state.origins)
