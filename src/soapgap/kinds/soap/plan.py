"""From `soap` terms to kernels with their sparse points, one per centre species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soapgap.config import FitConfig
from soapgap.config.terms import SoapConfig
from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.kinds.kernel import SoapKernel
from soapgap.kinds.soap.select import Choice, Environments, choose, environments, n_kept
from soapgap.kinds.sparse.files import files_of, read_indices, soap_points
from soapgap.kinds.sparse.select import unique_rows
from soapgap.kinds.sparse.select_few import NO_ORIGIN, config_types
from soapgap.model import Model, SoapTerm
from soapgap.radial.bases import make_basis
from soapgap.say import Reporter


@dataclass(frozen=True)
class Share:
    """The sparse points that some of the structures are to give.

    Attributes
    ----------
    config_type : of the structures; None: all
    numbers : indices of the structures
    total : number of environments in them
    n_sparse : number of points, not more than `total`
    seeds : what tells this choice from others
    """

    config_type: str | None
    numbers: np.ndarray
    total: int
    n_sparse: int
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlannedSoap:
    """A SOAP kernel to be.

    Attributes
    ----------
    empty : the term without sparse points
    n_sparse : number of sparse points (an upper bound: duplicates are removed later)
    pool : how many environments there are, and how many environments' features fit in the memory for them
    position : term and kernel, for the draw
    shares : how many points to take from which structures
    given : (n, d) features from a file
    indices : numbers of the environments that an index file names
    pool_bytes : memory for features, or for what stands for them
    """

    config: SoapConfig
    empty: SoapTerm
    n_sparse: int
    pool: tuple[int, int]
    position: tuple[int, int]
    shares: tuple[Share, ...] = ()
    given: np.ndarray | None = None
    indices: np.ndarray | None = None
    pool_bytes: int = 0

    def kernel(self, points: np.ndarray, index: int, origins: np.ndarray | None = None) -> SoapKernel:
        """The kernel with these sparse points, as SOAP term number `index` of the rows' evaluator."""
        term = replace(self.empty, sparse_points=points, weights=np.zeros((1, len(points))))
        return SoapKernel(term, index, origins)


def plan_soaps(number: int, term: SoapConfig, species: list[str], structures: Sequence[Structure], pool_bytes: int,
               folder: Path, radial_tolerance: float, say: Reporter) -> list[PlannedSoap]:
    """The kernels of one term.

    Parameters
    ----------
    radial_tolerance : of the tables of radial functions, relative to their largest value

    Raises
    ------
    InputError
        Numbers or files that do not fit the species or the config types of the data.
    """
    empties = _empty_terms(term, species, radial_tolerance)
    planned = [PlannedSoap(term, empty, 0, (0, 0), (number, place), pool_bytes=pool_bytes)
               for place, empty in enumerate(empties)]
    files = [] if term.sparse_file is None else files_of(number, term.sparse_file, species, folder)
    if term.sparse_method == "file":
        points = [soap_points(file, empty) for file, empty in zip(files, empties, strict=True)]
        return [replace(item, given=given, n_sparse=len(given)) for item, given in zip(planned, points, strict=True)]
    counts = np.array([[s.symbols.count(symbol) for symbol in species] for s in structures]).reshape(-1, len(species))
    if term.sparse_method == "index_file":
        return [_with_indices(item, file, int(total)) for item, file, total in
                zip(planned, files, counts.sum(axis=0), strict=True)]
    masks = config_types(number, term, structures, say)
    wanted = {kind: _n_sparse(number, term, kind, species) for kind in masks}
    return [_with_shares(item, masks, wanted, counts[:, place], say) for place, item in enumerate(planned)]


def _empty_terms(term: SoapConfig, species: list[str], radial_tolerance: float) -> list[SoapTerm]:
    basis = make_basis(term.radial_basis, n_max=term.n_max, l_max=term.l_max, cutoff=term.cutoff,
                       atom_sigma=term.atom_sigma, cutoff_transition_width=term.cutoff_transition_width,
                       central_weight=term.central_weight, cutoff_function=term.cutoff_function,
                       radial_scaling=term.radial_scaling)
    table = basis.table(radial_tolerance)
    empties = []
    for index, centre in enumerate(species):
        own = np.zeros((len(species), term.n_max))
        own[index] = basis.centre
        empty = SoapTerm(centre, list(species), term.n_max, term.l_max, term.cutoff, term.zeta, term.delta, table, own,
                         np.empty((0, 0)), np.empty((1, 0)), basis=basis.parameters)
        empty.sparse_points = np.empty((0, empty.n_features))
        empties.append(empty)
    return empties


