"""`soapgap report`: the report of any model with any data, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    data: Annotated[list[Path], typer.Argument(help="Extended XYZ files that it was trained on.")],
    test: Annotated[list[Path] | None, typer.Option(help="Extended XYZ file that it has not seen; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option(help="HTML file to write, the JSON beside it; default "
                                                "MODEL.report.html.")] = None,
    energy_key: Annotated[str | None, typer.Option(help="Name of the energies; default that of the fit, else energy.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of the forces; \"\" not to look at them.")] = None,
    virial_key: Annotated[str | None, typer.Option(help="Name of the virials.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Name of the stresses.")] = None,
    config_type_key: Annotated[str | None, typer.Option(help="Name of the label of a frame.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; default OMP_NUM_THREADS or all cores.")] = None,
    allow_external: Annotated[bool, typer.Option("--allow-external", help="An external potential of the model may run code of "
                                                 "its own.")] = False,
) -> None:
    """Write the report of a model: errors on these data, dimers, E(V), phonons, speed; an HTML page and a JSON file."""
    from soapgap.report.run import make_report

    keys = {"energy_key": energy_key, "forces_key": forces_key, "virial_key": virial_key, "stress_key": stress_key,
            "config_type_key": config_type_key}
    make_report(model, data, test or (), output, threads=threads, allow_external=allow_external,
                **{name: key for name, key in keys.items() if key is not None})
