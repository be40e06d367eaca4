"""Turns the schema's complaints into sentences: where in the file, what was got, what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

_TYPES = {"string": "a text in quotes", "boolean": "true or false", "integer": "an integer"}


def describe(errors: Iterable[Mapping[str, Any]], known: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One sentence per complaint.

    Parameters
    ----------
    errors : iterable of mapping of str to object
        The list that pydantic's `ValidationError.errors()` gives.
    known : mapping of str to tuple of str
        The keys of each section: "" for the top, "data", "data.train" (a file as a table), "baseline", "baseline.pairs",
        "terms:<kind>".
    """
    sentences = []
    for error in errors:
        place = location(error["loc"], known)
        sentences.append(_sentence(error, place, known))
    return sentences


def location(loc: tuple, known: Mapping[str, tuple[str, ...]]) -> str:
    """Path in the file, such as `terms[0].n_max` (pydantic puts the kind of a term or file into the path: it is dropped)."""
    place = ""
    for position, part in enumerate(loc):
        if isinstance(part, int):
            place += f"[{part}]"
        elif position == 2 and loc[0] == "terms" and f"terms:{part}" in known:
            continue
        elif position == 3 and loc[0] == "data" and part in ("path", "table"):
            continue
        else:
            place += f".{_key(part)}" if place else _key(part)
    return place


def _key(part: Any) -> str:
    """A key as it would be written in the file: in quotes where TOML needs them."""
    return str(part) if re.fullmatch(r"[A-Za-z0-9_-]+", str(part)) else f'"{part}"'


def _section(loc: tuple, known: Mapping[str, tuple[str, ...]]) -> str:
    """Name (a key of `known`) of the section in which the last part of the path stands."""
    if len(loc) == 1:
        return ""
    if loc[0] == "terms":
        return f"terms:{loc[2]}"
    if loc[:2] == ("baseline", "pairs"):
        return "baseline.pairs"
    if loc[0] == "data" and len(loc) > 2:
        return "data.train"
    return str(loc[0])


def _term_kinds(known: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [name.removeprefix("terms:") for name in known if name.startswith("terms:")]


def _either(words: list[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _quoted(words: list[str]) -> str:
    return _either([f'"{word}"' for word in words])


def _headings(sections: list[str]) -> str:
    """Where a key belongs, kinds of terms together."""
    kinds = _term_kinds(dict.fromkeys(sections, ()))
    found = [_heading(section) for section in sections if not section.startswith("terms:")]
    return _either(found + ([f"[[terms]] of kind {_quoted(kinds)}"] if kinds else []))


def _heading(section: str) -> str:
    if section == "":
        return "the top of the file, before the first [table]"
    if section.startswith("terms:"):
        return f'[[terms]] of kind "{section[6:]}"'
    if section == "data.train":
        return "a table in data.train"
    return f"[{section}]"


def _sentence(error: Mapping[str, Any], place: str, known: Mapping[str, tuple[str, ...]]) -> str:
    kind, got, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{place}: unknown key; {_suggestion(error['loc'], known)}"
    if kind == "missing":
        return f"{place}: this key is missing; it has no default"
    if kind == "union_tag_not_found":
        return f"{place}.kind: this key is missing; expected {_quoted(_term_kinds(known))}"
    if kind == "union_tag_invalid":
        tag = got.get("kind") if isinstance(got, Mapping) else context.get("tag")
        near = difflib.get_close_matches(str(tag), _term_kinds(known), 1) if isinstance(tag, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{place}.kind: got {_short(tag)}, expected {_quoted(_term_kinds(known))}{hint}"
    if kind == "soapgap":
        return f"{place}: {error['msg']}" if place else error["msg"]
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{place}: got {_short(got)}, expected a table"
    if kind == "string_too_short":
        return f"{place}: got {_short(got)}, expected a text that is not empty"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{place}: got {_short(got)}, expected {_TYPES.get(expected, expected)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggestion(loc: tuple, known: Mapping[str, tuple[str, ...]]) -> str:
    key, section = str(loc[-1]), _section(loc, known)
    elsewhere = [other for other, keys in known.items() if key in keys and other != section]
    if elsewhere:
        return f"it belongs to {_headings(elsewhere)}"
    keys = known.get(section, ())
    near = difflib.get_close_matches(key, keys, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{_heading(section)} knows {', '.join(keys)}"
