"""Losses, metrics and penalties as graphs, against NumPy in float64 and PyTorch; gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.autodiff import (
    L1,
    L2,
    CrossEntropy,
    ElasticNet,
    MeanSquared,
    accuracy,
    grad,
    mean_absolute_error,
)
from graphc.autodiff.regularisers import penalty
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.types import TensorType, dtype_of, float64

rng = np.random.default_rng(1)
LOGITS = rng.standard_normal((6, 4))
LABELS = np.array([0, 3, 1, 1, 2, 0])
ONE_HOT = np.eye(4)[LABELS]
SOFT = rng.dirichlet(np.ones(4), 6)
WEIGHTS = (0.5, 1.0, 2.0, 0.25)
MASK = np.array([1.0, 0.0, 1.0, 0.5, 1.0, 0.0])
DEEP, DEEP_LABELS = rng.standard_normal((2, 4, 3, 5)), rng.integers(0, 4, (2, 3, 5))


def graph_of(loss, prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> Graph:
    given = {"z": prediction, "t": target} | ({} if mask is None else {"m": mask})
    inputs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=n) for n, a in given.items()]
    return Graph(inputs, [loss(*inputs).value], ["loss"])


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - z.max(1, keepdims=True) - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))


def reference(z, t, *, weights=None, ignore=None, smoothing=0.0, mask=None) -> float:
    """The definition, one position after the other."""
    logs, classes = log_softmax(z), z.shape[1]
    w = np.ones(classes) if weights is None else np.array(weights)
    total, count = 0.0, 0.0
    for at in np.ndindex(t.shape):
        c = t[at]
        if c == ignore:
            continue
        row = logs[(at[0], slice(None), *at[1:])]
        importance = 1.0 if mask is None else mask[at]
        smooth = -(smoothing / classes) * (w * row).sum()
        total += importance * (-(1 - smoothing) * w[c] * row[c] + smooth)
        count += importance * w[c]
    return total / count


CASES = {
    "plain": {},
    "weights": {"weights": WEIGHTS},
    "ignore": {"ignore": 1},
    "smoothing": {"smoothing": 0.1},
    "mask": {"mask": MASK},
    "all": {"weights": WEIGHTS, "ignore": 1, "smoothing": 0.2, "mask": MASK},
}


@pytest.mark.parametrize("name", CASES)
def test_cross_entropy_of_labels(name: str) -> None:
    options = CASES[name]
    loss = CrossEntropy(
        class_weights=options.get("weights"),
        ignore_index=options.get("ignore"),
        smoothing=options.get("smoothing", 0.0),
    )
    mask = options.get("mask")
    graph = graph_of(loss, LOGITS, LABELS, mask)
    feeds = [LOGITS, LABELS] + ([] if mask is None else [mask])
    assert interpret(graph, feeds)[0] == pytest.approx(reference(LOGITS, LABELS, **options), rel=1e-12)
    check_gradient(graph, feeds)
    for backend in ("llvm", "onnxruntime"):  # these only need to know what the graph is made of
        single = graph_of(loss, LOGITS.astype(np.float32), LABELS, None if mask is None else mask.astype(np.float32))
        got = graphc.compile(single, backend=backend)(
            *(a.astype(np.float32) if a.dtype == np.float64 else a for a in feeds)
        )
        assert float(got) == pytest.approx(reference(LOGITS, LABELS, **options), rel=1e-5)


def test_cross_entropy_of_pixels() -> None:
    loss = CrossEntropy(ignore_index=2, smoothing=0.1, class_weights=WEIGHTS)
    graph = graph_of(loss, DEEP, DEEP_LABELS)
    expected = reference(DEEP, DEEP_LABELS, ignore=2, smoothing=0.1, weights=WEIGHTS)
    assert interpret(graph, [DEEP, DEEP_LABELS])[0] == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_of_probabilities() -> None:
    def value(t: np.ndarray, loss: CrossEntropy) -> float:
        graph = graph_of(loss, LOGITS, t)
        check_gradient(graph, [LOGITS, t])
        return float(interpret(graph, [LOGITS, t])[0])

    logs = log_softmax(LOGITS)
    assert value(ONE_HOT, CrossEntropy(True)) == pytest.approx(reference(LOGITS, LABELS), rel=1e-12)
    assert value(SOFT, CrossEntropy(True)) == pytest.approx(-(SOFT * logs).sum(1).mean(), rel=1e-12)
    smooth = 0.9 * SOFT + 0.1 / 4
    weighted = CrossEntropy(True, smoothing=0.1, class_weights=WEIGHTS)
    assert value(SOFT, weighted) == pytest.approx(-(np.array(WEIGHTS) * smooth * logs).sum(1).mean(), rel=1e-12)
    graph = graph_of(CrossEntropy(True), LOGITS, SOFT, MASK)
    expected = -(MASK * (SOFT * logs).sum(1)).sum() / MASK.sum()
    assert interpret(graph, [LOGITS, SOFT, MASK])[0] == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
    for options in ({}, {"smoothing": 0.1}, {"smoothing": 0.1, "class_weights": WEIGHTS}, {"ignore_index": 1}):
        names = {"smoothing": "label_smoothing", "class_weights": "weight", "ignore_index": "ignore_index"}
        given = {names[k]: torch.tensor(v) if isinstance(v, tuple) else v for k, v in options.items()}
        if "weight" in given:
            given["weight"] = given["weight"].double()
        for t in (LABELS, SOFT) if "ignore_index" not in options else (LABELS,):
            expected = torch.nn.functional.cross_entropy(torch.tensor(LOGITS), torch.tensor(t), **given)
            loss = CrossEntropy(t.dtype.kind == "f", **options)
            assert interpret(graph_of(loss, LOGITS, t), [LOGITS, t])[0] == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("backend", ["numpy", "llvm", "onnxruntime"])
@pytest.mark.parametrize(
    ("measure", "target", "weights"),
    [
        (CrossEntropy(), LABELS, np.zeros(6)),
        (CrossEntropy(class_weights=WEIGHTS, smoothing=0.1), LABELS, np.zeros(6)),
        (CrossEntropy(ignore_index=7), np.full(6, 7), None),
        (CrossEntropy(True), SOFT, np.zeros(6)),
        (MeanSquared(), SOFT, np.zeros((6, 4))),
        (mean_absolute_error, SOFT, np.zeros((6, 4))),
        (accuracy, LABELS, np.zeros(6)),
    ],
)
def test_the_mean_of_nothing_is_zero_and_so_is_its_gradient(measure, target, weights, backend: str) -> None:
    given = [a if a.dtype.kind == "i" else a.astype(np.float32) for a in (LOGITS, target, weights) if a is not None]
    graph = graph_of(measure, *given)
    assert graphc.compile(graph, backend=backend)(*given) == 0
    if measure is not accuracy:
        gradient = graphc.compile(grad(graph, ["z"]), backend=backend)(*given)
        np.testing.assert_array_equal(gradient, np.zeros((6, 4)))


def test_weighted_metrics() -> None:
    hits, error = LOGITS.argmax(1) == LABELS, np.abs(LOGITS - SOFT)
    shares = rng.uniform(0, 1, (6, 4))
    got = interpret(graph_of(accuracy, LOGITS, LABELS, MASK), [LOGITS, LABELS, MASK])[0]
    assert got == pytest.approx(np.average(hits, weights=MASK), rel=1e-12)
    got = interpret(graph_of(mean_absolute_error, LOGITS, SOFT, shares), [LOGITS, SOFT, shares])[0]
    assert got == pytest.approx(np.average(error, weights=shares), rel=1e-12)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    z, t = np.array([[1000.0, 0.0], [-1000.0, 1000.0]]), np.array([1, 1])
    assert interpret(graph_of(CrossEntropy(), z, t), [z, t])[0] == 500.0


def test_mean_squared_error() -> None:
    p, t, m = rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), np.array([[1.0, 0], [0, 1], [1, 1]])
    graph = graph_of(MeanSquared(), p, t)
    assert interpret(graph, [p, t])[0] == pytest.approx(((p - t) ** 2).mean(), rel=1e-12)
    check_gradient(graph, [p, t])
    masked = interpret(graph_of(MeanSquared(), p, t, m), [p, t, m])[0]
    assert masked == pytest.approx((m * (p - t) ** 2).sum() / 4, rel=1e-12)


def test_metrics() -> None:
    assert interpret(graph_of(accuracy, LOGITS, LABELS), [LOGITS, LABELS])[0] == pytest.approx(
        (LOGITS.argmax(1) == LABELS).mean()
    )
    assert interpret(graph_of(accuracy, LOGITS, SOFT), [LOGITS, SOFT])[0] == pytest.approx(
        (LOGITS.argmax(1) == SOFT.argmax(1)).mean()
    )
    error = interpret(graph_of(mean_absolute_error, LOGITS, SOFT), [LOGITS, SOFT])[0]
    assert error == pytest.approx(np.abs(LOGITS - SOFT).mean())


@pytest.mark.parametrize(
    ("regulariser", "expected"),
    [
        (L1(0.3), lambda w: 0.3 * np.abs(w).sum()),
        (L2(0.3), lambda w: 0.3 * (w**2).sum()),
        (ElasticNet(0.3, 0.2), lambda w: 0.3 * np.abs(w).sum() + 0.2 * (w**2).sum()),
    ],
    ids=["l1", "l2", "elastic"],
)
def test_penalties_are_of_weights_not_biases(regulariser, expected) -> None:
    w, k, b = rng.standard_normal((3, 2)), rng.standard_normal((2, 1, 3, 3)), np.full(3, 1e6)
    values = [Value(TensorType(float64, a.shape), name=f"w{i}") for i, a in enumerate((w, k, b))]
    total = penalty(regulariser, values)
    assert total is not None
    graph = Graph(values, [total], ["loss"])
    assert interpret(graph, [w, k, b])[0] == pytest.approx(expected(w) + expected(k), rel=1e-12)
    check_gradient(graph, [w, k, b])
    assert penalty(regulariser, values[2:]) is None


def test_what_losses_refuse() -> None:
    with pytest.raises(graphc.CompileError, match=r"smoothing is 1, expected a number from 0 to below 1"):
        CrossEntropy(smoothing=1)
    with pytest.raises(graphc.CompileError, match="ignore_index is for labels"):
        CrossEntropy(probabilities=True, ignore_index=0)
    with pytest.raises(graphc.CompileError, match=r"expected logits \[n, classes, …\]"):
        CrossEntropy().target_type(Value(TensorType(float64, (4,)), name="x"))


def check_gradient(graph: Graph, feeds: list[np.ndarray]) -> None:
    """The gradient of the first input against central differences."""
    (dz,) = interpret(grad(graph, [graph.inputs[0].name]), feeds)
    for at in list(np.ndindex(feeds[0].shape))[::3]:
        moved = []
        for h in (1e-6, -1e-6):
            z = feeds[0].copy()
            z[at] += h
            moved.append(float(interpret(graph, [z, *feeds[1:]])[0]))
        assert dz[at] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-5, abs=1e-8)
