"""`[[terms]]`: the kernels of a fit, each a table of one of the kinds that there are."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Union

from pydantic import Field, PlainValidator, SerializeAsAny, TypeAdapter

from soapgap.config.distance_2b import Distance2bConfig
from soapgap.config.kind import KINDS, TermConfig, register
from soapgap.config.soap import SoapConfig
from soapgap.config.three_body import Angle3bConfig, Distance3bConfig

for _kind in (SoapConfig, Distance2bConfig, Angle3bConfig, Distance3bConfig):
    register(_kind)


@cache
def _reader(kinds: tuple[type[TermConfig], ...]) -> TypeAdapter:
    return TypeAdapter(Annotated[Union[kinds], Field(discriminator="kind")])  # noqa: UP007


def _read(value: Any) -> TermConfig:
    """A table of `[[terms]]`, of whichever kind it says."""
    return _reader(tuple(KINDS.values())).validate_python(value)


Term = Annotated[SerializeAsAny[TermConfig], PlainValidator(_read)]
