"""`soapgap fit`: the trainer on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from soapgap.errors import SoapGAPError


def fit(
    config: Annotated[Path, typer.Argument(help="Configuration, a TOML file; docs/training.md explains its keys.")],
    threads: Annotated[int | None, typer.Option(help="Threads; default OMP_NUM_THREADS or all cores (1 per MPI rank).")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory that the fit may use on this machine: 4GB, 500MB.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted fit in MODEL.fit, or fail (by default it "
                                         "is used if it is there).")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Ignore an interrupted fit in MODEL.fit.")] = False,
    report: Annotated[bool, typer.Option(help="Write MODEL.report.html: errors, settings, checks of the model.")] = True,
    add_to: Annotated[Path | None, typer.Option(help="Model file of an earlier fit, to whose data these are added.")] = None,
) -> None:
    """Train a model: data in, model, errors and plots out. Under mpiexec the work is shared out among the ranks."""
    from soapgap.fitting.pipeline import fit as run
    from soapgap.ranks import start_ranks

    try:
        run(config, threads=threads, memory=memory, resume=resume, restart=restart, add_to=add_to, report=report)
    except SoapGAPError:
        if start_ranks().is_root:
            raise
        sys.exit(2)  # the root says it for all
