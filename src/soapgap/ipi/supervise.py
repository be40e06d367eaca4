"""Compute, seen from the process that the user has started.

If a program dies between POSDATA and its answer, its socket closes with a GETFORCE unread, i-PI 3.3 gets "connection
reset" and hangs. So the arithmetic, which may crash, run out of memory or be killed, runs in another process
(`soapgap.ipi.worker`). It answers i-PI itself, which saves a hop in every frame; but this process holds the same connection
open. If the other one dies, the system closes nothing, and this one reads what is unread and closes in good order.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import connection as pipes
from multiprocessing import reduction

from soapgap.errors import HostError, InputError
from soapgap.ipi.computer import FrameComputer
from soapgap.ipi.connection import POLL, Connection, LostConnection
from soapgap.ipi.protocol import DROPPED, EXIT, UNCOLLECTED, Session, pack_header
from soapgap.ipi.worker import Job, ReportingComputer, make_core

__all__ = ["ComputeDied", "LocalCompute", "SeparateCompute"]

GRACE = 1.0  # seconds after i-PI's end in which a process that does not compute has said so


class ComputeDied(HostError):
    """The computing process ended by itself, or failed unforeseen; the command line exits with status 4."""


class LocalCompute:
    """Computes in this process: for objects of the caller, which may hold anything."""

    def __init__(self, job: Job, say: Callable[[str, object], None]):
        self.job, self.say = job, say
        self._progress: ReportingComputer | None = None

    def start(self) -> None:
        """Makes ready and evaluates the structure once."""
        computer = FrameComputer(make_core(self.job), self.job.atoms, self.job.options, self.say)
        computer.warm_up()
        self._progress = ReportingComputer(computer, self.job.options.every, self.say)

    def serve(self, connection: Connection, stop: Callable[[], bool]) -> str:
        """Answers i-PI until the connection's end; how it ended."""
        progress = self._progress
        progress.connected()
        try:
            return Session(connection, len(self.job.atoms), progress.compute, stop, progress.note_init).run()
        finally:
            progress.tell()

    def close(self) -> None:
        """Nothing is left behind."""


class SeparateCompute:
    """Computes in a process of its own.

    Parameters
    ----------
    job : Job
    say : callable
        ``say(kind, text)`` for what the process reports.
    pipe : multiprocessing.connection.Connection, optional
        To a process that exists already (`soapgap.ipi.mpi_driver`); otherwise one is started.
    """

    def __init__(self, job: Job, say: Callable[[str, object], None], pipe: pipes.Connection | None = None):
        self.job, self.say = job, say
        self._pipe = pipe
        self._owns_process = pipe is None
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts the process, hands it the job, and waits until it has evaluated the structure once.

        Raises
        ------
        InputError, HostError, ComputeDied
        """
        if self._owns_process:
            self.close()
            self._pipe, theirs = pipes.Pipe(duplex=True)
            command = [sys.executable, "-P", "-m", "soapgap.ipi.worker", str(theirs.fileno())]
            # what this process can import, the other can: calculators of the model, classes of a pickled object
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
            theirs.close()
        self._send(self.job)
        while self._receive()[0] != "ready":
            pass

    def serve(self, connection: Connection, stop: Callable[[], bool]) -> str:
        """Lets the process answer i-PI until the connection's end; how it ended.

        Raises
        ------
        LostConnection
            The connection broke.
        InputError
            A frame cannot be computed, and the process explained why.
        ComputeDied
            The process ended or failed.
        """
        if self._pipe is None:
            self.start()
        self._send(("connection",))
        try:
            reduction.send_handle(self._pipe, connection.fileno(), None)
        except OSError:
            self._died()
        waiting = select.poll()
        waiting.register(self._pipe.fileno(), select.POLLIN)
        if self._owns_process:  # only then could anything be done about it
            waiting.register(connection.fileno(), getattr(select, "POLLRDHUP", 0))  # its end only: the other process reads
        told, end = False, None
        while True:
            if stop() and not told:
                self._send(("stop",))
                told = True
            ready = {number for number, _ in waiting.poll(1e3 * POLL)}
            if self._pipe.fileno() in ready:
                message = self._receive()
                if message[0] == "ended":
                    return message[1]
            elif connection.fileno() in ready:
                waiting.unregister(connection.fileno())
                end = time.monotonic() + GRACE
            if end is not None and time.monotonic() > end:
                return self._give_up(connection)

    def _give_up(self, connection: Connection) -> str:
        """i-PI has gone while the process computes, or is stuck: that frame is not needed any more."""
        self.close()
        if pack_header(EXIT) in connection.rest():  # the frame has been read: what is left are headers
            return DROPPED
        raise LostConnection(UNCOLLECTED)

    def close(self) -> None:
        """Ends the process, if it is ours."""
        if self._process is not None:
            # before the pipe is closed: a process without a supervisor reads what i-PI has sent, and leaves it
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _send(self, message) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._died()

    def _receive(self) -> tuple:
        """The next message, after doing what it asks: something said, or an error raised."""
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            self._died()
        if message[0] == "say":
            self.say(*message[1:])
        elif message[0] == "failed":
            how, text = message[1:]
            if how == "lost":
                raise LostConnection(text)
            if how == "explained":
                raise InputError(text)
            raise ComputeDied(f"the evaluation failed ({text}); what it said is above. Nothing was sent to i-PI for that "
                              "frame. If memory did not run out, this is a defect of soapgap or of a calculator: please "
                              "report it")
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
        return "was killed (SIGKILL: by hand, or by the system because memory was short)"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-status).name})"
    return f"ended with status {status}"
