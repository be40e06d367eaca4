"""gap_fit's descriptor strings as our `[[terms]]`.

With add_species=T one string stands for all choices of species, as a term of ours does. With add_species=F each choice has a
string of its own; strings that differ in nothing else become one term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from soapgap.errors import InputError
from soapgap.gap_fit.shapes import SHAPES, Species
from soapgap.gap_fit.sparse import length_scale, sparse_points
from soapgap.gap_fit.species import choices
from soapgap.gap_fit.words import DescriptorString, Values

FIRST_VERSION = {"soap": 1426512068, "distance_Nb": 1596837814}


@dataclass(frozen=True)
class Coordinate:
    """One kernel, in the order in which gap_fit numbers them.

    Attributes
    ----------
    term : int
        Place of our term among the terms.
    species : Species
        Centre, pair, or three species (for angle_3b the centre first), the unordered ones by atomic number.
    """

    term: int
    species: Species


@dataclass
class Terms:
    """Our terms and what else the descriptor strings ask for.

    Attributes
    ----------
    tables : list of dict of str to object
        `[[terms]]`.
    coordinates : list of Coordinate
        gap_fit's kernels.
    index_files : list of str or None
        `print_sparse_index` of each of them, or None.
    notes : list of str
        What the user should know.
    """

    tables: list[dict[str, Any]] = field(default_factory=list)
    coordinates: list[Coordinate] = field(default_factory=list)
    index_files: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _String:
    """One string translated: its term without what may differ among strings of one term, and that."""

    table: dict[str, Any]
    choices: tuple[Species, ...]
    n_sparse: int | dict[str, int] | None
    sparse_file: str | None
    index_file: str | None
    where: str
    expanded: bool


def translate_terms(strings: Sequence[DescriptorString], species: Sequence[str]) -> Terms:
    """Our terms for gap_fit's descriptor strings.

    Parameters
    ----------
    species : sequence of str
        Of the data, in the order in which they first appear.

    Raises
    ------
    InputError
        A string lacks something, or asks for what is not supported.
    """
    terms = Terms()
    groups: list[list[_String]] = []
    for string in strings:
        one = _translate(string, species, terms.notes)
        same = [group for group in groups if not one.expanded and not group[0].expanded and group[0].table == one.table]
        if same:
            same[0].append(one)
        else:
            groups.append([one])
        for choice in one.choices:
            terms.coordinates.append(Coordinate(groups.index(same[0] if same else groups[-1]), choice))
            terms.index_files.append(one.index_file)
    terms.tables = [_merged(group, species) for group in groups]
    return terms


def _translate(string: DescriptorString, species: Sequence[str], notes: list[str]) -> _String:
    values, kind = string.values, string.kind
    for key in string.lost_braces:
        notes.append(f"{values.where}{key}: all the words in the braces are read; gap_fit loses one pair of braces here and "
                     f"reads the first word only (in gap={{a : b}} it wants {{{{...}}}}, in gap={{{{a}} : {{b}}}} {{...}})")
    _require(values, "delta", "covariance_type", "cutoff")
    version = values["xml_version"] if kind in FIRST_VERSION else None
    if version is not None and version < FIRST_VERSION[kind]:
        raise InputError(f"{values.where}xml_version={version} asks for what {kind} meant in older versions of GAP, which is "
                         "not fitted here; leave it out")
    table: dict[str, Any] = {"kind": kind, "delta": values["delta"], "cutoff": values["cutoff"],
                             "cutoff_transition_width": values["cutoff_transition_width"]}
    _CHECKS[kind](values, table, species)
    length_scale(values, table)
    n_sparse, file = sparse_points(values, table, len(species))
    chosen = choices(values, table, species)
    if values["print_sparse_index"] and kind != "soap":
        raise InputError(f"{values.where}print_sparse_index: pairs and triplets are not numbered as in gap_fit's neighbour "
                         "list, so their numbers would mean nothing; leave it out")
    return _String(table, tuple(chosen), n_sparse, file, values["print_sparse_index"], values.where, values["add_species"])


def _require(values: Values, *names: str) -> None:
    for name in names:
        if name not in values:
            raise InputError(f"{values.where}{' or '.join(values.known.find(name, '').names)} is missing; it has no default")


# ---- what a term is of


def _soap(values: Values, table: dict[str, Any], species: Sequence[str]) -> None:
    _require(values, "n_max", "l_max", "atom_sigma")
    table |= {name: values[name] for name in ("n_max", "l_max", "atom_sigma", "central_weight")}
    table["radial_basis"] = "equispaced"
    if len(species) > 1 and values["central_reference_all_species"]:
        raise InputError(f"{values.where}central_reference_all_species=T is not fitted here: the Gaussian of the centre "
                         "belongs to the channel of its own species")
    if values["covariance_type"].lower() != "dot_product":
        raise InputError(f"{values.where}covariance_type={values['covariance_type']}: soap kernels are fitted with dot_product "
                         "only")


def _few_body(values: Values, table: dict[str, Any], species: Sequence[str]) -> None:
    if values["covariance_type"].lower() not in ("ard_se", "gaussian"):
        raise InputError(f"{values.where}covariance_type={values['covariance_type']} is not fitted here, only ard_se")


def _cluster(values: Values, table: dict[str, Any], species: Sequence[str]) -> None:
    _require(values, "order")
    _few_body(values, table, species)
    if values["order"] == 2:
        if not values["compact_clusters"]:
            raise InputError(f"{values.where}order=2 with compact_clusters=F counts a pair once; here, as in distance_2b, it "
                             "counts twice. Give compact_clusters=T and half the delta: the same fit, but for the jitter")
        table["kind"] = "distance_2b"
        return
    if values["compact_clusters"]:
        raise InputError(f"{values.where}order=3 with compact_clusters=T (the default since 2020) counts a triplet up to three "
                         "times and is not fitted here; give compact_clusters=F, which counts it once")
    table["kind"] = "distance_3b"


_CHECKS = {"soap": _soap, "distance_2b": _few_body, "angle_3b": _few_body, "distance_Nb": _cluster}


# ---- strings of one term together


def _merged(group: list[_String], species: Sequence[str]) -> dict[str, Any]:
    """The term of strings that differ in their species only."""
    first = group[0]
    table = dict(first.table)
    if first.expanded or len(species) == 1 or "species" in table:
        _twice(group)
        return table | _numbers(first)
    named = [string.choices[0] for string in group]
    _twice(group)
    missing = [choice for choice in SHAPES[table["kind"]].choices(species) if choice not in named]
    if missing:
        lacking = ", ".join("-".join(choice) for choice in missing)
        raise InputError(f"{first.where}a term has kernels for all choices of elements, with the same settings, and there is "
                         f"no such string for {lacking}; add it, or use add_species=T")
    if all(string.n_sparse == first.n_sparse for string in group):
        table |= _numbers(first)
    elif SHAPES[table["kind"]].n_species == 1 and all(isinstance(string.n_sparse, int) for string in group):
        table["n_sparse"] = {string.choices[0][0]: string.n_sparse for string in group}
    else:
        raise InputError(f"{first.where}the strings of {table['kind']} for different elements must have the same "
                         "config_type_n_sparse (and n_sparse, but for soap)")
    if first.sparse_file is not None:
        table["sparse_file"] = {"-".join(string.choices[0]): string.sparse_file for string in group}
    return table


def _twice(group: list[_String]) -> None:
    named = [string.choices[0] for string in group]
    again = [string for k, string in enumerate(group) if string.choices[0] in named[:k]]
    if again and not group[0].expanded:
        raise InputError(f"{again[0].where}this kernel is given already, with the same settings")


def _numbers(string: _String) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(string.n_sparse, dict):
        found["config_type_n_sparse"] = dict(string.n_sparse)
    elif string.n_sparse is not None:
        found["n_sparse"] = string.n_sparse
    if string.sparse_file is not None:
        found["sparse_file"] = string.sparse_file
    return found
