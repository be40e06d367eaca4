"""A model as a potential file of QUIP: everything, or an error that names what QUIP cannot express."""

import itertools
import json
from functools import singledispatch
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from soapgap.errors import InputError
from soapgap.model import Model, PairTerm, SoapTerm, TripletTerm
from soapgap.quip.document import Coordinate, Document, GapParams
from soapgap.quip.glue import GlueParams, GlueTable, GlueType
from soapgap.quip.glue_terms import glue_params
from soapgap.quip.soap import soap_layout
from soapgap.quip.strings import parse_parameters
from soapgap.quip.writer import write_document

__all__ = ["document_of", "write_quip"]

#: The oldest version with all of today's meanings: read by every QUIP since 2020.
GAP_VERSION = 1596837814
_KNOTS_PER_SEGMENT = 1000


def write_quip(model: Model, path) -> None:
    """Write a model as a GAP potential of QUIP: an XML file and its files of sparse points.

    Parameters
    ----------
    model : Model
        Reductions and splines do not matter: the sparse points are written.
    path : str or Path

    Raises
    ------
    InputError
        If QUIP cannot express a part of the model (named in the message), or a file cannot be written.
    """
    write_document(Path(path), document_of(model))


def document_of(model: Model) -> Document:
    """The potential file's content; see `write_quip`."""
    try:
        return _document(model)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # what a model file says of where its terms come from is not checked when it is read
        raise InputError(f"what the model says of where its terms come from is not understood ({type(error).__name__}: "
                         f"{error}), expected what a fit or a conversion writes: it cannot be exported; fit or convert "
                         "again") from None


def _document(model: Model) -> Document:
    if model.external:
        raise InputError("the model has external potentials, of LAMMPS or ASE, which a QUIP file cannot hold: it cannot be "
                         "exported")
    if model.properties[0].n_out != 1:
        raise InputError(f"the model has {model.properties[0].n_out} energies for each centre, and a QUIP file holds one: it "
                         "cannot be exported")
    label = model.provenance.get("quip", {}).get("label", "soapgap")
    glue, others = [], []
    for term in model.terms:
        (glue if term.recipe.get("kind") in ("glue", "zbl") else others).append(term)
    groups = [list(terms) for _, terms in itertools.groupby(others, key=_group)]
    versions = {_origin(terms[0]).get("gap_version", GAP_VERSION) for terms in groups} or {GAP_VERSION}
    if len(versions) > 1:
        raise InputError(f"the model's terms follow different versions of QUIP's conventions ({sorted(versions)}), and a file "
                         "has one: they cannot be written together")
    coordinates = [_coordinate(terms, f"{label}{n}") for n, terms in enumerate(groups, start=1)]
    e0 = {atomic_numbers[s]: float(model.e0[s]) for s in model.species}
    command_line = model.provenance.get("quip", {}).get("command_line", "")
    parts = _glue_parts(glue, model.species)
    if coordinates or any(e0.values()) or not parts:  # else a Glue potential is all there is
        parts.append(GapParams(label, versions.pop(), e0, coordinates, command_line))
    return Document(label, parts)


def _origin(term) -> dict:
    return term.recipe.get("quip", {})


def _group(term):
    """Terms of one coordinate of QUIP lie together and say its number; terms made here say what belongs together."""
    origin = _origin(term)
    return ("quip", origin["coordinate"]) if origin else _cluster(term)


def _coordinate(terms, label) -> Coordinate:
    term, origin = terms[0], _origin(terms[0])
    return _imported(term, origin, label) if origin else _described(term, label)


def _imported(term, origin, label):
    weights, points = _numbers(term)
    return Coordinate(label, origin["descriptor"], origin["covariance"], origin["delta"], origin["f0"], origin["zeta"],
                      origin["theta"], origin["permutations"], weights, np.ones(len(weights)), points)


def _quip_order(points, order, radial_basis, sigma0):
    turbo = radial_basis.startswith("soap_turbo")
    out = np.full((len(points), len(order) + (0 if turbo else 1)), sigma0)
    out[:, order] = points
    return out


# ---- what each kind of terms says -----------------------------------------------------------------------------------------


@singledispatch
def _numbers(term):
    """Weights and sparse points of an imported term, in QUIP's order."""
    raise NotImplementedError


@_numbers.register
def _(term: SoapTerm):
    origin = _origin(term)
    layout = soap_layout(parse_parameters(origin["descriptor"]), origin["gap_version"])
    points = _quip_order(term.sparse_points, layout.order, layout.basis["radial_basis"], layout.sigma0)
    return np.asarray(term.weights[0]), points


@_numbers.register
def _(term: PairTerm):
    return np.asarray(term.sparse["weights"]), term.sparse.get("quip_points", term.sparse.get("sparse_points"))


@_numbers.register
def _(term: TripletTerm):
    return np.asarray(term.weights[0]), term.sparse.get("quip_points", term.sparse_points)


@singledispatch
def _cluster(term):
    """What the terms of one coordinate have in common, of terms that were made here."""
    return id(term)


@_cluster.register
def _(term: TripletTerm):
    if term.geometry == "distances":  # one set of weights, seen from each atom
        return ("cluster", json.dumps(term.origin, sort_keys=True))
    return id(term)


@singledispatch
def _described(term, label) -> Coordinate:
    """The coordinate of a term that was made here."""
    _refuse(f"the {term.name} term of {term.shown_species}", "it has no such descriptor")


