"""`soapgap info`: what is in a model file."""

from pathlib import Path
from typing import Annotated

import typer


def info(model: Annotated[Path, typer.Argument(help="Model file.")]) -> None:
    """Show what is in a model file: terms, checksum, training data, errors, and the command that made it."""
    from soapgap.report.model_info import print_info

    print_info(model)
