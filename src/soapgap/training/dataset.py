"""Extended XYZ files in, checked structures out: energies, forces and virials in eV and Angstrom, with their signs.

Reading is ASE's. ASE moves the columns and keys called `energy`, `forces` and `stress` into a calculator and leaves
everything else in `info` and `arrays`; a quantity is looked for in both places under the name the user gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import iread

from soapgap.errors import InputError
from soapgap.training.config import DataConfig
from soapgap.training.virials import as_tensor, check_signs
from soapgap.xyz import refuse_hidden_frames

OVERRIDES_PER_FRAME = ("energy_sigma", "force_sigma", "virial_sigma", "virial_component_sigma")
OVERRIDES_PER_ATOM = ("force_atom_sigma", "force_component_sigma", "force_mask")


@dataclass(frozen=True)
class Structure:
    """One frame: what is known about it, and how well.

    Attributes
    ----------
    atoms : positions, cell, periodicity and species only
    where : file and frame number, for messages
    config_type : label of the frame ("default" if it has none)
    energy : eV, or None
    forces : (n_atoms, 3) eV/Angstrom, or None
    virial : (3, 3) symmetric, eV, W = -dE/dstrain, or None
    overrides : the noise keys of the frame itself (`energy_sigma`, ...; training/noise.py)
    """

    atoms: Atoms
    where: str
    config_type: str
    energy: float | None
    forces: np.ndarray | None
    virial: np.ndarray | None
    overrides: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of every atom."""
        return self.atoms.get_chemical_symbols()


