"""A potential of QUIP as a model: the sum of all its parts, exactly, or an error that names what is not supported."""

from pathlib import Path

from ase.data import atomic_numbers, chemical_symbols

from soapgap import __version__
from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.quip.document import Coordinate, Document, GapParams, GlueParams, read_document
from soapgap.quip.few_body import cluster_layout, cluster_terms
from soapgap.quip.glue_terms import glue_terms
from soapgap.quip.soap import soap_layout, soap_terms
from soapgap.quip.strings import logical, parse_parameters

__all__ = ["KINDS", "model_of", "read_quip"]

KINDS = ("soap", "soap_turbo", "distance_2b", "distance_Nb", "angle_3b")


def read_quip(path, species=None, label: str | None = None) -> Model:
    """Read a GAP potential of QUIP (an XML file, with its sparse points inside or beside it).

    Energies, forces, virials and local energies are those of QUIP; where QUIP departs from its own formulas
    (docs/quip.md lists it), its values are followed.

    Parameters
    ----------
    path : str or Path
        The XML file.
    species : sequence of str, optional
        Chemical symbols of the model. By default those that the descriptors name, and those with an e0 other than zero;
        needed for a model that takes any element.
    label : str, optional
        Which potential of a file that holds several.

    Returns
    -------
    Model
        With no reduction: see `soapgap.reduction.model.reduce_model`.

    Raises
    ------
    InputError
        If a file is missing, damaged or not a potential, or holds something that is not supported.
    """
    document = read_document(path, label)
    try:
        return model_of(document, species)
    except InputError as error:
        raise InputError(f"{Path(path)}: {error}") from None


def model_of(document: Document, species=None) -> Model:
    """The model of a document; see `read_quip`."""
    parts = sorted(document.parts, key=lambda part: isinstance(part, GapParams))  # Glue first: the order of an export
    layouts = {id(c): _layout(c, part.gap_version) for part in parts if isinstance(part, GapParams)
               for c in part.coordinates}
    elements = _elements(parts, layouts, species)
    e0, terms, number = dict.fromkeys(elements, 0.0), [], 0
    for part in parts:
        if isinstance(part, GlueParams):
            terms += glue_terms(part)
            continue
        for symbol in elements:
            e0[symbol] += part.e_scale * part.e0.get(atomic_numbers[symbol], part.e0_other)
        for coordinate in part.coordinates:
            number += 1
            made, constants = _terms(coordinate, layouts[id(coordinate)], elements, part, number)
            terms += made
            for symbol, energy in constants.items():
                e0[symbol] += energy
    gaps = [part for part in parts if isinstance(part, GapParams)]
    notes = sorted({note for layout in layouts.values() for note in getattr(layout, "warnings", ())})
    quip = {"label": document.label, "command_line": gaps[-1].command_line if gaps else ""}
    return Model(elements, e0, terms, {"program": f"soapgap {__version__}", "quip": quip | ({"notes": notes} if notes else {})})


def _layout(coordinate: Coordinate, gap_version):
    p = parse_parameters(coordinate.descriptor)
    kinds = [kind for kind in KINDS if kind in p and logical(p[kind], kind)]
    if len(kinds) != 1:
        words = [key for key, value in p.items() if value == "T"]
        raise InputError(f"coordinate {coordinate.label}: got a descriptor of the type {' '.join(words) or 'none'}, expected "
                         f"one of {', '.join(KINDS)}; other descriptors of QUIP are not supported")
    try:
        return soap_layout(p, gap_version) if kinds[0].startswith("soap") else cluster_layout(p, gap_version)
    except InputError as error:
        raise InputError(f"coordinate {coordinate.label}: {error}") from None


def _elements(parts, layouts, species):
    named, open_ended = set(), False
    for part in parts:
        if isinstance(part, GlueParams):
            named |= {t.atomic_number for t in part.types}
            continue
        named |= {z for z, energy in part.e0.items() if energy != 0.0}
        for coordinate in part.coordinates:
            layout = layouts[id(coordinate)]
            z = (*layout.centres, *layout.named) if hasattr(layout, "named") else layout.z
            named |= set(z) - {0}
            open_ended |= 0 in z or 0 in getattr(layout, "channel_of", ()) or getattr(layout, "centres", True) == ()
    if species is None:
        if not named:
            raise InputError("the descriptors take any element; say which ones the model is for (species, on the "
                             "command line --species)")
        return [chemical_symbols[z] for z in sorted(named)]
    strange = [s for s in species if s not in atomic_numbers or atomic_numbers[s] == 0]
    if strange or len(set(species)) != len(species):
        raise InputError(f"got the species {', '.join(species)}, expected different chemical symbols")
    missing = [chemical_symbols[z] for z in sorted(named) if chemical_symbols[z] not in species]
    if missing:
        raise InputError(f"the potential names {', '.join(missing)}, the species asked for are {', '.join(species)}; "
                         "give all of the potential's elements")
    extra = [s for s in species if atomic_numbers[s] not in named]
    if extra and not open_ended:
        raise InputError(f"the potential does not contain {', '.join(extra)}; it has "
                         f"{', '.join(chemical_symbols[z] for z in sorted(named))}")
    return sorted(species, key=atomic_numbers.get)


def _terms(coordinate, layout, elements, part, number):
    origin = {"coordinate": number, "descriptor": coordinate.descriptor, "gap_version": part.gap_version,
              "covariance": coordinate.covariance, "delta": coordinate.delta, "f0": coordinate.f0, "zeta": coordinate.zeta,
              "theta": None if coordinate.theta is None else coordinate.theta.tolist(),
              "permutations": None if coordinate.permutations is None else coordinate.permutations.tolist()}
    if hasattr(layout, "coupling"):
        return soap_terms(coordinate, layout, elements, part.e_scale, origin), {}
    return cluster_terms(coordinate, layout, elements, part.e_scale, {"quip": origin})
