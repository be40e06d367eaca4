"""The i-PI driver under i-PI itself: energies, forces and virials arrive whole, runs conserve, and i-PI never hangs."""

import shlex
import shutil
import signal
import time
from pathlib import Path

import ase.io
import ipi_tools
import numpy as np
import pytest
from ase.units import Bohr, Hartree
from ipi_runs import THERMOSTAT, Recorder, crystal, crystal_model, ipi_running, trend, virials_of
from ipi_tools import Driver, Result, Server, header, posdata_bytes, short_directory
from models import make_two_species_model, random_structure
from programs import LIMIT, environment, process, program

from soapgap.errors import InputError
from soapgap.potential import Potential

pytest.importorskip("ipi")


@pytest.fixture(scope="module")
def model():
    return crystal_model()


class TestAgreement:
    @pytest.mark.parametrize("kind", ["triclinic", "slab", "cluster"])
    def test_on_the_wire(self, kind):
        """The bytes that leave, against Potential: nothing is lost but the last bit of the units."""
        atoms = random_structure(3)
        atoms.set_cell([[7.5, 0.0, 0.0], [1.9, 7.2, 0.0], [-1.1, 1.3, 7.4]], scale_atoms=True)
        atoms.pbc = {"triclinic": True, "slab": [True, True, False], "cluster": False}[kind]
        model = make_two_species_model()
        with short_directory() as folder:
            server = Server(str(folder / "s"))
            driver = Driver(Potential(model, n_threads=1, skin=0.5), atoms, unix=server.address)
            server.handshake()
            server.send(posdata_bytes(atoms.cell, atoms.positions) + header("GETFORCE"))
            numbers = np.frombuffer((data := server.answer(len(atoms)))[12:20] + data[24:-4])
            server.exit()
            driver.wait()
            server.close()
        atoms.set_cell(atoms.cell * (Bohr / ipi_tools.BOHR), scale_atoms=True)  # the server's Angstrom and ASE's
        ours = Potential(model, n_threads=1).compute(atoms)
        expected = {
            "energy": ours.energy / Hartree,
            "forces": ours.forces.ravel() * Bohr / Hartree,
            "virial": ours.virial.ravel() / Hartree,
        }
        got = {"energy": numbers[0], "forces": numbers[1:-9], "virial": numbers[-9:]}
        for name in expected:
            np.testing.assert_allclose(
                got[name], expected[name], rtol=0, atol=1e-11 * np.abs(expected[name]).max(), err_msg=name
            )

    @pytest.mark.parametrize("mode", ["unix", "inet"])
    def test_every_digit(self, tmp_path, model, mode):
        """Four beads, NVT: what i-PI holds in the end is what Potential gives for the positions that i-PI holds."""
        atoms = crystal()
        with ipi_running(
            tmp_path, atoms, whole=True, mode=mode, beads=4, ensemble="nvt", dynamics=THERMOSTAT.format("pile_g")
        ) as run:
            recorder = Recorder(model, skin=0.5)
            report = Driver(recorder, atoms, **run.where).wait()
            run.finish()
        assert (report.reason, report.frames) == ("exit", 84)
        end = np.load(tmp_path / "end.npz")
        potential = Potential(model, n_threads=1)
        atoms.cell = end["cell"].T * Bohr
        scale = dict.fromkeys(("energy", "forces", "virial"), 0.0)
        differ = dict.fromkeys(("energy", "forces", "virial"), 0.0)
        for bead in range(4):
            atoms.positions = end["positions"][bead].reshape(-1, 3) * Bohr
            ours = potential.compute(atoms)
            virial = np.triu(end["virials"][bead])
            theirs = {
                "energy": end["energies"][bead] * Hartree,
                "forces": end["forces"][bead].reshape(-1, 3) * Hartree / Bohr,
                "virial": (virial + np.triu(virial, 1).T) * Hartree,
            }
            for name in differ:
                mine = np.asarray(getattr(ours, name))
                scale[name] = max(scale[name], np.abs(mine).max())
                differ[name] = max(differ[name], np.abs(mine - theirs[name]).max())
        for name in differ:
            assert np.isfinite(differ[name])
            assert scale[name] > 0.1
            assert differ[name] <= 1e-10 * scale[name], (name, differ[name], scale[name])

    def test_first_frame_is_the_structure(self, tmp_path, model):
        """Through text, i-PI's own constants (8 digits) and its own output (9 digits): the numbers of the structure
        itself."""
        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=1) as run:
            recorder = Recorder(model)
            Driver(recorder, atoms, **run.where).wait()
            table = run.finish()
        atoms.set_cell(atoms.cell * (1.8897261 * Bohr), scale_atoms=True)  # i-PI's Angstrom and ASE's
        ours = Potential(model, n_threads=1).compute(atoms)
        assert table[0, 2] * Hartree == pytest.approx(ours.energy, rel=1e-8)
        np.testing.assert_allclose(virials_of(table)[0], ours.virial, atol=1e-8 * np.abs(ours.virial).max())
        np.testing.assert_allclose(recorder.results[1].forces, ours.forces, atol=1e-10 * np.abs(ours.forces).max())

    def test_unwrapped(self, tmp_path, model):
        """Atoms up to a hundred cells away, each its own way."""
        atoms = crystal()
        shift = np.random.default_rng(2).integers(-100, 101, size=(len(atoms), 3))
        away = atoms.copy()
        away.positions += shift @ atoms.cell
        with ipi_running(tmp_path, away, steps=2) as run:
            recorder = Recorder(model, skin=0.5)
            Driver(recorder, atoms, **run.where).wait()
            table = run.finish()
        ours = Potential(model, n_threads=1).compute(atoms)
        assert table[0, 2] * Hartree == pytest.approx(ours.energy, rel=1e-7)
        np.testing.assert_allclose(recorder.results[1].forces, ours.forces, atol=1e-6)

    def test_virial_is_the_derivative(self, model, tmp_path):
        """Energies that the driver sends for strained cells against the virial that it sends: W = -dE/dstrain, all
        nine."""
        atoms = crystal()
        with short_directory() as folder:
            server = Server(str(folder / "s"))
            driver = Driver(Recorder(model), atoms, unix=server.address)
            server.handshake()

            def ask(strain):
                deform = np.eye(3) + strain
                server.send(posdata_bytes(atoms.cell @ deform, atoms.positions @ deform) + header("GETFORCE"))
                data = server.answer(len(atoms))
                return np.frombuffer(data[12:20])[0], np.frombuffer(data[-76:-4]).reshape(3, 3)

            virial = ask(np.zeros((3, 3)))[1]
            numerical, step = np.zeros((3, 3)), 2e-5  # so small that no pair crosses a kink of f_c
            for a in range(3):
                for b in range(3):
                    unit = np.zeros((3, 3))
                    unit[a, b] = step
                    up, down, up2, down2 = (ask(k * unit)[0] for k in (1, -1, 2, -2))
                    numerical[a, b] = -(8 * (up - down) - (up2 - down2)) / (12 * step)
            server.exit()
            driver.wait()
            server.close()
        assert np.abs(virial).min() > 1e-4  # every component is tested
        np.testing.assert_allclose(virial, numerical, atol=2e-8 * np.abs(virial).max())


