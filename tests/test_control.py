"""If, Loop, Scan and Fused: depth, length, limits, inferred types, and what they refuse."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from cases.control import body

from graphc.dims import sym
from graphc.errors import (
    ExecutionError,
    InvalidModel,
    ResourceLimit,
    ShapeError,
    Timeout,
    TypeMismatch,
)
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value, retype, same_attribute
from graphc.limits import Limits, limited
from graphc.ops.base import const
from graphc.ops.control import If, Loop, Scan
from graphc.ops.fused import Fused
from graphc.ops.movement import Concat
from graphc.types import TensorType, bool_, float32, float64, int64

STEP, TRUE = np.array(0, np.int64), np.array(True)
x = np.arange(6, dtype=np.float32).reshape(2, 3)


def tensor(dtype, *shape, name="x"):
    return Value(TensorType(dtype, shape), name=name)


def fused_nest(depth):
    graph = body(lambda a: a + 1.0, x)
    for _ in range(depth):
        graph = body(lambda a, inner=graph: Fused(inner)(a) * 1.0, x)
    return graph


def if_nest(depth):
    graph = body(lambda c, a: a + 1.0, TRUE, x)
    for _ in range(depth):
        other = body(lambda c, a: a, TRUE, x)
        graph = body(lambda c, a, t=graph, e=other: If(t, e)(c, c, a), TRUE, x)
    return graph


def loop_nest(depth, function=lambda a: a + 1.0):
    graph = body(lambda i, c, a: (c, function(a)), STEP, TRUE, x)
    for _ in range(depth):
        one = np.array(1, np.int64)
        graph = body(lambda i, c, a, g=graph, n=one: (c, Loop(g)(const(n), None, a)), STEP, TRUE, x)
    return graph


class TestDepth:
    """Bodies 200 deep fit into the default recursion limit, and fitting them takes linear time."""

    @pytest.mark.parametrize("make", [fused_nest, if_nest, loop_nest])
    def test_evaluates(self, make):
        graph = make(200)
        feeds = {2: [TRUE, x], 1: [x], 3: [STEP, TRUE, x]}[len(graph.inputs)]
        assert sys.getrecursionlimit() <= 1000
        np.testing.assert_array_equal(interpret(graph, feeds)[-1], x + 1)

    @pytest.mark.parametrize("make", [fused_nest, if_nest, loop_nest])
    def test_is_inferred_again(self, make):
        graph = make(200)
        types = [TensorType(v.dtype, v.shape if v.shape == () else (sym("n"), 3)) for v in graph.inputs]
        start = time.perf_counter()
        again = retype(graph, types)
        assert time.perf_counter() - start < 5
        assert str(again.outputs[-1].type) == "f32[n,3]"

    def test_is_left_alone_when_nothing_changes(self):
        op = Fused(fused_nest(3))
        assert op.refine([tensor(float32, 2, 3)]) is op

    def test_growing_values_in_nested_loops_settle_in_linear_time(self):
        start = time.perf_counter()
        graph = loop_nest(100, lambda a: Concat(axis=0)(a, a))
        graph = retype(graph, [*(v.type for v in graph.inputs[:2]), TensorType(float32, (sym("n"), 3))])
        assert time.perf_counter() - start < 30
        rows, columns = graph.outputs[1].shape
        assert str(rows).startswith("?")
        assert columns == 3

    def test_cost_counts_nested_bodies(self):
        graph = body(lambda a: a + a, x)
        for _ in range(200):
            graph = body(lambda a, inner=graph: Fused(inner)(a) * a, x)
        (node,) = [n for n in graph.nodes if isinstance(n.op, Fused)]
        assert node.op.cost(node.inputs, node.outputs).flops == x.size * 200


class TestLimits:
    def test_many_trips(self):
        one = np.float32(1)
        graph = body(lambda i, c, a: (c, a + 1.0, a), STEP, TRUE, one)
        result = interpret(body(lambda a: Loop(graph)(const(np.array(50_000)), None, a), one), [np.float32(0)])
        assert result[0] == 50_000
        np.testing.assert_array_equal(result[1], np.arange(50_000))

    @pytest.mark.parametrize("function", [lambda a: a + 1.0, lambda a: a], ids=["computes", "empty"])
    def test_endless_loop_is_cancelled(self, function):
        graph = body(lambda i, c, a: (c, function(a)), STEP, TRUE, x)
        start = time.perf_counter()
        with limited(Limits(timeout_s=0.2)), pytest.raises(Timeout):
            interpret(body(lambda a: Loop(graph)(None, None, a), x), [x])
        assert time.perf_counter() - start < 2

    def test_trips_are_bounded(self):
        graph = body(lambda i, c, a: (c, a + 1.0), STEP, TRUE, x)
        with limited(Limits(max_loop_trips=10)), pytest.raises(ResourceLimit, match="10 trips"):
            interpret(body(lambda a: Loop(graph)(None, None, a), x), [x])

    def test_scan_outputs_are_bounded(self):
        graph = body(lambda i, c, a: (c, a + 1.0, a), STEP, TRUE, x)
        with limited(Limits(max_tensor_bytes=1000)), pytest.raises(ResourceLimit, match="scan output 0"):
            interpret(body(lambda a: Loop(graph)(None, None, a), x), [x])


class TestTypes:
    def test_sizes_of_the_body_are_new_for_each_node(self):
        graph = body(lambda i, c, a: (c, Concat(axis=0)(a, a)), STEP, TRUE, x)
        op, n = Loop(graph), tensor(int64, name="n")
        first, second = (op(n, None, tensor(float32, 2, 3)) for _ in range(2))
        assert first.shape[0] != second.shape[0]
        assert first.shape[1] == second.shape[1] == 3

    def test_the_rank_may_change(self):
        graph = body(lambda i, c, a: (c, If(body(lambda v: v, x), body(lambda v: const(x[0]), x))(c, a)), STEP, TRUE, x)
        assert Loop(graph)(None, None, tensor(float32, 2, 3)).shape is None

    def test_scan_output_of_a_known_trip_count(self):
        graph = body(lambda i, c, a: (c, a, a), STEP, TRUE, x)
        assert Loop(graph)(const(np.array(4)), None, tensor(float32, 2, 3))[1].shape == (4, 2, 3)
        assert Loop(graph)(const(np.array(-4)), None, tensor(float32, 2, 3))[1].shape == (0, 2, 3)
        assert str(Loop(graph)(None, None, tensor(float32, 2, 3))[1].shape[0]).startswith("?")

    def test_if_joins_its_branches(self):
        op = If(body(lambda v: v, x), body(lambda v: const(x[:1]), x))
        joined = op(tensor(bool_, name="c"), tensor(float32, 2, 3)).shape
        assert joined[1] == 3
        assert str(joined[0]).startswith("?")

    def test_if_with_a_known_condition_takes_that_branch(self):
        op = If(body(lambda v: v, x), body(lambda v: const(x[0]), x))
        assert op(const(np.array(True)), tensor(float32, 2, 3)).shape == (2, 3)
        assert op(const(np.array(False)), tensor(float32, 2, 3)).shape == (3,)

    def test_a_branch_that_is_never_taken_need_not_fit(self):
        op = If(body(lambda v: v, x), body(lambda v: v + const(np.ones((2, 3), np.float32)), x))
        assert op(const(np.array(True)), tensor(float32, 5, 4)).shape == (5, 4)
        with pytest.raises(ShapeError):
            op(tensor(bool_, name="c"), tensor(float32, 5, 4))

    def test_slices_of_no_trips_take_sizes_from_the_inputs(self):
        graph = body(lambda i, c, a: (c, a, a), STEP, TRUE, x)
        a = tensor(float32, sym("n"), 3)
        whole = Graph([a], Loop(graph)(const(np.array(0)), None, a))
        assert interpret(whole, [x])[1].shape == (0, 2, 3)

    def test_slices_of_a_scan_without_trips_take_sizes_from_all_inputs(self):
        """Those of a state, of a slice that is read, and of a captured value."""
        (n, m, k), (s, a, c) = (sym(name) for name in "nmk"), (np.ones(shape, np.float32) for shape in (3, (4, 5), 6))
        graph = body(lambda s, a, c: (s, s, a, c), s, a, c)
        xs = tensor(float32, n), tensor(float32, m, 0, sym("j"), name="y"), tensor(float32, k, name="z")
        whole = Graph(xs, Scan(graph, 1, scan_input_axes=(1,), scan_output_axes=(1, -2, 0), captured=1)(*xs))
        got = interpret(whole, [s, np.zeros((4, 0, 5), np.float32), c])
        assert [y.shape for y in got] == [(3,), (3, 0), (4, 0, 5), (0, 6)]

    def test_known_contents_reach_the_body(self):
        op = Fused(body(lambda a: a + a, STEP))
        doubled = op(const(np.array(21)))
        assert doubled.const == 42
        assert op(tensor(int64)).const is None
        assert Fused(doubled.node.op.body)(tensor(int64)).const is None

    def test_attributes_compare_by_identity_of_the_graph(self):
        op = Fused(fused_nest(1))
        assert same_attribute(op, op)
        assert op != Fused(fused_nest(1))


class TestRefuses:
    @pytest.mark.parametrize(
        ("op", "inputs", "error", "message"),
        [
            (Fused(body(lambda a: a, x)), [], InvalidModel, "takes 1 values, got 0"),
            (If(body(lambda: const(x)), body(lambda: ())), [tensor(bool_)], InvalidModel, "then_branch has 1"),
            (If(body(lambda: const(x)), body(lambda: const(STEP))), [tensor(bool_)], TypeMismatch, "f32.*then_branch"),
            (If(body(lambda: const(x)), body(lambda: const(x))), [tensor(bool_, 2)], ShapeError, "single element"),
            (If(body(lambda: const(x)), body(lambda: const(x))), [tensor(int64)], TypeMismatch, "expected bool"),
            (Loop(body(lambda i, c: c, STEP, TRUE)), [tensor(float32)], TypeMismatch, "trip_count"),
            (Loop(body(lambda i, c: i, STEP, TRUE)), [], TypeMismatch, "condition"),
            (Loop(body(lambda i, c: c, STEP, TRUE)), [None, None, tensor(float32)], InvalidModel, "does not fit"),
            (
                Loop(body(lambda i, c, a: (c, const(STEP)), STEP, TRUE, x)),
                [None, None, tensor(float32, 2, 3)],
                TypeMismatch,
                "carried value 0",
            ),
            (Scan(body(lambda s: s, x[0]), 1), [tensor(float32)], ShapeError, "axis 0 is out of range"),
            (Scan(body(lambda s: s, x[0]), 0), [tensor(float32, 2)], InvalidModel, "num_scan_inputs is 0"),
            (
                Scan(body(lambda s, t: s, x[0], x[0]), 2),
                [tensor(float32, 2, 3), tensor(float32, 3, 3)],
                ShapeError,
                "sizes differ: 2 and 3",
            ),
            (Scan(body(lambda s: s, x[0]), 1, (0, 1)), [tensor(float32, 2, 3)], InvalidModel, "scan_input_axes"),
            (Scan(body(lambda s: s, x[0]), 1, None, (2,)), [tensor(float32, 2, 3)], InvalidModel, "0 .forward. or 1"),
        ],
    )
    def test_at_construction(self, op: Op, inputs, error, message):
        with pytest.raises(error, match=message) as caught:
            op(*inputs)
        assert op.name in str(caught.value)

    def test_slices_of_different_shapes(self):
        graph = body(lambda i, c, a: (c, Concat(axis=0)(a, a), a), STEP, TRUE, x)
        with pytest.raises(ExecutionError, match=r"shape \[2, 3\] in the first trip, \[4, 3\] in trip 1"):
            interpret(body(lambda a: Loop(graph)(const(np.array(2)), None, a), x), [x])

    def test_an_error_in_a_body_names_the_node_in_it(self):
        inner = body(lambda a: Concat(axis=1).apply([a, a], "twice"), x)
        with pytest.raises(ShapeError, match="Concat 'twice'"):
            Fused(inner)(tensor(float64, 2))
