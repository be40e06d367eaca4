"""All rows of the design matrix folded into one triangle: by threads, by MPI ranks, with checkpoints.

Blocks of rows are dealt to the ranks in turn. Each rank folds its own into a triangle of its own; at a checkpoint and at the
end the triangles are folded into one along a binary tree (tree QR: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, SIAM J.
Sci. Comput. 34, A206 (2012)). The root then goes on with the sum, the others with nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from soapgap.kinds.kernel import Kernel, rows_evaluator
from soapgap.learn.design import DesignMatrix, partition
from soapgap.learn.prior import Prior
from soapgap.learn.problem import Problem
from soapgap.learn.state import pack
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.ranks import Ranks
from soapgap.say import Reporter

LEAST_SECONDS, MOST_SECONDS = 5.0, 300.0
WRITING_SHARE = 0.05


class Checkpoints:
    """When to write the state: often, but with no more than 5 % of the time spent on it.

    Parameters
    ----------
    save : callable
        Writes the state, given the solver and the number of structures that it holds.
    seconds : float or None
        Between two of them; by default 20 times what the last one took, at least 5 and at most 300.
    """

    def __init__(self, save: Callable[[StreamingQR, int], None], seconds: float | None = None) -> None:
        self._save, self._asked = save, seconds
        self._interval = LEAST_SECONDS if seconds is None else seconds
        self._last = time.perf_counter()

    @classmethod
    def none(cls) -> Checkpoints:
        """Never."""
        return cls(lambda solver, n_done: None, float("inf"))

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        return time.perf_counter() - self._last >= self._interval

    def rounds(self, seconds_per_round: float) -> int:
        """How many rounds of blocks until the next one."""
        return max(1, int(min(self._interval / max(seconds_per_round, 1e-9), 1e9)))

    def write(self, solver: StreamingQR, n_done: int) -> None:
        """Write, and learn how long that takes."""
        start = time.perf_counter()
        self._save(solver, n_done)
        self._last = time.perf_counter()
        if self._asked is None:
            self._interval = min(max((self._last - start) / WRITING_SHARE, LEAST_SECONDS), MOST_SECONDS)


def factorise(problem: Problem, kernels: Sequence[Kernel], prior: Prior, solver: StreamingQR, done: int, block_rows: int,
              threads: int, ranks: Ranks, checkpoints: Checkpoints, say: Reporter) -> None:
    """Fold the rows of all structures from number `done` on into the solver of the root.

    Parameters
    ----------
    solver : StreamingQR
        Holds the rows of the structures before `done` on the root, and nothing elsewhere.
    block_rows : int
        Rows of a block, at least.
    threads : int
        Of this rank, for rows; the factorisation runs beside them.
    """
    structures = problem.train.structures
    design = DesignMatrix(kernels, problem.species, problem.config, solver.n_rhs)
    blocks = partition(structures, block_rows, done)
    first = rows_evaluator(problem.species, kernels, problem.config.exact)
    evaluators = [first, *(first.clone() for _ in range(threads - 1))]
    mine = design.blocks(structures, problem.targets, evaluators, blocks[ranks.rank::ranks.size], prior)
    effort = [s.effort for s in structures]
    rounds = [blocks[k:k + ranks.size] for k in range(0, len(blocks), ranks.size)]
    start, next_check = time.perf_counter(), 1
    with say.task("design matrix", sum(effort), sum(effort[:done])) as task:
        for number, dealt in enumerate(rounds, 1):
            if ranks.rank < len(dealt):
                solver.update(next(mine))
            task.advance(sum(effort[k] for block in dealt for k in block))
            if number == next_check and number < len(rounds):
                if ranks.broadcast(checkpoints.is_due):
                    gather(solver, ranks)
                    if ranks.is_root:
                        checkpoints.write(solver, dealt[-1].stop)
                wait = checkpoints.rounds((time.perf_counter() - start) / number) if ranks.size > 1 else 1
                next_check += ranks.broadcast(wait)
    gather(solver, ranks)


def gather(solver: StreamingQR, ranks: Ranks) -> None:
    """The triangles of all ranks as one, on the root; the others forget theirs."""
    if ranks.size > 1 and not ranks.fold_to_root(lambda: pack(solver.triangle), solver.fold):
        solver.clear()
