"""`soapgap tune`: a search for the best settings, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tune(
    config: Annotated[Path, typer.Argument(help="Configuration of the fit, a TOML file.")],
    settings: Annotated[Path | None, typer.Option(help="What to search, a TOML file; docs/tuning.md has its keys.")] = None,
    output: Annotated[str, typer.Option(help="Name of the configuration with the best values, beside CONFIG.")] = "tuned.toml",
    threads: Annotated[int | None, typer.Option(help="Threads; default OMP_NUM_THREADS or all cores.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Then fit the best settings; evaluate the test data, once.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --final: evaluate the test data again.")] = False,
) -> None:
    """Tune sigmas, deltas and other settings of a fit by cross-validation or likelihood, on training data alone."""
    from soapgap.tune.run import tune as run

    run(config, settings, threads=threads, output=output, final=final, again=again)
