"""The i-PI wire protocol, client side: bytes, and what may follow what.

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
-dE/dstrain in Hartree, not divided by the volume.

**Batches.** INIT may announce ``batch_size:B``. POSDATA then is int32 N, B times (h, h^-1), B times 3N float64, and the
answer holds B energies, one N, B times 3N forces, B virials, B times (int32 n, extras). An incomplete batch is filled with
copies of its last structure.

**Shared memory** (``mode="shm"``). POSDATA is int32 N and, the first time, six times (int32 n, name) of segments for
positions, h, h^-1, energies, forces, virials, each for B structures; the answer is FORCEREADY and the extras.

i-PI from 3.3 on sends POSDATA and GETFORCE in one write and asks STATUS between frames; older versions, ASE's server
and ``<consolidate_messages>False`` ask STATUS between POSDATA and GETFORCE. `Session` accepts both, and any mixture.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from soapgap.errors import HostError, InputError
from soapgap.ipi.connection import CLOSED, HEADER_LENGTH, STOPPED, Connection, LostConnection
from soapgap.ipi.shared_memory import Segments, looks_shared

EXIT, DROPPED = "exit", "dropped"  # how a session ends, beside CLOSED and STOPPED; DROPPED: EXIT, with a frame unfetched
UNCOLLECTED = ("i-PI closed the connection before it collected the forces of its last frame. "
               "See i-PI's own output for the cause")
MAX_INIT = 1 << 20  # bytes; an INIT text longer than this is not an INIT
MAX_BATCH = 1 << 16


@dataclass(frozen=True)
class Init:
    """What an INIT message said."""

    bead: int
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Number of structures that i-PI sends per message (1 unless announced)."""
        text = self.parameters.get("batch_size", "1")
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_BATCH):
            raise HostError(f"i-PI announced batch_size '{text}' in INIT; expected a whole number from 1 to {MAX_BATCH}")
        return int(text)


@dataclass(frozen=True)
class Request:
    """What one POSDATA asks for, as on the wire: bohr, lattice vectors as columns.

    Attributes
    ----------
    cells : ndarray, shape (n_frames, 3, 3)
    positions : ndarray, shape (n_frames, n_atoms, 3)
    """

    cells: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class Answer:
    """What goes back, in Hartree and bohr.

    Attributes
    ----------
    energies : ndarray, shape (n_frames,)
    forces : ndarray, shape (n_frames, n_atoms, 3)
    virials : ndarray, shape (n_frames, 3, 3)
        W = -dE/dstrain, symmetric: i-PI reads the upper triangle only.
    extras : list of bytes
        Of each frame, UTF-8: nothing, or a JSON object (i-PI 3.3 stops at any other JSON).
    n_distinct : int
        Frames that were computed; the others were copies.
    seconds : float
        Time that it took.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: list[bytes]
    n_distinct: int
    seconds: float


def pack_header(name: str) -> bytes:
    """The 12 bytes of a header."""
    return name.upper().encode("ascii").ljust(HEADER_LENGTH)


def pack_answer(answer: Answer) -> bytes:
    """The whole answer to GETFORCE, in one buffer: i-PI gives up on an answer that comes in pieces."""
    n_atoms = np.int32(answer.forces.shape[1])
    numbers = (answer.energies.tobytes(), n_atoms.tobytes(), answer.forces.tobytes(), answer.virials.tobytes())
    return b"".join((pack_header("FORCEREADY"), *numbers, pack_extras(answer.extras)))


def pack_extras(extras: list[bytes]) -> bytes:
    """int32 length and bytes of each frame's extras."""
    return b"".join(np.int32(len(text)).tobytes() + text for text in extras)


def parse_init(bead: int, text: bytes) -> Init:
    """Reads the text of INIT: ``k : v`` pairs separated by commas; empty pieces occur (``' a : 1 , ,
    batch_size:2'``)."""
    parameters = {}
    for piece in text.decode("utf-8", errors="replace").strip("\0 \n").split(","):
        key, colon, value = piece.partition(":")
        if colon and key.strip():
            parameters[key.strip()] = value.strip()
    return Init(bead, parameters)


