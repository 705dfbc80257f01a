"""A program as a tree: what is called, in order; some of it under a condition, some of it again and again.

While nodes are lowered, what is called are kernels and what they touch are values; in the driver it is calls and places
in memory. So `K` is what is called and `P` is where a condition is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", covariant=True)
P = TypeVar("P", covariant=True)
K2 = TypeVar("K2")
P2 = TypeVar("P2")


@dataclass(frozen=True, eq=False)
class Branch(Generic[K, P]):
    """`then` where `condition`, a bool, holds; else `otherwise`."""

    condition: P
    then: Steps[K, P]
    otherwise: Steps[K, P]


@dataclass(frozen=True, eq=False)
class Repeat(Generic[K, P]):
    """`body` while `condition`, a bool, holds.

    Attributes:
        trip: how many trips there were; the body counts them, as it writes the condition.
        trips: how many there will be; None where that is known only at run time.
        kept: what is written in one trip and read after others, without having been written before.
    """

    condition: P
    trip: P
    body: Steps[K, P]
    trips: int | None = None
    kept: tuple[P, ...] = ()


Steps = Sequence[K | Branch[K, P] | Repeat[K, P]]


def bodies(step: Branch[K, P] | Repeat[K, P]) -> tuple[Steps[K, P], ...]:
    return (step.then, step.otherwise) if isinstance(step, Branch) else (step.body,)


def leaves(steps: Steps[K, object]) -> Iterator[K]:
    """What is called, in the order in which it is written down."""
    for s in steps:
        if isinstance(s, (Branch, Repeat)):
            for body in bodies(s):
                yield from leaves(body)
        else:
            yield s


def mapped(steps: Steps[K, P], leaf: Callable[[K], Steps[K2, P2]], place: Callable[[P], P2]) -> Steps[K2, P2]:
    """The same tree with what is called, and what conditions are read from, replaced."""
    made: list[K2 | Branch[K2, P2] | Repeat[K2, P2]] = []
    for s in steps:
        if isinstance(s, Branch):
            then, otherwise = (mapped(body, leaf, place) for body in bodies(s))
            made.append(Branch(place(s.condition), then, otherwise))
        elif isinstance(s, Repeat):
            body, kept = mapped(s.body, leaf, place), tuple(place(v) for v in s.kept)
            made.append(Repeat(place(s.condition), place(s.trip), body, s.trips, kept))
        else:
            made += leaf(s)
    return made


def trip_counts(steps: Steps[object, object]) -> Iterator[int | None]:
    """`trips` of every repetition."""
    for s in steps:
        if isinstance(s, Repeat):
            yield s.trips
        if isinstance(s, (Branch, Repeat)):
            for body in bodies(s):
                yield from trip_counts(body)
