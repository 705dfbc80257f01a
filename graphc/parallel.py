"""Work that NumPy does without the interpreter's lock, in several threads."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from graphc.cpu import cpu_count
from graphc.limits import check_deadline

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`work` of each of `items`, called on as many threads as there are cores, under the limits in force.

    Raises what the first call that failed did, when the calls that had begun are done; no others are made then.
    """
    results: dict[int, R] = {}
    turns = count()
    failed: list[BaseException] = []

    def worker() -> None:
        while not failed and (i := next(turns)) < len(items):
            try:
                check_deadline()
                results[i] = work(items[i])
            except BaseException as e:
                failed.append(e)

    others = min(cpu_count(), len(items)) - 1
    threads = [threading.Thread(target=contextvars.copy_context().run, args=(worker,)) for _ in range(others)]
    for t in threads:
        t.start()
    worker()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    return [results[i] for i in range(len(items))]
