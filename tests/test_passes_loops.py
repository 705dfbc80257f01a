"""Loops that make sequences, and loops that count: what becomes of them gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.control import Loop
from graphc.ops.logic import Less
from graphc.ops.movement import Concat
from graphc.ops.sequence import ConcatFromSequence, SequenceEmpty, SequenceInsert
from graphc.ops.slicing import Slice
from graphc.passes.bodies import all_nodes
from graphc.passes.count_trips import count_trips
from graphc.passes.stack_sequences import stack_sequences
from graphc.types import SequenceType, TensorType, bool_, float32, int64

ROWS = np.random.default_rng(0).standard_normal((4, 2, 1, 3)).astype(np.float32)
NUMBER, GOING = TensorType(int64, ()), TensorType(bool_, ())


def value(type: TensorType | SequenceType, name: str) -> Value:
    return Value(type, name=name)


def joined(op: ConcatFromSequence, *, static: bool = True) -> Graph:
    """The elements trip · x, and the carried value trip · trip, joined by `op`."""
    x = value(TensorType(float32, ROWS.shape[1:] if static else (2, 1, None)), "x")  # type: ignore[arg-type]
    i, c, a = value(NUMBER, "i"), value(GOING, "c"), value(x.tensor, "a")
    s, k = value(SequenceType(TensorType(float32, None)), "s"), value(NUMBER, "k")
    body = Graph([i, c, k, s, a], [c, i * i, SequenceInsert()(s, a * (i + 1).cast(float32)), k])
    last, found, numbers = Loop(body, captured=1)(const(4), None, const(0), SequenceEmpty()(), x)
    return Graph([x], [op(found), last, numbers])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("new_axis", [False, True])
def test_sequences(axis: int, new_axis: bool):
    graph = joined(ConcatFromSequence(axis, new_axis))
    after = stack_sequences(graph)
    assert not any(n.op.name in ("SequenceInsert", "ConcatFromSequence") for n in all_nodes(after))
    x = ROWS[0]
    elements = [x * np.float32(k + 1) for k in range(4)]
    want = np.stack(elements, axis) if new_axis else np.concatenate(elements, axis)
    got, last, numbers = interpret(after, [x])
    np.testing.assert_array_equal(got, want)
    assert got.shape == after.outputs[0].shape
    np.testing.assert_array_equal(numbers, [0, 0, 1, 4])
    assert last == 9


def test_sequences_of_unknown_size():
    """Along an axis of size 1 the slices are joined, whatever the others are; along another they might differ."""
    graph = joined(ConcatFromSequence(1), static=False)
    after = stack_sequences(graph)
    assert after is not graph
    assert "Squeeze" not in {n.op.name for n in after.nodes}  # but in the body, where backends know more sizes
    np.testing.assert_array_equal(
        interpret(after, [ROWS[0]])[0], np.concatenate([ROWS[0] * k for k in (1, 2, 3, 4)], 1)
    )
    graph = joined(ConcatFromSequence(0), static=False)
    assert stack_sequences(graph) is graph


def test_elements_that_grow_stay_in_a_sequence():
    i, c, s, a = (
        value(NUMBER, "i"),
        value(GOING, "c"),
        value(SequenceType(TensorType(float32, None)), "s"),
        ROWS[0, :, 0],
    )
    x = value(TensorType(float32, (2, 3)), "x")
    b = value(x.tensor, "b")
    part = Slice()(b, const([0]), (i + 1).reshape([1]), const([1]))
    body = Graph([i, c, s, b], [c, SequenceInsert()(s, part)])
    graph = Graph([x], [ConcatFromSequence(1)(Loop(body, captured=1)(const(3), None, SequenceEmpty()(), x))])
    assert stack_sequences(graph) is graph
    np.testing.assert_array_equal(interpret(graph, [a])[0], np.concatenate([a[:, :1], a[:, :2], a], 1))


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (2, 5), (0, 0), (0, 1), (3, -2)])
def test_loops_that_count(start: int, stop: int):
    x, n, first = value(TensorType(float32, (3,)), "x"), value(NUMBER, "n"), value(NUMBER, "first")
    i, c, k, a, m = value(NUMBER, "i"), value(GOING, "c"), value(NUMBER, "k"), value(x.tensor, "a"), value(NUMBER, "m")
    following = k + 1
    body = Graph([i, c, k, a, m], [Less()(following, m), following, a + a, Concat(0)(k.reshape([1]), i.reshape([1]))])
    graph = Graph([first, x, n], Loop(body, captured=1)(None, Less()(first, n), first, x, n))
    after = count_trips(graph)
    (loop,) = (node for node in after.nodes if node.op.name == "Loop")
    assert loop.inputs[0] is not None
    assert loop.inputs[1] is None
    feeds = [np.array(start), np.arange(3, dtype=np.float32), np.array(stop)]
    for got, want in zip(interpret(after, feeds), interpret(graph, feeds), strict=True):
        np.testing.assert_array_equal(got, want)
