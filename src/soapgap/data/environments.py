"""Neighbours of a frame, and a pass over the data before the fit: shortest distances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.neighbours.arrays import NeighbourArrays, neighbour_arrays

OVERLAP = 0.1  # Angstrom: two atoms nearer than this are a mistake in the data
POOL_BYTES = 512 * 2**20  # for the features of environments that sparse points are chosen from


def neighbours_of(structure: Structure, cutoff: float, species: Sequence[str]) -> NeighbourArrays:
    """Neighbour list of a frame; errors name the frame."""
    try:
        return neighbour_arrays(structure.atoms, cutoff, species)
    except InputError as error:
        raise InputError(f"{structure.where}: {error}") from None


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
