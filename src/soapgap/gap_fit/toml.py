"""The configuration that stands for a command line of gap_fit, written as a `fit.toml`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soapgap.config.toml import to_toml
from soapgap.files import write_atomically


def write_fit_toml(path: Path, config: Mapping[str, Any], heading: str) -> None:
    """Write the content of a `fit.toml`.

    Parameters
    ----------
    config : mapping of str to object
        Paths in it are relative to the current folder; in the file they are relative to its own.
    heading : str
        A comment at the top.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    write_atomically(path, f"{comment}\n{to_toml(_moved(config, path.resolve().parent))}")


def _moved(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same with paths relative to another folder."""

    def move(name: Any) -> Any:
        if isinstance(name, Mapping):
            return {key: move(value) for key, value in name.items()}
        return name if os.path.isabs(name) else os.path.relpath(name, folder)

    def with_moved(table: Mapping[str, Any], key: str) -> dict[str, Any]:
        return dict(table) | ({key: move(table[key])} if key in table else {})

    baseline = dict(config["baseline"])
    if "potentials" in baseline:
        baseline["potentials"] = [with_moved(table, "file") for table in baseline["potentials"]]
    return with_moved(config, "output") | {
        "data": with_moved(config["data"], "train"),
        "terms": [with_moved(term, "sparse_file") for term in config["terms"]],
        "baseline": baseline,
    }
