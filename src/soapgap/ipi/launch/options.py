"""The options of `soapgap ipi-run` in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from soapgap.ipi.options import option

__all__ = ["LaunchOptions"]


@dataclass(frozen=True)
class LaunchOptions:
    """How i-PI and its drivers are started. Every field carries its help; names are those of `soapgap ipi-run`."""

    drivers: int = option(1, "Number of drivers.", least=1)
    threads: int | None = option(None, "Threads of each driver.", least=1, shown="OMP_NUM_THREADS, else all cores / DRIVERS")
    # Names within the input are relative to it, and all output goes there.
    folder: Path = option(Path("."), "Where i-PI and the drivers run and write.")
    forcefield: str | None = option(None, "Name of the <ffsocket> to serve, if INPUT has several.", shown="")
    prefix: str | None = option(None, "Goes before the unix socket's <address>; i-PI's own is /tmp/ipi_.",
                                shown="a private folder")
    limit_seconds: float | None = option(None, "Ask i-PI to write RESTART and end after this time.", least=1.0, shown="none")
