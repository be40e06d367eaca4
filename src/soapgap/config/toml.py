"""The content of a configuration as TOML text, to be read again with the same values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import tomli_w

_SHORT_LIST = re.compile(r"\[\n((?: *[^\[\]\n]+,\n)+) *\]")
_WIDTH = 100  # characters of a list that stands on one line


def to_toml(content: Mapping[str, Any]) -> str:
    """TOML text of nested dictionaries, lists, strings, finite numbers and logical values.

    Parameters
    ----------
    content : mapping

    Returns
    -------
    str
        Tables as `[name]`, lists of tables as `[[name]]`, short lists of numbers and strings on one line.

    Raises
    ------
    TypeError
        A value that has no place in a configuration: null, NaN, infinity, an object.
    """
    _check(content)
    return _SHORT_LIST.sub(_on_one_line, tomli_w.dumps(content))


def without_empty(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what is null or an empty table, for the reader of a report."""
    kept = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            value = without_empty(value) or None
        elif isinstance(value, list):
            value = [without_empty(item) if isinstance(item, Mapping) else item for item in value]
        if value is not None:
            kept[key] = value
    return kept


def _check(value: Any) -> None:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{value!r} has no place in a configuration")
        return
    for item in value:
        _check(item)


def _on_one_line(found: re.Match) -> str:
    line = f"[{', '.join(item.strip().removesuffix(',') for item in found[1].splitlines())}]"
    return line if len(line) <= _WIDTH else found[0]
