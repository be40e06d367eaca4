"""`[[terms]]`: the kernels of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from soapgap.training.config_base import Positive, Section, is_number, wrong


def _n_sparse(value: Any) -> int | dict[str, int]:
    def good(n: Any) -> bool:
        return isinstance(n, int) and not isinstance(n, bool) and n >= 1

    if good(value):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(k, str) and good(v) for k, v in value.items()):
        return dict(value)
    raise wrong(f"expected an integer >= 1 or one per centre species such as {{Si = 1000, O = 500}}, got {value!r}")


def _theta(value: Any) -> tuple[float, float, float]:
    items = [value] * 3 if is_number(value) else value
    if not isinstance(items, (list, tuple)) or len(items) != 3 or not all(is_number(t) and t > 0 for t in items):
        raise wrong(f"expected a number > 0, or three of them, one for each component, got {value!r}")
    return tuple(float(t) for t in items)


def _three_species(value: Any) -> tuple[str, str, str]:
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(isinstance(s, str) and s for s in value):
        raise wrong(f'expected three chemical symbols such as ["O", "Si", "Si"], got {value!r}')
    return tuple(value)


NSparse = Annotated[int | dict[str, int], BeforeValidator(_n_sparse)]
Theta = Annotated[tuple[float, float, float], BeforeValidator(_theta)]
ThreeSpecies = Annotated[tuple[str, str, str], BeforeValidator(_three_species)]


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
        raise wrong(f"cutoff_transition_width = {width:g} must not exceed cutoff = {term.cutoff:g}")
    return term


Term = Annotated[SoapConfig | Distance2bConfig | Angle3bConfig | Distance3bConfig, Field(discriminator="kind")]
