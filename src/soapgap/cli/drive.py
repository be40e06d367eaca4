"""`soapgap drive`: the driver of i-PI."""

from pathlib import Path
from typing import Annotated

import typer

from soapgap.cli.options import with_options
from soapgap.ipi.options import DriveOptions


@with_options
def drive(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structure: Annotated[Path, typer.Argument(
        help="Names the species, their order, and the periodic directions: the structure that i-PI starts from, in a format "
        "that ASE reads (extended XYZ), or i-PI's own xyz. First frame.", show_default=False)],
    options: DriveOptions,
) -> None:
    """Compute energies, forces and virials for i-PI over a socket.

    The arithmetic runs in a process of its own, so that i-PI survives whatever happens to it. Under mpiexec all ranks compute
    together: they share out the beads of a batch, and the atoms of a structure.

    Exit status: 0 when i-PI ended the run or a signal asked to leave, 2 for an error that this program explains
    (nothing was sent to i-PI for that frame), 3 if the connection broke, 4 if the computing process died.
    """
    from soapgap.ipi.driver import drive as run
    from soapgap.ipi.driver import explained
    from soapgap.ranks import launched_ranks

    if launched_ranks() > 1:
        from soapgap.ipi.mpi_driver import drive_with_ranks

        raise typer.Exit(drive_with_ranks(model, structure, options))
    raise typer.Exit(explained(lambda: run(model, structure, options)))
