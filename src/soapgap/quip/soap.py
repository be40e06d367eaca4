"""QUIP's `soap` and `soap_turbo` coordinates as soap terms, and their sparse points' order of features.

QUIP lists the components of a descriptor pair by pair, l fastest, and appends `covariance_sigma0`; our terms have l slowest
and add its square to the kernel (x . X + sigma0^2)^zeta. A coordinate with several central species becomes several terms.
"""

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from soapgap.errors import InputError
from soapgap.model import Channels, RadialTable, SoapTerm
from soapgap.quip.compression import Coupling, read_coupling
from soapgap.quip.document import Coordinate
from soapgap.quip.radial import decay, gto_fit, poly_fit
from soapgap.quip.strings import QuipParameters, integer, integers, logical, real
from soapgap.quip.turbo import turbo_soap
from soapgap.radial.bases import Y_00, equispaced_basis
from soapgap.radial.basis import SoapBasis
from soapgap.radial.cutoff import cutoff_transition, product
from soapgap.radial.table import radial_table

__all__ = ["SoapLayout", "read_soap", "soap_layout", "soap_terms"]

#: Versions from which QUIP's soap has its present meaning (spec of the file format: attribute gap_version).
_L_FACTOR_SINCE, _CENTRAL_REFERENCE_SINCE = 1423143769, 1426512068
#: Where a decay r^-m is cut off: a table continues in a straight line below (Angstrom).
_CLOSEST = 0.1
#: Bytes of a table that stays in every cache.
_SMALL_TABLE = 400_000


@dataclass(frozen=True, eq=False)
class SoapLayout:
    """A descriptor's parameters as our terms have them.

    Attributes
    ----------
    centres : tuple of int
        Atomic numbers of the central species; empty: any.
    named : tuple of int
        Atomic numbers of the neighbour species that the descriptor names.
    channel_of : dict of int to int
        The species' place (in species_Z) whose radial functions a neighbour has; key 0: any other element.
    n_places : int
        Length of species_Z.
    n_max, l_max : int
    cutoff : float
    normalise : bool
    sigma0 : float
        covariance_sigma0.
    l_factors : ndarray, shape (l_max + 1,)
    coupling : Coupling
    order : ndarray of int, shape (n_features,)
        QUIP's component of each of our features (l slowest, then the pairs).
    pairs : ndarray, shape (n_pairs, 3), or None
        As in `Channels`.
    table : RadialTable
        Of the unmixed functions, one or one for each place in species_Z.
    centre : ndarray, shape (n_max,)
        What a central atom adds to c_n00 of a channel that it belongs to.
    central_in : callable(int, int) -> bool
        Whether a central atom of this atomic number belongs to the channel.
    basis : dict
        For `soapgap info`.
    average : bool
        One descriptor of a whole structure, of the coefficients of all centres summed.
    warnings : tuple of str
    """

    centres: tuple
    named: tuple
    channel_of: dict
    n_places: int
    n_max: int
    l_max: int
    cutoff: float
    normalise: bool
    sigma0: float
    l_factors: np.ndarray
    coupling: Coupling
    order: np.ndarray
    pairs: np.ndarray | None
    table: RadialTable
    centre: np.ndarray
    central_in: object
    basis: dict
    average: bool = False
    warnings: tuple = ()


def soap_layout(parameters: QuipParameters, gap_version: int) -> SoapLayout:
    """What a `soap` or `soap_turbo` descriptor string means.

    Raises
    ------
    InputError
        If a parameter is missing, out of range, or asks for something that is not supported (named in the message).
    """
    return _turbo_layout(parameters) if "soap_turbo" in parameters else _soap_layout(parameters, gap_version)


