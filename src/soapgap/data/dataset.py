"""Extended XYZ files in, checked structures out: energies, forces and virials in eV and Angstrom, with their signs.

Reading is ASE's; what a frame then says under the names the user gave is found by `lookup`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import iread

from soapgap.config.data import EXPECTED_IF_NAMED, DataConfig, DataFile, as_files
from soapgap.data.lookup import curvatures, local_energies, lookup, numbers, overrides
from soapgap.data.virials import as_tensor, check_signs
from soapgap.data.xyz import refuse_hidden_frames
from soapgap.errors import InputError
from soapgap.files import hash_files
from soapgap.neighbours.shared import SharedLists

_PER_ATOM_RESULTS = ("forces", "energies", "stresses", "charges", "magmoms")  # of ASE's calculators
SUM_TOLERANCE = 1e-3  # eV per atom


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
    overrides : the noise keys of the frame itself (`energy_sigma`, ...; `noise`)
    local_energies : (n_atoms,) eV, or None
    curvatures : (n,) e^T H e along the directions e, eV/Angstrom^2, or None
    directions : (n, n_atoms, 3), each of length 1, or None
    weight : how much the observations count in the sum of squares
    lists : where the neighbour list of the atoms is kept, or None
    """

    atoms: Atoms
    where: str
    config_type: str
    energy: float | None
    forces: np.ndarray | None
    virial: np.ndarray | None
    overrides: dict[str, np.ndarray] = field(default_factory=dict)
    local_energies: np.ndarray | None = None
    curvatures: np.ndarray | None = None
    directions: np.ndarray | None = None
    weight: float = 1.0
    lists: SharedLists | None = field(default=None, compare=False, repr=False)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of every atom."""
        return self.atoms.get_chemical_symbols()

    @property
    def used_forces(self) -> np.ndarray:
        """Atoms whose forces count, (n_atoms,): those that `force_mask` does not exclude."""
        mask = self.overrides.get("force_mask")
        return np.ones(len(self.atoms), bool) if mask is None else ~mask.reshape(-1).astype(bool)

    @property
    def used_local_energies(self) -> np.ndarray:
        """Atoms whose energies count, (n_atoms,): those that `local_property_mask` includes."""
        mask = self.overrides.get("local_property_mask")
        return np.ones(len(self.atoms), bool) if mask is None else mask.reshape(-1).astype(bool)

    @property
    def total_energy(self) -> float | None:
        """The energy (eV), or the sum of the local energies if all are known, else None."""
        if self.energy is None and self.local_energies is not None and self.used_local_energies.all():
            return float(self.local_energies.sum())
        return self.energy

    @property
    def n_rows(self) -> int:
        """Number of rows that the observations make in the design matrix."""
        return (int(self.energy is not None) + 6 * int(self.virial is not None)
                + (0 if self.local_energies is None else int(self.used_local_energies.sum()))
                + (0 if self.forces is None else 3 * int(self.used_forces.sum()))
                + (0 if self.curvatures is None else len(self.curvatures)))

    @property
    def effort(self) -> int:
        """What the rows cost, in atoms: a curvature takes the gradients of the whole structure twice."""
        return len(self.atoms) * (1 + 2 * (0 if self.curvatures is None else len(self.curvatures)))


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
        """Numbers of frames, atoms, energies, force and virial components; of local energies and curvatures if any."""
        counts = {
            "frames": len(self.structures),
            "atoms": self.n_atoms,
            "energies": sum(s.energy is not None for s in self.structures),
            "force_components": sum(s.forces.size for s in self.structures if s.forces is not None),
            "virial_components": 6 * sum(s.virial is not None for s in self.structures),
        }
        rare = {
            "local_energies": sum(int(s.used_local_energies.sum()) for s in self.structures if s.local_energies is not None),
            "curvatures": sum(len(s.curvatures) for s in self.structures if s.curvatures is not None),
        }
        return counts | {what: number for what, number in rare.items() if number}

    def contradicting_sums(self) -> list[Structure]:
        """Structures whose local energies do not add up to their energy, by more than 1 meV per atom."""
        return [s for s in self.structures if s.energy is not None
                and (total := replace(s, energy=None).total_energy) is not None
                and abs(total - s.energy) > SUM_TOLERANCE * len(s.atoms)]


def read_dataset(files: Sequence[str | DataFile], keys: DataConfig, folder: Path = Path(".")) -> Dataset:
    """Read and check extended XYZ files.

    Parameters
    ----------
    files : paths, relative ones to `folder`, or files with weights and types
    keys : names of the quantities (`[data]` of the configuration)

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
    frames : each with its quantities in `info`, `arrays` or its calculator, under the names of `keys`

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
              "energy": s.energy, "forces": s.forces, "virial": s.virial, "local_energies": s.local_energies,
              "curvatures": s.curvatures, "directions": s.directions, **s.overrides}
    for name, value in arrays.items():
        if value is not None:
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
    energy = lookup(frame, keys.energy_key, per_atom=False)
    if energy is not None:
        energy = float(numbers(energy, (), f"the energy ({keys.energy_key})", where))
    own = overrides(frame, where)
    local = local_energies(frame, keys.local_energy_key, own.get("local_property_mask"), where)
    if energy is not None and local is not None and not keys.energy_and_local_energy:
        raise InputError(f"{where}: has an energy ({keys.energy_key}) and the energies of its atoms ({keys.local_energy_key}), "
                         'of which one follows from the other; expected one of them. Set data.local_energy_key = "" or '
                         'data.energy_key = "" not to read one, or data.energy_and_local_energy = true to fit both')
    values, directions = curvatures(frame, keys.hessian_key, where) or (None, None)
    config_type = file.config_type or "default"
    if keys.config_type_key:
        config_type = str(frame.info.get(keys.config_type_key, config_type))
    bare = Atoms(frame.get_chemical_symbols(), frame.positions, cell=frame.cell, pbc=frame.pbc)
    return Structure(bare, where, config_type, energy, _forces(frame, keys, own, where), _virial(frame, keys, where), own,
                     local, values, directions, file.weight)


