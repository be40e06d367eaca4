"""The command `soapgap drive`."""

from pathlib import Path
from typing import Annotated

import typer


def drive(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structure: Annotated[
        Path,
        typer.Argument(
            help="Names the species, their order, and the periodic directions: the structure that i-PI starts from, "
            "in a format that ASE reads (extended XYZ), or i-PI's own xyz. First frame.",
            show_default=False,
        ),
    ],
    unix: Annotated[
        str | None, typer.Option(help='Unix socket: the <address> of <ffsocket mode="unix">.', show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help='TCP: the <address> of <ffsocket mode="inet">.', show_default="localhost")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help='TCP: the <port> of <ffsocket mode="inet">.', show_default="31415")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Goes before the unix socket's name (i-pi -S sets i-PI's).")
    ] = "/tmp/ipi_",
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds during which connecting is tried again.")] = 60.0,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="Wait for i-PI again when it has closed the connection without EXIT.")
    ] = False,
    respawn: Annotated[
        int, typer.Option(min=0, help="How often the computing process is started again if it dies.")
    ] = 0,
    clients: Annotated[
        int, typer.Option(min=1, help="Connections to i-PI, each with a computing process; i-PI distributes the beads.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each client's evaluator.",
            show_default="OMP_NUM_THREADS, else all cores, shared out among the clients",
        ),
    ] = None,
    skin: Annotated[float, typer.Option(min=0.0, help="Skin of the neighbour lists, Angstrom.")] = 0.5,
    pbc: Annotated[
        str | None,
        typer.Option(
            help="Periodic directions, such as TTF, instead of the structure's.", show_default="of the structure"
        ),
    ] = None,
    extras: Annotated[
        str | None,
        typer.Option(help="JSON extras to send to i-PI: atom_energies; several with commas.", show_default="nothing"),
    ] = None,
    on_nan: Annotated[
        str, typer.Option(help="With a result that is not finite: exit (leave i-PI), or dump (write the frame, send it).")
    ] = "exit",
    max_force: Annotated[
        float | None, typer.Option(help="A larger force, eV/Angstrom, counts as not finite.", show_default="no limit")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Append all messages to this file.", show_default=False)] = None,
    every: Annotated[int, typer.Option(min=0, help="Print a line every N frames (0: none).")] = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    dump: Annotated[Path, typer.Option(help="Where a frame that cannot be computed is written.")] = Path(
        "soapgap-bad-frame.xyz"
    ),
    allow_external: Annotated[
        bool, typer.Option("--allow-external", help="An external potential of the model may run code of its own.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Load the model, evaluate the structure, say what was found; do not connect.")
    ] = False,
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

    options = {
        "unix": unix, "host": host, "port": port, "prefix": prefix, "wait": wait, "reconnect": reconnect, "respawn": respawn,
        "clients": clients, "threads": threads, "skin": skin, "pbc": pbc, "on_nan": on_nan, "max_force": max_force, "log": log,
        "extras": tuple(extras.replace(",", " ").split()) if extras else (), "every": every, "quiet": quiet, "dump": dump,
        "allow_external": allow_external, "check": check,
    }
    if launched_ranks() > 1:
        from soapgap.ipi.led import drive_led

        raise typer.Exit(drive_led(model, structure, options))
    raise typer.Exit(explained(lambda: run(model, structure, **options)))
