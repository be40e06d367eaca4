"""examples/quantum_water: its analysis on known answers, and the whole of it on a small liquid of toy molecules.

The data that the example is made for are not shipped, so it is given data of the toy under the name that it expects.
"""

import importlib
import json
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.io import write
from ase.units import kB
from programs import LIMIT, program, run_python

from soapgap import Potential
from soapgap.errors import HostError, InputError
from soapgap.physics.phonons import ring_polymer_kinetic_energy

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "quantum_water"
BEADS, STEPS = 4, 64


@pytest.fixture(scope="module", autouse=True)
def on_path():
    """The modules of the example can be imported."""
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def analysis(on_path):
    return importlib.import_module("water_analysis")


@pytest.fixture(scope="module")
def runs(on_path):
    return importlib.import_module("water_runs")


class ToyWater(Calculator):
    """Atoms in the order O H H: harmonic O-H and H-H springs, and exp(-r) walls between molecules."""

    implemented_properties = ("energy", "forces")
    stiff, soft, bond, base = 40.0, 8.0, 0.98, 1.55  # eV/A^2, eV/A^2, A, A

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        forces, energy = np.zeros((n, 3)), 0.0
        for i in range(n):
            others = np.arange(i + 1, n)
            vectors, r = find_mic(self.atoms.positions[others] - self.atoms.positions[i], self.atoms.cell, pbc=True)
            for j, vector, distance in zip(others, vectors, r, strict=True):
                value, slope = self.pair(i, j, distance)
                energy += value
                forces[i] += slope * vector / distance
                forces[j] -= slope * vector / distance
        self.results = {"energy": energy, "forces": forces}

    def pair(self, i, j, r):
        if i // 3 == j // 3:
            k, length = (self.stiff, self.bond) if i % 3 == 0 else (self.soft, self.base)
            return 0.5 * k * (r - length) ** 2, k * (r - length)
        wall = 60.0 * np.exp(-r / 0.35)
        return wall, -wall / 0.35


def toy_water(rng, spread):
    """Eight molecules on a lattice, turned at random, their atoms moved by `spread`."""
    molecule = np.array([[0.0, 0.0, 0.0], [0.775, 0.6, 0.0], [-0.775, 0.6, 0.0]])
    sites = 3.4 * np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    turned = [molecule @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + site for site in sites]
    atoms = Atoms("OHH" * 8, np.concatenate(turned), cell=[6.8] * 3, pbc=True)
    atoms.positions += rng.normal(scale=spread, size=(24, 3))
    calculator = ToyWater()
    calculator.calculate(atoms)
    atoms.calc = SinglePointCalculator(atoms, **calculator.results)
    return atoms


