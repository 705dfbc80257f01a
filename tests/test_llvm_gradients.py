"""Gradients in native code: one row of each op, and networks in training, node by node native, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conformance import Case, all_cases
from gradient_checks import float_types, has_gradient

import graphc
from graphc import models
from graphc.autodiff import grad, training_mode
from graphc.interpret import interpret
from graphc.ir import Graph, Node, Value, rebuild, substitute
from graphc.ops.activation import Gelu, Relu
from graphc.ops.base import Constant, const
from graphc.ops.dropout import Dropout
from graphc.ops.loss import SoftmaxCrossEntropyLoss
from graphc.ops.reshaping import Flatten
from graphc.ops.softmax import Softmax
from graphc.ops.vjp import differentiable, vjp
from graphc.types import TensorType, float32, float64, int64

# Ops whose gradients need something that is not native yet, each with the node and its reason.
NOT_NATIVE = {
    "Unique": "its sizes depend on data", "Range": "its size depends on data",
    "DFT": "a fast transform is not a loop nest", "STFT": "a fast transform is not a loop nest",
    "RoiAlign": "the number of samples depends on data", "Det": "Det has no loop-level form",
    "Loop": "the number of trips, and so of slices, depends on data",
}  # fmt: skip


def chosen() -> list[Case]:
    """The first row of each op that has a gradient in float32; of windows and of losses, the first three."""
    found: dict[str, list[Case]] = {}
    for case in all_cases():
        if has_gradient(type(case.op)) and case.grad and float_types(case) == ({float32},) * 2:
            found.setdefault(case.op.name, []).append(case)
    many = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "SoftmaxCrossEntropyLoss", "BatchNormalization")
    return [c for name, rows in found.items() for c in rows[: 3 if name in many else 1]]


def run(graph: Graph, feeds: list[np.ndarray], *, native: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """The outputs in native code and on NumPy."""
    model = graphc.compile(graph, backend="llvm", threads=1)
    results = list(model.run(feeds).values())
    assert (not [p for p in model.placement() if p.backend != "llvm"]) == native
    return list(zip(results, interpret(graph, feeds), strict=True))


@pytest.mark.parametrize("case", chosen(), ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    graph = case.graph()
    rng = np.random.default_rng(0)
    results = [y for y in interpret(graph, case.feeds()) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    gradient = grad(graph)
    seeds = [rng.uniform(0.5, 1.5, y.shape).astype(y.dtype) for y in results]
    feeds = [*case.feeds(), *seeds[: len(gradient.inputs) - len(graph.inputs)]]
    for got, want in run(gradient, feeds, native=case.op.name not in NOT_NATIVE):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(want).max(initial=0)))


def dropping(graph: Graph) -> Graph:
    """`graph` with a dropout after each activation of a dense layer, and in front of a classifier of averages."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if node.output.rank not in (2, 3) or not isinstance(node.op, Relu | Gelu | Flatten):
            return None
        return (Dropout().apply(node.op.apply(xs, node.name), f"{node.output.name}.drop")[0],)

    return rebuild(graph, visit)


def doubled(graph: Graph) -> Graph:
    """`graph` in float64: its inputs and constants, and so all that follows from them."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Constant) or node.output.dtype is not float32:
            return None
        return (const(node.op.value.array.astype(np.float64), name=node.name),)

    wide = {v: Value(TensorType(float64, v.shape), name=v.name) for v in graph.inputs if v.dtype is float32}
    inputs = [wide.get(v, v) for v in graph.inputs]
    return Graph(inputs, substitute(graph, wide, visit), graph.output_names, name=graph.name)


def gradients(graph: Graph) -> Graph:
    """The loss of `graph` in training mode, and its gradients by all parameters, which stay constants."""
    graph = training_mode(graph)
    scores = graph.outputs[0]
    if scores.node is not None and isinstance(scores.node.op, Softmax):
        (scores,) = (x for x in scores.node.inputs if x is not None)
    parameters = [n.output for n in graph.constants() if n.name and differentiable(n.output.type) and n.output.rank]
    labels = Value(TensorType(int64, (scores.shape or ())[:1]), name="labels")
    loss = SoftmaxCrossEntropyLoss().apply((scores, labels))[0]
    found = vjp([loss], [const(1.0, loss.dtype)], parameters)
    given = {v.name: g for v, g in zip(parameters, found, strict=True) if g is not None}
    return Graph([*graph.inputs, labels], [loss, *given.values()], ["loss", *given])


def classifier(encoder: Graph) -> Graph:
    """The pooled token as scores of classes."""
    return encoder.with_outputs(encoder.outputs[1:])


NETWORKS: dict[str, Callable[[], Graph]] = {
    "mlp": lambda: models.mlp(batch=4),
    "lenet5": lambda: models.lenet5(batch=4),
    "alexnet": lambda: models.alexnet(batch=2, image_size=67, classes=10),
    "googlenet": lambda: models.googlenet(batch=2, image_size=64, classes=10, blocks=3),
    "resnet8": lambda: models.resnet_cifar(batch=4, depth=8),
    "bert": lambda: classifier(models.bert_base(batch=2, length=12, layers=2, width=32, heads=4, vocabulary=50)),
    "vit": lambda: models.vit_b16(batch=2, image_size=48, layers=2, width=32, heads=4, classes=10),
}
SLOW = ("alexnet", "googlenet")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETWORKS])
def test_networks_in_training(name: str) -> None:
    """Every gradient of the loss, with dropout and the statistics of the batch, against NumPy in float64."""
    graph = dropping(NETWORKS[name]())
    native, wide = gradients(graph), gradients(doubled(graph))
    assert native.output_names == wide.output_names
    rng = np.random.default_rng(2)  # with 1, an input of a ReLU of resnet18 lies within rounding errors of zero
    feeds: dict[str, np.ndarray] = {}
    for v in native.inputs:
        if v.dtype is float32:
            feeds[v.name] = rng.standard_normal(v.tensor.sizes).astype(np.float32)
        else:  # labels, tokens, seed and step
            feeds[v.name] = rng.integers(0, 10, v.tensor.sizes)
    model = graphc.compile(native, backend="llvm", threads=1)
    results = model.run(feeds)
    assert [str(p) for p in model.placement() if p.backend != "llvm"] == []
    exact = interpret(wide, [feeds[v.name].astype(v.dtype.numpy) for v in wide.inputs])
    # Softmax is blind to what the bias of keys adds to a row: that gradient is 0, and what rounding leaves of the rest.
    least = 1e-7 * max(np.linalg.norm(want) for want in exact)
    for key, want in zip(wide.output_names, exact, strict=True):
        assert np.linalg.norm(results[key] - want) <= 2e-5 * np.linalg.norm(want) + least, key