def _soap_layout(p, gap_version):
    species = tuple(integers(p.get("species_Z", "0"), "species_Z"))
    n_species = integer(p.get("n_species", "1"), "n_species")
    if len(species) != n_species:
        raise InputError(f"soap: species_Z has {len(species)} entries {species}, n_species is {n_species}; expected as many")
    n_max, l_max = integer(_needed(p, "n_max"), "n_max"), integer(_needed(p, "l_max"), "l_max")
    basis, table = _radial_functions(p, n_max, l_max)
    everywhere = logical(p["central_reference_all_species"], "central_reference_all_species") \
        if "central_reference_all_species" in p else n_species == 1
    everywhere = everywhere or gap_version < _CENTRAL_REFERENCE_SINCE
    coupling = read_coupling(p, n_max, species)
    n_functions = n_species * n_max if coupling.mixing is None else coupling.mixing.shape[2]
    order, pairs = _arrange(*_listed(coupling, n_functions), n_functions, l_max)
    centres = tuple(integers(p.get("Z", "0"), "Z"))
    old = gap_version < _L_FACTOR_SINCE
    return SoapLayout(
        centres=() if 0 in centres else centres, named=tuple(z for z in species if z), channel_of=_channel_of(species),
        n_places=n_species, n_max=n_max, l_max=l_max, cutoff=basis.cutoff,
        normalise=logical(p.get("normalise", p.get("normalize", "T")), "normalise"),
        sigma0=real(p.get("covariance_sigma0", "0"), "covariance_sigma0"),
        l_factors=np.ones(l_max + 1) if old else 1.0 / np.sqrt(2.0 * np.arange(l_max + 1) + 1.0),
        coupling=coupling, order=order, pairs=pairs, table=table, centre=basis.centre,
        central_in=lambda z, k: everywhere or species[k] in (0, z), basis=basis.parameters,
        average=logical(p.get("average", "F"), "average"))


def _radial_functions(p, n_max, l_max):
    """The SoapBasis and the table of its functions, with QUIP's extra decay if there is one."""
    kind = p.get("radial_basis", "EQUISPACED_GAUSS").upper()
    shape = {"cutoff": real(_needed(p, "cutoff"), "cutoff"),
             "atom_sigma": real(p.get("atom_gaussian_width", p.get("atom_sigma", "")), "atom_sigma")}
    error = real(p.get("basis_error_exponent", "10"), "basis_error_exponent")
    more = {"cutoff_transition_width": real(p.get("cutoff_transition_width", "0.5"), "cutoff_transition_width"),
            "central_weight": real(p.get("central_weight", "1"), "central_weight")}
    if kind == "EQUISPACED_GAUSS":
        basis = equispaced_basis(n_max, l_max, basis_error_exponent=error, **shape, **more)
    elif kind in ("POLY", "GTO"):
        fit = poly_fit(n_max, **shape, basis_error_exponent=error) if kind == "POLY" else \
            gto_fit(n_max, l_max, **shape, basis_error_exponent=error)
        parameters = {"radial_basis": f"quip_{kind.lower()}", "cutoff_function": "cosine", "n_max": n_max, "l_max": l_max,
                      **shape, **more, "basis_error_exponent": error}
        basis = SoapBasis(n_max, l_max, shape["cutoff"], parameters, more["central_weight"] * Y_00 * fit.centre, fit.radii,
                          fit.matrix)
    else:
        raise InputError(f"soap: radial_basis={kind} is not known, expected EQUISPACED_GAUSS, POLY or GTO")
    m, r_0, rate = (integer(p.get("cutoff_dexp", "0"), "cutoff_dexp"), real(p.get("cutoff_scale", "1"), "cutoff_scale"),
                    real(p.get("cutoff_rate", "1"), "cutoff_rate"))
    if m == 0:
        table = basis.table()
        # twice the knots make a published model's forces equal to 1e-11, where they cost no time
        return basis, table if 2 * table.values.nbytes > _SMALL_TABLE else basis.table(1e-13)
    basis.parameters.update(cutoff_dexp=m, cutoff_scale=r_0, cutoff_rate=rate)
    return basis, _decaying_table(basis, m, r_0, rate)


def _decaying_table(basis, m, r_0, rate):
    width = basis.parameters["cutoff_transition_width"]
    inner = basis.cutoff - width

    def piece(r, lo, hi):
        curves = product(decay(r, m, r_0, rate), basis.smeared(r))
        return product(cutoff_transition(r, basis.cutoff, width, "cosine"), curves) if lo >= inner else curves

    ends = [inner, basis.cutoff] if inner > 0.0 else [basis.cutoff]
    if rate > 0.0:
        return radial_table(piece, [0.0, *ends])
    scale = np.abs(piece(np.linspace(0.5, 1.0, 8) * ends[0], 0.0, ends[0])[0]).max()
    return radial_table(piece, [_CLOSEST, *(r for r in (0.2, 0.4, 0.8) if r < ends[0]), *ends], scale=scale)


