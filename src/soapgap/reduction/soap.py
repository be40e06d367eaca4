"""The same function at less cost: exact reductions of a SOAP term, compiled into the model file.

A term's energy is e = sum_s w_s (X_s . x)^zeta. Four steps, each chosen by counting, never by timing:

1. **Radial functions.** For each l the table's functions R_nl(r) span fewer dimensions than n_max (QUIP's equispaced basis:
   n_max - 1 for l > 0, and n_max - 2 to 1e-9). A rotation of n, by a singular value decomposition of the table, puts the
   vanishing ones last, where they are cut. A rotation within each l leaves |p| and X . x as they are.
2. **Features.** Within what is left, each species' functions are rotated to the principal axes of the sparse points' blocks
   of l. Many features p_l,IJ then vanish in every sparse point and are left out of the kernel (|p| keeps them).
   Leaving out a part X_out of X changes the kernel by X_out . x_out, a product of two small numbers.
3. **Points.** Equal points are merged, points without weight dropped.
4. **Collapse.** zeta = 1: one point, sum_s w_s X_s. zeta = 2: e = x . A x with A = sum_s w_s X_s X_s^T, one product with a
   square matrix instead of two with the points, where that takes fewer operations.

With ``precision = "mixed"`` the smallest of the kept features are multiplied in single precision. Plain single precision is
useless here: weights of opposite sign cancel to 1e-6 of their size. But the part of X . x that comes from features of size
1e-4 is 1e-8, so its rounding, 6e-8 of that, is nothing.

What is left out is set by ``tolerance`` (eV/Angstrom); what it did to forces is then measured on probe structures.

A triplet term gets a spline of its sum over kernels (`soapgap.reduction.triplet`), as fine as ``triplet_tolerance`` asks for.
"""

from dataclasses import replace

import numpy as np

from soapgap.errors import InputError
from soapgap.model import Model, Reduction, SoapTerm, TripletTerm
from soapgap.reduction.probes import largest_differences, probe_structures
from soapgap.reduction.rotation import Rotations
from soapgap.reduction.triplet import grid_shape, tabulated

__all__ = ["DEFAULT_TOLERANCE", "DEFAULT_TRIPLET_TOLERANCE", "describe_reductions", "exact_model", "reduce_model",
           "reduce_term"]

DEFAULT_TOLERANCE = 1e-9  # eV/Angstrom
DEFAULT_TRIPLET_TOLERANCE = 1e-5  # eV/Angstrom

#: Shares of the tolerance: what the estimate may use up at first, and what forces on the probes may change by. Neither sparse
#: points nor probes are the structures of a user, so both leave a margin.
_SHARE, _MEASURED_SHARE, _TRIPLET_SHARE = 0.1, 0.3, 0.1
#: Each try takes the square root of a tenth of the budget of the one before. Data of one kind (a single molecule) leave small
#: directions in which other structures reach far, and need many.
_TRIES = 24
#: Spacings of the splines of triplet terms that are tried (in units of theta), the most numbers that one may have, and the
#: smallest distance of their probes, in units of the sum of covalent radii.
_SPACINGS, _LARGEST_GRID = (0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.125, 0.1, 0.08, 0.06, 0.045, 0.035), 8_000_000
_TRIPLET_CLOSEST = 0.8
#: Relative rounding of single precision.
_EPS_SINGLE = 2.0**-24


def reduce_model(model: Model, tolerance: float = DEFAULT_TOLERANCE, precision: str = "double",
                 triplet_tolerance: float = DEFAULT_TRIPLET_TOLERANCE) -> Model:
    """A model with the reduced form of every soap and triplet term beside the term itself.

    Parameters
    ----------
    model : Model
    tolerance : float
        eV/Angstrom. The largest change of a force on the probe structures; rounding alone may exceed it in models whose
        weights cancel strongly, and then rounding is the measure.
    precision : "double" or "mixed"
    triplet_tolerance : float
        eV/Angstrom. The same for the splines of triplet terms.

    Returns
    -------
    Model
        The terms' own points and weights are untouched. A term whose reduction saves nothing has none.

    Raises
    ------
    InputError
        If the tolerance is not a positive number, or the precision none of the two.
    """
    if precision not in ("double", "mixed"):
        raise InputError(f"precision = {precision!r}, expected \"double\" or \"mixed\"")
    for name, value, usual in (("tolerance", tolerance, DEFAULT_TOLERANCE),
                               ("triplet_tolerance", triplet_tolerance, DEFAULT_TRIPLET_TOLERANCE)):
        if not (np.isfinite(value) and value > 0.0):
            raise InputError(f"{name} = {value}, expected a positive number of eV/Angstrom (default {usual:g}); for no "
                             "reduction at all ask for the exact form")

    def reduced(term):
        if isinstance(term, TripletTerm):
            return _tabulated_and_measured(model, term, triplet_tolerance)
        return _reduced_and_measured(model, term, tolerance, precision) if isinstance(term, SoapTerm) else term

    return replace(model, terms=[reduced(term) for term in model.terms])


