"""Samples between the elements of a tensor as graph code: what the gradients of ops that sample are made of.

The same as `grid_sample.sample` on arrays and `taps.sampled` on expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from graphc.frozen import Frozen
from graphc.ops.base import Value, const, known_sizes, lift
from graphc.ops.indexing import Gather
from graphc.ops.logic import where
from graphc.ops.math import Floor
from graphc.ops.minmax import Clip
from graphc.ops.windows import volume
from graphc.types import int64


class Sample(Frozen):
    """One of the elements along an axis that make a sample, for each place: values (N, P).

    Attributes:
        position: where it is, int64, inside of the axis.
        weight: its weight.
        inside: false where zero stands for it; None for everywhere true.
    """

    position: Value
    weight: Value
    inside: Value | None = None


def at(x: Value, size: int, weight: Value, *, zeros: bool) -> Sample:
    """The element at the whole coordinates `x`; outside of the axis it is the nearest one, or with `zeros` nothing."""
    inside = (x >= 0.0) & (x <= float(size - 1)) if zeros else None
    return Sample(limited(x, 0, size - 1).cast(int64), weight, inside)


def around(x: Value, size: int, *, zeros: bool) -> list[Sample]:
    """The two elements around the coordinates `x`, weighted by their distance."""
    low: Value = Floor().apply((x,))[0]
    return [at(low, size, 1.0 - (x - low), zeros=zeros), at(low + 1.0, size, x - low, zeros=zeros)]


def limited(x: Value, low: float, high: float) -> Value:
    """`x` moved into [low, high]."""
    return Clip().apply((x, lift(low, x), lift(high, x)))[0]


def rows_of(x: Value) -> Value:
    """x (N, C, spatial…) with its channels last, and a row for each position: (N · volume, C)."""
    n, c, *sizes = known_sizes(x, *range(x.rank or 0))
    return x.transpose([0, *range(2, 2 + len(sizes)), 1]).reshape([n * volume(sizes), c])


def sampled(x: Value, axes: Sequence[Sequence[Sample]]) -> Value:
    """y[n,p,c] = Σ over combinations of one sample of each axis of Π weights · x[n, c, positions]: (N, P, C)."""
    return sum_of(terms(x, axes))


def sum_of(values: Sequence[Value]) -> Value:
    """The sum of at least one value."""
    first, *others = values
    for v in others:
        first = first + v
    return first


def terms(x: Value, axes: Sequence[Sequence[Sample]]) -> list[Value]:
    """What `sampled` sums up."""
    n, _, *sizes = known_sizes(x, *range(x.rank or 0))
    rows = rows_of(x)
    first = const(np.arange(n).reshape(n, 1) * volume(sizes), int64)
    found = []
    for samples in product(*axes):
        position: Value | None = None
        inside: Value | None = None
        weight: Value | None = None
        for s, size in zip(samples, sizes, strict=True):
            position = s.position if position is None else position * size + s.position
            weight = s.weight if weight is None else weight * s.weight
            if s.inside is not None:
                inside = s.inside if inside is None else inside & s.inside
        assert position is not None
        assert weight is not None
        if inside is not None:
            weight = where(inside, weight, 0.0)
        found.append(Gather(0).apply((rows, position + first))[0] * columns(weight))
    return found


def columns(weight: Value) -> Value:
    """(N, P) as (N, P, 1)."""
    return weight.reshape([*(weight.shape or ()), 1])
