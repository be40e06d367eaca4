"""Triplets of atoms in a structure, and what GAP's three-body descriptors make of them.

    angle_3b     a centre i and two neighbours j, k:    x = (r_ij + r_ik, (r_ij - r_ik)^2, r_jk),   f = f_c(r_ij) f_c(r_ik)
    distance_3b  three atoms a, b, c that hang together: x = (r_ab, r_ac, r_bc)

(A. P. Bartok and G. Csanyi, Int. J. Quantum Chem. 115, 1051 (2015)). The weight f of three atoms that hang together is
the sum over the connected graphs on them, a bond counting f_c and a missing one 1 - f_c:

    f = f_ab f_ac + f_ab f_bc + f_ac f_bc - 2 f_ab f_ac f_bc.

It is shared out among centres: f_c(r_1) f_c(r_2) (1 - 2/3 f_c(r_12)) for each atom with both others within the cutoff, so
that both kinds are sums over a centre and two of its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.radial.cutoff import cutoff_function

CHUNK_TRIPLETS = 65536
#: Which atoms of a, b, c the distances of a distance_3b lie between.
_BONDS = ((0, 1), (0, 2), (1, 2))
#: Angstrom. Distances that differ by less are equal when the longest one is looked for.
_TIE = 1e-6


@dataclass(frozen=True)
class View:
    """One choice of the centre among the species of a triplet.

    Attributes
    ----------
    centre : str
        Chemical symbol.
    neighbours : tuple of str
        Of the first and the second neighbour.
    columns : ndarray
        For distance_3b, x[columns] = (r_1, r_2, r_12) as seen from this centre.
    permutations : ndarray, shape (n_permutations, 3)
        Of the components in the order of `columns`.
    """

    centre: str
    neighbours: tuple[str, str]
    columns: np.ndarray
    permutations: np.ndarray


@dataclass(frozen=True)
class TripletKind:
    """Which triplets a kernel is about, and their descriptors.

    Attributes
    ----------
    angle : bool
        angle_3b, otherwise distance_3b.
    species : tuple of str
        Centre and neighbours (angle_3b), or the three species in the order that x has them (distance_3b).
    cutoff, cutoff_transition_width : float
        Angstrom.
    """

    angle: bool
    species: tuple[str, str, str]
    cutoff: float
    cutoff_transition_width: float

    @property
    def count(self) -> float:
        """How often a centre and two neighbours count: GAP sums angle_3b over both orders of the neighbours."""
        return 2.0 if self.angle else 1.0

    @property
    def third_cutoff(self) -> float:
        """b in f_c(r_1) f_c(r_2) (1 - b f_c(r_12))."""
        return 0.0 if self.angle else 2.0 / 3.0

    @property
    def permutations(self) -> np.ndarray:
        """Permutations of x that exchange equal atoms, (n_permutations, 3); angle_3b is symmetric by itself."""
        if self.angle:
            return np.arange(3)[None]
        found = []
        for order in permutations(range(3)):
            if all(self.species[a] == self.species[b] for a, b in enumerate(order)):
                found.append([_BONDS.index(tuple(sorted((order[a], order[b])))) for a, b in _BONDS])
        return np.array(found)

    @property
    def views(self) -> list[View]:
        """The centres from which the triplets are seen: one for angle_3b, one per different species for distance_3b."""
        if self.angle:
            return [View(self.species[0], self.species[1:], np.arange(3), self.permutations)]
        found = []
        for p, centre in enumerate(self.species):
            if centre in self.species[:p]:
                continue
            q, s = (other for other in range(3) if other != p)
            columns = np.array([_BONDS.index(tuple(sorted(bond))) for bond in ((p, q), (p, s), (q, s))])
            seen = np.argsort(columns)[self.permutations[:, columns]]
            found.append(View(centre, (self.species[q], self.species[s]), columns, seen))
        return found

    def cutoffs(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f_c and its derivative (1/Angstrom) at the distances r."""
        return cutoff_function(r, self.cutoff, self.cutoff_transition_width)[:2]

    def candidates(self, neighbours: NeighbourArrays, species: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """All triplets as a list to choose sparse points from, in chunks.

        Three atoms of a distance_3b appear once only: where the centre lies opposite to the longest distance. Among equal
        points (those that differ by an exchange of equal atoms) the first in lexicographic order stands for all.

        Yields
        ------
        points : ndarray, shape (n, 4)
            The weight f and the descriptor x.
        valid : ndarray, shape (n,)
            False for the other appearances of three atoms.
        centres : ndarray, shape (n,)
            The atoms that they are seen from.
        """
        order = self.permutations
        for view in self.views:
            back = np.argsort(view.columns)
            for triplets in triplet_chunks(neighbours, species, view, self.cutoff):
                r = triplets.distances
                f, _ = self.cutoffs(r)
                if self.angle:
                    weight, x, valid = f[:, 0] * f[:, 1], angle_coordinates(r), np.ones(len(r), bool)
                else:
                    weight = f[:, 0] * f[:, 1] + (f[:, 0] + f[:, 1] - 2.0 * f[:, 0] * f[:, 1]) * f[:, 2]
                    x, valid = _smallest(r[:, back], order), r[:, 2] >= np.maximum(r[:, 0], r[:, 1]) - _TIE
                yield np.column_stack([weight, x]), valid, triplets.atoms[0]


def angle_coordinates(r: np.ndarray) -> np.ndarray:
    """x of angle_3b, (n, 3) in A, A^2, A, from r_1, r_2, r_12."""
    return np.column_stack([r[:, 0] + r[:, 1], (r[:, 0] - r[:, 1]) ** 2, r[:, 2]])


def _smallest(x: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Of the permuted forms of each row the first in lexicographic order."""
    best = x
    for order in orders[1:]:
        trial = x[:, order]
        less = trial[:, 2] < best[:, 2]
        for column in (1, 0):
            less = (trial[:, column] < best[:, column]) | ((trial[:, column] == best[:, column]) & less)
        best = np.where(less[:, None], trial, best)
    return best


@dataclass(frozen=True)
class Triplets:
    """Centres and two of their neighbours.

    Attributes
    ----------
    atoms : ndarray, shape (3, n)
        Centre, first and second neighbour (the atoms that they are images of).
    vectors : ndarray, shape (3, n, 3)
        Centre to first, centre to second, first to second, Angstrom.
    """

    atoms: np.ndarray
    vectors: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """(n, 3) r_1, r_2, r_12."""
        return np.linalg.norm(self.vectors, axis=2).T


def triplet_chunks(neighbours: NeighbourArrays, species: Sequence[str], view: View, cutoff: float,
                   size: int = CHUNK_TRIPLETS) -> Iterator[Triplets]:
    """Every centre of a species with every two of its neighbours of two species, each unordered pair once.

    Yields
    ------
    Triplets
        About `size` of them at a time (more by at most the number of one centre's neighbours), sorted by centre.
    """
    rows = np.repeat(np.arange(len(neighbours.centre_atom)), np.diff(neighbours.offsets))
    near = np.einsum("ij,ij->i", neighbours.vectors, neighbours.vectors) < cutoff**2
    near &= (neighbours.centre_species == species.index(view.centre))[rows]
    one, two = (np.flatnonzero(near & (neighbours.neighbour_species == species.index(s))) for s in view.neighbours)
    begin = np.searchsorted(rows[two], rows[one], "left")
    if view.neighbours[0] == view.neighbours[1]:
        begin = np.arange(1, len(one) + 1)
    partners = np.searchsorted(rows[two], rows[one], "right") - begin
    ends = np.cumsum(partners)
    start = 0
    while start < len(one):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + size, "right")))
        n = partners[start:stop]
        if n.sum():
            first = np.repeat(np.arange(start, stop), n)
            second = begin[first] + np.arange(len(first)) - np.repeat(np.cumsum(n) - n, n)
            yield _triplets(neighbours, rows, one[first], two[second])
        start = stop


def _triplets(neighbours: NeighbourArrays, rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> Triplets:
    to_first, to_second = neighbours.vectors[first], neighbours.vectors[second]
    atoms = neighbours.centre_atom[rows[first]], neighbours.neighbour_atom[first], neighbours.neighbour_atom[second]
    return Triplets(np.stack(atoms), np.stack([to_first, to_second, to_second - to_first]))


def count_triplets(neighbours: NeighbourArrays, n_species: int, cutoff: float) -> np.ndarray:
    """How many triplets there are, (n_species, n_species, n_species): by centre and two neighbours, each pair once."""
    near = np.einsum("ij,ij->i", neighbours.vectors, neighbours.vectors) < cutoff**2
    n_centres = len(neighbours.centre_atom)
    rows = np.repeat(np.arange(n_centres), np.diff(neighbours.offsets))[near]
    n = np.bincount(rows * n_species + neighbours.neighbour_species[near], minlength=n_centres * n_species)
    n = n.reshape(n_centres, n_species)
    counts = np.zeros((n_species,) * 3, np.int64)
    for centre in range(n_species):
        mine = n[neighbours.centre_species == centre]
        counts[centre] = mine.T @ mine
        counts[centre][np.diag_indices(n_species)] = (mine * (mine - 1) // 2).sum(axis=0)
    return counts
