"""The command line: quick, thin, and its options are the fields of the objects that the library takes."""

from dataclasses import fields
from pathlib import Path

import pytest
from programs import run_python
from typer.testing import CliRunner

from soapgap.cli import main as cli
from soapgap.ipi.launch.options import LaunchOptions
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.starter.settings import InputSettings


def test_help_imports_what_it_shows_only():
    heavy = ("numpy", "scipy", "ase", "pydantic", "rich.progress", "jinja2", "soapgap.potential", "soapgap.model")
    code = f"import sys, soapgap.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = run_python("-c", code)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help():
    words = CliRunner().invoke(cli.app, ["--help"]).output
    for name in cli.COMMANDS:
        assert f" {name} " in words
        done = CliRunner().invoke(cli.app, [name, "--help"])
        assert done.exit_code == 0
        assert f"soapgap {name}" in done.output or f"root {name}" in done.output


@pytest.fixture
def driven(monkeypatch):
    """Runs `soapgap drive m s` with words; the options that reach the driver, or the exit status."""
    def run(*words):
        taken = []
        monkeypatch.setattr("soapgap.ipi.driver.drive", lambda model, structure, options: taken.append(options))
        done = CliRunner().invoke(cli.app, ["drive", "m", "s", *words])
        return taken[0] if taken else done.exit_code
    return run


def test_options_of_a_driver(driven):
    assert driven() == DriveOptions()
    words = ("--unix u --host h --port 3 --prefix p --wait 2 --reconnect --respawn 4 --clients 5 --threads 6 --skin 0.1 "
             "--pbc TTF --extras a,b --on-nan dump --max-force 7 --log l --every 8 -q --dump d --allow-external "
             "--check").split()
    options = driven(*words)
    assert options == DriveOptions("u", "h", 3, "p", 2.0, True, 4, 5, 6, 0.1, "TTF", "a,b", "dump", 7.0, Path("l"), 8, True,
                                   Path("d"), True, True)
    assert all(getattr(options, item.name) != item.default for item in fields(options))  # none is forgotten above
    assert options.names_of_extras == ("a", "b")


@pytest.mark.parametrize("words", [["--wait", "-1"], ["--respawn", "-1"], ["--clients", "0"], ["--threads", "0"],
                                   ["--port", "x"], ["--no-quiet"], ["--colour", "red"]])
def test_words_that_are_no_options_of_a_driver(driven, words):
    assert driven(*words) == 2


@pytest.mark.parametrize(("command", "options"), [("drive", DriveOptions), ("ipi-run", LaunchOptions),
                                                  ("ipi-input", InputSettings)])
def test_every_field_says_what_it_means(command, options):
    assert all(item.metadata["help"] for item in fields(options))
    words = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "300"}).output
    for item in fields(options):
        assert f"--{item.name.replace('_', '-')} " in words
        assert item.metadata["help"] in words
