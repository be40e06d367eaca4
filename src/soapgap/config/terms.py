"""`[[terms]]`: the kernels of a fit, each a table of one of the kinds that there are."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Union

from pydantic import Field, PlainValidator, SerializeAsAny, TypeAdapter

from soapgap.kinds.config import KINDS, TermConfig, register
from soapgap.kinds.distance_2b.config import Distance2bConfig
from soapgap.kinds.soap.config import SoapConfig
from soapgap.kinds.three_body.config import Angle3bConfig, Distance3bConfig

for _kind in (SoapConfig, Distance2bConfig, Angle3bConfig, Distance3bConfig):
    register(_kind)


@cache
def _reader(kinds: tuple[type[TermConfig], ...]) -> TypeAdapter:
    return TypeAdapter(Annotated[Union[kinds], Field(discriminator="kind")])  # noqa: UP007


def _read(value: Any) -> TermConfig:
    """A table of `[[terms]]`, of whichever kind it says."""
    return _reader(tuple(KINDS.values())).validate_python(value)


Term = Annotated[SerializeAsAny[TermConfig], PlainValidator(_read)]
