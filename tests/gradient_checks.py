"""Gradients held against finite differences in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from conformance import Case

from graphc.errors import TypeMismatch
from graphc.interpret import evaluate, interpret
from graphc.ir import Graph, Op, Value
from graphc.types import DType, TensorType

RTOL, ATOL = 1e-6, 1e-8
EACH = 16  # elements up to which an input is checked one by one; larger ones are checked in random directions
DIRECTIONS = 8


def in_float64(case: Case) -> Case:
    wide = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x for x in case.inputs]
    result = dataclasses.replace(case, inputs=wide)
    try:
        result.graph()
    except TypeMismatch:  # a parameter that is float32 by definition, such as the scales of Resize
        kept = [case.inputs[i] if i in case.const else x for i, x in enumerate(wide)]
        return dataclasses.replace(case, inputs=kept)
    return result


def has_gradient(op: type[Op]) -> bool:
    """Whether the op has one of its own, or may decompose into ops that have."""
    return op.grad is not Op.grad or op.decompose is not Op.decompose


def float_types(case: Case) -> tuple[set[DType], set[DType]]:
    """The floating-point element types of inputs and of outputs."""
    graph = case.graph()
    inputs, outputs = (
        {v.type.dtype for v in values if isinstance(v.type, TensorType) and v.type.dtype.is_float}
        for values in (graph.inputs, graph.outputs)
    )
    return inputs, outputs


def derivative(f: Callable[[float], float], h: float) -> float:
    """f'(0) by the central difference, whose error of O(h²) is far below what is tolerated."""
    return (f(h) - f(-h)) / (2 * h)


def of_input(graph: Graph, known: dict[Value, np.ndarray], at: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The outputs of `graph` as a function of one input; what does not depend on it is as `known` from a run."""
    data = dict(known)
    moving = {graph.inputs[at]}
    nodes = []
    for node in graph.nodes:
        if moving.intersection(node.inputs):
            moving.update(node.outputs)
            nodes.append(node)

    def outputs(x: np.ndarray) -> list[np.ndarray]:
        data[graph.inputs[at]] = x
        for node in nodes:
            results = evaluate(node, [None if v is None else data[v] for v in node.inputs])
            data.update(zip(node.outputs, results, strict=True))
        return [data[v] for v in graph.outputs]

    return outputs


def check(
    graph: Graph, feeds: Sequence[np.ndarray], derivatives: Graph, *, h: float = 1e-5, rtol: float = RTOL,
    atol: float = ATOL,
) -> None:  # fmt: skip
    """Compare the gradients that `derivatives` computes with differences of Σ seed · output of `graph`."""
    rng = np.random.default_rng(0)
    floats = [i for i, x in enumerate(feeds) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    known: dict[Value, np.ndarray] = dict(zip(graph.inputs, feeds, strict=True))
    outputs = interpret(graph, feeds, lambda node, _, ys: known.update(zip(node.outputs, ys, strict=True)))
    seeded = [i for i, y in enumerate(outputs) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = {i: rng.uniform(0.5, 1.5, outputs[i].shape).astype(outputs[i].dtype) for i in seeded}
    scalar_loss = len(derivatives.inputs) == len(graph.inputs)
    if scalar_loss:
        seeds = {seeded[0]: np.ones(())}
    gradients = interpret(derivatives, [*feeds, *([] if scalar_loss else seeds.values())])

    def loss(f: Callable[[np.ndarray], list[np.ndarray]], x: np.ndarray) -> float:
        results = f(x)
        return float(sum(np.sum(seed * results[i]) for i, seed in seeds.items()))

    for at, gradient in zip(floats, gradients, strict=True):
        x = feeds[at]
        assert gradient.dtype == x.dtype
        assert gradient.shape == x.shape
        if x.size <= EACH:
            directions = [np.eye(1, x.size, k).reshape(x.shape) for k in range(x.size)]
        else:
            directions = [rng.standard_normal(x.shape) for _ in range(DIRECTIONS)]
        f = of_input(graph, known, at)
        expected = [derivative(lambda t, v=v, x=x, f=f: loss(f, (x + t * v).astype(x.dtype)), h) for v in directions]
        got = [np.sum(gradient * v) for v in directions]
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol * max(1, x.size))
