"""Step: one structure, one model, three hosts: the largest differences of energy, forces and virial.

    python -m soapgap.demo.agreement MODEL

computes a strained, rattled, triclinic silicon crystal with the ASE calculator, with LAMMPS on one and on two MPI
ranks, and with the i-PI driver (served by ASE's socket server), and prints the differences from the ASE calculator.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write

from soapgap import programs
from soapgap.demo import comparison
from soapgap.demo.workflow import Check, StepResult
from soapgap.errors import HostError
from soapgap.files import write_atomically

TITLE = "The same energy, forces and virial in every host"
TEXT = (
    "One triclinic, strained and rattled crystal of 54 atoms is computed with the ASE calculator, with LAMMPS on one and on "
    "two MPI ranks, and with the i-PI driver, served by ASE's own implementation of i-PI's protocol. The table shows the "
    "largest differences from the ASE calculator; 'relative' divides by the largest value of the same quantity."
)
RELATIVE_LIMIT = 1e-9
TIME_LIMIT = 120.0  # s for each program
BAR = 1.6021765e6  # bar in one eV/Angstrom^3, the constant that LAMMPS has built in for metal units

LAMMPS_INPUT = """\
units           metal
atom_modify     map yes
box             tilt large
read_data       structure.data
pair_style      soapgap
pair_coeff      * * "{model}" Si
compute         virial all pressure NULL virial
thermo_style    custom step pe c_virial[*]
dump            forces all custom 1 forces.txt id fx fy fz
dump_modify     forces sort id format float %.17g
run             0
print           "$(pe:%.17g) $(c_virial[1]:%.17g) $(c_virial[2]:%.17g) $(c_virial[3]:%.17g) &
$(c_virial[4]:%.17g) $(c_virial[5]:%.17g) $(c_virial[6]:%.17g) $(vol:%.17g)" file scalars.txt
"""


@dataclass
class HostValues:
    """Energy (eV), forces (eV/Angstrom) and virial (eV, W = -dE/dstrain) of one structure."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray


def triclinic_structure():
    """54 silicon atoms in a strained triclinic cell (lower triangular, as LAMMPS wants it), moved by about 0.1 A."""
    crystal = bulk("Si", a=5.431) * (3, 3, 3)
    rng = np.random.default_rng(54)
    strain = rng.uniform(-0.03, 0.03, (3, 3))
    crystal.set_cell(crystal.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    crystal.positions += rng.normal(0, 0.1, crystal.positions.shape)
    lower, rotation = crystal.cell.standard_form()
    rotated = Atoms(crystal.symbols, positions=crystal.positions @ rotation.T, cell=lower, pbc=True)
    rotated.wrap()
    return rotated


def with_ase(model, atoms, n_threads):
    """The ASE calculator in this process."""
    from soapgap.calculator import SoapGAP

    copy = atoms.copy()
    copy.calc = SoapGAP(model, n_threads=n_threads)
    stress = copy.get_stress(voigt=False)
    return HostValues(copy.get_potential_energy(), copy.get_forces(), -copy.get_volume() * stress)


def with_lammps(model, atoms, n_ranks, folder):
    """``pair_style soapgap`` in LAMMPS, started by mpiexec in ``folder``."""
    write(folder / "structure.data", atoms, format="lammps-data", specorder=["Si"], masses=True)
    write_atomically(folder / "in.agreement", LAMMPS_INPUT.format(model=Path(model).resolve()))
    command = ["mpiexec", "-n", n_ranks, "lmp", "-in", "in.agreement", "-log", "agreement.log"]
    programs.run(command, folder, "lammps.out", TIME_LIMIT)
    forces = np.loadtxt(folder / "forces.txt", skiprows=9)[:, 1:]
    energy, *pressure, volume = np.loadtxt(folder / "scalars.txt")
    xx, yy, zz, xy, xz, yz = np.array(pressure) * volume / BAR
    return HostValues(energy, forces, np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))


def with_driver(model, atoms, folder):
    """``soapgap drive`` answering ASE's implementation of i-PI's server."""
    write(folder / "structure.xyz", atoms, format="extxyz")
    address = f"soapgap-agreement-{os.getpid()}"
    command = ["soapgap", "drive", Path(model).resolve(), "structure.xyz", "--unix", address]
    log = folder / "drive.log"
    copy = atoms.copy()
    with programs.background(command, folder, "drive.log") as driver:
        try:
            with SocketIOCalculator(unixsocket=address, timeout=TIME_LIMIT) as server:
                copy.calc = server
                stress = copy.get_stress(voigt=False)
                values = HostValues(copy.get_potential_energy(), copy.get_forces(), -copy.get_volume() * stress)
        except OSError as error:
            raise HostError(f"`{programs.command_line(command)}` did not answer ({error}):\n{programs.tail(log)}") from error
        programs.wait(driver, command, log, 30)
    return values


def differences(values, reference):
    """Largest absolute differences of energy, forces, virial, and each relative to the largest reference value."""
    result = {}
    for name in ("energy", "forces", "virial"):
        a, b = np.asarray(getattr(values, name)), np.asarray(getattr(reference, name))
        largest = float(np.abs(a - b).max())
        result[name] = {"absolute": largest, "relative": largest / float(np.abs(b).max())}
    return result


def compare(model, folder, n_threads=1):
    """Differences of every host from the ASE calculator: {host: {quantity: {"absolute", "relative"}}}."""
    atoms = triclinic_structure()
    reference = with_ase(model, atoms, n_threads)
    folder = Path(folder)
    return {
        "LAMMPS, 1 rank": differences(with_lammps(model, atoms, 1, folder), reference),
        "LAMMPS, 2 ranks": differences(with_lammps(model, atoms, 2, folder), reference),
        "i-PI driver": differences(with_driver(model, atoms, folder), reference),
    }


def table(result):
    """The differences as lines of text."""
    lines = [f"{'largest difference from ASE':28s}{'E, eV':>12s}{'F, eV/A':>12s}{'W, eV':>12s}{'relative':>12s}"]
    for host, values in result.items():
        cells = "".join(f"{values[name]['absolute']:12.1e}" for name in ("energy", "forces", "virial"))
        lines.append(f"{host:28s}{cells}{max(v['relative'] for v in values.values()):12.1e}")
    return "\n".join(lines)


def compare_in_temporary_folder(model, n_threads):
    """`compare`, with the files of LAMMPS out of the way."""
    with tempfile.TemporaryDirectory(prefix="soapgap-agreement-") as folder:
        return compare(model, folder, n_threads)


def run(flow):
    """Run the comparison as a command and check it."""
    result = comparison.run(flow, "agreement", "three hosts", table)
    names = ("energy", "forces", "virial")
    rows = [
        [host, *(f"{values[name]['absolute']:.1e}" for name in names), f"{max(values[name]['relative'] for name in names):.1e}"]
        for host, values in result.items()
    ]
    worst = max(values[name]["relative"] for values in result.values() for name in names)
    return StepResult(
        summary=f"All hosts agree to {worst:.0e} of the largest value of the same quantity.",
        tables=[("Largest differences from the ASE calculator", ["host", "E, eV", "F, eV/Å", "W, eV", "relative"], rows)],
        checks=[Check("largest relative difference between hosts", worst, RELATIVE_LIMIT)],
        numbers=result,
    )


def main(arguments=None):
    """Command line."""
    return comparison.command("soapgap.demo.agreement", __doc__.splitlines()[0], compare_in_temporary_folder, table,
                              arguments)


if __name__ == "__main__":
    sys.exit(main())
