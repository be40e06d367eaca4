"""The i-PI wire protocol, client side: bytes, units, and what may follow what.

Headers are 12 ASCII characters, upper case, padded with spaces; numbers are native int32 and float64. The server asks,
the client answers:

======== ====================================== ==================================================
message  bytes after the header                 answer
======== ====================================== ==================================================
STATUS   none                                   NEEDINIT, READY or HAVEDATA
INIT     int32 bead, int32 n, n bytes of text   none
POSDATA  9 float64 h, 9 float64 h^-1, int32 N,  none
         3N float64
GETFORCE none                                   FORCEREADY, float64 E, int32 N, 3N float64 F,
                                                9 float64 W, int32 n, n bytes of extras
EXIT     none                                   none: the client leaves
======== ====================================== ==================================================

On the wire lengths are in bohr and energies in Hartree; h has the lattice vectors as *columns* (row-major); W =
-dE/dstrain in Hartree, not divided by the volume. In this package cells have lattice vectors as rows, in Angstrom,
energies are in eV and W = -dE/dstrain in eV. The factors are those of `ase.units` (CODATA 2014).

i-PI from 3.3 on sends POSDATA and GETFORCE in one write and asks STATUS between frames; older versions, ASE's server
and ``<consolidate_messages>False`` ask STATUS between POSDATA and GETFORCE. `Session` accepts both, and any mixture.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ase.units import Bohr, Hartree

from soapgap.errors import HostError, InputError

HEADER_LENGTH = 12
POLL = 0.25  # seconds between looks at the stop flag while idle
STALL = 60.0  # seconds of silence in the middle of a message after which the connection counts as lost
MAX_INIT = 1 << 20  # bytes; an INIT text longer than this is not an INIT

CLOSED, STOPPED, EXIT = "closed", "stopped", "exit"  # how a session ends (lower case: never a header)


class LostConnection(HostError):
    """The connection broke, or the bytes on it were not i-PI's protocol; the command line exits with status 3."""


