"""From `soap` terms to kernels, one per centre species."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from soapgap.config.soap import SoapConfig
from soapgap.errors import InputError
from soapgap.kinds.kernel import Context, Planned, Quota, plan
from soapgap.kinds.soap.choose import of_type
from soapgap.kinds.soap.files import soap_points
from soapgap.kinds.soap.kernel import SoapKernel
from soapgap.kinds.soap.select import n_kept
from soapgap.kinds.sparse.files import files_of, read_indices
from soapgap.kinds.sparse.select_few import config_types
from soapgap.model import SoapTerm
from soapgap.radial.bases import make_basis


@plan.register
def plan_soap(config: SoapConfig, number: int, context: Context) -> list[Planned]:
    """The kernels of one term; see `soapgap.kinds.kernel.plan`."""
    species = context.species
    empties = _empty_terms(config, species, context.config.radial_tolerance)
    planned = [Planned(SoapKernel(empty), (number, place), config.sparse_method) for place, empty in enumerate(empties)]
    files = [] if config.sparse_file is None else files_of(number, config.sparse_file, species, context.folder)
    if config.sparse_method == "file":
        points = [soap_points(file, empty) for file, empty in zip(files, empties, strict=True)]
        return [replace(item, given=given) for item, given in zip(planned, points, strict=True)]
    counts = np.array([[s.symbols.count(symbol) for symbol in species] for s in context.structures]).reshape(-1, len(species))
    if config.sparse_method == "index_file":
        return [replace(item, indices=read_indices(file, int(total), f"environments of {item.kernel.term.centre}"))
                for item, file, total in zip(planned, files, counts.sum(axis=0), strict=True)]
    masks = config_types(number, config, context)
    wanted = {kind: _n_sparse(number, config, kind, species) for kind in masks}
    return [replace(item, quotas=_quotas(item, masks, wanted, counts[:, place], context)) for place, item in enumerate(planned)]


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


def _quotas(item: Planned, masks: dict, wanted: dict, counts: np.ndarray, context: Context) -> tuple[Quota, ...]:
    """Numbers of points and of environments in memory; a warning if there are fewer environments than points."""
    term, quotas = item.kernel.term, []
    for place, (kind, mask) in enumerate(masks.items()):
        mine = np.where(mask, counts, 0)
        total = int(mine.sum())
        n_sparse = wanted[kind].get(term.centre, total)
        if total < n_sparse:
            context.say.warning(f"terms[{item.position[0]}]: only {total} environments of {term.centre}{of_type(kind)}: "
                                f"n_sparse reduced from {n_sparse}")
        n_sparse = min(n_sparse, total)
        kept = n_kept(total, term.n_features, n_sparse, item.method, context.pool_bytes)
        quotas.append(Quota(kind, mine, n_sparse, kept, () if kind is None else (2 + place,)))
    return tuple(quotas)
