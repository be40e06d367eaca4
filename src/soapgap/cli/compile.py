"""`soapgap compile`: the same model with fewer operations."""

from pathlib import Path
from typing import Annotated

import typer


def compile_model(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    output: Annotated[Path, typer.Argument(help="Model file to write; may be the same.")],
    tolerance: Annotated[float, typer.Option(help="Largest change of a force by the reduction, eV/Angstrom.")] = 1e-9,
    triplet_tolerance: Annotated[float, typer.Option(help="The same for splines of three-body terms.")] = 1e-5,
    precision: Annotated[str, typer.Option(help="double, or mixed: the smallest features in single precision.")] = "double",
    exact: Annotated[bool, typer.Option("--exact", help="Take the reduction out instead.")] = False,
) -> None:
    """Give a model its reduced form: the same function with fewer operations (`fit` does this by itself)."""
    from soapgap.model import Model
    from soapgap.reduction.model import describe_reductions, exact_model, reduce_model

    loaded = Model.load(model)
    compiled = exact_model(loaded) if exact else reduce_model(loaded, tolerance, precision, triplet_tolerance)
    compiled.save(output)
    for line in describe_reductions(compiled):
        print(line)
