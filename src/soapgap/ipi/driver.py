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

import ase

from soapgap.ipi.address import parse_address
from soapgap.ipi.client import Client, DriveReport
from soapgap.ipi.connection import LostConnection
from soapgap.ipi.frames import parse_pbc, read_structure
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.supervise import ComputeDied, LocalCompute, SeparateCompute
from soapgap.ipi.worker import Job
from soapgap.model import Model
from soapgap.potential import default_threads
from soapgap.say import Log

__all__ = ["DriveReport", "drive", "explained"]


def drive(model, structure, options: DriveOptions | None = None, *, separate: bool | None = None, pipe=None,
          **others) -> DriveReport:
    """Computes energies, forces and virials for i-PI until it says EXIT.

    Parameters
    ----------
    model : path-like, soapgap.model.Model, or object with ``compute(atoms)``
        ``compute`` returns an object with `energy` (eV), `forces` [N, 3] (eV/Angstrom) and `virial` [3, 3]
        (-dE/dstrain, eV). If there is a ``compute_batch(list of atoms)``, it is given the frames of a batch.
    structure : path-like or ase.Atoms
        Names the species, their order, and the periodic directions: i-PI sends none of these. Of a file, the first
        frame.
    options : DriveOptions, optional
    separate : bool, optional
        Whether to compute in a process of its own, so that i-PI survives whatever happens there. Default: for models yes; for
        other objects (which then must be picklable) no.
    pipe : multiprocessing.connection.Connection, optional
        To a computing process that exists already; for `soapgap.ipi.mpi_driver`.
    **others
        Fields of `DriveOptions`, in place of those of `options`: ``drive(model, structure, unix="water")``.

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
    options = replace(options or DriveOptions(), **others)
    options.validate()
    address = None if options.check else parse_address(options.unix, options.host, options.port, options.prefix)
    atoms = structure.copy() if isinstance(structure, ase.Atoms) else read_structure(structure)
    atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=parse_pbc(options.pbc) if options.pbc else atoms.pbc)
    if separate is None:
        separate = pipe is not None or not hasattr(model, "compute")
    if isinstance(model, Model):
        model = model.to_bytes()
    threads = options.threads or max(1, default_threads() // options.clients)
    job = Job(model, atoms, replace(options, threads=threads))
    log = Log(options.log, options.every > 0, options.quiet)
    try:
        with _Signals() as signals:
            team = [Client(_compute(job, number, separate, pipe), address, options,
                           log.named(f"client {number + 1}: " if options.clients > 1 else ""), signals.requested)
                    for number in range(options.clients)]
            return _run(team, options.check)
    finally:
        log.close()


def _compute(job: Job, number: int, separate: bool, pipe):
    """What a client computes with: a function of its log, made when that exists."""
    if job.options.clients > 1:  # two clients must not write over each other's frames
        dump = job.options.dump
        job = replace(job, options=replace(job.options, dump=dump.with_stem(f"{dump.stem}-client{number + 1}")))
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
