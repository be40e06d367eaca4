"""Sparse points of a SOAP kernel among all environments of its centre species, however many there are.

If the features of all environments fit in memory, the points are chosen among them. If not, the features are made twice,
structure by structure. The first time they are summed to X^T X and reduced to a few numbers by which copies are found. Its
eigenvectors give the leverage of every environment the second time ("cur", "leverage"), or the r leading ones replace the
features by r numbers that keep the kernel ("fps", "cholesky"): with P the projection and Q = 1 - P,

    |x . y - P x . P y| <= |Q x| |Q y|,    sum_i |Q x_i|^2 <= t sum_i |x_i|^2,

where r is the largest that fits in memory, but not more than t = 1e-6 ("cholesky": 1e-10) and not less than t = 1e-4 needs
(P x is brought to the length of x again). If not even that fits, the points are chosen from as many environments as do, drawn
at random. The features of the chosen points are those of the environments, not projected ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg.blas import dsyrk

from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.kinds.sparse.select import (
    draw,
    largest,
    leverage_basis,
    principal_basis,
    ridge_basis,
    select,
    unique_rows,
)
from soapgap.kinds.sparse.select_cholesky import polynomial
from soapgap.ordered_map import ordered_map
from soapgap.say import Reporter

#: Bounds of t, the mean |Q x|^2. The residual variances that "cholesky" compares become small, distances of "fps" do not.
TIGHT, LOOSE = {"fps": 1e-6, "cholesky": 1e-10}, 1e-4
BUFFER_ROWS = 1024
N_KEYS = 4


@dataclass(frozen=True)
class Environments:
    """The environments of one centre species in some structures, numbered in the order of the data.

    Attributes
    ----------
    structures : sequence of Structure
        Of the training data.
    numbers : ndarray
        Indices of those that count, ascending.
    centre : str
        Chemical symbol.
    features : callable
        Of a structure, as a function of an evaluator and the structure, (n_centres, n_features).
    evaluators : sequence
        One per thread.
    n_features : int
        d.
    say : Reporter
        For progress.
    """

    structures: Sequence[Structure]
    numbers: np.ndarray
    centre: str
    features: Callable[[object, Structure], np.ndarray]
    evaluators: Sequence
    n_features: int
    say: Reporter

    @cached_property
    def places(self) -> np.ndarray:
        """(n, 2) structure and atom of every environment."""
        found = [np.empty((0, 2), np.int64)]
        for number in self.numbers:
            atoms = np.flatnonzero(np.array(self.structures[number].symbols) == self.centre)
            found.append(np.column_stack([np.full(len(atoms), number), atoms]))
        return np.concatenate(found)

    def __len__(self) -> int:
        return len(self.places)

    def blocks(self, numbers: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Features structure by structure, (n_centres, d), of all structures with such centres or some of them."""
        numbers = np.unique(self.places[:, 0]) if numbers is None else numbers
        with self.say.task(f"environments of {self.centre}", len(numbers)) as task:
            for rows in ordered_map(self.features, (self.structures[k] for k in numbers), self.evaluators):
                yield rows
                task.advance(1)

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """Features of environments, ascending numbers, (len(chosen), d)."""
        taken = np.empty((len(chosen), self.n_features))
        numbers, first = np.unique(self.places[:, 0], return_index=True)
        used = np.unique(self.places[chosen, 0])
        starts = first[np.searchsorted(numbers, used)]
        filled = 0
        for start, rows in zip(starts, self.blocks(used), strict=True):
            last = np.searchsorted(chosen, start + len(rows))
            taken[filled:last] = rows[chosen[filled:last] - start]
            filled = last
        return taken


def environments(evaluators: Sequence, term: int, centre: str, n_features: int, structures: Sequence[Structure],
                 numbers: np.ndarray, cutoff: float, species: Sequence[str], say: Reporter) -> Environments:
    """Those of SOAP term number `term` of the evaluators, within the cutoff (Angstrom)."""

    def features(evaluator, structure: Structure) -> np.ndarray:
        return evaluator.features(term, neighbours_of(structure, cutoff, species))

    return Environments(structures, numbers, centre, features, evaluators, n_features, say)


@dataclass(frozen=True)
class Choice:
    """What to choose.

    Attributes
    ----------
    n_sparse : int
        Number of points, at most that of the environments.
    method : str
        As `sparse_method`.
    zeta : float
        Exponent of the kernel.
    seed : sequence of seeds
    n_bytes : int
        Memory for features, projections or the factor of "cholesky".
    where, of : str
        For messages, such as "terms[0]" and "environments of Si".
    """

    n_sparse: int
    method: str
    zeta: float
    seed: Sequence[int]
    n_bytes: int
    where: str
    of: str


