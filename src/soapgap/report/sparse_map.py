"""A map of the environments of a SOAP kernel with its sparse points: where the data are, and where the model knows them.

The coordinates are the first two principal components of the kernel matrix of the environments (kernel PCA: B. Scholkopf,
A. Smola and K.-R. Muller, Neural Comput. 10, 1299 (1998)). With the centred kernel matrix of n environments
K' = (1 - 1/n) K (1 - 1/n) = sum_p lambda_p u_p u_p^T, environment i lies at sqrt(lambda_p) u_ip, and any other one, with the
row k of its kernels, at k' u_p / sqrt(lambda_p).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.kinds.kernel import Kernel
from soapgap.kinds.soap.kernel import SoapKernel
from soapgap.kinds.soap.select import N_KEYS, Environments, environments
from soapgap.kinds.sparse.select_cholesky import polynomial
from soapgap.model import Model, SoapTerm
from soapgap.say import Reporter

#: Environments on the map beside the sparse points themselves, unless told otherwise.
MOST = 2000
#: How far the projections of one environment may be apart when it is looked for among sparse points.
SAME = 1e-9


@dataclass(frozen=True)
class SparseMap:
    """Environments of one centre species and the sparse points among them.

    Attributes
    ----------
    name : str
        Of the kernel.
    coordinates : ndarray, shape (n, 2)
        Of the environments.
    points : ndarray, shape (n_sparse, 2)
        Of the sparse points.
    structures, atoms : ndarray, shape (n,)
        Where the environments are in the data.
    config_types : ndarray, shape (n,)
        Of their structures.
    selected : ndarray, shape (n,)
        The environment is a sparse point.
    total : int
        Number of environments of which these were drawn.
    variance : ndarray, shape (2,)
        Fraction of the variance (of the trace of K') along each axis.
    """

    name: str
    coordinates: np.ndarray
    points: np.ndarray
    structures: np.ndarray
    atoms: np.ndarray
    config_types: np.ndarray
    selected: np.ndarray
    total: int
    variance: np.ndarray


def sparse_map(kernels: Sequence[Kernel], structures: Sequence[Structure], species: list[str], cutoff: float, *,
               most: int = MOST, seed: int = 0, threads: int = 1, say: Reporter | None = None) -> list[SparseMap]:
    """Maps of the SOAP kernels.

    Parameters
    ----------
    kernels : sequence of Kernel
        Of a fit, or of a model; kernels other than SOAP are skipped.
    structures : sequence of Structure
        The training data, or others.
    species : list of str
        Chemical symbols of the model.
    cutoff : float
        The largest of the model (Angstrom).
    most : int
        Environments on a map, drawn at random if there are more; those that are sparse points are added.
    seed : int
        Of the draw.
    say : Reporter, optional
        For progress.

    Returns
    -------
    list of SparseMap
    """
    every = Every(structures, species, cutoff, threads, say or Reporter(quiet=True))
    found = ((kernel, environments_of(kernel, every)) for kernel in kernels)
    return [_map(kernel, them, most, seed) for kernel, them in found if them is not None and len(them)]


class Every(NamedTuple):
    """Where environments are looked for; see `sparse_map`."""

    structures: Sequence[Structure]
    species: list[str]
    cutoff: float
    threads: int
    say: Reporter


@singledispatch
def environments_of(kernel: Kernel, every: Every) -> Environments | None:
    """The environments of a kernel in some structures; None if its kind has no map."""
    return None


@environments_of.register
def _(kernel: SoapKernel, every: Every) -> Environments:
    term = kernel.term
    first = Model(every.species, dict.fromkeys(every.species, 0.0), [term], {}).evaluator(1)
    evaluators = [first, *(first.clone() for _ in range(every.threads - 1))]
    return environments(evaluators, 0, term.centre, term.n_features, every.structures, np.arange(len(every.structures)),
                        every.cutoff, every.species, every.say)


def _map(kernel: SoapKernel, them: Environments, most: int, seed: int) -> SparseMap:
    drawn = np.arange(len(them))
    if most < len(them):
        drawn = np.sort(np.random.default_rng([seed, kernel.index]).choice(len(them), most, replace=False))
    chosen = _chosen(kernel, them)
    shown = np.union1d(drawn, chosen)
    features = them.take(shown)
    project, variance = _principal_components(kernel.term, features[np.searchsorted(shown, drawn)])
    places = them.places[shown]
    types = np.array([them.structures[number].config_type for number in places[:, 0]])
    return SparseMap(kernel.name, project(features), project(kernel.sparse_points), places[:, 0], places[:, 1], types,
                     np.isin(shown, chosen), len(them), variance)


def _chosen(kernel: SoapKernel, them: Environments) -> np.ndarray:
    """Numbers of the environments that are sparse points: by their origins or, if these are not known, by their features."""
    known = kernel.origins[:, 0] >= 0
    if known.any():
        numbers = {(int(s), int(a)): k for k, (s, a) in enumerate(them.places)}
        return np.unique([numbers[int(s), int(a)] for s, a in kernel.origins[known] if (int(s), int(a)) in numbers]).astype(int)
    directions = np.random.default_rng(1).standard_normal((them.n_features, N_KEYS))
    directions /= np.linalg.norm(directions, axis=0)
    wanted = kernel.sparse_points @ directions
    wanted = wanted[np.argsort(wanted[:, 0])]
    found, start = [np.empty(0, int)], 0
    for rows in them.blocks():
        keys = rows @ directions
        low, high = np.searchsorted(wanted[:, 0], [keys[:, 0] - SAME, keys[:, 0] + SAME])
        here = [i for i in np.flatnonzero(high > low)
                if (np.abs(wanted[low[i]:high[i]] - keys[i]).max(axis=1) < SAME).any()]
        found.append(start + np.array(here, int))
        start += len(rows)
    return np.concatenate(found)


def _principal_components(term: SoapTerm, features: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """The projection of features on the first two kernel principal components, and their fractions of the variance."""
    between = polynomial(term.zeta).between
    kernel = between(features, features)
    means, mean = kernel.mean(axis=0), kernel.mean()
    kernel += mean - means - means[:, None]
    trace, n = np.trace(kernel), len(kernel)
    count = min(2, n)
    values, vectors = eigh(kernel, subset_by_index=(n - count, n - 1), overwrite_a=True)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(count)])
    used = values > 1e-12 * max(trace, 1.0)
    scaled = np.where(used, vectors / np.sqrt(np.where(used, values, 1.0)), 0.0)
    fractions = np.zeros(2)
    fractions[:count] = np.where(used, values / max(trace, 1e-300), 0.0)

    def project(rows: np.ndarray) -> np.ndarray:
        out = np.zeros((len(rows), 2))
        for begin in range(0, len(rows), 4096):
            k = between(rows[begin:begin + 4096], features)
            k += mean - means - k.mean(axis=1, keepdims=True)
            out[begin:begin + 4096, :count] = k @ scaled
        return out

    return project, fractions


def draw_sparse_map(maps: SparseMap | Sequence[SparseMap]):
    """The map as a matplotlib figure, one panel per kernel: environments by config type, sparse points as circles.

    Raises
    ------
    ImportError
        matplotlib is not installed (`pip install soapgap[plot]`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    maps = [maps] if isinstance(maps, SparseMap) else list(maps)
    figure = Figure(figsize=(5.6 * len(maps), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(np.atleast_1d(figure.subplots(1, len(maps))), maps, strict=True):
        for number, kind in enumerate(sorted(set(one.config_types.tolist()))):
            mine = one.coordinates[one.config_types == kind]
            axes.plot(mine[:, 0], mine[:, 1], ".", ms=3, color=f"C{number % 10}", alpha=0.6, label=kind, rasterized=True)
        axes.plot(one.points[:, 0], one.points[:, 1], "o", ms=5, mfc="none", mec="black", mew=0.6,
                  label=f"{len(one.points)} sparse points")
        shown = f"{len(one.coordinates)} of {one.total} environments"
        axes.set(title=f"{one.name}: {shown}", xlabel=f"kernel principal component 1 ({100 * one.variance[0]:.0f} %)",
                 ylabel=f"kernel principal component 2 ({100 * one.variance[1]:.0f} %)")
        axes.legend(fontsize=7, markerscale=1.5)
    return figure


def write_chemiscope(path: Path, one: SparseMap, structures: Sequence[Structure]) -> None:
    """The map as a data set of chemiscope.org: environments, with energy, config type and whether they are sparse points.

    Parameters
    ----------
    structures : sequence of Structure
        Those of the map.

    Raises
    ------
    InputError
        chemiscope is not installed, or the file cannot be written.
    """
    try:
        import chemiscope
    except ImportError:
        raise InputError("maps for chemiscope.org need chemiscope, which is not installed: pip install chemiscope, or choose a "
                         "picture, --output map.png") from None
    numbers, inverse = np.unique(one.structures, return_inverse=True)
    shown = [structures[number] for number in numbers]
    axes = [f"kernel principal component {k}" for k in (1, 2)]
    properties = {axes[k]: {"target": "atom", "values": one.coordinates[:, k]} for k in (0, 1)}
    properties["selected"] = {"target": "atom", "values": np.where(one.selected, "sparse point", "not chosen").tolist()}
    properties["config_type"] = {"target": "atom", "values": one.config_types.tolist()}
    if all(s.total_energy is not None for s in shown):
        energies = np.array([s.total_energy / len(s.atoms) for s in shown])
        properties["energy per atom"] = {"target": "atom", "values": energies[inverse], "units": "eV"}
    colour = "energy per atom" if "energy per atom" in properties else axes[0]
    settings = chemiscope.quick_settings(x=axes[0], y=axes[1], map_color=colour, symbol="selected", target="atom",
                                         periodic=any(s.atoms.pbc.any() for s in shown))
    centres = [(int(k), int(atom), 3.5) for k, atom in zip(inverse, one.atoms, strict=True)]
    data = chemiscope.create_input(structures=[s.atoms for s in shown], properties=properties, environments=centres,
                                   settings=settings, metadata={"name": one.name})
    write_atomically(path, json.dumps(data, default=lambda array: array.tolist()))
