"""LAMMPS with `fix ipi` as a process that always ends, and as a client of a scripted server."""

import contextlib

import numpy as np
from ase import Atoms
from ipi_runs import crystal_model
from ipi_tools import Server, header, posdata_bytes
from lammps_tools import write_data
from programs import LIMIT, environment, process

from soapgap.programs import find_program

# What `fix ipi` converts with (units metal). TestConstants measures both.
LAMMPS_BOHR = 0.52917721  # Angstrom
LAMMPS_HARTREE = 8.617343e-5 / 3.1668152e-6  # eV: LAMMPS's kB in eV/K over the fix's own kB in Hartree/K
IPI_ANGSTROM = 1.8897261  # bohr, in i-PI's input
ELEMENTS = ["Si", "Ge"]
INPUT = """units metal
boundary {boundary}
atom_style atomic
atom_modify map array
read_data data.lammps
pair_style soapgap
pair_coeff * * model.safetensors {elements}
{more}
fix 1 all ipi {where}
run {frames}
"""

TOOLS_BOHR = 0.52917721067  # Angstrom, of `posdata_bytes`


class Client:
    """LAMMPS as a client: `ask` sends it a frame as i-PI does, and gives E, F, W with the units in `bohr`, `hartree`."""

    def __init__(self, folder, running, server):
        self.folder, self.running, self.server = folder, running, server

    def ask(self, cell, positions, bohr=LAMMPS_BOHR, hartree=LAMMPS_HARTREE):
        assert self.server.status() == header("READY")  # never NEEDINIT: it cannot be told a batch size
        scale = TOOLS_BOHR / bohr
        self.server.send(posdata_bytes(np.array(cell) * scale, np.array(positions) * scale) + header("GETFORCE"))
        n = len(positions)
        data = self.server.answer(n)
        numbers = np.frombuffer(data[12:20] + data[24:-4])
        virial = np.triu(numbers[-9:].reshape(3, 3))  # i-PI reads the upper triangle only
        virial += np.triu(virial, 1).T
        return numbers[0] * hartree, numbers[1:-9].reshape(n, 3) * hartree / bohr, virial * hartree

    def log(self):
        return (self.folder / "lammps.log").read_text()

    def end(self):
        """The status with which it ended, after all of its output."""
        return self.running.wait(LIMIT)


@contextlib.contextmanager
def lammps_running(folder, where, data, model=None, ranks=1, boundary="p p p", more="", frames=100000000, elements=ELEMENTS):
    """`lmp` with fix ipi on a data file made of `data`; ended in any case, with its children."""
    (model or crystal_model()).save(folder / "model.safetensors")
    if isinstance(data, Atoms):
        write_data(folder / "data.lammps", data, elements)
    else:
        (folder / "data.lammps").write_text(data)
    settings = {"boundary": boundary, "more": more, "where": where, "frames": frames, "elements": " ".join(elements)}
    (folder / "in.lammps").write_text(INPUT.format(**settings))
    launcher = [find_program("mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, find_program("lmp"), "-in", "in.lammps", "-log", "none"]
    with process(command, folder, folder / "lammps.log", env=environment()) as running:
        try:
            yield running
        except BaseException:
            print((folder / "lammps.log").read_text())
            raise


@contextlib.contextmanager
def client(folder, data, **arguments):
    """LAMMPS connected to a scripted server."""
    server = Server(("127.0.0.1", 0))
    try:
        where = f"127.0.0.1 {server.address[1]}"
        with lammps_running(folder, where, data, **arguments) as running:
            yield Client(folder, running, server.accept())
    finally:
        server.close()


def differences(got, expected):
    """Largest difference of E, F and W over the largest value of each."""
    wanted = expected.energy, expected.forces, expected.virial
    assert all(np.isfinite(values).all() for values in got)
    return [float(np.abs(g - w).max() / np.abs(w).max()) for g, w in zip(got, wanted, strict=True)]


def assert_same(got, expected, bound):
    found = differences(got, expected)
    print("relative differences of E, F, W:", " ".join(f"{value:.1e}" for value in found))
    assert max(found) <= bound
