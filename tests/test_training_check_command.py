"""`soapgap check` as a command: exit statuses, what is printed, the JSON file."""

import json
import sys

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from fault_sets import DEMO, checked, small_sets
from planted_faults import copies, large, net_force, zero_forces
from programs import run_program
from typer.testing import CliRunner

from soapgap.check.report import as_json, write_json
from soapgap.cli.check import check as check_command
from soapgap.errors import InputError


@pytest.fixture(scope="module")
def sets():
    return small_sets()


def command(*arguments):
    """The command in this process: exit status, standard output, and the error if there was one."""
    app = typer.Typer()
    app.command()(check_command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.exception


def test_the_program(tmp_path):
    """The way users take: registered, statuses 0 and 2, no colours in a pipe."""
    program = [sys.executable, "-m", "soapgap", "check"]
    clean = run_program([*program, DEMO / "si_test.xyz"])
    assert (clean.status, clean.stderr) == (0, "")
    assert "\x1b" not in clean.stdout
    assert "0 errors, 0 warnings" in clean.stdout
    absent = run_program([*program, tmp_path / "absent.xyz"])
    assert absent.status == 2
    assert absent.stderr.startswith("soapgap: cannot read the data file")


def test_statuses_lines_and_json(tmp_path, sets):
    status, output, _ = command(DEMO / "si_train.xyz", "--json", tmp_path / "clean.json")
    assert status == 0
    content = json.loads((tmp_path / "clean.json").read_text())
    assert (content["status"], content["species"]) == (0, {"Si": 3003})
    assert content["config_types"]["liquid"]["frames"] == 18
    assert f"default_sigma = {content['suggestion']['default_sigma']}" in output

    frames = copies(sets["demo"])
    k, = net_force(frames)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    status, output, _ = command(tmp_path / "data.xyz")
    assert status == 1
    line, = [line for line in output.splitlines() if line.startswith("warning")]
    assert f" [frame {k}]: " in line
    assert "0 errors, 1 warning" in output

    zero_forces(frames)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    status, _, _ = command(tmp_path / "data.xyz", "--json", tmp_path / "bad.json")
    assert status == 3
    finding = next(f for f in json.loads((tmp_path / "bad.json").read_text())["findings"] if f["code"] == "zero-forces")
    assert finding["where"] == {str(tmp_path / "data.xyz"): large(sets["demo"], 3)}
    assert not list(tmp_path.glob(".*"))


def test_wrong_use(tmp_path, sets):
    write(tmp_path / "data.xyz", sets["toy"][:3], format="extxyz")
    before = (tmp_path / "data.xyz").read_bytes()
    _, _, error = command(tmp_path / "data.xyz", "--json", tmp_path / "data.xyz")
    assert isinstance(error, InputError)
    assert "one of the data files" in str(error)
    assert (tmp_path / "data.xyz").read_bytes() == before
    _, _, error = command(tmp_path / "data.xyz", "--json", tmp_path / "no" / "x.json")
    assert isinstance(error, InputError)
    assert command()[0] == 2


def test_json_has_no_nan(tmp_path):
    frame = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    frame.calc = SinglePointCalculator(frame, energy=np.nan)
    result = checked(tmp_path, [frame])
    assert as_json(result)["status"] == 3
    write_json(tmp_path / "x.json", result)
    assert json.loads((tmp_path / "x.json").read_text())["config_types"]["default"]["energy_per_atom_eV"] == [None, None]
