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

What is left out is set by a tolerance (eV/Angstrom); what it did to forces is then measured on probe structures.
"""

from dataclasses import replace

import numpy as np

from soapgap.model import Reduction, SoapTerm
from soapgap.reduction.kinds import alone, described, reduced
from soapgap.reduction.probes import largest_differences, probe_structures
from soapgap.reduction.rotation import Rotations

__all__ = ["reduce_term"]

#: Shares of the tolerance: what the estimate may use up at first, and what forces on the probes may change by. Neither sparse
#: points nor probes are the structures of a user, so both leave a margin.
_SHARE, _MEASURED_SHARE = 0.1, 0.3
#: Each try takes the square root of a tenth of the budget of the one before. Data of one kind (a single molecule) leave small
#: directions in which other structures reach far, and need many.
_TRIES = 24
#: Relative rounding of single precision.
_EPS_SINGLE = 2.0**-24


@described.register
def _(term: SoapTerm) -> str:
    name, form = f"soap ({term.centre})", term.reduced
    if form is None:
        return f"{name}: no reduction, {term.flops:,} operations per atom in its kernel"
    parts = [f"radial functions {term.n_max} -> {min(form.n_radial)} to {max(form.n_radial)}",
             f"features {term.n_features} -> {len(form.features)}"]
    if form.n_single:
        parts[-1] += f" ({form.n_single} of them in single precision)"
    if form.form == "matrix":
        parts.append(f"{len(term.sparse_points)} points -> one symmetric matrix (zeta = 2)")
    elif form.form == "merged_points":
        parts.append(f"points {len(term.sparse_points)} -> {len(form.points)}")
    line = (f"{name}: {', '.join(parts)}; operations of the kernel {term.flops:,} -> {form.flops:,} per atom "
            f"({form.flops / term.flops:.2f})")
    if "force_error" in form.report:
        line += (f"; forces on probe structures change by {form.report['force_error']:.1e} eV/A (wanted "
                 f"{form.report['tolerance']:.0e}; rounding {form.report['force_rounding']:.0e})")
    return line


@reduced.register
def _(term: SoapTerm, species, wanted):
    """Tightens the estimates until the probes agree; gives up the reduction if they do not."""
    exact = term.exact()
    if len(exact.sparse_points) == 0 or term.whole_structure:
        return exact
    whole = alone(exact, species)
    probes = probe_structures(term)
    # the rotation without any cut differs by rounding only
    rotations = Rotations(exact)
    rotated = reduce_term(exact, 0.0, collapse=False, rotations=rotations)
    rounding = largest_differences(whole, replace(whole, terms=[rotated]), probes)
    for tighter in range(_TRIES):
        budget = wanted.force * _SHARE * 10.0**(-0.5 * tighter)
        trial = reduce_term(exact, budget, True, budget if wanted.precision == "mixed" else 0.0, rotations)
        if trial.reduced is None or trial.reduced.flops >= 0.98 * exact.flops:
            break
        energy, force = largest_differences(whole, replace(whole, terms=[trial]), probes)
        if force <= max(_MEASURED_SHARE * wanted.force, 3.0 * rounding[1]):
            trial.reduced.report.update(tolerance=wanted.force, force_error=force, energy_error=energy,
                                          force_rounding=rounding[1])
            return trial
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
    if len(term.sparse_points) == 0 or term.whole_structure:
        return term.exact()
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