class TestDynamics:
    def test_nve_harmonic(self, tmp_path):
        """Atoms on springs, 1.5 ps: the conserved quantity has no trend (a tenth of its fluctuation at most).

        Here all of the fluctuation is fast (half a period is at most 40 steps), so a trend would show.
        """

        class Springs:
            def compute(self, atoms):
                x = atoms.positions - sites
                energies = 25.0 * (x * x).sum(axis=1)
                return Result(energies.sum(), energies, -50.0 * x, np.zeros((3, 3)))

        atoms = crystal()
        atoms.set_scaled_positions(0.25 + 0.5 * atoms.get_scaled_positions())  # away from the faces: nothing is folded
        sites = atoms.positions.copy()
        with ipi_running(tmp_path, atoms, steps=1500, fixcom="False") as run:
            Driver(Springs(), atoms, **run.where).wait()
            drift, fluctuation = trend(run.finish())
        print(f"springs: drift {drift:.2e} eV, fluctuation {fluctuation:.2e} eV")
        assert 1e-4 < fluctuation < 0.1
        assert drift < 0.1 * fluctuation

    def test_nve(self, tmp_path, model):
        """A real model with a neighbour list that is kept: energy is conserved to micro-electronvolts per atom.

        In 1 ps of 32 atoms slow fluctuations cannot be told from a trend, so the trend is only bounded by them.
        """
        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=1000) as run:
            recorder = Recorder(model, skin=0.5)
            Driver(recorder, atoms, **run.where).wait()
            drift, fluctuation = trend(run.finish()[100:])
        lists = recorder.potential.neighbours.n_built
        print(f"crystal: drift {drift:.2e} eV, fluctuation {fluctuation:.2e} eV, {lists} neighbour lists made")
        assert 1e-6 < fluctuation < 32 * 2e-5
        assert drift < fluctuation
        assert lists < 50  # folding does not spoil the skin

    def test_npt(self, tmp_path, model):
        """Isotropic barostat at 1 GPa: the work that volume and virial do is accounted for."""
        atoms = crystal()
        dynamics = '<barostat mode="isotropic"><tau units="femtosecond">100</tau></barostat>'
        pressure = '<pressure units="gigapascal">1</pressure>'
        with ipi_running(tmp_path, atoms, steps=100, ensemble="npt", dynamics=dynamics, pressure=pressure) as run:
            Driver(Recorder(model, skin=0.5), atoms, **run.where).wait()
            table = run.finish()
        conserved, potential = table[:, 1] * Hartree, table[:, 2] * Hartree
        print(f"conserved moves by {np.ptp(conserved):.1e} eV, the potential energy by {np.ptp(potential):.1e} eV")
        assert np.ptp(table[:, 3]) > 2e-3 * table[0, 3]
        assert 0.1 < np.ptp(potential)
        assert np.ptp(conserved) < 5e-3 * np.ptp(potential)

    def test_changing_shape(self, tmp_path, model):
        """A triclinic cell whose six components all move: i-PI's virial is ours, component by component, in every
        frame.

        (i-PI's conserved quantity for this ensemble moves by a few per cent whatever the time step, so it shows
        nothing.)
        """
        atoms = crystal()
        h = ", ".join(f"{value:.9f}" for value in atoms.cell.array.T.ravel())
        dynamics = f"""{THERMOSTAT.format("langevin")}<barostat mode="anisotropic"><tau units="femtosecond">100</tau>
          {THERMOSTAT.format("langevin")}<h0 units="angstrom">[{h}]</h0></barostat>"""
        pressure = '<stress units="gigapascal">[1, 0, 0, 0, 1, 0, 0, 0, 1]</stress>'
        with ipi_running(tmp_path, atoms, steps=50, ensemble="nst", dynamics=dynamics, pressure=pressure) as run:
            recorder = Recorder(model, skin=0.5)
            Driver(recorder, atoms, **run.where).wait()
            virials = virials_of(run.finish())
        assert len(virials) == len(recorder.results) - 1 == 51
        for result, virial in zip(recorder.results[1:], virials, strict=True):
            np.testing.assert_allclose(virial, result.virial, atol=2e-8 * np.abs(result.virial).max())
        cells = np.array([frame.cell.array for frame in recorder.frames[1:]])
        assert np.ptp(cells, axis=0)[np.tril_indices(3)].min() > 1e-3


