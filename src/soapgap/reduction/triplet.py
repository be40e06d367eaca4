r"""The sum over the kernels of a triplet term as a three-dimensional spline.

u(x) = sum_s weights_s k(x, X_s) is smooth everywhere (the cutoff functions are multiplied later, by formula), so tensor
products of quintic B-splines on an even grid of x follow it with an error that falls with the sixth power of the spacing, its
derivatives with the fifth; value and derivatives belong to one function with four continuous derivatives. The cost no longer
depends on the number of sparse points.
"""

import math
from dataclasses import replace

import numpy as np
from scipy.ndimage import spline_filter1d

from soapgap.model import TripletGrid, TripletTerm
from soapgap.reduction.kinds import alone, described, reduced
from soapgap.reduction.probes import largest_differences, probe_structures

__all__ = ["grid_shape", "sum_of_kernels", "tabulated"]

#: Grid points beyond each end: the influence of the spline's end condition falls by 0.43 from point to point.
_MARGIN = 24
_CHUNK = 4_000_000  # numbers in one block of kernels
#: Spacings that are tried (in units of theta), the most numbers that a spline may have, the smallest distance of the probes, in
#: units of the sum of covalent radii, and the share of the tolerance that forces on the probes may change by (which are not the
#: structures of a user).
_SPACINGS, _LARGEST_GRID = (0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.125, 0.1, 0.08, 0.06, 0.045, 0.035), 8_000_000
_CLOSEST, _SHARE = 0.8, 0.1


@reduced.register
def _(term: TripletTerm, species, wanted):
    """The coarsest spline that keeps the forces on the probes; none if even the finest does not."""
    exact = term.exact()
    if len(exact.sparse_points) == 0 or term.kernel == "pp":  # a kink at every sparse point: no spacing is fine enough
        return exact
    whole = alone(exact, species)
    # far too close, triplets are ten times as many and their sums are useless
    probes = probe_structures(term, closest=_CLOSEST)
    for spacing in _SPACINGS:
        if np.prod(grid_shape(term, spacing), dtype=float) > _LARGEST_GRID:
            break
        trial = tabulated(exact, spacing)
        _, force_error = largest_differences(whole, replace(whole, terms=[trial]), probes)
        if force_error <= _SHARE * wanted.triplet_force:
            trial.grid.report |= {"force_error": force_error, "tolerance": wanted.triplet_force}
            return trial
    return exact


@described.register
def _(term: TripletTerm) -> str:
    name = f"triplet ({term.centre} with {' '.join(term.neighbours)})"
    if term.grid is None:
        return f"{name}: no spline, {len(term.sparse_points) * len(term.permutations):,} kernels for each triplet of atoms"
    line = f"{name}: {len(term.sparse_points)} points -> a spline of {' x '.join(map(str, term.grid.n_intervals))} cells"
    report = term.grid.report
    if "force_error" in report:
        line += f"; forces on probe structures change by {report['force_error']:.1e} eV/A (wanted {report['tolerance']:.0e})"
    return line


def grid_lengths(term: TripletTerm) -> tuple[float, float, float]:
    """Where the three components of x end (they start at 0), for distances below the cutoff."""
    rc = term.cutoff
    return (2.0 * rc, rc**2, 2.0 * rc) if term.geometry == "angle" else (rc, rc, 2.0 * rc)


def grid_shape(term: TripletTerm, spacing: float) -> list[int]:
    """Intervals of each axis for a spacing in units of theta (of x itself for dot_product)."""
    theta = np.ones(3) if term.kernel == "dot_product" else np.asarray(term.theta)
    return [max(1, math.ceil(length / (spacing * t))) for length, t in zip(grid_lengths(term), theta)]


