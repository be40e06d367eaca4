"""`soapgap sparse-map`: the environments of data and the sparse points of a model, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sparse_map(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    data: Annotated[list[Path], typer.Argument(help="Structures in any format that ASE reads, usually the training data.")],
    output: Annotated[Path, typer.Option(help="Picture (.png) or data set for chemiscope.org (.json) to write.")],
    most: Annotated[int, typer.Option(help="Environments on a map; more are drawn at random.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    energy_key: Annotated[str, typer.Option(help="Name of the energies, as data.energy_key of a fit.")] = "energy",
    config_type_key: Annotated[str, typer.Option(help="Name of the label of a frame.")] = "config_type",
    threads: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
) -> None:
    """Map the environments of data and the sparse points of a model: two kernel principal components per SOAP kernel."""
    from soapgap.report.sparse_map_file import write_maps

    for path in write_maps(model, data, output, most=most, seed=seed, energy_key=energy_key, config_type_key=config_type_key,
                           threads=threads):
        print(path)
