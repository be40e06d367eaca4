"""One connected socket to i-PI: exact reads, whole writes, and an end that i-PI survives."""

import os
import select
import socket
import time
from collections.abc import Callable

from soapgap.errors import HostError

__all__ = ["CLOSED", "STOPPED", "Connection", "LostConnection"]

HEADER_LENGTH = 12
POLL = 0.25  # seconds between looks at the stop flag while idle
AWAKE = 1e-3  # seconds for which a process does not sleep after an answer
STALL = 60.0  # seconds of silence in the middle of a message after which the connection counts as lost
CLOSED, STOPPED = "closed", "stopped"  # instead of a header (lower case: never one)
_SPARE_CORE = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


class LostConnection(HostError):
    """The connection broke, or the bytes on it were not i-PI's protocol; the command line exits with status 3."""


class Connection:
    """Exact reads and whole writes on one connected socket.

    Parameters
    ----------
    sock : socket.socket
        Connected stream socket; closed by `leave`.
    stall : float
        Seconds without a byte, in the middle of a message, after which `LostConnection` is raised.
    """

    def __init__(self, sock: socket.socket, stall: float = STALL):
        self.sock = sock
        self.stall = stall
        self.unread = False  # whether the server has gone without reading what was sent last
        self._arrivals = select.poll()
        self._arrivals.register(sock, select.POLLIN)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Without NODELAY small replies wait for Nagle's timer (44 ms per frame was measured); KEEPALIVE notices a
            # server machine that went away while we wait for the next frame.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def fileno(self) -> int:
        """Of the socket, for `select`."""
        return self.sock.fileno()

    def header(self, stop: Callable[[], bool] | None = None) -> str:
        """Waits, without a limit, for the next header and returns it stripped.

        Returns `CLOSED` if the server closed the connection between messages, or was killed, and `STOPPED` if `stop()`
        became true while nothing had arrived.
        """
        self._stay_awake()
        self.sock.settimeout(POLL)
        while True:
            if stop is not None and stop():
                return STOPPED
            try:
                start = self.sock.recv(HEADER_LENGTH)
            except TimeoutError:
                continue
            except ConnectionResetError:
                self.unread = True  # reported once, ahead of what the server had sent before: an EXIT, maybe
                continue
            except OSError as error:
                raise self._lost(f"waiting for a message: {error}") from error
            break
        if not start:
            return CLOSED
        rest = self.read(HEADER_LENGTH - len(start), "a header") if len(start) < HEADER_LENGTH else b""
        return (start + rest).decode("ascii", errors="replace").rstrip()

    def _stay_awake(self) -> None:
        """Looks again and again, for at most `AWAKE` seconds, whether something has come.

        i-PI sends the next bead within a millisecond, and to be woken costs a process a tenth of that: with 64 atoms and 8
        beads a step takes 9 ms this way and 10 otherwise. On a single core it would only keep i-PI waiting.
        """
        if not _SPARE_CORE:
            return
        end = time.monotonic() + AWAKE
        while not self._arrivals.poll(0) and time.monotonic() < end:
            os.sched_yield()

    def read(self, n: int, what: str) -> bytearray:
        """Exactly `n` bytes of the message `what`, or `LostConnection`."""
        data = bytearray(n)
        view = memoryview(data)
        got = 0
        self.sock.settimeout(self.stall)
        while got < n:
            try:
                count = self.sock.recv_into(view[got:])
            except TimeoutError:
                raise self._lost(f"reading {what}: {got} of {n} bytes, then silence for {self.stall:g} s") from None
            except OSError as error:
                raise self._lost(f"reading {what}: {got} of {n} bytes, then {error}") from error
            if count == 0:
                raise self._lost(f"reading {what}: {got} of {n} bytes, then the end of the stream")
            got += count
        return data

    def send(self, data: bytes) -> None:
        """Sends all of `data`.

        If the server has gone, nothing is raised: `unread` says so, and the next `header` returns how it went, for an EXIT
        may lie before the end of the stream.
        """
        self.sock.settimeout(self.stall)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise self._lost(f"sending: the server took nothing for {self.stall:g} s") from None
        except OSError:
            self.unread = True

    def rest(self) -> bytes:
        """What lies unread of a server that has gone."""
        data = b""
        self.sock.settimeout(0.0)
        for _ in range(2):  # a reset is reported once, before the data that came ahead of it
            try:
                while part := self.sock.recv(65536):
                    data += part
                break
            except OSError:
                continue
        return data

    def leave(self, limit: float = 5.0) -> None:
        """Closes so that i-PI sees a clean end of stream, whatever it is doing.

        Closing a socket with unread bytes (the GETFORCE that follows POSDATA at once) makes the peer's next read fail
        with "connection reset", which i-PI 3.3 does not survive. So the sending half is closed first, and everything
        that still comes is read to the end, for at most `limit` seconds. May be called twice.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
            end = time.monotonic() + limit
            while (left := end - time.monotonic()) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(65536):
                    break
        except OSError:
            pass  # the other side has gone already: nothing to be polite to
        finally:
            self.sock.close()

    @staticmethod
    def _lost(what: str) -> LostConnection:
        return LostConnection(f"the connection to i-PI broke while {what}. See i-PI's own output for the cause")
