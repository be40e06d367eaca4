"""`soapgap gap-fit`: the trainer, called as gap_fit is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from soapgap.errors import SoapGAPError


def gap_fit(
    words: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Options of gap_fit: at_file=train.xyz "
                                               "gap={soap ...} default_sigma={0.001 0.1 0.05 0} ...; docs/gap_fit.md lists "
                                               "them.")],
    toml: Annotated[Path | None, typer.Option(help="Write the same fit as a fit.toml and stop.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; default OMP_NUM_THREADS or all cores (1 per MPI rank).")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory that the fit may use on this machine: 4GB, 500MB.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted fit beside the model, or fail.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Ignore an interrupted fit.")] = False,
) -> None:
    """Fit as gap_fit does, with its own command line or config_file: a potential of QUIP and a model file."""
    from soapgap.gap_fit.run import run
    from soapgap.ranks import start_ranks

    try:
        run(words, toml=toml, threads=threads, memory=memory, resume=resume, restart=restart,
            quoted=f"soapgap gap-fit {shlex.join(words)}")
    except SoapGAPError:
        if start_ranks().is_root:
            raise
        sys.exit(2)  # the root says it for all
