"""Rematerialisation: the same gradients in less memory; and gradients that stop."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

import graphc
from graphc.errors import InvalidModel
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.dropout import Dropout
from graphc.ops.linear import MatMul
from graphc.ops.logic import Barrier, StopGradient
from graphc.ops.math import Tanh
from graphc.types import TensorType, bool_, float32


def chain(layers: int, width: int = 64, batch: int = 256, *, skip: bool = False, random: bool = False) -> Graph:
    """tanh(… tanh(x w0) …) with the weights as inputs, and its mean square."""
    x = Value(TensorType(float32, (batch, width)), name="x")
    weights = [Value(TensorType(float32, (width, width)), name=f"w{i}") for i in range(layers)]
    y = x
    for i, w in enumerate(weights):
        z = Tanh().apply((y @ w,), f"y{i}")[0]
        if random:
            z = Dropout(outputs=2).apply((z, const(0.5, float32), const(True, bool_)), f"dropped{i}")[0]
        y = z + y if skip and i % 2 else z
    return Graph([x, *weights], [(y * y).mean()], ["loss"])


def feeds(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(v.shape).astype(np.float32) / 8 for v in graph.inputs]  # type: ignore[arg-type]


def arena(model: graphc.CompiledModel) -> int:
    """Bytes of the memory in which values live during a run."""
    found = re.search(r"arena\D*([\d,]+)", model.memory_plan())
    assert found is not None
    return int(found[1].replace(",", ""))


def names(layers: int, every: int) -> Sequence[str]:
    return [f"y{i}" for i in range(every - 1, layers - 1, every)]


@pytest.mark.parametrize("skip", [False, True])
def test_the_same_bits_in_less_memory(skip: bool) -> None:
    graph = chain(16, skip=skip)
    plain, again = (
        graphc.compile(graphc.grad(graph, keep_outputs=True, checkpoint=kept), backend="llvm", threads=1)
        for kept in (None, names(16, 4))
    )
    results = again.run(feeds(graph))
    for key, want in plain.run(feeds(graph)).items():
        np.testing.assert_array_equal(results[key], want)
    assert arena(again) < arena(plain)
    if not skip:  # all activations, and as many gradients; with them, those of the borders and of one segment
        assert arena(plain) >= 2 * 15 * 256 * 64 * 4
        assert arena(again) <= (3 + 2 * 5) * 256 * 64 * 4


def test_each_segment_but_the_last_is_computed_again_once() -> None:
    gradient = graphc.grad(chain(9), checkpoint=["y2", "y5"])
    assert sum(isinstance(n.op, Tanh) for n in gradient.nodes) == 9 + 3 + 3 - 2  # y2 and y5 are kept
    optimized, _ = graphc.optimize(gradient, level=1)
    assert sum(isinstance(n.op, Tanh) for n in optimized.nodes) == 13


def test_forward_values_are_computed_once() -> None:
    gradient, _ = graphc.optimize(graphc.grad(chain(5), keep_outputs=True), level=1)
    assert sum(isinstance(n.op, Tanh) for n in gradient.nodes) == 5
    assert sum(isinstance(n.op, MatMul) for n in gradient.nodes) == 5 + 2 * 5


def test_random_values_are_kept() -> None:
    gradient = graphc.grad(chain(6, random=True), checkpoint=["y2"])
    assert sum(isinstance(n.op, Dropout) for n in gradient.nodes) == 6


def test_a_name_that_is_no_value_is_refused() -> None:
    with pytest.raises(InvalidModel, match="no value to keep is called 'y9'"):
        graphc.grad(chain(3), checkpoint=["y9"])


X = Value(TensorType(float32, (3,)), name="x")
POINT = np.array([1, 2, 3], np.float32)


def test_stop_gradient() -> None:
    gradient = graphc.grad(Graph([X], [(X * graphc.stop_gradient(X * X)).sum()], ["loss"]))
    for backend in ("numpy", "llvm", "onnxruntime"):
        result = graphc.compile(gradient, backend=backend).run([POINT])
        np.testing.assert_array_equal(result["grad_x"], POINT * POINT)


@pytest.mark.parametrize("v", [StopGradient()(X), Barrier()(X, X * X)], ids=["stop", "barrier"])
def test_in_onnx_it_is_an_identity(v: Value) -> None:
    proto = save(Graph([X], [v], ["y"]))
    assert [n.op_type for n in proto.graph.node if n.output[0] == "y"] == ["Identity"]
    np.testing.assert_array_equal(interpret(load(proto), [POINT])[0], POINT)


def test_a_barrier_passes_gradients_of_what_it_holds() -> None:
    gradient = graphc.grad(Graph([X], [Barrier()(X * 2.0, X * X).sum()], ["loss"]))
    np.testing.assert_array_equal(interpret(gradient, [POINT])[0], [2, 2, 2])
