r"""QUIP's `distance_2b`, `distance_Nb` and `angle_3b` coordinates as pair and triplet terms.

An instance of a descriptor is a cluster of atoms with the components x and a weight f (products of cutoff functions); its
energy f sum_s alpha_s F_s k(x, X_s) is divided equally among the atoms it belongs to (Bartok and Csanyi, Int. J. Quantum
Chem. 115, 1051 (2015)). What is a function of one distance becomes a table.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from soapgap.errors import InputError
from soapgap.model import PairTerm, RadialTable, TripletTerm
from soapgap.quip.document import Coordinate
from soapgap.quip.strings import QuipParameters, integer, integers, logical, real
from soapgap.radial.cutoff import cutoff_transition
from soapgap.radial.jets import Jet, constant, erf, exp, variable
from soapgap.radial.table import weighted_table

__all__ = ["ClusterLayout", "cluster_layout", "cluster_terms"]

_COMPACT_SINCE = 1596837814
#: Where tables of powers r^-n begin; below they continue in a straight line (Angstrom).
_CLOSEST = 0.05


@dataclass(frozen=True)
class ClusterLayout:
    """The parameters of a descriptor of two or three atoms.

    Attributes
    ----------
    kind : {"distance_2b", "distance_Nb", "angle_3b"}
    order : int
        Atoms in a cluster.
    z : tuple of int
        Atomic numbers, 0 for any; of angle_3b the centre first.
    cutoff, width : float
        Angstrom.
    compact : bool
        distance_Nb: clusters around each of their atoms, instead of connected clusters, once each.
    exponents : tuple of int
        distance_2b: x_k = r^exponent_k.
    tail_exponent, tail_range : float
        distance_2b: f = f_c (erf(tail_range r) / r)^tail_exponent.
    """

    kind: str
    order: int
    z: tuple
    cutoff: float
    width: float
    compact: bool = True
    exponents: tuple = (1,)
    tail_exponent: float = 0.0
    tail_range: float = 1.0

    @property
    def n_components(self) -> int:
        """Length of x."""
        return {"distance_2b": len(self.exponents), "angle_3b": 3}.get(self.kind, max(1, self.order * (self.order - 1) // 2))


def cluster_layout(p: QuipParameters, gap_version: int) -> ClusterLayout:
    """What the descriptor string of a cluster descriptor means.

    Raises
    ------
    InputError
        If a parameter is out of range or not supported.
    """
    shape = {"cutoff": real(p.get("cutoff", "0"), "cutoff"),
             "width": real(p.get("cutoff_transition_width", "0.5"), "cutoff_transition_width")}
    if not (0.0 < shape["width"] <= shape["cutoff"]):
        raise InputError(f"descriptor: got cutoff {shape['cutoff']:g} and cutoff_transition_width {shape['width']:g}, expected "
                         "0 < width <= cutoff")
    if "distance_2b" in p:
        return _distance_2b(p, shape)
    if "angle_3b" in p:
        z = [integer(p.get(key, "0"), key) for key in ("Z_center" if "Z_center" in p else "Z", "Z1", "Z2")]
        return ClusterLayout("angle_3b", 3, tuple(z), **shape)
    order = integer(p.get("order", "0"), "order")
    if order not in (1, 2, 3):
        raise InputError(f"distance_Nb: order {order} is not supported, expected 1, 2 or 3")
    z = tuple(sorted(integers(p.get("Z", " ".join(["0"] * order)), "Z")))
    if len(z) != order:
        raise InputError(f"distance_Nb: Z has {len(z)} entries {z}, expected one for each of the {order} atoms")
    usual = "T" if gap_version >= _COMPACT_SINCE else "F"
    compact = logical(p.get("compact_clusters", usual), "compact_clusters")
    return ClusterLayout("distance_Nb", order, z, compact=compact, **shape)


def _distance_2b(p, shape):
    for key in ("only_intra", "only_inter"):
        if logical(p.get(key, "F"), key):
            raise InputError(f"distance_2b: {key} (pairs chosen by residue) is not supported")
    n = integer(p.get("n_exponents", "1"), "n_exponents")
    usual = " ".join(str(-k) for k in range(1, n + 1)) if n > 1 else "1"
    exponents = tuple(integers(p.get("exponents", usual), "exponents"))
    if len(exponents) != n:
        raise InputError(f"distance_2b: {len(exponents)} exponents {exponents}, n_exponents is {n}; expected as many")
    return ClusterLayout("distance_2b", 2, (integer(p.get("Z1", "0"), "Z1"), integer(p.get("Z2", "0"), "Z2")),
                         exponents=exponents, tail_exponent=real(p.get("tail_exponent", "0"), "tail_exponent"),
                         tail_range=real(p.get("tail_range", "1"), "tail_range"), **shape)


def cluster_terms(coordinate: Coordinate, layout: ClusterLayout, elements: list[str], scale: float,
                  origin: dict) -> tuple[list, dict[str, float]]:
    """The terms of a coordinate, one for each set of elements that it sees, and what it adds to e0.

    Parameters
    ----------
    coordinate : Coordinate
    layout : ClusterLayout
        Of its descriptor.
    elements : list of str
        The model's chemical symbols.
    scale : float
        Factor of all weights.
    origin : dict
        What export needs, kept in the terms' `origin`.

    Returns
    -------
    terms : list of PairTerm and TripletTerm
    e0 : dict of str to float
        eV; of clusters of one atom, which are constants.
    """
    name = f"coordinate {coordinate.label}"
    if coordinate.sparse_points.shape[1] != layout.n_components:
        raise InputError(f"{name}: its sparse points have {coordinate.sparse_points.shape[1]} components, its descriptor "
                         f"string gives {layout.n_components}: the two do not belong together")
    weights = scale * coordinate.alpha * coordinate.sparse_cutoff
    numbers = sorted(atomic_numbers[s] for s in elements)
    if layout.order == 1:
        energy = float(weights.sum() * (coordinate.delta**2 + coordinate.f0**2))
        if coordinate.covariance == "dot_product":
            energy = 0.0  # (x . X)^zeta of x = 0
        return [], {chemical_symbols[z]: energy for z in numbers if layout.z[0] in (0, z)}
    origin = {"kind": layout.kind} | origin
    if layout.order == 2:
        table = _pair_table(coordinate, layout, weights)
        sparse = {"sparse_points": coordinate.sparse_points, "weights": weights}
        return [PairTerm((chemical_symbols[a], chemical_symbols[b]), layout.cutoff, table, origin, sparse)
                for a, b in itertools.combinations_with_replacement(numbers, 2) if _matches((a, b), layout.z)], {}
    make = _angle_terms if layout.kind == "angle_3b" else _distance_terms
    return [TripletTerm(cutoff=layout.cutoff, cutoff_transition_width=layout.width, kernel=coordinate.covariance,
                        delta=coordinate.delta, f0=coordinate.f0, zeta=coordinate.zeta or 1.0, weights=weights[None],
                        origin=origin, **term) for term in make(coordinate, layout, numbers)], {}


def _matches(cluster, z):
    """Whether the elements are those of the descriptor in some order; 0 means any."""
    return any(all(w in (0, c) for w, c in zip(z, order)) for order in itertools.permutations(cluster))


# ---- functions of one distance ----------------------------------------------------------------------------------------


def _pair_table(coordinate, layout, weights) -> RadialTable:
    """V(r): every ordered pair is an instance and shares its energy with the other atom; connected pairs count once."""
    count = 0.5 if layout.kind == "distance_Nb" and not layout.compact else 1.0
    plain = layout.exponents == (1,) and layout.tail_exponent == 0.0
    inner = layout.cutoff - layout.width
    breaks = {0.0 if plain else _CLOSEST, layout.cutoff} | ({inner} if inner > 0.0 else set())
    if coordinate.covariance == "pp":
        if not layout.exponents == (1,):
            raise InputError(f"coordinate {coordinate.label}: a pp kernel of powers of the distance is not supported")
        kinks = coordinate.sparse_points[:, 0, None] + coordinate.theta[0] * np.array([-1.0, 0.0, 1.0])
        breaks |= {float(r) for r in kinks.ravel() if min(breaks) < r < layout.cutoff}

    def piece(r, lo, hi):
        jet = variable(r)[:, None]
        value = _kernels(coordinate, layout, jet, 0.5 * (lo + hi))
        if layout.tail_exponent != 0.0:
            value = value * (erf(jet * layout.tail_range) / jet) ** layout.tail_exponent
        if lo >= inner:
            value = value * Jet(*(c[:, None] for c in cutoff_transition(r, layout.cutoff, layout.width, "cosine")))
        return value.stacked()

    return weighted_table(piece, sorted(breaks), count * weights, rtol_value=1e-13, rtol_slope=1e-11,
                          scale=_scale(piece, breaks, layout))


def _scale(piece, breaks, layout):
    """Powers may diverge at short distances: bounds are relative to what the kernels are where atoms can be."""
    ends = sorted(breaks)
    far = [r for r in np.linspace(0.2, 0.99, 40) * layout.cutoff if r > ends[0]]
    at = [next((a, b) for a, b in zip(ends, ends[1:]) if a <= r <= b) for r in far]
    return max(np.abs(piece(np.array([r]), *place)[0]).max() for r, place in zip(far, at))


def _kernels(coordinate, layout, r: Jet, inside: float) -> Jet:
    """k(x(r), X_s) of all sparse points, with f0."""
    points = coordinate.sparse_points
    x = [r**e if e != 1 else r for e in (layout.exponents if layout.kind == "distance_2b" else (1,))]
    if coordinate.covariance == "dot_product":
        return coordinate.delta**2 * sum((c * points[:, k] for k, c in enumerate(x)), constant(0.0)) ** coordinate.zeta
    if coordinate.covariance == "ard_se":
        q = sum((((c - points[:, k]) / coordinate.theta[k]) ** 2 for k, c in enumerate(x)), constant(0.0))
        value = exp(-0.5 * q)
    else:
        # (1 - rho)^3 (3 rho + 1), which is GAP's pp kernel in one dimension; one side of every kink, that of `inside`
        u = (inside - points[:, 0]) / coordinate.theta[0]
        rho = (r - points[:, 0]) * (np.where(u < 0.0, -1.0, 1.0) / coordinate.theta[0])
        value = (1.0 - rho) ** 3 * (3.0 * rho + 1.0) * np.where(np.abs(u) < 1.0, 1.0, 0.0)
    return coordinate.delta**2 * value + coordinate.f0**2


# ---- triplets ---------------------------------------------------------------------------------------------------------


def _permutations(coordinate):
    return np.arange(3)[None] if coordinate.permutations is None else coordinate.permutations


def _theta(coordinate):
    return np.ones(3) if coordinate.theta is None else np.abs(coordinate.theta)


def _angle_terms(coordinate, layout, numbers):
    for centre in numbers:
        if layout.z[0] not in (0, centre):
            continue
        for pair in itertools.combinations_with_replacement(numbers, 2):
            if _matches(pair, layout.z[1:]):
                yield {"centre": chemical_symbols[centre], "neighbours": tuple(chemical_symbols[z] for z in pair),
                       "geometry": "angle", "theta": _theta(coordinate), "permutations": _permutations(coordinate),
                       "count": 2.0, "third_cutoff": 0.0, "shared": False, "sparse_points": coordinate.sparse_points}


def _distance_terms(coordinate, layout, numbers):
    """One term for each choice of the centre of each set of three elements (the two others in ascending order)."""
    clusters = [layout.z] if 0 not in layout.z else itertools.combinations_with_replacement(numbers, 3)
    for cluster in clusters:
        for centre in sorted(set(cluster)):
            at = cluster.index(centre)
            others = [k for k in range(3) if k != at]
            components = [0, 1, 2] if layout.compact else _components(at, *others)
            back = np.argsort(components)
            orders = [[int(back[order[c]]) for c in components] for order in _permutations(coordinate)]
            yield {"centre": chemical_symbols[centre], "neighbours": tuple(chemical_symbols[cluster[k]] for k in others),
                   "geometry": "distances", "theta": _theta(coordinate)[components], "permutations": np.array(orders),
                   "count": 1.0, "third_cutoff": 0.0 if layout.compact else 2.0 / 3.0, "shared": True,
                   "sparse_points": np.ascontiguousarray(coordinate.sparse_points[:, components])}


def _components(centre, first, second):
    """Which of the distances (r_12, r_13, r_23) of the ordered cluster are (centre-first, centre-second, first-second)."""
    number = {frozenset(pair): k for k, pair in enumerate(itertools.combinations(range(3), 2))}
    return [number[frozenset(pair)] for pair in ((centre, first), (centre, second), (first, second))]