class TestAnalysis:
    def test_radial_distribution_of_a_lattice(self, analysis):
        """Rock salt: 6 neighbours of the other kind at a/2, 8 at a sqrt(3)/2; of its own, 12 at a/sqrt(2)."""
        crystal = bulk("NaCl", "rocksalt", a=4.0, cubic=True).repeat(2)
        for pair, shells in ((("Na", "Cl"), {2.0: 6, 12**0.5: 8}), (("Na", "Na"), {8**0.5: 12})):
            g = analysis.RadialDistribution(crystal.symbols, pair, crystal.cell.array, width=0.03)
            values, nearest = g.count(crystal.positions + 40.0)
            np.testing.assert_allclose(nearest, min(shells))
            per_atom = values * g.ideal / 32
            assert {k: int(round(n)) for k, n in enumerate(per_atom) if n > 0.5} == {
                int(r / 0.03): n for r, n in shells.items()
            }

    def test_radial_distribution_of_an_ideal_gas(self, analysis):
        """1 at every distance, in a skewed cell too."""
        rng = np.random.default_rng(1)
        cell = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 1.5, 10.0]])
        g = analysis.RadialDistribution(["H"] * 60 + ["O"] * 40, cell=cell, width=0.5)
        assert g.edges[-1] < 0.5 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()
        values, nearest = g.of(rng.uniform(-1, 2, size=(300, 100, 3)) @ cell)
        expected = np.sqrt(1.0 / (300 * g.ideal))  # of Poisson counts
        assert (np.abs(values.mean(axis=0) - 1.0) < 4 * expected).all()
        assert nearest.shape == (300, 60)

    def test_peak(self, analysis):
        """A Gaussian: its centre, height and full width 2.3548 sigma; no half height on one side, no width."""
        r = np.arange(0.005, 3.0, 0.01)
        g = 7.0 * np.exp(-0.5 * ((r - 1.013) / 0.08) ** 2)
        found = analysis.peak(r, g, 0.5, 2.0, 0.03)
        assert found["r"] == pytest.approx(1.013, abs=1e-6)
        assert found["height"] == pytest.approx(7.0, rel=1e-6)
        assert found["fwhm"] == pytest.approx(2.3548 * 0.08, abs=1e-3)
        noisy = g + np.random.default_rng(3).normal(scale=0.3, size=len(g))
        found = analysis.peak(r, np.maximum(noisy, 0.0), 0.5, 2.0, 0.06)
        assert found["r"] == pytest.approx(1.013, abs=0.01)
        assert found["height"] == pytest.approx(7.0, rel=0.04)
        assert np.isnan(analysis.peak(r, np.maximum(g, 5.0), 0.5, 2.0, 0.03)["fwhm"])

    def test_block_error(self, analysis):
        """Of a series with memory the error of the mean over many runs; the naive one would be six times less."""
        rng = np.random.default_rng(2)
        x = rng.normal(size=(200, 4003))
        for k in range(1, x.shape[1]):
            x[:, k] += 0.95 * x[:, k - 1]
        found = np.array([analysis.block_error(series, 10) for series in x])
        assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)
        assert analysis.block_error([1.0, 1.0, 5.0], 2) == (3.0, 2.0)
        with pytest.raises(InputError, match="3 samples cannot make 8 blocks"):
            analysis.block_error([1.0, 2.0, 3.0])

    def test_harmonic_modes(self, analysis):
        """Limits: one bead and no frequency kT/2; many beads the exact value; high frequency hbar omega / 4."""
        omega2 = np.array([0.0, -1e26, 1e25, 1e28, 4.6e29])
        half = 0.5 * kB * 300
        np.testing.assert_allclose(analysis.mode_kinetic(omega2, 300, 1), half)
        exact = analysis.mode_kinetic(omega2, 300, None)
        np.testing.assert_allclose(exact[:2], half)
        assert exact[-1] == pytest.approx(6.582119569e-16 * np.sqrt(4.6e29) / 4, rel=1e-6)
        np.testing.assert_allclose(analysis.mode_kinetic(omega2, 300, 4096), exact, rtol=1e-5)
        for beads in (4, 16):
            found = analysis.mode_kinetic(omega2, 300, beads)
            assert (np.diff(found[2:]) > 0).all()
            assert found.sum() == pytest.approx(ring_polymer_kinetic_energy(omega2, 300, beads), rel=1e-12)
            assert (found <= exact * (1 + 1e-12)).all()

    def test_modes_of_a_molecule(self, analysis):
        """Two atoms on a spring: omega^2 = k / mu, five modes without a frequency, and the mode shared out by 1 / mass."""
        atoms = Atoms("OHH", [[0, 0, 0], [0.98, 0, 0], [4, 4, 4]], cell=[12] * 3, pbc=True)
        atoms.calc = ToyWater()
        atoms.calc.pair = lambda i, j, r: (20.0 * (r - 0.98) ** 2, 40.0 * (r - 0.98)) if j == 1 else (0.0, 0.0)
        omega2, modes = analysis.normal_modes(atoms, 1e-3)
        m_o, m_h = atoms.get_masses()[:2]
        expected = 40.0 * 1.602176634e-19 * 1e20 / (1.0 / (1.0 / m_o + 1.0 / m_h) * 1.66053907e-27)
        assert omega2[-1] == pytest.approx(expected, rel=1e-5)
        assert np.abs(omega2[:-1]).max() < 1e-6 * expected
        weights = analysis.species_weights(atoms.symbols, modes)
        shared = {name: weight @ analysis.mode_kinetic(omega2, 300.0, None) for name, weight in weights.items()}
        half = 0.5 * kB * 300
        extra = analysis.mode_kinetic(expected, 300.0, None) - half
        assert shared["O"] == pytest.approx(3 * half + extra * m_h / (m_o + m_h), rel=1e-5)
        assert shared["H"] == pytest.approx(3 * half + 0.5 * extra * m_o / (m_o + m_h), rel=1e-5)

    def test_time_step(self, analysis):
        """Against the covariance that thermostat, kick, free motion, kick, thermostat keep, iterated until it stands still."""
        omega2, beads, h, kt = (2e15 / 3) ** 2, 8, 0.5e-15, 300.0 * 1.380649e-23
        total = 1.0
        for k in range(1, beads):
            w = 2 * beads * kt / 1.054571817e-34 * np.sin(np.pi * k / beads)
            kick = np.array([[1.0, 0.0], [-0.5 * h * omega2, 1.0]])
            free = np.array([[np.cos(w * h), np.sin(w * h) / w], [-w * np.sin(w * h), np.cos(w * h)]])
            move, noise = np.diag([1.0, 0.8]) @ kick @ free @ kick @ np.diag([1.0, 0.8]), 1.0 - 0.8**2
            shaken = np.diag([1.0, 0.8]) @ kick @ free @ kick @ np.diag([0.0, noise])
            add = shaken @ (kick @ free @ kick).T @ np.diag([1.0, 0.8]) + np.diag([0.0, noise])
            scale = np.diag([1e15, 1.0])  # lengths times a frequency, so that the numbers are alike
            move, add = scale @ move @ np.linalg.inv(scale), scale @ add @ scale
            covariance = np.eye(2)
            for _ in range(2000):
                covariance = move @ covariance @ move.T + add
            total += omega2 * covariance[0, 0] / 1e30
        found = analysis.mode_kinetic([omega2], 300.0, beads, h)[0]
        assert found == pytest.approx(0.5 * kB * 300.0 * total, rel=1e-6)
        ideal = analysis.mode_kinetic([omega2], 300.0, beads)[0]
        assert found > 1.01 * ideal
        assert analysis.mode_kinetic([omega2], 300.0, beads, 1e-18)[0] == pytest.approx(ideal, rel=1e-6)

    def test_kinetic_errors(self, analysis):
        """The scaled frequencies are found again; with the corrections the value without end comes out."""
        rng = np.random.default_rng(4)
        omega2, weights = rng.uniform(0.0, 4e29, size=30), rng.uniform(0.0, 0.1, size=30)
        measured, exact = (weights @ analysis.mode_kinetic(0.93**2 * omega2, 300.0, *how) for how in ((16, 5e-16), (None,)))
        found = analysis.kinetic_errors(omega2, weights, 300.0, 16, 5e-16, measured)
        assert found["frequency_factor"] == pytest.approx(0.93, rel=1e-9)
        assert found["corrected"] == pytest.approx(exact, rel=1e-9)
        assert 0 < found["time_step"] < found["beads"]

    def test_files(self, analysis, tmp_path):
        """Of steps that a restarted run wrote twice the last counts; what was cut short is left out."""
        row = " ".join(["7.0"] * 8)
        (tmp_path / "run.out").write_text(f"# step\n 0 1 {row}\n 4 1 {row}\n 8 1 {row}\n 4 2 {row}\n 8 2 {row}\n 12 2 7.0")
        table = analysis.read_properties(tmp_path / "run.out")
        assert table["step"].tolist() == [0, 4, 8]
        assert table["time"].tolist() == [1, 2, 2]

        def frame(step, x):
            comment = f"# CELL(abcABC): 9 9 9 90 90 90 Step: {step} Bead: 0 positions{{angstrom}} cell{{angstrom}}"
            return f"1\n{comment}\nH {x} 0 1e-1\n"

        path = tmp_path / "run.pos_0.xyz"
        path.write_text(frame(0, 1) + frame(4, 2) + frame(4, 3) + frame(8, 4)[:-20])
        steps, positions = analysis.read_positions(path, 1)
        assert steps.tolist() == [0, 4]
        assert positions.tolist() == [[[1, 0, 0.1]], [[3, 0, 0.1]]]
        path.write_text(frame(0, 1).replace("{angstrom}", ""))
        with pytest.raises(InputError, match="frame of 1 atoms in Angstrom"):
            analysis.read_positions(path, 1)


