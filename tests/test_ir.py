"""Values, nodes and graphs: inference at construction, order, rebuilding, scale."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from graphc.dims import sym
from graphc.equality import graph_equal
from graphc.errors import InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Value, rebuild, retype
from graphc.ops.activation import Relu
from graphc.ops.arithmetic import Add, Mul, Neg
from graphc.ops.base import const
from graphc.ops.ranking import NonZero
from graphc.ops.reshaping import Reshape
from graphc.types import TensorType, float32, float64, int64


def tensor(name: str, *shape: int | str, dtype: object = float32) -> Value:
    return Value(TensorType(dtype, tuple(sym(d) if isinstance(d, str) else d for d in shape)), name=name)  # type: ignore[arg-type]


def test_types_are_inferred_at_construction() -> None:
    y = tensor("x", "batch", 1, 3) + tensor("w", 4, 1)
    assert str(y.type) == "f32[batch,4,3]"


def test_errors_name_the_node_and_both_types() -> None:
    with pytest.raises(ShapeError, match=r"Add 'sum': cannot broadcast \[2,3\] with \[4\]"):
        Add()(tensor("x", 2, 3), tensor("y", 4), name="sum")
    with pytest.raises(TypeMismatch, match=r"element types differ: f32\[2\], f64\[2\]"):
        tensor("x", 2) + tensor("y", 2, dtype=float64)
    with pytest.raises(InvalidModel, match="needs input b"):
        Add()(tensor("x", 2))
    with pytest.raises(InvalidModel, match="takes at most 2 inputs"):
        Add()(*[tensor("x", 2)] * 3)


def test_dead_code_cannot_exist() -> None:
    x = tensor("x", 2)
    _ = x + x
    y = x * x
    graph = Graph([x], [y])
    assert [n.op for n in graph.nodes] == [Mul()]


def test_an_undeclared_input_is_an_error() -> None:
    x, y = tensor("x", 2), tensor("y", 2)
    with pytest.raises(InvalidModel, match="%y is used but is not an input"):
        Graph([x], [x + y])
    with pytest.raises(InvalidModel, match="input names are not distinct"):
        Graph([x, tensor("x", 3)], [x])


def test_rebuild_returns_the_same_object_when_nothing_changes() -> None:
    x = tensor("x", 2)
    graph = Graph([x], [x + x])
    assert rebuild(graph, lambda node, xs: None) is graph
    assert retype(graph, [x.type]) is graph


def test_rebuild_shares_what_did_not_change() -> None:
    x = tensor("x", 2)
    kept, changed = -x, x * 2.0
    graph = Graph([x], [kept, changed], ["kept", "changed"])
    after = rebuild(graph, lambda node, xs: Add().apply(xs) if node.op == Mul() else None)
    assert after.outputs[0] is graph.outputs[0]
    assert after.outputs[1].node is not None
    assert after.outputs[1].node.op == Add()
    assert graph.outputs[1].node is not None
    assert graph.outputs[1].node.op == Mul()


def test_retype_infers_again() -> None:
    x = tensor("x", "batch", 3)
    after = retype(Graph([x], [x + x]), [TensorType(float32, (8, 3))])
    assert str(after.outputs[0].type) == "f32[8,3]"


def test_uses_and_last_uses() -> None:
    x = tensor("x", 2)
    y = -x
    z = y + x
    graph = Graph([x], [z, y], ["z", "y"])
    assert [(n and n.op.name, i) for n, i in graph.uses[y]] == [("Add", 0), (None, 1)]
    assert graph.last_uses == [[], [x]]


def test_a_long_chain() -> None:
    x = tensor("x", 2)
    y = x
    for _ in range(50_000):
        y = Neg()(y)
    graph = Graph([x], [y])
    assert len(graph.nodes) == 50_000
    np.testing.assert_array_equal(interpret(graph, [np.ones(2, np.float32)])[0], np.ones(2, np.float32))
    assert graph_equal(pickle.loads(pickle.dumps(graph)), graph)
    del graph, y  # freeing the chain must not overflow the stack either


def test_copies_are_equal() -> None:
    x = tensor("x", "n")
    graph = Graph([x], [x * const(np.arange(3, dtype=np.float32), name="w")], ["y"], name="g")
    assert graph_equal(copy.deepcopy(graph), graph)


def test_shape_computations_are_followed() -> None:
    n = const(np.array([4, 5])) * 2 - 1
    assert n.const is not None
    assert n.const.tolist() == [7, 9]
    assert n.dtype is int64


def test_a_node_on_inputs_of_which_the_same_is_known() -> None:
    x, y = (Value(TensorType(float32, (2, 3)), name=n) for n in "xy")
    node = Relu()(x, name="r").node
    made = node.on((y,))
    assert made[0].type == node.output.type
    assert (made[0].node.op, made[0].node.inputs, made[0].node.name) == (node.op, (y,), "r")
    assert node.on((Value(TensorType(float32, (2, 4)), name="z"),)) is None, "another type"
    assert node.on((Value(TensorType(float32, (sym("n"), 3)), name="z"),)) is None


def test_a_node_on_other_inputs_has_no_sizes_of_the_first() -> None:
    x, y = (Value(TensorType(float32, (2, 3)), name=n) for n in "xy")
    assert NonZero()(x).node.on((y,)) is None, "how many there are is not the same"
    shape = [const(np.array(n, np.int64)) for n in ([3, 2], [6, 1])]
    assert Reshape()(x, shape[0]).node.on((y, shape[1])) is None, "contents differ"
    assert Reshape()(x, shape[0]).node.on((y, shape[0]))[0].shape == (3, 2)
