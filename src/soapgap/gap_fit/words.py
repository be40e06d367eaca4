"""gap_fit's command line and its `config_file`, read: options by their canonical names, descriptor strings apart.

Words are `key=value`; braces and quotes group, and nest (docs/gap_fit.md, "How words are read").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soapgap.errors import InputError
from soapgap.gap_fit.options import COMMAND_LINE, DESCRIPTORS, OTHER_DESCRIPTORS, Options
from soapgap.quip.strings import parse_parameters

_OPENING, _CLOSING, _QUOTES = "{", "}", "\"'"
_LONG_VALUE = re.compile(r"\s*(\w+)=(?![{\"'])(.*\s.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Values:
    """Options that were given, by canonical name, and the defaults of the others.

    Attributes
    ----------
    known : Options
        All options.
    texts : dict of str to str
        What was written.
    where : str
        For messages, such as "gap[1], distance_2b: ".
    """

    known: Options
    texts: dict[str, str]
    where: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.texts

    def __getitem__(self, name: str):
        """The value, of its kind; the default if it was not given.

        Raises
        ------
        InputError
            It is not of its kind, or not supported.
        """
        option = self.known.find(name, "option")
        return option.value(self.texts[name], self.where) if name in self.texts else option.default

    def check(self) -> None:
        """Raise now what any value would raise later."""
        for name in self.texts:
            _ = self[name]


@dataclass(frozen=True)
class DescriptorString:
    """One of the strings in gap={...}.

    Attributes
    ----------
    kind : "soap", "distance_2b", "angle_3b" or "distance_Nb"
    values : Values
        Its keys.
    text : str
        As it was written, without the braces around it.
    lost_braces : tuple of str
        Keys of which gap_fit would read the first word only, because it loses a pair of braces.
    """

    kind: str
    values: Values
    text: str
    lost_braces: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandLine:
    """What the user asked for.

    Attributes
    ----------
    values : Values
        Options of the command line.
    gap : tuple of DescriptorString
        The descriptor strings.
    text : str
        All of it in one line, as the XML file quotes it.
    """

    values: Values
    gap: tuple[DescriptorString, ...]
    text: str


def read_command_line(words: Sequence[str]) -> CommandLine:
    """Read the arguments of gap_fit.

    Raises
    ------
    InputError
        An option or key that is unknown, given twice, refused, or not of its kind; braces that are not closed; a mandatory
        option that is missing.
    """
    text = _one_line(words)
    texts = _options(text)
    if "config_file" in texts:
        ignored = sorted(set(texts) - {"config_file"})
        if ignored:
            raise InputError(f"beside config_file={texts['config_file']}, gap_fit does not look at {', '.join(ignored)}: write "
                             "them into that file, or leave it out")
        text = _read_file(texts["config_file"])
        texts = _options(text)
    missing = [" or ".join(COMMAND_LINE.find(name, "").names) for name in ("atoms_filename", "gap",
               "default_kernel_regularisation") if name not in texts]
    if missing:
        raise InputError(f"gap-fit: {', '.join(missing)} missing; these have no default")
    values = Values(COMMAND_LINE, texts)
    values.check()
    return CommandLine(values, tuple(_descriptors(texts["gap"])), text.strip())


def _one_line(words: Iterable[str]) -> str:
    """All arguments in one text; a value with blanks that the shell held together is put into braces."""
    parts = []
    for word in words:
        match = _LONG_VALUE.fullmatch(word)
        parts.append(f"{match[1]}={{{match[2]}}}" if match and not word.rstrip().endswith("=") else word)
    return " ".join(parts)


def _read_file(name: str) -> str:
    try:
        return " ".join(Path(name).read_text(encoding="utf-8").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read config_file={name}: {getattr(error, 'strerror', None) or error}") from None


def _options(text: str) -> dict[str, str]:
    """Canonical names and texts; none twice."""
    found: dict[str, str] = {}
    for written, value in _pairs(text):
        name = COMMAND_LINE.find(written, "option of gap_fit").name
        if name in found and found[name] != value:
            names = " and ".join(COMMAND_LINE.find(name, "").names)
            raise InputError(f"{written} is given twice, with different values ({names} mean the same)" if " and " in names else
                             f"{written} is given twice, with different values")
        found[name] = value
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    """Keys and values in the order of the text."""
    words: list[str] = []
    waiting = False
    for word in split_outside(text, " \t\r\n,"):
        lone = word == "="
        if words and (waiting or word.startswith("=")):
            words[-1] += word
        else:
            words.append(word)
        waiting = lone
    return [pair for word in words for pair in parse_parameters(word).items()]


def split_outside(text: str, separators: str) -> list[str]:
    """The non-empty parts of a text between separators that stand outside of braces and quotes.

    Raises
    ------
    InputError
        A brace or quote is not closed.
    """
    parts, start, depth, quote = [], 0, 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and depth == 0:
            quote = character
        elif character in _OPENING + _CLOSING:
            depth += 1 if character == _OPENING else -1
            if depth < 0:
                raise InputError(f"{_shown(text)}: the brace at character {position + 1} closes nothing")
        elif character in separators and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    if depth or quote:
        raise InputError(f"{_shown(text)}: a {'brace' if depth else 'quote'} is not closed")
    return [part for part in (*parts, text[start:]) if part.strip()]


def _shown(text: str) -> str:
    return text.strip() if len(text.strip()) < 80 else text.strip()[:77] + "..."


def _descriptors(gap: str) -> list[DescriptorString]:
    found = []
    for number, part in enumerate(split_outside(gap, ":;")):
        inner = _unwrapped(part)
        found.append(_descriptor(inner, f"gap[{number}]", inner == part.strip()))
    if not found:
        raise InputError("gap={} holds no descriptor string; expected gap={soap ... : distance_2b ...}")
    return found


def _unwrapped(text: str) -> str:
    """Without the braces (or quotes) that hold all of the text together."""
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in ("{}", '""', "''"):
        try:
            split_outside(text[1:-1], "")
        except InputError:  # "{a} : {b}": the two do not belong together
            return text
        text = text[1:-1].strip()
    return text


def _descriptor(text: str, where: str, bare: bool) -> DescriptorString:
    """
    Parameters
    ----------
    bare : there were no braces around this string
    """
    pairs = _pairs(text)
    kind = _kind([key for key, value in pairs if value.upper() == "T"], where)
    known, texts, lost = DESCRIPTORS[kind], {}, []
    for written, value in pairs:
        option = known.find(written, f"key of {kind} ({where})",
                            "; gap_fit ignores what it does not know, so remove it if you meant that")
        inner = _unwrapped(value)
        if bare and inner == value and len(value.split()) > 1:
            lost.append(option.name)
        if texts.get(option.name, inner) != inner:
            raise InputError(f"{where}: {written} is given twice, with different values")
        texts[option.name] = inner
    values = Values(known, texts, f"{where}, {kind}: ")
    values.check()
    return DescriptorString(kind, values, " ".join(text.split()), tuple(lost))


def _kind(flags: list[str], where: str) -> str:
    """The type among the words that stand alone."""
    names = {name.lower(): name for name in DESCRIPTORS}
    kinds = [names[flag.lower()] for flag in flags if flag.lower() in names]
    if len(kinds) == 1:
        return kinds[0]
    others = [flag for flag in flags if flag.lower() in OTHER_DESCRIPTORS]
    if others:
        raise InputError(f"{where}: {others[0]} descriptors are not fitted here, only {', '.join(DESCRIPTORS)}")
    raise InputError(f"{where}: got {' '.join(kinds) or 'no type of descriptor'} ({' '.join(flags) or 'no word alone'}), "
                     f"expected one of {', '.join(DESCRIPTORS)}")

