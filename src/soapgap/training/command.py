"""`soapgap fit`: the trainer on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit(
    config: Annotated[Path, typer.Argument(help="Configuration, a TOML file; docs/training.md explains its keys.")],
    threads: Annotated[int | None, typer.Option(help="Threads; default OMP_NUM_THREADS or all cores.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Ignore an interrupted fit in MODEL.fit.")] = False,
) -> None:
    """Train a model: data in, model, errors and parity plots out."""
    from soapgap.training.fit import fit as run

    run(config, threads=threads, restart=restart)
