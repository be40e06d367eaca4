"""From `angle_3b` and `distance_3b` terms to kernels, one per choice of species in the data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np
from ase.data import atomic_numbers

from soapgap.config.three_body import ThreeBodyConfig
from soapgap.data.environments import neighbours_of
from soapgap.errors import InputError
from soapgap.kinds.few_body import survey, with_choices, with_own_thetas
from soapgap.kinds.kernel import Context, Planned, plan
from soapgap.kinds.three_body.kernel import TripletKernel
from soapgap.kinds.three_body.triplets import TripletKind, count_triplets

POOL_TRIPLETS = 2**18


@plan.register
def plan_triplets(config: ThreeBodyConfig, number: int, context: Context) -> list[Planned]:
    """The kernels of one term, of the species that it names or of all that come within its cutoff; see
    `soapgap.kinds.kernel.plan`. Equal atoms must have equal length scales.
    """
    species, cutoff = context.species, config.cutoff
    triples = list(_triples(number, config, species))
    all_counts = np.array([count_triplets(neighbours_of(s, cutoff, species), len(species), cutoff) for s in context.structures])
    planned, counts = [], []
    for triple in triples:
        kind = TripletKind(config.kind == "angle_3b", triple, cutoff, config.cutoff_transition_width)
        _check_theta(number, config, kind)
        mine = sum(all_counts[:, species.index(v.centre), species.index(v.neighbours[0]), species.index(v.neighbours[1])]
                   for v in kind.views)
        kernel = TripletKernel(kind, np.array(config.theta or np.ones(3)), config.delta, np.empty((0, 3)), np.empty(0))
        item = Planned(kernel, (number, len(planned)), config.sparse_method)
        if item.key in context.thetas if context.thetas else mine.sum():
            planned.append(item)
            counts.append(mine)
    if not planned:
        what = f"three atoms {'-'.join(config.species)}" if config.species else "three atoms"
        raise InputError(f"terms[{number}]: no {what} of the training data are within cutoff = {cutoff:g} A of one "
                         "of them; give a larger cutoff")
    if len(planned) < len(triples):
        context.say.line(f"terms[{number}]: {len(triples) - len(planned)} triplets of species never come within the cutoff and "
                         "get no three-body potential")
    valid = ranges = None
    if config.theta_fac is not None or config.sparse_method == "index_file":
        valid, ranges = survey([item.kernel for item in planned], context)
        valid = valid.sum(axis=1)
    if config.theta_fac is not None:
        planned = [with_own_thetas(item, config.theta_fac, size, context) for item, size in zip(planned, ranges, strict=True)]
    return with_choices(config, planned, counts, valid, POOL_TRIPLETS, context)


def _triples(number: int, term: ThreeBodyConfig, species: list[str]) -> Iterator[tuple[str, str, str]]:
    """Centres and unordered neighbours for angle_3b, three unordered species by atomic number for distance_3b."""
    angle = term.kind == "angle_3b"
    if term.species is not None:
        strange = [symbol for symbol in term.species if symbol not in species]
        if strange:
            raise InputError(f"terms[{number}].species names {', '.join(strange)}; the species of the training data are "
                             f"{', '.join(species)}")
        yield term.species if angle else tuple(sorted(term.species, key=atomic_numbers.__getitem__))
    elif angle:
        yield from ((centre, *pair) for centre in species for pair in combinations_with_replacement(species, 2))
    else:
        yield from combinations_with_replacement(species, 3)


def _check_theta(number: int, term: ThreeBodyConfig, kind: TripletKind) -> None:
    key = "theta" if term.theta_fac is None else "theta_fac"
    theta = np.array(getattr(term, key))
    if (theta[kind.permutations] != theta).any():
        a, b, c = kind.species
        raise InputError(f"terms[{number}].{key} = [{', '.join(f'{t:g}' for t in theta)}] belongs to the distances {a}-{b}, "
                         f"{a}-{c}, {b}-{c}, among which equal atoms can be exchanged: expected equal numbers there; give "
                         "one number for all, or one term for each choice of species")
