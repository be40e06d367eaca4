"""The lines of a LAMMPS input that make pair styles: for LAMMPS as a library, and for a user beside `pair_style soapgap`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from soapgap.model.external.specification import NONE, AsePotential, LammpsPotential, Potential, type_indices

__all__ = ["lammps_lines", "overlay"]


def overlay(potentials: Sequence[LammpsPotential], species: Sequence[str], first: tuple[str, str],
            path: Callable[[LammpsPotential, str], str] = lambda potential, word: word) -> list[str]:
    """Pair styles over one another, with their coefficients and further lines.

    Parameters
    ----------
    first : tuple of str
        Words of the pair style that comes first, and what follows `pair_coeff * *` for it.
    path : callable
        The word to write for a word that may name a file.
    """
    styles = [f"{p.style}{''.join(' ' + path(p, w) for w in p.pair_style.split()[1:])}" for p in potentials]
    lines = [f"pair_style hybrid/overlay {' '.join([first[0], *styles])}", f"pair_coeff * * {first[1]}"]
    counts, seen, rest = Counter(p.style for p in potentials), Counter(), []
    for p in potentials:
        seen[p.style] += 1
        name = p.style if counts[p.style] == 1 else f"{p.style} {seen[p.style]}"
        for line in p.pair_coeff:
            words = line.split()
            if words[2:] == [NONE]:
                continue
            types = [_type(word, species) for word in words[:2]]
            if all(t.isdigit() for t in types):
                types.sort(key=int)  # LAMMPS takes the upper half of the table
            lines.append(" ".join(["pair_coeff", *types, name, *(path(p, w) for w in words[2:])]))
        rest += [_command(line, name, species) for line in p.commands]
    return lines + list(dict.fromkeys(rest))


def _type(word: str, species: Sequence[str]) -> str:
    return str(type_indices(word, species, "pair_coeff")[0] + 1) if word in species else word


def _command(line: str, name: str, species: Sequence[str]) -> str:
    words = line.split()
    if words[0] == "set":
        words[2] = _type(words[2], species)
    if words[0] == "pair_modify":  # under hybrid/overlay it would act on all styles
        words[1:1] = ["pair", name]
    return " ".join(words)


def lammps_lines(potentials: Sequence[Potential], species: Sequence[str], model: str) -> list[str]:
    """Lines of a LAMMPS input for a whole model: `pair_style soapgap` and what belongs beside it.

    Parameters
    ----------
    potentials : sequence of Potential
        The external potentials of the model; none makes the two lines of `pair_style soapgap` alone.
    species : sequence of str
        Of the model, which are the atom types in this order.
    model : str
        Name of the model file.
    """
    name = f'"{model}"' if " " in model else model
    own = f"{name} {' '.join(species)}"
    types = ", ".join(f"{k} {symbol}" for k, symbol in enumerate(species, 1))
    styles = [p for p in potentials if isinstance(p, LammpsPotential)]
    lines = [f"# before these lines: units metal, the atoms, and their types in this order: {types}"]
    if any(line.startswith("set type") and " charge " in line for p in styles for line in p.commands):
        lines.append("# atoms need charges: atom_style charge")
    lines += [f"# MISSING: {p.label}, which is part of the model and which LAMMPS cannot compute: use ASE or i-PI, or put "
              "a pair style that equals it beside the others" for p in potentials if isinstance(p, AsePotential)]
    if styles:
        return lines + overlay(styles, species, ("soapgap", f"soapgap {own}"))
    return [*lines, "pair_style soapgap", f"pair_coeff * * {own}"]