def _channel_of(species):
    """The wildcard sends every element to the first channel, an element named later to its own (as QUIP fills its map)."""
    of = {}
    for k, z in enumerate(species):
        if z == 0:
            of = {0: 0}
        else:
            of[z] = k
    return of


def _turbo_layout(p):
    turbo = turbo_soap(p)
    species, n_max = turbo.species_z, turbo.n_max
    coupling = Coupling(None, turbo.pairs, turbo.pair_factors)
    n_functions = len(species) * n_max
    if turbo.contraction is not None:
        nu_r, nu_s = turbo.contraction
        coupling = read_coupling({"nu_R": str(nu_r), "nu_S": str(nu_s)}, n_max, species)
        n_functions = n_functions if coupling.mixing is None else coupling.mixing.shape[2]
        if coupling.pairs is None:  # symmetric: the upper triangle
            rows, columns = np.triu_indices(n_functions)
            coupling = Coupling(coupling.mixing, np.stack([rows, columns], axis=1),
                                np.where(rows == columns, 1.0, np.sqrt(2.0)))
    order, pairs = _arrange(coupling.pairs, coupling.factors, n_functions, turbo.l_max)
    breaks = sorted({r for k in range(len(species)) for r in turbo.breaks(k)})
    own = [turbo.breaks(k) for k in range(len(species))]

    def piece(r, lo, hi):
        curves = []
        for k, ends in enumerate(own):
            inside = next(((a, b) for a, b in zip(ends, ends[1:]) if a <= lo and hi <= b), None)
            curves.append(np.zeros((3, len(r), (turbo.l_max + 1) * n_max)) if inside is None
                          else turbo.radial_piece(k, r, *inside))
        return np.concatenate(curves, axis=2)

    # The functions are forty times larger at r = 0 than where atoms are; the bounds are meant for the latter.
    beyond = np.linspace(1.0, turbo.cutoff, 200)
    scale = max(np.abs(turbo.radial(k, beyond)[0]).max() for k in range(len(species)))
    joint = radial_table(piece, breaks, scale=scale)
    values = joint.values.reshape(*joint.values.shape[:2], len(species), -1).transpose(2, 0, 1, 3)
    z_centre = species[turbo.central_index]
    return SoapLayout(
        centres=(z_centre,), named=species, channel_of=_channel_of(species), n_places=len(species),
        n_max=n_max, l_max=turbo.l_max, cutoff=turbo.cutoff, normalise=True, sigma0=0.0,
        l_factors=np.ones(turbo.l_max + 1), coupling=coupling, order=order, pairs=pairs,
        table=RadialTable(joint.segments, values), centre=turbo.centre,
        central_in=lambda z, k: k == turbo.central_index,
        basis={"radial_basis": f"soap_turbo {p.get('basis', 'poly3')}"}, warnings=turbo.warnings)


def _listed(coupling, n_functions):
    """Pairs and factors, in QUIP's order, also where they are the full lower triangle."""
    if coupling.pairs is not None:
        return coupling.pairs, coupling.factors
    rows, columns = np.tril_indices(n_functions)
    return np.stack([rows, columns], axis=1), np.where(rows == columns, 1.0, np.sqrt(2.0))


def _arrange(pairs, factors, n_functions, l_max):
    """QUIP's component of each feature of ours, and the list of pairs unless it is the full triangle with its usual factors."""
    pairs, factors = np.asarray(pairs), np.asarray(factors)
    place = np.arange(len(pairs))
    high, low = pairs.max(axis=1), pairs.min(axis=1)
    rows, columns = np.tril_indices(n_functions)
    usual = np.where(high == low, 1.0, np.sqrt(2.0))
    listed = np.concatenate([pairs, factors[:, None]], axis=1)
    if len(pairs) == len(rows) and np.array_equal(factors, usual):
        by_place = np.lexsort((low, high))
        if np.array_equal(high[by_place], rows) and np.array_equal(low[by_place], columns):
            place, listed = by_place, None
    order = (place[None, :] * (l_max + 1) + np.arange(l_max + 1)[:, None]).ravel()
    return order, listed


