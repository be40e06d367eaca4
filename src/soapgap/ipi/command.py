"""The command `soapgap drive`."""

import sys
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
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the evaluator.", show_default="OMP_NUM_THREADS, else all cores")
    ] = None,
    skin: Annotated[float, typer.Option(min=0.0, help="Skin of the neighbour list, Angstrom.")] = 0.5,
    pbc: Annotated[
        str | None,
        typer.Option(
            help="Periodic directions, such as TTF, instead of the structure's.", show_default="of the structure"
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Append all messages to this file.", show_default=False)] = None,
    every: Annotated[int, typer.Option(min=0, help="A line each so many frames (0: none).")] = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    dump: Annotated[Path, typer.Option(help="Where a frame that cannot be computed is written.")] = Path(
        "soapgap-bad-frame.xyz"
    ),
    allow_external: Annotated[
        bool, typer.Option("--allow-external", help="An external potential of the model may run code of its own.")
    ] = False,
) -> None:
    """Compute energies, forces and virials for i-PI over a socket.

    Exit status: 0 when i-PI ended the run or a signal asked to leave, 2 for an error that this program explains
    (nothing was sent to i-PI for that frame), 3 if the connection broke.
    """
    from soapgap.ipi.driver import drive as run
    from soapgap.ipi.protocol import LostConnection

    try:
        run(
            model,
            structure,
            unix,
            host,
            port,
            prefix=prefix,
            wait=wait,
            threads=threads,
            skin=skin,
            pbc=pbc,
            log=log,
            every=every,
            quiet=quiet,
            dump=dump,
            allow_external=allow_external,
        )
    except LostConnection as error:
        print(f"soapgap: {error}", file=sys.stderr)
        raise typer.Exit(3) from None
