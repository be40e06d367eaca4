"""QUIP's parameter strings ("soap cutoff=4.0 species_Z={1 8}") and Fortran's way of writing numbers."""

import re
from collections.abc import Iterable

import numpy as np

from soapgap.errors import InputError

__all__ = ["QuipParameters", "integer", "integers", "logical", "parse_parameters", "real", "reals"]

GROUPS = {"{": "}", '"': '"', "'": "'"}
SEPARATORS = " \t\r\n,"
LOGICALS = {"t": True, "true": True, ".t.": True, ".true.": True, "": True,
            "f": False, "false": False, ".f.": False, ".false.": False}
FORTRAN_REAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eEdD]?([+-]\d+)|[eEdD](\d+))?", re.ASCII)
FORTRAN_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


class QuipParameters(dict):
    """Keys and values as they were written; look-ups do not distinguish upper from lower case, as in QUIP.

    Parameters
    ----------
    items : iterable of (str, str)
        A key that comes again, in whatever case, replaces the one before.
    """

    def __init__(self, items: Iterable[tuple[str, str]] = ()):
        super().__init__()
        self._written = {}
        for key, value in items:
            if key in self:
                del self[self._written[key.lower()]]
            self._written[key.lower()] = key
            self[key] = value

    def __contains__(self, key):
        return self._written.get(key.lower()) in self.keys()

    def __missing__(self, key):
        written = self._written.get(key.lower(), key)
        if written == key:
            raise KeyError(key)
        return self[written]

    def get(self, key, default=None):
        return self[key] if key in self else default


def parse_parameters(text: str) -> QuipParameters:
    """Take a parameter string of QUIP apart.

    Words are separated by blanks (also line ends) or commas. `key=value`, `key =value` and `key = value` are the same,
    a bare word means `word=T`, and of a repeated key the last one counts. Braces and quotes group; the outer pair is
    removed and what it holds, nested braces included, is kept as it is.

    Parameters
    ----------
    text : str

    Returns
    -------
    QuipParameters
        A dict of str to str, in the order of the string.

    Raises
    ------
    InputError
        If a brace or quote is not closed, or an equals sign has no key.
    """
    items = []
    for key, value in _words(text):
        if key is not None:
            items.append((key, value))
        elif not items or items[-1][1] is not None:
            raise InputError(f"parameter string {text.strip()!r}: got '=' without a key before it, expected key=value")
        else:
            items[-1] = (items[-1][0], value)
    return QuipParameters((key, "T" if value is None else value) for key, value in items)


def _words(text):
    """(key, value), (key, None) for a bare word, (None, value) for a value whose key is the word before."""
    position, equals_pending = 0, False
    while True:
        while position < len(text) and text[position] in SEPARATORS:
            position += 1
        if position == len(text):
            if equals_pending:
                yield None, ""
            return
        word, equals, position = _word(text, position)
        key, value = (word, None) if equals is None else (word[:equals], word[equals:])
        if equals_pending:
            yield None, word if equals is None else f"{key}={value}"
            equals_pending = False
        elif key == "" and value == "":
            equals_pending = True  # a lone '=': the next word is the value
        else:
            yield key or None, value


def _word(text, position):
    """One word from `position` on without its delimiters, the place of its first '=' (or None), and where it ends."""
    word, equals = "", None
    while position < len(text) and text[position] not in SEPARATORS:
        character = text[position]
        if character in GROUPS:
            end = _closing(text, position)
            word += text[position + 1:end]
            position = end
        elif character == "=" and equals is None:
            equals = len(word)
        else:
            word += character
        position += 1
    return word, equals, position


def _closing(text, start):
    """Where the group that begins at `start` ends; braces nest, quotes do not."""
    opening, closing = text[start], GROUPS[text[start]]
    depth = 0
    for position in range(start, len(text)):
        character = text[position]
        if character == closing and (position > start or opening != closing):
            depth -= opening != closing
            if depth == 0:
                return position
        elif character == opening:
            depth += opening != closing
    raise InputError(f"parameter string {text.strip()!r}: the {opening} at character {start + 1} is not closed, expected "
                     f"a {closing}")


def logical(text: str, key: str) -> bool:
    """T, F, true, false, .true. or .false. in any case; an empty value is true, as in QUIP.

    Parameters
    ----------
    text : str
    key : str
        What the value is of, for the message.

    Raises
    ------
    InputError
        If it is none of these.
    """
    try:
        return LOGICALS[text.strip().lower()]
    except KeyError:
        raise InputError(f"{key}: got {text.strip()!r}, expected T or F") from None


def reals(text: str, key: str, n: int | None = None) -> np.ndarray:
    """Real numbers as Fortran writes them (`.5E+000`, `-.5`, `1d0`, `1-100`), separated by blanks.

    Parameters
    ----------
    text : str
    key : str
        What the numbers are of, for the message.
    n : int, optional
        How many are expected.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    InputError
        If a word is not a number or not finite, or there are not n of them.
    """
    words = text.split()
    _check_count(words, key, n, "number")
    try:
        values = list(map(float, words))
    except ValueError:
        values = [_real(word, key) for word in words]
    values = np.array(values, dtype=np.float64)
    if "_" in text or not text.isascii() or not np.isfinite(values).all():  # what Python, but not Fortran, takes for numbers
        values = np.array([_real(word, key) for word in words], dtype=np.float64)
    return values


def real(text: str, key: str) -> float:
    """One real number; see `reals`."""
    return float(reals(text, key, 1)[0])


def integers(text: str, key: str, n: int | None = None) -> np.ndarray:
    """Whole numbers separated by blanks, as int64; `n`, `key` and errors as in `reals`."""
    words = text.split()
    _check_count(words, key, n, "whole number")
    for word in words:
        if not FORTRAN_INTEGER.fullmatch(word):
            raise InputError(f"{key}: got {word[:40]!r}, expected a whole number")
    return np.array([int(word) for word in words], dtype=np.int64)


def integer(text: str, key: str) -> int:
    """One whole number; see `integers`."""
    return int(integers(text, key, 1)[0])


def _check_count(words, key, n, kind):
    if n is not None and len(words) != n:
        raise InputError(f"{key}: got {len(words)} {kind}s, expected {n}")


def _real(word, key):
    match = FORTRAN_REAL.fullmatch(word)
    value = float(f"{match[1]}e{match[2] or match[3] or 0}") if match else np.nan
    if not np.isfinite(value):
        raise InputError(f"{key}: got {word[:40]!r}, expected a finite number")
    return value
