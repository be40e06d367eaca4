"""Path integrals of crystalline silicon through i-PI: the finite-P sum over phonons, and examples/quantum_silicon."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.units import _hbar, _k, kB
from programs import LIMIT

from soapgap.physics.phonons import ring_polymer_kinetic_energy

pytest.importorskip("ipi")

ROOT = Path(__file__).resolve().parent.parent


def run_script(command, folder):
    """Run a Python script to its end; its output. SIGTERM lets it end what it has started."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, *map(str, command)], cwd=folder, env=environment, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)  # fmt: skip
    try:
        output, _ = running.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(30)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, output
    return output


@pytest.fixture
def benchmark(monkeypatch):
    """validation/pimd_harmonic.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "validation"))
    import pimd_harmonic

    return pimd_harmonic


def test_sum_over_beads_has_the_known_limits():
    """P = 1 is kT/2, P = 2 is known in closed form, P = infinity is the quantum oscillator."""
    temperature, omega = 50.0, np.array([0.0, 3e12, 1.1e14])
    half = 0.5 * kB * temperature

    def kinetic(n_beads):
        return np.array([ring_polymer_kinetic_energy([w * w], temperature, n_beads) for w in omega])

    np.testing.assert_allclose(kinetic(1), half)
    w_1 = 4 * _k * temperature / _hbar
    np.testing.assert_allclose(kinetic(2), half * (1 + omega**2 / (omega**2 + w_1**2)))
    x = _hbar * omega[1:] / (2 * _k * temperature)
    np.testing.assert_allclose(kinetic(4096), half * np.array([1.0, *(x / np.tanh(x))]), rtol=1e-5)


def test_harmonic_expansion_of_the_benchmark(benchmark):
    """Forces are the gradient, and neither translations nor lattice vectors matter."""
    crystal = bulk("Si", cubic=True, a=5.43)
    rng = np.random.default_rng(1)
    hessian = rng.normal(size=(24, 24))
    hessian += hessian.T
    project = np.eye(24) - np.tile(np.eye(3), (8, 8)) / 8  # no force on the centre of mass
    core = benchmark.Harmonic(crystal, project @ hessian @ project)
    atoms = crystal.copy()
    atoms.rattle(0.1, seed=2)
    result = core.compute(atoms)
    for i in (0, 5, 23):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i // 3, i % 3] += sign * 1e-3
            energies.append(core.compute(moved).energy)
        assert result.forces.ravel()[i] == pytest.approx((energies[1] - energies[0]) / 2e-3, abs=1e-9)
    atoms.positions += [0.7, -1.9, 30.0]
    atoms.positions[3] += 2 * atoms.cell[0] - atoms.cell[2]
    moved = core.compute(atoms)
    assert moved.energy == pytest.approx(result.energy, abs=1e-9)
    np.testing.assert_allclose(moved.forces, result.forces, atol=1e-9)


def test_centre_of_mass_does_not_enter_the_kinetic_energy(benchmark):
    """The same run with the centre of mass held and free: the same kinetic energies, while i-PI counts 3/2 kT for it."""
    crystal = benchmark.prepare(benchmark.MODEL, (1, 1, 1))
    options = Namespace(steps=200, seed=3, dt=2.0, time_limit=LIMIT)
    series = []
    for free in (False, True):
        options.free_centre = free
        series.append(benchmark.sample(crystal.potentials["harmonic"], crystal.atoms, 50.0, 4, options))
    np.testing.assert_allclose(series[1], series[0], rtol=1e-5)


def test_kinetic_energy_is_the_finite_sum_over_phonons(tmp_path):
    """validation/pimd_harmonic.py, short: 8 atoms at 50 K, 4 and 16 beads, the expansion and the model itself."""
    script = ROOT / "validation" / "pimd_harmonic.py"
    run_script([script, "--cells", 1, "--dt", 2, "--steps", 500, "--beads", 4, 16, "--n-sigma", 3.5,
                "--largest-error", 0.05, "--json", tmp_path / "out.json"], tmp_path)  # fmt: skip
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["system"], row["beads"]) for row in rows] == [(s, p) for p in (4, 16) for s in ("harmonic", "model")]
    for row in rows:
        assert row["passes"]
        assert row["error"] < 0.05 * row["exact"]
        assert abs(row["measured"] - row["exact"]) < 3.5 * row["error"]
        others = {other["exact"] for other in rows} | {row["classical"], row["exact_infinite"]}
        for other in others - {row["exact"]}:  # the agreement means something
            assert abs(row["measured"] - other) > 4 * row["error"]


def test_example_of_quantum_silicon(tmp_path):
    """examples/quantum_silicon as a user runs it; then again, when nothing is left to do."""
    pytest.importorskip("matplotlib")
    for part in ("models", "quantum_silicon"):
        shutil.copytree(ROOT / "examples" / part, tmp_path / part)
    command = [tmp_path / "quantum_silicon" / "run.py", "--quick", "--output", "out"]
    first = run_script(command, tmp_path)
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    for figure in ("kinetic_energy.png", "heat_capacity.png"):
        assert (tmp_path / "out" / figure).read_bytes().startswith(b"\x89PNG")
    assert [(p["kind"], p["temperature"], p["beads"]) for p in numbers["points"]] == [
        ("classical", 200, 1), ("classical", 400, 1), ("quantum", 200, 8), ("quantum", 400, 4)]  # fmt: skip
    for point in numbers["points"]:
        assert all(np.isfinite(value) for value in point.values() if not isinstance(value, str))
        assert abs(point["kinetic"] - point["kinetic_phonons"]) < 4 * point["kinetic_error"] + 0.01 * point["kinetic"]
        assert abs(point["energy"] - point["energy_phonons"]) < 4 * point["energy_error"] + 0.01 * point["energy"]
        if point["kind"] == "quantum":
            assert point["kinetic_error"] < 0.02 * point["kinetic"]
            excess, harmonic = (point[key] - point["kinetic_classical"] for key in ("kinetic", "kinetic_phonons"))
            assert excess == pytest.approx(harmonic, abs=4 * point["kinetic_error"])
            assert excess > 10 * point["kinetic_error"]
    classical, quantum = numbers["heat_capacities"]
    assert classical["capacity"] == pytest.approx(3.0, abs=4 * classical["error"] + 0.1)
    assert quantum["capacity"] == pytest.approx(quantum["phonons"], abs=4 * quantum["error"] + 0.1)
    assert max(classical["error"], quantum["error"]) < 0.1
    again = run_script(command, tmp_path)
    assert first.count("was there") == 0
    assert again.count("was there") == 4
    assert json.loads((tmp_path / "out" / "numbers.json").read_text()) == numbers
