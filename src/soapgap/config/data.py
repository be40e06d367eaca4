"""`[data]`: the files of a fit, and the names of the quantities in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from soapgap.config.section import Positive, Section, wrong

#: Quantities that data need not have, unless the configuration names them.
EXPECTED_IF_NAMED = ("virial_key", "stress_key", "local_energy_key", "hessian_key")


def _files(value: Any) -> tuple[Any, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    good = (isinstance(item, Mapping) or (isinstance(item, (str, os.PathLike)) and os.fspath(item)) for item in items)
    if not items or not all(good):
        raise wrong("expected the path of an extended XYZ file, a table {file = ..., weight = ..., config_type = ...} or a "
                     f"list of such paths and tables, got {value!r}")
    return tuple(item if isinstance(item, Mapping) else os.fspath(item) for item in items)


class DataFile(Section):
    """One file of `data.train` or `data.test`: how much its observations count, and the type of frames without one."""

    file: Annotated[str, Field(min_length=1)]
    weight: Positive = 1.0
    config_type: Annotated[str, Field(min_length=1)] | None = None


FileEntry = Annotated[Annotated[str, Tag("path")] | Annotated[DataFile, Tag("table")],
                      Discriminator(lambda item: "path" if isinstance(item, str) else "table")]
Files = Annotated[tuple[FileEntry, ...], BeforeValidator(_files), Field(strict=False)]


def as_files(entries: Iterable[str | DataFile]) -> tuple[DataFile, ...]:
    """Files with their weights and types; a bare path has weight 1 and no type."""
    return tuple(DataFile(file=entry) if isinstance(entry, str) else entry for entry in entries)


class DataConfig(Section):
    """`[data]`: files and the names of the quantities in them; an empty name means "do not read this quantity"."""

    train: Files
    test: Files | None = None
    energy_key: str = "energy"
    forces_key: str = "forces"
    virial_key: str = "virial"
    stress_key: str = "stress"
    local_energy_key: str = "local_energy"
    hessian_key: str = "hessian"
    config_type_key: str = "config_type"
    energy_and_local_energy: bool = False

    @property
    def file_names(self) -> tuple[str, ...]:
        """The paths of all files, as they were given."""
        return tuple(entry.file for entry in as_files((*self.train, *(self.test or ()))))

    @model_validator(mode="after")
    def _check_test(self) -> DataConfig:
        for entry in as_files(self.test or ()):
            if entry.weight != 1.0:
                raise wrong(f"the weight {entry.weight:g} of the test file {entry.file!r} has no effect, because test data "
                             "are not fitted: remove it")
        return self
