"""`soapgap ipi-input`: an i-PI input to start from."""

from pathlib import Path
from typing import Annotated

import typer

from soapgap.cli.options import with_options
from soapgap.ipi.starter.settings import InputSettings


@with_options
def ipi_input(
    structure: Annotated[
        Path, typer.Argument(help="Structure in a format that ASE reads (extended XYZ), or i-PI's own xyz. First frame.",
                             show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="The input to write.")] = Path("input.xml"),
    *,
    options: InputSettings,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write a commented starter input for i-PI that runs as it is, and a start file if i-PI needs one."""
    from soapgap.ipi.starter.write import write_input

    for line in write_input(structure, output, options, force):
        print(line)