class TestHost:
    """What users and schedulers do; i-PI must survive each of them."""

    def test_command(self, tmp_path, model):
        """`soapgap drive` as a process: exit status 0 when i-PI has ended, i-PI's own xyz as the structure."""
        atoms = crystal()
        model.save(tmp_path / "model.safetensors")
        with ipi_running(tmp_path, atoms, beads=2) as run:
            command = [
                program("soapgap"),
                "drive",
                "model.safetensors",
                "start.xyz",
                "--unix",
                "run",
                "--prefix",
                run.where["prefix"],
                "--threads",
                "1",
                "--every",
                "10",
            ]
            with process(command, tmp_path, tmp_path / "drive.log", env=environment()) as driving:
                assert len(run.finish()) == 21
                assert driving.wait(LIMIT) == 0
        text = (tmp_path / "drive.log").read_text()
        assert "frame 40: energy" in text
        assert "i-PI sent EXIT: 42 frames" in text
        assert "warning" not in text

    @pytest.mark.parametrize(("mode", "consolidate"), [("unix", "True"), ("unix", "False"), ("inet", "True")])
    def test_wrong_structure_does_not_hang_ipi(self, tmp_path, model, mode, consolidate):
        """A driver with another atom count says so and leaves; the run goes on with the next, right one."""
        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=3, mode=mode, consolidate=consolidate) as run:
            with pytest.raises(InputError, match="a frame of 32 atoms; .* has 31"):
                Driver(Recorder(model), atoms[:-1], **run.where).wait()
            assert Driver(Recorder(model), atoms, **run.where).wait().reason == "exit"
            assert len(run.finish()) == 4

    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_not_finite_does_not_hang_ipi(self, tmp_path, model, consolidate):
        class Spoiled(Recorder):
            def compute(self, atoms):
                result = super().compute(atoms)
                if len(self.frames) > 5:
                    result.forces[0] = np.nan
                return result

        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=10, consolidate=consolidate) as run:
            with pytest.raises(InputError, match="frame 5 .*not finite"):
                Driver(Spoiled(model), atoms, dump=tmp_path / "bad.xyz", **run.where).wait()
            assert len(ase.io.read(tmp_path / "bad.xyz")) == 32
            assert Driver(Recorder(model), atoms, **run.where).wait().reason == "exit"
            assert len(run.finish()) == 11

    def test_driver_told_to_leave(self, tmp_path, model):
        """SIGTERM to a driver in the middle of a run, then another driver: no step is lost."""
        atoms = crystal()
        model.save(tmp_path / "model.safetensors")
        atoms.write(tmp_path / "a.xyz", format="extxyz")
        with ipi_running(tmp_path, atoms, steps=600, mode="inet") as run:
            where = [f"--{name}={value}" for name, value in run.where.items()]
            command = [program("soapgap"), "drive", "model.safetensors", "a.xyz", "--quiet", "--threads", "1", *where]
            with process(command, tmp_path, tmp_path / "drive.log", env=environment()) as driving:
                end = time.monotonic() + LIMIT
                while run.steps() < 20 and time.monotonic() < end:
                    time.sleep(0.02)
                driving.send_signal(signal.SIGTERM)
                assert driving.wait(LIMIT) == 0
            assert 20 <= run.steps() < 600
            assert Driver(Recorder(model, skin=0.5), atoms, **run.where).wait().reason == "exit"
            np.testing.assert_array_equal(run.finish()[:, 0], np.arange(601))

    def test_ipi_told_to_leave(self, tmp_path, model):
        atoms = crystal()
        with ipi_running(tmp_path, atoms, steps=100000) as run:
            driver = Driver(Recorder(model, skin=0.5), atoms, **run.where)
            end = time.monotonic() + LIMIT
            while run.steps() < 5 and time.monotonic() < end:
                time.sleep(0.02)
            run.running.send_signal(signal.SIGTERM)
            assert driver.wait().reason == "exit"


