"""Gradients in native code: one row of each op, and networks in training, node by node native, against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance import Case, all_cases
from test_gradients import float_types, has_gradient

import graphc
from graphc import models
from graphc.autodiff import grad
from graphc.interpret import interpret
from graphc.ir import Graph, Node, Value, rebuild, substitute
from graphc.ops.base import const
from graphc.ops.loss import SoftmaxCrossEntropyLoss
from graphc.ops.normalization import BatchNormalization
from graphc.ops.softmax import Softmax
from graphc.ops.vjp import vjp
from graphc.types import TensorType, float32, int64

# Ops whose gradients need something that is not native yet, each with the node and its reason.
NOT_NATIVE = {
    "Unique": "its sizes depend on data", "Range": "its size depends on data",
    "RoiAlign": "the number of samples depends on data", "Det": "Det has no loop-level form",
    "TopK": "TopK has no loop-level form", "Loop": "the number of trips, and so of slices, depends on data",
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


def in_training(graph: Graph) -> tuple[Graph, dict[str, np.ndarray]]:
    """The loss and its gradients, with weights that are inputs and the statistics of the batch; and the weights."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, BatchNormalization):
            return replace(node.op, training_mode=True).apply(xs, node.name)
        return xs[:1] if isinstance(node.op, Softmax) else None  # type: ignore[return-value]

    graph = rebuild(graph, visit)
    weights = {n.output: n.name for n in graph.constants() if n.name and not n.name.endswith(("_mean", "_var"))}
    inputs = {v: Value(v.type, name=name) for v, name in weights.items()}
    arrays = {name: np.asarray(v.node.op.value.array) for v, name in weights.items()}  # type: ignore[union-attr]
    given = {v: v for v in graph.inputs} | inputs
    (scores,) = substitute(graph, given)
    labels = Value(TensorType(int64, (scores.shape or ())[:1]), name="labels")
    loss = SoftmaxCrossEntropyLoss().apply((scores, labels))[0]
    gradients = vjp([loss], [const(1.0, float32)], list(inputs.values()))
    outputs = [loss, *(g for g in gradients if g is not None)]
    return Graph([*graph.inputs, labels, *inputs.values()], outputs), arrays


@pytest.mark.parametrize("name", ["lenet5", "mlp", "resnet18"])
def test_networks_in_training(name: str) -> None:
    build = {
        "lenet5": lambda: models.lenet5(batch=4),
        "mlp": lambda: models.mlp(batch=4),
        "resnet18": lambda: models.resnet18(batch=4, image_size=64, classes=10),
    }[name]
    graph, weights = in_training(build())
    rng = np.random.default_rng(1)  # with 0, an input of a ReLU of resnet18 lies within rounding errors of zero
    x = rng.standard_normal(graph.inputs[0].shape).astype(np.float32)  # type: ignore[arg-type]
    labels = rng.integers(0, 10, len(x))
    for got, want in run(graph, [x, labels, *(weights[v.name] for v in graph.inputs[2:])], native=True):
        assert np.linalg.norm(got - want) <= 2e-5 * np.linalg.norm(want)
