"""`[baseline]`: what belongs to the model and is never fitted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from soapgap.training.config_base import Positive, Section, wrong


class PairRadii(Section):
    """Where the short-range baseline of one pair of species is whole (below inner) and nothing (above outer)."""

    inner: Positive | None = None
    outer: Positive

    @model_validator(mode="after")
    def _check_order(self) -> PairRadii:
        if self.inner is not None and self.inner >= self.outer:
            raise wrong(f"inner = {self.inner:g} must be smaller than outer = {self.outer:g}")
        return self


class BaselineConfig(Section):
    """`[baseline]`: the short-range repulsion that is always part of the model and never of the fit."""

    kind: Literal["zbl", "none"] = "zbl"
    pairs: dict[str, PairRadii] = Field(default_factory=dict)
