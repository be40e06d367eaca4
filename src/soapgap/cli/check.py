"""`soapgap check`: a look at training data, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    data: Annotated[list[Path], typer.Argument(help="Extended XYZ files, taken together as one set of data.")],
    energy_key: Annotated[str, typer.Option(help="Name of the energies, as data.energy_key of a fit.")] = "energy",
    forces_key: Annotated[str, typer.Option(help="Name of the forces; \"\" not to look at them.")] = "forces",
    virial_key: Annotated[str, typer.Option(help="Name of the virials.")] = "virial",
    stress_key: Annotated[str, typer.Option(help="Name of the stresses.")] = "stress",
    config_type_key: Annotated[str, typer.Option(help="Name of the label of a frame.")] = "config_type",
    json: Annotated[Path | None, typer.Option(help="Write everything to this file as well.")] = None,
) -> None:
    """Look for faults in training data: signs, units, outliers, duplicates, missing values.

    Exit status: 0 if there is nothing but notes, 1 with warnings, 3 with errors, 2 if the command cannot be carried out.
    """
    from soapgap.check.report import show, write_json
    from soapgap.check.run import check as run
    from soapgap.errors import InputError
    from soapgap.say import Reporter

    if json is not None and json.resolve() in {path.resolve() for path in data}:
        raise InputError(f"--json {json} is one of the data files: choose another name")
    say = Reporter()
    result = run(data, say=say, energy_key=energy_key, forces_key=forces_key, virial_key=virial_key, stress_key=stress_key,
                 config_type_key=config_type_key)
    show(result, say)
    if json is not None:
        write_json(json, result)
    raise typer.Exit(result.status)
