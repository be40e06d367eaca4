"""The i-PI driver: from a model and a structure to a served socket.

The order matters. A client that is connected but silent freezes i-PI's whole server, so everything slow or doubtful
(reading the model, matching species, a first evaluation) happens before the connection is made; and a client that
vanishes with unread bytes can hang i-PI for ever, so every way out of `drive` passes `Connection.leave`.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.cell import Cell

from soapgap.errors import InputError
from soapgap.ipi.address import connect, describe_address, parse_address
from soapgap.ipi.frames import Folding, check_first_frame, describe_species, parse_pbc, read_structure
from soapgap.ipi.log import Log
from soapgap.ipi.protocol import CLOSED, EXIT, STOPPED, Connection, Frame, Init, Session

ENDINGS = {EXIT: "i-PI sent EXIT", CLOSED: "i-PI closed the connection", STOPPED: "stopped by a signal"}


@dataclass(frozen=True)
class DriveReport:
    """How a drive ended: `reason` is "exit", "closed" or "stopped"; times are in seconds."""

    reason: str
    frames: int
    seconds: float
    computing: float


def drive(
    model,
    structure,
    unix: str | None = None,
    host: str | None = None,
    port: int | None = None,
    *,
    prefix: str = "/tmp/ipi_",
    wait: float = 60.0,
    threads: int | None = None,
    skin: float = 0.5,
    pbc: str | None = None,
    log: str | Path | None = None,
    every: int = 100,
    quiet: bool = False,
    dump: str | Path = "soapgap-bad-frame.xyz",
    allow_external: bool = False,
) -> DriveReport:
    """Computes energies, forces and virials for i-PI until it says EXIT.

    Parameters
    ----------
    model : path, `soapgap.model.Model`, or any object with ``compute(atoms)``
        ``compute`` returns an object with `energy` (eV), `forces` [N, 3] (eV/Angstrom) and `virial` [3, 3]
        (-dE/dstrain, eV).
    structure : path or ase.Atoms
        Names the species, their order, and the periodic directions: i-PI sends none of these. Of a file, the first
        frame.
    unix : str, optional
        Name of the unix socket, the <address> of i-PI's <ffsocket mode="unix">; the file is `prefix` + `unix` (a name
        that begins with "/" is the whole path).
    host, port : str, int, optional
        Address of i-PI's <ffsocket mode="inet">. Default: localhost, 31415 when only one of them is given.
    prefix : str
        i-PI's own default; i-pi has the option -S for another.
    wait : float
        Seconds during which connecting is tried again.
    threads : int, optional
        Threads of the evaluator. Default: all cores.
    skin : float
        Angstrom added to the model's cutoff in the neighbour list, which is reused until an atom has moved by half of
        it.
    pbc : str, optional
        Periodic directions, such as "TTF", in place of those of `structure`.
    log, every, quiet
        As for `soapgap.ipi.log.Log`.
    dump : path
        Where a frame that could not be computed is written, as extended XYZ.
    allow_external : bool
        Whether an external potential of the model may run code of its own.

    Returns
    -------
    DriveReport

    Raises
    ------
    InputError
        Unusable arguments; a frame with another atom count than `structure`; positions, cells or results that are not
        finite.
    HostError
        The socket did not open within `wait`, or i-PI asks for something that this driver does not do.
    LostConnection
        The connection broke in the middle of an exchange.

    Notes
    -----
    SIGTERM and SIGINT (if called in the main thread) let the frame in hand be finished and delivered, then leave; a
    second one raises KeyboardInterrupt.
    """
    address = parse_address(unix, host, port, prefix)
    atoms = structure.copy() if isinstance(structure, ase.Atoms) else read_structure(structure)
    atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=parse_pbc(pbc) if pbc else atoms.pbc)
    log = Log(log, every, quiet)
    try:
        core = _load(model, threads, skin, allow_external)
        frames = _Frames(core, atoms, log, Path(dump))
        frames.warm_up()
        with _Signals() as signals:
            log.line(f"connecting to {describe_address(address)}")
            sock = connect(address, wait, signals.requested)
            if sock is None:
                return frames.report(STOPPED)
            connection = Connection(sock)
            try:
                frames.start()
                reason = Session(connection, len(atoms), frames.compute, signals.requested, frames.note_init).run()
            finally:
                connection.leave()
        return frames.report(reason)
    finally:
        log.close()


def _load(model, threads: int | None, skin: float, allow_external: bool):
    """The object that computes: `model` itself if it can, or a Potential made of it."""
    if hasattr(model, "compute"):
        return model
    from soapgap.potential import Potential

    return Potential(model, n_threads=threads, skin=skin, allow_external=allow_external)


class _Frames:
    """Everything between a frame's arrival and its packed results, and the bookkeeping of it."""

    def __init__(self, core, atoms: ase.Atoms, log: Log, dump: Path):
        self.core = core
        self.atoms = atoms
        self.log = log
        self.dump = dump
        self.fold = Folding(atoms.pbc)
        self.count = 0
        self.computing = 0.0
        self.started = time.monotonic()
        self._mark = (0, 0.0, self.started)  # count, computing, clock at the last progress line

    def warm_up(self) -> None:
        """Evaluates the structure once: wrong species and broken models show before i-PI is involved."""
        atoms = self.atoms
        kind = "".join("T" if flag else "F" for flag in atoms.pbc)
        self.log.line(
            f"{len(atoms)} atoms, {atoms.get_chemical_formula()}; order: {describe_species(atoms)}; periodic: {kind}"
        )
        if not atoms.pbc.any():
            self.log.warning(
                "the structure is periodic in no direction, so i-PI's cell is ignored; if this is not meant, "
                "give pbc TTT"
            )
        start = time.monotonic()
        if atoms.pbc.any() and abs(np.linalg.det(atoms.cell)) < 1e-9:  # the cell will come from i-PI
            atoms = ase.Atoms(atoms.numbers, atoms.positions)
        result = self.core.compute(atoms)
        if result.virial is None:
            raise InputError("an external potential of the model gives no stress, and i-PI wants the virial of every frame; "
                             "use a calculator that gives it")
        if not _finite(result):
            raise InputError(
                "the model gives an energy, force or virial that is not finite for the structure itself; are two atoms "
                "on one site?"
            )
        seconds = time.monotonic() - start
        self.log.line(f"energy of the structure {result.energy:.6f} eV, first evaluation {seconds:.3f} s")

    def start(self) -> None:
        """Sets the clock to zero: the driver is connected."""
        self.started = time.monotonic()
        self._mark = (0, 0.0, self.started)
        self.log.line("connected")

    def note_init(self, init: Init) -> None:
        """Tells what i-PI's INIT said, if it said anything."""
        if init.parameters:
            self.log.line("i-PI's parameters (not used): " + ", ".join(f"{k}: {v}" for k, v in init.parameters.items()))

    def compute(self, frame: Frame) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy (eV), forces (eV/Angstrom), virial (eV) of one frame, checked."""
        if self.count == 0:
            self._first(frame)
        self._check_frame(frame)
        atoms = self.atoms
        # New arrays each time: the core may keep references to the ones it saw for its neighbour list.
        atoms.cell = frame.cell
        atoms.arrays["positions"] = self.fold(frame.cell, frame.positions)
        start = time.monotonic()
        try:
            result = self.core.compute(atoms)
        except Exception as error:
            self.log.warning(f"the evaluation of frame {self.count + 1} failed ({type(error).__name__}){self._dump()}")
            raise
        self.computing += time.monotonic() - start
        if not _finite(result):
            raise InputError(
                f"frame {self.count + 1} has an energy, force or virial that is not finite{self._dump()}. "
                "Nothing was sent to i-PI. Look for atoms on top of each other; a shorter time step may help"
            )
        self.count += 1
        self.log.progress(self.count, lambda: self._progress(result))
        return result.energy, result.forces, result.virial

    def _first(self, frame: Frame) -> None:
        if np.isfinite(frame.cell).all() and np.isfinite(frame.positions).all():
            for text in check_first_frame(self.atoms, frame.cell, frame.positions):
                self.log.warning(text)

    def _check_frame(self, frame: Frame) -> None:
        if not (np.isfinite(frame.cell).all() and np.isfinite(frame.positions).all()):
            self.atoms.cell, self.atoms.arrays["positions"] = frame.cell, frame.positions
            raise InputError(
                f"i-PI sent a cell or positions that are not finite (frame {self.count + 1}){self._dump()}. The "
                "dynamics has blown up: look at the conserved quantity, try a shorter time step"
            )
        cell = Cell(frame.cell)
        if self.atoms.pbc.any() and (not cell.lengths()[self.atoms.pbc].all() or cell.complete().volume < 1e-9):
            raise InputError(
                f"i-PI sent a cell without volume, {frame.cell.tolist()} Angstrom, for a periodic structure. Set the "
                "cell in the i-PI input, or give pbc FFF"
            )

    def _dump(self) -> str:
        """Writes the frame in hand; says where."""
        temporary = self.dump.with_name(self.dump.name + ".new")
        try:
            ase.io.write(temporary, self.atoms, format="extxyz")
            os.replace(temporary, self.dump)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return f" (the frame could not be written to {self.dump}: {error.strerror})"
        return f"; the frame is in {self.dump}"

    def _progress(self, result) -> str:
        now = time.monotonic()
        count, computing, clock = self._mark
        n = self.count - count
        if n >= max(self.log.every, 1):
            self._mark = (self.count, self.computing, now)
        largest = np.sqrt((result.forces**2).sum(axis=1).max(initial=0.0))
        return (
            f"frame {self.count}: energy {result.energy:.6f} eV, largest force {largest:.3f} eV/A, "
            f"{1e3 * (now - clock) / n:.2f} ms per frame, {1e3 * (self.computing - computing) / n:.2f} of it computing"
        )

    def report(self, reason: str) -> DriveReport:
        """Says the last line and returns the numbers."""
        report = DriveReport(reason, self.count, time.monotonic() - self.started, self.computing)
        self.log.line(
            f"{ENDINGS[reason]}: {report.frames} frames in {report.seconds:.2f} s, {report.computing:.2f} s of them "
            "computing"
        )
        return report


def _finite(result) -> bool:
    return bool(np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all())


class _Signals:
    """SIGTERM and SIGINT as a request to leave; a second one interrupts. Does nothing outside the main thread."""

    def __init__(self):
        self._requested = False
        self._before = {}

    def requested(self) -> bool:
        return self._requested

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, stack):
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
