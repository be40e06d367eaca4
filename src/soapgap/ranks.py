"""Several MPI ranks, or the one process that there is.

A program asks `start_ranks()` once. Started by itself it gets one rank and MPI is never imported; started by `mpiexec` it
gets the ranks of mpi4py, and one clear error if that is missing or belongs to another MPI: otherwise every process would
quietly do the whole work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from soapgap.errors import HostError, SoapGAPError

__all__ = ["Ranks", "launched_ranks", "start_ranks", "under_launcher"]

#: Number of ranks as the launchers of MPICH and Intel MPI, Open MPI, MVAPICH and Slurm with PMI set it.
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
#: Set in every rank by launchers that do not give the size (Slurm with PMIx, Intel MPI).
_RANK_VARIABLES = ("PMIX_RANK", "MPI_LOCALNRANKS")


def launched_ranks() -> int:
    """How many ranks the MPI launcher says it has started; 1 without a launcher."""
    for name in _SIZE_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return 1


def under_launcher() -> bool:
    """Whether an MPI launcher started this process, be it as a single rank."""
    return any(name in os.environ for name in _SIZE_VARIABLES + _RANK_VARIABLES)


class Ranks:
    """What a computation may ask of its MPI ranks; with one rank everything is at once and nothing is sent.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None for one rank.

    Attributes
    ----------
    rank, size : int
        Place of this process, and number of processes.
    here : int
        Number of ranks on this machine, which share its memory.
    """

    def __init__(self, comm=None) -> None:
        self._comm = comm
        self.rank = 0 if comm is None else comm.rank
        self.size = 1 if comm is None else comm.size
        self.here = 1
        if comm is not None:
            from mpi4py import MPI

            node = comm.Split_type(MPI.COMM_TYPE_SHARED)
            self.here = node.size
            node.Free()

    @property
    def communicator(self):
        """The mpi4py communicator; None for one rank without MPI."""
        return self._comm

    @property
    def is_root(self) -> bool:
        """True on the rank that speaks, decides and writes."""
        return self.rank == 0

    def broadcast(self, value: Any = None) -> Any:
        """The root's value on all ranks."""
        return value if self._comm is None else self._comm.bcast(value, root=0)

    def gather(self, value: Any) -> list | None:
        """The values of all ranks in their order, on the root; None elsewhere."""
        return [value] if self._comm is None else self._comm.gather(value, root=0)

    def fold_to_root(self, value: Callable[[], np.ndarray], fold: Callable[[np.ndarray], None]) -> bool:
        """Combine arrays of doubles pairwise along a binary tree until the root has all.

        Parameters
        ----------
        value : callable
            Gives what this rank has.
        fold : callable
            Takes in the array of another rank, of the same shape; `value()` has it from then on.

        Returns
        -------
        True on the root, False on ranks that have given theirs away.
        """
        step = 1
        while step < self.size:
            if self.rank % (2 * step):
                self._comm.Send(value(), dest=self.rank - step)
                return False
            if self.rank + step < self.size:
                other = np.empty_like(value())
                self._comm.Recv(other, source=self.rank + step)
                fold(other)
            step *= 2
        return True

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Between these lines a rank may fail alone: it says why and ends all, which would otherwise wait for it."""
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            if isinstance(error, SoapGAPError):
                print(f"soapgap: {error}", file=sys.stderr, flush=True)
            elif isinstance(error, KeyboardInterrupt):
                print("soapgap: interrupted", file=sys.stderr, flush=True)
            else:
                sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            self._comm.Abort(2)


def start_ranks() -> Ranks:
    """The ranks of this run.

    Raises
    ------
    HostError
        Under an MPI launcher without mpi4py, or with one that belongs to another MPI.
    """
    expected = launched_ranks()
    if expected == 1:
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise HostError(f"started by an MPI launcher as {expected} ranks, but mpi4py cannot be loaded ({error}): every rank "
                        "would do the whole work; pip install 'soapgap[mpi]', or start without mpiexec") from None
    comm = MPI.COMM_WORLD
    if comm.size != expected:
        raise HostError(f"started by an MPI launcher as {expected} ranks, but mpi4py sees {comm.size}: it belongs to another "
                        f"MPI ({MPI.Get_library_version().splitlines()[0].strip()}) than the launcher; use the mpiexec "
                        "of that MPI, or start without mpiexec")
    return Ranks(comm)
