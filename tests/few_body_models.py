"""Small seeded models of the other kinds of terms: few bodies, and soap terms with channels of their own. Nothing is fitted."""

import functools
from dataclasses import replace

import numpy as np
from models import CUTOFF, SPECIES, pair_term, random_structure

from soapgap.model import Channels, EmbeddingTerm, Model, RadialTable, SoapTerm, TripletTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.bases import gto_basis
from soapgap.radial.table import radial_table
from soapgap.reduction.model import reduce_model
from soapgap.reduction.triplet import tabulated

E0 = {"Si": -1.25, "O": -0.5}
ALONE, EXCHANGED = [[0, 1, 2]], [[0, 1, 2], [1, 0, 2]]
ALL_ORDERS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
#: Distances at which some cutoff function's second derivative jumps (Angstrom).
BREAKS = (2.6, 3.0, 3.4, 4.0)
#: Where the tables of the embedding energies begin and end, in units of the density.
RHO_RANGE = (0.5, 1.5)

_SHARED = {"third_cutoff": 2 / 3, "shared": True}
#: Centre, neighbours, geometry, kernel, orders, and what differs from the defaults of `triplet_term`. No two like neighbours
#: are told apart.
_TRIPLETS = {
    "angle": ("Si", ("Si", "Si"), "angle", "ard_se", ALONE, {"f0": 0.1, "theta": (1.5, 3.0, 1.2)}),
    "angle, pp": ("Si", ("O", "Si"), "angle", "pp", ALONE, {"theta": (9.0, 18.0, 9.0), "delta": 0.02}),
    "angle, dot": ("O", ("Si", "Si"), "angle", "dot_product", ALONE, {"zeta": 2.0, "delta": 0.01}),
    "clusters": ("O", ("O", "O"), "distances", "ard_se", ALL_ORDERS,
                 {"f0": 0.2, "theta": (2.2,) * 3, "cutoff": 3.4, "width": 0.8, **_SHARED}),
    "exchange": ("Si", ("O", "O"), "distances", "ard_se", EXCHANGED, {"theta": (1.1, 1.1, 1.6), "cutoff": 3.4, "width": 0.8}),
    "unlike": ("Si", ("O", "Si"), "distances", "ard_se", ALONE, {"theta": (1.4, 1.0, 1.8), **_SHARED}),
    "distances, pp": ("O", ("O", "Si"), "distances", "pp", ALL_ORDERS, {"theta": (8.0,) * 3, "delta": 0.02, **_SHARED}),
    "distances, dot": ("O", ("Si", "O"), "distances", "dot_product", ALONE, {"zeta": 3.0, "delta": 0.002}),
}


def triplet_term(centre, neighbours, geometry, kernel, orders, seed=0, n_sparse=10, theta=(1.2, 1.2, 1.2), cutoff=CUTOFF,
                 width=1.0, delta=0.3, f0=0.0, zeta=1.0, third_cutoff=0.0, shared=False):
    """A triplet term with sparse points of three distances that atoms can have, and random weights."""
    rng = np.random.default_rng((20251121, seed))
    r_1, r_2 = rng.uniform(1.5, cutoff, (2, n_sparse))
    third = np.sqrt(r_1**2 + r_2**2 - 2.0 * r_1 * r_2 * rng.uniform(-1.0, 0.6, n_sparse))
    angle = geometry == "angle"
    points = np.column_stack([r_1 + r_2, (r_1 - r_2) ** 2, third] if angle else [r_1, r_2, third])
    return TripletTerm(centre, neighbours, geometry, kernel, cutoff, width, delta, f0, zeta, np.array(theta), np.array(orders),
                       2.0 if angle else 1.0, third_cutoff, shared, points, rng.normal(size=(1, n_sparse)),
                       {"kind": "angle_3b" if angle else "distance_Nb"})


def triplet_terms():
    """One term of every kind, by name."""
    return {name: triplet_term(*shape, seed=seed, **options)
            for seed, (name, (*shape, options)) in enumerate(_TRIPLETS.items())}


def density_table(amplitude, cutoff):
    """n(r) = amplitude (1 - r/cutoff)^4, whose second derivative is continuous at the cutoff."""

    def density(r, lo, hi):
        x = 1.0 - r / cutoff
        return amplitude * np.array([x**4, -4.0 * x**3 / cutoff, 12.0 * x**2 / cutoff**2])[:, :, None]

    return radial_table(density, [0.5, cutoff])


def embedding_term(centre, scale):
    """U(rho) = -scale sqrt(rho) inside of RHO_RANGE, straight lines outside."""

    def energy(rho, lo, hi):
        root = np.sqrt(rho)
        return -scale * np.array([root, 0.5 / root, -0.25 / root**3])[:, :, None]

    densities = {"O": density_table(4.0 * scale, CUTOFF), "Si": density_table(6.0, 3.4)}
    return EmbeddingTerm(centre, densities, radial_table(energy, list(RHO_RANGE)), CUTOFF, {"kind": "glue"})


def embedding_terms():
    """One for each species, by name."""
    return {"embedding of Si": embedding_term("Si", 0.8), "embedding of O": embedding_term("O", 1.3)}


