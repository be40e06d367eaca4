"""What goes between the root and the other ranks, waited for without burning a core.

MPI libraries wait in a tight loop. A rank that waits for work would take a core from those that compute, or from i-PI beside
it, so every wait here tests, and sleeps between tests once a millisecond has passed.
"""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

import numpy as np

from soapgap.errors import HostError
from soapgap.ranks import Ranks, launched_ranks

__all__ = ["Channel", "mpi_communicator"]

_TIGHT = 1e-3  # seconds of testing without sleep: what follows a message at once is met without delay
_SHORTEST, _LONGEST = 2e-5, 1.5e-4  # seconds of sleep between tests


class Channel:
    """Collective operations with rank 0 as root, on a communicator of soapgap's own.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Its duplicate is used and kept with it, so that no message meets one of the caller's.

    Attributes
    ----------
    comm : mpi4py.MPI.Comm
        The duplicate.
    ranks : Ranks
        What else may be asked of it.

    Notes
    -----
    A copy (`copy.deepcopy`) is the same channel. A pickle holds the name of the communicator, if that is MPI.COMM_WORLD or
    MPI.COMM_SELF: any other means nothing to another process.
    """

    def __init__(self, comm) -> None:
        from mpi4py import MPI

        known = [name for name in ("COMM_WORLD", "COMM_SELF") if MPI.Comm.Compare(comm, getattr(MPI, name)) == MPI.IDENT]
        self._name = known[0] if known else None
        self.comm, self.ranks = _own_duplicate(comm)
        self.rank, self.size = self.comm.rank, self.comm.size
        self._sum, self._largest = MPI.SUM, MPI.MAX

    def __deepcopy__(self, memo) -> Channel:
        return self

    def __reduce__(self):
        if self._name is None:
            raise HostError(f"a calculator on a communicator of {self.size} ranks that the program made cannot be pickled: "
                            "expected MPI.COMM_WORLD or MPI.COMM_SELF, which every process has. Make the calculator again "
                            "where it is needed, SoapGAP(model, comm=...), or take copy.deepcopy within the process")
        return _named, (self._name,)

    @property
    def is_root(self) -> bool:
        """True on the rank that commands."""
        return self.rank == 0

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """Fill a C-ordered array (or bytearray) on all ranks with the root's; returns it."""
        if self.size > 1:
            _wait(self.comm.Ibcast(array, root=0))
        return array

    def broadcast_object(self, value: Any = None) -> Any:
        """The root's object on all ranks, by pickle."""
        if self.size == 1:
            return value
        content = bytearray(pickle.dumps(value) if self.is_root else b"")
        length = self.broadcast(np.array([len(content)], dtype=np.int64))
        return pickle.loads(self.broadcast(content if self.is_root else bytearray(int(length[0]))))

    def reduce(self, array: np.ndarray) -> np.ndarray:
        """The sum over ranks of an array of doubles on the root, where it is a new array; elsewhere the rank's own."""
        if self.size == 1:
            return array
        total = np.empty_like(array) if self.is_root else None
        _wait(self.comm.Ireduce(array, total, op=self._sum, root=0))
        return total if self.is_root else array

    def agree(self, number: int) -> bool:
        """Whether all ranks have the same number (of 62 bits): one reduction, with the same answer on all."""
        if self.size == 1:
            return True
        ends = np.array([number, -number], dtype=np.int64)
        both = np.empty_like(ends)
        _wait(self.comm.Iallreduce(ends, both, op=self._largest))
        return bool(both[0] == -both[1])

    def gather(self, value: Any) -> list | None:
        """The objects of all ranks on the root; None elsewhere."""
        return self.comm.gather(value, root=0)

    def gather_everywhere(self, value: Any) -> list:
        """The objects of all ranks on all ranks."""
        return self.comm.allgather(value)


def _wait(request) -> None:
    if request.Test():
        return
    end, pause = time.perf_counter() + _TIGHT, _SHORTEST
    while not request.Test():
        if time.perf_counter() < end:
            os.sched_yield()
        else:
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST)


def mpi_communicator(comm):
    """mpi4py's communicator of what a caller gives: of mpi4py itself, or of ASE (`ase.parallel.world`, parts of it).

    Returns
    -------
    mpi4py.MPI.Comm or None
        None for ASE's stand-in for the only process of a run.

    Raises
    ------
    HostError
        ASE was imported before mpi4py and takes every rank for the only one.
    TypeError
        For anything else.
    """
    from ase.parallel import MPI as Proxy
    from ase.parallel import DummyMPI

    inner = comm
    if isinstance(inner, Proxy):
        _ = inner.size  # it looks for MPI when it is first asked
        inner = inner.comm
    if isinstance(inner, DummyMPI):
        if (expected := launched_ranks()) > 1:
            raise HostError(f"comm = {comm!r} has one rank, but the MPI launcher started {expected}: ASE looks whether mpi4py "
                            "is there when its communicator is first used; write `from mpi4py import MPI` before `import ase`, "
                            "or give comm=MPI.COMM_WORLD")
        return None
    from mpi4py import MPI

    inner = getattr(inner, "comm", inner)
    if not isinstance(inner, MPI.Comm):
        raise TypeError(f"comm = {comm!r} is of type {type(comm).__name__}: expected a communicator of mpi4py, such as "
                        "MPI.COMM_WORLD, or ase.parallel.world on top of mpi4py")
    return inner


def _named(name: str) -> Channel:
    from mpi4py import MPI

    return Channel(getattr(MPI, name))


_duplicates = None


def _own_duplicate(comm):
    """One duplicate and its `Ranks` per communicator, however many potentials there are: MPI has a few thousand only."""
    from mpi4py import MPI

    global _duplicates
    if _duplicates is None:
        _duplicates = MPI.Comm.Create_keyval()
    own = comm.Get_attr(_duplicates)
    if own is None:
        own = comm.Dup()
        own = own, Ranks(own)
        comm.Set_attr(_duplicates, own)
    return own
