"""The options of a driver in one place: for Python, `soapgap drive`, i-PI's <ffdirect>, and the processes that compute."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from soapgap.errors import InputError

__all__ = ["DriveOptions", "option"]


def option(default: Any = MISSING, help: str = "", *, least: float | None = None, shown: str | None = None,
           short: str | None = None) -> Any:
    """A field of a dataclass that is an option of a command too: `soapgap.cli.options` makes it one.

    Parameters
    ----------
    default : object
    help : str
        What it means.
    least : float, optional
        The smallest number that is allowed.
    shown : str, optional
        The default in words; "": none is shown.
    short : str, optional
        A name of one letter beside the long one.
    """
    return field(default=default, metadata={"help": help, "least": least, "shown": shown, "short": short})


@dataclass(frozen=True)
class DriveOptions:
    """How i-PI is served. Every field carries its help; names are those of `soapgap drive`, with _ in place of -."""

    # Where: the unix socket is the file prefix + unix (a name that begins with "/" is the whole path).
    unix: str | None = option(None, 'Unix socket: the <address> of <ffsocket mode="unix">.', shown="")
    host: str | None = option(None, 'TCP: the <address> of <ffsocket mode="inet">.', shown="localhost")
    port: int | None = option(None, 'TCP: the <port> of <ffsocket mode="inet">.', shown="31415")
    prefix: str = option("/tmp/ipi_", "Goes before the unix socket's name (i-pi -S sets i-PI's).")
    wait: float = option(60.0, "Seconds during which connecting is tried again.", least=0.0)
    reconnect: bool = option(False, "Wait for i-PI again when it has closed the connection without EXIT.")
    respawn: int = option(0, "How often the computing process is started again if it dies.", least=0)
    clients: int = option(1, "Connections to i-PI, each with a computing process; i-PI distributes the beads.", least=1)
    threads: int | None = option(None, "Threads of each client's evaluator.", least=1,
                                 shown="OMP_NUM_THREADS, else all cores, shared out among the clients")
    # Neighbour lists are used again until an atom has moved by half of the skin; up to 64 are kept for the beads, up to 1 GiB.
    skin: float = option(0.5, "Skin of the neighbour lists, Angstrom.", least=0.0)
    pbc: str | None = option(None, "Periodic directions, such as TTF, instead of the structure's.", shown="of the structure")
    # From Python also a sequence of names; they are those of `soapgap.ipi.extras`.
    extras: str | None = option(None, "JSON extras to send to i-PI: atom_energies; several with commas.", shown="nothing")
    on_nan: str = option("exit", "With a result that is not finite: exit (leave i-PI), or dump (write the frame, send it).")
    max_force: float | None = option(None, "A larger force, eV/Angstrom, counts as not finite.", shown="no limit")
    log: Path | None = option(None, "Append all messages to this file.", shown="")
    every: int = option(100, "Print a line every N frames (0: none).", least=0)
    quiet: bool = option(False, "Print warnings and errors only.", short="-q")
    dump: Path = option(Path("soapgap-bad-frame.xyz"), "Where a frame that cannot be computed is written.")
    allow_external: bool = option(False, "An external potential of the model may run code of its own.")
    check: bool = option(False, "Load the model, evaluate the structure, say what was found; do not connect.")

    def __post_init__(self):
        object.__setattr__(self, "dump", Path(self.dump))

    def validate(self) -> None:
        """Whether all can be used: asked where the error is said once, not by every MPI rank.

        Raises
        ------
        InputError
        """
        from soapgap.ipi.extras import provider

        if self.clients < 1 or self.respawn < 0:
            raise InputError(f"got {self.clients} clients and {self.respawn} respawns; expected at least 1 client and 0 "
                             "respawns")
        if self.on_nan not in ("exit", "dump"):
            raise InputError(f"got on_nan '{self.on_nan}'; expected exit (leave i-PI) or dump (write the frame and continue)")
        if self.max_force is not None and not self.max_force > 0.0:
            raise InputError(f"got max_force {self.max_force}; expected a force above 0, in eV/Angstrom")
        for name in self.names_of_extras:
            provider(name)

    @property
    def names_of_extras(self) -> tuple[str, ...]:
        """The names in `extras`."""
        words = self.extras or ()
        return tuple(words.replace(",", " ").split() if isinstance(words, str) else words)