def n_kept(total: int, n_features: int, n_sparse: int, method: str, n_bytes: int) -> int:
    """The features of how many environments are held in memory: all, or as many as fit (twice the sparse points at least)."""
    return total if method == "all" else min(total, max(n_bytes // (8 * n_features), 2 * n_sparse))


def fits_twice(n_features: int, method: str, n_bytes: int) -> bool:
    """Whether X^T X and its eigenvectors fit in memory, and the method needs them."""
    return method in ("cur", "fps", "cholesky", "leverage") and 24 * n_features**2 <= n_bytes


def choose(them: Environments, what: Choice, say: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """Sparse points.

    Returns
    -------
    points : ndarray, shape (n, d)
        n <= n_sparse, no two of them equal.
    origins : ndarray, shape (n, 2)
        Structure and atom of each.
    """
    kept = n_kept(len(them), them.n_features, what.n_sparse, what.method, what.n_bytes)
    if kept < len(them) and fits_twice(them.n_features, what.method, what.n_bytes):
        chosen = _choose_in_two_passes(them, what, say)
        return them.take(chosen), them.places[chosen]
    drawn = np.arange(len(them))
    if kept < len(them):
        say.line(f"{what.where}: sparse points are chosen from {kept} of {len(them)} {what.of}, drawn at random")
        drawn = np.sort(np.random.default_rng([*what.seed, 1]).choice(len(them), kept, replace=False))
    pool = them.take(drawn)
    unique = unique_rows(pool)
    _tell_copies(len(unique), what, say)
    if len(unique) < len(pool):
        pool, drawn = pool[unique], drawn[unique]
    chosen = _select(pool, what, say)
    return pool[chosen], them.places[drawn[chosen]]


def _tell_copies(n_unique: int, what: Choice, say: Reporter) -> None:
    if n_unique < what.n_sparse and what.method != "all":
        say.warning(f"{what.where}: only {n_unique} different {what.of}: n_sparse reduced from {what.n_sparse}")


def _select(pool: np.ndarray, what: Choice, say: Reporter) -> np.ndarray:
    chosen = select(pool, what.n_sparse, what.method, what.seed, polynomial(what.zeta), what.n_bytes)
    if len(chosen) < min(what.n_sparse, len(pool)):
        say.warning(f"{what.where}: {len(chosen)} points span the kernels of all {what.of} to rounding (1e-13 delta^2): "
                    f"n_sparse reduced from {what.n_sparse}")
    return chosen


def _choose_in_two_passes(them: Environments, what: Choice, say: Reporter) -> np.ndarray:
    gram, keys = _survey(them)
    unique = unique_rows(keys)
    _tell_copies(len(unique), what, say)
    if what.n_sparse >= len(unique):
        return unique
    say.line(f"{what.where}: the features of {len(them)} {what.of} are more than {what.n_bytes / 2**20:.0f} MB: made twice")
    rng = np.random.default_rng(what.seed)
    if what.method == "cur":
        scores = _norms(them, leverage_basis(gram))[unique]
        return np.sort(unique[draw(scores / scores.sum(), what.n_sparse, rng)])
    if what.method == "leverage":
        return np.sort(unique[largest(_norms(them, ridge_basis(gram))[unique], what.n_sparse)])
    basis, outside = principal_basis(gram, what.n_bytes // (8 * len(unique)), TIGHT[what.method], LOOSE)
    del gram
    kept = max(what.n_bytes // (8 * basis.shape[1]), 2 * what.n_sparse)
    say.line(f"{what.where}: {what.method} compares {basis.shape[1]} principal components of {them.n_features} features, which "
             f"changes x . y by {outside:.0e} on average")
    if kept < len(unique):
        say.line(f"{what.where}: sparse points are chosen from {kept} of {len(unique)} {what.of}, drawn at random")
        unique = unique[np.sort(np.random.default_rng([*what.seed, 1]).choice(len(unique), kept, replace=False))]
    return unique[_select(_projected(them, basis, unique), what, say)]


def _survey(them: Environments) -> tuple[np.ndarray, np.ndarray]:
    """X^T X of all environments that differ, (d, d), and (n, 4) projections of each on fixed directions.

    What looks like a copy of an earlier one (in the rounded projections) is left out of X^T X.
    """
    d = them.n_features
    directions = np.random.default_rng(20130503).standard_normal((d, N_KEYS))
    directions /= np.linalg.norm(directions, axis=0)
    gram, keys = np.zeros((d, d), order="F"), np.empty((len(them), N_KEYS))
    seen: set[int] = set()
    filled = 0
    for rows in _gathered(them.blocks()):
        here = rows @ directions
        keys[filled:filled + len(rows)] = here
        filled += len(rows)
        names = [hash(key.tobytes()) for key in np.rint(here * 1e9).astype(np.int64)]
        fresh = np.array([not (name in seen or seen.add(name)) for name in names], dtype=bool)
        gram = dsyrk(1.0, rows[fresh].T, beta=1.0, c=gram, overwrite_c=True)
    lower = np.tril_indices(d, -1)
    gram[lower] = gram.T[lower]
    return gram, keys


def _gathered(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of several blocks together, so that the products with them are worth it."""
    waiting: list[np.ndarray] = []
    for rows in blocks:
        waiting.append(rows)
        if sum(map(len, waiting)) >= BUFFER_ROWS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _norms(them: Environments, basis: np.ndarray) -> np.ndarray:
    """|x_i W|^2 of all environments, (n,)."""
    parts = [np.einsum("ij,ij->i", projected, projected) for projected in (rows @ basis for rows in _gathered(them.blocks()))]
    return np.concatenate(parts)


def _projected(them: Environments, basis: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """x_i W of environments, ascending numbers, brought to the length of x_i again, (len(wanted), r)."""
    out = np.empty((len(wanted), basis.shape[1]))
    first = filled = 0
    for rows in _gathered(them.blocks()):
        last = np.searchsorted(wanted, first + len(rows))
        here = rows[wanted[filled:last] - first]
        projected = here @ basis
        lengths = np.einsum("ij,ij->i", here, here) / np.maximum(np.einsum("ij,ij->i", projected, projected), 1e-300)
        out[filled:last] = projected * np.sqrt(lengths)[:, None]
        first, filled = first + len(rows), last
    return out
