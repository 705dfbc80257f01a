"""Chains of ops that only change the shape become one Reshape, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import Dim, SymDim
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.movement import Transpose
from graphc.ops.reshaping import Flatten, Reshape, Squeeze, Unsqueeze
from graphc.ops.shape import View
from graphc.passes.rewrite import Match, p, rewrite, rule, value
from graphc.types import int64

x = value("x")
VIEWS: tuple[type[View], ...] = (Reshape, Flatten, Squeeze, Unsqueeze)


@rule(p(VIEWS, x, ...))
def drop_view(m: Match) -> Value:
    """Reshape(x, shape(x)) = x; the same for Flatten, Squeeze and Unsqueeze that change nothing.

    before:
        graph (%x: f32[batch,4]) {
          %0: f32[batch,4] = Flatten(%x)
          %1: f32[batch,4] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[batch,4]) {
          %0: f32[batch,4] = Neg(%x)
          return %0 as "y"
        }
    """
    before = m.old(x)
    assert before is not None
    m.require(before.shape is not None and before.shape == m.node.output.shape, "the shape changes")
    return m[x]


@rule(p(VIEWS, p(VIEWS, x, ...), ...))
def merge_views(m: Match) -> Value:
    """Reshape(Reshape(x, s), t) = Reshape(x, t), and no reshape at all where t is the shape of x.

    before:
        graph (%x: f32[batch,4,1,1]) {
          %0: i64[2] = const [2, 3]
          %1: f32[batch,4] = Squeeze(%x, %0)
          %2: i64[3] = const [0, 2, 2]
          %3: f32[batch,2,2] = Reshape(%1, %2)
          return %3 as "y"
        }
    after:
        graph (%x: f32[batch,4,1,1]) {
          %0: i64[3] = const [-1, 2, 2]
          %1: f32[batch,2,2] = Reshape(%x, %0)
          return %1 as "y"
        }
    """
    return reshaped(m, m[x])


@rule(p(Transpose, x))
def transpose_of_ones(m: Match) -> Value:
    """Transpose(x) = Reshape(x)  where only axes of size 1 change places.

    before:
        graph (%x: f32[2,1,3]) {
          %0: f32[2,3,1] = Transpose(%x) {perm=(0,2,1)}
          return %0 as "y"
        }
    after:
        graph (%x: f32[2,1,3]) {
          %0: i64[3] = const [2, 3, 1]
          %1: f32[2,3,1] = Reshape(%x, %0)
          return %1 as "y"
        }
    """
    before = m.old(x)
    assert before is not None
    if before.shape is None:
        m.decline("the rank is not known")
    perm = m.node.op.perm if isinstance(m.node.op, Transpose) else None
    order = [i for i in (perm or range(len(before.shape))[::-1]) if before.shape[i] != 1]
    m.require(order == sorted(order), "axes larger than 1 change places")
    return reshaped(m, m[x])


def reshaped(m: Match, data: Value) -> Value:
    """`data` in the shape of the matched node's output; declines where numbers, 0 and one -1 cannot express it."""
    shape = m.node.output.shape
    if shape is None or data.shape is None:
        m.decline("the rank is not known")
    if data.shape == shape:
        return data
    numbers = target(data.shape, shape)
    if numbers is None:
        m.decline("more than one size is not known")
    result: Value = Reshape(allowzero=0 in shape)(data, const(np.array(numbers, np.int64), int64))
    m.require(result.shape == shape, f"inferred {result.type} for {m.node.output.type}")
    return result


def target(old: Sequence[Dim] | None, new: Sequence[Dim]) -> list[int] | None:
    """The second input of a Reshape from `old` to `new`, or None where numbers, 0 and one -1 cannot express it."""
    numbers = [-1 if isinstance(d, SymDim) else d for d in new]
    if 0 in numbers:
        return None if -1 in numbers else numbers  # a -1 beside a size of 0 would stand for anything
    if numbers.count(-1) > 1 and old is not None:  # 0 copies a size from its own place
        numbers = [0 if n == -1 and old[i : i + 1] == (new[i],) else n for i, n in enumerate(numbers)]
    return numbers if numbers.count(-1) <= 1 else None


RULES = (drop_view, merge_views, transpose_of_ones)


def merge_reshapes(graph: Graph) -> Graph:
    """At most one reshape in a row."""
    return rewrite(graph, RULES)
