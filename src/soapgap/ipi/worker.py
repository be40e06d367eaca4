"""The process that computes for a driver: it loads the model, answers i-PI, and may die without harm to it.

Started as ``python -m soapgap.ipi.worker FD`` by the supervisor, which holds the other end of the socket pair FD. Never forked:
an OpenMP runtime does not survive that. The connection to i-PI is handed over by the supervisor, who keeps it open.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection as pipes
from multiprocessing import reduction
from pathlib import Path

import ase
import numpy as np
from ase.units import Bohr, Hartree

from soapgap.errors import SoapGAPError
from soapgap.ipi.computer import FrameComputer
from soapgap.ipi.connection import Connection, LostConnection
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.protocol import Answer, Init, Request, Session

__all__ = ["Job", "ReportingComputer", "make_core", "serve"]

_CONNECTIONS: list[Connection] = []  # to i-PI: the one in use

N_LISTS = 64  # neighbour lists that are kept: beads of a ring polymer that are too far apart to share one
PAUSE = 0.2  # seconds between two messages about how it goes,
CHEAP = 0.01  # unless an answer takes so long that a message costs nothing beside it


@dataclass(frozen=True)
class Job:
    """What a worker gets once, at its start.

    Attributes
    ----------
    model : path-like, bytes of a model file, or object with ``compute(atoms)`` that can be pickled
    atoms : ase.Atoms
    options : DriveOptions
    """

    model: object
    atoms: ase.Atoms
    options: DriveOptions


def make_core(job: Job):
    """The object that computes: the job's own if it can, or a Potential made of its model."""
    if hasattr(job.model, "compute"):
        return job.model
    from soapgap.model import Model
    from soapgap.potential import Potential

    model = Model.from_bytes(job.model) if isinstance(job.model, bytes) else Path(job.model)
    return Potential(model, n_threads=job.options.threads, skin=job.options.skin, n_lists=N_LISTS,
                     allow_external=job.options.allow_external)


class ReportingComputer:
    """Computes, and says how it goes: a line each so many frames, the numbers every now and then.

    Parameters
    ----------
    computer : FrameComputer
    every : int
    say : callable
        ``say(kind, text)`` with kind "line", "warning", "due" or "live" (progress); ``say("count", (frames, seconds))``.
    """

    def __init__(self, computer: FrameComputer, every: int, say: Callable[[str, object], None]):
        self.computer, self.every, self.say = computer, every, say
        self.frames, self.computing = 0, 0.0
        self._told = time.monotonic()
        self._mark = (0, 0.0, self._told)  # frames, computing, clock at the last line

    def connected(self) -> None:
        """Time per frame counts from here."""
        self._mark = (self.frames, self.computing, time.monotonic())

    def note_init(self, init: Init) -> None:
        """Tells what i-PI's INIT said, if it said anything."""
        given = dict(init.parameters)
        if size := given.pop("batch_size", None):
            self.say("line", f"i-PI sends {size} structures per message")
        if given:
            self.say("line", "i-PI's parameters (not used): " + ", ".join(f"{k}: {v}" for k, v in given.items()))

    def compute(self, request: Request) -> Answer:
        """The answer to a request."""
        answer = self.computer.compute(request)
        before, now = self.frames, time.monotonic()
        self.frames += answer.n_distinct
        self.computing += answer.seconds
        if self.every and self.frames // self.every > before // self.every:
            self.say("due", self._line(answer, now))
            self._mark = (self.frames, self.computing, now)
        elif now - self._told > PAUSE or answer.seconds > CHEAP:
            self.say("live", self._line(answer, now))
        else:
            return answer
        self.tell()
        self._told = now
        return answer

    def tell(self) -> None:
        """The numbers so far."""
        self.say("count", (self.frames, self.computing))

    def _line(self, answer: Answer, now: float) -> str:
        frames, computing, clock = self._mark
        n = self.frames - frames
        largest = np.sqrt((answer.forces**2).sum(axis=2).max(initial=0.0)) * (Hartree / Bohr)
        return (f"frame {self.frames}: energy {answer.energies[-1] * Hartree:.6f} eV, largest force {largest:.3f} eV/A, "
                f"{1e3 * (now - clock) / n:.2f} ms per frame, {1e3 * (self.computing - computing) / n:.2f} of it computing")


def serve(pipe: pipes.Connection, core: Callable[[Job], object] = make_core) -> None:
    """Takes one `Job`, then connections to i-PI, until the other end closes.

    Received: the job, then ("connection",) followed by the socket, or ("stop",). Sent: ("say", kind, text), ("ready",),
    ("ended", reason), ("failed", how, text) with how "lost", "explained" (by this package) or "unforeseen".
    """
    try:
        job = pipe.recv()
        try:
            computer = FrameComputer(core(job), job.atoms, job.options, lambda *said: pipe.send(("say", *said)))
            computer.warm_up()
        except Exception as error:
            pipe.send(_failure(error))
            return
        progress = ReportingComputer(computer, job.options.every, lambda *said: pipe.send(("say", *said)))
        pipe.send(("ready",))
        while True:
            if pipe.recv()[0] == "connection":
                pipe.send(_one_server(pipe, progress, len(job.atoms)))
    except (EOFError, ConnectionError):
        pass  # the supervisor has ended, or has had enough


def _one_server(pipe: pipes.Connection, progress: ReportingComputer, n_atoms: int) -> tuple:
    """How the service of one i-PI ended."""
    sock = socket.socket(fileno=reduction.recv_handle(pipe))
    stopping = False

    def stop() -> bool:
        nonlocal stopping
        while not stopping and pipe.poll():
            stopping = pipe.recv()[0] == "stop"
        return stopping

    progress.connected()
    connection = Connection(sock)
    _CONNECTIONS.append(connection)
    try:
        try:
            outcome = ("ended", Session(connection, n_atoms, progress.compute, stop, progress.note_init).run())
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            outcome = _failure(error)
        progress.tell()
    except (EOFError, BrokenPipeError):  # of the pipe: the supervisor is dead
        connection.leave()
        raise
    finally:
        _CONNECTIONS.remove(connection)
    sock.close()  # the supervisor's copy keeps the connection alive
    return outcome


def _outlive(pipe: pipes.Connection) -> None:
    """Waits for the supervisor's end, then leaves i-PI in its place and ends this process, also in the middle of a frame."""
    waiting = select.poll()
    waiting.register(pipe.fileno(), 0)  # for the end only, which is always reported
    waiting.poll()
    for connection in _CONNECTIONS:
        connection.leave()
    os._exit(1)


def _failure(error: Exception) -> tuple[str, str, str]:
    if isinstance(error, LostConnection):
        return "failed", "lost", str(error)
    if isinstance(error, SoapGAPError):
        return "failed", "explained", str(error)
    traceback.print_exception(error)
    return "failed", "unforeseen", f"{type(error).__name__}: {error}"


def main() -> None:
    """Serves the socket pair whose number is the first argument."""
    # signals to the whole group (Ctrl-C, a batch system) are the supervisor's business: it lets the frame in hand be finished
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = pipes.Connection(int(sys.argv[1]))
    threading.Thread(target=_outlive, args=(pipe,), daemon=True).start()
    serve(pipe)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to be saved, and libraries' exit handlers may hang


if __name__ == "__main__":
    main()