@dataclass(frozen=True)
class Dataset:
    """The structures of one or more files, in order, and the fingerprint of the files."""

    structures: tuple[Structure, ...]
    sha256: str
    files: tuple[str, ...]

    @property
    def species(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        return sorted({symbol for s in self.structures for symbol in s.symbols}, key=atomic_numbers.__getitem__)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all structures."""
        return sum(len(s.atoms) for s in self.structures)

    def counts(self) -> dict[str, int]:
        """Numbers of frames, atoms, energies, force components and virial components."""
        return {
            "frames": len(self.structures),
            "atoms": self.n_atoms,
            "energies": sum(s.energy is not None for s in self.structures),
            "force_components": sum(s.forces.size for s in self.structures if s.forces is not None),
            "virial_components": 6 * sum(s.virial is not None for s in self.structures),
        }


def read_dataset(paths: Sequence[str], keys: DataConfig, folder: Path = Path(".")) -> Dataset:
    """Read and check extended XYZ files.

    Parameters
    ----------
    paths : files, relative ones to `folder`
    keys : names of the quantities (`[data]` of the configuration)

    Raises
    ------
    InputError
        A file that is missing, unreadable or empty; a number that is not finite; a quantity that no frame has; a
        virial and a stress that contradict each other. The message names the file and the frame (counted from 0).
    """
    structures: list[Structure] = []
    seen = _SeenKeys()
    digest = hashlib.sha256()
    for name in paths:
        path = folder / name
        _hash_file(path, digest)
        before = len(structures)
        for index, frame in enumerate(_frames(path, name)):
            where = f"{name}, frame {index} (counted from 0)"
            seen.add(frame)
            structures.append(_structure(frame, keys, where))
        if len(structures) == before:
            raise InputError(f"{name} holds no structure: expected an extended XYZ file with at least one frame")
    _require(structures, keys, seen, ", ".join(paths))
    return Dataset(tuple(structures), digest.hexdigest(), tuple(paths))


def _hash_file(path: Path, digest) -> None:
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read the data file {path}: {error.strerror or error}") from None


def _frames(path: Path, name: str) -> Iterator[Atoms]:
    count = 0
    place = f"{name}, frame {{}} (counted from 0)"
    try:
        refuse_hidden_frames(path, name)
        for frame in iread(str(path), index=":", format="extxyz", do_not_split_by_at_sign=True):
            if len(frame) == 0:
                raise InputError(f"{place.format(count)}: this frame has no atoms")
            if (frame.numbers == 0).any():
                raise InputError(f"{place.format(count)}: has an atom 'X', which is no element: expected chemical symbols")
            if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()):
                raise InputError(f"{place.format(count)}: a position or the cell is not a finite number")
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
        for key, value in (frame.calc.results if frame.calc else {}).items():
            (self.per_atom if np.shape(value) == (len(frame), 3) else self.per_frame).add(key)


def _lookup(frame: Atoms, key: str, per_atom: bool):
    if not key:
        return None
    place = frame.arrays if per_atom else frame.info
    if key in place:
        return place[key]
    return frame.calc.results.get(key) if frame.calc else None


def _numbers(value, shape: tuple[int, ...] | None, what: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {what} is {value!r}, expected numbers") from None
    if shape is not None and array.shape != shape:
        raise InputError(f"{where}: {what} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(np.atleast_1d(array)))[0]
        place = f" of atom {bad[0]}" if array.ndim == 2 and array.shape != (3, 3) else ""
        raise InputError(f"{where}: {what}{place} is {np.atleast_1d(array)[tuple(bad)]}, expected a finite number; "
                         "remove the frame or the value")
    return array


def _overrides(frame: Atoms, where: str) -> dict[str, np.ndarray]:
    """Sigmas and masks that a frame brings along, each where it belongs and of its shape."""
    found = {}
    for names, place, other, words in ((OVERRIDES_PER_FRAME, frame.info, frame.arrays, "a quantity of the whole frame"),
                                       (OVERRIDES_PER_ATOM, frame.arrays, frame.info, "a column, one row per atom")):
        for name in names:
            if name in other:
                raise InputError(f"{where}: {name} is {words}, but is given "
                                 f"{'as a column' if other is frame.arrays else 'for the whole frame'}: move it")
            if name in place:
                columns = 3 if name == "force_component_sigma" else 1
                shape = {"virial_component_sigma": None}.get(name, () if place is frame.info else (len(frame), columns))
                value = np.reshape(place[name], (-1, 1)) if np.ndim(place[name]) == 1 and shape else place[name]
                found[name] = _numbers(value, shape, name, where)
    return found


def _structure(frame: Atoms, keys: DataConfig, where: str) -> Structure:
    energy = _lookup(frame, keys.energy_key, per_atom=False)
    forces = _lookup(frame, keys.forces_key, per_atom=True)
    if energy is not None:
        energy = float(_numbers(energy, (), f"the energy ({keys.energy_key})", where))
    overrides = _overrides(frame, where)
    if forces is not None:
        used = np.array(forces, dtype=float) if np.shape(forces) == (len(frame), 3) else forces
        if "force_mask" in overrides and np.shape(used) == (len(frame), 3):
            used[overrides["force_mask"][:, 0].astype(bool)] = 0.0  # excluded from the fit, whatever the file says
        forces = _numbers(used, (len(frame), 3), f"the force ({keys.forces_key})", where)
    config_type = str(frame.info.get(keys.config_type_key, "default")) if keys.config_type_key else "default"
    bare = Atoms(frame.get_chemical_symbols(), frame.positions, cell=frame.cell, pbc=frame.pbc)
    return Structure(bare, where, config_type, energy, forces, _virial(frame, keys, where), overrides)


def _virial(frame: Atoms, keys: DataConfig, where: str) -> np.ndarray | None:
    """W (eV) from the virial, or from the stress as -V sigma; both must agree when both are there."""
    virial = _lookup(frame, keys.virial_key, per_atom=False)
    stress = _lookup(frame, keys.stress_key, per_atom=False)
    from_virial = from_stress = None
    if virial is not None:
        values = _numbers(virial, None, f"the virial ({keys.virial_key})", where)
        from_virial = as_tensor(values, keys.virial_key, where)
    if stress is not None:
        volume = abs(np.linalg.det(frame.cell.array))
        if volume == 0.0:
            raise InputError(f"{where}: a stress ({keys.stress_key}) needs a cell, and this frame has none")
        values = _numbers(stress, None, f"the stress ({keys.stress_key})", where)
        from_stress = -volume * as_tensor(values, keys.stress_key, where)
    if from_virial is not None and from_stress is not None:
        check_signs(from_virial, from_stress, len(frame), keys.virial_key, keys.stress_key, where)
    return from_virial if from_virial is not None else from_stress


def _require(structures: Sequence[Structure], keys: DataConfig, seen: _SeenKeys, name: str) -> None:
    """A quantity that the user expects and that no frame has is a misspelt name, not an empty set."""
    required = {"energy_key", "forces_key"} | ({"virial_key", "stress_key"} & keys.model_fields_set)
    for setting in sorted(required):
        have = seen.per_atom if setting == "forces_key" else seen.per_frame
        key = getattr(keys, setting)
        if key and key not in have:
            raise InputError(_absent(name, setting, key, have))
    if not any(s.energy is not None or s.forces is not None or s.virial is not None for s in structures):
        raise InputError(f"{name}: nothing to learn from: no energy, no forces and no virial is read")


def _absent(name: str, setting: str, key: str, have: set[str]) -> str:
    offer = ", ".join(sorted(have)) or "none"
    return (f'{name}: no frame has {key!r} (data.{setting}); names that exist: {offer}. '
            f'Set data.{setting} to the right one, or to "" not to read it')
