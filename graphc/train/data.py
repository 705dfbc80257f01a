"""Examples in arrays: splits, shuffled mini-batches, and a thread that prepares the next ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graphc.errors import FeedError
from graphc.types import Array

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and what is to be predicted for each: arrays with equal first sizes."""

    x: Array
    y: Array

    def __post_init__(self) -> None:
        if self.x.ndim == 0 or self.y.ndim == 0 or len(self.x) != len(self.y):
            raise FeedError(f"x is {list(self.x.shape)} and y is {list(self.y.shape)}, expected equal first sizes")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, chosen: slice | Array) -> Dataset:
        return Dataset(self.x[chosen], self.y[chosen])

    def split(self, held_out: int | float, *, seed: int | None = None) -> tuple[Dataset, Dataset]:
        """Two parts; the second has `held_out` examples (an int) or that share of them (a float).

        Drawn at random with a `seed`; without one it is the end, as it must be where examples follow in time.
        """
        count = held_out if isinstance(held_out, int) else round(held_out * len(self))
        if not 0 <= count <= len(self):
            raise FeedError(f"{held_out} of {len(self)} examples cannot be held out")
        order = np.arange(len(self)) if seed is None else np.random.default_rng(seed).permutation(len(self))
        return self[order[: len(self) - count]], self[order[len(self) - count :]]


def order_of(count: int, seed: int, epoch: int) -> Array:
    """The order of so many examples in an epoch: a function of its arguments, so that training can go on anywhere."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def chunks(data: Dataset, size: int) -> Iterator[Dataset]:
    """`data` in order, in parts of `size`; the last one may be smaller."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def prefetch(items: Iterator[T], *, depth: int = 2) -> Generator[T]:
    """`items`, up to `depth` of them made ahead by a thread. What it raises is raised here.

    The thread ends when the generator is closed, however far it came.
    """
    ready: queue.Queue[tuple[Sequence[T], BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[Sequence[T], BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(([item], None))
                if stopped.is_set():
                    return
            put(([], None))
        except BaseException as e:  # for the one who reads
            put(([], e))

    thread = threading.Thread(target=work, name="graphc-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            found, error = ready.get()
            if error is not None:
                raise error
            if not found:
                return
            yield found[0]
    finally:
        stopped.set()
        thread.join()
