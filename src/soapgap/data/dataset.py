"""Extended XYZ files in, checked structures out: energies, forces and virials in eV and Angstrom, with their signs.

Reading is ASE's; what a frame then says under the names the user gave is found by `lookup`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import iread

from soapgap.config.data import EXPECTED_IF_NAMED, DataConfig, DataFile, as_files
from soapgap.data.noise import overrides
from soapgap.data.observables import OBSERVABLES
from soapgap.data.structure import Structure
from soapgap.data.xyz import refuse_hidden_frames
from soapgap.errors import InputError
from soapgap.files import hash_files

_PER_ATOM_RESULTS = ("forces", "energies", "stresses", "charges", "magmoms")  # of ASE's calculators
SUM_TOLERANCE = 1e-3  # eV per atom


@dataclass(frozen=True)
class Dataset:
    """The structures of one or more files, in order, the fingerprint of the files, and the number of frames of each."""

    structures: tuple[Structure, ...]
    sha256: str
    files: tuple[str, ...]
    n_frames: tuple[int, ...] = ()

    @property
    def species(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        return sorted({symbol for s in self.structures for symbol in s.symbols}, key=atomic_numbers.__getitem__)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all structures."""
        return sum(len(s.atoms) for s in self.structures)

    def counts(self) -> dict[str, int]:
        """Numbers of frames, atoms, and observations; those of rare kinds if there are any."""
        found = {"frames": len(self.structures), "atoms": self.n_atoms}
        for observable in sorted(OBSERVABLES.values(), key=lambda o: not o.common):
            number = sum(observable.n_rows(s) for s in self.structures)
            if number or observable.common:
                found[observable.tally] = number
        return found

    def contradicting_sums(self) -> list[Structure]:
        """Structures whose local energies do not add up to their energy, by more than 1 meV per atom."""
        return [s for s in self.structures if s.energy is not None and s.local_energies is not None
                and s.used("local_energy").all()
                and abs(float(s.local_energies.sum()) - s.energy) > SUM_TOLERANCE * len(s.atoms)]


def read_dataset(files: Sequence[str | DataFile], keys: DataConfig, folder: Path = Path(".")) -> Dataset:
    """Read and check extended XYZ files.

    Parameters
    ----------
    files : sequence of str or DataFile
        Paths, relative ones to `folder`, or files with weights and types.
    keys : DataConfig
        Names of the quantities (`[data]` of the configuration).

    Raises
    ------
    InputError
        A file that is missing, unreadable or empty; a number that is not finite; a quantity that no frame has; a
        virial and a stress that contradict each other; an energy beside local energies. The message names the file and
        the frame (counted from 0).
    """
    structures: list[Structure] = []
    seen = _SeenKeys()
    digest = hash_files((folder / file.file for file in as_files(files)), "data file")
    names, n_frames = [], []
    for file in as_files(files):
        name = file.file
        before = len(structures)
        for index, frame in enumerate(_frames(folder / name, name)):
            where = f"{name}, frame {index} (counted from 0)"
            seen.add(frame)
            structures.append(_structure(frame, keys, file, where))
        if len(structures) == before:
            raise InputError(f"{name} holds no structure: expected an extended XYZ file with at least one frame")
        names.append(name)
        n_frames.append(len(structures) - before)
    _require(structures, keys, seen, ", ".join(names))
    return Dataset(tuple(structures), digest, tuple(names), tuple(n_frames))


def dataset_of(frames: Sequence[Atoms], keys: DataConfig) -> Dataset:
    """Structures with their quantities as a data set, checked as `read_dataset` checks files.

    Parameters
    ----------
    frames : sequence of Atoms
        Each with its quantities in `info`, `arrays` or its calculator, under the names of `keys`.

    Raises
    ------
    InputError
        See `read_dataset`.
    """
    if not len(frames):
        raise InputError("no structures: expected at least one")
    structures, seen, digest = [], _SeenKeys(), hashlib.sha256()
    for index, frame in enumerate(frames):
        where = f"frame {index} (counted from 0)"
        _check_atoms(frame, where)
        seen.add(frame)
        structures.append(_structure(frame, keys, DataFile(file="frames"), where))
        _hash_structure(structures[-1], digest)
    _require(structures, keys, seen, "frames")
    return Dataset(tuple(structures), digest.hexdigest(), ("frames",), (len(frames),))


