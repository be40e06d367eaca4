"""Pairs of frames that are near enough for finite differences, and what a wrong unit or sign would make of them.

Between two frames 1 and 2 with the same atoms, cells h and fractional coordinates s, the trapezoidal rule gives

    E_2 - E_1 = -(1/2) sum_i (F_1i + F_2i) . d_i - (1/2) (W_1 + W_2) : eps + third order,

d = (s_2 - s_1) h_mean, eps = the symmetric part of h_mean^-1 (h_2 - h_1). It is exact where the energy is quadratic, so
frames of molecular dynamics some 0.2 to 0.5 Angstrom apart will do. Only one of the two works is tested at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from soapgap.training.check_frames import FrameTable
from soapgap.training.check_geometry import length_scale

SAME_POSITIONS = 2e-3  # Angstrom, root mean square: still the same fractional coordinates
SAME_CELL = 1e-6  # relative
LARGEST_STEP, LARGEST_STRAIN = 0.50, 0.12  # Angstrom (root mean square), and the largest component
N_NEAR, N_PAIRS = 4, 200
SMALLEST_WORK = 2e-4  # eV: below it, rounded energies decide
FEWEST_PAIRS, GOOD_SCORE = 5, 0.35


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames with the difference of their energies and the work that forces or virials give for it.

    Attributes
    ----------
    frames : (n, 2) indices
    difference : (n,) E_2 - E_1, eV
    work : (n,) the same from the forces, or from the virials, as read (eV)
    volume : (n,) A^3
    """

    frames: np.ndarray
    difference: np.ndarray
    work: np.ndarray
    volume: np.ndarray

    def of(self, chosen: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.frames[chosen], self.difference[chosen], self.work[chosen], self.volume[chosen])

    def __len__(self) -> int:
        return len(self.work)


@dataclass(frozen=True)
class Verdict:
    """What the pairs say.

    Attributes
    ----------
    names : suppositions that explain the pairs, the best first; the first of all is "as expected"
    ratio : median of difference / work, weighted by work
    score : mean of |log(ratio x factor)| of the best supposition, each at most 1: 0 is perfect, 1 is nonsense
    n : number of pairs
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
        points = np.array([np.concatenate([f.fingerprint * length_scale(f.cell) * 100.0, f.cell.ravel()]) for f in members[1]])
        for i, j in _nearest(points):
            a, b = members[1][i], members[1][j]
            strain = np.linalg.solve(0.5 * (a.cell + b.cell), b.cell - a.cell)
            strain = 0.5 * (strain + strain.T)
            moved = np.linalg.norm(a.fingerprint - b.fingerprint) * length_scale(a.cell)
            if moved < SAME_POSITIONS and SAME_CELL < np.abs(strain).max() < LARGEST_STRAIN:
                work = -0.5 * float(np.sum((a.virial + b.virial) * strain))
                rows.append((members[0][i], members[0][j], b.energy - a.energy, work, 0.5 * (a.volume + b.volume)))
    return _pairs(rows)


def displaced_pairs(table: FrameTable) -> Pairs:
    """Pairs with equal cells and displaced atoms, the nearest ones; the work is that of the forces."""
    rows, steps = [], []
    for members in _groups(table, lambda f: f.kept is not None and f.n_atoms > 1):
        points = np.array([np.concatenate([f.fingerprint * length_scale(f.cell), f.cell.ravel() * 100.0])
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
                work = -0.5 * float(np.sum((a.kept[1] + b.kept[1]) * moved))
                rows.append((members[0][i], members[0][j], b.energy - a.energy, work, a.volume))
                steps.append(step)
    return _pairs([rows[k] for k in np.argsort(steps, kind="stable")[:N_PAIRS]])


def _pairs(rows: Sequence[tuple]) -> Pairs:
    rows = [row for row in rows if row[3] != 0.0 and max(abs(row[2]), abs(row[3])) > SMALLEST_WORK]
    table = np.array(rows, float).reshape(-1, 5)
    return Pairs(table[:, :2].astype(int), table[:, 2], table[:, 3], table[:, 4])


def _groups(table: FrameTable, usable) -> Iterable[tuple[list[int], list]]:
    """Frames with the same sequence of species, an energy, and what is needed."""
    groups: dict[int, tuple[list[int], list]] = {}
    for k, frame in enumerate(table.frames):
        if frame.fingerprint is not None and not np.isnan(frame.energy) and usable(frame):
            indices, frames = groups.setdefault(frame.kind, ([], []))
            indices.append(k)
            frames.append(frame)
    return [members for members in groups.values() if len(members[0]) > 1]


def _nearest(points: np.ndarray) -> list[tuple[int, int]]:
    """Every point with its four nearest, each pair once."""
    _, near = cKDTree(points).query(points, k=min(N_NEAR + 1, len(points)))
    found = {(min(i, int(j)), max(i, int(j))) for i, others in enumerate(near) for j in others if int(j) != i}
    return sorted(found)


def judge(pairs: Pairs, suppositions: dict[str, float | str]) -> Verdict:
    """Which supposition explains the pairs.

    Parameters
    ----------
    suppositions : by name, the factor by which the quantity in the file differs from what is expected; "V" in a string
        such as "V", "1/V" or "160.2/V" stands for the volume of the pair, and a sign may stand before

    Returns
    -------
    Verdict
        Its names are the best supposition and those that explain the pairs nearly as well.
    """
    if len(pairs) == 0:
        return Verdict((EXPECTED,), np.nan, 1.0, 0)
    ratio = pairs.difference / pairs.work
    weight = np.abs(pairs.difference)
    scores = {}
    for name, factor in {EXPECTED: 1.0, **suppositions}.items():
        corrected = ratio * _value(factor, pairs.volume)
        log = np.full(len(pairs), 1.0)
        log[corrected > 0.0] = np.minimum(np.abs(np.log(corrected[corrected > 0.0])), 1.0)
        scores[name] = float(np.sum(weight * log) / weight.sum())
    best = min(scores, key=scores.__getitem__)
    if scores[EXPECTED] < GOOD_SCORE:
        best = EXPECTED
    alike = [name for name in sorted(scores, key=scores.__getitem__) if name != best and best != EXPECTED
             and scores[name] < scores[best] + 0.1]
    order = np.argsort(ratio)
    middle = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
    return Verdict((best, *alike), float(ratio[order[min(middle, len(order) - 1)]]), scores[best], len(pairs))


def _value(factor: float | str, volume: np.ndarray) -> np.ndarray | float:
    if not isinstance(factor, str):
        return factor
    sign = -1.0 if factor.startswith("-") else 1.0
    before, _, after = factor.removeprefix("-").partition("/")
    return sign * (float(before) / volume if after == "V" else volume)
