"""What a fit will need: memory from the sizes, time from a short trial on this machine."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.training.config import FitConfig
from soapgap.training.dataset import Structure
from soapgap.training.design import BLOCK_ROWS, DesignMatrix, Targets
from soapgap.training.kernels import rows_evaluator
from soapgap.training.solve import StreamingQR
from soapgap.training.sparse_points import Plan, PlannedPair
from soapgap.training.triplet_kernel import BLOCK, N_BLOCKS
from soapgap.training.triplet_points import PlannedTriplet

PROBES = 3
QR_TRIAL_ROWS, QR_TRIAL_COLUMNS = 512, 600
PLOTS = 50 * 2**20  # what matplotlib takes in the end, in bytes


@dataclass(frozen=True)
class Estimate:
    """Bytes by purpose, and seconds.

    Attributes
    ----------
    triangle : 8 (M + 1)^2 for R and Q^T y
    blocks : 8 (M + 1) x (rows of the block being gathered and of its parts, 2 (1024 + r), and 2 r per thread that
        wait), r the rows of the largest structure, with all its gradients even if only a curvature needs them
    regulariser : 32 (M + 1)^2 for K_mm, its factor as rows and in LAPACK, and the saved triangle, without the blocks
    environments : twice 8 bytes x features x environments that sparse points are chosen from (for triplets, of all kernels
        of a term), before all that
    triplets : the blocks in which each thread makes the kernels of three-body terms
    sparse : 8 bytes x features x sparse points, in the model, in its file's bytes and in the evaluator of each thread
    present : what the process holds already: Python, the libraries and the data
    """

    triangle: int
    blocks: int
    regulariser: int
    environments: int
    triplets: int
    sparse: int
    present: int
    seconds: float

    @property
    def bytes(self) -> int:
        """The peak: the largest of the three phases."""
        matrices = self.triangle + max(self.blocks + self.triplets, self.regulariser)
        return self.present + PLOTS + self.sparse + max(self.environments, matrices)


def estimate(plan: Plan, config: FitConfig, species: list[str], structures: Sequence[Structure],
             targets: Sequence[Targets], threads: int) -> Estimate:
    """Memory and time of a planned fit.

    The time is that of the design matrix and its factorisation: the rows of a few structures are made with random
    sparse points (their values do not matter for the time), one block is factorised, and both are scaled up.
    """
    row = 8 * (plan.n_columns + 1)
    largest = max(max(7 + 3 * len(s.atoms), s.n_rows) + _scratch(s) for s in structures)
    waiting = 2 * threads * largest
    points = sum(8 * item.n_sparse * item.empty.n_features for item in plan.soaps)
    pools = [8 * item.pool[1] * item.empty.n_features for item in plan.soaps]
    pools += [8 * 4 * sum(item.kept for item in group) for group in plan.triplets]
    return Estimate(
        triangle=row * (plan.n_columns + 1),
        blocks=row * (2 * (BLOCK_ROWS + largest) + waiting),
        regulariser=4 * row * (plan.n_columns + 1),
        environments=2 * max(pools, default=0),
        triplets=8 * N_BLOCKS * BLOCK * threads * bool(plan.triplets),
        sparse=(4 + 2 * threads) * points,
        present=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        seconds=_trial(plan, config, species, structures, targets, threads),
    )


def _scratch(structure: Structure) -> int:
    """Rows that are made for all atoms and thrown away: of local energies, and of the gradients behind curvatures."""
    n = len(structure.atoms)
    return n * int(structure.local_energies is not None) + 3 * n * int(structure.curvatures is not None)


def _trial(plan: Plan, config: FitConfig, species: list[str], structures: Sequence[Structure],
           targets: Sequence[Targets], threads: int) -> float:
    design = DesignMatrix(_random_kernels(plan), species, config)
    evaluator = rows_evaluator(species, design.kernels)
    sizes = np.array([s.effort for s in structures])
    by_size = np.argsort(sizes, kind="stable")  # small, middling and large ones, to speak for all
    chosen = by_size[np.unique(np.linspace(0, len(sizes) - 1, PROBES + 2).astype(int)[1:])][:PROBES]
    design.rows(evaluator, structures[chosen[0]], targets[chosen[0]])  # warms caches and buffers up
    start = time.perf_counter()
    for index in chosen:
        design.rows(evaluator, structures[index], targets[index])
    row_seconds = sizes.sum() / sizes[chosen].sum() * (time.perf_counter() - start)
    rows = sum(s.n_rows for s in structures)
    qr_seconds = 2.0 * rows * (design.n_columns + 1.0) ** 2 / _qr_rate(min(design.n_columns, QR_TRIAL_COLUMNS))
    # The rows are shared among the threads; the factorisation is serial and runs beside them.
    return max(qr_seconds, (row_seconds + qr_seconds) / min(threads, os.cpu_count() or 1))


def _random_kernels(plan: Plan) -> list:
    rng = np.random.default_rng(0)
    kernels, index = [], 0
    for item in plan.items:
        if isinstance(item, PlannedPair):
            kernels.append(item.kernel)
            continue
        if isinstance(item, PlannedTriplet):
            kernels.append(item.kernel(item.random_points(rng)))
            continue
        points = rng.random((item.n_sparse, item.empty.n_features))
        points /= np.linalg.norm(points, axis=1)[:, None]
        kernels.append(item.kernel(points, index))
        index += 1
    return kernels


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


def size(n_bytes: int) -> str:
    """Bytes as 12 MB or 3.40 GB."""
    return f"{n_bytes / 2**30:.2f} GB" if n_bytes >= 2**29 else f"{n_bytes / 2**20:.0f} MB"


def available_memory() -> int | None:
    """Bytes that the machine has free, None if it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