def _hash_structure(structure: Structure, digest) -> None:
    """Everything that a fit reads of it."""
    s = structure
    arrays = {"numbers": s.atoms.numbers, "positions": s.atoms.positions, "cell": s.atoms.cell.array, "pbc": s.atoms.pbc,
              **s.known, **s.overrides}
    for name, value in arrays.items():
        digest.update(f"{name} {np.shape(value)} {s.config_type}".encode() + np.asarray(value).tobytes())


def _check_atoms(frame: Atoms, where: str) -> None:
    if len(frame) == 0:
        raise InputError(f"{where}: this frame has no atoms")
    if (frame.numbers == 0).any():
        raise InputError(f"{where}: has an atom 'X', which is no element: expected chemical symbols")
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()):
        raise InputError(f"{where}: a position or the cell is not a finite number")


def _frames(path: Path, name: str) -> Iterator[Atoms]:
    count = 0
    place = f"{name}, frame {{}} (counted from 0)"
    try:
        refuse_hidden_frames(path, name)
        for frame in iread(str(path), index=":", format="extxyz", do_not_split_by_at_sign=True):
            _check_atoms(frame, place.format(count))
            yield frame
            count += 1
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{place.format(count)}: unknown chemical symbol {error}") from None
    except (OSError, ValueError, IndexError, TypeError, AttributeError, StopIteration) as error:
        message = str(error).removeprefix("ase.io.extxyz: ").strip()
        if "xyz header" in message:  # ASE looks for all headers before it reads the first frame
            raise InputError(f"{name}: cannot be read as extended XYZ: {message}") from None
        raise InputError(f"{place.format(count)}: cannot be read as extended XYZ: {message}") from None


class _SeenKeys:
    """All names of quantities that occur in the files: what an error message can offer instead."""

    def __init__(self) -> None:
        self.per_frame: set[str] = set()
        self.per_atom: set[str] = set()

    def add(self, frame: Atoms) -> None:
        self.per_frame.update(frame.info)
        self.per_atom.update(set(frame.arrays) - {"numbers", "positions"})
        for key in frame.calc.results if frame.calc else {}:
            (self.per_atom if key in _PER_ATOM_RESULTS else self.per_frame).add(key)


def _structure(frame: Atoms, keys: DataConfig, file: DataFile, where: str) -> Structure:
    own = overrides(frame, where)
    known = {}
    for observable in OBSERVABLES.values():
        known |= observable.read(frame, keys, own, where)
    if {"energy", "local_energy"} <= known.keys() and not keys.energy_and_local_energy:
        raise InputError(f"{where}: has an energy ({keys.energy_key}) and the energies of its atoms ({keys.local_energy_key}), "
                         'of which one follows from the other; expected one of them. Set data.local_energy_key = "" or '
                         'data.energy_key = "" not to read one, or data.energy_and_local_energy = true to fit both')
    config_type = file.config_type or "default"
    if keys.config_type_key:
        config_type = str(frame.info.get(keys.config_type_key, config_type))
    bare = Atoms(frame.get_chemical_symbols(), frame.positions, cell=frame.cell, pbc=frame.pbc)
    return Structure(bare, where, config_type, known, own, file.weight)


def _require(structures: Sequence[Structure], keys: DataConfig, seen: _SeenKeys, name: str) -> None:
    """A quantity that the user expects and that no frame has is a misspelt name, not an empty set."""
    wanted = {setting: o for o in OBSERVABLES.values() for setting in o.settings
              if setting not in EXPECTED_IF_NAMED or setting in keys.model_fields_set}
    for setting, observable in sorted(wanted.items()):
        have = seen.per_atom if observable.column else seen.per_frame
        key = observable.frame_key(getattr(keys, setting))
        if key and key not in have:
            raise InputError(_absent(name, setting, key, have))
    if not any(s.n_rows for s in structures):
        nothing = ", ".join(f"no {observable.words}" for observable in OBSERVABLES.values())
        raise InputError(f"{name}: nothing to learn from: {nothing} is read")


def _absent(name: str, setting: str, key: str, have: set[str]) -> str:
    offer = ", ".join(sorted(have)) or "none"
    return (f'{name}: no frame has {key!r} (data.{setting}); names that exist: {offer}. '
            f'Set data.{setting} to the right one, or to "" not to read it')