def _forces(frame: Atoms, keys: DataConfig, own: dict[str, np.ndarray], where: str) -> np.ndarray | None:
    forces = lookup(frame, keys.forces_key, per_atom=True)
    if forces is None:
        return None
    used = np.array(forces, dtype=float) if np.shape(forces) == (len(frame), 3) else forces
    if "force_mask" in own and np.shape(used) == (len(frame), 3):
        used[own["force_mask"][:, 0].astype(bool)] = 0.0  # excluded from the fit, whatever the file says
    return numbers(used, (len(frame), 3), f"the force ({keys.forces_key})", where)


def _virial(frame: Atoms, keys: DataConfig, where: str) -> np.ndarray | None:
    """W (eV) from the virial, or from the stress as -V sigma; both must agree when both are there."""
    virial = lookup(frame, keys.virial_key, per_atom=False)
    stress = lookup(frame, keys.stress_key, per_atom=False)
    from_virial = from_stress = None
    if virial is not None:
        values = numbers(virial, None, f"the virial ({keys.virial_key})", where)
        from_virial = as_tensor(values, keys.virial_key, where)
    if stress is not None:
        volume = abs(np.linalg.det(frame.cell.array))
        if volume == 0.0:
            raise InputError(f"{where}: a stress ({keys.stress_key}) needs a cell, and this frame has none")
        values = numbers(stress, None, f"the stress ({keys.stress_key})", where)
        from_stress = -volume * as_tensor(values, keys.stress_key, where)
    if from_virial is not None and from_stress is not None:
        check_signs(from_virial, from_stress, len(frame), keys.virial_key, keys.stress_key, where)
    return from_virial if from_virial is not None else from_stress


def _require(structures: Sequence[Structure], keys: DataConfig, seen: _SeenKeys, name: str) -> None:
    """A quantity that the user expects and that no frame has is a misspelt name, not an empty set."""
    asked = keys.model_fields_set.intersection(EXPECTED_IF_NAMED)
    for setting in sorted({"energy_key", "forces_key"} | asked):
        have = seen.per_atom if setting in ("forces_key", "local_energy_key") else seen.per_frame
        key = getattr(keys, setting)
        wanted = f"n_{key}" if setting == "hessian_key" else key
        if key and wanted not in have:
            raise InputError(_absent(name, setting, wanted, have))
    if not any(s.n_rows for s in structures):
        raise InputError(f"{name}: nothing to learn from: no energy, no forces and no virial is read, nor local energies or "
                         "curvatures")


def _absent(name: str, setting: str, key: str, have: set[str]) -> str:
    offer = ", ".join(sorted(have)) or "none"
    return (f'{name}: no frame has {key!r} (data.{setting}); names that exist: {offer}. '
            f'Set data.{setting} to the right one, or to "" not to read it')
