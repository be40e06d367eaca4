"""`soapgap ipi-run`: i-PI and its drivers."""

import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from soapgap.cli.options import with_options
from soapgap.errors import InputError
from soapgap.ipi.launch.options import LaunchOptions


@with_options
def ipi_run(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Input of i-PI (XML), or a checkpoint such as RESTART.", show_default=False)
    ],
    model: Annotated[Path | None, typer.Argument(help="Model file.", show_default=False)] = None,
    structure: Annotated[
        Path | None, typer.Argument(help="Species, order and periodic directions, as for soapgap drive.", show_default=False)
    ] = None,
    *,
    options: LaunchOptions,
) -> None:
    """Run i-PI together with its drivers, and show progress. Other options after STRUCTURE go to each soapgap drive.

    Exit status: 0 when i-PI did all its steps or was asked to end early, 2 for an error before the first step, 3 if i-PI
    failed, 4 if no driver was left, 130 after Ctrl-C (RESTART is written).
    """
    from soapgap.ipi.launch import run_ipi

    for name, path in (("INPUT", source), ("MODEL", model), ("STRUCTURE", structure)):
        if path is not None and str(path).startswith("-"):
            raise InputError(f"got {path} as {name}: give the options of the drivers after STRUCTURE")
    drive_options = context.args
    if drive_options and not drive_options[0].startswith("-"):
        raise InputError(f"got the argument {drive_options[0]} after STRUCTURE, expected an option of soapgap drive")
    report = run_ipi(source, model, structure, options, drive_options=drive_options)
    again = ["RESTART" if report.restart is None else str(options.folder / report.restart.name)]
    again += [str(path) for path in (model, structure) if path is not None]
    for item in fields(options):
        if item.name != "limit_seconds" and (value := getattr(options, item.name)) != item.default:
            again += [f"--{item.name}", str(value)]
    _print(report, options.folder, shlex.join(["soapgap", "ipi-run", *again, *drive_options]))
    if report.status:
        raise typer.Exit(report.status)


def _print(report, folder: Path, command: str) -> None:
    """What was done, what was written, and how to continue."""
    pace = f", {1000 * report.seconds_per_step:.4g} ms per step" if report.seconds_per_step is not None else ""
    print(f"step {report.step} of {report.total_steps} in {report.seconds:.1f} s{pace}")
    print(f"written in {folder.absolute()}: {', '.join(report.files) or 'nothing'}")
    if report.status in (3, 4):
        print(f"soapgap: {report.reason}", file=sys.stderr)
        if report.status == 3:
            _print_tail(folder / "ipi.log")
    else:
        print(report.reason)
    if report.restart is None:
        print("there is no RESTART of this run")
    elif report.restart_step >= report.total_steps:
        print(f"to continue: raise <total_steps> in {report.restart.name}, then {command}")
    else:
        print(f"to continue from step {report.restart_step}: {command}")


def _print_tail(log: Path, n_lines: int = 8) -> None:
    if log.exists():
        lines = log.read_text(errors="replace").splitlines()[-n_lines:]
        print(f"the last lines of {log}:", *(f"  {line}" for line in lines), sep="\n", file=sys.stderr)
