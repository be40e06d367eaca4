"""i-PI runs the inputs of `soapgap ipi-input` as they are: units, cells, thermostats and conserved quantities are right."""

import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.units import kB
from ipi_inputs import make, white_noise, write_gle
from ipi_runs import Recorder, crystal, crystal_model, free_port
from ipi_tools import Driver, short_directory
from programs import LIMIT, environment, process, program
from scipy.spatial.transform import Rotation

pytest.importorskip("ipi")


class Finished:
    """A run of i-PI that is over: its table by names, and what the driver saw."""

    def __init__(self, folder, prefix, frames=(), results=()):
        self.folder, self.frames, self.results = folder, frames, results
        text = (folder / f"{prefix}.out").read_text()
        names = re.findall(r"^# col\S* +([0-9-]+) +--> (\w+)", text, re.MULTILINE)
        table = np.loadtxt(text.splitlines(), ndmin=2)
        self.columns = {}
        for numbers, name in names:
            first, _, last = numbers.partition("-")
            self.columns[name] = table[:, int(first) - 1 : int(last or first)].squeeze(1 if not last else ())

    def __getitem__(self, name):
        return self.columns[name]


def run_ipi(folder, prefix, name="input.xml", model=None, structure=None):
    """i-PI on an input as it is; served by `drive`, as the command in the file says, if there is a model."""
    text = (folder / name).read_text()
    recorder = Recorder(model) if model is not None else None
    with short_directory() as sockets:
        command = [sys.executable, program("i-pi"), "-S", f"{sockets}/", name]
        with process(command, folder, folder / "ipi.log", env=environment()) as running:
            if recorder is not None:
                driver = Driver(recorder, folder / (structure or start_of(text)), **where_of(text, f"{sockets}/"))
            assert running.wait(LIMIT) == 0, (folder / "ipi.log").read_text()
            if recorder is None:
                return Finished(folder, prefix)
            assert driver.wait().reason == "exit"
    return Finished(folder, prefix, recorder.frames[1:], recorder.results[1:])  # not the warm-up


def start_of(text):
    return ElementTree.fromstring(text).findtext(".//file").strip()


def where_of(text, prefix):
    """The options of the command `soapgap drive` in the head of the file."""
    words = shlex.split(next(line for line in text.splitlines() if "soapgap drive" in line))
    options = {key.strip("-"): value for key, value in zip(words[4::2], words[5::2], strict=True)}
    if "port" in options:
        return {"host": options["host"], "port": int(options["port"])}
    return {"unix": options["unix"], "prefix": prefix}


def check_run(run, temperature=300.0):
    """What holds in any run: it got to its end, the first energy is the model's to 1e-7, and energy is conserved."""
    steps = 20
    assert run["step"][-1] == steps
    assert run["potential"][0] == pytest.approx(run.results[0].energy, rel=1e-7)
    assert 0.6 * temperature < run["temperature"][0] < 1.4 * temperature
    check_conserved(run)


def check_conserved(run, temperature=300.0):
    """The potential energy moves, and the conserved quantity does not: by less than 0.3 % of the mean kinetic energy."""
    n_beads = len(run.frames) // 21
    kinetic = 1.5 * len(run.frames[0]) * n_beads * kB * temperature
    assert np.ptp(run["conserved"]) < 0.003 * kinetic < np.ptp(run["potential"])


@pytest.fixture(scope="module")
def model():
    return crystal_model()


