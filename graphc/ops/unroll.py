"""What unrolling needs: slices along one axis, stacks of them, and how much code is too much."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir import Graph, Value
from graphc.ops.base import Constant, const
from graphc.ops.movement import Concat
from graphc.ops.reshaping import Squeeze, Unsqueeze
from graphc.ops.slicing import Slice
from graphc.types import int64

MAX_NODES = 512  # a loop that would become more nodes than this stays one


def fits(body: Graph, trips: int) -> bool:
    """Whether `trips` copies of `body` are few enough nodes, none of which draws random numbers anew in each trip."""
    size, waiting = 0, [body]
    while waiting:
        for n in waiting.pop().nodes:
            if not n.op.is_pure(*n.inputs):
                return False
            size += not isinstance(n.op, Constant)
            waiting += n.op.graphs().values()
    return trips * max(1, size) <= MAX_NODES


def part(x: Value, axis: int, start: int, stop: int) -> Value:
    """x[start:stop] along `axis`."""
    return Slice().apply((x, *(const([n], int64) for n in (start, stop, axis))))[0]


def slice_at(x: Value, axis: int, i: int) -> Value:
    """Slice `i` of `x` along `axis`, without that axis."""
    return Squeeze().apply((part(x, axis, i, i + 1), const([axis], int64)))[0]


def stacked(slices: Sequence[Value], axis: int) -> Value:
    """The slices one behind the other along a new axis."""
    wide = [Unsqueeze().apply((x, const([axis], int64)))[0] for x in slices]
    return wide[0] if len(wide) == 1 else Concat(axis).apply(wide)[0]


def joined(parts: Sequence[Value], axis: int) -> Value:
    """The parts one behind the other along `axis`."""
    return parts[0] if len(parts) == 1 else Concat(axis).apply(tuple(parts))[0]
