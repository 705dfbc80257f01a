"""What inference knows of integers is what evaluation gives: shape computations are folded from it."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dims import sym
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops.arithmetic import Add, Div, Mul, Neg, Sub
from graphc.ops.base import const
from graphc.ops.minmax import Max, Min
from graphc.ops.movement import Concat
from graphc.ops.reshaping import Reshape
from graphc.ops.shape import Shape
from graphc.ops.slicing import Slice
from graphc.parse import parse
from graphc.passes.fold_shapes import fold_shapes
from graphc.text import format_graph
from graphc.types import TensorType, float32

EXTREMES = np.array([-7, 7, -8, np.iinfo(np.int32).min, np.iinfo(np.int32).max], np.int32)


@pytest.mark.parametrize("op", [Add(), Sub(), Mul(), Div(), Max(), Min()], ids=lambda op: op.name)
@pytest.mark.parametrize("other", [2, -2, -1, 2_000_000_000])
def test_known_integers_truncate_and_wrap_as_evaluation_does(op: Op, other: int) -> None:
    graph = Graph([], [op(const(EXTREMES), const(np.int32(other)))], ["y"])
    after = fold_shapes(graph)
    assert [n.op.name for n in after.nodes] == ["Constant"]
    np.testing.assert_array_equal(interpret(after, [])[0], interpret(graph, [])[0])


def test_a_division_by_zero_is_not_known() -> None:
    quotient = Div()(const(EXTREMES), const(np.int32(0)))
    assert quotient.const is None


def test_negation_wraps() -> None:
    np.testing.assert_array_equal(Neg()(const(EXTREMES)).const, -EXTREMES)


def test_sizes_at_their_own_places_are_copied() -> None:
    graph = parse("""
graph (%x: f32[n,m,4,3]) {
  %0: i64[4] = Shape(%x)
  %1: i64[1] = const [0]
  %2: i64[1] = const [2]
  %3: i64[2] = Slice(%0, %1, %2)
  %4: i64[1] = const [12]
  %5: i64[3] = Concat(%3, %4) {axis=0}
  %6: f32[n,m,12] = Reshape(%x, %5)
  return %6 as "y"
}""")
    expected = parse("""
graph (%x: f32[n,m,4,3]) {
  %0: i64[3] = const [0, 0, 12]
  %1: f32[n,m,12] = Reshape(%x, %0)
  return %1 as "y"
}""")
    assert format_graph(fold_shapes(graph)) == format_graph(expected)


def test_a_size_from_another_input_is_not_taken_for_what_is_left() -> None:
    """[m, 3] may differ from [-1, 3]: then the reshape has to fail, not to give another shape."""
    x = Value(TensorType(float32, (sym("n"), 3)), name="x")
    other = Value(TensorType(float32, (sym("m"),)), name="other")
    shape = Concat(0)(Slice()(Shape()(other), const(np.array([0])), const(np.array([1]))), const(np.array([3])))
    graph = Graph([x, other], [Reshape()(x, shape)])
    assert fold_shapes(graph) is graph
