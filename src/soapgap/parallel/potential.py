"""A potential on several MPI ranks: the order of the steps, and what root and ranks say to one another."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
from ase import Atoms

from soapgap.errors import HostError, InputError, SoapGAPError
from soapgap.model import Model
from soapgap.model.external import External
from soapgap.parallel.channel import Channel
from soapgap.parallel.plans import Plans
from soapgap.parallel.share import RankShare, Totals
from soapgap.potential import Result, check_finite, check_skin, default_threads, open_model

__all__ = ["ParallelPotential"]


class _Command(IntEnum):
    """What comes next on all ranks; the root says it."""

    BUILD = 1  # a new batch: its description, then positions; lists are made, numbers of neighbours go to the root
    SPLIT = 2  # the same batch, shared out again: the same answer
    MOVE = 3  # a batch whose lists still hold: positions
    EVALUATE = 4  # contributions go to the root
    REPORT = 5  # errors go to the root
    RESULT = 6  # the sums; ranks that have called `compute` return with them
    FAILED = 7  # an error, which ranks that have called `compute` raise
    DISMISS = 8  # ranks leave `serve`


class ParallelPotential:
    """Energy, forces and virial of structures, computed by all ranks of a communicator.

    It is used in one of two ways. Either every rank calls `compute` (the same program on all ranks): the structure of rank 0 is
    computed, and all get the same result to the last bit. Or rank 0 alone calls it, while the others are in `serve` until
    rank 0 calls `dismiss`; `leading` is the same as a context.

    Parameters
    ----------
    model : Model, str or Path
        Rank 0 reads the file.
    comm : mpi4py.MPI.Comm
    n_threads : int, optional
        Of each rank. Default: OMP_NUM_THREADS, or 1 under an MPI launcher.
    skin : float
        Angstrom. With a skin, neighbour lists are kept until an atom has moved by half of it.
    allow_external : bool
        Whether an external potential of the model may run code of its own.
    n_lists : int
        How many lists are kept: one for each of the structures that take turns.

    Attributes
    ----------
    model : Model
    species : tuple of str
    cutoff : float
        Angstrom.
    n_built : int
        How often this rank has made neighbour lists.
    seconds : dict
        Processor time of this rank so far, all threads: "lists" and "evaluation".

    Raises
    ------
    InputError, ModelFileError
        On all ranks, whichever of them has met the error.
    """

    def __init__(self, model, comm, n_threads: int | None = None, skin: float = 0.0, allow_external: bool = False,
                 n_lists: int = 1):
        self._channel = Channel(comm)
        n_threads, opened, settings = n_threads or default_threads(), None, None
        with self._together():
            check_skin(skin)
            if self._channel.is_root:
                *opened, folders = open_model(model, n_threads)
                settings = opened[1].content, folders, float(skin)
        content, folders, self.skin = self._channel.broadcast_object(settings)
        with self._together():
            self.model, self.evaluator = opened or Model.opened(content, n_threads)
            self.external = External(self.model.external, self.model.species, allow_external, folders)
        self.species, self.cutoff = self.evaluator.species, self.evaluator.cutoff
        self._n_lists = n_lists
        self._begin()
        self.n_built = 0
        self.seconds = {"lists": 0.0, "evaluation": 0.0}

    def _begin(self) -> None:
        """No lists yet."""
        self._plans = Plans(self.model, self.evaluator, self._channel.size, self.skin, self._n_lists)
        self._shares: dict[int, RankShare] = {}
        self._error: Exception | None = None

    def __getstate__(self) -> dict:
        """A copy starts without lists, so that nothing needs to be said to other ranks."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_plans", "_shares", "_error", "_positions")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._begin()

    def adjust(self, skin: float, n_threads: int | None) -> None:
        """Take another skin (Angstrom) and another number of threads, on all ranks together; the skin is that of rank 0."""
        with self._together():
            check_skin(skin)
            evaluator = self.evaluator.clone(n_threads or default_threads())
        self.evaluator, self.skin = evaluator, self._channel.broadcast_object(float(skin))
        self._begin()

    def check_same(self, atoms: Atoms) -> None:
        """Whether all ranks have the same structure; all call it.

        Raises
        ------
        InputError
            On all ranks, if numbers, positions, cell or periodicity differ by a bit.
        """
        if not self._channel.agree(_digest(atoms)):
            raise InputError(f"the {self._channel.size} ranks of comm hold different structures (rank {self._channel.rank}: "
                             f"{atoms.symbols}, {len(atoms)} atoms): expected the same numbers, positions, cell and pbc on "
                             "all, to the last bit, since they compute one structure together. If each rank has one of its "
                             "own, as with NEB(parallel=True), give each a calculator of its own: SoapGAP(model) without comm; "
                             "if groups of ranks share one, SoapGAP(model, comm=comm.Split(group)). If all should be the "
                             "same, seed random numbers alike, or make the structure on rank 0 and comm.bcast it")

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What one rank raises within these lines, all raise."""
        error = None
        try:
            yield
        except Exception as own:
            error = own
        errors = self._channel.gather_everywhere(_portable(error, self._channel.rank))
        if error is not None and isinstance(error, SoapGAPError):
            raise error
        for other in errors:
            if other is not None:
                raise other

    def compute(self, atoms: Atoms) -> Result:
        """Evaluate one structure; see `soapgap.Potential.compute`.

        Raises
        ------
        InputError
            As `soapgap.Potential.compute`. If all ranks have called `compute`, all raise it.
        """
        return self.compute_batch([atoms])[0]

    def compute_batch(self, frames: Sequence[Atoms]) -> list[Result]:
        """Evaluate several structures at once: ranks share out structures first, atoms of one structure second.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Of rank 0; other ranks may pass anything.

        Returns
        -------
        list of Result
        """
        if not self._channel.is_root:
            return self._follow(serving=False)
        with self._channel.ranks.guard():
            results, error = self._lead(list(frames))
        if error is not None:
            raise error
        return results

    def loads(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of atoms and counted cost of each rank in the batch that was divided last; for rank 0."""
        return self._plans.loads()

    def serve(self) -> None:
        """Work for rank 0 until it calls `dismiss`; for the other ranks. Waiting costs next to no processor time."""
        if self._channel.is_root:
            raise HostError("rank 0 called serve(), which is for the other ranks: rank 0 calls compute() and dismiss()")
        self._follow(serving=True)

    def dismiss(self) -> None:
        """Let the ranks go that are in `serve`; for rank 0."""
        if not self._channel.is_root:
            raise HostError(f"rank {self._channel.rank} called dismiss(), which is for rank 0")
        self._say(_Command.DISMISS)

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """True on rank 0; on the others False, after they have served: ``with potential.leading() as lead: if lead: ...``."""
        if not self._channel.is_root:
            self.serve()
            yield False
            return
        try:
            yield True
        finally:
            self.dismiss()

    # ---- the root -----------------------------------------------------------------------------------------------------

    def _say(self, command: _Command, plan: int = 0, payload=None) -> None:
        self._channel.broadcast(np.array([command, plan, payload is not None], dtype=np.int64))
        if payload is not None:
            self._channel.broadcast_object(payload)

    def _lead(self, frames: list[Atoms]) -> tuple[list[Result] | None, Exception | None]:
        """Results, or an error that all ranks know of or that only the root should."""
        positions = np.concatenate([np.empty((0, 3)), *(atoms.positions for atoms in frames)])
        try:
            known = self._plans.find(frames, positions)
            if known is None:
                self._plans.check(frames)
        except Exception as error:
            self._say(_Command.FAILED, payload=_portable(error, 0))
            return None, error
        if known is None:
            plan = self._build(frames, positions)
        else:
            plan, positions = known
            cells = np.array([atoms.cell.array for atoms in frames])
            cells = None if np.array_equal(cells, plan.batch.cells) else cells
            self._say(_Command.MOVE, plan.number, cells)
            self._attempt(self._move, plan.number, self._channel.broadcast(positions), cells)
        totals = self._evaluate(plan.number, plan.batch)
        error = self._reported() if totals.failed[0] else None
        if error is None and 0 < totals.serving[0] < self._channel.size - 1:
            error = HostError("some ranks called compute() and others serve(): either all compute, or all but rank 0 serve")
        everywhere = totals.serving[0] == 0 and self._channel.size > 1
        if error is not None:
            self._plans.forget(plan)
            self._say(_Command.FAILED, payload=error)
            return None, error
        if everywhere:
            self._say(_Command.RESULT)
            self._channel.broadcast(totals.flat)
        return _results(plan.batch, totals, bool(self.external)), None

    def _build(self, frames: list[Atoms], positions: np.ndarray):
        """New lists; the frames are shared out once more if the true costs show a rank with too much."""
        plan, dropped = self._plans.add(frames, positions)
        self._say(_Command.BUILD, plan.number, (plan.batch, dropped))
        self._drop(dropped)
        counts = self._new_lists(plan.number, plan.batch, self._channel.broadcast(positions))
        if self._plans.improve(plan, counts):
            self._say(_Command.SPLIT, plan.number, plan.batch.owner)
            self._new_lists(plan.number, plan.batch, positions)
        self._say(_Command.EVALUATE, plan.number)
        return plan

    def _reported(self) -> Exception:
        """The error of the first rank that has one."""
        self._say(_Command.REPORT)
        errors = self._channel.gather(_portable(self._error, self._channel.rank))
        self._error = None
        return next(error for error in errors if error is not None)

    # ---- the other ranks ----------------------------------------------------------------------------------------------

    def _follow(self, serving: bool) -> list[Result] | None:
        """Do what the root says until there is a result or an error, or until it dismisses."""
        with self._channel.ranks.guard():
            outcome = self._obey(serving)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _obey(self, serving: bool):
        header, batch = np.empty(3, dtype=np.int64), None
        while True:
            command, number, has_payload = (int(n) for n in self._channel.broadcast(header))
            payload = self._channel.broadcast_object() if has_payload else None
            if command == _Command.BUILD:
                batch, dropped = payload
                self._drop(dropped)
                positions = self._channel.broadcast(np.empty((batch.n_atoms, 3)))
                self._new_lists(number, batch, positions)
            elif command == _Command.SPLIT:
                batch.owner = payload
                self._new_lists(number, batch, positions)
            elif command == _Command.MOVE:
                batch = self._shares[number].batch
                self._attempt(self._move, number, self._channel.broadcast(np.empty((batch.n_atoms, 3))), payload)
                self._evaluate(number, batch, serving)
            elif command == _Command.EVALUATE:
                self._evaluate(number, batch, serving)
            elif command == _Command.REPORT:
                self._channel.gather(_portable(self._error, self._channel.rank))
                self._error = None
            elif command == _Command.RESULT:
                totals = Totals(batch.n_atoms, len(batch.sizes))
                self._channel.broadcast(totals.flat)
                return _results(batch, totals, bool(self.external))
            elif command == _Command.FAILED and not serving:
                return payload
            elif command == _Command.DISMISS:
                return None if serving else HostError("rank 0 has called dismiss() while this rank called compute()")

    # ---- all ranks ----------------------------------------------------------------------------------------------------

    def _attempt(self, work, *arguments) -> None:
        """Work that may fail on this rank alone; the root hears of it with the sums."""
        if self._error is None:
            try:
                work(*arguments)
            except Exception as error:
                self._error = error

    def _drop(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._shares.pop(number, None)

    def _new_lists(self, number: int, batch, positions: np.ndarray) -> np.ndarray:
        """Make this rank's lists; the numbers of neighbours of all atoms on the root."""
        self._attempt(self._make, number, batch, positions)
        counts = np.zeros(batch.n_atoms) if self._error else self._shares[number].n_neighbours()
        return self._channel.reduce(counts)

    def _make(self, number: int, batch, positions: np.ndarray) -> None:
        start = time.process_time()
        self._shares[number] = RankShare(batch, self._channel.rank, positions, self.cutoff, self.skin,
                                     self.evaluator.needs.sums)
        self._positions = positions
        self.n_built += 1
        self.seconds["lists"] += time.process_time() - start

    def _move(self, number: int, positions: np.ndarray, cells: np.ndarray | None) -> None:
        self._shares[number].move(positions, cells)
        self._positions = positions

    def _evaluate(self, number: int, batch, serving: bool = False) -> Totals:
        """The sums over all ranks, on the root."""
        totals = Totals(batch.n_atoms, len(batch.sizes))
        self._attempt(self._contribute, number, totals)
        if self._error is not None:
            totals.flat[:] = 0.0
            totals.failed[0] = 1.0
        totals.serving[0] = serving
        return Totals(batch.n_atoms, len(batch.sizes), self._channel.reduce(totals.flat))

    def _contribute(self, number: int, totals: Totals) -> None:
        start, share = time.process_time(), self._shares[number]
        share.add(self.evaluator, totals)
        check_finite(totals.flat)
        if self.external:
            # a frame's external potentials are the work of one rank, whoever has its atoms
            for frame in range(self._channel.rank, len(share.batch.sizes), self._channel.size):
                self._add_external(share.batch, frame, totals)
        self.seconds["evaluation"] += time.process_time() - start

    def _add_external(self, batch, frame: int, totals: Totals) -> None:
        values, its = self.external.compute(batch.structure(frame, self._positions)), batch.atoms_of(frame)
        totals.forces[its] += values.forces
        totals.energy[frame] += values.energy
        totals.no_energies[frame] = values.energies is None
        totals.no_virial[frame] = values.virial is None
        if values.energies is not None:
            totals.energies[its] += values.energies
        if values.virial is not None:
            totals.virial[frame] += values.virial


def _digest(atoms: Atoms) -> int:
    """62 bits of a structure's SHA-1."""
    digest = hashlib.sha1(usedforsecurity=False)
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
        digest.update(np.ascontiguousarray(array))
    return int.from_bytes(digest.digest()[:8], "little") >> 2


def _results(batch, totals: Totals, external: bool) -> list[Result]:
    results = []
    for frame in range(len(batch.sizes)):
        its = batch.atoms_of(frame)
        energies = totals.energies[its] if totals.no_energies[frame] == 0.0 else None
        virial = totals.virial[frame] if totals.no_virial[frame] == 0.0 else None
        results.append(Result(float(totals.energy[frame]), energies, totals.forces[its], virial))
    return results


def _portable(error: Exception | None, rank: int) -> Exception | None:
    """An error as it can travel: ours as they are, others with their traceback as text."""
    if error is None:
        return None
    if isinstance(error, SoapGAPError):
        return type(error)(str(error))
    return RuntimeError(f"rank {rank}: " + "".join(traceback.format_exception(error)))
