"""Pairs of frames that are near enough for finite differences, and what a wrong unit or sign would make of them.

Between two frames 1 and 2 with the same atoms, cells h and fractional coordinates s, the trapezoidal rule gives

    E_2 - E_1 = -(1/2) sum_i (F_1i + F_2i) . d_i - (1/2) (W_1 + W_2) : eps + third order,

d = (s_2 - s_1) h_mean, eps = the symmetric part of h_mean^-1 (h_2 - h_1). It is exact where the energy is quadratic, so
frames of molecular dynamics some 0.2 to 0.5 Angstrom apart will do. Only one of the two works is tested at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from soapgap.check.frames import FrameTable
from soapgap.check.geometry import as_length

SAME_POSITIONS = 3e-3  # Angstrom, root mean square: still the same fractional coordinates
SAME_CELL = 1e-6  # relative
LARGEST_STEP, LARGEST_STRAIN = 0.50, 0.12  # Angstrom (root mean square), and the largest component
N_NEAR, N_NEAR_STRAINED, N_PAIRS = 4, 16, 200
SMALLEST_WORK = 2e-4  # eV: below it, rounded energies decide
FEWEST_PAIRS, GOOD_SCORE = 5, 0.35
MANY_FRAMES = 2000  # more of one kind are thinned out where every pair costs time
CLEAR_FACTOR = 1.8  # nearer to 1, an unexplained factor may be the third order


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames with the difference of their energies and the work that forces or virials give for it.

    Attributes
    ----------
    frames : ndarray, shape (n, 2)
        Indices.
    difference : ndarray, shape (n,)
        E_2 - E_1, eV.
    work : ndarray, shape (n,)
        The same from the forces, or from the virials, as read (eV).
    volume : ndarray, shape (n,)
        A^3.
    n_atoms : ndarray, shape (n,)
    """

    frames: np.ndarray
    difference: np.ndarray
    work: np.ndarray
    volume: np.ndarray
    n_atoms: np.ndarray

    def of(self, chosen: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def without(self, frames: Sequence[int]) -> Pairs:
        """Those pairs to which none of the frames belongs."""
        return self.of(~np.isin(self.frames, list(frames)).any(axis=1))

    def __len__(self) -> int:
        return len(self.work)


@dataclass(frozen=True)
class Verdict:
    """What the pairs say.

    Attributes
    ----------
    names : tuple of str
        Suppositions that explain the pairs, the best first; the first of all is "as expected".
    ratio : float
        Median of difference / work, weighted by work.
    score : float
        Mean of |log(ratio x factor)| of the best supposition, each at most 1: 0 is perfect, 1 is nonsense.
    n : int
        Number of pairs.
    """

    names: tuple[str, ...]
    ratio: float
    score: float
    n: int

    @property
    def clear(self) -> bool:
        """True if the pairs agree on something."""
        return self.n >= FEWEST_PAIRS and self.score < GOOD_SCORE

    @property
    def good(self) -> bool:
        """True if that is what is expected."""
        return self.names[0] == EXPECTED


EXPECTED = "as expected"


def strained_pairs(table: FrameTable) -> Pairs:
    """Pairs with equal fractional coordinates and different cells; the work is that of the virials."""
    rows = []
    for members in _groups(table, lambda f: f.virial is not None and f.periodic):
        # cell lengths must be the same for all, or strain would pass for displacement
        usual = np.diag(np.mean([np.linalg.norm(f.cell, axis=1) for f in members[1]], axis=0))
        points = np.array([np.concatenate([as_length(f.fingerprint, usual) * 100.0, f.cell.ravel()]) for f in members[1]])
        for i, j in _nearest(points):
            a, b = members[1][i], members[1][j]
            strain = np.linalg.solve(0.5 * (a.cell + b.cell), b.cell - a.cell)
            strain = 0.5 * (strain + strain.T)
            moved = np.linalg.norm(as_length(a.fingerprint - b.fingerprint, a.cell))
            if moved < SAME_POSITIONS and SAME_CELL < np.abs(strain).max() < LARGEST_STRAIN:
                rows.append(_row(members, i, j, -0.5 * float(np.sum((a.virial + b.virial) * strain))))
    return _pairs(rows)


def displaced_pairs(table: FrameTable) -> Pairs:
    """Pairs with equal cells and displaced atoms, the nearest 200 of every source; the work is that of the forces."""
    found: dict[tuple[int, str], list[tuple[float, tuple]]] = {}
    for members in _groups(table, lambda f: f.kept is not None and f.n_atoms > 1):
        points = np.array([np.concatenate([as_length(f.fingerprint, f.cell), f.cell.ravel() * 100.0])
                           for f in members[1]])
        for i, j in _nearest(points):
            a, b = members[1][i], members[1][j]
            if np.abs(a.cell - b.cell).max() > SAME_CELL * np.abs(a.cell).max():
                continue
            difference = b.kept[0] - a.kept[0]
            if a.periodic:
                difference = difference - np.round(difference)
            moved = difference @ a.cell
            step = float(np.sqrt(np.mean(np.sum(moved**2, axis=1))))
            if 1e-4 < step < LARGEST_STEP:
                row = _row(members, i, j, -0.5 * float(np.sum((a.kept[1] + b.kept[1]) * moved)))
                found.setdefault(a.source, []).append((step, row))
    return _pairs([row for entries in found.values() for _, row in sorted(entries)[:N_PAIRS]])


def rest_against_virials(table: FrameTable) -> tuple[int, float, float]:
    """Energy differences that forces leave over, against the work of virials, where cell and positions both differ.

    Over pairs of frames up to 0.5 A and 12 % of strain from each other, the line through zero is taken for which the sum of
    |E_2 - E_1 - work of the forces - slope x work of the virials| is smallest.

    Returns
    -------
    number of pairs, slope and correlation (about zero, since either frame of a pair may be the first). The third order of
    the forces is large here: a slope of 0.5 or 2 is no fault.
    """
    rows = []
    for _, frames in _groups(table, lambda f: f.virial is not None and f.kept is not None and f.periodic and f.n_atoms > 1):
        frames = frames[::1 + len(frames) // MANY_FRAMES]
        usual = np.diag(np.mean([np.linalg.norm(f.cell, axis=1) for f in frames], axis=0))
        for i, j in _nearest(np.array([as_length(f.fingerprint, usual) for f in frames]), N_NEAR_STRAINED):
            a, b = frames[i], frames[j]
            mean = 0.5 * (a.cell + b.cell)
            strain = np.linalg.solve(mean, b.cell - a.cell)
            if not SAME_CELL < np.abs(strain).max() < LARGEST_STRAIN:
                continue
            difference = b.kept[0] - a.kept[0]
            moved = (difference - np.round(difference)) @ mean
            if np.mean(np.sum(moved**2, axis=1)) < LARGEST_STEP**2:
                of_forces = -0.5 * float(np.sum((a.kept[1] + b.kept[1]) * moved))
                of_virials = -0.25 * float(np.sum((a.virial + b.virial) * (strain + strain.T)))
                rows.append((of_virials, b.energy - a.energy - of_forces))
    x, y = np.array(rows, float).reshape(-1, 2).T
    size = np.linalg.norm(x) * np.linalg.norm(y)
    if len(rows) < FEWEST_PAIRS or size == 0.0:
        return len(rows), np.nan, 0.0
    weight = np.ones(len(x))
    for _ in range(30):
        slope = np.sum(weight * x * y) / np.sum(weight * x * x)
        weight = 1.0 / np.maximum(np.abs(y - slope * x), 1e-3 * np.abs(y).max())
    return len(rows), float(slope), float(x @ y / size)


def _row(members: tuple[list[int], list], i: int, j: int, work: float) -> tuple:
    """The entries of `Pairs` for two frames of a group."""
    a, b = members[1][i], members[1][j]
    return (members[0][i], members[0][j], b.energy - a.energy, work, 0.5 * (a.volume + b.volume), a.n_atoms)


def _pairs(rows: Sequence[tuple]) -> Pairs:
    rows = [row for row in rows if row[3] != 0.0 and max(abs(row[2]), abs(row[3])) > SMALLEST_WORK]
    table = np.array(rows, float).reshape(-1, 6)
    return Pairs(table[:, :2].astype(int), *table[:, 2:].T)


def _groups(table: FrameTable, usable) -> Iterable[tuple[list[int], list]]:
    """Frames with the same sequence of species, an energy, and what is needed."""
    groups: dict[int, tuple[list[int], list]] = {}
    for k, frame in enumerate(table.frames):
        if frame.fingerprint is not None and not np.isnan(frame.energy) and usable(frame):
            indices, frames = groups.setdefault(frame.kind, ([], []))
            indices.append(k)
            frames.append(frame)
    return [members for members in groups.values() if len(members[0]) > 1]


def _nearest(points: np.ndarray, n_near: int = N_NEAR) -> list[tuple[int, int]]:
    """Every point with its nearest, each pair once."""
    _, near = cKDTree(points).query(points, k=min(n_near + 1, len(points)))
    found = {(min(i, int(j)), max(i, int(j))) for i, others in enumerate(near) for j in others if int(j) != i}
    return sorted(found)


def judge(pairs: Pairs, suppositions: dict[str, float | str]) -> Verdict:
    """Which supposition explains the pairs.

    Parameters
    ----------
    suppositions : dict of str to float or str
        By name, the factor by which the quantity in the file differs from what is expected; "V" in a string such as "V", "1/V"
        or "160.2/V" means the volume of the pair, "N" its number of atoms, and a sign may come before.

    Returns
    -------
    Verdict
        Its names are the best supposition and those that explain the pairs nearly as well. If none does, but all pairs
        want the same factor, beyond 1.8, that is the name.
    """
    if len(pairs) == 0:
        return Verdict((EXPECTED,), np.nan, 1.0, 0)
    ratio = pairs.difference / pairs.work
    weight = np.abs(pairs.difference) if pairs.difference.any() else np.abs(pairs.work)
    scores = {name: float(np.average(np.minimum(_misfit(pairs, factor), 1.0), weights=weight))
              for name, factor in {EXPECTED: 1.0, **suppositions}.items()}
    middle = _weighted_median(ratio, weight)
    best = min(scores, key=scores.__getitem__)
    if scores[EXPECTED] < GOOD_SCORE:
        best = EXPECTED
    elif scores[best] >= GOOD_SCORE and middle != 0.0 and abs(np.log(abs(middle))) > np.log(CLEAR_FACTOR):
        scatter = float(np.average(np.minimum(_misfit(pairs, 1.0 / middle), 1.0), weights=weight))
        if scatter < GOOD_SCORE:
            return Verdict((_by_a_factor(1.0 / middle),), middle, scatter, len(pairs))
    alike = [name for name in sorted(scores, key=scores.__getitem__) if name != best and best != EXPECTED
             and scores[name] < scores[best] + 0.1]
    return Verdict((best, *alike), middle, scores[best], len(pairs))


def _misfit(pairs: Pairs, factor: float | str) -> np.ndarray:
    """|log(difference / work x factor)| of every pair; infinite if the sign is wrong."""
    corrected = pairs.difference / pairs.work * _value(factor, pairs)
    misfit = np.full(len(pairs), np.inf)
    misfit[corrected > 0.0] = np.abs(np.log(corrected[corrected > 0.0]))
    return misfit


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    middle = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())
    return float(values[order[min(middle, len(order) - 1)]])


def _by_a_factor(factor: float) -> str:
    size = abs(factor)
    words = f"too large by a factor of {size:.3g}" if size > 1.0 else f"too small by a factor of {1.0 / size:.3g}"
    return words if factor > 0.0 else f"{words}, and of the opposite sign"


def _value(factor: float | str, pairs: Pairs) -> np.ndarray | float:
    if not isinstance(factor, str):
        return factor
    sign = -1.0 if factor.startswith("-") else 1.0
    before, _, after = factor.removeprefix("-").partition("/")
    size = pairs.n_atoms if factor.endswith("N") else pairs.volume
    return sign * (float(before) / size if after else size)
