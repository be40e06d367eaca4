"""Short-range repulsion that every model has unless the user refuses it: ZBL, switched off before the data begin.

    V_ZBL(r) = Z_1 Z_2 e^2 / (4 pi eps_0 r) phi(r/a),    a = 0.46850 A / (Z_1^0.23 + Z_2^0.23)
    phi(x)   = 0.18175 e^(-3.19980 x) + 0.50986 e^(-0.94229 x) + 0.28022 e^(-0.40290 x) + 0.02817 e^(-0.20162 x)

(J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Matter, 1985), times the switch
S = 1 - 10 t^3 + 15 t^4 - 6 t^5, t = (r - inner)/(outer - inner), which is twice continuously differentiable. `outer` is
0.9 times the shortest training distance of the pair of species, so the baseline vanishes on every training frame;
pairs never seen get 0.7 times the sum of their covalent radii. `inner` is 0.6 times `outer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from soapgap.config.baseline import BaselineConfig
from soapgap.data.observables import Outputs, present, values_of
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.learn.predict import model_outputs
from soapgap.model import Model, PairTerm, RadialTable
from soapgap.model.external import External
from soapgap.neighbours.arrays import NeighbourArrays
from soapgap.radial.table import radial_table

COULOMB = 14.3996454784  # e^2 / (4 pi eps_0) in eV Angstrom, CODATA 2018
AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
RATES = np.array([3.19980, 0.94229, 0.40290, 0.20162])
TABLE_START = 0.1
DIMER_BOX = 40.0  # Angstrom: for potentials that want periodicity, a cube in which two atoms are nearly alone
DATA_FRACTION, COVALENT_FRACTION, INNER_FRACTION = 0.9, 0.7, 0.6

Pair = tuple[str, str]


def species_pairs(species: Sequence[str]) -> list[Pair]:
    """All unordered pairs of species, in the order of the list."""
    return list(combinations_with_replacement(species, 2))


def zbl(r: np.ndarray, z1: int, z2: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V_ZBL and its first two derivatives (eV, eV/A, eV/A^2) at the distances r (A)."""
    rates = RATES * (z1**0.23 + z2**0.23) / 0.46850
    terms = AMPLITUDES[:, None] * np.exp(-rates[:, None] * r)
    phi, phi1, phi2 = terms.sum(0), -(rates @ terms), rates**2 @ terms
    charge = COULOMB * z1 * z2
    return (
        charge * phi / r,
        charge * (phi1 / r - phi / r**2),
        charge * (phi2 / r - 2.0 * phi1 / r**2 + 2.0 * phi / r**3),
    )