@dataclass(frozen=True)
class Init:
    """What an INIT message said."""

    bead: int
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Number of structures that i-PI sends per message (1 unless announced)."""
        text = self.parameters.get("batch_size", "1")
        try:
            return int(text)
        except ValueError:
            raise HostError(f"i-PI announced batch_size '{text}' in INIT; expected an integer") from None


@dataclass(frozen=True)
class Frame:
    """One structure from i-PI: `cell` [3, 3] (rows are lattice vectors) and `positions` [N, 3], Angstrom."""

    cell: np.ndarray
    positions: np.ndarray


def pack_header(name: str) -> bytes:
    """The 12 bytes of a header."""
    return name.upper().encode("ascii").ljust(HEADER_LENGTH)


def pack_forces(energy: float, forces: np.ndarray, virial: np.ndarray, extras: bytes = b"") -> bytes:
    """The whole answer to GETFORCE, in one buffer.

    Parameters
    ----------
    energy : float
        eV.
    forces : ndarray [N, 3]
        eV/Angstrom.
    virial : ndarray [3, 3]
        W = -dE/dstrain in eV. The symmetric part is sent: i-PI reads the upper triangle only.
    extras : bytes
        UTF-8 text; i-PI 3.3 takes the empty string, plain text, or a JSON object.
    """
    forces = np.asarray(forces, np.float64)
    virial = np.asarray(virial, np.float64)
    return b"".join(
        (
            pack_header("FORCEREADY"),
            np.float64(energy / Hartree).tobytes(),
            np.int32(len(forces)).tobytes(),
            (forces * (Bohr / Hartree)).tobytes(),
            ((virial + virial.T) * (0.5 / Hartree)).tobytes(),
            np.int32(len(extras)).tobytes(),
            extras,
        )
    )


def parse_init(bead: int, text: bytes) -> Init:
    """Reads the text of INIT: ``k : v`` pairs separated by commas; empty pieces occur (``' a : 1 , ,
    batch_size:2'``)."""
    parameters = {}
    for piece in text.decode("utf-8", errors="replace").strip("\0 \n").split(","):
        key, colon, value = piece.partition(":")
        if colon and key.strip():
            parameters[key.strip()] = value.strip()
    return Init(bead, parameters)


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
        self._broken: OSError | None = None
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Without NODELAY small replies wait for Nagle's timer (44 ms per frame was measured); KEEPALIVE notices a
            # server machine that went away while we wait for the next frame.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def header(self, stop: Callable[[], bool] | None = None) -> str:
        """Waits, for ever if need be, for the next header and returns it stripped.

        Returns `CLOSED` if the server closed the connection between messages, and `STOPPED` if `stop()` became true
        while nothing had arrived.
        """
        self.sock.settimeout(POLL)
        while True:
            if stop is not None and stop():
                return STOPPED
            try:
                start = self.sock.recv(HEADER_LENGTH)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(f"waiting for a message: {error}") from error
            break
        if not start:
            if self._broken is not None:
                raise self._lost(f"sending: {self._broken}")
            return CLOSED
        rest = self.read(HEADER_LENGTH - len(start), "a header") if len(start) < HEADER_LENGTH else b""
        return (start + rest).decode("ascii", errors="replace").rstrip()

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
                raise self._lost(
                    f"reading {what}: {got} of {n} bytes, then silence for {self.stall:g} s. If the i-PI input says "
                    f'<ffsocket mode="shm">, use mode="unix" or mode="inet"'
                ) from None
            except OSError as error:
                raise self._lost(f"reading {what}: {got} of {n} bytes, then {error}") from error
            if count == 0:
                raise self._lost(f"reading {what}: {got} of {n} bytes, then the end of the stream")
            got += count
        return data

    def send(self, data: bytes) -> None:
        """Sends all of `data`.

        If the server has gone, nothing is raised yet: an EXIT may lie unread before the end of the stream, and then
        all is well. The next `header` returns it, or raises.
        """
        self.sock.settimeout(self.stall)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise self._lost(f"sending: the server took nothing for {self.stall:g} s") from None
        except OSError as error:
            self._broken = error

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


class Session:
    """Answers one server until it says EXIT, closes, or `stop()` becomes true.

    Parameters
    ----------
    connection : Connection
    n_atoms : int
        The atom count that every frame must have.
    compute : callable
        ``compute(frame) -> (energy, forces, virial)`` in eV, eV/Angstrom, eV. Called as soon as a frame has arrived:
        HAVEDATA and FORCEREADY are never sent before the results exist. Its exceptions end the session.
    stop : callable, optional
        Looked at only when no frame is owed to the server.
    on_init : callable, optional
        ``on_init(Init)``.
    """

    def __init__(
        self,
        connection: Connection,
        n_atoms: int,
        compute: Callable,
        stop: Callable[[], bool] | None = None,
        on_init: Callable[[Init], None] | None = None,
    ):
        self.connection = connection
        self.n_atoms = n_atoms
        self.compute = compute
        self.stop = stop
        self.on_init = on_init
        self._initialised = False
        self._reply: bytes | None = None  # the packed answer to the GETFORCE to come

    def run(self) -> str:
        """Serves; returns `EXIT`, `CLOSED` or `STOPPED`.

        Raises
        ------
        LostConnection
            The stream broke inside an exchange, or carried something that is not the protocol.
        InputError
            A frame has another number of atoms than `n_atoms`.
        HostError
            i-PI wants something that this driver does not do (batches).
        """
        handlers = {"STATUS": self._status, "INIT": self._init, "POSDATA": self._posdata, "GETFORCE": self._getforce}
        while True:
            name = self.connection.header(self.stop if self._reply is None else None)
            if name in (EXIT.upper(), STOPPED):
                return name.lower()
            if name == CLOSED:
                if self._reply is not None:
                    raise LostConnection(
                        "i-PI closed the connection before it collected the forces of its last frame. "
                        "See i-PI's own output for the cause"
                    )
                return CLOSED
            if name not in handlers:
                raise LostConnection(
                    f"got the message {name!r}; expected one of {', '.join(handlers)}, EXIT. Is the "
                    "program at this address i-PI, or one that speaks its protocol?"
                )
            handlers[name]()

    def _status(self) -> None:
        if self._reply is not None:
            state = "HAVEDATA"
        else:
            state = "READY" if self._initialised else "NEEDINIT"
        self.connection.send(pack_header(state))

    def _init(self) -> None:
        bead, length = np.frombuffer(self.connection.read(8, "INIT"), np.int32).tolist()
        if not 0 <= length <= MAX_INIT:
            raise LostConnection(
                f"INIT announces {length} bytes of text; expected 0 to {MAX_INIT}. Is the server a machine "
                "of another byte order, or not i-PI?"
            )
        init = parse_init(bead, bytes(self.connection.read(length, "INIT")))
        if init.batch_size > 1:
            raise HostError(
                f"i-PI wants to send {init.batch_size} structures per message (<batch_size> in <ffsocket>); this "
                "driver takes one at a time. Remove <batch_size> from the i-PI input; to share the beads, start "
                "several drivers"
            )
        self._initialised = True
        if self.on_init is not None:
            self.on_init(init)

    def _posdata(self) -> None:
        start = self.connection.read(4, "POSDATA")
        if int(np.frombuffer(start, np.int32)[0]) == self.n_atoms:
            # No cell in bohr begins with these four bytes (a float64's low half holding a small integer).
            raise HostError(
                'i-PI sends shared-memory frames (<ffsocket mode="shm">), which this driver does not do. '
                'Use mode="unix" in the i-PI input'
            )
        head = start + self.connection.read(2 * 72, "POSDATA")
        n_atoms = int(np.frombuffer(head, np.int32, 1, 144)[0])
        if n_atoms != self.n_atoms:
            raise InputError(
                f"i-PI sent a frame of {n_atoms} atoms; the structure given to this driver has {self.n_atoms}. "
                "Give both the same structure"
            )
        cell = np.frombuffer(head, np.float64, 9).reshape(3, 3).T * Bohr
        body = self.connection.read(24 * n_atoms, "POSDATA")
        positions = np.frombuffer(body, np.float64).reshape(n_atoms, 3) * Bohr
        self._reply = pack_forces(*self.compute(Frame(cell, positions)))

    def _getforce(self) -> None:
        if self._reply is None:
            raise LostConnection(
                "got GETFORCE although no POSDATA came before it. Is the program at this address i-PI, or one "
                "that speaks its protocol?"
            )
        self.connection.send(self._reply)
        self._reply = None