def exact_model(model: Model) -> Model:
    """The model without any reduction: it evaluates every sparse point with every feature."""
    bare = {SoapTerm: {"reduced": None}, TripletTerm: {"grid": None}}
    return replace(model, terms=[replace(term, **bare.get(type(term), {})) for term in model.terms])


def describe_reductions(model: Model) -> list[str]:
    """One line per soap or triplet term: which reduction it has, what it saves, and the errors that were measured."""
    lines = []
    for term in model.terms:
        if isinstance(term, TripletTerm):
            lines.append(_describe_triplet(term))
        if not isinstance(term, SoapTerm):
            continue
        name, reduced = f"soap ({term.centre})", term.reduced
        if reduced is None:
            lines.append(f"{name}: no reduction, {term.flops:,} operations per atom in its kernel")
            continue
        parts = [f"radial functions {term.n_max} -> {min(reduced.n_radial)} to {max(reduced.n_radial)}",
                 f"features {term.n_features} -> {len(reduced.features)}"]
        if reduced.n_single:
            parts[-1] += f" ({reduced.n_single} of them in single precision)"
        if reduced.form == "matrix":
            parts.append(f"{len(term.sparse_points)} points -> one symmetric matrix (zeta = 2)")
        elif reduced.form == "merged_points":
            parts.append(f"points {len(term.sparse_points)} -> {len(reduced.points)}")
        line = (f"{name}: {', '.join(parts)}; operations of the kernel {term.flops:,} -> {reduced.flops:,} per atom "
                f"({reduced.flops / term.flops:.2f})")
        if "force_error" in reduced.report:
            line += (f"; forces on probe structures change by {reduced.report['force_error']:.1e} eV/A (wanted "
                     f"{reduced.report['tolerance']:.0e}; rounding {reduced.report['force_rounding']:.0e})")
        lines.append(line)
    return lines


def _describe_triplet(term):
    name = f"triplet ({term.centre} with {' '.join(term.neighbours)})"
    if term.grid is None:
        return f"{name}: no spline, {len(term.sparse_points) * len(term.permutations):,} kernels for each triplet of atoms"
    report = term.grid.report
    return (f"{name}: {len(term.sparse_points)} points -> a spline of {' x '.join(map(str, term.grid.n_intervals))} cells; "
            f"forces on probe structures change by {report['force_error']:.1e} eV/A (wanted {report['tolerance']:.0e})")


def _tabulated_and_measured(model, term, tolerance):
    """The coarsest spline that keeps the forces on the probes; none if even the finest does not."""
    exact = replace(term, grid=None)
    if len(exact.sparse_points) == 0 or term.kernel == "pp":  # a kink at every sparse point: no spacing is fine enough
        return exact
    alone = Model(model.species, dict.fromkeys(model.species, 0.0), [exact])
    # far too close, triplets are ten times as many and their sums are useless
    probes = probe_structures(term, closest=_TRIPLET_CLOSEST)
    for spacing in _SPACINGS:
        if np.prod(grid_shape(term, spacing), dtype=float) > _LARGEST_GRID:
            break
        trial = tabulated(exact, spacing)
        _, force_error = largest_differences(alone, replace(alone, terms=[trial]), probes)
        if force_error <= _TRIPLET_SHARE * tolerance:
            trial.grid.report |= {"force_error": force_error, "tolerance": tolerance}
            return trial
    return exact


def _reduced_and_measured(model, term, tolerance, precision):
    """Tightens the estimates until the probes agree; gives up the reduction if they do not."""
    exact = replace(term, reduced=None)
    if len(exact.sparse_points) == 0 or (term.channels is not None and term.channels.average is not None):
        return exact
    alone = Model(model.species, dict.fromkeys(model.species, 0.0), [exact])
    probes = probe_structures(term)
    # the rotation without any cut differs by rounding only
    rotations = Rotations(exact)
    rotated = reduce_term(exact, 0.0, collapse=False, rotations=rotations)
    rounding = largest_differences(alone, replace(alone, terms=[rotated]), probes)
    for tighter in range(_TRIES):
        budget = tolerance * _SHARE * 10.0**(-0.5 * tighter)
        reduced = reduce_term(exact, budget, True, budget if precision == "mixed" else 0.0, rotations)
        if reduced.reduced is None or reduced.reduced.flops >= 0.98 * exact.flops:
            break
        energy, force = largest_differences(alone, replace(alone, terms=[reduced]), probes)
        if force <= max(_MEASURED_SHARE * tolerance, 3.0 * rounding[1]):
            reduced.reduced.report.update(tolerance=tolerance, force_error=force, energy_error=energy,
                                          force_rounding=rounding[1])
            return reduced
    return exact


