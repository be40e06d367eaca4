"""What all tables of settings have in common: no unknown keys, no silent conversions, types with one message each."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """One table of the file: immutable, no unknown keys, no silent conversions ("8" is not 8)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("soapgap", message)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


Positive = Annotated[float, Field(gt=0.0)]
