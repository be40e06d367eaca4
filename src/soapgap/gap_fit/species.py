"""Which elements a descriptor string is for: all choices of them, or the ones that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from soapgap.errors import InputError
from soapgap.gap_fit.shapes import SHAPES, Species
from soapgap.gap_fit.words import Values


def choices(values: Values, table: dict[str, Any], species: Sequence[str]) -> list[Species]:
    """The choices of species of one string, in gap_fit's order.

    Parameters
    ----------
    table : dict of str to object
        Our term; the three species of a three-body term are added to it.
    species : sequence of str
        Of the data, in the order in which they first appear.

    Raises
    ------
    InputError
        It names elements that the data do not have, or not those that a term of ours has.
    """
    shape = SHAPES[table["kind"]]
    named = [name for name in ("Z", "Z_center", "Z1", "Z2", "n_species", "species_Z") if name in values.texts]
    if values["add_species"]:
        if named:
            raise InputError(f"{values.where}{', '.join(named)} beside add_species=T (the default), which adds them: give "
                             "add_species=F, or leave them out")
        return shape.choices(species)
    if "species_Z" in values.known.names:
        _check_channels(values, species)
    apart = [name for name in ("Z_center", "Z1", "Z2") if name in values.known.names]  # else all of them in Z
    numbers = [values[name] for name in apart] or _numbers(values, "Z", shape.n_species)
    found = shape.ordered([_element(int(number), values, species) for number in numbers])
    if shape.n_species == 3:
        table["species"] = list(found)
    return [found]


def _numbers(values: Values, name: str, n: int) -> Sequence[float]:
    numbers = values[name] if name in values else (0,) * n
    if len(numbers) != n:
        raise InputError(f"{values.where}{name} names {len(numbers)} elements, expected {n}")
    return numbers


def _element(number: int, values: Values, species: Sequence[str]) -> str:
    """The chemical symbol; 0 means any, which is only clear if there is one."""
    if number == 0 and len(species) == 1:
        return species[0]
    if number == 0:
        raise InputError(f"{values.where}no element is named (0 means any of them), but the data have {', '.join(species)}: "
                         "with add_species=F, expected one string for each choice of elements")
    symbol = chemical_symbols[number] if 0 < number < len(chemical_symbols) else "X"
    if symbol not in species:
        raise InputError(f"{values.where}atomic number {number} is named, but the data have {', '.join(species)} only")
    return symbol


def _check_channels(values: Values, species: Sequence[str]) -> None:
    """All species of the data are seen as neighbours, each in a channel of its own."""
    given = [int(z) for z in values["species_Z"] or ()]
    expected = sorted(atomic_numbers[symbol] for symbol in species)
    any_element = given in ([], [0])
    if (any_element and len(species) > 1) or (not any_element and sorted(given) != expected):
        got, wanted = (" ".join(map(str, numbers)) for numbers in (given, expected))
        raise InputError(f"{values.where}species_Z={{{got}}}, expected {{{wanted}}}: "
                         "all elements of the data are seen as neighbours, each separately")
    n = values["n_species"]
    if n is not None and n != len(species):
        raise InputError(f"{values.where}n_species={n}, but the data have {len(species)} elements")
