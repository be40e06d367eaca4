"""i-PI itself as a process that always ends, and a crystal with a model that holds it together."""

import contextlib
import functools
import socket
import sys

import numpy as np
from ase.build import bulk
from ase.cell import Cell
from ase.units import Hartree
from ipi_tools import short_directory
from models import soap_term
from programs import LIMIT, environment, process, program

from soapgap.model import Model, PairTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential
from soapgap.radial.table import radial_table

SPECIES = ["Si", "Ge"]
INPUT = """<simulation verbosity="low" safe_stride="1000000">
 <output prefix="run">
  <properties stride="1" filename="out">[step, conserved, potential, volume, virial_md, kinetic_md]</properties>
 </output>
 <total_steps>{steps}</total_steps>
 <prng><seed>11</seed></prng>
 {forcefield}
 <system>
  <initialize nbeads="{beads}">
   <file mode="xyz">start.xyz</file><velocities mode="thermal" units="kelvin">{temperature}</velocities>
  </initialize>
  <forces><force forcefield="soapgap"/></forces>
  <motion mode="dynamics"><fixcom>{fixcom}</fixcom>
   <dynamics mode="{ensemble}"><timestep units="femtosecond">{timestep}</timestep>{dynamics}</dynamics>
  </motion>
  <ensemble><temperature units="kelvin">{temperature}</temperature>{pressure}</ensemble>
 </system>
</simulation>
"""
SOCKET = """<ffsocket name="soapgap" mode="{mode}" pbc="false">
  <address>{address}</address><port>{port}</port><consolidate_messages>{consolidate}</consolidate_messages>{options}
 </ffsocket>"""
THERMOSTAT = '<thermostat mode="{}"><tau units="femtosecond">50</tau></thermostat>'
DEFAULTS = {
    "forcefield": SOCKET,
    "steps": 20,
    "mode": "unix",
    "address": "run",
    "port": 1,
    "consolidate": "True",
    "options": "",
    "beads": 1,
    "temperature": 300,
    "ensemble": "nve",
    "timestep": 1.0,
    "dynamics": "",
    "pressure": "",
    "fixcom": "True",
}
# i-PI with everything it got from the driver in full digits: its own output has nine.
WHOLE = """
import sys
import numpy as np
from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

simulation = Simulation.load_from_xml(open("input.xml"), sockets_prefix=sys.argv[1])
simulation.run()
s = simulation.syslist[0]
forces, where = s.forces, {"positions": s.beads.q, "cell": s.cell.h}
np.savez("end.npz", energies=forces.pots, forces=forces.f, virials=forces.virs, **where)
softexit.trigger(status="success", message="")
"""


def crystal():
    """32 atoms of an ordered fcc alloy in a triclinic cell, rattled."""
    atoms = bulk("Si", "fcc", a=3.47, cubic=True).repeat(2)
    atoms.symbols[::2] = "Ge"
    sheared = atoms.cell @ np.array([[1.0, 0.08, -0.05], [0.0, 1.0, 0.06], [0.0, 0.0, 1.0]])
    atoms.set_cell(Cell.fromcellpar(Cell(sheared).cellpar()), scale_atoms=True)
    atoms.rattle(0.03, seed=3)
    return atoms


def morse(r, lo, hi):
    """Half a Morse well, 0.4 eV at 2.6 Angstrom, switched off by a cosine from 3.4 to 4.6: value and two
    derivatives."""
    x = np.exp(-1.6 * (r - 2.6))
    v = 0.2 * np.array([x * x - 2 * x, -3.2 * (x * x - x), 5.12 * (2 * x * x - x)])
    f = np.array([np.ones_like(r), 0 * r, 0 * r])
    if lo > 3.3:
        u, k = np.pi * (r - 3.4) / 1.2, np.pi / 1.2
        f = 0.5 * np.array([1 + np.cos(u), -k * np.sin(u), -k * k * np.cos(u)])
    return np.array([v[0] * f[0], v[1] * f[0] + v[0] * f[1], v[2] * f[0] + 2 * v[1] * f[1] + v[0] * f[2]])[:, :, None]


