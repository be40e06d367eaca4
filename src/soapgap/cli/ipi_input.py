"""The command `soapgap ipi-input`."""

from pathlib import Path
from typing import Annotated

import typer


def ipi_input(
    structure: Annotated[
        Path, typer.Argument(help="Structure in a format that ASE reads (extended XYZ), or i-PI's own xyz. First frame.",
                             show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="The input to write.")] = Path("input.xml"),
    *,
    kind: Annotated[
        str, typer.Option(help="nve, nvt, npt: classical. pimd, npt-pimd, rpmd: ring polymers.", show_default=False)
    ],
    temperature: Annotated[float, typer.Option(help="Kelvin.")] = 300.0,
    pressure: Annotated[
        float | None, typer.Option(help="GPa, for npt and npt-pimd.", show_default="0.0001, that is 1 bar")
    ] = None,
    beads: Annotated[
        int | None,
        typer.Option(help="Beads of a ring polymer. With npt: npt-pimd.", show_default="from frequency and temperature"),
    ] = None,
    frequency: Annotated[
        float | None,
        typer.Option(
            help="Highest vibrational frequency, 1/cm: beads and time step follow.", show_default="from the lightest element"
        ),
    ] = None,
    thermostat: Annotated[
        str | None,
        typer.Option(
            help="langevin or svr (classical); pile_l, pile_g or piglet (ring polymers).", show_default="langevin, pile_l"
        ),
    ] = None,
    gle: Annotated[
        Path | None, typer.Option(help="Matrices for piglet: the file that gle4md.org makes for i-PI.", show_default=False)
    ] = None,
    tau: Annotated[float, typer.Option(help="Time constant of the thermostat, fs.")] = 100.0,
    barostat: Annotated[str | None, typer.Option(help="isotropic, or flexible.", show_default="isotropic")] = None,
    timestep: Annotated[float | None, typer.Option(help="fs.", show_default="from frequency")] = None,
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 10000,
    stride: Annotated[
        int | None,
        typer.Option(help="Steps between two frames of the trajectories.", show_default="100; nve, rpmd: a quarter period"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 12345,
    mode: Annotated[str, typer.Option(help="unix, inet or shm: sockets. ffdirect: soapgap within i-PI.")] = "unix",
    address: Annotated[
        str | None, typer.Option(help="Name of the socket, or host (inet).", show_default="STRUCTURE-KIND, localhost")
    ] = None,
    port: Annotated[int, typer.Option(help="For inet.")] = 31415,
    batch: Annotated[
        int | None, typer.Option(help="Structures in one message or call.", show_default="1; ffdirect: all beads")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file, for the commands in the file; ffdirect needs it.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write a commented starter input for i-PI that runs as it is, and a start file if i-PI needs one."""
    from soapgap.ipi.starter.file import InputSettings, write_input

    settings = InputSettings(
        kind=kind, temperature=temperature, pressure=pressure, beads=beads, frequency=frequency, thermostat=thermostat, gle=gle,
        tau=tau, barostat=barostat, timestep=timestep, steps=steps, stride=stride, seed=seed, mode=mode, address=address,
        port=port, batch=batch, model=model,
    )  # fmt: skip
    for line in write_input(structure, output, settings, force):
        print(line)
