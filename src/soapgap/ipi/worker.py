"""The process that computes for a driver: it loads the model, answers requests, and may die without harm to i-PI.

Started as ``python -m soapgap.ipi.worker FD`` by the supervisor, which holds the other end of the socket pair FD and the
connection to i-PI. Never forked: an OpenMP runtime does not survive that.
"""

import os
import select
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import ase

from soapgap.errors import SoapGAPError
from soapgap.ipi.computer import FrameComputer, Settings
from soapgap.ipi.protocol import Request

__all__ = ["Job", "make_core", "serve"]

N_LISTS = 64  # neighbour lists that are kept: beads of a ring polymer that are too far apart to share one


@dataclass(frozen=True)
class Job:
    """What a worker is told once.

    Attributes
    ----------
    model : path, bytes of a model file, or an object with ``compute(atoms)`` that can be pickled
    atoms : ase.Atoms
    settings : Settings
    threads, skin, allow_external
        See `soapgap.ipi.drive`.
    """

    model: object
    atoms: ase.Atoms
    settings: Settings
    threads: int | None
    skin: float
    allow_external: bool


def make_core(job: Job):
    """The object that computes: the job's own if it can, or a Potential made of its model."""
    if hasattr(job.model, "compute"):
        return job.model
    from soapgap.model import Model
    from soapgap.potential import Potential

    model = Model.from_bytes(job.model) if isinstance(job.model, bytes) else Path(job.model)
    return Potential(model, n_threads=job.threads, skin=job.skin, allow_external=job.allow_external, n_lists=N_LISTS)


def serve(pipe: Connection, core=make_core) -> None:
    """Takes one `Job`, then requests, until the other end closes.

    Messages to the supervisor: ("say", kind, text), ("ready",), ("answer", Answer), ("failed", expected, text); `expected` is
    true for errors that this package explains.
    """
    try:
        job = pipe.recv()
        try:
            computer = FrameComputer(core(job), job.atoms, job.settings, lambda *said: pipe.send(("say", *said)))
            computer.warm_up()
            pipe.send(("ready",))
            while True:
                pipe.send(("answer", computer.compute(Request(*pipe.recv()))))
        except SoapGAPError as error:
            pipe.send(("failed", True, str(error)))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            traceback.print_exc()
            pipe.send(("failed", False, f"{type(error).__name__}: {error}"))
    except (EOFError, ConnectionError):
        pass  # the supervisor has ended, or has had enough


def _end_with(pipe: Connection) -> None:
    """Waits until the other end is closed, then ends this process: also in the middle of a frame, which nobody wants then."""
    waiting = select.poll()
    waiting.register(pipe.fileno(), 0)  # for the end only, which is always told
    waiting.poll()
    os._exit(1)


def main() -> None:
    """Serves the socket pair whose number is the first argument."""
    # signals to the whole group (Ctrl-C, a batch system) are the supervisor's business: it lets the frame in hand be finished
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    serve(pipe)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to be saved, and libraries' exit handlers may hang


if __name__ == "__main__":
    main()
