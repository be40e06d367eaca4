"""Length scales and sparse points of a descriptor string."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soapgap.errors import InputError
from soapgap.gap_fit.options import SPARSE_METHODS
from soapgap.gap_fit.shapes import SHAPES
from soapgap.gap_fit.words import Values
from soapgap.quip.strings import integer, reals


def length_scale(values: Values, table: dict[str, Any]) -> None:
    """Add `theta`, `theta_fac` or `zeta` to our term."""
    shape = SHAPES[table["kind"]]
    given = [name for name in ("theta_uniform", "theta_fac", "theta_file", "zeta") if name in values]
    if len(given) != 1 or given[0] not in shape.scales:
        raise InputError(f"{values.where}got {' and '.join(given) or 'no length scale'}, expected one of "
                         f"{', '.join(shape.scales)}")
    if given[0] == "zeta":
        table["zeta"] = values["zeta"]
        return
    numbers = _read_numbers(values["theta_file"], values.where) if given[0] == "theta_file" else values[given[0]]
    numbers = (numbers,) if isinstance(numbers, float) else tuple(numbers)
    n = shape.n_components
    if len(numbers) not in (1, n) or (given[0] == "theta_file" and len(numbers) != n):
        raise InputError(f"{values.where}{given[0]} has {len(numbers)} numbers, expected {n}")
    key = "theta_fac" if given[0] == "theta_fac" else "theta"
    table[key] = numbers[0] if len(numbers) == 1 else list(numbers)


def _read_numbers(name: str, where: str) -> tuple[float, ...]:
    return tuple(reals(_text(name, where), f"{where}{name}").tolist())


def _text(name: str, where: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


def sparse_points(values: Values, table: dict[str, Any], n_species: int) -> tuple[int | dict[str, int] | None, str | None]:
    """The number of sparse points (by config type, if a table) and their file; the method goes into our term.

    Parameters
    ----------
    table : dict of str to object
        Our term.
    n_species : int
        Of the data.

    Raises
    ------
    InputError
        A method that is unknown or not there, or without what it needs.
    """
    method = values["sparse_method"].lower()
    if method not in SPARSE_METHODS:
        raise InputError(f"{values.where}sparse_method={method}: gap_fit has no such method; expected one of "
                         f"{', '.join(SPARSE_METHODS)}")
    methods = SHAPES[table["kind"]].methods
    if method not in methods:
        raise InputError(f"{values.where}sparse_method={method} is not available for {table['kind']}; expected one of "
                         f"{', '.join(methods)}")
    table["sparse_method"] = methods[method]
    file, n_sparse = values["sparse_file"], values["n_sparse"]
    of_types = _of_types(values) if "config_type_n_sparse" in values else None
    if n_sparse is not None and of_types is not None:
        raise InputError(f"{values.where}got n_sparse and config_type_n_sparse, expected one of them")
    if "file" in method:
        if file is None:
            raise InputError(f"{values.where}sparse_method={method} needs a sparse_file")
        if values["add_species"] and n_species > 1:
            raise InputError(f"{values.where}sparse_file={file} is one file for the kernels of several elements: expected "
                             "add_species=F and one string with its file for each")
        if method == "file" and values["print_sparse_index"]:
            raise InputError(f"{values.where}print_sparse_index: points from a file have no number in the data; leave it out")
        _check_number(values, file, n_sparse, _n_numbers(table, n_species) if method == "file" else 1)
        return None, file
    if file is not None:
        raise InputError(f"{values.where}sparse_file has no effect with sparse_method={method}; expected file or index_file")
    if n_sparse is None and of_types is None:
        raise InputError(f"{values.where}n_sparse or config_type_n_sparse is missing")
    return None if method == "none" else of_types or n_sparse, None


def _n_numbers(table: dict[str, Any], n_species: int) -> int:
    """How many numbers a file has for each sparse point: its weight and its descriptor."""
    if "n_max" not in table:
        return 1 + SHAPES[table["kind"]].n_components
    n = n_species * table["n_max"]
    return 2 + (table["l_max"] + 1) * n * (n + 1) // 2


def _check_number(values: Values, file: str, n_sparse: int | None, size: int) -> None:
    """n_sparse beside a file must be the number of points in it, as in gap_fit."""
    n_words = len(_text(file, values.where).split())
    if n_sparse is not None and n_sparse * size != n_words:
        raise InputError(f"{values.where}n_sparse={n_sparse}, but {file} holds {n_words / size:g} points")


def _of_types(values: Values) -> dict[str, int]:
    words = values["config_type_n_sparse"].replace(":", " ").split()
    if not words or len(words) % 2:
        raise InputError(f"{values.where}config_type_n_sparse={{{values['config_type_n_sparse']}}}: expected {{type:n:type:n}}")
    what = f"{values.where}config_type_n_sparse"
    return {kind: integer(n, what) for kind, n in zip(words[::2], words[1::2], strict=True)}