# ---- terms that were made here ------------------------------------------------------------------------------------------


def _refuse(part, why):
    raise InputError(f"QUIP cannot express {part}: {why}")


def _cosine(part, parameters):
    if parameters.get("cutoff_function", "cosine") != "cosine":
        _refuse(part, f"its cutoff function is {parameters['cutoff_function']}, QUIP has the cosine")


@_described.register
def _soap(term: SoapTerm, label):
    name, b = f"the soap term of {term.centre}", term.basis
    if b.get("radial_basis") != "equispaced":
        _refuse(name, f"its radial basis is {b.get('radial_basis')}; fit with radial_basis = \"equispaced\", which QUIP has")
    _cosine(name, b)
    if "radial_scaling" in b:
        _refuse(name, "its neighbours are weighted by radial_scaling; fit without it")
    if term.channels is not None:
        _refuse(name, "its channels are not those of QUIP")
    z = " ".join(str(atomic_numbers[s]) for s in term.neighbours)
    descriptor = (f"soap cutoff={term.cutoff!r} cutoff_transition_width={b['cutoff_transition_width']!r} n_max={term.n_max} "
                  f"l_max={term.l_max} atom_sigma={b['atom_sigma']!r} central_weight={b['central_weight']!r} "
                  f"basis_error_exponent={b['basis_error_exponent']!r} normalise={'T' if term.normalise else 'F'} "
                  f"central_reference_all_species=F n_species={len(term.neighbours)} species_Z={{{z}}} n_Z=1 "
                  f"Z={atomic_numbers[term.centre]}")
    layout = soap_layout(parse_parameters(descriptor), GAP_VERSION)
    points = _quip_order(term.sparse_points, layout.order, "equispaced", 0.0)
    return _dot(label, descriptor, term, points)


def _dot(label, descriptor, term, points):
    weights = np.asarray(term.weights[0], dtype=np.float64)
    return Coordinate(label, descriptor, "dot_product", term.delta, 0.0, term.zeta, None, None, weights, np.ones(len(weights)),
                      points)


@_described.register
def _pair(term: PairTerm, label):
    name, o = f"the pair term {'-'.join(term.species)}", term.origin
    if o.get("kind") != "distance_2b":
        _refuse(name, f"it is a {o.get('kind', 'table')}, not a distance_2b")
    _cosine(name, o)
    z = [atomic_numbers[s] for s in term.species]
    descriptor = (f"distance_2b cutoff={o['cutoff']!r} cutoff_transition_width={o['cutoff_transition_width']!r} Z1={z[0]} "
                  f"Z2={z[1]}")
    weights = np.asarray(term.sparse["weights"], dtype=np.float64)
    return Coordinate(label, descriptor, "ard_se", o["delta"], 0.0, None, [o["theta"]], [[0]], weights, np.ones(len(weights)),
                      np.asarray(term.sparse["sparse_points"])[:, None])


@_described.register
def _triplet(term: TripletTerm, label):
    shape = f"cutoff={term.cutoff!r} cutoff_transition_width={term.cutoff_transition_width!r}"
    z = [atomic_numbers[s] for s in (term.centre, *term.neighbours)]
    if term.geometry == "angle":
        descriptor = f"angle_3b {shape} Z={z[0]} Z1={z[1]} Z2={z[2]}"
        permutations, points, theta = [[0, 1, 2]], term.sparse_points, term.theta
    else:
        # The first centre of a cluster is its first atom in QUIP's order, so its components stand as QUIP has them.
        descriptor = f"distance_Nb order=3 {shape} compact_clusters=F Z={{{' '.join(map(str, z))}}}"
        permutations, points, theta = term.permutations, term.sparse_points, term.theta
    weights = np.asarray(term.weights[0], dtype=np.float64)
    dot = term.kernel == "dot_product"
    return Coordinate(label, descriptor, term.kernel, term.delta, term.f0, term.zeta if dot else None, None if dot else theta,
                      None if dot else permutations, weights, np.ones(len(weights)), points)


def _glue_parts(terms, species) -> list[GlueParams]:
    """Glue potentials as they came; pair tables of ours (short-range repulsion) as the pair part of one more."""
    parts = []
    for _, same in itertools.groupby((t for t in terms if t.origin["kind"] == "glue"), key=lambda t: t.origin["label"]):
        parts.append(glue_params(list(same)))
    ours = [t for t in terms if t.origin["kind"] == "zbl"]
    if ours:
        nothing = GlueTable((0.0, 1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 0.0))
        flat = GlueTable((0.0, 1.0), (0.0, 0.0))
        types = tuple(GlueType(z, nothing, flat) for z in sorted(atomic_numbers[s] for s in species))
        pairs = {tuple(sorted(atomic_numbers[s] for s in t.species)): _dense(t) for t in ours}
        parts.append(GlueParams("repulsion", types, pairs))
    return parts


def _dense(term) -> GlueTable:
    """2 V(r) at knots so close that a cubic spline follows it.

    Each segment of the table has as many: V grows by decades, and where segments meet its third derivative jumps, which a
    cubic spline can do at a knot only.
    """
    r = np.concatenate([np.linspace(start, stop, _KNOTS_PER_SEGMENT, endpoint=False)
                        for start, stop, _ in term.table.segments])
    value, slope = term.table.evaluate(r)
    return GlueTable((*r.tolist(), term.cutoff), (*(2.0 * value[:, 0]).tolist(), 0.0), (2.0 * float(slope[0, 0]), 0.0))