@functools.cache
def crystal_model() -> Model:
    """A pair potential that holds the crystal together, with SOAP terms of both species on top."""
    table = radial_table(morse, [1.0, 3.4, 4.6])
    pairs = (("Si", "Si"), ("Si", "Ge"), ("Ge", "Ge"))
    terms = [PairTerm(pair, 4.6, table, {"kind": "distance_2b"}) for pair in pairs]
    rng = np.random.default_rng(7)
    rattled = crystal()
    rattled.rattle(0.2, seed=5)
    e0 = {"Si": -1.0, "Ge": -2.0}
    for centre in SPECIES:
        blank = Model(SPECIES, e0, [soap_term(centre, SPECIES, 4, 3, np.eye(1, 144), np.zeros((1, 1)))]).evaluator()
        points = blank.features(0, neighbour_arrays(rattled, blank.cutoff, blank.species))[:12]
        terms.append(soap_term(centre, SPECIES, 4, 3, points, 0.0025 * rng.normal(size=(1, 12))))
    return Model(SPECIES, e0, terms)


class Recorder:
    """A Potential that remembers what it saw and what it answered."""

    def __init__(self, model, **arguments):
        self.potential = Potential(model, n_threads=1, **arguments)
        self.frames, self.results = [], []

    def compute(self, atoms):
        result = self.potential.compute(atoms)
        self.frames.append(atoms.copy())
        self.results.append(result)
        return result


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Run:
    """i-PI running in a folder; `where` tells a driver how to find it."""

    def __init__(self, folder, running, settings, prefix):
        self.folder, self.running = folder, running
        inet = settings["mode"] == "inet"
        self.where = (
            {"host": "127.0.0.1", "port": settings["port"]} if inet else {"unix": settings["address"], "prefix": prefix}
        )

    def finish(self):
        """Waits for the end of i-PI; its table of properties."""
        assert self.running.wait(LIMIT) == 0, (self.folder / "ipi.log").read_text()
        return self.table()

    def table(self):
        return np.loadtxt(self.folder / "run.out", ndmin=2)

    def steps(self):
        """Steps written so far."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "run.out").read_text().splitlines()[:-1]  # the last one may be half written
            return len([line for line in lines if not line.startswith("#")])
        return 0


@contextlib.contextmanager
def ipi_running(folder, atoms, whole=False, **settings):
    """i-PI started on a structure, with its sockets in a folder of their own; ended in any case."""
    settings = DEFAULTS | settings
    if settings["mode"] == "inet":
        settings |= {"address": "127.0.0.1", "port": free_port()}
    settings["forcefield"] = settings["forcefield"].format(**settings)
    lines = [
        f"{symbol} {x:.12f} {y:.12f} {z:.12f}" for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    h = " ".join(f"{value:.12f}" for value in atoms.cell.array.T.ravel())
    (folder / "start.xyz").write_text(
        "\n".join([str(len(atoms)), f"# CELL{{H}}: {h} positions{{angstrom}} cell{{angstrom}}", *lines, ""])
    )
    (folder / "input.xml").write_text(INPUT.format(**settings))
    with short_directory() as sockets:
        prefix = f"{sockets}/"
        command = (
            [sys.executable, "-c", WHOLE, prefix]
            if whole
            else [sys.executable, program("i-pi"), "-S", prefix, "input.xml"]
        )
        with process(command, folder, folder / "ipi.log", env=environment()) as running:
            try:
                yield Run(folder, running, settings, prefix)
            except BaseException:
                print((folder / "ipi.log").read_text())
                raise


def virials_of(table):
    """Virial W in eV, [steps, 3, 3], from i-PI's column virial_md (per volume, xx yy zz xy xz yz)."""
    xx, yy, zz, xy, xz, yz = (table[:, 4:10] * table[:, 3:4] * Hartree).T
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)


def trend(table):
    """Fitted slope times length, and standard deviation, of the conserved quantity of a run (eV)."""
    conserved = table[:, 1] * Hartree
    return abs(np.polyfit(table[:, 0], conserved, 1)[0]) * len(conserved), conserved.std()
