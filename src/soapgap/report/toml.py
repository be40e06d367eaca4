"""A configuration as TOML text, for the reader of a report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def as_toml(config: Mapping[str, Any]) -> str:
    """JSON values as TOML, tables after plain keys; what is null is left out."""
    return "\n".join(_toml(config, "")).strip() + "\n"


def _toml(table: Mapping[str, Any], prefix: str) -> list[str]:
    later = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in later and value is not None]
    for key, value in later.items():
        name = prefix + _key(key)
        if _is_tables(value):
            for item in value:
                lines += ["", f"[[{name}]]", *_toml(item, name + ".")]
        elif value:
            lines += ["", f"[{name}]", *_toml(value, name + ".")]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
