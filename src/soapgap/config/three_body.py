"""`[[terms]] kind = "angle_3b"` and `kind = "distance_3b"`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from soapgap.config.kind import TermConfig, ThreeNumbers, check_theta
from soapgap.config.section import wrong


def _three_species(value: Any) -> tuple[str, str, str]:
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(isinstance(s, str) and s for s in value):
        raise wrong(f'expected three chemical symbols such as ["O", "Si", "Si"], got {value!r}')
    return tuple(value)


ThreeSpecies = Annotated[tuple[str, str, str], BeforeValidator(_three_species)]


class ThreeBodyConfig(TermConfig):
    """What the two kinds of three-body terms have in common."""

    species: ThreeSpecies | None = None
    theta: ThreeNumbers | None = None
    theta_fac: ThreeNumbers | None = None
    sparse_method: Literal["uniform", "fps", "random", "cholesky", "file", "index_file", "all"] = "uniform"

    @model_validator(mode="after")
    def _check_theta(self) -> ThreeBodyConfig:
        return check_theta(self)


class Angle3bConfig(ThreeBodyConfig):
    """`[[terms]] kind = "angle_3b"`: a function of a centre and two neighbours per choice of their species."""

    kind: Literal["angle_3b"]


class Distance3bConfig(ThreeBodyConfig):
    """`[[terms]] kind = "distance_3b"`: a function of the three distances per choice of three species."""

    kind: Literal["distance_3b"]
