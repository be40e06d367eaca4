"""The structure that i-PI starts from: in the setting of its cell that i-PI needs, in a file that it reads correctly.

i-PI keeps the cell as an upper triangular matrix of columns: the first lattice vector along x, the second in the xy plane,
the third with a positive z. Its reader of ASE's formats turns other cells by itself, but only those that are periodic in
all directions, and it takes several frames in a file for several beads.
"""

from itertools import islice
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.cell import Cell

from soapgap.errors import InputError
from soapgap.ipi.frames import read_structure

__all__ = ["as_extended_xyz", "read_start", "readable_by_ipi", "standard_setting"]

VACUUM = 20.0  # Angstrom, added where the structure has no lattice vector


def read_start(path: str | Path) -> ase.Atoms:
    """The structure with known elements and finite numbers; first frame.

    Raises
    ------
    InputError
        The file is missing, unreadable or empty, or has an unknown element, a position or cell that is not finite, or no
        lattice vector in a periodic direction.
    """
    atoms = read_structure(path)
    unknown = np.flatnonzero(atoms.numbers < 1)
    if len(unknown):
        raise InputError(f"{path}: atom {unknown[0] + 1} is '{atoms.symbols[unknown[0]]}'; expected a chemical element")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(f"{path}: a position or a lattice vector is not finite")
    missing = ~atoms.cell.array.any(axis=1)
    if (missing & atoms.pbc).any():
        raise InputError(f"{path}: periodic, but lattice vector {np.flatnonzero(missing & atoms.pbc)[0] + 1} is zero; give the "
                         'cell (Lattice="..." in extended XYZ), or pbc="F F F"')
    cell = atoms.cell.complete()
    if abs(np.linalg.det(cell)) < 1e-6 * np.prod(np.linalg.norm(cell, axis=1)):
        raise InputError(f"{path}: the lattice vectors lie in one plane; expected a cell with a volume")
    if not (atoms.get_masses() > 0).all():
        raise InputError(f"{path}: a mass is not positive")
    return atoms


def readable_by_ipi(path: str | Path, atoms: ase.Atoms) -> bool:
    """Whether i-PI's ``<file mode="ase">`` gets these atoms from that file as they are: one frame of extended XYZ in the
    standard setting."""
    path = Path(path)
    if path.suffix not in (".xyz", ".extxyz") or "mass" in atoms.arrays or not _is_standard(atoms.cell.array):
        return False
    if path.name != path.name.strip():  # i-PI strips what is between tags
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = list(islice(file, 2))
    if len(lines) < 2 or "Properties=" not in lines[1]:
        return False
    return sum(1 for _ in islice(ase.io.iread(path, index=":", do_not_split_by_at_sign=True), 2)) == 1


def standard_setting(atoms: ase.Atoms) -> tuple[ase.Atoms, list[str]]:
    """The same structure as i-PI needs it, and what was done to it in words.

    Missing lattice vectors (not periodic) are added with 20 Angstrom of vacuum. The vectors of a left-handed cell change
    sign, all three: the same lattice, right-handed. Then all is rotated to the standard setting; a rotation and nothing
    else, so distances, fractional coordinates, energy and the sizes of forces are the same.

    Parameters
    ----------
    atoms : ase.Atoms

    Returns
    -------
    atoms : ase.Atoms
        Numbers, positions, masses, cell and pbc.
    notes : list of str
    """
    notes = []
    cell, positions = _completed(atoms)
    if not atoms.cell.array.any(axis=1).all():
        sizes = " x ".join(f"{length:.1f}" for length in np.linalg.norm(cell, axis=1))
        notes.append(f"i-PI needs a cell: the structure was put into one of {sizes} Angstrom. It is not periodic there")
    if np.linalg.det(cell) < 0:
        cell = -cell
        notes.append("the three lattice vectors changed sign: they were left-handed. The lattice is the same")
    if not _is_standard(cell):
        rotation, triangle = np.linalg.qr(cell.T)
        signs = np.sign(np.diag(triangle))
        rotation, cell = rotation * signs, np.tril((signs[:, None] * triangle).T)
        positions = positions @ rotation
        notes.append("the structure was rotated: i-PI needs the first lattice vector along x and the second in the xy plane")
    result = ase.Atoms(atoms.numbers, positions, cell=cell, pbc=atoms.pbc)
    if "mass" in atoms.arrays and not atoms.has("masses"):
        result.set_masses(atoms.arrays["mass"])
        notes.append("the column 'mass' became 'masses', as ASE and i-PI call it")
    elif atoms.has("masses"):
        result.set_masses(atoms.get_masses())
    return result, notes


def as_extended_xyz(atoms: ase.Atoms) -> str:
    """The structure as extended XYZ in twelve decimals (ASE's own writer has eight)."""
    lattice = " ".join(f"{value:.12f}" for value in atoms.cell.array.ravel())
    pbc = " ".join("T" if flag else "F" for flag in atoms.pbc)
    columns, masses = "species:S:1:pos:R:3", [""] * len(atoms)
    if atoms.has("masses"):
        columns += ":masses:R:1"
        masses = [f" {mass:.12g}" for mass in atoms.get_masses()]
    lines = [str(len(atoms)), f'Lattice="{lattice}" Properties={columns} pbc="{pbc}"']
    for symbol, (x, y, z), mass in zip(atoms.symbols, atoms.positions, masses, strict=True):
        lines.append(f"{symbol:<2} {x:20.12f} {y:20.12f} {z:20.12f}{mass}")
    return "\n".join(lines) + "\n"


def _is_standard(cell: np.ndarray) -> bool:
    """Lower triangular rows with a positive diagonal: i-PI's upper triangular columns."""
    return bool((np.diag(cell) > 0).all() and np.abs(np.triu(cell, 1)).max() < 1e-10)


def _completed(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cell with all three vectors, and positions (centred along the added vectors)."""
    missing = ~atoms.cell.array.any(axis=1)
    cell, positions = np.array(Cell(atoms.cell.array).complete()), atoms.positions.copy()
    for index in np.flatnonzero(missing):
        direction = cell[index] / np.linalg.norm(cell[index])
        along = positions @ direction
        length = np.ptp(along) + VACUUM
        cell[index] = length * direction
        positions += (0.5 * length - 0.5 * (along.min() + along.max())) * direction
    return cell, positions