def _n_sparse(number: int, term: SoapConfig, kind: str | None, species: list[str]) -> dict[str, int]:
    """The number of sparse points of each centre species."""
    if term.sparse_method == "all":
        return {}
    given = term.n_sparse if kind is None else term.config_type_n_sparse[kind]
    if isinstance(given, int):
        return dict.fromkeys(species, given)
    if sorted(given) != sorted(species):
        key = "n_sparse" if kind is None else f"config_type_n_sparse.{kind}"
        raise InputError(f"terms[{number}].{key} names {', '.join(sorted(given))}; expected one number for each species of the "
                         f"training data: {', '.join(sorted(species))}")
    return dict(given)


def _with_indices(item: PlannedSoap, file: Path, total: int) -> PlannedSoap:
    indices = read_indices(file, total, f"environments of {item.empty.centre}")
    return replace(item, indices=indices, n_sparse=len(indices), pool=(total, len(indices)))


def _with_shares(item: PlannedSoap, masks: dict, wanted: dict, counts: np.ndarray, say: Reporter) -> PlannedSoap:
    """Numbers and memory; a warning if there are fewer environments than points."""
    centre, method = item.empty.centre, item.config.sparse_method
    shares = []
    for place, (kind, mask) in enumerate(masks.items()):
        total = int(counts[mask].sum())
        n_sparse = wanted[kind].get(centre, total)
        if total < n_sparse:
            say.warning(f"terms[{item.position[0]}]: only {total} environments of {centre}{_of_type(kind)}: n_sparse reduced "
                        f"from {n_sparse}")
        seeds = () if kind is None else (2 + place,)
        shares.append(Share(kind, np.flatnonzero(mask & (counts > 0)), total, min(n_sparse, total), seeds))
    kept = [n_kept(share.total, item.empty.n_features, share.n_sparse, method, item.pool_bytes) for share in shares]
    return replace(item, shares=tuple(shares), n_sparse=sum(share.n_sparse for share in shares),
                   pool=(sum(share.total for share in shares), max(kept)))


def _of_type(kind: str | None) -> str:
    return "" if kind is None else f" in config_type {kind}"


def soap_evaluators(items: Sequence[PlannedSoap], species: list[str], threads: int) -> list:
    """Evaluators of the terms without points, one per thread, to make features with."""
    if all(item.given is not None for item in items):
        return []
    first = Model(species, dict.fromkeys(species, 0.0), [item.empty for item in items], {}).evaluator(1)
    return [first, *(first.clone() for _ in range(threads - 1))]


def choose_soap(item: PlannedSoap, index: int, config: FitConfig, species: list[str], structures: Sequence[Structure],
                evaluators: Sequence, say: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """Sparse points of a kernel, (n, d), and their origins, (n, 2).

    Parameters
    ----------
    index : which SOAP term of the evaluators it is
    """
    if item.given is not None:
        return item.given, np.full((len(item.given), 2), NO_ORIGIN)

    def them(numbers: np.ndarray) -> Environments:
        return environments(evaluators, index, item.empty.centre, item.empty.n_features, structures, numbers, config.cutoff,
                            species, say)

    where = f"terms[{item.position[0]}]"
    if item.indices is not None:
        every = them(np.arange(len(structures)))
        return _different(every.take(item.indices), every.places[item.indices], where, item.empty.centre, say)
    found = []
    for share in item.shares:
        if share.n_sparse:
            what = Choice(share.n_sparse, item.config.sparse_method, item.config.zeta,
                          [config.seed, *item.position, *share.seeds], item.pool_bytes, where,
                          f"environments of {item.empty.centre}{_of_type(share.config_type)}")
            found.append(choose(them(share.numbers), what, say))
    if len(found) == 1:
        return found[0]
    points, origins = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((origins[:, 1], origins[:, 0]))
    return _different(points[order], origins[order], where, item.empty.centre, say)


def _different(points: np.ndarray, origins: np.ndarray, where: str, centre: str, say: Reporter) -> tuple:
    """Without copies."""
    unique = unique_rows(points)
    if len(unique) < len(points):
        say.line(f"{where}: {len(points) - len(unique)} sparse points of {centre} are copies of others and left out")
    return points[unique], origins[unique]