def reduce_term(term: SoapTerm, budget: float, collapse: bool = True, single_budget: float = 0.0,
                rotations: Rotations | None = None) -> SoapTerm:
    """One term with its reduced form.

    Parameters
    ----------
    term : SoapTerm
    budget : float
        eV. Bound on zeta sum_s |w_s| |X_s,out| D, with D the largest |X_s,out|: the change of a local energy if an
        environment's left-out part is as large as the largest of the sparse points. 0 leaves nothing out.
    collapse : bool
        False keeps all points in their order (what rows of a design matrix need).
    single_budget : float
        eV. The same bound, times the rounding of single precision, on the features that are multiplied in it.
    rotations : Rotations, optional
        Of this term, where several budgets are tried.

    Returns
    -------
    SoapTerm
        With `reduced` set; a term without sparse points, or of a whole structure, is returned as it is.
    """
    if len(term.sparse_points) == 0 or (term.channels is not None and term.channels.average is not None):
        return replace(term, reduced=None)
    rotations = rotations or Rotations(term)
    slopes = np.abs(term.weights[0]) * term.delta**2 * term.zeta
    smallest = np.sqrt(budget / slopes.sum()) if slopes.any() else 0.0
    n_of_l, axes, rotated = rotations(smallest)
    n_out = _n_negligible(rotated, slopes, budget)
    by_size = np.argsort(np.abs(rotated).max(axis=0), kind="stable")[n_out:]
    kept = np.sort(by_size)
    points, weights, form = rotated[:, kept], np.asarray(term.weights, dtype=float), "points"
    offset = term.channels is not None and term.channels.kernel_offset != 0.0
    if collapse:
        points, weights, form = _collapse(points, weights, 0.0 if offset else term.zeta)
    n_single = 0
    if form != "matrix" and len(points) > 1:
        n_single = _n_negligible(rotated[:, by_size], slopes * _EPS_SINGLE, single_budget)
        order = np.concatenate([np.sort(by_size[n_single:]), np.sort(by_size[:n_single])])
        points, kept = points[:, np.searchsorted(kept, order)], order
    table = np.stack([np.concatenate([values[:, :, l * term.n_max:(l + 1) * term.n_max] @ axes[l][channel]
                                      for l in range(term.l_max + 1)], axis=2) for values, channel in term.groups()])
    centre = np.stack([values @ axes[0][channel] for channel, values in enumerate(term.centre_values)])
    report = {"n_features": [term.n_features, len(kept)], "n_points": [len(term.sparse_points), len(points)],
              "of": term.digest()}
    return replace(term, reduced=Reduction(form, n_of_l, table, centre, kept, points, weights, report, n_single))


def _n_negligible(points, slopes, budget):
    """How many features, the smallest first, may be out so that sum_s slopes_s |X_s,out| max_t |X_t,out| <= budget."""
    if budget <= 0.0:
        return 0
    order = np.argsort(np.abs(points).max(axis=0), kind="stable")
    out = np.sqrt(np.cumsum(points[:, order] ** 2, axis=1))  # |X_s,out| if this many features, the first, go
    bound = slopes @ out * out.max(axis=0)
    return min(int(np.searchsorted(bound, budget, side="right")), len(order) - 1)


def _collapse(points, weights, zeta):
    n_all = len(points)
    points, weights = _merge(points, weights)
    n_points, n_features = points.shape
    if zeta == 1.0:
        return weights @ points, np.ones((1, 1)), "merged_points"
    if zeta == 2.0 and 2 * n_features**2 < 4 * n_features * n_points:
        return (points.T * weights[0]) @ points, np.zeros((1, n_features)), "matrix"
    return points, weights, "points" if n_points == n_all else "merged_points"


def _merge(points, weights):
    """Equal points become one with the sum of the weights; points without weight go."""
    first, place = {}, np.empty(len(points), dtype=int)
    for index, row in enumerate(np.ascontiguousarray(points)):
        place[index] = first.setdefault(row.tobytes(), len(first))
    sums = np.zeros((len(weights), len(first)))
    np.add.at(sums, (slice(None), place), weights)
    unique = np.unique(place, return_index=True)[1]
    used = np.abs(sums).max(axis=0) > 0.0
    used[0] |= not used.any()  # a model whose weights are all zero keeps one point
    return points[unique][used], sums[:, used]
