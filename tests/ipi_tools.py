"""Tools of the i-PI tests: a scripted server, and i-PI itself as a process that always ends."""

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from programs import LIMIT

from soapgap.ipi import drive

BOHR, HARTREE = 0.52917721067, 27.21138602  # CODATA 2014, written out so that they are not the package's own
CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [0.7, -0.9, 6.5]])
POSITIONS = np.array([[0.3, 0.4, 0.5], [3.1, 2.2, 1.9], [4.2, 4.1, 5.3]])


@dataclass
class Result:
    """What a potential's `compute` returns."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class Toy:
    """E = sum x.k.x/2 of the positions as they come; remembers what it was asked. `spoil` changes the results."""

    def __init__(self, spoil=None):
        self.frames = []
        self.spoil = spoil

    def compute(self, atoms):
        self.frames.append(atoms.copy())
        x = atoms.positions
        energies = 0.5 * (x * x).sum(axis=1)
        result = Result(float(energies.sum()), energies, -x, -x.T @ x + 0.1 * np.triu(np.ones((3, 3))))
        if self.spoil is not None and len(self.frames) > 1:  # not the warm-up
            self.spoil(result)
        return result


class Slow(Toy):
    """A Toy that takes its time, but for the warm-up; can be sent to another process."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def compute(self, atoms):
        result = super().compute(atoms)
        time.sleep(self.seconds if len(self.frames) > 1 else 0.0)
        return result


class Driver:
    """`drive` in a thread; `wait()` gives its report or raises its error, within LIMIT."""

    def __init__(self, model, structure, **arguments):
        self.outcome = self.error = None
        arguments = {"quiet": True, "wait": LIMIT, **arguments}
        self.thread = threading.Thread(target=self._run, args=(model, structure, arguments), daemon=True)
        self.thread.start()

    def _run(self, model, structure, arguments):
        try:
            self.outcome = drive(model, structure, **arguments)
        except BaseException as error:
            self.error = error

    def wait(self):
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), "the driver did not end"
        if self.error is not None:
            raise self.error
        return self.outcome


def header(name):
    return name.ljust(12).encode()


def init_bytes(text, bead=0):
    return header("INIT") + struct.pack("=ii", bead, len(text)) + text.encode()


def posdata_bytes(cell, positions):
    """POSDATA for a cell (rows) and positions in Angstrom."""
    h = np.array(cell).T / BOHR
    numbers = [*h.ravel(), *np.linalg.inv(h).ravel()]
    positions = np.array(positions) / BOHR
    return (
        header("POSDATA")
        + struct.pack("=18d", *numbers)
        + struct.pack("=i", len(positions))
        + struct.pack(f"={positions.size}d", *positions.ravel())
    )


def batch_bytes(cells, frames):
    """POSDATA for a batch of cells (rows) and positions in Angstrom: one count, all cells, all positions."""
    data = header("POSDATA") + struct.pack("=i", len(frames[0]))
    for cell in cells:
        h = np.array(cell).T / BOHR
        data += np.concatenate([h.ravel(), np.linalg.inv(h).ravel()]).tobytes()
    return data + b"".join((np.array(x) / BOHR).tobytes() for x in frames)


def check_batch_answer(data, frames):
    """Compares the answer to a batch with the ones made by hand for each frame."""
    n_frames, n = len(frames), len(frames[0])
    assert data[:12] == header("FORCEREADY")
    energies, data = np.frombuffer(data[12:12 + 8 * n_frames]), data[12 + 8 * n_frames:]
    assert struct.unpack("=i", data[:4]) == (n,)
    assert len(data) == 4 + n_frames * (24 * n + 72 + 4)
    forces = np.frombuffer(data[4:4 + 24 * n * n_frames]).reshape(n_frames, -1)
    virials = np.frombuffer(data[4 + 24 * n * n_frames:-4 * n_frames]).reshape(n_frames, -1)
    assert data[-4 * n_frames:] == bytes(4 * n_frames)  # no extras
    for k, positions in enumerate(frames):
        got = np.concatenate([energies[k:k + 1], forces[k], virials[k]])
        np.testing.assert_allclose(got, expected_bytes(positions)[1], rtol=3e-9, atol=1e-12)


def expected_bytes(positions):
    """The answer of `Toy` for positions (Angstrom) that need no folding, made by hand."""
    x = np.array(positions)
    virial = -x.T @ x + 0.1 * np.triu(np.ones((3, 3)))
    virial = 0.5 * (virial + virial.T) / HARTREE
    forces = -x * BOHR / HARTREE
    return header("FORCEREADY"), np.array([0.5 * (x * x).sum() / HARTREE, *forces.ravel(), *virial.ravel()]), len(x)


def check_answer(data, positions):
    """Compares an answer with the one made by hand: layout exactly, numbers to the last bits of the unit conversion."""
    head, numbers, n = expected_bytes(positions)
    assert data[:12] == head
    assert struct.unpack("=i", data[20:24]) == (n,)
    assert data[-4:] == struct.pack("=i", 0)  # no extras
    got = np.frombuffer(data[12:20] + data[24:-4], np.float64)
    np.testing.assert_allclose(got, numbers, rtol=3e-9, atol=1e-12)  # constants are written to ten digits
    virial = got[-9:].reshape(3, 3)
    assert np.array_equal(virial, virial.T)


class Server:
    """The server's end of one connection, step by step; `trickle` sends single bytes."""

    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(1)
        self.listener.settimeout(LIMIT)
        self.address = self.listener.getsockname()
        self.sock = None
        self.trickle = False

    def accept(self):
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(LIMIT)
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def send(self, data):
        if self.trickle:
            for byte in data:
                self.sock.sendall(bytes([byte]))
        else:
            self.sock.sendall(data)

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            assert part, f"end of stream after {data!r}"
            data += part
        return data

    def status(self):
        self.send(header("STATUS"))
        return self.read(12)

    def handshake(self, text=" "):
        """Connects as i-PI does: STATUS -> NEEDINIT, INIT, STATUS -> READY."""
        self.accept()
        assert self.status() == header("NEEDINIT")
        self.send(init_bytes(text))
        assert self.status() == header("READY")
        return self

    def answer(self, n_atoms):
        """Reads FORCEREADY...: the raw bytes."""
        return self.read(12 + 8 + 4 + 24 * n_atoms + 72 + 4)

    def batch_answer(self, n_frames, n_atoms):
        """Reads FORCEREADY... of a batch without extras: the raw bytes."""
        return self.read(12 + 4 + n_frames * (8 + 24 * n_atoms + 72 + 4))

    def exit(self):
        """Ends as i-PI does: EXIT, then the end of the stream."""
        self.send(header("EXIT"))
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes as a machine does that has started again: the connection is reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def at_end(self):
        """True if the driver has closed, and without a reset."""
        return self.sock.recv(1) == b""

    def close(self):
        for sock in (self.sock, self.listener):
            if sock is not None:
                sock.close()


@contextlib.contextmanager
def short_directory():
    """A directory whose path is short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="sg", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