def tabulated(term: TripletTerm, spacing: float) -> TripletTerm:
    """The term with a grid of about this spacing.

    Parameters
    ----------
    term : TripletTerm
    spacing : float
        In units of theta.

    Returns
    -------
    TripletTerm
        A copy; only `grid` is new, with a report that has the hash of the term.
    """
    n = grid_shape(term, spacing)
    axes = [length / k * np.arange(-_MARGIN, k + _MARGIN + 1) for length, k in zip(grid_lengths(term), n)]
    values = sum_of_kernels(term, *axes)
    for axis in range(3):
        values = spline_filter1d(values, order=5, axis=axis, mode="mirror")
    inner = tuple(slice(_MARGIN - 2, _MARGIN + k + 3) for k in n)
    return replace(term, grid=TripletGrid(n, np.ascontiguousarray(values[inner]), {"of": term.digest()}))


def sum_of_kernels(term: TripletTerm, x_1, x_2, x_3) -> np.ndarray:
    """u on the grid of three lists of the components of x; see `TripletTerm` for the formula.

    The kernels' formulas hold for any numbers, also such that no three atoms have.

    Returns
    -------
    ndarray, shape (len(x_1), len(x_2), len(x_3))
        eV.
    """
    points = np.asarray(term.sparse_points, dtype=np.float64).reshape(-1, 3)
    weights = np.asarray(term.weights, dtype=np.float64)[0]
    axes = [np.asarray(x, dtype=np.float64) for x in (x_1, x_2, x_3)]
    out = np.empty([len(x) for x in axes])
    if term.kernel != "dot_product":
        weights = weights * term.delta**2 / np.sqrt(_self_similarity(term, points))
    sums = _gaussians if term.kernel == "ard_se" else _one_by_one
    step = max(1, _CHUNK // max(1, len(axes[1]) * max(len(points), len(axes[2]))))
    for first in range(0, len(out), step):
        rows = slice(first, first + step)
        out[rows] = sums(term, points, weights, axes[0][rows], axes[1], axes[2])
    return out


def _mesh(*axes):
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _gaussians(term, points, weights, *axes):
    """Squared-exponential kernels: products of factors of one variable, so the sum over points is a matrix product."""
    total = np.zeros([len(x) for x in axes])
    for order in np.atleast_2d(term.permutations):
        place = np.argsort(order)  # x_m stands where the point has its component place[m]
        factors = [np.exp(-0.5 * ((x[:, None] - points[:, k]) / term.theta[k]) ** 2) for x, k in zip(axes, place)]
        pair = (factors[0][:, None] * factors[1][None]).reshape(-1, len(points))
        total += ((pair * weights) @ factors[2].T).reshape(total.shape)
    if len(term.permutations) > 1:
        total /= np.sqrt(_self_similarity(term, _mesh(*axes)))
    return total + term.f0**2 * np.asarray(term.weights).sum()


def _one_by_one(term, points, weights, *axes):
    x = _mesh(*axes)
    total = np.zeros(x.shape[:-1])
    if term.kernel == "dot_product":
        for point, weight in zip(points, weights):
            k = x @ point
            if term.zeta != int(term.zeta):
                k = np.maximum(k, 0.0)  # beyond the grid's ends only, where x has negative components
            total += weight * term.delta**2 * k**term.zeta
        return total
    for order in np.atleast_2d(term.permutations):
        for point, weight in zip(points, weights):
            total += weight * _kappa(term, (((x[..., order] - point) / term.theta) ** 2).sum(axis=-1))
    if len(term.permutations) > 1:
        total /= np.sqrt(_self_similarity(term, x))
    return total + term.f0**2 * np.asarray(term.weights).sum()


def _self_similarity(term, x):
    """s(x, x), over the last axis; 1 without permutations."""
    if len(term.permutations) == 1:
        return np.ones(x.shape[:-1])
    return sum(_kappa(term, (((x[..., order] - x) / term.theta) ** 2).sum(axis=-1)) for order in term.permutations)


def _kappa(term, q):
    if term.kernel == "ard_se":
        return np.exp(-0.5 * q)
    rho = np.minimum(np.sqrt(q), 1.0)
    return (1.0 - rho) ** 4 * (4.0 * rho + 1.0)
