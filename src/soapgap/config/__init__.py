"""What a user asks of a fit: the schema of `fit.toml`.

The words are GAP's own (`n_max`, `atom_sigma`, `zeta`, `delta`, `n_sparse`, `default_sigma`, ...); docs/training.md
explains every key. Nothing is ignored: an unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from soapgap.config.baseline import BaselineConfig, PairRadii
from soapgap.config.data import EXPECTED_IF_NAMED, DataConfig, DataFile
from soapgap.config.errors import describe
from soapgap.config.section import Positive, Section, is_number, wrong
from soapgap.config.terms import KINDS, Term
from soapgap.errors import InputError


def _sigma(value: Any) -> tuple[float, ...]:
    expected = "three numbers >= 0, [energy, force, virial], or four, with that of the curvatures (Hessian) last"
    if not isinstance(value, (list, tuple)) or not all(is_number(item) and item >= 0 for item in value):
        raise wrong(f"expected {expected}, got {value!r}")
    if len(value) not in (3, 4):
        raise wrong(f"expected {expected}, got {len(value)}")
    return tuple(float(item) for item in value)


def _e0(value: Any) -> str | dict[str, float]:
    if isinstance(value, str) and value in ("isolated", "fit", "average"):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(k, str) and is_number(v) for k, v in value.items()):
        return {str(key): float(energy) for key, energy in value.items()}
    raise wrong(f'expected "isolated", "fit", "average" or energies per species such as {{Si = -0.79}}, got {value!r}')


def _jitter(value: Any) -> str | float:
    if value == "auto":
        return value
    if is_number(value) and value > 0:
        return float(value)
    raise wrong(f'got {value!r}, expected "auto", or a number greater than 0 (eV^2)')


def _terms(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise wrong(f"expected at least one [[terms]] table, got {value!r}")
    return value


Sigma = Annotated[tuple[float, ...], BeforeValidator(_sigma)]
Jitter = Annotated[Literal["auto"] | float, BeforeValidator(_jitter)]
E0 = Annotated[Literal["isolated", "fit", "average"] | dict[str, float], BeforeValidator(_e0)]


class FitConfig(Section):
    """The whole of `fit.toml`."""

    output: Annotated[str, Field(min_length=1)]
    data: DataConfig
    e0: E0 = "isolated"
    e0_offset: float = 0.0
    default_sigma: Sigma
    config_type_sigma: dict[str, Sigma] = Field(default_factory=dict)
    sigma_per_atom: bool = True
    local_energy_sigma: Annotated[float, Field(ge=0.0)] = 0.001
    hessian_delta: Positive = 0.01
    sparse_jitter: Jitter = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    terms: Annotated[tuple[Term, ...], BeforeValidator(_terms), Field(strict=False)]
    baseline: BaselineConfig = Field(default_factory=BaselineConfig)
    exact: bool = False
    radial_tolerance: Annotated[float, Field(ge=1e-13, le=1e-6)] = 1e-11
    reduction_tolerance: Positive = 1e-9
    triplet_tolerance: Positive = 1e-5
    precision: Literal["double", "mixed"] = "double"

    @property
    def cutoff(self) -> float:
        """Largest cutoff of all terms (Angstrom)."""
        return max(term.cutoff for term in self.terms)

    def as_json(self) -> dict[str, Any]:
        """Everything that decides the numbers of the model, as plain JSON values (so without `output`).

        With `output` it is the content of a `fit.toml` that asks for the same fit. Names of quantities that the data need not
        have are in it only if they were given, since giving one says that the data have the quantity.

        Returns
        -------
        dict
        """
        content = self.model_dump(mode="json", exclude={"output"}, exclude_none=True)
        for key in EXPECTED_IF_NAMED:
            if key not in self.data.model_fields_set:
                del content["data"][key]
        return content

    def recorded(self, jitter: float) -> dict[str, Any]:
        """What a model records of its fit: `as_json` with the jitter that was used.

        Parameters
        ----------
        jitter : float
            Added to the diagonal of K_mm, eV^2.

        Returns
        -------
        dict
        """
        return self.as_json() | {"sparse_jitter": jitter}


_SECTIONS = {
    "": FitConfig,
    "data": DataConfig,
    "data.train": DataFile,
    "baseline": BaselineConfig,
    "baseline.pairs": PairRadii,
}


def sections() -> dict[str, type[Section]]:
    """The tables of the file: "" for the top, "data", "data.train", "baseline", "baseline.pairs", "terms:<kind>"."""
    return _SECTIONS | {f"terms:{name}": kind for name, kind in KINDS.items()}


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
        known = {where: tuple(section.model_fields) for where, section in sections().items()}
        raise InputError(f"{name}: " + "; ".join(describe(error.errors(), known))) from None
