"""Compute, seen from the process that holds the connection to i-PI.

If a program dies between POSDATA and its answer, its socket closes with a GETFORCE unread, i-PI 3.3 gets "connection
reset" and hangs for ever. So the socket belongs to a process that does nothing but talk, and the arithmetic, which may
crash, run out of memory or be killed, to another (`soapgap.ipi.worker`).
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import connection as pipes

from soapgap.errors import HostError, InputError
from soapgap.ipi.computer import FrameComputer
from soapgap.ipi.connection import Connection
from soapgap.ipi.protocol import Abandoned, Answer, Request
from soapgap.ipi.worker import Job, make_core

__all__ = ["ComputeDied", "LocalCompute", "SeparateCompute"]


class ComputeDied(HostError):
    """The computing process ended by itself, or failed unforeseen; the command line exits with status 4."""


class LocalCompute:
    """Computes in this process: for objects of the caller, which may hold anything."""

    def __init__(self, job: Job, say: Callable[[str, str], None]):
        self.job, self.say = job, say
        self._computer: FrameComputer | None = None

    def start(self) -> None:
        """Makes ready and evaluates the structure once."""
        self._computer = FrameComputer(make_core(self.job), self.job.atoms, self.job.settings, self.say)
        self._computer.warm_up()

    def ask(self, request: Request, connection: Connection) -> Answer:
        """The answer to a request."""
        return self._computer.compute(request)

    def close(self) -> None:
        """Nothing is left behind."""


class SeparateCompute:
    """Computes in a process of its own.

    Parameters
    ----------
    job : Job
    say : callable
        ``say(kind, text)`` for what the process has to tell.
    pipe : multiprocessing Connection, optional
        To a process that exists already (`soapgap.ipi.ranks`); otherwise one is started.
    """

    def __init__(self, job: Job, say: Callable[[str, str], None], pipe: pipes.Connection | None = None):
        self.job, self.say = job, say
        self._pipe = pipe
        self._owns_process = pipe is None
        self._process: subprocess.Popen | None = None
        self._stale = 0  # answers that nobody waits for any more

    def start(self) -> None:
        """Starts the process, hands it the job, and waits until it has evaluated the structure once."""
        if self._owns_process:
            self.close()
            self._pipe, theirs = pipes.Pipe(duplex=True)
            command = [sys.executable, "-m", "soapgap.ipi.worker", str(theirs.fileno())]
            environment = dict(os.environ)
            if hasattr(self.job.model, "compute"):  # its class must be found again
                environment["PYTHONPATH"] = os.pathsep.join(path or "." for path in sys.path)
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
            theirs.close()
        self._stale = 0
        self._send(self.job)
        while self._receive()[0] != "ready":
            pass

    def ask(self, request: Request, connection: Connection) -> Answer:
        """The answer to a request; what i-PI sends meanwhile is read.

        Raises
        ------
        Abandoned
            i-PI closed the connection.
        ComputeDied
            The process ended or failed.
        InputError
            The frame cannot be computed, and the process explained why.
        """
        self._send((request.cells, request.positions))
        waiting = select.poll()
        waiting.register(self._pipe.fileno(), select.POLLIN)
        waiting.register(connection.fileno(), select.POLLIN)
        while True:
            ready = {number for number, _ in waiting.poll()}
            if self._pipe.fileno() in ready:
                message = self._receive()
                if message[0] == "answer":
                    if not self._stale:
                        return message[1]
                    self._stale -= 1
            elif not connection.pump():
                self._stale += 1
                raise Abandoned

    def close(self) -> None:
        """Ends the process, if it is ours."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait()
            self._process = None

    def _send(self, message) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._died()

    def _receive(self):
        """The next message but what it wants to be said."""
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            self._died()
        if message[0] == "say":
            self.say(*message[1:])
        elif message[0] == "failed":
            expected, text = message[1:]
            if expected:
                raise InputError(text)
            raise ComputeDied(f"the evaluation failed ({text}); what it said is above. Nothing was sent to i-PI for that "
                              "frame. This is a defect of soapgap or of a calculator: please report it")
        return message

    def _died(self):
        how = "has ended"
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                how = _ending(self._process.wait(5.0))
        raise ComputeDied(f"the computing process {how}; nothing was sent to i-PI for the frame in hand, which i-PI gives to "
                          "another driver or keeps for the next one")


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: by hand, or by the system for want of memory)"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-status).name})"
    return f"ended with status {status}"
