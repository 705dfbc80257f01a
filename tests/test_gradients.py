"""Every gradient in the conformance table against finite differences in float64, and gradients of gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from conformance import Case, all_cases

from graphc.autodiff import grad
from graphc.errors import TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Op
from graphc.types import DType, TensorType, float32, float64

RTOL, ATOL = 1e-6, 1e-8
MAX_ELEMENTS = 48  # inputs up to this size are checked element by element, larger ones in random directions


def in_float64(case: Case) -> Case:
    wide = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x for x in case.inputs]
    result = dataclasses.replace(case, inputs=wide)
    try:
        result.graph()
    except TypeMismatch:  # a parameter that is float32 by definition, such as the scales of Resize
        kept = [case.inputs[i] if i in case.const else x for i, x in enumerate(wide)]
        return dataclasses.replace(case, inputs=kept)
    return result


def is_differentiable(case: Case) -> bool:
    """True for rows whose op has a gradient and that compute in float64 from inputs to outputs."""
    if type(case.op).grad is Op.grad or not case.grad:
        return False
    return (
        float_types(case) in (({float32},) * 2, ({float64},) * 2) and float_types(in_float64(case)) == ({float64},) * 2
    )


def float_types(case: Case) -> tuple[set[DType], set[DType]]:
    """The floating-point element types of inputs and of outputs."""
    graph = case.graph()
    inputs, outputs = (
        {v.type.dtype for v in values if isinstance(v.type, TensorType) and v.type.dtype.is_float}
        for values in (graph.inputs, graph.outputs)
    )
    return inputs, outputs


CASES = [c for c in all_cases() if is_differentiable(c)]


def derivative(f: Callable[[float], float], h: float) -> float:
    """f'(0) by the five-point central difference, whose error is O(h⁴)."""
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def check(graph: Graph, feeds: Sequence[np.ndarray], derivatives: Graph) -> None:
    """Compare the gradients that `derivatives` computes with differences of Σ seed · output of `graph`."""
    rng = np.random.default_rng(0)
    floats = [i for i, x in enumerate(feeds) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    outputs = interpret(graph, feeds)
    seeded = [i for i, y in enumerate(outputs) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = {i: rng.uniform(0.5, 1.5, outputs[i].shape) for i in seeded}
    scalar_loss = len(derivatives.inputs) == len(graph.inputs)
    if scalar_loss:
        seeds = {seeded[0]: np.ones(())}
    gradients = interpret(derivatives, [*feeds, *([] if scalar_loss else seeds.values())])

    def loss(at: int, x: np.ndarray) -> float:
        results = interpret(graph, [*feeds[:at], x, *feeds[at + 1 :]])
        return float(sum(np.sum(seed * results[i]) for i, seed in seeds.items()))

    for at, gradient in zip(floats, gradients, strict=True):
        x = feeds[at]
        assert gradient.dtype == x.dtype
        assert gradient.shape == x.shape
        if x.size <= MAX_ELEMENTS:
            directions = [np.eye(1, x.size, k).reshape(x.shape) for k in range(x.size)]
        else:
            directions = [rng.standard_normal(x.shape) for _ in range(4)]
        for v in directions:
            expected = derivative(lambda t, v=v, x=x, at=at: loss(at, x + t * v), 1e-3)
            np.testing.assert_allclose(np.sum(gradient * v), expected, rtol=RTOL, atol=ATOL * max(1, x.size))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    case = in_float64(case)
    graph = case.graph()
    check(graph, case.feeds(), grad(graph))


SMALL = [c for c in CASES if c.second and sum(np.size(x) for x in c.inputs if x is not None) <= MAX_ELEMENTS]


@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.name)
def test_gradient_of_gradient(case: Case) -> None:
    case = in_float64(case)
    graph = case.graph()
    first = grad(graph)
    rng = np.random.default_rng(1)
    results = [y for y in interpret(graph, case.feeds()) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = [rng.uniform(0.5, 1.5, y.shape) for y in results][: len(first.inputs) - len(case.feeds())]
    check(first, [*case.feeds(), *seeds], grad(first))