@functools.cache
def make_few_body_model(form: str = "direct") -> Model:
    """Pairs, triplets and embedding of Si and O; `form` "direct", or "spline": with the splines of `reduce_model`.

    The kernel ``pp`` has a kink at every sparse point, so its splines converge too slowly for `reduce_model`, which tries all
    spacings and gives up; here they have a middling one.
    """
    if form == "spline":
        exact = make_few_body_model()
        kinked = [getattr(term, "kernel", None) == "pp" for term in exact.terms]
        smooth = [term for term, kink in zip(exact.terms, kinked) if not kink]
        reduced = iter(reduce_model(replace(exact, terms=smooth)).terms)
        return replace(exact, terms=[tabulated(term, 0.05) if kink else next(reduced)
                                     for term, kink in zip(exact.terms, kinked)])
    pairs = [pair_term(pair, amplitude) for pair, amplitude in
             ((("Si", "Si"), 0.9), (("Si", "O"), 0.6), (("O", "O"), 0.75))]
    terms = [*pairs, *triplet_terms().values(), *embedding_terms().values()]
    return Model(SPECIES, E0, terms, {"command": "tests/few_body_models.py"})


@functools.cache
def make_ordered_model() -> Model:
    """Terms that tell two like neighbours apart: no exchange, kernels in all orders but of unequal lengths, dot products."""
    terms = [triplet_term("Si", ("Si", "Si"), "distances", "ard_se", ALONE, seed=20, theta=(1.0, 1.6, 1.3), **_SHARED),
             triplet_term("O", ("O", "O"), "distances", "dot_product", ALONE, seed=21, zeta=2.0, delta=0.02),
             triplet_term("O", ("Si", "Si"), "distances", "ard_se", ALL_ORDERS, seed=22, theta=(1.0, 1.5, 2.0))]
    return Model(SPECIES, E0, terms, {"command": "tests/few_body_models.py"})


def _blank_soap_term(centre, neighbours, channels, zeta, n_max=3, l_max=3, tables=None):
    """A term with one sparse point of zeros; `tables`: factors for each neighbour species' own copy of the radial functions."""
    basis = gto_basis(n_max, l_max, CUTOFF, atom_sigma=0.5, cutoff_transition_width=1.0)
    table = basis.table()
    if tables is not None:
        rows = np.array(tables)[:, None, None, :]
        # the functions of each l, in the neighbour's own order and size
        mixed = [np.roll(table.values.reshape(*table.values.shape[:2], l_max + 1, n_max), k, axis=-1).reshape(
            table.values.shape) for k in range(len(tables))]
        table = RadialTable(table.segments, np.stack(mixed) * np.tile(rows, l_max + 1))
    centre_values = np.zeros((channels.n, n_max))
    centre_values[channels.of_neighbour[neighbours.index(centre)]] = basis.centre
    term = SoapTerm(centre, neighbours, n_max, l_max, CUTOFF, zeta, 0.7, table, centre_values, np.zeros((1, 0)),
                    np.zeros((1, 1)), basis=basis.parameters, channels=channels)
    term.sparse_points = np.full((1, term.n_features), 1e-3)
    return term


def _blank_channel_terms():
    plain = [(2 * l + 1) ** -0.5 for l in range(4)]
    pairs = np.array([(0, 0, 1.0), (1, 1, 0.5), (2, 0, 1.5), (1, 4, 2.0), (5, 3, -0.7), (4, 4, 1.0), (5, 5, 1.25), (3, 0, 0.3)])
    mixed = np.array([(0, 0, 1.0), (1, 0, 2**0.5), (1, 1, 1.0), (2, 1, 0.8), (2, 2, 1.3)])
    sizes = [(1.0, 0.8, 1.2), (0.5, -0.9, 0.7)]
    return [
        _blank_soap_term("Si", ["Si", "O"], Channels([0, 0], 1, plain, 0.3), 2.0),
        _blank_soap_term("O", ["Si", "O"], Channels([0, 1], 2, [1.0] * 4, 0.2, pairs), 2.5),
        _blank_soap_term("Si", ["O", "Si"], Channels([1, 0], 2, plain), 4.0, tables=sizes),
        _blank_soap_term("O", ["Si", "O"], Channels([0, 0], 1, [1.0, 0.9, 0.5, 0.2], 0.1, mixed), 1.0, tables=sizes),
        _blank_soap_term("O", ["O", "Si"], Channels([1, 1], 2, [1.0] * 4, 0.0), 2.0, tables=sizes),
    ]


@functools.cache
def make_channels_model(n_sparse: int = 8) -> Model:
    """Soap terms whose channels are not one for each species: one channel for both, listed products, tables for each."""
    rng = np.random.default_rng(20251122)
    terms = _blank_channel_terms()
    evaluator = Model(SPECIES, E0, terms).evaluator()
    lists = [neighbour_arrays(random_structure(seed), CUTOFF, SPECIES) for seed in range(1, 3 + n_sparse // 12)]
    for index, term in enumerate(terms):
        rows = np.concatenate([evaluator.features(index, nb) for nb in lists])
        term.sparse_points = rows[rng.choice(len(rows), n_sparse, replace=False)]
        term.weights = rng.normal(size=(1, n_sparse))
    return Model(SPECIES, E0, terms, {"command": "tests/few_body_models.py"})


@functools.cache
def make_average_model() -> Model:
    """One descriptor of the whole structure: both species' centres are summed before x is made."""
    rng = np.random.default_rng(20251123)
    plain = [(2 * l + 1) ** -0.5 for l in range(4)]
    terms = [_blank_soap_term(s, SPECIES, Channels([0, 1], 2, plain, average=0), 2.0) for s in SPECIES]
    points = np.abs(rng.normal(size=(3, terms[0].n_features)))
    weights = rng.normal(size=(1, 3))
    for term in terms:
        term.sparse_points, term.weights = points, weights
    return Model(SPECIES, E0, terms, {"command": "tests/few_body_models.py"})
