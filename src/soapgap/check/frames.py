"""Frames in, numbers out: the trainer's own reading, one frame at a time, with every fault written down.

The trainer stops at the first fault; here the rest is read on, quantity by quantity. Positions and forces are kept for
the first frames only, up to 128 MB, to compare forces with energies; of every frame some 1000 bytes remain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from soapgap.check.findings import Places
from soapgap.check.geometry import contacts, fingerprint, reference_cell
from soapgap.config.data import DataConfig, DataFile
from soapgap.data import dataset
from soapgap.data.observables import OBSERVABLES
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.learn.baseline.e0 import is_isolated

KEPT_BYTES = 128 * 2**20
MOST_LABELS = 100  # of one name; a text with more is no label
ISOLATED_CUTOFF = 6.0  # Angstrom
QUANTITIES = {o.settings[0].removesuffix("_key"): o.settings for o in OBSERVABLES.values() if o.common}
LOOKS_LIKE = {"energy": re.compile("energ|potent|^e$|^e_?(tot|dft|0)|^etot", re.I), "forces": re.compile("forc|grad|^f$", re.I),
              "virial": re.compile("virial|stress", re.I)}


@dataclass(slots=True)
class FrameNumbers:
    """What is remembered of one frame; NaN for what it does not have.

    Attributes
    ----------
    kind : int
        Index of its sequence of species in `FrameTable.kinds`.
    net_force : float
        |sum_i F_i| / n_atoms, eV/A.
    rms_force : float
        Of the components, eV/A.
    cell : ndarray, shape (3, 3), or None
        Angstrom; what fractional coordinates refer to (`soapgap.check.geometry.reference_cell`).
    periodic : bool
        In all three directions.
    virial : ndarray, shape (3, 3), or None
        eV.
    asymmetry, shortest : float
        As in `soapgap.check.geometry.Contacts`.
    kept : tuple of ndarray or None
        Fractional coordinates and forces, or None.
    """

    file: int
    number: int
    kind: int
    n_atoms: int
    config_type: str
    energy: float = np.nan
    net_force: float = np.nan
    rms_force: float = np.nan
    cell: np.ndarray | None = None
    periodic: bool = False
    has_lattice: bool = True
    has_forces: bool = False
    isolated: bool = False
    virial: np.ndarray | None = None
    fingerprint: np.ndarray | None = None
    asymmetry: float = 0.0
    shortest: tuple[tuple[int, int, float], ...] = ()
    kept: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def source(self) -> tuple[int, str]:
        """File and config_type: frames that were probably computed and written in the same way."""
        return self.file, self.config_type

    @property
    def volume(self) -> float:
        """Angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))


@dataclass
class SeenNames:
    """Where a quantity is absent, and what lies there or beside it instead.

    `others` are names that look like the quantity, with the frames that have them and lack the right name; `beside` are
    names that occur together with the right one, which therefore mean something else.
    """

    lacking: list[int] = field(default_factory=list)
    others: dict[str, list[int]] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)


@dataclass
class FrameTable:
    """The numbers of all frames of all files.

    Attributes
    ----------
    kinds : list of ndarray
        Sequences of atomic numbers that occur.
    faults : list of (str, int)
        (message, frame index): values that cannot be used.
    unreadable : list of (str, int)
        (message, file): where the reading of a file ended too early.
    labels : dict of str to Counter of str
        Names of short texts in the frames, and how many frames have which text.
    """

    keys: DataConfig
    names: list[str]
    frames: list[FrameNumbers] = field(default_factory=list)
    kinds: list[np.ndarray] = field(default_factory=list)
    faults: list[tuple[str, int]] = field(default_factory=list)
    unreadable: list[tuple[str, int]] = field(default_factory=list)
    whole_energies: list[int] = field(default_factory=list)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    seen: dict[str, SeenNames] = field(default_factory=lambda: {quantity: SeenNames() for quantity in QUANTITIES})

    @property
    def places(self) -> Places:
        """Where the frames come from."""
        return Places(self.names, [f.file for f in self.frames], [f.number for f in self.frames])

    @property
    def species(self) -> list[int]:
        """Atomic numbers that occur, sorted."""
        return sorted({int(z) for kind in self.kinds for z in np.unique(kind)})

    def column(self, name: str) -> np.ndarray:
        """One attribute of all frames."""
        return np.array([getattr(frame, name) for frame in self.frames])

    def composition(self) -> np.ndarray:
        """Number of atoms of every species, (n_frames, n_species)."""
        counts = np.array([[np.count_nonzero(kind == z) for z in self.species] for kind in self.kinds])
        return counts[self.column("kind")]

    def atoms_by_species(self) -> dict[int, int]:
        """Number of atoms of every species in all frames."""
        total: Counter[int] = Counter()
        for kind, n_frames in Counter(frame.kind for frame in self.frames).items():
            for z, n in zip(*np.unique(self.kinds[kind], return_counts=True), strict=True):
                total[int(z)] += int(n) * n_frames
        return dict(sorted(total.items()))


def read_frames(paths: list[str], keys: DataConfig, advance: Callable[[int], None] = lambda n: None) -> FrameTable:
    """Read extended XYZ files frame by frame.

    Parameters
    ----------
    paths : list of str
        Files.
    keys : DataConfig
        Names of the quantities, as for a fit; an empty name is not looked for.
    advance : callable
        Called with 1 after each frame.

    Raises
    ------
    InputError
        A file that is missing or cannot be opened. Everything else goes into the table.
    """
    for name in paths:
        try:
            with open(name, "rb"):
                pass
        except OSError as error:
            raise InputError(f"cannot read the data file {name}: {error.strerror or error}") from None
    table = FrameTable(keys, list(paths))
    collector = _Collector(table)
    for file, name in enumerate(paths):
        before = len(table.frames)
        for number, frame in enumerate(_readable(name, file, table)):
            collector.add(frame, file, number)
            advance(1)
        if len(table.frames) == before and not any(f == file for _, f in table.unreadable):
            table.unreadable.append(("holds no structure: expected an extended XYZ file with at least one frame", file))
    return table


