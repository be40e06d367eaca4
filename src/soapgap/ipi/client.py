"""One client of i-PI: a connection, what computes for it, and what to do when either is lost."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from soapgap.errors import HostError
from soapgap.ipi.address import connect, describe_address
from soapgap.ipi.connection import CLOSED, STOPPED, Connection, LostConnection
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.protocol import DROPPED, EXIT
from soapgap.ipi.supervise import ComputeDied
from soapgap.say import Log

__all__ = ["Client", "DriveReport"]

CHECKED = "checked"
ENDINGS = {EXIT: "i-PI sent EXIT", CLOSED: "i-PI closed the connection", STOPPED: "stopped by a signal",
           DROPPED: "i-PI sent EXIT while a frame was computed", CHECKED: "checked, nothing was connected"}


@dataclass(frozen=True)
class DriveReport:
    """How a drive ended: `reason` is "exit", "dropped" (EXIT while a frame was computed), "closed", "stopped" or "checked".

    `frames` counts structures that were computed, not copies in padded batches; times are in seconds.
    """

    reason: str
    frames: int
    seconds: float
    computing: float


class Client:
    """Makes ready, connects, serves; again, if it may.

    Parameters
    ----------
    compute : callable
        ``compute(say)`` gives a `LocalCompute` or `SeparateCompute`.
    address : str or (str, int)
    options : DriveOptions
    log : Log
    stop : callable
        Whether a signal asked to leave.
    """

    def __init__(self, compute: Callable, address, options: DriveOptions, log: Log, stop: Callable[[], bool]):
        self.compute = compute(self._say)
        self.address, self.options, self.log, self.stop = address, options, log, stop
        self._respawns = options.respawn  # that are left
        self.report: DriveReport | None = None
        self.error: BaseException | None = None
        self._started = time.monotonic()  # of the first connection
        self._counts = [(0, 0.0)]  # frames and seconds of computing, of each computing process that there was

    def run_quietly(self, check: bool) -> None:
        """`run` for a thread: its outcome is kept in `report` or `error`."""
        try:
            self.report = self.run(check)
        except BaseException as error:
            self.error = error
            self.log.warning(f"ends: {error}")

    def run(self, check: bool = False) -> DriveReport:
        """From loading the model to the end of i-PI."""
        try:
            self.compute.start()
            reason = CHECKED if check else self._serve()
        finally:
            self.compute.close()
        frames, computing = (sum(column) for column in zip(*self._counts, strict=True))
        report = DriveReport(reason, frames, time.monotonic() - self._started, computing)
        self.log.line(f"{ENDINGS[reason]}: {report.frames} frames in {report.seconds:.2f} s, {report.computing:.2f} s of them "
                      "computing")
        return report

    def _serve(self) -> str:
        """Connections one after the other, until there is no reason for another."""
        before = reason = ""  # how the last connection ended, in words
        while True:
            try:
                sock = self._connect(before)
            except LostConnection:
                if reason == DROPPED:  # i-PI has ended after all
                    return reason
                raise
            if sock is None:
                return STOPPED
            try:
                reason = self._serve_once(sock)
                if not self.options.reconnect or reason not in (CLOSED, DROPPED):
                    return reason
                before = ENDINGS[reason]
            except ComputeDied as error:
                if self._respawns <= 0 or self.stop():
                    raise
                self._respawns -= 1
                self.log.warning(f"{error}. Starting it again")
                self._counts.append((0, 0.0))
                self.compute.start()
                before = "the computing process runs again"
            except LostConnection as error:
                if not self.options.reconnect or self.stop():
                    raise
                before = str(error)
            self.log.line(f"{before}; connecting again")

    def _connect(self, before: str) -> socket.socket | None:
        """A connected socket, or None if a signal asked to leave."""
        self.log.line(f"connecting to {describe_address(self.address)}")
        try:
            return connect(self.address, self.options.wait, self.stop)
        except HostError as error:
            if before:
                raise LostConnection(f"{before}, but i-PI did not come back: {error}") from None
            raise

    def _serve_once(self, sock: socket.socket) -> str:
        connection = Connection(sock)
        if self._counts == [(0, 0.0)]:
            self._started = time.monotonic()
        self.log.line("connected")
        try:
            return self.compute.serve(connection, self.stop)
        finally:
            connection.leave()

    def _say(self, kind: str, what) -> None:
        """What the computing process reports."""
        if kind == "count":
            self._counts[-1] = what
        elif kind == "warning":
            self.log.warning(what)
        elif kind == "line":
            self.log.line(what)
        else:
            self.log.progress(what, due=kind == "due")
