"""`soapgap demo` on the command line."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything, the report included.")] = Path("soapgap-demo"),
    threads: Annotated[int | None, typer.Option(help="Threads of the evaluator; default all cores.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter trajectories, for a first look.")] = False,
):
    """Train on shipped silicon data, run LAMMPS, i-PI and ASE with the result, and write an HTML report."""
    from soapgap.demo.run_demo import run

    run(out, threads, quick)