def switch(r: np.ndarray, inner: float, outer: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1 below inner, 0 above outer, a quintic between, with its first two derivatives (1, 1/A, 1/A^2)."""
    width = outer - inner
    t = np.clip((r - inner) / width, 0.0, 1.0)
    return (
        (1.0 - t) ** 3 * (1.0 + 3.0 * t + 6.0 * t * t),
        -30.0 * (t * (1.0 - t)) ** 2 / width,
        -60.0 * t * (1.0 - t) * (1.0 - 2.0 * t) / width**2,
    )


def zbl_term(pair: Pair, inner: float, outer: float) -> PairTerm:
    """The baseline of one pair of species; the table holds half of V_ZBL S, since both atoms count it.

    V_ZBL spans four decades, so every octave of distances is a table of its own, accurate relative to its own size.
    Below 0.1 A the evaluator continues the table by a straight line.
    """
    z1, z2 = (atomic_numbers[symbol] for symbol in pair)

    def half(r: np.ndarray, low: float, high: float) -> np.ndarray:
        v, v1, v2 = zbl(r, z1, z2)
        s, s1, s2 = switch(r, inner, outer) if low >= inner else (1.0, 0.0, 0.0)
        return 0.5 * np.stack([s * v, s1 * v + s * v1, s2 * v + 2.0 * s1 * v1 + s * v2])[:, :, None]

    breaks = [min(TABLE_START, 0.5 * inner)]
    while 2.0 * breaks[-1] < inner:
        breaks.append(2.0 * breaks[-1])
    breaks += [inner, outer]
    pieces = [radial_table(half, [low, high]) for low, high in zip(breaks[:-1], breaks[1:], strict=True)]
    table = RadialTable([piece.segments[0] for piece in pieces], np.concatenate([piece.values for piece in pieces]))
    return PairTerm(pair, outer, table, {"kind": "zbl", "inner": inner, "outer": outer}, {})


def switch_radii(config: BaselineConfig, species: Sequence[str], shortest: Mapping[Pair, float]) -> dict[Pair, tuple]:
    """Inner and outer radius (A) of every pair of species.

    Parameters
    ----------
    shortest : dict of Pair to float
        Shortest training distance of the pairs that occur within the cutoff (A).

    Raises
    ------
    InputError
        The configuration names a pair that the data do not have, or one pair twice.
    """
    given = {}
    for name, radii in config.pairs.items():
        symbols = name.split("-")
        if len(symbols) != 2 or any(symbol not in species for symbol in symbols):
            expected = ", ".join("-".join(pair) for pair in species_pairs(species))
            raise InputError(f'baseline.pairs."{name}": no such pair of species; expected one of {expected}')
        if frozenset(symbols) in given:
            raise InputError(f'baseline.pairs."{name}": the pair is there twice, as "{"-".join(reversed(symbols))}" too; '
                             "keep one of them")
        given[frozenset(symbols)] = radii
    result = {}
    for pair in species_pairs(species):
        radii = given.get(frozenset(pair))
        if radii is not None:
            outer = radii.outer
        elif pair in shortest:
            outer = DATA_FRACTION * shortest[pair]
        else:
            outer = COVALENT_FRACTION * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
        inner = radii.inner if radii is not None and radii.inner is not None else INNER_FRACTION * outer
        result[pair] = (float(inner), float(outer))
    return result


def baseline_terms(config: BaselineConfig, species: Sequence[str], shortest: Mapping[Pair, float]) -> list[PairTerm]:
    """The pair terms of the baseline; none if the user chose none."""
    if config.kind == "none":
        return []
    return [zbl_term(pair, *radii) for pair, radii in switch_radii(config, species, shortest).items()]


@dataclass(frozen=True)
class BaselineValues:
    """What the baseline alone gives for one structure.

    Attributes
    ----------
    energy : float
        eV.
    forces : ndarray or float
        (n_atoms, 3), or 0.0; eV/Angstrom.
    known : mapping of str to ndarray
        Of every observable that the structure has, (n_rows,), in the units of the observations; empty without a baseline.
    """

    energy: float = 0.0
    forces: np.ndarray | float = 0.0
    known: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __add__(self, other: BaselineValues) -> BaselineValues:
        known = {name: self.known.get(name, 0.0) + other.known.get(name, 0.0) for name in {**self.known, **other.known}}
        return BaselineValues(self.energy + other.energy, self.forces + other.forces, known)


NO_BASELINE = BaselineValues()


def baseline_values(terms: Sequence[PairTerm], species: Sequence[str], structures: Sequence[Structure],
                    delta: float = 0.01) -> list[BaselineValues]:
    """What the terms of the baseline alone give for every structure.

    Parameters
    ----------
    terms : sequence of PairTerm
        Terms of the model that are not fitted.
    species : sequence of str
        Chemical symbols of the model.
    structures : sequence of Structure
        The data.
    delta : float
        Displacement for second derivatives (Angstrom).
    """
    if not terms:
        return [NO_BASELINE] * len(structures)
    evaluator = Model(list(species), dict.fromkeys(species, 0.0), list(terms), {}).evaluator(1)
    return [values_at(s, lambda moved, needs: model_outputs(evaluator, moved, needs), delta) for s in structures]


def values_at(structure: Structure, source: Callable[[Structure, set[str]], Outputs], delta: float) -> BaselineValues:
    """Energy, forces and all observables of one structure by a source of outputs, which is asked once for its own positions."""
    outputs = source(structure, {"gradient"}.union(*(o.needs for o in present(structure))))
    known = values_of(lambda moved, needs: outputs if moved is structure else source(moved, needs), structure, delta)
    return BaselineValues(float(outputs.energy), -outputs.gradient.reshape(-1, 3), known)


def dimer_scan(model: Model, shortest: Mapping[Pair, float],
               n_points: int = 200) -> dict[Pair, tuple[float, float] | None]:
    """Look for attraction below the data: the whole model for two atoms alone, with its external potentials.

    Parameters
    ----------
    shortest : dict of Pair to float
        Shortest training distance of the pairs of species (A); for pairs never seen, the baseline's outer radius.

    Returns
    -------
    For each pair the first and last distance (A) between 0.2 A and `shortest` at which dE/dr > 0, or None if the model
    is repulsive everywhere there. Distances that an external potential refuses are left out; one that refuses all of them is
    left out itself (`dimer_remark` tells beforehand).
    """
    evaluator, external = model.evaluator(), External(model.external, model.species)
    result = {}
    for pair, end in shortest.items():
        distances = np.linspace(0.2, end, n_points)
        i, j = (model.species.index(symbol) for symbol in pair)
        slopes = np.empty(n_points)
        for k, r in enumerate(distances):
            dimer = NeighbourArrays(
                np.arange(2), np.array([i, j], np.int32), np.arange(3), np.array([1, 0]), np.array([j, i], np.int32),
                np.array([[0.0, 0.0, r], [0.0, 0.0, -r]]), 2,
            )
            _, gradients = evaluator.evaluate(dimer)
            slopes[k] = gradients[0, 2] - gradients[1, 2]
        slopes += external_slopes(external, pair, distances)
        bad = distances[slopes > 0.0]
        result[pair] = (float(bad[0]), float(bad[-1])) if len(bad) else None
    return result


def _pair_of_atoms(pair: Pair, r: float, periodic: bool) -> Atoms:
    atoms = Atoms(list(pair), [[0.0, 0.0, 0.0], [0.0, 0.0, r]])
    if periodic:
        atoms.set_cell([DIMER_BOX] * 3)
        atoms.pbc = True
    return atoms


def external_slopes(external: External, pair: Pair, distances: np.ndarray) -> np.ndarray | float:
    """dE/dr (eV/Angstrom) of external potentials for two atoms, alone if they allow it, else in a large periodic cube.

    NaN where they refuse, 0 if there are none or if they refuse all distances.
    """
    if not external:
        return 0.0
    for periodic in (False, True):
        slopes = np.full(len(distances), np.nan)
        for k, r in enumerate(distances):
            try:
                slopes[k] = -external.compute(_pair_of_atoms(pair, r, periodic)).forces[1, 2]
            except InputError:
                continue
        if not np.isnan(slopes).all():
            return slopes
    return 0.0


def dimer_remark(external: External, species: Sequence[str]) -> str | None:
    """Why the dimer scan must do without the external potentials, None if it need not."""
    for pair in species_pairs(species) if external else ():
        try:
            try:
                external.compute(_pair_of_atoms(pair, 3.0, False))
            except InputError:
                external.compute(_pair_of_atoms(pair, 3.0, True))
        except InputError as error:
            return f"the dimer scan of {'-'.join(pair)} will be without the external potentials: {error}"
    return None
