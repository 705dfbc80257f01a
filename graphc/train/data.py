"""Examples in arrays: splits, shuffled mini-batches, and a thread that prepares the next ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graphc.errors import FeedError, escape
from graphc.names import listing, quote
from graphc.types import Array

T = TypeVar("T")


Inputs = Array | tuple[Array, ...] | Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and what is to be predicted for each: arrays with equal first sizes.

    Attributes:
        x: what the network reads: an array; of networks with several inputs one for each, in a tuple or by name.
        y: the targets.
        weights: what counts for how much in the loss and in metrics, in numbers from 0 on or as a mask of booleans: [n]
            for examples, or one for each position of the target, such as a pixel or a token. What counts for nothing
            must still be a number, or a label that there is. None: everything counts the same.
    """

    x: Inputs
    y: Array
    weights: Array | None = None

    def __post_init__(self) -> None:
        arrays = {**self._inputs(), "y": self.y} | ({} if self.weights is None else {"weights": self.weights})
        if any(a.ndim == 0 or len(a) != len(self.y) for a in arrays.values()):
            shapes = [f"{escape(n)} is {list(a.shape)}" for n, a in arrays.items()]
            raise FeedError(f"{', '.join(shapes[:-1])} and {shapes[-1]}, expected equal first sizes")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, chosen: slice | Array) -> Dataset:
        x: Inputs
        if isinstance(self.x, Mapping):
            x = {name: a[chosen] for name, a in self.x.items()}
        else:
            x = tuple(a[chosen] for a in self.x) if isinstance(self.x, tuple) else self.x[chosen]
        return Dataset(x, self.y[chosen], None if self.weights is None else self.weights[chosen])

    def named(self, names: Sequence[str]) -> dict[str, Array]:
        """`x` by the `names` of a network's inputs. Raises `FeedError` where there are not as many."""
        if isinstance(self.x, Mapping):
            return dict(self.x)
        arrays = list(self._inputs().values())
        if len(arrays) != len(names):
            raise FeedError(
                f"x has {len(arrays)} array{'s' * (len(arrays) != 1)}, expected {len(names)}: {listing(names)}",
                hint="Pass a tuple, or a dict by name" if len(names) > 1 else "Pass one array",
            )
        return dict(zip(names, arrays, strict=True))

    def _inputs(self) -> Mapping[str, Array]:
        """The arrays of `x` under the names that errors show."""
        if isinstance(self.x, Mapping):
            return {f"x[{quote(name)}]": a for name, a in self.x.items()}
        return {f"x[{k}]": a for k, a in enumerate(self.x)} if isinstance(self.x, tuple) else {"x": self.x}

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


def chunks(count: int, size: int) -> Iterator[slice]:
    """So many examples in order, in parts of `size`; the last one may be smaller."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


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
