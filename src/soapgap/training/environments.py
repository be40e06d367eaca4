"""Passes over the data before the fit: shortest distances, and the environments to choose sparse points from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from soapgap.errors import InputError
from soapgap.neighbours import NeighbourArrays, neighbour_arrays
from soapgap.training.dataset import Structure
from soapgap.training.ordered_map import ordered_map

OVERLAP = 0.1  # Angstrom: two atoms nearer than this are a mistake in the data
POOL_BYTES = 512 * 2**20


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


def pool_sizes(structures: Sequence[Structure], centres: Sequence[str], n_features: Sequence[int],
               n_sparse: Sequence[int]) -> list[tuple[int, int]]:
    """For every SOAP term, how many environments there are and how many of them are kept to choose from.

    All of them, unless their features would fill more than 512 MB per term; then as many as fit (never fewer than twice
    the sparse points), drawn at random.
    """
    counts: dict[str, int] = {}
    for structure in structures:
        for symbol in structure.symbols:
            counts[symbol] = counts.get(symbol, 0) + 1
    sizes = []
    for centre, d, wanted in zip(centres, n_features, n_sparse, strict=True):
        n = counts.get(centre, 0)
        sizes.append((n, min(n, max(POOL_BYTES // (8 * d), 2 * wanted))))
    return sizes


def collect_features(evaluators: Sequence, structures: Sequence[Structure], term: int, centre: str, cutoff: float,
                     species: Sequence[str], sizes: tuple[int, int], seed, advance) -> np.ndarray:
    """Features of the environments of one centre species, in the order of the data.

    Parameters
    ----------
    evaluators : one per thread, with SOAP term number `term`
    sizes : number of environments, and how many of them to keep (`pool_sizes`)
    seed : for the draw, if not all are kept
    advance : called with 1 after each structure

    Returns
    -------
    features : (kept, d)
    """
    total, kept = sizes
    chosen = np.arange(total)
    if kept < total:
        chosen = np.sort(np.random.default_rng(seed).choice(total, kept, replace=False))
    pool = np.empty((kept, evaluators[0].n_features(term)))

    def features(evaluator, structure: Structure) -> np.ndarray:
        if centre not in structure.symbols:
            return np.empty((0, pool.shape[1]))
        return evaluator.features(term, neighbours_of(structure, cutoff, species))

    first = filled = 0
    for rows in ordered_map(features, structures, evaluators):
        last = np.searchsorted(chosen, first + len(rows))
        pool[filled:last] = rows[chosen[filled:last] - first]
        first, filled = first + len(rows), last
        advance(1)
    return pool
