"""What a centre costs, counted, so that every run on every machine divides atoms in the same way."""

import numpy as np

__all__ = ["CostModel"]


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
            seen = (term.cutoff / self._cutoff) ** 3 / len(self._species)  # the part of all neighbours, for each species
            for symbol, cost in term.costs().items():
                centre = self._species.index(symbol)
                self._centre[centre] += cost.centre
                self._neighbour[centre] += seen * cost.neighbour
                self._triplet[centre] += seen**2 * cost.triplet

    def __call__(self, species: np.ndarray, n_neighbours: np.ndarray | float) -> np.ndarray:
        """Cost of centres by the index of their species and their number of neighbours; shape of `species`."""
        k = n_neighbours
        return self._centre[species] + k * self._neighbour[species] + 0.5 * k * (k - 1.0) * self._triplet[species]
