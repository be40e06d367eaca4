"""The settings of `soapgap ipi-input` in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from soapgap.ipi.options import option

__all__ = ["InputSettings"]


@dataclass(frozen=True)
class InputSettings:
    """What a user says about a run; None is chosen by `soapgap.ipi.starter.write.write_input`. Every field carries its help."""

    kind: str = option(help="nve, nvt, npt: classical. pimd, npt-pimd, rpmd: ring polymers.", shown="")
    temperature: float = option(300.0, "Kelvin.")
    pressure: float | None = option(None, "GPa, for npt and npt-pimd.", shown="0.0001, that is 1 bar")
    beads: int | None = option(None, "Beads of a ring polymer. With npt: npt-pimd.", shown="from frequency and temperature")
    frequency: float | None = option(None, "Highest vibrational frequency, 1/cm: beads and time step follow.",
                                     shown="from the lightest element")
    thermostat: str | None = option(None, "langevin or svr (classical); pile_l, pile_g or piglet (ring polymers).",
                                    shown="langevin, pile_l")
    gle: Path | None = option(None, "Matrices for piglet: the file that gle4md.org makes for i-PI.", shown="")
    tau: float = option(100.0, "Time constant of the thermostat, fs.")
    # flexible, of an orthogonal cell: the three lengths
    barostat: str | None = option(None, "isotropic, or flexible.", shown="isotropic")
    timestep: float | None = option(None, "fs.", shown="from frequency")
    steps: int = option(10000, "Number of steps.")
    stride: int | None = option(None, "Steps between two frames of the trajectories.", shown="100; nve, rpmd: a quarter period")
    seed: int = option(12345, "Of the random numbers.")
    mode: str = option("unix", "unix, inet or shm: sockets. ffdirect: soapgap within i-PI.")
    address: str | None = option(None, "Name of the socket, or host (inet).", shown="STRUCTURE-KIND, localhost")
    port: int = option(31415, "For inet.")
    batch: int | None = option(None, "Structures in one message or call.", shown="1; ffdirect: all beads")
    model: Path | None = option(None, "Model file, for the commands in the file; ffdirect needs it.", shown="")
