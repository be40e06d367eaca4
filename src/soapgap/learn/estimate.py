"""What a fit will need: memory from the sizes, time from a short trial on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.data.observables import present
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.kinds.kernel import rows_evaluator
from soapgap.learn.design import DesignMatrix
from soapgap.learn.plan import Plan
from soapgap.learn.problem import Problem
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.learn.usage import peak_bytes, size

BLOCK_ROWS = (1024, 512, 256, 128, 64)
PROBES = 3
QR_TRIAL_ROWS, QR_TRIAL_COLUMNS = 512, 600
PLOTS = 50 * 2**20  # what matplotlib takes in the end, in bytes


@dataclass(frozen=True)
class Estimate:
    """Bytes by purpose.

    Attributes
    ----------
    triangle : int
        8 (M + 1)^2 for R and Q^T y.
    blocks : int
        8 (M + 1) x (rows of the block being gathered, of its parts and of the next block, 3 (b + r), and 2 r per thread that
        wait), b the rows of a block, r those of the largest structure, with all its gradients even if only a curvature needs
        them.
    factor : int
        8 (M + 1)^2 for the factor of K_mm.
    solution : int
        16 (M + 1)^2 for the identity as rows, and half as much each for the triangle to save and its copy in the file's bytes;
        without the blocks.
    environments : int
        Twice what the kind keeps that sparse points are chosen from, before all that.
    scratch : int
        In which each thread makes the rows of a kernel.
    sparse : int
        The sparse points that are worth counting, in the model, in its file's bytes and in the evaluator of each thread.
    present : int
        What the process holds already: Python, the libraries and the data.
    """

    triangle: int
    blocks: int
    factor: int
    solution: int
    environments: int
    scratch: int
    sparse: int
    present: int

    @property
    def bytes(self) -> int:
        """The peak: the largest of the three phases."""
        matrices = self.triangle + self.factor + max(self.blocks + self.scratch, self.solution)
        return self.present + PLOTS + self.sparse + max(self.environments, matrices)


def estimate(plan: Plan, structures: Sequence[Structure], threads: int, block_rows: int) -> Estimate:
    """Memory of a planned fit; its time is not known yet (`seconds_of`)."""
    row = 8 * (plan.n_columns + 1)
    largest = max(max(7 + 3 * len(s.atoms), s.n_rows) + _scratch(s) for s in structures)
    waiting = 2 * threads * largest
    points = sum(item.n_sparse * item.kernel.point_bytes for item in plan.items)
    pools = [group[0].kernel.pool_bytes(group) for group in plan.by_term]
    return Estimate(
        triangle=row * (plan.n_columns + 1),
        blocks=row * (3 * (block_rows + largest) + waiting),
        factor=row * (plan.n_columns + 1),
        solution=2 * row * (plan.n_columns + 1),
        environments=2 * max(pools, default=0),
        scratch=threads * max(item.kernel.scratch_bytes for item in plan.items),
        sparse=(4 + 2 * threads) * points,
        present=peak_bytes(),
    )


def fit_into(memory: int | None, plan: Plan, structures: Sequence[Structure], threads: int) -> tuple[Estimate, int, int]:
    """Threads and rows of a block with which a fit stays below `memory` bytes: as many as possible.

    Returns
    -------
    needs : Estimate
    threads : int
        At most `threads`.
    block_rows : int
        At most 1024.

    Raises
    ------
    InputError
        There are none.
    """
    for fewer in range(threads, 0, -1):
        for block_rows in BLOCK_ROWS:
            needs = estimate(plan, structures, fewer, block_rows)
            if memory is None or needs.bytes <= memory:
                return needs, fewer, block_rows
    largest = max(structures, key=lambda s: len(s.atoms))
    raise InputError(f"memory = {size(memory)}, but this fit needs at least {size(needs.bytes)}: {size(needs.triangle)} for "
                     f"the triangle of {plan.n_columns} sparse points and three times as much beside it, "
                     f"{size(needs.blocks)} for rows (the largest structure has {len(largest.atoms)} atoms), "
                     f"{size(needs.environments)} for environments; give more memory, or reduce n_sparse")


def _scratch(structure: Structure) -> int:
    """Rows that are made for all atoms and thrown away: of local energies, and of the gradients behind curvatures."""
    wanted = present(structure)
    return len(structure.atoms) * (any("local" in o.needs for o in wanted) + 3 * any(o.elsewhere for o in wanted))


def seconds_of(problem: Problem, workers: int) -> float:
    """Time of the design matrix and its factorisation, from a short trial.

    The rows of a few structures are made with random sparse points (their values do not matter for the time), one block is
    factorised, and both are scaled up.

    Parameters
    ----------
    workers : int
        Threads of all ranks of this machine.
    """
    plan, structures, targets = problem.plan, problem.train.structures, problem.targets
    design = DesignMatrix(plan.trial_kernels(), problem.species, problem.config)
    evaluator = rows_evaluator(problem.species, design.kernels)
    sizes = np.array([s.effort for s in structures])
    by_size = np.argsort(sizes, kind="stable")  # small, middling and large ones, to speak for all
    chosen = by_size[np.unique(np.linspace(0, len(sizes) - 1, PROBES + 2).astype(int)[1:])][:PROBES]
    design.rows(evaluator, structures[chosen[0]], targets[chosen[0]])  # warms caches and buffers up
    start = time.perf_counter()
    for index in chosen:
        design.rows(evaluator, structures[index], targets[index])
    row_seconds = sizes.sum() / sizes[chosen].sum() * (time.perf_counter() - start)
    rows = sum(s.n_rows for s in structures)
    rate = _qr_rate(min(design.n_columns, QR_TRIAL_COLUMNS))
    row_seconds += rows * sum(float(k.n_sparse) ** 2 for k in design.kernels) / rate  # whitened
    qr_seconds = 2.0 * rows * (design.n_columns + 1.0) ** 2 / rate
    # The rows are shared among the threads; the factorisation is serial and runs beside them.
    return max(qr_seconds, (row_seconds + qr_seconds) / min(workers, os.cpu_count() or 1))


def _qr_rate(n_columns: int) -> float:
    """Operations per second of one block update; the first of two calls warms the library up."""
    rng = np.random.default_rng(0)
    rate = 0.0
    for _ in range(2):
        solver = StreamingQR(n_columns)
        block = np.asfortranarray(rng.standard_normal((QR_TRIAL_ROWS, n_columns + 1)))
        start = time.perf_counter()
        solver.update(block)
        rate = 2.0 * QR_TRIAL_ROWS * (n_columns + 1.0) ** 2 / (time.perf_counter() - start)
    return rate
