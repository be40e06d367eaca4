"""Structures that come into the i-PI driver: reading the one that names the species, checking the first frame."""

import re
from itertools import groupby
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.cell import Cell
from ase.units import Bohr

from soapgap.errors import InputError

_IPI_CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]:\s*([-+0-9.Ee ]+)")
_IPI_UNIT = re.compile(r"(positions|cell)\{([A-Za-z_]*)\}")
_UNITS = {"angstrom": 1.0, "atomic_unit": Bohr, "bohr": Bohr, "nanometer": 10.0, "": Bohr, "automatic": Bohr}

CELL_TOLERANCE = 0.05  # relative
MOVED = 1.0  # Angstrom; thermal motion stays below, a mixed-up atom does not
MAX_SEARCH = 3000  # atoms; above, permutations are not looked for


def read_structure(path: str | Path) -> ase.Atoms:
    """Reads the structure that fixes the species, their order, and the periodic directions.

    Any format of `ase.io.read` (first frame), and i-PI's own XYZ (``# CELL(abcABC): ... positions{unit} cell{unit}``,
    bohr unless a unit is given), which is periodic in all directions.

    Raises
    ------
    InputError
        The file is missing, empty, or of no known format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"there is no structure file {path}; expected a file that ASE can read (extended XYZ, for example)"
        )
    try:
        comment = _xyz_comment(path)
        match = _IPI_CELL.search(comment)
        if match and "Lattice=" not in comment:
            return _from_ipi(ase.io.read(path, index=0, format="xyz", do_not_split_by_at_sign=True), comment, match)
        atoms = ase.io.read(path, index=0, do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever they stumble over
        raise InputError(f"cannot read a structure from {path}: {type(error).__name__}: {error}") from error
    if len(atoms) == 0:
        raise InputError(f"the structure file {path} holds no atoms")
    return atoms


def _xyz_comment(path: Path) -> str:
    """The second line of a text file (where XYZ has its comment), or nothing."""
    with open(path, "rb") as file:
        file.readline(200)
        return file.readline(2000).decode("utf-8", errors="replace")


def _from_ipi(atoms: ase.Atoms, comment: str, match: re.Match) -> ase.Atoms:
    """Cell and units of i-PI's comment line applied to the atoms of a plain XYZ file."""
    unit = {quantity: _UNITS[name] for quantity, name in _IPI_UNIT.findall(comment)}
    kind, numbers = match[1], np.array(match[2].split(), float)
    if kind == "abcABC":
        cell = Cell.fromcellpar(numbers[:6])
    else:  # nine numbers, lattice vectors as columns
        cell = Cell(numbers[:9].reshape(3, 3).T)
    positions = atoms.positions
    if kind == "GENH":  # i-PI turns such cells to a along x, b in the xy plane
        standard = Cell.fromcellpar(Cell(numbers[:9].reshape(3, 3)).cellpar())
        positions = (positions @ np.linalg.inv(numbers[:9].reshape(3, 3))) @ standard
        cell = standard
    return ase.Atoms(
        atoms.numbers, positions * unit.get("positions", Bohr), cell=cell * unit.get("cell", Bohr), pbc=True
    )


def parse_pbc(text: str) -> tuple[bool, bool, bool]:
    """``"TTF"`` -> (True, True, False)."""
    if not re.fullmatch("[TFtf]{3}", text):
        raise InputError(
            f"got pbc '{text}'; expected three letters T or F, one for each lattice vector, such as TTT or TTF"
        )
    return tuple(letter in "Tt" for letter in text)


def describe_species(atoms: ase.Atoms, limit: int = 6) -> str:
    """Runs of equal species in order, such as ``Si 1-64, O 65-192``: the order that i-PI's positions must have."""
    runs, first = [], 1
    for symbol, group in groupby(atoms.symbols):
        last = first + len(list(group)) - 1
        runs.append(f"{symbol} {first}" if last == first else f"{symbol} {first}-{last}")
        first = last + 1
    return ", ".join(runs[:limit]) + (", ..." if len(runs) > limit else "")


def check_first_frame(structure: ase.Atoms, cell: np.ndarray, positions: np.ndarray) -> list[str]:
    """Warnings about a first frame that does not look like the structure whose species it is given.

    Catches bohr/Angstrom mix-ups and permuted atoms. Compares cells by their metric and positions by fractional
    coordinates (so a rotated setting of the same lattice is the same), modulo lattice vectors. A frame taken from the
    middle of a run may trigger it rightly and harmlessly; hence warnings.

    Parameters
    ----------
    structure : ase.Atoms
    cell : ndarray [3, 3]
        Of the frame, rows, Angstrom.
    positions : ndarray [N, 3]
        Of the frame, Angstrom.

    Returns
    -------
    list of str
        Empty if all is well.
    """
    warnings = []
    reference, periodic = structure.positions, None
    if abs(np.linalg.det(structure.cell)) > 1e-9 and abs(np.linalg.det(cell)) > 1e-9:
        scale = abs(np.linalg.det(cell) / np.linalg.det(structure.cell)) ** (1 / 3)
        if abs(scale * Bohr - 1) < 0.02 or abs(scale / Bohr - 1) < 0.02:
            text = (
                f"i-PI's first cell is {scale:.4f} times the structure's in length: bohr and Angstrom are mixed up in "
                "one of the two inputs (an i-PI xyz file without units is read as bohr)"
            )
            return [text]
        lengths = np.linalg.norm(structure.cell, axis=1)
        metric = (cell @ cell.T - structure.cell @ structure.cell.T) / np.outer(lengths, lengths)
        if np.abs(metric).max() > 2 * CELL_TOLERANCE:
            warnings.append(
                f"i-PI's first cell differs from the structure's (lengths {_lengths(cell)} against "
                f"{_lengths(structure.cell)} Angstrom)"
            )
        reference, periodic = structure.get_scaled_positions(wrap=False) @ cell, cell
    moved = np.linalg.norm(_nearest(positions - reference, periodic, structure.pbc), axis=1)
    far = moved > MOVED
    if far.any():
        worst = int(moved.argmax())
        text = (
            f"{far.sum()} of {len(moved)} atoms of i-PI's first frame lie more than {MOVED:g} Angstrom from the "
            f"structure's (atom {worst + 1}, {structure.symbols[worst]}: {moved[worst]:.2f})"
        )
        others = _permuted(reference, positions, periodic, structure.pbc, far)
        if others > far.sum() / 2:
            text += f"; {others} of them sit where another atom of the structure is: is the order of atoms the same?"
        warnings.append(text)
    return warnings


def _lengths(cell: np.ndarray) -> str:
    return " ".join(f"{length:.3f}" for length in np.linalg.norm(cell, axis=1))


def _nearest(vectors: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray) -> np.ndarray:
    """`vectors` minus the lattice vectors that bring their fractional coordinates to [-1/2, 1/2)."""
    if cell is None or not np.any(pbc):
        return vectors
    return vectors - (np.rint(vectors @ np.linalg.inv(cell)) * pbc) @ cell


def _permuted(
    reference: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray, far: np.ndarray
) -> int:
    """How many of the `far` atoms lie within MOVED of the place of another atom."""
    if len(reference) > MAX_SEARCH:
        return 0
    found = 0
    for index in np.flatnonzero(far):
        distance = np.linalg.norm(_nearest(reference - positions[index], cell, pbc), axis=1)
        distance[index] = np.inf
        found += bool(distance.min() < MOVED)
    return found