def _needed(p, key):
    if key not in p:
        raise InputError(f"descriptor: {key} is missing, expected {key}=number; got the keys {', '.join(p)}")
    return p[key]


def read_soap(coordinate: Coordinate, layout: SoapLayout) -> np.ndarray:
    """The sparse points in our order of features, checked.

    Returns
    -------
    ndarray, shape (n_sparse, n_features)

    Raises
    ------
    InputError
        For another kernel than dot_product, a wrong number of components, or sparse points whose last component is not
        covariance_sigma0.
    """
    name = f"coordinate {coordinate.label}"
    if coordinate.covariance != "dot_product":
        raise InputError(f"{name}: a soap descriptor with covariance_type {coordinate.covariance} is not supported, expected "
                         "dot_product")
    turbo = layout.basis["radial_basis"].startswith("soap_turbo")
    expected = len(layout.order) + (0 if turbo else 1)
    points = coordinate.sparse_points
    if points.shape[1] != expected:
        raise InputError(f"{name}: its sparse points have {points.shape[1]} components, its descriptor string gives "
                         f"{expected}: the two do not belong together")
    if not turbo and not np.array_equal(points[:, -1], np.full(len(points), layout.sigma0)):
        raise InputError(f"{name}: the last component of a sparse point is not covariance_sigma0 = {layout.sigma0:g}: the "
                         "sparse points were made with another descriptor")
    return points[:, layout.order]


def soap_terms(coordinate: Coordinate, layout: SoapLayout, elements: list[str], scale: float, origin: dict) -> list[SoapTerm]:
    """One term for each central species of the coordinate.

    Parameters
    ----------
    coordinate : Coordinate
    layout : SoapLayout
        Of its descriptor.
    elements : list of str
        The model's chemical symbols.
    scale : float
        Factor of all weights.
    origin : dict
        What export needs, kept in `basis`.
    """
    points = read_soap(coordinate, layout)
    neighbours = [s for s in elements if atomic_numbers[s] in layout.channel_of or 0 in layout.channel_of]
    places = [layout.channel_of.get(atomic_numbers[s], layout.channel_of.get(0)) for s in neighbours]
    neighbours = [neighbours[k] for k in np.argsort(places, kind="stable")]
    places = sorted(places)
    values, table = layout.table.values, layout.table
    channels, n_max, n_channels = list(places), layout.n_max, layout.n_places
    if layout.coupling.mixing is not None:
        values = np.stack([_mixed(values if values.ndim == 3 else values[k], layout.coupling.mixing[k], layout.l_max + 1)
                           for k in places])
        channels, n_max, n_channels = [0] * len(places), layout.coupling.mixing.shape[2], 1
    elif values.ndim == 4:
        values = values[places]
    table = RadialTable(table.segments, values)
    standard = np.array_equal(layout.l_factors, 1.0 / np.sqrt(2.0 * np.arange(layout.l_max + 1) + 1.0))
    plain = (standard and not layout.average and layout.sigma0 == 0.0 and layout.pairs is None and values.ndim == 3
             and channels == list(range(n_channels)))
    extra = None if plain else Channels(channels, n_channels, layout.l_factors.tolist(), layout.sigma0**2, layout.pairs,
                                           origin["coordinate"] if layout.average else None)
    weights = scale * coordinate.alpha * coordinate.sparse_cutoff
    terms = []
    for centre in ([chemical_symbols[z] for z in layout.centres] or elements):
        own = np.stack([layout.centre * layout.central_in(atomic_numbers[centre], k) for k in range(layout.n_places)])
        if layout.coupling.mixing is not None:
            own = np.einsum("an,ank->k", own, layout.coupling.mixing)[None]
        terms.append(SoapTerm(centre, neighbours, n_max, layout.l_max, layout.cutoff, coordinate.zeta, coordinate.delta, table,
                              own, points, weights[None], layout.normalise, layout.basis | {"quip": origin}, channels=extra))
    return terms


def _mixed(values, mixing, n_l):
    """Radial functions of one species, l by l, in the mixed channels."""
    blocks = values.reshape(*values.shape[:2], n_l, -1) @ mixing
    return blocks.reshape(*values.shape[:2], -1)
