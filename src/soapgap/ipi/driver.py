"""The i-PI driver: from a model and a structure to a served socket.

The order matters. A client that is connected but silent freezes i-PI's whole server, so everything slow or doubtful
(reading the model, matching species, a first evaluation) happens before the connection is made; and a client that
vanishes with unread bytes can hang i-PI, so every way out passes `Connection.leave`, and what may crash runs in
a process of its own (`soapgap.ipi.supervise`).
"""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase

from soapgap.errors import InputError
from soapgap.ipi.address import parse_address
from soapgap.ipi.client import Client, DriveReport
from soapgap.ipi.computer import Settings
from soapgap.ipi.connection import LostConnection
from soapgap.ipi.frames import parse_pbc, read_structure
from soapgap.ipi.supervise import ComputeDied, LocalCompute, SeparateCompute
from soapgap.ipi.worker import Job
from soapgap.model import Model
from soapgap.potential import default_threads
from soapgap.say import Log

__all__ = ["DriveReport", "drive", "explained"]


def drive(
    model,
    structure,
    unix: str | None = None,
    host: str | None = None,
    port: int | None = None,
    *,
    prefix: str = "/tmp/ipi_",
    wait: float = 60.0,
    reconnect: bool = False,
    respawn: int = 0,
    clients: int = 1,
    threads: int | None = None,
    skin: float = 0.5,
    pbc: str | None = None,
    extras: tuple[str, ...] = (),
    on_nan: str = "exit",
    max_force: float | None = None,
    log: str | Path | None = None,
    every: int = 100,
    quiet: bool = False,
    dump: str | Path = "soapgap-bad-frame.xyz",
    allow_external: bool = False,
    separate: bool | None = None,
    check: bool = False,
    pipe=None,
) -> DriveReport:
    """Computes energies, forces and virials for i-PI until it says EXIT.

    Parameters
    ----------
    model : path, Model or object
        An object must have ``compute(atoms)``, which returns an object with `energy` (eV), `forces` [N, 3] (eV/Angstrom) and
        `virial` [3, 3] (-dE/dstrain, eV). If it has a ``compute_batch(list of atoms)``, that gets the frames of a batch.
    structure : path or ase.Atoms
        Names the species, their order, and the periodic directions: i-PI sends none of these. Of a file, the first
        frame.
    unix : str, optional
        Name of the unix socket, the <address> of i-PI's <ffsocket mode="unix"> or mode="shm"; the file is `prefix` + `unix`
        (a name that begins with "/" is the whole path).
    host, port : str, int, optional
        Address of i-PI's <ffsocket mode="inet">. Default: localhost, 31415 when only one of them is given.
    prefix : str
        i-PI's own default; i-pi has the option -S for another.
    wait : float
        Seconds during which connecting is tried again.
    reconnect : bool
        Whether to wait for i-PI again (for `wait` seconds) after it closed without EXIT or was lost.
    respawn : int
        How often a computing process that died is started again.
    clients : int
        Number of connections to i-PI, each with a computing process of its own: i-PI deals out the beads.
    threads : int, optional
        Threads of each evaluator. Default: all cores, shared out among the clients.
    skin : float
        Angstrom added to the model's cutoff in the neighbour lists, which are reused until an atom has moved by half of
        it. Up to 64 lists are kept for the beads, up to 1 GiB.
    pbc : str, optional
        Periodic directions, such as "TTF", in place of those of `structure`.
    extras : sequence of str
        What to send to i-PI beside the numbers; names of `soapgap.ipi.extras`.
    on_nan : {"exit", "dump"}
        With a result that is not finite: leave i-PI, or write the frame and send the result all the same.
    max_force : float, optional
        eV/Angstrom; a larger force counts as not finite.
    log, quiet
        As for `soapgap.say.Log`.
    every : int
        A line of progress every N frames; 0: none.
    dump : path
        Where a frame that could not be computed is written, as extended XYZ.
    allow_external : bool
        Whether an external potential of the model may run code of its own.
    separate : bool, optional
        Whether to compute in a process of its own, so that i-PI survives whatever happens there. Default: for models yes; for
        other objects (which then must be picklable) no.
    check : bool
        Only make ready, evaluate the structure and return.
    pipe : multiprocessing.connection.Connection, optional
        To a computing process that exists already; for `soapgap.ipi.led`.

    Returns
    -------
    DriveReport

    Raises
    ------
    InputError
        Unusable arguments; a frame with another atom count than `structure`; positions, cells or results that are not
        finite.
    HostError
        The socket did not open within `wait`.
    LostConnection
        The connection broke in the middle of an exchange.
    ComputeDied
        A computing process ended by itself, more often than `respawn`.

    Notes
    -----
    SIGTERM and SIGINT (if called in the main thread) let the frames in hand be finished and delivered, then leave; a
    second one raises KeyboardInterrupt.
    """
    address = None if check else parse_address(unix, host, port, prefix)
    atoms = structure.copy() if isinstance(structure, ase.Atoms) else read_structure(structure)
    atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=parse_pbc(pbc) if pbc else atoms.pbc)
    if clients < 1 or respawn < 0:
        raise InputError(f"got {clients} clients and {respawn} respawns; expected at least 1 client and 0 respawns")
    if separate is None:
        separate = pipe is not None or not hasattr(model, "compute")
    if isinstance(model, Model):
        model = model.to_bytes()
    threads = threads or max(1, default_threads() // clients)
    settings = Settings(Path(dump), on_nan, max_force, tuple(extras))
    job = Job(model, atoms, settings, threads, skin, allow_external, every)
    log = Log(log, every > 0, quiet)
    try:
        with _Signals() as signals:
            team = [Client(_compute(job, number, clients, separate, pipe), address, wait, reconnect, respawn,
                           log.named(f"client {number + 1}: " if clients > 1 else ""), signals.requested)
                    for number in range(clients)]
            return _run(team, check)
    finally:
        log.close()


def _compute(job: Job, number: int, clients: int, separate: bool, pipe):
    """What a client computes with: a function of its log, made when that exists."""
    if clients > 1:  # two clients must not write over each other's frames
        path = job.settings.dump.with_stem(f"{job.settings.dump.stem}-client{number + 1}")
        job = replace(job, settings=replace(job.settings, dump=path))
    if separate:
        return lambda say: SeparateCompute(job, say, pipe)
    return lambda say: LocalCompute(job, say)


def _run(team: list[Client], check: bool) -> DriveReport:
    """All clients to their end; the first error counts, after all have ended."""
    if len(team) == 1:
        return team[0].run(check)
    threads = [threading.Thread(target=client.run_quietly, args=(check,), daemon=True) for client in team]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # in pieces: a signal is handled only between them
            thread.join(0.2)
    for client in team:
        if client.error is not None:
            raise client.error
    reports = [client.report for client in team]
    return DriveReport(reports[0].reason, sum(r.frames for r in reports), max(r.seconds for r in reports),
                       sum(r.computing for r in reports))


def explained(run: Callable[[], object]) -> int:
    """Exit status of a drive: 0, or 3 and 4 with one line for a lost connection and a dead computing process."""
    try:
        run()
    except (LostConnection, ComputeDied) as error:
        print(f"soapgap: {error}", file=sys.stderr)
        return 3 if isinstance(error, LostConnection) else 4
    return 0


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
