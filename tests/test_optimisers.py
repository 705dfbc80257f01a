"""Optimisers, clipping and learning rates as graphs, against formulas in float64, ONNX's operators and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from graphc.autodiff import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ClipByNorm,
    ClipByValue,
    Constant,
    Cosine,
    Exponential,
    Momentum,
    RMSProp,
    Stairstep,
    WarmUp,
)
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops import optimizer as onnx_ops
from graphc.types import TensorType, float32, float64, int64

STEPS, RATE = 6, 0.05
rng = np.random.default_rng(0)
START = rng.standard_normal((3, 4))
GRADIENTS = rng.standard_normal((STEPS, 3, 4))


def run(optimiser, dtype=float64) -> np.ndarray:
    """The parameter after each of STEPS updates with the gradients GRADIENTS."""
    x, g = (Value(TensorType(dtype, (3, 4)), name=n) for n in "xg")
    states = [Value(TensorType(dtype, (3, 4)), name=n) for n in optimiser.slots]
    rate, count = Value(TensorType(dtype, ()), name="rate"), Value(TensorType(int64, ()), name="count")
    new = optimiser.update(x, g, states, optimiser.factors(rate, count))
    graph = Graph([x, g, *states, rate, count], new)
    values = [START.astype(dtype.numpy), *(np.zeros((3, 4), dtype.numpy) for _ in states)]
    found = []
    for k, gradient in enumerate(GRADIENTS):
        first, *rest = values
        values = interpret(
            graph, [first, gradient.astype(dtype.numpy), *rest, np.array(RATE, dtype.numpy), np.array(k)]
        )
        found.append(values[0])
    return np.array(found)


# -- formulas ----------------------------------------------------------------------------------------------------------
def sgd(x, g, k, s):
    return x - RATE * g


def momentum(x, g, k, s):
    s["v"] = 0.9 * s.get("v", 0) + g
    return x - RATE * s["v"]


def nesterov(x, g, k, s):
    s["v"] = 0.9 * s.get("v", 0) + g
    return x - RATE * (g + 0.9 * s["v"])


def adagrad(x, g, k, s):
    s["h"] = s.get("h", 0) + g**2
    return x - RATE * g / (np.sqrt(s["h"]) + 1e-6)


def rmsprop(x, g, k, s):
    s["h"] = 0.9 * s.get("h", 0) + 0.1 * g**2
    return x - RATE * g / (np.sqrt(s["h"]) + 1e-6)


def adam(x, g, k, s, corrected=True):
    """Algorithm 1 of the paper, its ε̂ being ε √(1 − β₂ᵗ)."""
    t = k + 1
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    if not corrected:
        return x - RATE * s["m"] / (np.sqrt(s["v"]) + 1e-8)
    m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    return x - RATE * m / (np.sqrt(v) + 1e-8 / math.sqrt(1 - 0.999**t))


def adamw(x, g, k, s):
    return adam(x * (1 - RATE * 0.1), g, k, s)


FORMULAS: list[tuple[object, Callable]] = [
    (SGD(), sgd),
    (Momentum(0.9), momentum),
    (Momentum(0.9, nesterov=True), nesterov),
    (Adagrad(), adagrad),
    (RMSProp(), rmsprop),
    (Adam(), adam),
    (Adam(bias_correction=False), lambda *xs: adam(*xs, corrected=False)),
    (AdamW(weight_decay=0.1), adamw),
]
IDS = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adam-uncorrected", "adamw"]


@pytest.mark.parametrize(("optimiser", "formula"), FORMULAS, ids=IDS)
def test_updates_follow_the_formula(optimiser, formula: Callable) -> None:
    x, state, expected = START, {}, []
    for k, g in enumerate(GRADIENTS):
        x = formula(x, g, k, state)
        expected.append(x)
    np.testing.assert_allclose(run(optimiser), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(run(optimiser, float32), expected, rtol=2e-5, atol=1e-6)


ONNX = [
    (Momentum(0.8), onnx_ops.Momentum(0.8, 1.0, "standard", 0.0), 0),
    (Momentum(0.8, nesterov=True), onnx_ops.Momentum(0.8, 1.0, "nesterov", 0.0), 0),
    (Adagrad(1e-4), onnx_ops.Adagrad(epsilon=1e-4), 0),
    (Adam(0.8, 0.99, 1e-4), onnx_ops.Adam(0.8, 0.99, 1e-4), 1),
]


@pytest.mark.parametrize(("optimiser", "op", "first"), ONNX, ids=["momentum", "nesterov", "adagrad", "adam"])
def test_updates_are_those_of_onnx_operators(optimiser, op, first: int) -> None:
    x, *states = START, *(np.zeros((3, 4)) for _ in optimiser.slots)
    expected = []
    for k, g in enumerate(GRADIENTS):
        x, *states = op.eval(np.array(RATE), np.array(k + first), x, g, *states)
        expected.append(x)
    np.testing.assert_allclose(run(optimiser), expected, rtol=1e-12)


def test_adam_without_correction_is_the_operator_at_zero() -> None:
    x, states, expected = START, [np.zeros((3, 4))] * 2, []
    for g in GRADIENTS:
        x, *states = onnx_ops.Adam(epsilon=1e-8).eval(np.array(RATE), np.array(0), x, g, *states)
        expected.append(x)
    np.testing.assert_allclose(run(Adam(bias_correction=False)), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_updates_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
    tiny = 1e-12  # PyTorch adds ε after the correction of Adam, ONNX and the paper's short form before
    build, optimiser = {
        "sgd": (lambda p: torch.optim.SGD(p, RATE), SGD()),
        "momentum": (lambda p: torch.optim.SGD(p, RATE, momentum=0.9), Momentum(0.9)),
        "nesterov": (lambda p: torch.optim.SGD(p, RATE, momentum=0.9, nesterov=True), Momentum(0.9, nesterov=True)),
        "adagrad": (lambda p: torch.optim.Adagrad(p, RATE, eps=1e-6), Adagrad()),
        "rmsprop": (lambda p: torch.optim.RMSprop(p, RATE, alpha=0.9, eps=1e-6), RMSProp()),
        "adam": (lambda p: torch.optim.Adam(p, RATE, eps=tiny), Adam(epsilon=tiny)),
        "adamw": (
            lambda p: torch.optim.AdamW(p, RATE, eps=tiny, weight_decay=0.1), AdamW(epsilon=tiny, weight_decay=0.1)
        ),
    }[name]  # fmt: skip
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    peer, expected = build([x]), []
    for g in GRADIENTS:
        x.grad = torch.tensor(g)
        peer.step()
        expected.append(x.detach().numpy().copy())
    np.testing.assert_allclose(run(optimiser), expected, rtol=1e-9)


def test_decay_spares_biases() -> None:
    b, g, m, h = (Value(TensorType(float32, (2,)), name=n) for n in "bgmh")
    rate, count = Value(TensorType(float32, ()), name="rate"), Value(TensorType(int64, ()), name="count")
    decayed = AdamW(weight_decay=0.5)
    graph = Graph([b, g, m, h, rate, count], decayed.update(b, g, [m, h], decayed.factors(rate, count)))
    zeros = np.zeros(2, np.float32)
    values = interpret(graph, [np.ones(2, np.float32), zeros, zeros, zeros, np.float32(0.1), np.array(0)])
    np.testing.assert_array_equal(values[0], [1, 1])


# -- clipping ----------------------------------------------------------------------------------------------------------
def clip(clipping, *gradients: np.ndarray) -> list[np.ndarray]:
    values = [Value(TensorType(float64, g.shape), name=f"g{i}") for i, g in enumerate(gradients)]
    return interpret(Graph(values, clipping(values)), gradients)


def test_clipping_by_value() -> None:
    (g,) = clip(ClipByValue(0.5), np.array([-2.0, -0.5, 0.1, 3.0]))
    np.testing.assert_array_equal(g, [-0.5, -0.5, 0.1, 0.5])


@pytest.mark.parametrize(("limit", "factor"), [(1.3, 0.1), (13.0, 1.0), (20.0, 1.0)])
def test_clipping_by_the_norm_of_all(limit: float, factor: float) -> None:
    a, b = np.array([3.0, 4.0]), np.array([[12.0]])  # of norm 13
    for clipped, g in zip(clip(ClipByNorm(limit), a, b), (a, b), strict=True):
        np.testing.assert_allclose(clipped, g * factor, rtol=1e-12)


def test_zero_gradients_stay_zero() -> None:
    (g,) = clip(ClipByNorm(1.0), np.zeros(3))
    np.testing.assert_array_equal(g, np.zeros(3))


# -- learning rates ----------------------------------------------------------------------------------------------------
SCHEDULES = [
    (Constant(0.3), lambda t: 0.3),
    (Stairstep(0.3, 0.1, 10), lambda t: 0.3 * 0.1 ** (t // 10)),
    (Exponential(0.3, 0.5, 7), lambda t: 0.3 * 0.5 ** (t / 7)),
    (Cosine(0.3, 25, 0.01), lambda t: 0.01 + 0.29 * (1 + math.cos(math.pi * min(t, 25) / 25)) / 2),
    (
        WarmUp(5, Stairstep(0.3, 0.1, 10)),
        lambda t: 0.3 * (t + 1) / 6 if t < 5 else 0.3 * 0.1 ** ((t - 5) // 10),
    ),
]


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES, ids=lambda s: type(s).__name__)
def test_learning_rates_follow_the_formula(schedule, formula: Callable[[int], float]) -> None:
    step = Value(TensorType(int64, ()), name="step")
    graph = Graph([step], [schedule(step)])
    assert graph.outputs[0].type == TensorType(float32, ())
    got = [float(interpret(graph, [np.array(t)])[0]) for t in range(40)]
    np.testing.assert_allclose(got, [formula(t) for t in range(40)], rtol=1e-6, atol=1e-9)
