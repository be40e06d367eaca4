"""One client of i-PI: a connection, what computes for it, and what to do when either is lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase.units import Bohr, Hartree

from soapgap.errors import HostError
from soapgap.ipi.address import connect, describe_address
from soapgap.ipi.connection import CLOSED, STOPPED, Connection, LostConnection
from soapgap.ipi.log import Log
from soapgap.ipi.protocol import EXIT, Answer, Init, Request, Session
from soapgap.ipi.supervise import ComputeDied

__all__ = ["Client", "DriveReport"]

ENDINGS = {EXIT: "i-PI sent EXIT", CLOSED: "i-PI closed the connection", STOPPED: "stopped by a signal",
           "checked": "checked, nothing was connected"}


@dataclass(frozen=True)
class DriveReport:
    """How a drive ended: `reason` is "exit", "closed", "stopped" or "checked"; times are in seconds.

    `frames` counts structures that were computed, not copies in padded batches.
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
    n_atoms : int
    address : str or (str, int)
    wait, reconnect, respawn
        See `soapgap.ipi.drive`.
    log : Log
    stop : callable
        Whether a signal asked to leave.
    """

    def __init__(self, compute: Callable, n_atoms: int, address, wait: float, reconnect: bool, respawn: int, log: Log,
                 stop: Callable[[], bool]):
        self.compute = compute(self._say)
        self.n_atoms, self.address, self.wait = n_atoms, address, wait
        self.reconnect, self.respawn, self.log, self.stop = reconnect, respawn, log, stop
        self.frames, self.computing, self.started = 0, 0.0, time.monotonic()
        self.report: DriveReport | None = None
        self.error: BaseException | None = None
        self._mark = (0, 0.0, self.started)  # frames, computing, clock at the last progress line

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
            reason = "checked" if check else self._serve()
        finally:
            self.compute.close()
        report = DriveReport(reason, self.frames, time.monotonic() - self.started, self.computing)
        self.log.line(f"{ENDINGS[reason]}: {report.frames} frames in {report.seconds:.2f} s, {report.computing:.2f} s of them "
                      "computing")
        return report

    def _serve(self) -> str:
        """Connections one after the other, until there is no reason for another."""
        before = ""  # why the last connection ended
        while True:
            sock = self._connect(before)
            if sock is None:
                return STOPPED
            try:
                reason = self._serve_once(Connection(sock))
                if not self.reconnect or reason != CLOSED:
                    return reason
                before = "i-PI closed the connection"
            except ComputeDied as error:
                if self.respawn <= 0 or self.stop():
                    raise
                self.respawn -= 1
                self.log.warning(f"{error}. Starting it again")
                self.compute.start()
                before = "the computing process is there again"
            except LostConnection as error:
                if not self.reconnect or self.stop():
                    raise
                before = str(error)
            self.log.line(f"{before}; connecting again")

    def _connect(self, before: str):
        """A connected socket, or None if a signal asked to leave."""
        self.log.line(f"connecting to {describe_address(self.address)}")
        try:
            return connect(self.address, self.wait, self.stop)
        except HostError as error:
            if before:
                raise LostConnection(f"{before}, but i-PI did not come back: {error}") from None
            raise

    def _serve_once(self, connection: Connection) -> str:
        try:
            self._connected()
            return Session(connection, self.n_atoms, lambda request: self._answer(request, connection), self.stop,
                           self._note_init).run()
        finally:
            connection.leave()

    def _connected(self) -> None:
        now = time.monotonic()
        if not self.frames:
            self.started = now
        self._mark = (self.frames, self.computing, now)
        self.log.line("connected")

    def _note_init(self, init: Init) -> None:
        given = dict(init.parameters)
        if size := given.pop("batch_size", None):
            self.log.line(f"i-PI sends {size} structures per message")
        if given:
            self.log.line("i-PI's parameters (not used): " + ", ".join(f"{k}: {v}" for k, v in given.items()))

    def _answer(self, request: Request, connection: Connection) -> Answer:
        answer = self.compute.ask(request, connection)
        before = self.frames
        self.frames += answer.n_distinct
        self.computing += answer.seconds
        self.log.progress(before, self.frames, lambda: self._progress(answer))
        return answer

    def _progress(self, answer: Answer) -> str:
        now = time.monotonic()
        frames, computing, clock = self._mark
        n = self.frames - frames
        if n >= max(self.log.every, 1):
            self._mark = (self.frames, self.computing, now)
        largest = np.sqrt((answer.forces**2).sum(axis=2).max(initial=0.0)) * (Hartree / Bohr)
        return (f"frame {self.frames}: energy {answer.energies[-1] * Hartree:.6f} eV, largest force {largest:.3f} eV/A, "
                f"{1e3 * (now - clock) / n:.2f} ms per frame, {1e3 * (self.computing - computing) / n:.2f} of it computing")

    def _say(self, kind: str, text: str) -> None:
        if kind == "warning":
            self.log.warning(text)
        else:
            self.log.line(text)
