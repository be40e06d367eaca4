"""What a fit is told: the schema of `fit.toml`.

The words are GAP's own (`n_max`, `atom_sigma`, `zeta`, `delta`, `n_sparse`, `default_sigma`, ...); docs/training.md
explains every key. Nothing is ignored: an unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from soapgap.errors import InputError
from soapgap.training.config_errors import describe


class Section(BaseModel):
    """One table of the file: immutable, no unknown keys, no silent conversions ("8" is not 8)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("soapgap", message)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _files(value: Any) -> tuple[Any, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    good = (isinstance(item, Mapping) or (isinstance(item, (str, os.PathLike)) and os.fspath(item)) for item in items)
    if not items or not all(good):
        raise _wrong("expected the path of an extended XYZ file, a table {file = ..., weight = ..., config_type = ...} or a "
                     f"list of such paths and tables, got {value!r}")
    return tuple(item if isinstance(item, Mapping) else os.fspath(item) for item in items)


def _sigma(value: Any) -> tuple[float, ...]:
    expected = "three numbers >= 0, [energy, force, virial], or four, with that of the curvatures (Hessian) last"
    if not isinstance(value, (list, tuple)) or not all(_is_number(item) and item >= 0 for item in value):
        raise _wrong(f"expected {expected}, got {value!r}")
    if len(value) not in (3, 4):
        raise _wrong(f"expected {expected}, got {len(value)}")
    return tuple(float(item) for item in value)


def _e0(value: Any) -> str | dict[str, float]:
    if isinstance(value, str) and value in ("isolated", "fit"):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(k, str) and _is_number(v) for k, v in value.items()):
        return {str(key): float(energy) for key, energy in value.items()}
    raise _wrong(f'expected "isolated", "fit" or energies per species such as {{Si = -0.79}}, got {value!r}')


def _n_sparse(value: Any) -> int | dict[str, int]:
    def good(n: Any) -> bool:
        return isinstance(n, int) and not isinstance(n, bool) and n >= 1

    if good(value):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(k, str) and good(v) for k, v in value.items()):
        return dict(value)
    raise _wrong(f"expected an integer >= 1 or one per centre species such as {{Si = 1000, O = 500}}, got {value!r}")


def _theta(value: Any) -> tuple[float, float, float]:
    items = [value] * 3 if _is_number(value) else value
    if not isinstance(items, (list, tuple)) or len(items) != 3 or not all(_is_number(t) and t > 0 for t in items):
        raise _wrong(f"expected a number > 0, or three of them, one for each component, got {value!r}")
    return tuple(float(t) for t in items)


def _three_species(value: Any) -> tuple[str, str, str]:
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(isinstance(s, str) and s for s in value):
        raise _wrong(f'expected three chemical symbols such as ["O", "Si", "Si"], got {value!r}')
    return tuple(value)


