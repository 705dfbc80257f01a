"""Shape computations whose result is known at compile time become constants."""

from __future__ import annotations

import numpy as np

from graphc.dims import is_unknown
from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.base import Constant, const
from graphc.ops.reshaping import Reshape
from graphc.passes.bodies import is_pure, over_bodies
from graphc.passes.merge_reshapes import target
from graphc.passes.record import fired
from graphc.types import TensorType, int64


def fold_shapes(graph: Graph) -> Graph:
    """f(shape(x), …) = c  where inference knows every element; Reshape(x, [batch, c]) = Reshape(x, [-1, c]).

    before:
        graph (%x: f32[batch,3,4]) {
          %0: i64[3] = Shape(%x)
          %1: i64[] = const 0
          %2: i64[] = Gather(%0, %1)
          %3: i64[1] = Unsqueeze(%2, %1)
          %4: i64[1] = const [-1]
          %5: i64[2] = Concat(%3, %4) {axis=0}
          %6: f32[batch,12] = Reshape(%x, %5)
          return %6 as "y"
        }
    after:
        graph (%x: f32[batch,3,4]) {
          %0: i64[2] = const [-1, 12]
          %1: f32[batch,12] = Reshape(%x, %0)
          return %1 as "y"
        }
    """
    return over_bodies(graph, _fold)


def _fold(graph: Graph) -> Graph:
    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Constant) or len(node.outputs) != 1:
            return None
        if isinstance(node.op, Reshape):
            return _reshape_by_numbers(node, inputs)
        known = node.output.const
        if known is None or not isinstance(node.output.type, TensorType) or not is_pure(node):
            return None
        fired("fold_shapes", [node], "Constant")
        return (const(known, node.output.dtype, node.name),)

    return rebuild(graph, visit)


def _reshape_by_numbers(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
    """A reshape to computed sizes that numbers, 0 and one -1 can express."""
    data, wanted = inputs
    sizes = node.output.shape
    if data is None or wanted is None or sizes is None or wanted.const is not None:
        return None
    numbers = target(data.shape, sizes)
    if numbers is None:
        return None
    constant = const(np.array(numbers, np.int64), int64, wanted.name)
    outputs = Reshape(allowzero=0 in sizes).apply((data, constant), node.name)
    if outputs[0].shape != sizes and not any(is_unknown(d) for d in sizes):
        return None  # the stated size is another symbol than what is left: equal only if the feed makes them so
    fired("fold_shapes", [node], node.label)
    return outputs
