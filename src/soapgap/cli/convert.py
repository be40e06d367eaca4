"""`soapgap convert`: potentials of QUIP in, and out."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[Path, typer.Argument(help="A potential of QUIP (.xml), or a model file.")],
    output: Annotated[Path, typer.Argument(help="Model file (.safetensors), or potential of QUIP (.xml), to write.")],
    species: Annotated[str | None, typer.Option(help="Elements of the model, for potentials that take any: \"Si O\".")] = None,
    label: Annotated[str | None, typer.Option(help="Which potential, if the XML file holds several.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="No reduced form: every sparse point as it is.")] = False,
) -> None:
    """Make a model file from a GAP potential of QUIP, or the other way round."""
    from soapgap.quip.convert import convert as convert_files

    convert_files(source, output, species.replace(",", " ").split() if species else None, label, exact)
