"""`soapgap drive` under mpiexec: the numbers of one process, and i-PI's survival when a rank dies."""

import contextlib
import functools
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from ipi_runs import THERMOSTAT, crystal, crystal_model, ipi_running
from ipi_tools import Driver
from programs import LIMIT, environment, process, program, run_program

pytest.importorskip("ipi")
pytest.importorskip("mpi4py")
if program("mpiexec") is None:
    pytest.skip("needs mpiexec", allow_module_level=True)

RUN = {"beads": 3, "ensemble": "nvt", "dynamics": THERMOSTAT.format("pile_g")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    crystal_model().save(path)
    return path


@contextlib.contextmanager
def driving(run, model, n_ranks, *more):
    command = [program("mpiexec"), "-n", str(n_ranks), program("soapgap"), "drive", str(model), "start.xyz", *more,
               *(f"--{name}={value}" for name, value in run.where.items())]
    with process(command, run.folder, run.folder / "drive.log", env=environment()) as running:
        yield running


def serial(model, folder, **settings):
    with ipi_running(folder, crystal(), whole=True, **RUN, **settings) as run:
        Driver(str(model), crystal(), threads=1, **run.where).wait()
        run.finish()
    return dict(np.load(folder / "end.npz"))


@functools.cache
def reference(model):
    with tempfile.TemporaryDirectory() as folder:
        return serial(model, Path(folder))


@pytest.mark.parametrize(("n_ranks", "options"), [
    (2, ""), (2, "<batch_size>3</batch_size>"), (3, "<batch_size>2</batch_size>"),
], ids=["atoms", "beads and atoms", "padded"])
def test_same_numbers(tmp_path, model, n_ranks, options):
    """20 steps of three beads: sums in another order, so the same to rounding, which the dynamics lets grow."""
    with ipi_running(tmp_path, crystal(), whole=True, options=options, **RUN) as run, driving(run, model, n_ranks) as ranks:
        assert len(run.finish()) == 21
        assert ranks.wait(LIMIT) == 0
    assert "i-PI sent EXIT" in (tmp_path / "drive.log").read_text()
    end, expected = np.load(tmp_path / "end.npz"), reference(model)
    for name in ("positions", "energies", "forces", "virials"):
        value, known = (np.triu(x) if name == "virials" else x for x in (end[name], expected[name]))
        np.testing.assert_allclose(value, known, rtol=0, atol=1e-9 * np.abs(known).max(), err_msg=name)


def ranks_of(model):
    """Process ids of the ranks."""
    pattern = f"soapgap drive {model}"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False, timeout=LIMIT)
    return [int(pid) for pid in found.stdout.split() if b"mpiexec" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def wait_for_steps(run, n):
    end = time.monotonic() + LIMIT
    while run.steps() < n and time.monotonic() < end:
        time.sleep(0.02)
    assert run.steps() >= n


@pytest.mark.parametrize("which", [0, -1])
def test_a_rank_dies(tmp_path, model, which):
    """The launcher kills them all; i-PI goes on with another driver, which it would not if they had held the socket."""
    with ipi_running(tmp_path, crystal(), steps=80, **RUN) as run, driving(run, model, 2, "--every", "0") as ranks:
        wait_for_steps(run, 10)
        os.kill(sorted(ranks_of(model))[which], signal.SIGKILL)
        assert ranks.wait(LIMIT) != 0
        done = run.steps()
        assert 10 <= done < 80
        assert Driver(str(model), crystal(), threads=1, **run.where).wait().reason == "exit"
        np.testing.assert_array_equal(run.finish()[:, 0], np.arange(81))
    assert "the computing process has ended" in (tmp_path / "drive.log").read_text()


def test_told_to_leave(tmp_path, model):
    """SIGTERM to a rank 0: the frame in hand is delivered, all ranks end with status 0."""
    with ipi_running(tmp_path, crystal(), steps=80, **RUN) as run, driving(run, model, 2, "--every", "0") as ranks:
        wait_for_steps(run, 10)
        for pid in ranks_of(model):
            os.kill(pid, signal.SIGTERM)
        assert ranks.wait(LIMIT) == 0
    assert "stopped by a signal" in (tmp_path / "drive.log").read_text()


def drive_two_ranks(folder, model, *arguments):
    """To an address where nobody is."""
    command = [program("mpiexec"), "-n", "2", program("soapgap"), "drive", str(model), "start.xyz", "--unix", "none",
               *arguments]
    return run_program(command, folder)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--clients", "2"], "--clients under an MPI launcher"),
    (["--pbc", "TT"], "three letters"),
    (["--skin", "0.3", "--extras", "dipoles"], "the extra 'dipoles'"),
])
def test_errors_are_said_once(tmp_path, model, arguments, message):
    crystal().write(tmp_path / "start.xyz", format="extxyz")
    done = drive_two_ranks(tmp_path, model, "--wait", "0", *arguments)
    assert done.status == 2
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("soapgap:")]
    assert len(said) == 1
    assert message in said[0]
    assert "Traceback" not in done.stderr


def test_unknown_element(tmp_path, model):
    atoms = crystal()
    atoms.symbols[3] = "O"
    atoms.write(tmp_path / "start.xyz", format="extxyz")
    done = drive_two_ranks(tmp_path, model)
    assert done.status == 2
    assert done.stderr.count("soapgap:") == 1
    assert "the structure has O" in done.stderr
