"""What a centre costs, counted, so that every run on every machine divides atoms in the same way."""

import numpy as np

from soapgap.model import PairTerm, SoapTerm, TripletTerm

__all__ = ["CostModel"]

# All in units of one floating-point operation of the kernel's matrix products, the fastest arithmetic there is. Measured once
# (docs/parallel.md has the measurement): the ratios are those of the loops, and hardly depend on the machine.
_PER_NEIGHBOUR = 4400.0  # sorting, harmonics, table lookup; forward and back
_PER_COEFFICIENT = 17.0  # one neighbour's part of one c_nlm, forward and back
_PER_PRODUCT = 25.0  # one c_nlm c_n'lm of the power spectrum, forward and back
_PER_PAIR = 1500.0  # one neighbour of a pair term; an embedding term sees it twice, forward and back
_PER_SPLINE = 6000.0  # one triplet by its spline
_PER_EXPONENTIAL = 400.0  # one triplet, one sparse point, one permutation


class CostModel:
    """Cost of a centre with k neighbours: a_s + b_s k + c_s k (k - 1) / 2 for its species s.

    Parameters
    ----------
    model : soapgap.Model

    Notes
    -----
    k counts all neighbours within the model's cutoff. A term with a shorter one, or that does not see all species, has the part
    of them that a uniform mixture would give it.
    """

    def __init__(self, model) -> None:
        self._species = list(model.species)
        self._cutoff = max((term.cutoff for term in model.terms), default=1.0)
        self._centre, self._neighbour, self._triplet = np.zeros((3, len(self._species)))
        self._centre += 1.0  # a model without terms also shares its atoms out
        for term in model.terms:
            if isinstance(term, SoapTerm):
                self._add_soap(term)
            elif isinstance(term, TripletTerm):
                self._add_triplet(term)
            else:
                self._add_pair(term)

    def __call__(self, species: np.ndarray, n_neighbours: np.ndarray | float) -> np.ndarray:
        """Cost of centres by the index of their species and their number of neighbours; shape of `species`."""
        k = n_neighbours
        return self._centre[species] + k * self._neighbour[species] + 0.5 * k * (k - 1.0) * self._triplet[species]

    def _seen(self, term, neighbours) -> float:
        """The part of all neighbours that a term sees."""
        return (term.cutoff / self._cutoff) ** 3 * len(set(neighbours)) / len(self._species)

    def _add_soap(self, term: SoapTerm) -> None:
        centre, used = self._species.index(term.centre), term.reduced or term
        functions = term.reduced.n_radial if term.reduced else [term.n_max] * (term.l_max + 1)
        width = 2.0 * np.arange(len(functions)) + 1.0
        listed = None if term.channels is None else term.channels.pairs
        if listed is None:
            n = term.n_channels * np.array(functions, dtype=float)
            products = float(width @ (0.5 * n * (n + 1.0)))
        else:
            products = float(width.sum() * len(listed))
        self._centre[centre] += used.flops + _PER_PRODUCT * products
        self._neighbour[centre] += self._seen(term, term.neighbours) * (_PER_NEIGHBOUR
                                                                         + _PER_COEFFICIENT * float(width @ functions))

    def _add_pair(self, term) -> None:
        if isinstance(term, PairTerm):
            first, second = (self._species.index(symbol) for symbol in term.species)
            for centre in {first, second}:
                self._neighbour[centre] += self._seen(term, term.species[:1]) * _PER_PAIR
        else:
            self._neighbour[self._species.index(term.centre)] += self._seen(term, term.densities) * 2.0 * _PER_PAIR

    def _add_triplet(self, term: TripletTerm) -> None:
        n_species, like = len(self._species), term.neighbours[0] == term.neighbours[1]
        share = (term.cutoff / self._cutoff) ** 6 * (1.0 if like else 2.0) / n_species**2
        cost = _PER_SPLINE if term.grid else _PER_EXPONENTIAL * len(term.sparse_points) * len(term.permutations)
        self._triplet[self._species.index(term.centre)] += share * cost