class Session:
    """Answers one server until it says EXIT, closes, or `stop()` becomes true.

    Parameters
    ----------
    connection : Connection
    n_atoms : int
        The atom count that every frame must have.
    compute : callable
        ``compute(Request) -> Answer``. Called as soon as a frame has arrived: HAVEDATA and FORCEREADY are never sent before
        the results exist. Its exceptions end the session.
    stop : callable, optional
        Looked at only when no frame is owed to the server.
    on_init : callable, optional
        ``on_init(Init)``.
    """

    def __init__(self, connection: Connection, n_atoms: int, compute: Callable[[Request], Answer],
                 stop: Callable[[], bool] | None = None, on_init: Callable[[Init], None] | None = None):
        self.connection = connection
        self.n_atoms = n_atoms
        self.compute = compute
        self.stop = stop
        self.on_init = on_init
        self.batch_size = 0  # of the last INIT; 0: none came yet
        self._segments: Segments | None = None
        self._reply: bytes | None = None  # the packed answer to the GETFORCE to come
        self._answered = False  # whether an answer was sent last

    def run(self) -> str:
        """Serves; returns `EXIT`, `DROPPED`, `CLOSED` or `STOPPED`.

        Raises
        ------
        LostConnection
            The stream broke inside an exchange, or carried something that is not the protocol.
        InputError
            A frame has another number of atoms than `n_atoms`.
        HostError
            i-PI asks for something that cannot be done.
        """
        try:
            return self._run()
        finally:
            if self._segments is not None:
                self._segments.close()

    def _run(self) -> str:
        handlers = {"STATUS": self._status, "INIT": self._init, "POSDATA": self._posdata, "GETFORCE": self._getforce}
        while True:
            owed = self._reply is not None
            name = self.connection.header(None if owed else self.stop)
            if name == STOPPED:
                return STOPPED
            uncollected = owed or (self._answered and self.connection.unread)
            if name == EXIT.upper():
                return DROPPED if uncollected else EXIT
            if name == CLOSED:
                if uncollected:
                    raise LostConnection(UNCOLLECTED)
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
            state = "READY" if self.batch_size else "NEEDINIT"
        self._send(pack_header(state))

    def _init(self) -> None:
        bead, length = np.frombuffer(self.connection.read(8, "INIT"), np.int32).tolist()
        if not 0 <= length <= MAX_INIT:
            raise LostConnection(
                f"INIT announces {length} bytes of text; expected 0 to {MAX_INIT}. Is the server a machine "
                "of another byte order, or not i-PI?"
            )
        init = parse_init(bead, bytes(self.connection.read(length, "INIT")))
        self.batch_size = init.batch_size
        if self.on_init is not None:
            self.on_init(init)

    def _posdata(self) -> None:
        request = self._read_shared() if self._segments is not None else self._read_request()
        answer = self.compute(request)
        if self._segments is None:
            self._reply = pack_answer(answer)
        else:
            self._segments.write(answer.energies, answer.forces, answer.virials)
            self._reply = pack_header("FORCEREADY") + pack_extras(answer.extras)

    def _read_request(self) -> Request:
        lead = self.connection.read(16, "POSDATA")
        if looks_shared(lead):
            return self._read_shared(lead)
        n_frames = max(self.batch_size, 1)
        if self.batch_size > 1:
            self._check_count(int(np.frombuffer(lead, np.int32, 1)[0]))
            head = lead[4:] + self.connection.read(144 * n_frames - 12, "POSDATA")
        else:
            head = lead + self.connection.read(144 + 4 - 16, "POSDATA")
            self._check_count(int(np.frombuffer(head, np.int32, 1, 144)[0]))
        cells = np.frombuffer(head, np.float64, 18 * n_frames).reshape(n_frames, 2, 3, 3)[:, 0]
        body = self.connection.read(24 * self.n_atoms * n_frames, "POSDATA")
        return Request(cells, np.frombuffer(body, np.float64).reshape(n_frames, self.n_atoms, 3))

    def _read_shared(self, lead: bytes = b"") -> Request:
        if not lead:
            self._check_count(int(np.frombuffer(self.connection.read(4, "POSDATA"), np.int32)[0]))
            return Request(*self._segments.read())
        self._check_count(int(np.frombuffer(lead, np.int32, 1)[0]))
        ahead = lead[4:]
        names = []
        for _ in Segments.KINDS:
            ahead += self.connection.read(max(4 - len(ahead), 0), "POSDATA")
            length = int(np.frombuffer(ahead, np.int32, 1)[0])
            if not 0 < length < 256:
                raise LostConnection(f"POSDATA announces a name of {length} bytes for a segment of shared memory; expected "
                                     "1 to 255. Is the program at this address i-PI 3.3?")
            ahead += self.connection.read(max(4 + length - len(ahead), 0), "POSDATA")
            names.append(ahead[4:4 + length].decode("utf-8", errors="replace"))
            ahead = ahead[4 + length:]
        self._segments = Segments(names, max(self.batch_size, 1), self.n_atoms)
        return Request(*self._segments.read())

    def _check_count(self, n_atoms: int) -> None:
        if n_atoms != self.n_atoms:
            raise InputError(
                f"i-PI sent a frame of {n_atoms} atoms; the structure given to this driver has {self.n_atoms}. "
                "Give both the same structure"
            )

    def _getforce(self) -> None:
        if self._reply is None:
            raise LostConnection(
                "got GETFORCE although no POSDATA came before it. Is the program at this address i-PI, or one "
                "that speaks its protocol?"
            )
        self._send(self._reply, is_answer=True)
        self._reply = None

    def _send(self, data: bytes, is_answer: bool = False) -> None:
        if not self.connection.unread:  # else what is lost is what was sent before
            self._answered = is_answer
        self.connection.send(data)
