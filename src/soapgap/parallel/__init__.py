"""One structure, or a batch of them, over the MPI ranks of a run.

`ParallelPotential` has the interface of `soapgap.Potential`. Positions are known to every rank; atoms, their neighbour lists
and their evaluation are shared out. MPI (mpi4py) is imported only where a communicator is in use.
"""

from importlib import import_module

__all__ = ["ParallelPotential"]


def __getattr__(name):
    # On first use: hosts import this package for the one case in which they run on several ranks.
    if name in __all__:
        return getattr(import_module("soapgap.parallel.potential"), name)
    raise AttributeError(f"module 'soapgap.parallel' has no attribute {name!r}")