def _terms(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise _wrong(f"expected at least one [[terms]] table, got {value!r}")
    return value


Sigma = Annotated[tuple[float, ...], BeforeValidator(_sigma)]
E0 = Annotated[Literal["isolated", "fit"] | dict[str, float], BeforeValidator(_e0)]
NSparse = Annotated[int | dict[str, int], BeforeValidator(_n_sparse)]
Positive = Annotated[float, Field(gt=0.0)]
Theta = Annotated[tuple[float, float, float], BeforeValidator(_theta)]
ThreeSpecies = Annotated[tuple[str, str, str], BeforeValidator(_three_species)]


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
            if "weight" in entry.model_fields_set:
                raise _wrong(f"the weight {entry.weight:g} of the test file {entry.file!r} means nothing, because test data "
                             "are not fitted: remove it")
        return self


class SoapConfig(Section):
    """`[[terms]] kind = "soap"`: one SOAP kernel per centre species."""

    kind: Literal["soap"]
    n_max: Annotated[int, Field(ge=1, le=64)]
    l_max: Annotated[int, Field(ge=0, le=32)]
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    cutoff_function: Literal["cosine", "septic"] = "cosine"
    atom_sigma: Positive
    radial_basis: Literal["gto", "equispaced"] = "gto"
    central_weight: Annotated[float, Field(ge=0.0)] = 1.0
    zeta: Annotated[float, Field(ge=1.0)] = 4.0
    delta: Positive = 1.0
    n_sparse: NSparse
    sparse_method: Literal["cur", "fps", "random"] = "cur"

    @model_validator(mode="after")
    def _check_width(self) -> SoapConfig:
        return _check_width(self)


class Distance2bConfig(Section):
    """`[[terms]] kind = "distance_2b"`: one pair potential per pair of species."""

    kind: Literal["distance_2b"]
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    cutoff_function: Literal["cosine", "septic"] = "cosine"
    theta: Positive
    delta: Positive
    n_sparse: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check_width(self) -> Distance2bConfig:
        return _check_width(self)


class _ThreeBodyConfig(Section):
    """What the two kinds of three-body terms have in common."""

    species: ThreeSpecies | None = None
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    theta: Theta
    delta: Positive
    n_sparse: Annotated[int, Field(ge=1)]
    sparse_method: Literal["uniform", "fps", "random"] = "uniform"

    @model_validator(mode="after")
    def _check_width(self) -> _ThreeBodyConfig:
        return _check_width(self)


class Angle3bConfig(_ThreeBodyConfig):
    """`[[terms]] kind = "angle_3b"`: a function of a centre and two neighbours per choice of their species."""

    kind: Literal["angle_3b"]


class Distance3bConfig(_ThreeBodyConfig):
    """`[[terms]] kind = "distance_3b"`: a function of the three distances per choice of three species."""

    kind: Literal["distance_3b"]


def _check_width(term):
    width = term.cutoff_transition_width
    if width > term.cutoff:
        raise _wrong(f"cutoff_transition_width = {width:g} must not exceed cutoff = {term.cutoff:g}")
    return term


class PairRadii(Section):
    """Where the short-range baseline of one pair of species is whole (below inner) and nothing (above outer)."""

    inner: Positive | None = None
    outer: Positive

    @model_validator(mode="after")
    def _check_order(self) -> PairRadii:
        if self.inner is not None and self.inner >= self.outer:
            raise _wrong(f"inner = {self.inner:g} must be smaller than outer = {self.outer:g}")
        return self


class BaselineConfig(Section):
    """`[baseline]`: the short-range repulsion that is always part of the model and never of the fit."""

    kind: Literal["zbl", "none"] = "zbl"
    pairs: dict[str, PairRadii] = Field(default_factory=dict)


Term = Annotated[SoapConfig | Distance2bConfig | Angle3bConfig | Distance3bConfig, Field(discriminator="kind")]


class FitConfig(Section):
    """The whole of `fit.toml`."""

    output: Annotated[str, Field(min_length=1)]
    data: DataConfig
    e0: E0 = "isolated"
    default_sigma: Sigma
    config_type_sigma: dict[str, Sigma] = Field(default_factory=dict)
    sigma_per_atom: bool = True
    local_energy_sigma: Annotated[float, Field(ge=0.0)] = 0.001
    hessian_delta: Positive = 0.01
    sparse_jitter: Positive = 1e-8
    seed: Annotated[int, Field(ge=0)] = 0
    terms: Annotated[tuple[Term, ...], BeforeValidator(_terms), Field(strict=False)]
    baseline: BaselineConfig = Field(default_factory=BaselineConfig)
    exact: bool = False
    reduction_tolerance: Positive = 1e-9
    triplet_tolerance: Positive = 1e-5
    precision: Literal["double", "mixed"] = "double"

    @property
    def cutoff(self) -> float:
        """Largest cutoff of all terms (Angstrom)."""
        return max(term.cutoff for term in self.terms)

    def as_json(self) -> dict[str, Any]:
        """Everything that decides the numbers of the model, as plain JSON values (so without `output`)."""
        return self.model_dump(mode="json", exclude={"output"})


SECTIONS = {
    "": FitConfig,
    "data": DataConfig,
    "data.train": DataFile,
    "baseline": BaselineConfig,
    "baseline.pairs": PairRadii,
    "terms:soap": SoapConfig,
    "terms:distance_2b": Distance2bConfig,
    "terms:angle_3b": Angle3bConfig,
    "terms:distance_3b": Distance3bConfig,
}


def read_config(source: Mapping[str, Any] | str | os.PathLike | FitConfig) -> tuple[FitConfig, Path, str]:
    """Read and check a configuration.

    Parameters
    ----------
    source : mapping or path
        The content of a `fit.toml` as nested dictionaries, or the path of such a file.

    Returns
    -------
    config : FitConfig
    folder : Path
        What relative paths in the configuration are relative to: the file's folder, or the current one.
    name : str
        Name of the file, for messages and provenance ("config" for a mapping).

    Raises
    ------
    InputError
        No such file, not TOML, or something in it that is missing, unknown, of the wrong type or out of range.
    """
    if isinstance(source, FitConfig):
        return source, Path.cwd(), "config"
    if isinstance(source, Mapping):
        return _validate(dict(source), "config"), Path.cwd(), "config"
    path = Path(source)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None
    return _validate(content, path.name), path.resolve().parent, path.name


def _validate(content: dict[str, Any], name: str) -> FitConfig:
    try:
        return FitConfig.model_validate(content)
    except ValidationError as error:
        known = {where: tuple(section.model_fields) for where, section in SECTIONS.items()}
        raise InputError(f"{name}: " + "; ".join(describe(error.errors(), known))) from None
