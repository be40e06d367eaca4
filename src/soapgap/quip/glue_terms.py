"""QUIP's Glue potentials (embedded atoms and pair tables) as our terms, and back."""

from dataclasses import asdict

import numpy as np
from ase.data import chemical_symbols

from soapgap.model import EmbeddingTerm, PairTerm, RadialTable
from soapgap.quip.glue import GlueParams, GlueTable, GlueType, density, embedding, pair

__all__ = ["glue_params", "glue_terms"]


def glue_terms(part: GlueParams) -> list:
    """Embedding and pair terms of a Glue potential: E = sum_i U(sum_j n(r_ij)) + 1/2 sum_ij V(r_ij).

    The functions are cubic splines, which our tables hold exactly.

    Returns
    -------
    list of EmbeddingTerm and PairTerm
    """
    densities = {chemical_symbols[t.atomic_number]: _table(density(t), 0.0) for t in part.types}
    cutoff = max(table.cutoff for table in densities.values())
    terms = [EmbeddingTerm(chemical_symbols[t.atomic_number], densities, _table(embedding(t), None), cutoff,
                           {"kind": "glue", "label": part.label, "type": asdict(t)}) for t in part.types]
    for (a, b), knots in part.pairs.items():
        table = _table(pair(knots), 0.0, factor=0.5)
        terms.append(PairTerm((chemical_symbols[a], chemical_symbols[b]), table.cutoff, table,
                              {"kind": "glue", "label": part.label, "table": asdict(knots)}))
    return terms


def _table(curve, start, factor=1.0) -> RadialTable:
    """Knots at the break points: a cubic polynomial is its own quintic Hermite piece."""
    ends = [float(x) for x in curve.breaks]
    if start is not None and start < ends[0]:
        ends = [start, *ends]
    if len(ends) == 1:  # a function without any break within its range
        ends = [ends[0] - 1.0, *ends]
    rows = [curve.piece(np.array([lo, hi]), lo, hi).T for lo, hi in zip(ends, ends[1:])]
    segments = [(lo, hi, 1) for lo, hi in zip(ends, ends[1:])]
    return RadialTable(segments, factor * np.concatenate(rows)[:, :, None])


def glue_params(terms: list) -> GlueParams:
    """The Glue potential that terms with the origin "glue" came from."""
    types = tuple(GlueType(**t.origin["type"] | {name: GlueTable(**_tuples(t.origin["type"][name]))
                                                 for name in ("density", "embedding")})
                  for t in terms if "type" in t.origin)
    pairs = {}
    for term in terms:
        if "table" in term.origin:
            key = tuple(sorted(chemical_symbols.index(s) for s in term.species))
            pairs[key] = GlueTable(**_tuples(term.origin["table"]))
    return GlueParams(terms[0].origin["label"], types, pairs)


def _tuples(table):
    return {name: tuple(values) for name, values in table.items()}
