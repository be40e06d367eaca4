"""Neighbours of a frame, made once for all who need them, and a pass over the data before the fit: shortest distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np

from soapgap.data.dataset import Dataset, Structure
from soapgap.errors import InputError
from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays
from soapgap.neighbours.shared import SharedLists

OVERLAP = 0.1  # Angstrom: two atoms nearer than this are a mistake in the data
POOL_BYTES = 512 * 2**20  # for the features of environments that sparse points are chosen from
LIST_BYTES = 256 * 2**20  # for the neighbour lists of the training data, 36 bytes a pair


def neighbours_of(structure: Structure, cutoff: float, species: Sequence[str]) -> NeighbourArrays:
    """Neighbour list of a frame, which must not be changed: others may have the same (`with_lists`).

    Parameters
    ----------
    structure : Structure
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
        As `neighbour_arrays`; the message names the frame.
    """
    find = neighbour_arrays if structure.lists is None else structure.lists.find
    try:
        return find(structure.atoms, cutoff, species)
    except InputError as error:
        raise InputError(f"{structure.where}: {error}") from None


def with_lists(data: Dataset, cutoff: float, species: Sequence[str], n_bytes: int = LIST_BYTES) -> Dataset:
    """The same data, whose neighbour lists are made once and kept as long as these structures are.

    Parameters
    ----------
    data : Dataset
        If its lists are of these species and this cutoff, it is returned as it is.
    cutoff : float
        The largest that is expected, Angstrom.
    species : sequence of str
        Chemical symbols in the model's order.
    n_bytes : int
        What all lists may take together; those that do not fit are made again whenever they are needed.

    Returns
    -------
    Dataset
    """
    before = data.structures[0].lists if data.structures else None
    if before is not None and (before.cutoff, before.species) == (cutoff, tuple(species)):
        return data
    lists = SharedLists([structure.atoms for structure in data.structures], cutoff, species, n_bytes)
    return replace(data, structures=tuple(replace(structure, lists=lists) for structure in data.structures))


def shortest_distances(structures: Sequence[Structure], cutoff: float, species: Sequence[str]) -> dict:
    """Shortest distance (Angstrom) of every pair of species that occurs within the cutoff.

    Raises
    ------
    InputError
        Two atoms lie on one another (nearer than 0.1 Angstrom).
    """
    n_species = len(species)
    table = np.full((n_species, n_species), np.inf)
    for structure in structures:
        pairs = neighbours_of(structure, cutoff, species)
        if len(pairs.vectors) == 0:
            continue
        r = np.linalg.norm(pairs.vectors, axis=1)
        if r.min() < OVERLAP:
            k = int(np.argmin(r))
            i = int(np.searchsorted(pairs.offsets, k, side="right")) - 1
            raise InputError(f"{structure.where}: atoms {i} and {pairs.neighbour_atom[k]} are {r[k]:.3g} A apart; "
                             "correct or remove the frame")
        centre = np.repeat(pairs.centre_species, np.diff(pairs.offsets))
        np.minimum.at(table, (centre, pairs.neighbour_species), r)
    table = np.minimum(table, table.T)
    found = {}
    for (i, first), (j, second) in combinations_with_replacement(enumerate(species), 2):
        if np.isfinite(table[i, j]):
            found[first, second] = float(table[i, j])
    return found