class TestRuns:
    """i-PI itself, each kind and each mode."""

    def test_nve(self, tmp_path, model):
        make(tmp_path, crystal(), kind="nve", steps=20, stride=1)
        run = run_ipi(tmp_path, "nve", model=model)
        check_run(run)
        assert "kinetic_md" in run.columns
        assert "pressure_md" in run.columns
        np.testing.assert_allclose(run.frames[0].positions, crystal().positions, rtol=0, atol=1e-9)
        np.testing.assert_allclose(run.frames[0].cell, crystal().cell, rtol=0, atol=1e-9)
        positions = ase.io.read(tmp_path / "nve.pos_0.extxyz", ":")
        assert len(positions) == 21
        np.testing.assert_allclose(positions[3].positions, run.frames[3].positions, atol=1e-7)
        assert "velocities" in (tmp_path / "nve.vel_0.extxyz").read_text()

    def test_nvt_over_tcp(self, tmp_path, model):
        make(tmp_path, crystal(), kind="nvt", mode="inet", port=free_port(), thermostat="svr", steps=20, stride=1)
        check_run(run_ipi(tmp_path, "nvt", model=model))

    def test_npt_holds_the_cell_in_angstrom(self, tmp_path, model):
        make(tmp_path, crystal(), kind="npt", pressure=2.0, steps=20, stride=1)
        run = run_ipi(tmp_path, "npt", model=model)
        check_run(run)
        h = crystal().cell.array.T
        xx, yy, zz, xy, xz, yz = run["cell_h"][0]
        np.testing.assert_allclose([[xx, xy, xz], [0, yy, yz], [0, 0, zz]], h, rtol=0, atol=1e-6)  # nine digits
        assert run["volume"][0] == pytest.approx(crystal().get_volume(), rel=1e-7)
        shapes = run["cell_h"] / run["cell_h"][:, :1]
        assert np.abs(shapes - shapes[0]).max() < 1e-7  # isotropic
        assert abs(run["volume"][-1] / run["volume"][0] - 1) > 1e-4
        # i-PI's pressure against the model's virial and the kinetic energy; its GPa is short by 3e-5.
        expected = (np.trace(run.results[0].virial) + 2 * run["kinetic_md"][0]) / (3 * crystal().get_volume()) * 160.21766
        assert run["pressure_md"][0] == pytest.approx(expected, rel=1e-4)

    def test_npt_of_an_orthogonal_cell_keeps_the_angles(self, tmp_path, model):
        atoms = bulk("Si", "fcc", a=3.47, cubic=True).repeat(2)
        atoms.symbols[::2] = "Ge"
        atoms.rattle(0.03, seed=3)
        make(tmp_path, atoms, kind="npt", barostat="flexible", steps=20, stride=1)
        run = run_ipi(tmp_path, "npt", model=model)
        check_run(run)
        lengths = run["cell_h"][:, :3]
        assert np.ptp(lengths[-1] - lengths[0]) > 1e-4  # each by itself
        assert np.array_equal(run["cell_h"][:, 3:], np.zeros((21, 3)))

    def test_npt_pimd(self, tmp_path, model):
        make(tmp_path, crystal(), kind="npt", beads=2, barostat="flexible", thermostat="pile_g", steps=20, stride=1)
        run = run_ipi(tmp_path, "npt-pimd", model=model)
        check_run(run)
        assert len(run.frames) == 42
        assert {"kinetic_cv", "pressure_cv", "volume", "cell_h"} <= set(run.columns)
        assert np.abs(run["cell_h"][-1] - run["cell_h"][0]).min() > 1e-4

    def test_pimd_then_rpmd_from_its_checkpoint(self, tmp_path, model):
        make(tmp_path, crystal(), kind="pimd", beads=4, steps=20, stride=1)
        text = (tmp_path / "input.xml").read_text()
        (tmp_path / "input.xml").write_text(text.replace('checkpoint stride="1000"', 'checkpoint stride="20"'))
        pimd = run_ipi(tmp_path, "pimd", model=model)
        check_run(pimd)
        assert pimd["kinetic_cv"][0] == pytest.approx(1.5 * 32 * kB * 300, rel=2e-6)  # all beads on one place
        assert (tmp_path / "pimd.centroid.extxyz").exists()
        assert (tmp_path / "pimd.pos_0.extxyz").exists()
        make(tmp_path, crystal(), "rpmd.xml", kind="rpmd", beads=4, steps=20, stride=1)
        text = (tmp_path / "rpmd.xml").read_text()
        line = re.search(r'<file mode="chk">pimd.checkpoint</file>', text)[0]
        (tmp_path / "rpmd.xml").write_text(text.replace('<file mode="ase">c.xyz</file>', line))
        rpmd = run_ipi(tmp_path, "rpmd", "rpmd.xml", model=model, structure="c.xyz")
        last, first = pimd.frames[-4:], rpmd.frames[:4]
        beads = [sorted(frame.positions[0, 0] for frame in frames) for frames in (first, last)]  # they come in any order
        np.testing.assert_allclose(beads[0], beads[1], atol=1e-6)
        assert np.ptp([frame.positions[0, 0] for frame in first]) > 1e-3
        assert 0.6 * 300 < rpmd["temperature"][0] < 1.4 * 300
        check_conserved(rpmd)
        assert len(ase.io.read(tmp_path / "rpmd.vel.extxyz", ":")) == 21

    def test_piglet_with_white_noise(self, tmp_path, model):
        write_gle(tmp_path / "gle.txt", *white_noise(4, 300.0))
        lines = make(tmp_path, crystal(), kind="pimd", thermostat="piglet", gle=tmp_path / "gle.txt", steps=20, stride=1)
        assert any("4 beads, for which the matrices of gle.txt were made" in line for line in lines)
        text = (tmp_path / "input.xml").read_text()
        (tmp_path / "input.xml").write_text(text.replace(">300</velocities>", ">1</velocities>"))
        run = run_ipi(tmp_path, "pimd", model=model)
        assert run["temperature"][0] < 5  # i-PI adds what the fixed centre of mass would have
        # The internal modes, three of four, are hot after 3 fs; the centroids (100 fs) only begin to be.
        assert 0.75 * 300 < run["temperature"][-10:].mean() / (3 / 4) < 1.35 * 300
        check_conserved(run)

    def test_a_rotated_left_handed_crystal(self, tmp_path, model):
        atoms = crystal()
        atoms.set_cell(atoms.cell[[1, 0, 2]])  # the same lattice, left-handed
        rotation = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix().T
        turned = ase.Atoms(atoms.symbols, atoms.positions @ rotation, cell=atoms.cell @ rotation, pbc=True)
        assert np.linalg.det(turned.cell) < 0
        lines = make(tmp_path, turned, kind="npt", steps=20, stride=1)
        assert any("left-handed" in line for line in lines)
        assert any("rotated" in line for line in lines)
        run = run_ipi(tmp_path, "npt", model=model)
        check_run(run)
        assert run["potential"][0] == pytest.approx(Recorder(model).compute(turned).energy, rel=1e-7)

    def test_a_cluster_without_a_cell(self, tmp_path, model):
        cluster = ase.Atoms("SiGeSiGe", [[0, 0, 0], [2.5, 0.2, 0], [0, 2.6, 0.1], [0.2, 0, 2.4]])
        lines = make(tmp_path, cluster, kind="nvt", steps=20, stride=1)
        assert any("needs a cell" in line for line in lines)
        run = run_ipi(tmp_path, "nvt", model=model)
        assert run["potential"][0] == pytest.approx(Recorder(model).compute(cluster).energy, rel=1e-7)
        assert not run.frames[0].pbc.any()
        check_conserved(run)

    @pytest.mark.parametrize(("mode", "batch"), [("unix", 2), ("shm", 4)])
    def test_batches_and_shared_memory(self, tmp_path, model, mode, batch):
        make(tmp_path, crystal(), kind="pimd", beads=4, steps=20, stride=1, mode=mode, batch=batch, address="own<&>name")
        check_run(run_ipi(tmp_path, "pimd", model=model))

    def test_ffdirect(self, tmp_path, model):
        path = tmp_path / "model of Si and Ge.safetensors"
        model.save(path)
        make(tmp_path, crystal(), kind="pimd", beads=4, steps=20, stride=1, mode="ffdirect", batch=2, model=path)
        run = run_ipi(tmp_path, "pimd")
        run.results = [Recorder(model).compute(crystal())]
        run.frames = [crystal()] * 84
        check_run(run)