def _readable(name: str, file: int, table: FrameTable) -> Iterator[Atoms]:
    try:
        yield from dataset._frames(Path(name), name)
    except InputError as error:
        table.unreadable.append((str(error).removeprefix(name).lstrip(":, "), file))


class _Collector:
    """Turns frames into rows of the table."""

    def __init__(self, table: FrameTable) -> None:
        self.table = table
        self.kind_of: dict[bytes, int] = {}
        self.room = KEPT_BYTES

    def add(self, frame: Atoms, file: int, number: int) -> None:
        """One frame."""
        table, index = self.table, len(self.table.frames)
        where = f"{table.names[file]}, frame {number}"
        structure, messages = read_quantities(frame, table.keys, DataFile(file=table.names[file]), where)
        table.faults += [(message.removeprefix(f"{where}: "), index) for message in messages]
        row = FrameNumbers(file, number, self._kind(frame), len(frame), structure.config_type)
        table.frames.append(row)
        self._geometry(row, structure, index)
        self._quantities(row, structure)
        self._names(frame, index)

    def _kind(self, frame: Atoms) -> int:
        key = frame.numbers.astype(np.uint8).tobytes()
        if key not in self.kind_of:
            self.kind_of[key] = len(self.table.kinds)
            self.table.kinds.append(frame.numbers.astype(np.uint8))
        return self.kind_of[key]

    def _geometry(self, row: FrameNumbers, structure: Structure, index: int) -> None:
        atoms = structure.atoms
        row.has_lattice = bool(atoms.cell.array.any())
        row.periodic = bool(np.all(atoms.pbc))
        try:
            found = contacts(atoms)
            row.isolated = is_isolated(structure, ISOLATED_CUTOFF, structure.symbols)
        except InputError as error:
            self.table.faults.append((str(error).removeprefix(f"{structure.where}: "), index))
            row.periodic, row.cell = False, np.eye(3)
            return
        row.shortest, row.asymmetry = found.shortest, found.asymmetry
        row.cell = reference_cell(atoms)
        fractional = np.linalg.solve(row.cell.T, atoms.positions.T).T
        row.fingerprint = fingerprint(fractional)
        if structure.forces is not None and "force_mask" not in structure.overrides and self.room > 0:
            row.kept = (fractional, np.array(structure.forces))
            self.room -= fractional.nbytes + structure.forces.nbytes

    def _quantities(self, row: FrameNumbers, structure: Structure) -> None:
        if structure.energy is not None:
            row.energy = structure.energy
        row.virial = structure.virial
        row.has_forces = structure.forces is not None
        if structure.forces is not None and "force_mask" not in structure.overrides:  # masked forces are not all known
            row.net_force = float(np.linalg.norm(structure.forces.sum(axis=0))) / row.n_atoms
            row.rms_force = float(np.sqrt(np.mean(structure.forces**2)))

    def _names(self, frame: Atoms, index: int) -> None:
        """Which quantities are there under which names."""
        keys, results = self.table.keys, frame.calc.results if frame.calc else {}
        everything = {**frame.info, **frame.arrays, **results}
        for name, value in frame.info.items():
            if isinstance(value, str) and len(self.table.labels.get(name, ())) <= MOST_LABELS:
                self.table.labels.setdefault(name, Counter())[value] += 1
        for quantity, settings in QUANTITIES.items():
            wanted = [getattr(keys, setting) for setting in settings if getattr(keys, setting)]
            if not wanted:
                continue
            present = any(name in everything for name in wanted)
            seen = self.table.seen[quantity]
            similar = [name for name, value in everything.items()
                       if name not in wanted and _looks_like(quantity, name, value, len(frame))]
            if present:
                seen.beside.update(similar)
                continue
            seen.lacking.append(index)
            for name in similar:
                seen.others.setdefault(name, []).append(index)
        raw = everything.get(keys.energy_key)
        if isinstance(raw, int | np.integer) and not isinstance(raw, bool):
            self.table.whole_energies.append(index)


def _looks_like(quantity: str, name: str, value, n_atoms: int) -> bool:
    if not LOOKS_LIKE[quantity].search(name) or "sigma" in name or "mask" in name:
        return False
    if quantity == "energy":
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if quantity == "forces":
        return np.shape(value) == (n_atoms, 3)
    return np.size(value) in (6, 9) and np.asarray(value).dtype.kind in "fi"


def read_quantities(frame: Atoms, keys: DataConfig, file: DataFile, where: str) -> tuple[Structure, list[str]]:
    """A frame as the trainer reads it, and what the trainer would stop at.

    If the frame as a whole is refused, its quantities are read one by one, and those that can be used are kept.
    """
    try:
        return dataset._structure(frame, keys, file, where), []
    except InputError as error:
        messages = [str(error)]
    every = [setting for observable in OBSERVABLES.values() for setting in observable.settings]
    known: dict[str, float | np.ndarray] = {}
    for setting in every:
        alone = keys.model_copy(update={other: "" for other in every if other != setting})
        try:
            known = dict(dataset._structure(frame, alone, file, where).known) | known
        except InputError as error:
            messages.append(str(error))
    bare = Atoms(frame.get_chemical_symbols(), frame.positions, cell=frame.cell, pbc=frame.pbc)
    config_type = str(frame.info.get(keys.config_type_key, "default")) if keys.config_type_key else "default"
    return Structure(bare, where, config_type, known), list(dict.fromkeys(messages))
