"""Tools of the LAMMPS tests: data files, inputs, and `lmp` as a process that always ends."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from programs import Run, run_program

from soapgap.programs import find_program

NKTV2P = 1.6021765e6  # LAMMPS's own constant of `units metal`: bar Angstrom^3 per eV

VOIGT = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]  # LAMMPS's order: xx yy zz xy xz yz
CENTROID = [*VOIGT, (1, 0), (2, 0), (2, 1)]  # ... yx zx zy


def lmp(folder, script: str, ranks: int = 1, **environment) -> Run:
    """Run a LAMMPS input in `folder`."""
    Path(folder, "in.lammps").write_text(script)
    launcher = [find_program("mpiexec"), "-n", ranks] if ranks > 1 else []
    return run_program([*launcher, find_program("lmp"), "-in", "in.lammps", "-log", "none"], folder, **environment)


def lmp_ok(folder, script: str, ranks: int = 1, **environment) -> Run:
    """As `lmp`, and LAMMPS must be content."""
    run = lmp(folder, script, ranks, **environment)
    assert run.status == 0, run.stdout + run.stderr
    assert not run.errors, run.errors
    return run


def write_data(path, atoms, elements) -> None:
    """A LAMMPS data file; the cell must be lower triangular, as LAMMPS has it. Types are positions in `elements`."""
    cell = atoms.cell.array
    assert np.allclose(cell, np.tril(cell))
    lines = ["test structure", f"{len(atoms)} atoms", f"{len(elements)} atom types"]
    lines += [f"0 {cell[k, k]:.17g} {a}lo {a}hi" for k, a in enumerate("xyz")]
    if np.abs(cell - np.diag(np.diag(cell))).max() > 0:
        lines.append(f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz")
    lines += ["", "Masses", ""] + [f"{k + 1} {atomic_masses[atomic_numbers[e]]}" for k, e in enumerate(elements)]
    lines += ["", "Atoms # atomic", ""]
    for k, (symbol, r) in enumerate(zip(atoms.get_chemical_symbols(), atoms.positions)):
        lines.append(f"{k + 1} {elements.index(symbol) + 1} " + " ".join(f"{x:.17g}" for x in r))
    Path(path).write_text("\n".join(lines) + "\n")


def header(boundary: str = "p p p", before: str = "") -> str:
    """The first lines of an input, up to the atoms."""
    return f"units metal\nboundary {boundary}\natom_modify map yes\n{before}\nread_data data.lammps\n"


MEASURE = """
compute e all pe/atom
compute s all stress/atom NULL virial
compute c all centroid/stress/atom NULL virial
compute p all pressure NULL virial
thermo_style custom step pe vol c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6]
dump d all custom 1 dump.* id fx fy fz c_e c_s[*] c_c[*]
dump_modify d sort id format float %.17g
run 0
print '{"pe": $(pe:%.17g), "v": $(vol:%.17g), "p": [$(c_p[1]:%.17g), $(c_p[2]:%.17g), $(c_p[3]:%.17g), &
$(c_p[4]:%.17g), $(c_p[5]:%.17g), $(c_p[6]:%.17g)]}' file global.json
"""


@dataclass
class Measured:
    """What LAMMPS says of a structure, in eV and Angstrom; virials are W = -dE/dstrain."""

    energy: float
    virial: np.ndarray  # [6]
    forces: np.ndarray  # [n][3]
    energies: np.ndarray  # [n]
    atom_virials: np.ndarray  # [n][6]
    centroid_virials: np.ndarray  # [n][9]


def measured(folder) -> Measured:
    """Reads what MEASURE wrote."""
    values = json.loads(Path(folder, "global.json").read_text())
    rows = np.loadtxt(Path(folder, "dump.0"), skiprows=9, ndmin=2)
    virial = np.array(values["p"]) * values["v"] / NKTV2P
    # stress/atom is -virial * nktv2p
    return Measured(values["pe"], virial, rows[:, 1:4], rows[:, 4], -rows[:, 5:11] / NKTV2P, -rows[:, 11:20] / NKTV2P)


def thermo(output: str) -> np.ndarray:
    """Rows of all thermo tables in LAMMPS's output."""
    rows = []
    for table in re.findall(r"^ +Step .*\n((?: +[-\d].*\n)+)", output, flags=re.M):
        rows += [[float(word) for word in line.split()] for line in table.splitlines()]
    return np.array(rows)


def positions(path) -> np.ndarray:
    """Columns after the id of every snapshot of a sorted dump: [snapshots][atoms][columns]."""
    blocks = Path(path).read_text().split("ITEM: TIMESTEP")[1:]
    return np.array([np.loadtxt(block.splitlines()[9:], ndmin=2)[:, 1:] for block in blocks])
