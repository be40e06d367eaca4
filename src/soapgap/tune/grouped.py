"""Rows of the design matrix in groups, one triangle each: what sigmas and deltas are tuned with, without the data.

A group is the rows of one kind of observation of the frames of one config_type in one fold. Its triangle does not change
when the sigma of its rows or the delta of a kernel does (`likelihood`). Errors are wanted in other units than sigma (eV per
atom, whatever the number of atoms), so that a group of frames of different sizes has a second triangle for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from soapgap.config import FitConfig
from soapgap.data.noise import sigmas
from soapgap.data.observables import OBSERVABLES
from soapgap.data.structure import Structure
from soapgap.learn.design import DesignMatrix, Targets
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.ordered_map import ordered_map
from soapgap.tune.likelihood import Rows, combine

BUFFER_ROWS = 256


@dataclass(frozen=True)
class Label:
    """What the rows of a group have in common.

    Attributes
    ----------
    fold : int
        Number of the fold.
    config_type : str
        Of their frames.
    kind : str
        Name of the observable.
    own : bool
        The frames give the sigmas themselves, so that no key of the configuration changes them.
    """

    fold: int
    config_type: str
    kind: str
    own: bool


@dataclass(frozen=True)
class Part:
    """The rows of one observable of one structure.

    Attributes
    ----------
    sigma : ndarray
        (n,) in the units of the observation.
    unit : ndarray
        (n,) what a scaled row is multiplied by to be in the unit of the observable (eV/atom for energy and virial).
    """

    label: Label
    sigma: np.ndarray
    unit: np.ndarray


@dataclass
class Planned:
    """A group to be: its size, the sum of log sigma^2, and `unit` if it is the same for all rows, else None."""

    n_rows: int = 0
    log_noise: float = 0.0
    unit: float | None = None
    even: bool = True

    def add(self, part: Part) -> None:
        """Count the rows of one structure."""
        first = part.unit[0] if self.unit is None else self.unit
        self.even = self.even and bool(np.allclose(part.unit, first, rtol=1e-12, atol=0.0))
        self.unit = float(first)
        self.n_rows += len(part.sigma)
        self.log_noise += 2.0 * float(np.sum(np.log(part.sigma)))


@dataclass(frozen=True)
class Group:
    """A group of rows, and the same rows in units of errors.

    Attributes
    ----------
    rows : Rows
        Divided by the sigmas of the configuration.
    unit : float or None
        The factor to units of errors, or None.
    own_errors : ndarray or None
        If there is no such factor, the rows (or their triangle) in units of errors.
    """

    label: Label
    rows: Rows
    unit: float | None
    own_errors: np.ndarray | None = field(default=None, repr=False)

    @property
    def errors(self) -> np.ndarray:
        """Rows [K_nm | y], or their triangle, in units of errors, (r, M + 1)."""
        return self.own_errors if self.unit is None else self.unit * self.rows.triangle


def label_parts(structure: Structure, config: FitConfig, fold: int) -> list[Part]:
    """Labels of the rows that `DesignMatrix.rows` makes of a structure, in their order, with sigmas and units."""
    parts, root = [], np.sqrt(structure.weight)
    for name, sigma in sigmas(structure, config).items():
        if len(sigma):
            observable, values = OBSERVABLES[name], sigma / root
            unit = values * root / (len(structure.atoms) if observable.per_atom else 1)
            own = bool(observable.sigma.own.keys() & structure.overrides.keys())
            parts.append(Part(Label(fold, structure.config_type, name, own), values, unit))
    return parts


def plan_groups(parts: Iterable[Sequence[Part]]) -> dict[Label, Planned]:
    """Groups of all structures, before any row is made."""
    groups: dict[Label, Planned] = {}
    for part in (part for of_structure in parts for part in of_structure):
        groups.setdefault(part.label, Planned()).add(part)
    return groups


def n_bytes(groups: dict[Label, Planned], n_columns: int) -> int:
    """Memory of the groups: 8 (M + 1) bytes for each row, or for M + 1 rows; twice if errors need rows of their own."""
    width = n_columns + 1
    return sum(8 * width * (min(g.n_rows, width) + min(g.n_rows, BUFFER_ROWS)) * (1 if g.even else 2)
               for g in groups.values())


class TallRows:
    """Rows that come in blocks: kept if they are not more than the columns, else folded into a triangle."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self._solver = StreamingQR(n_columns) if n_rows > n_columns + 1 else None
        self._waiting: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Take rows [A | y] in."""
        self._waiting.append(np.array(rows))  # a view would keep the whole block of its structure alive
        if self._solver is not None and sum(map(len, self._waiting)) >= BUFFER_ROWS:
            self._fold()

    def _fold(self) -> None:
        if self._waiting:
            self._solver.update(np.asfortranarray(np.concatenate(self._waiting)))
        self._waiting = []

    def finish(self) -> np.ndarray:
        """The rows, or their triangle, (r, M + 1)."""
        if self._solver is None:
            return np.concatenate(self._waiting)
        self._fold()
        return self._solver.triangle


def make_groups(design: DesignMatrix, evaluators: Sequence, structures: Sequence[Structure], targets: Sequence[Targets],
                parts: Sequence[Sequence[Part]], advance=lambda amount: None) -> list[Group]:
    """One pass over the data: rows of every structure, sorted into groups.

    Parameters
    ----------
    evaluators : sequence
        Of the SOAP kernels, one per thread (`rows_evaluator`).
    parts : sequence of sequence of Part
        Of every structure (`label_parts`).
    advance : callable
        Called with the effort of every structure that is done.
    """
    planned = plan_groups(parts)
    scaled = {label: TallRows(g.n_rows, design.n_columns) for label, g in planned.items()}
    errors = {label: TallRows(g.n_rows, design.n_columns) for label, g in planned.items() if not g.even}
    for number, rows in each_structure(design, evaluators, structures, targets):
        for part, own in split(rows, parts[number]):
            scaled[part.label].add(own)
            if part.label in errors:
                errors[part.label].add(part.unit[:, None] * own)
        advance(structures[number].effort)
    groups = []
    for label, g in planned.items():
        rows = Rows(scaled.pop(label).finish(), g.n_rows, g.log_noise)
        groups.append(Group(label, rows, g.unit if g.even else None, None if g.even else errors.pop(label).finish()))
    return groups


def each_structure(design: DesignMatrix, evaluators: Sequence, structures: Sequence[Structure],
                   targets: Sequence[Targets]) -> Iterator[tuple[int, np.ndarray]]:
    """Number and rows of every structure, in order."""
    items = list(zip(structures, targets, strict=True))
    return enumerate(ordered_map(lambda evaluator, item: design.rows(evaluator, *item), items, evaluators))


def split(rows: np.ndarray, parts: Sequence[Part]) -> Iterator[tuple[Part, np.ndarray]]:
    """The rows of a structure by kind."""
    first = 0
    for part in parts:
        yield part, rows[first:first + len(part.sigma)]
        first += len(part.sigma)


def merge(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Rows or triangles on top of one another, as not more than M + 1 rows."""
    if len(blocks) == 1:
        return blocks[0]
    width = blocks[0].shape[1]
    if sum(map(len, blocks)) <= width:
        return np.concatenate(blocks)
    return combine(np.zeros((width, width)), blocks)


def merge_rows(groups: Sequence[Rows]) -> Rows:
    """Groups whose sigmas are multiplied by the same factor, as one."""
    return Rows(merge([g.triangle for g in groups]), sum(g.n_rows for g in groups), sum(g.log_noise for g in groups))


def choose_folds(structures: Sequence[Structure], n_folds: int, seed: int, contiguous: bool = False) -> np.ndarray:
    """Fold of every structure, (n_structures,): whole structures, each config_type spread evenly over the folds.

    Parameters
    ----------
    seed : int
        Of the draw.
    contiguous : bool
        Runs of neighbouring structures of a type make a fold, in the place of a draw: for frames in the order of a trajectory,
        where a frame's neighbours in time know it already.
    """
    rng = np.random.default_rng([seed, n_folds])
    types = np.array([s.config_type for s in structures])
    folds, first = np.empty(len(structures), np.int64), 0
    for config_type in np.unique(types):
        members = np.flatnonzero(types == config_type)
        if contiguous:
            turn = np.arange(len(members)) * n_folds // len(members)
        else:
            members, turn = rng.permutation(members), np.arange(len(members))
        folds[members] = (turn + first) % n_folds
        first += len(members)
    return folds
