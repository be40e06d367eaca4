"""From `distance_2b` terms to kernels, one per pair of species in the data (as gap_fit's add_species has it)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from soapgap.config.distance_2b import Distance2bConfig
from soapgap.errors import InputError
from soapgap.kinds.distance_2b.kernel import PairKernel, sparse_grid
from soapgap.kinds.few_body import survey, with_choices, with_own_thetas
from soapgap.kinds.kernel import Context, Planned, plan

POOL_PAIRS = 2**21


@plan.register
def plan_pairs(config: Distance2bConfig, number: int, context: Context) -> list[Planned]:
    """The kernels of one term, of all pairs of species that come within its cutoff; see `soapgap.kinds.kernel.plan`."""
    found = [pair for pair, distance in context.shortest.items() if distance < config.cutoff]
    if not found:
        raise InputError(f"terms[{number}]: no two atoms of the training data are within cutoff = {config.cutoff:g} A")
    skipped = len(context.species) * (len(context.species) + 1) // 2 - len(found)
    if skipped:
        context.say.line(f"terms[{number}]: {skipped} pairs of species never come within the cutoff and get no pair potential")
    kernels = [PairKernel(pair, config.cutoff, config.cutoff_transition_width, config.theta or 1.0, config.delta, np.empty(0),
                          config.cutoff_function) for pair in found]
    planned = [Planned(kernel, (number, place), config.sparse_method) for place, kernel in enumerate(kernels)]
    counts = ranges = None
    if config.theta_fac is not None or config.sparse_method not in ("grid", "file"):
        counts, ranges = survey(kernels, context)
    if config.theta_fac is not None:
        planned = [with_own_thetas(item, config.theta_fac, size, context) for item, size in zip(planned, ranges, strict=True)]
    if config.sparse_method == "grid":
        return [replace(item, given=sparse_grid(context.shortest[item.kernel.symbols], config.cutoff, config.n_sparse))
                for item in planned]
    valid = None if counts is None else counts.sum(axis=1)
    return with_choices(config, planned, counts, valid, POOL_PAIRS, context)
