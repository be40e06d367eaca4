"""`[[terms]] kind = "distance_2b"`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from soapgap.config.kind import TermConfig, check_theta
from soapgap.config.section import Positive


class Distance2bConfig(TermConfig):
    """`[[terms]] kind = "distance_2b"`: one pair potential per pair of species."""

    kind: Literal["distance_2b"]
    cutoff_function: Literal["cosine", "septic"] = "cosine"
    theta: Positive | None = None
    theta_fac: Positive | None = None
    sparse_method: Literal["grid", "uniform", "random", "fps", "file", "index_file", "all"] = "grid"

    @model_validator(mode="after")
    def _check_theta(self) -> Distance2bConfig:
        return check_theta(self)
