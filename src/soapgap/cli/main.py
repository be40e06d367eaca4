"""The command line: `soapgap fit | check | tune | report | evaluate | convert | drive | ipi-input | ipi-run | demo | ...`.

Every command is a thin door: it imports its room when it is called, so that `soapgap --help` is quick. What a user did
wrong is one line on standard error and exit status 2; everything else that escapes is a defect and shows its traceback.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from soapgap import __version__
from soapgap.errors import SoapGAPError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="SOAP-GAP interatomic potentials: train them, and run them in LAMMPS, i-PI and ASE.")


def _version(wanted: bool):
    if wanted:
        print(f"soapgap {__version__}")
        raise typer.Exit()


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                help="Print the version and leave.")] = False):
    pass


@app.command()
def info(model: Annotated[Path, typer.Argument(help="Model file.")]):
    """Show what is in a model file: terms, checksum, training data, errors, and the command that made it."""
    from soapgap.cli.info import print_info

    print_info(model)


@app.command()
def evaluate(model: Annotated[Path, typer.Argument(help="Model file.")],
             structures: Annotated[Path, typer.Argument(help="Structures in any format that ASE reads.")],
             output: Annotated[Path, typer.Argument(help="Extended XYZ to write: energy, forces, virial.")],
             threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
             allow_external: Annotated[bool, typer.Option("--allow-external", help="An external potential of the model may run "
                                                          "code of its own.")] = False):
    """Energies, forces and virials of structures, written to an extended XYZ file. Under mpiexec all ranks share the work."""
    from soapgap.cli.evaluate import evaluate_file

    evaluate_file(model, structures, output, threads, allow_external)


@app.command(name="compile")
def compile_model(model: Annotated[Path, typer.Argument(help="Model file.")],
                  output: Annotated[Path, typer.Argument(help="Model file to write; may be the same.")],
                  tolerance: Annotated[float, typer.Option(help="Largest change of a force by the reduction, eV/Angstrom.")
                                       ] = 1e-9,
                  triplet_tolerance: Annotated[float, typer.Option(help="The same for splines of three-body terms.")] = 1e-5,
                  precision: Annotated[str, typer.Option(help="double, or mixed: the smallest features in single precision.")
                                       ] = "double",
                  exact: Annotated[bool, typer.Option("--exact", help="Take the reduction out instead.")] = False):
    """Give a model its reduced form: the same function with fewer operations (`fit` does this by itself)."""
    from soapgap.model import Model
    from soapgap.reduction.soap import describe_reductions, exact_model, reduce_model

    loaded = Model.load(model)
    compiled = exact_model(loaded) if exact else reduce_model(loaded, tolerance, precision, triplet_tolerance)
    compiled.save(output)
    for line in describe_reductions(compiled):
        print(line)


@app.command()
def convert(source: Annotated[Path, typer.Argument(help="A potential of QUIP (.xml), or a model file.")],
            output: Annotated[Path, typer.Argument(help="Model file (.safetensors), or potential of QUIP (.xml), to write.")],
            species: Annotated[str | None, typer.Option(help="Elements of the model, for potentials that take any: \"Si O\".")
                               ] = None,
            label: Annotated[str | None, typer.Option(help="Which potential, if the XML file holds several.")] = None,
            exact: Annotated[bool, typer.Option("--exact", help="No reduced form: every sparse point as it is.")] = False):
    """Make a model file from a GAP potential of QUIP, or the other way round."""
    from soapgap.cli.convert import convert as convert_files

    convert_files(source, output, species.replace(",", " ").split() if species else None, label, exact)


def _register_rooms():
    from soapgap.cli.check import check
    from soapgap.cli.demo import demo
    from soapgap.cli.drive import drive
    from soapgap.cli.fit import fit
    from soapgap.cli.gap_fit import gap_fit
    from soapgap.cli.ipi_input import ipi_input
    from soapgap.cli.ipi_run import CONTEXT as DRIVER_OPTIONS
    from soapgap.cli.ipi_run import ipi_run
    from soapgap.cli.report import report
    from soapgap.cli.sparse_map import sparse_map
    from soapgap.cli.tune import tune
    from soapgap.ipi.pes_command import ipi_pes_path
    from soapgap.lammps import doctor_command

    app.command()(fit)
    app.command()(check)
    app.command()(tune)
    app.command()(report)
    app.command(name="gap-fit", context_settings={"ignore_unknown_options": True})(gap_fit)
    app.command(name="sparse-map")(sparse_map)
    app.command()(drive)
    app.command(name="ipi-input")(ipi_input)
    app.command(name="ipi-run", context_settings=DRIVER_OPTIONS)(ipi_run)
    app.command(name="ipi-pes-path")(ipi_pes_path)
    app.command(name="doctor")(doctor_command)
    app.command()(demo)


def main():
    """Entry point of the `soapgap` program."""
    _register_rooms()
    try:
        app()
    except SoapGAPError as error:
        print(f"soapgap: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("soapgap: interrupted", file=sys.stderr)
        sys.exit(130)
