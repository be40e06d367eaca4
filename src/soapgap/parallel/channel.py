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

__all__ = ["Channel"]

_TIGHT = 1e-3  # seconds of testing without sleep: what follows a message at once is met without delay
_SHORTEST, _LONGEST = 2e-5, 1.5e-4  # seconds of sleep between tests


class Channel:
    """Collective operations with rank 0 as root, on a communicator of soapgap's own.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Its duplicate is used and kept with it, so that no message meets one of the caller's.
    """

    def __init__(self, comm) -> None:
        from mpi4py import MPI

        self.comm = _own_duplicate(comm)
        self.rank, self.size = self.comm.rank, self.comm.size
        self._sum = MPI.SUM

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


_duplicates = None


def _own_duplicate(comm):
    """One duplicate per communicator, however many potentials there are: MPI has a few thousand of them only."""
    from mpi4py import MPI

    global _duplicates
    if _duplicates is None:
        _duplicates = MPI.Comm.Create_keyval()
    own = comm.Get_attr(_duplicates)
    if own is None:
        own = comm.Dup()
        comm.Set_attr(_duplicates, own)
    return own
