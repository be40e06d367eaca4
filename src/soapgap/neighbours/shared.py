"""One neighbour list for each of several structures, made once and shared by all that look at its pairs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays

__all__ = ["SharedLists", "within"]


def within(neighbours: NeighbourArrays, cutoff: float) -> NeighbourArrays:
    """The pairs of a list that are within a cutoff, in their order: the list that a search with this cutoff finds.

    Parameters
    ----------
    neighbours : NeighbourArrays
        Of a larger cutoff.
    cutoff : float
        Angstrom.

    Returns
    -------
    NeighbourArrays
    """
    near = np.flatnonzero(np.einsum("ij,ij->i", neighbours.vectors, neighbours.vectors) <= cutoff**2)
    if len(near) == len(neighbours.vectors):
        return neighbours
    return replace(neighbours, offsets=np.searchsorted(near, neighbours.offsets),
                   neighbour_atom=neighbours.neighbour_atom[near], neighbour_species=neighbours.neighbour_species[near],
                   vectors=neighbours.vectors[near], shift=None if neighbours.shift is None else neighbours.shift[near])


class SharedLists:
    """The neighbour lists of structures that do not change, kept while they fit into a given amount of memory.

    A list is made when it is first asked for, with the largest cutoff, and cut down for those who want less. From the first
    one that does not fit, no more are kept: those are made whenever they are wanted. Structures are gone through in order,
    again and again, so that dropping older ones would only mean that none is ever found. Threads may ask at the same time.

    Parameters
    ----------
    structures : iterable of ase.Atoms
        The objects themselves tell them apart: a copy that is displaced is another structure, whose list is not kept.
    cutoff : float
        The largest cutoff that is expected, Angstrom. If a larger one is asked for, the list is made once more.
    species : sequence of str
        Chemical symbols in the model's order.
    n_bytes : int
        What all lists may take together.
    """

    def __init__(self, structures: Iterable[Atoms], cutoff: float, species: Sequence[str], n_bytes: int) -> None:
        self.cutoff, self.species, self.n_bytes = cutoff, tuple(species), n_bytes
        self._structures = {id(atoms): atoms for atoms in structures}  # held, so that no other object gets their numbers
        self._kept: dict[int, tuple[float, NeighbourArrays]] = {}
        self._held, self._full, self._lock = 0, False, threading.Lock()

    def find(self, atoms: Atoms, cutoff: float, species: Sequence[str]) -> NeighbourArrays:
        """The list of a structure, which others have, too: it must not be changed.

        Parameters
        ----------
        atoms : ase.Atoms
        cutoff : float
            Angstrom.
        species : sequence of str
            Chemical symbols in the model's order.

        Returns
        -------
        NeighbourArrays

        Raises
        ------
        InputError
            As `neighbour_arrays`.
        """
        key = id(atoms)
        if self._structures.get(key) is not atoms or tuple(species) != self.species:
            return neighbour_arrays(atoms, cutoff, species)
        reach, found = self._kept.get(key, (0.0, None))
        if found is None or reach < cutoff:
            reach = cutoff if self._full else max(cutoff, self.cutoff)
            found = replace(neighbour_arrays(atoms, reach, species), shift=None)
            self._keep(key, reach, found)
        return found if reach == cutoff else within(found, cutoff)

    def _keep(self, key: int, reach: float, made: NeighbourArrays) -> None:
        with self._lock:
            before = self._kept.get(key)
            if self._full or (before is not None and before[0] >= reach):  # the second: another thread was faster
                return
            held = self._held + _n_bytes(made) - (0 if before is None else _n_bytes(before[1]))
            if held > self.n_bytes:
                self._full = True
                return
            self._kept[key], self._held = (reach, made), held


def _n_bytes(arrays: NeighbourArrays) -> int:
    return sum(x.nbytes for x in (arrays.centre_atom, arrays.centre_species, arrays.offsets, arrays.neighbour_atom,
                                  arrays.neighbour_species, arrays.vectors))
