"""Reverse accumulation over nodes: what is visited, what is summed, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.errors import CompileError, GraphcError
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops.arithmetic import Add, Mul
from graphc.ops.base import const
from graphc.ops.cast import Cast
from graphc.ops.movement import Split
from graphc.ops.vjp import differentiable, gradient_graph, vjp
from graphc.types import SequenceType, TensorType, float32, float64, int64


class Opaque(Op):
    """An op without a gradient."""

    def infer(self, x):
        return x.tensor

    def eval(self, x):
        return x


class Wrong(Opaque):
    """An op whose gradient is what it is told to be."""

    gradients: tuple = ()

    def grad(self, dy, y, x):
        return list(self.gradients)


def tensor(dtype, *shape, name="x"):
    return Value(TensorType(dtype, shape), name=name)


ONE = const(np.array(1, np.float32))
x, z = tensor(float32, name="x"), tensor(float32, name="z")


def value(result, **feeds):
    inputs = [v for v in (x, z) if v.name in feeds]
    return float(interpret(Graph(inputs, [result]), [np.float32(feeds[v.name]) for v in inputs])[0])


def test_uses_are_summed():
    (dx,) = vjp([x * x + x], [ONE], [x])
    assert value(dx, x=3) == 7


def test_several_outputs_and_seeds():
    dx, dz = vjp([x * z, x + z, z], [ONE, const(np.float32(10)), None], [x, z])
    assert (value(dx, x=3, z=4), value(dz, x=3, z=4)) == (14, 13)


def test_derivatives_are_total():
    y = x * x
    dx, dy = vjp([y * x], [ONE], [x, y])
    assert (value(dx, x=3), value(dy, x=3)) == (27, 3)


def test_the_seed_itself_where_an_output_is_asked_for():
    assert vjp([x], [ONE], [x]) == [ONE]


def test_what_is_not_on_a_path_is_not_visited():
    assert vjp([Opaque()(z) * x], [ONE], [x])[0] is not None
    assert vjp([x * x], [ONE], [z]) == [None]
    assert vjp([Opaque()(x)], [None], [x]) == [None]


def test_an_op_without_a_gradient_is_named():
    y = Opaque().apply([x * x], "black box")[0]
    with pytest.raises(GraphcError, match="Opaque 'black box': Opaque has no gradient"):
        vjp([y], [ONE], [x])


def test_integers_have_no_gradient():
    n = tensor(int64, name="n")
    assert vjp([Cast(float32)(n) * x], [ONE], [n])[0] is None
    assert vjp([Cast(int64)(x)], [const(np.array(1))], [x]) == [None]
    assert not differentiable(SequenceType(TensorType(int64, ())))


def test_outputs_that_nothing_depends_on():
    v = tensor(float32, 4, name="v")
    first, _ = Split(num_outputs=2, outputs=2)(v)
    (dv,) = vjp([first], [const(np.float32([1, 2]))], [v])
    np.testing.assert_array_equal(interpret(Graph([v], [dv]), [np.zeros(4, np.float32)])[0], [1, 2, 0, 0])


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Wrong((ONE, ONE)), "gives 2 gradients for 1 inputs"),
        (Wrong((const(np.array(1.0)),)), r"gradient of input 0 is f64\[\], expected f32\[\]"),
        (Wrong((const(np.float32([1])),)), r"gradient of input 0 is f32\[1\], expected f32\[\]"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(op, message):
    with pytest.raises(CompileError, match=message):
        vjp([op(x)], [ONE], [x])


def test_a_seed_that_does_not_fit_is_refused():
    with pytest.raises(CompileError, match=r"the seed is f64\[\], expected f32\[\]"):
        vjp([x * x], [tensor(float64)], [x])


def test_a_long_chain():
    y = x
    for _ in range(50_000):
        y = Add()(y, ONE)
    assert vjp([y], [ONE], [x]) == [ONE]


def test_gradient_graph_takes_inputs_and_seeds():
    a, b, d = tensor(float32, name="a"), tensor(float32, name="b"), tensor(int64, name="dy")
    body = Graph([a, b, d], [Mul()(a, a), Cast(float32)(d)], ["y", "n"])
    graph, has = gradient_graph(body, [True, False])
    assert has == [True, False, False]
    assert [v.name for v in graph.inputs] == ["a", "b", "dy", "ddy"]
    (da,) = interpret(graph, [np.float32(3), np.float32(0), np.array(0), np.float32(1)])
    assert da == 6
