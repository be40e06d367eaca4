"""Writes the content of a configuration as TOML, to be read again with the same values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(content: Mapping[str, Any]) -> str:
    """TOML text of nested dictionaries, lists, strings, finite numbers and logical values.

    Tables within the top become `[name]`, lists of tables `[[name]]`; everything deeper is written inline.
    """
    lines = [f"{_key(k)} = {_value(v)}" for k, v in content.items() if not _is_section(v)]
    for key, section in content.items():
        if isinstance(section, Mapping):
            lines += ["", f"[{_key(key)}]", *_entries(section)]
        elif _is_section(section):
            for item in section:
                lines += ["", f"[[{_key(key)}]]", *_entries(item)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and bool(value)
                                          and all(isinstance(item, Mapping) for item in value))


def _entries(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_entries(value)) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"{value!r} has no place in a configuration")
