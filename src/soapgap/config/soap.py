"""`[[terms]] kind = "soap"`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from soapgap.config.kind import NSparse, OfTypesAndSpecies, TermConfig
from soapgap.config.section import Positive, is_number, wrong
from soapgap.radial.limits import size_fault


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


RadialScaling = Annotated[dict[str, float | int], BeforeValidator(_radial_scaling)]


class SoapConfig(TermConfig):
    """`[[terms]] kind = "soap"`: one SOAP kernel per centre species."""

    kind: Literal["soap"]
    n_max: Annotated[int, _size("n_max")]
    l_max: Annotated[int, _size("l_max")]
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
