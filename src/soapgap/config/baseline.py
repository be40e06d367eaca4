"""`[baseline]`: what belongs to the model and is never fitted."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from soapgap.config.section import Positive, Section, wrong
from soapgap.errors import InputError
from soapgap.model.external import potential_from_json

_FILE_KEYS = ("kind", "file", "label")


class PairRadii(Section):
    """Where the short-range baseline of one pair of species is whole (below inner) and nothing (above outer)."""

    inner: Positive | None = None
    outer: Positive

    @model_validator(mode="after")
    def _check_order(self) -> PairRadii:
        if self.inner is not None and self.inner >= self.outer:
            raise wrong(f"inner = {self.inner:g} must be smaller than outer = {self.outer:g}")
        return self


def _potential(value: Any) -> dict[str, Any]:
    """A table of `[[baseline.potentials]]`, checked as far as that is possible without data and without other programs."""
    if not isinstance(value, Mapping):
        raise wrong(f"got {value!r}, expected a table")
    if "kind" not in value:
        raise wrong('kind: this key is missing; expected "lammps", "ase" or "file"')
    if value["kind"] == "file":
        return _file(value)
    if value["kind"] not in ("lammps", "ase"):
        raise wrong(f'kind: got {value["kind"]!r}, expected "lammps", "ase" or "file"')
    for key in ("files", "kind_version"):
        if key in value:
            raise wrong(f"{key}: unknown key; soapgap determines it itself")
    try:
        potential_from_json(value)
    except InputError as error:
        raise wrong(str(error)) from None
    return dict(value)


def _file(value: Mapping[str, Any]) -> dict[str, Any]:
    for key in value:
        if key not in _FILE_KEYS:
            near = difflib.get_close_matches(str(key), _FILE_KEYS, 1, 0.5)
            raise wrong(f"{key}: unknown key of a potential of kind 'file'; "
                        + (f"did you mean {near[0]!r}?" if near else "it knows file, label"))
    for key in ("file", "label"):
        if (key == "file" or key in value) and not (isinstance(value.get(key), str) and value[key]):
            raise wrong(f"{key}: got {value.get(key)!r}, expected "
                        + ("the name of a model file or of a potential of QUIP (.xml)" if key == "file" else "a name"))
    return dict(value)


def _tables(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise wrong(f"got {value!r}, expected tables, each under the line [[baseline.potentials]]")
    return value


PotentialTable = Annotated[dict[str, Any], BeforeValidator(_potential)]


class BaselineConfig(Section):
    """`[baseline]`: short-range repulsion and given potentials that are always part of the model and never of the fit."""

    kind: Literal["zbl", "none"] = "zbl"
    pairs: dict[str, PairRadii] = Field(default_factory=dict)
    potentials: Annotated[tuple[PotentialTable, ...], BeforeValidator(_tables), Field(strict=False)] = ()

    @model_serializer(mode="wrap")
    def _without_empty(self, serialise: Any) -> dict[str, Any]:
        """Models without potentials stay the same to the byte."""
        return {key: value for key, value in serialise(self).items() if key != "potentials" or value}
