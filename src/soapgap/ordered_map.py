"""A map over threads whose results come in order, with few of them in memory at a time."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Worker = TypeVar("Worker")


def ordered_map(function: Callable[[Worker, Item], Result], items: Iterable[Item],
                workers: Sequence[Worker], ahead: int = 0) -> Iterator[Result]:
    """Yield function(worker, item) for every item, in the order of the items.

    Every call has one of the workers (an Evaluator clone, say) to itself; with one worker everything runs on the
    calling thread. At most 2 len(workers) + ahead results wait, so that the workers need not stop while the caller is busy with
    that many of them. An exception in a call appears at its place in the order.
    """
    if len(workers) == 1:
        for item in items:
            yield function(workers[0], item)
        return
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def call(item):
        worker = idle.get()
        try:
            return function(worker, item)
        finally:
            idle.put(worker)

    pending: deque = deque()
    with ThreadPoolExecutor(len(workers), thread_name_prefix="soapgap-fit") as pool:
        try:
            for item in items:
                pending.append(pool.submit(call, item))
                if len(pending) >= 2 * len(workers) + ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
