"""The command line: `soapgap fit | check | tune | report | evaluate | convert | drive | ipi-input | ipi-run | demo | ...`.

Each command is a module of this folder, which holds its options and help, and imports what does the work when it is called:
`soapgap --help` is quick. What a user did wrong is one line on standard error and exit status 2; everything else that escapes
is a defect and shows its traceback.
"""

import sys
from typing import Annotated

import typer

from soapgap import __version__
from soapgap.cli.check import check
from soapgap.cli.compile import compile_model
from soapgap.cli.convert import convert
from soapgap.cli.demo import demo
from soapgap.cli.doctor import doctor
from soapgap.cli.drive import drive
from soapgap.cli.evaluate import evaluate
from soapgap.cli.fit import fit
from soapgap.cli.gap_fit import gap_fit
from soapgap.cli.info import info
from soapgap.cli.ipi_input import ipi_input
from soapgap.cli.ipi_pes_path import ipi_pes_path
from soapgap.cli.ipi_run import ipi_run
from soapgap.cli.report import report
from soapgap.cli.sparse_map import sparse_map
from soapgap.cli.tune import tune
from soapgap.errors import SoapGAPError

#: Commands in the order of the help, and how words are treated that are no options of theirs.
COMMANDS = {
    "info": info, "evaluate": evaluate, "compile": compile_model, "convert": convert, "fit": fit, "check": check, "tune": tune,
    "report": report, "gap-fit": gap_fit, "sparse-map": sparse_map, "drive": drive, "ipi-input": ipi_input, "ipi-run": ipi_run,
    "ipi-pes-path": ipi_pes_path, "doctor": doctor, "demo": demo,
}
SETTINGS = {"gap-fit": {"ignore_unknown_options": True},
            "ipi-run": {"ignore_unknown_options": True, "allow_extra_args": True}}  # these go to the drivers

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="SOAP-GAP interatomic potentials: train them, and run them in LAMMPS, i-PI and ASE.")
for _name, _command in COMMANDS.items():
    app.command(_name, context_settings=SETTINGS.get(_name))(_command)


def _version(wanted: bool):
    if wanted:
        print(f"soapgap {__version__}")
        raise typer.Exit()


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                help="Print the version and exit.")] = False):
    pass


def main():
    """Entry point of the `soapgap` program."""
    try:
        app()
    except SoapGAPError as error:
        print(f"soapgap: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("soapgap: interrupted", file=sys.stderr)
        sys.exit(130)
