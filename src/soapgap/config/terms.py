"""`[[terms]]`: the kernels of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from soapgap.config.base import Positive, Section, is_number, wrong
from soapgap.config.sparse import (
    NSparse,
    OfTypes,
    OfTypesAndSpecies,
    SparseFile,
    ThreeNumbers,
    check_sparse,
    check_theta,
)
from soapgap.radial.limits import size_fault


def _three_species(value: Any) -> tuple[str, str, str]:
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(isinstance(s, str) and s for s in value):
        raise wrong(f'expected three chemical symbols such as ["O", "Si", "Si"], got {value!r}')
    return tuple(value)


def _radial_scaling(value: Any) -> dict[str, float]:
    expected = "{ rate = 1.0, scale = 2.0, exponent = 4 }"
    if not isinstance(value, Mapping) or sorted(value) != ["exponent", "rate", "scale"]:
        raise wrong(f"expected exactly the keys of {expected}, got {value!r}")
    rate, scale, exponent = (value[key] for key in ("rate", "scale", "exponent"))
    if not all(is_number(number) and number > 0 for number in (rate, scale)):
        raise wrong(f"expected rate > 0 and scale > 0 (Angstrom) as in {expected}, got {value!r}")
    if not isinstance(exponent, int) or isinstance(exponent, bool) or not 1 <= exponent <= 20:
        raise wrong(f"expected a whole exponent from 1 to 20 as in {expected}, got {exponent!r}")
    return {"rate": float(rate), "scale": float(scale), "exponent": exponent}


def _size(name: str) -> AfterValidator:
    def check(value: int) -> int:
        fault = size_fault(name, value)
        if fault:
            raise wrong(f"got {value}, {fault}")
        return value

    return AfterValidator(check)


ThreeSpecies = Annotated[tuple[str, str, str], BeforeValidator(_three_species)]
RadialScaling = Annotated[dict[str, float | int], BeforeValidator(_radial_scaling)]


class SoapConfig(Section):
    """`[[terms]] kind = "soap"`: one SOAP kernel per centre species."""

    kind: Literal["soap"]
    n_max: Annotated[int, _size("n_max")]
    l_max: Annotated[int, _size("l_max")]
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    cutoff_function: Literal["cosine", "septic"] = "cosine"
    atom_sigma: Positive
    radial_basis: Literal["gto", "equispaced"] = "gto"
    radial_scaling: RadialScaling | None = None
    central_weight: Annotated[float, Field(ge=0.0)] = 1.0
    zeta: Annotated[float, Field(ge=1.0)] = 4.0
    delta: Positive = 1.0
    n_sparse: NSparse | None = None
    config_type_n_sparse: OfTypesAndSpecies | None = None
    sparse_method: Literal["cur", "fps", "random", "cholesky", "leverage", "file", "index_file", "all"] = "cur"
    sparse_file: SparseFile | None = None

    @model_validator(mode="after")
    def _check(self) -> SoapConfig:
        return check_sparse(_check_width(self))


class Distance2bConfig(Section):
    """`[[terms]] kind = "distance_2b"`: one pair potential per pair of species."""

    kind: Literal["distance_2b"]
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    cutoff_function: Literal["cosine", "septic"] = "cosine"
    theta: Positive | None = None
    theta_fac: Positive | None = None
    delta: Positive
    n_sparse: Annotated[int, Field(ge=1)] | None = None
    config_type_n_sparse: OfTypes | None = None
    sparse_method: Literal["grid", "uniform", "random", "fps", "file", "index_file", "all"] = "grid"
    sparse_file: SparseFile | None = None

    @model_validator(mode="after")
    def _check(self) -> Distance2bConfig:
        return check_theta(check_sparse(_check_width(self)))


class _ThreeBodyConfig(Section):
    """What the two kinds of three-body terms have in common."""

    species: ThreeSpecies | None = None
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    theta: ThreeNumbers | None = None
    theta_fac: ThreeNumbers | None = None
    delta: Positive
    n_sparse: Annotated[int, Field(ge=1)] | None = None
    config_type_n_sparse: OfTypes | None = None
    sparse_method: Literal["uniform", "fps", "random", "cholesky", "file", "index_file", "all"] = "uniform"
    sparse_file: SparseFile | None = None

    @model_validator(mode="after")
    def _check(self) -> _ThreeBodyConfig:
        return check_theta(check_sparse(_check_width(self)))


class Angle3bConfig(_ThreeBodyConfig):
    """`[[terms]] kind = "angle_3b"`: a function of a centre and two neighbours per choice of their species."""

    kind: Literal["angle_3b"]


class Distance3bConfig(_ThreeBodyConfig):
    """`[[terms]] kind = "distance_3b"`: a function of the three distances per choice of three species."""

    kind: Literal["distance_3b"]


def _check_width(term):
    width = term.cutoff_transition_width
    if width > term.cutoff:
        raise wrong(f"cutoff_transition_width = {width:g} must not exceed cutoff = {term.cutoff:g}")
    return term


Term = Annotated[SoapConfig | Distance2bConfig | Angle3bConfig | Distance3bConfig, Field(discriminator="kind")]
