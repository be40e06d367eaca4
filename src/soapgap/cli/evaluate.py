"""`soapgap evaluate`: energies, forces and virials of a file of structures."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    structures: Annotated[Path, typer.Argument(help="Structures in any format that ASE reads.")],
    output: Annotated[Path, typer.Argument(help="Extended XYZ to write: energy, forces, virial.")],
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    allow_external: Annotated[bool, typer.Option("--allow-external", help="An external potential of the model may run code of "
                                                 "its own.")] = False,
) -> None:
    """Energies, forces and virials of structures, written to an extended XYZ file. Under mpiexec all ranks share the work."""
    from soapgap.evaluation import evaluate_file

    evaluate_file(model, structures, output, threads, allow_external)