needs_ipi = pytest.mark.skipif(program("i-pi") is None, reason="i-PI is not installed (pip install 'soapgap[ipi]')")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The example run on toy molecules; (folder of its results, what it said, its numbers)."""
    folder = tmp_path_factory.mktemp("water")
    shutil.copytree(EXAMPLE, folder / "example", ignore=shutil.ignore_patterns("__pycache__"))
    rng = np.random.default_rng(5)
    frames = [toy_water(rng, 0.07) for _ in range(36)]
    write(folder / "water_deepmd_400.xyz", frames, format="extxyz")
    out = example(folder)
    return folder / "out", out, json.loads((folder / "out" / "quantum_water.json").read_text())


def example(folder):
    """run.py to its end; its output."""
    numbers = ["--n-train", "30", "--n-test", "6", "--beads", BEADS, "--steps", STEPS, "--classical-steps", STEPS]
    command = ["example/run.py", "--data", ".", "--output", "out", "--stride", "4", "--threads", "1", *map(str, numbers)]
    done = run_python(*command, folder=folder)
    assert done.status == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def end_after(folder, step, runs):
    """Asks i-PI to end when it has come to a step."""
    limit = time.monotonic() + LIMIT
    while runs.last_step(folder / "run.out") < step and time.monotonic() < limit:
        time.sleep(0.05)
    (folder / "EXIT").touch()


@needs_ipi
class TestWhole:
    def test_fit(self, finished):
        _, out, numbers = finished
        assert numbers["fit"]["test"]["force"]["rmse"] < 0.3  # eV/A; the forces are several eV/A
        assert "ms (" in out
        assert out.index("min for the quantum run") < out.index("finished earlier" if "earlier" in out else "g(O-H)")

    def test_kinetic_energy(self, finished, analysis):
        """The estimator that i-PI writes is 3/2 kT - sum (q - centroid) . f / 2P of the hydrogens, from the stored beads."""
        folder, _, numbers = finished
        beads = []
        for path in sorted((folder / "quantum").glob("run.pos_*.xyz")):
            steps, positions = analysis.read_positions(path, 24)
            beads.append(positions)
        beads = np.array(beads)
        assert beads.shape == (BEADS, STEPS // 4 + 1, 24, 3)
        table = analysis.read_properties(folder / "quantum" / "run.out")
        assert table["step"].tolist() == steps.tolist()
        potential = Potential(folder / "water.safetensors", n_threads=1)
        symbols = np.array(list("OHH" * 8))
        for k in (8, 16):
            q = beads[:, k]
            f = [potential.compute(Atoms(symbols, x, cell=[6.8] * 3, pbc=True)).forces for x in q]
            virial = -0.5 * ((q - q.mean(axis=0)) * f).sum(axis=2).mean(axis=0)
            for name in "HO":
                expected = (1.5 * kB * 300 + virial[symbols == name]).sum()
                assert table[f"cv_{name}"][k] == pytest.approx(expected, abs=2e-4)
        late = table["cv_H"][table["step"] >= STEPS / 4]
        late = late[len(late) % 8:]
        assert numbers["quantum"]["kinetic"]["H"]["mean"] == pytest.approx(1000 * late.mean() / 16, rel=1e-9)

    def test_classical(self, finished, analysis):
        """One bead: the virial estimator is 3/2 kT at every step, and what is reported comes from the velocities."""
        folder, _, numbers = finished
        table = analysis.read_properties(folder / "classical" / "run.out")
        np.testing.assert_allclose(table["cv_H"] / 16, 1.5 * kB * 300, rtol=3e-6)  # constants of different years
        assert numbers["classical_3_2_kT"] == pytest.approx(38.78, abs=0.01)
        late = table["md_H"][table["step"] >= STEPS / 4]
        late = late[len(late) % 8:]
        assert numbers["classical"]["kinetic"]["H"]["mean"] == pytest.approx(1000 * late.mean() / 16, rel=1e-9)
        total = (table["md_H"] + table["md_O"]) / (1.5 * kB)  # the centre of mass rests; i-PI counts its mean energy
        np.testing.assert_allclose((total + 300.0) / 24, table["temperature"], rtol=1e-5)

    def test_quantum_differs_as_it_should(self, finished):
        """Beads: more kinetic energy, broader and lower bond peak, and the harmonic estimate between classical and exact."""
        folder, out, numbers = finished
        quantum, classical, h = numbers["quantum"], numbers["classical"], numbers["harmonic"]
        assert quantum["kinetic"]["H"]["mean"] > 1.5 * numbers["classical_3_2_kT"]
        assert quantum["peaks"]["bond"]["height"] < 0.8 * classical["peaks"]["bond"]["height"]
        assert quantum["kinetic"]["gyration_H"] > 0.05
        assert h["1"]["H"] == pytest.approx(numbers["classical_3_2_kT"], rel=1e-9)
        assert h["1"]["H"] < h["4"]["H"] < h["8"]["H"] < h["64"]["H"] < h["exact"]["H"]
        assert quantum["kinetic"]["H"]["beads"] > 0
        for name in ("radial.png", "kinetic.png"):
            assert (folder / name).read_bytes()[:4] == b"\x89PNG"
        assert "normal modes at a minimum" in out

    def test_again(self, finished):
        """Nothing is repeated: the same numbers from the files alone."""
        folder, _, numbers = finished
        out = example(folder.parent)
        assert "fitted earlier" in out
        assert out.count("finished earlier") == 2
        again = json.loads((folder / "quantum_water.json").read_text())
        for name in ("quantum", "classical", "snapshots", "harmonic", "fit"):
            assert again[name] == numbers[name]

    def test_interrupted(self, finished, analysis, runs, tmp_path):
        """Ended in the middle, a run goes on where it was, and nothing of it is missing; other settings are an error."""
        folder, _, _ = finished
        start = toy_water(np.random.default_rng(6), 0.02)
        plan, model, run = runs.Plan(2, 800, stride=20), folder / "water.safetensors", tmp_path / "run"
        watcher = threading.Thread(target=end_after, args=(run, 20, runs), daemon=True)
        watcher.start()
        with pytest.raises(HostError, match="the run run stopped at step .* of 800"):
            runs.simulate(run, plan, model, start, 1, limit_seconds=LIMIT)
        watcher.join(LIMIT)
        (run / "EXIT").unlink(missing_ok=True)
        assert 20 <= runs.last_step(run / "run.out") < 800
        assert not runs.is_finished(run, plan)
        assert runs.simulate(run, plan, model, start, 1, limit_seconds=LIMIT) > 0
        assert runs.newest_checkpoint(run)[1] == 800
        assert (run / "continue.xml").is_file()
        assert analysis.read_properties(run / "run.out")["step"].tolist() == list(range(0, 801, 4))
        assert analysis.read_positions(run / "run.pos_1.xyz", 24)[0].tolist() == list(range(0, 801, 20))
        assert runs.simulate(run, plan, model, start, 1) == 0.0
        with pytest.raises(InputError, match=r"other settings \(beads\)"):
            runs.simulate(run, runs.Plan(4, 800, stride=20), model, start, 1)


def test_without_data(tmp_path):
    done = run_python(EXAMPLE / "run.py", "--data", tmp_path, "--output", tmp_path / "out")
    assert done.status == 1
    assert "water_deepmd_400.xyz is not there" in done.stderr
    assert "Traceback" not in done.stderr