@pytest.mark.parametrize("source", ["examples/ipi/input.xml", "docs/ipi.md"])
def test_example(tmp_path, source):
    """The shipped inputs with the commands of their README, for three steps, in a copy of the folder."""
    root = Path(__file__).resolve().parent.parent
    folder = tmp_path / "examples" / "ipi"
    shutil.copytree(root / "examples" / "ipi", folder)
    shutil.copytree(root / "examples" / "models", tmp_path / "examples" / "models")
    text = (root / source).read_text()
    if source.endswith(".md"):
        text = text.split("```xml\n")[1].split("```")[0]
    assert text.count("<total_steps>200<") == 1
    (folder / "input.xml").write_text(text.replace("<total_steps>200<", "<total_steps>3<"))
    serve, drive = (folder / "README.md").read_text().split("```sh\n")[1].split("\n```")[0].splitlines()
    serve, drive = shlex.split(serve.removesuffix("&")), shlex.split(drive)
    with short_directory() as sockets:
        serve, drive = [*serve, "-S", f"{sockets}/"], [*drive, "--prefix", f"{sockets}/"]
        serve[0], drive[0] = program(serve[0]), program(drive[0])
        with (
            process(serve, folder, folder / "ipi.log", env=environment()) as serving,
            process(drive, folder, folder / "drive.log", env=environment()) as driving,
        ):
            assert serving.wait(LIMIT) == 0
            assert driving.wait(LIMIT) == 0
    log = (folder / "drive.log").read_text()
    assert "i-PI sent EXIT: 32 frames" in log
    assert "warning" not in log
    assert np.isfinite(np.loadtxt(folder / "pimd.out")).all()
