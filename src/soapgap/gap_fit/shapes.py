"""What gap_fit and we call the same in each kind of term."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ase.data import atomic_numbers

Species = tuple[str, ...]
_THETAS = ("theta_uniform", "theta_fac", "theta_file")
_TRIPLETS = {"random": "random", "uniform": "uniform", "covariance": "cholesky", "file": "file", "none": "all"}


@dataclass(frozen=True)
class Shape:
    """One of our kinds of terms, in gap_fit's words.

    Attributes
    ----------
    n_centres, n_others : int
        How many of the species of a kernel have a place of their own, and how many can be exchanged.
    scales : tuple of str
        Its keys for length scales, or for the exponent.
    n_components : int
        Of the length scales.
    methods : dict of str to str
        gap_fit's names of the ways to choose sparse points, and ours.
    """

    n_centres: int
    n_others: int
    scales: tuple[str, ...]
    n_components: int
    methods: dict[str, str]

    @property
    def n_species(self) -> int:
        """How many species a kernel has."""
        return self.n_centres + self.n_others

    def ordered(self, symbols: Sequence[str]) -> Species:
        """The species of a kernel, those that can be exchanged by atomic number."""
        return (*symbols[:self.n_centres], *_sorted(symbols[self.n_centres:]))

    def choices(self, species: Sequence[str]) -> list[Species]:
        """All choices of centres, pairs or triplets of these species, in gap_fit's order."""
        others = [_sorted(group) for group in combinations_with_replacement(species, self.n_others)]
        return [(centre, *group) for centre in species for group in others] if self.n_centres else others


def _sorted(symbols: Iterable[str]) -> Species:
    return tuple(sorted(symbols, key=atomic_numbers.__getitem__))


#: By our name of the kind.
SHAPES = {
    "soap": Shape(1, 0, ("zeta",), 0, {"random": "random", "cur_points": "cur", "covariance": "cholesky", "file": "file",
                                       "index_file": "index_file", "none": "all"}),
    "distance_2b": Shape(0, 2, _THETAS, 1, {"random": "random", "uniform": "uniform", "file": "file", "none": "all"}),
    "angle_3b": Shape(1, 2, _THETAS, 3, _TRIPLETS),
    "distance_3b": Shape(0, 3, _THETAS, 3, _TRIPLETS),
}
