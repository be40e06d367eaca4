"""What an external potential is: its words as the user gives them in `fit.toml` and as the model file keeps them.

Everything that can be known without the other program is checked here: keys, words, which pairs of species are named.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, ClassVar

from soapgap.errors import InputError

__all__ = ["NONE", "AsePotential", "LammpsPotential", "check_potentials", "potential_from_json", "type_indices"]

#: In the place of coefficients: the pair has no such interaction.
NONE = "none"

#: First words of further LAMMPS lines. Others either have no effect on an energy or reach beyond LAMMPS (shell, python).
COMMANDS = ("set", "kspace_style", "kspace_modify", "pair_modify", "dielectric")

_KIND_VERSION = 1
_UNUSABLE = re.compile(r"[$#&\"'`\n\r\\]")
_TYPES = re.compile(r"\d+|\d*\*\d*")


def _words(text: Any, what: str) -> list[str]:
    """The words of one line of a LAMMPS input."""
    if not isinstance(text, str) or not text.split():
        raise InputError(f"{what}: got {text!r}, expected the words of a line of a LAMMPS input")
    if found := _UNUSABLE.search(text):
        raise InputError(f"{what}: got {text!r}, in which {found.group()!r} cannot be used: expected plain words without "
                         "quotes, variables and comments")
    return text.split()


def _lines(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise InputError(f"{what}: got {value!r}, expected a list of lines")
    return tuple(" ".join(_words(line, f"{what}[{n}]")) for n, line in enumerate(value))


class _Entry:
    """What the kinds have in common."""

    kind: ClassVar[str]

    @classmethod
    def keys(cls) -> list[str]:
        """Keys of the entry of a model file; `named_in` is none of them."""
        return [f.name for f in fields(cls) if f.name != "named_in"]

    def as_json(self) -> dict[str, Any]:
        """The entry of a model file."""
        values = {key: getattr(self, key) for key in self.keys()}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"kind": self.kind, "kind_version": _KIND_VERSION} | plain


@dataclass(frozen=True)
class LammpsPotential(_Entry):
    """A pair style of LAMMPS, with `units metal`; the atom types are the species of the model in its order.

    Attributes
    ----------
    pair_style : str
        Name and arguments, "lj/cut/coul/long 10.0".
    pair_coeff : tuple of str
        Lines without the word `pair_coeff`: two types (numbers, ranges with `*`, or chemical symbols), then coefficients, or
        `none` for a pair without this interaction. All pairs must be named: LAMMPS mixes no coefficients under
        `hybrid/overlay`.
    commands : tuple of str
        Further lines, beginning with one of `COMMANDS`; `set type` takes chemical symbols, too.
    files : dict of str to str
        SHA-256 of the files that the words name.
    named_in : Path or None
        Folder of the configuration in which the user named it (`soapgap.model.external.permission`).

    Raises
    ------
    InputError
        Words that cannot be used.
    """

    kind: ClassVar[str] = "lammps"
    pair_style: str
    pair_coeff: tuple[str, ...]
    commands: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    named_in: Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        words = _words(self.pair_style, "pair_style")
        refused = {"hybrid": "name each pair style as a potential of its own",
                   "soapgap": 'name the model file as a potential of kind "file"', "none": "leave the potential out",
                   "zero": "leave the potential out"}
        for start, advice in refused.items():
            if words[0].split("/")[0] == start:
                raise InputError(f"pair_style: got {self.pair_style!r}; {advice}")
        object.__setattr__(self, "pair_style", " ".join(words))
        object.__setattr__(self, "pair_coeff", _lines(self.pair_coeff, "pair_coeff"))
        object.__setattr__(self, "commands", _lines(self.commands, "commands"))
        for n, line in enumerate(self.pair_coeff):
            if len(line.split()) < 2:
                raise InputError(f"pair_coeff[{n}]: got {line!r}, expected two atom types or symbols, then coefficients")
        for n, line in enumerate(self.commands):
            if line.split()[0] not in COMMANDS:
                raise InputError(f"commands[{n}]: got {line!r}, expected a line that begins with {', '.join(COMMANDS)}")
            if line.startswith("set ") and not line.startswith("set type "):
                raise InputError(f"commands[{n}]: got {line!r}, expected 'set type SYMBOL charge VALUE': the atoms of a "
                                 "structure are known by their species alone")
            if line.startswith("pair_modify pair "):
                raise InputError(f"commands[{n}]: got {line!r}; it acts on {words[0]} alone without 'pair': leave 'pair "
                                 f"{words[0]}' out")
        if not isinstance(self.files, Mapping):
            raise InputError(f"files: got {self.files!r}, expected names and their SHA-256")

    @property
    def style(self) -> str:
        """Name of the pair style, without arguments."""
        return self.pair_style.split()[0]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"pair_style {self.pair_style}"

    def check_species(self, species: Sequence[str]) -> None:
        """Every pair of species must have its line.

        Raises
        ------
        InputError
            A type that does not exist, or a pair without a line.
        """
        named = set()
        for line in self.pair_coeff:
            first, second = (type_indices(word, species, f"pair_coeff {line!r}") for word in line.split()[:2])
            named |= {(min(i, j), max(i, j)) for i in first for j in second}
        missing = [pair for pair in combinations_with_replacement(range(len(species)), 2) if pair not in named]
        if missing:
            names = ", ".join(f"{species[i]}-{species[j]}" for i, j in missing)
            i, j = missing[0]
            raise InputError(f"{self.label}: no pair_coeff for {names}; LAMMPS mixes no coefficients under hybrid/overlay: add "
                             f'a line for each, or "{species[i]} {species[j]} {NONE}" for a pair without this interaction')
        for line in self.commands:
            if line.startswith("set type "):
                type_indices(line.split()[2], species, f"commands {line!r}")


@dataclass(frozen=True)
class AsePotential(_Entry):
    """A calculator of ASE.

    Attributes
    ----------
    calculator : str
        Where its class is, "module:Name", such as "ase.calculators.lj:LennardJones".
    arguments : dict of str to object
        Keyword arguments: strings, numbers, true and false, lists and tables of these.
    named_in : Path or None
        Folder of the configuration in which the user named it (`soapgap.model.external.permission`).

    Raises
    ------
    InputError
        A name of another form, or arguments that a model file cannot keep.
    """

    kind: ClassVar[str] = "ase"
    calculator: str
    arguments: dict[str, Any] = field(default_factory=dict)
    named_in: Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.calculator, str) or not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.calculator):
            raise InputError(f"calculator: got {self.calculator!r}, expected module and class, such as "
                             '"ase.calculators.lj:LennardJones"')
        if not isinstance(self.arguments, Mapping) or not all(isinstance(key, str) for key in self.arguments):
            raise InputError(f"arguments: got {self.arguments!r}, expected a table of keyword arguments")
        try:
            object.__setattr__(self, "arguments", json.loads(json.dumps(dict(self.arguments), allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise InputError(f"arguments of {self.calculator}: {error}; expected strings, finite numbers, true and false, "
                             "lists and tables of these, which a model file can keep") from None

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"ASE calculator {self.calculator}"

    def check_species(self, species: Sequence[str]) -> None:
        """What a calculator knows, it says itself."""


Potential = LammpsPotential | AsePotential
_KINDS = {cls.kind: cls for cls in (LammpsPotential, AsePotential)}


def type_indices(word: str, species: Sequence[str], where: str) -> list[int]:
    """Places in `species` that a word of LAMMPS (`2`, `*`, `1*2`) or a chemical symbol means.

    Raises
    ------
    InputError
        It means none.
    """
    n = len(species)
    if word in species:
        return [list(species).index(word)]
    if _TYPES.fullmatch(word):
        low, star, high = word.partition("*")
        first = int(low or 1)
        last = int(high or n) if star else first
        if 1 <= first <= last <= n:
            return list(range(first - 1, last))
    known = ", ".join(f"{k} {symbol}" for k, symbol in enumerate(species, 1))
    raise InputError(f"{where}: got {word!r}, expected a chemical symbol or a number of an atom type; the types are the "
                     f"species in the order of the model: {known}")


def potential_from_json(entry: Any) -> Potential:
    """The potential that a table of `fit.toml` or an entry of a model file describes.

    Raises
    ------
    InputError
        An unknown kind or key, a key that is missing, a value of the wrong form.
    """
    if not isinstance(entry, Mapping):
        raise InputError(f"got {entry!r}, expected a table")
    kind, version = entry.get("kind"), entry.get("kind_version", _KIND_VERSION)
    if kind not in _KINDS:
        raise InputError(f"kind: got {kind!r}, expected {' or '.join(repr(name) for name in _KINDS)}")
    if version != _KIND_VERSION:
        raise InputError(f"kind_version: got {version!r} of kind {kind!r}, this soapgap knows {_KIND_VERSION}: upgrade soapgap")
    known = _KINDS[kind].keys()
    for key in entry:
        if key not in ("kind", "kind_version", *known):
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            raise InputError(f"{key}: unknown key of a potential of kind {kind!r}; "
                             + (f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"))
    missing = [name for name in known if name not in entry and name in ("pair_style", "pair_coeff", "calculator")]
    if missing:
        raise InputError(f"{missing[0]}: this key is missing; a potential of kind {kind!r} needs it")
    return _KINDS[kind](**{key: value for key, value in entry.items() if key in known})


def check_potentials(potentials: Sequence[Potential], species: Sequence[str]) -> None:
    """Check potentials that stand beside one another against the species of the model.

    Raises
    ------
    InputError
        See `LammpsPotential.check_species`; lines for LAMMPS that contradict each other: all pair styles of a model are
        one LAMMPS input.
    """
    said: dict[tuple[str, ...], str] = {}
    for potential in potentials:
        potential.check_species(species)
        for line in getattr(potential, "commands", ()):
            for subject in _subjects(line, species):
                if said.setdefault(subject, line) != line:
                    raise InputError(f"commands: {said[subject]!r} and {line!r} contradict each other; all LAMMPS potentials "
                                     "of a model make one input: expected one of them")


def _subjects(line: str, species: Sequence[str]) -> list[tuple[str, ...]]:
    """What a line decides; lines that add to one another decide nothing alone."""
    words = line.split()
    if words[0] == "set":
        return [("set", str(k), *words[3:4]) for k in type_indices(words[2], species, f"commands {line!r}")]
    return [(words[0],)] if words[0] in ("kspace_style", "dielectric") else []


def is_number(word: str) -> bool:
    """True for a word that LAMMPS reads as a number."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
