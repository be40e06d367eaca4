"""The keys of `[[terms]]` that say how sparse points and length scales are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from soapgap.config.base import is_number, wrong

#: Methods that get the points from a file or take all, and need no number of them.
FROM_FILE = ("file", "index_file")
WITHOUT_NUMBER = (*FROM_FILE, "all")


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1


def _table(value: Any, good) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and good(v) for k, v in value.items())


def _n_sparse(value: Any) -> int | dict[str, int]:
    if _is_count(value):
        return value
    if _table(value, _is_count):
        return dict(value)
    raise wrong(f"expected an integer >= 1 or one per centre species such as {{Si = 1000, O = 500}}, got {value!r}")


def _of_types(value: Any) -> dict[str, int]:
    if _table(value, _is_count):
        return dict(value)
    raise wrong(f"expected integers >= 1 by config type such as {{bulk = 500, liquid = 300}}, got {value!r}")


def _of_types_and_species(value: Any) -> dict[str, int | dict[str, int]]:
    if _table(value, lambda n: _is_count(n) or _table(n, _is_count)):
        return {kind: n if _is_count(n) else dict(n) for kind, n in value.items()}
    raise wrong("expected integers >= 1 by config type such as {bulk = 500, liquid = 300}, or tables by centre species in "
                f"their place such as {{bulk = {{Si = 500, O = 200}}}}, got {value!r}")


def _files(value: Any) -> str | dict[str, str]:
    def good(name: Any) -> bool:
        return isinstance(name, str) and bool(name)

    if good(value):
        return value
    if _table(value, good):
        return dict(value)
    raise wrong('expected a path, or paths by species such as {Si = "Si.dat", O = "O.dat"} (soap), {"Si-O" = "SiO.dat"} '
                f'(pairs), {{"O-Si-Si" = "OSiSi.dat"}} (triplets), got {value!r}')


def _three(value: Any) -> tuple[float, float, float]:
    items = [value] * 3 if is_number(value) else value
    if not isinstance(items, (list, tuple)) or len(items) != 3 or not all(is_number(t) and t > 0 for t in items):
        raise wrong(f"expected a number > 0, or three of them, one for each component, got {value!r}")
    return tuple(float(t) for t in items)


NSparse = Annotated[int | dict[str, int], BeforeValidator(_n_sparse)]
OfTypes = Annotated[dict[str, int], BeforeValidator(_of_types)]
OfTypesAndSpecies = Annotated[dict[str, int | dict[str, int]], BeforeValidator(_of_types_and_species)]
SparseFile = Annotated[str | dict[str, str], BeforeValidator(_files)]
ThreeNumbers = Annotated[tuple[float, float, float], BeforeValidator(_three)]


def check_sparse(term):
    """Each method has what it needs and nothing else.

    Raises
    ------
    PydanticCustomError
        A number of points or a file that is missing, given twice, or without effect.
    """
    method = term.sparse_method
    counts = [key for key in ("n_sparse", "config_type_n_sparse") if getattr(term, key) is not None]
    if len(counts) == 2:
        raise wrong("n_sparse and config_type_n_sparse are both given; expected one of them: a number for all the data, or "
                    "one for each config type")
    if method in WITHOUT_NUMBER and counts:
        raise wrong(f'{counts[0]} has no effect with sparse_method = "{method}": remove it')
    if method not in WITHOUT_NUMBER and not counts:
        raise wrong(f'n_sparse is missing: sparse_method = "{method}" needs the number of sparse points')
    if method == "grid" and counts != ["n_sparse"]:
        raise wrong('config_type_n_sparse has no effect with sparse_method = "grid", which takes no points from the data; '
                    'choose another method such as "uniform"')
    if (method in FROM_FILE) != (term.sparse_file is not None):
        raise wrong(f'sparse_method = "{method}" needs a sparse_file' if method in FROM_FILE else
                    f'sparse_file has no effect with sparse_method = "{method}"; expected "file" or "index_file"')
    return term


def check_theta(term):
    """Exactly one of theta and theta_fac."""
    if (term.theta is None) == (term.theta_fac is None):
        got = "both" if term.theta is not None else "neither"
        raise wrong(f"expected either theta (length scale) or theta_fac (in units of the range of the data), got {got}")
    return term
