"""Training of networks with several inputs, and with weights of examples and positions, against NumPy in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_train import Stop, StopAt

import graphc
from graphc.autodiff import SGD, Adam, Constant, CrossEntropy, MeanSquared, accuracy, mean_absolute_error
from graphc.dims import sym
from graphc.ir import Graph, Value
from graphc.models.builder import Builder, features, network, relu
from graphc.ops.base import const
from graphc.ops.indexing import Gather
from graphc.ops.movement import Concat, Transpose
from graphc.train import Dataset, Noise, Recipe, fit
from graphc.train.data import order_of
from graphc.types import TensorType, float32, int64

rng = np.random.default_rng(0)
A, B = rng.standard_normal((70, 3)).astype(np.float32), rng.standard_normal((70, 2)).astype(np.float32)
Y = rng.standard_normal((70, 2)).astype(np.float32)
WEIGHTS = rng.uniform(0.1, 3, 70).astype(np.float32)
WEIGHTS[::3] = 0
HELD_OUT = slice(50, 70)  # chunks of 16 and of 4
RECIPE = Recipe(MeanSquared(), SGD(), Constant(0.1), batch=16, epochs=2, metrics={"error": mean_absolute_error})


def both(*, hidden: int = 0) -> Graph:
    """One or two dense layers on two inputs."""
    net = Builder(0)
    a, b = (Value(TensorType(float32, (sym("batch"), n)), name=name) for name, n in (("a", 3), ("b", 2)))
    y: Value = Concat(axis=1)(a, b)
    y = relu(net.dense("fc0", y, hidden)) if hidden else y
    return Graph([a, b], [net.dense("fc", y, 2)], ["y"], name="both")


def tagger() -> Graph:
    """Tokens [batch, 5] -> scores [batch, 3, 5] of a class for each."""
    net, tokens = Builder(0), Value(TensorType(int64, (sym("batch"), 5)), name="tokens")
    rows = Gather()(net.weights("embedding.weight", (7, 8), 1.0), tokens)
    return network("tagger", tokens, Transpose(perm=(0, 2, 1))(net.linear("fc", rows, 3, std=0.3)))


def weight(graph: Graph, name: str) -> np.ndarray:
    (found,) = (n.op.eval() for n in graph.constants() if n.name == name)
    return found


def by_hand(weights: np.ndarray) -> tuple[np.ndarray, list[float], list[dict[str, float]]]:
    """Descent along the gradient of Σ w (p − t)² / Σ w, without a graph: the weight, losses, and a record an epoch."""
    x, y = np.c_[A, B].astype(np.float64), Y.astype(np.float64)
    w, b = (weight(both(), f"fc.{part}").astype(np.float64) for part in ("weight", "bias"))
    importance = np.broadcast_to(weights.astype(np.float64).reshape(70, -1), y.shape)
    losses: list[float] = []
    records = []
    for epoch in range(2):
        order = order_of(50, 0, epoch)
        means, counts = [], []
        for k in range(3):
            at = order[16 * k : 16 * k + 16]
            error, m = x[at] @ w.T + b - y[at], importance[at]
            total = m.sum()
            means.append([(m * error**2).sum() / max(total, 1e-9), (m * abs(error)).sum() / max(total, 1e-9)])
            counts.append(total)
            dp = 2 * m * error / max(total, 1e-9)
            w, b = w - 0.1 * dp.T @ x[at], b - 0.1 * dp.sum(0)
        losses += [loss for loss, _ in means]
        error = x[HELD_OUT] @ w.T + b - y[HELD_OUT]
        values = [
            *np.average(means, 0, counts),
            *(np.average(e, weights=importance[HELD_OUT]) for e in (error**2, abs(error))),
        ]
        records.append(dict(zip(("loss", "error", "validation_loss", "validation_error"), values, strict=True)))
    return w, losses, records


@pytest.mark.parametrize("backend", ["numpy", "llvm", "onnxruntime"])
@pytest.mark.parametrize("kind", ["none", "examples", "positions", "mask", "a batch of nothing"])
def test_several_inputs_and_weights(kind: str, backend: str) -> None:
    nothing = WEIGHTS + 0.5
    nothing[order_of(50, 0, 1)[16:32]] = 0  # the second batch of the second epoch
    weights = {
        "none": None,
        "examples": WEIGHTS,
        "positions": WEIGHTS[:, None] * np.array([1, 0.25], np.float32),
        "mask": WEIGHTS > 1,
        "a batch of nothing": nothing,
    }[kind]
    data = Dataset({"b": B, "a": A}, Y, weights)
    found = fit(both(), data[:50], RECIPE, validation=data[HELD_OUT], backend=backend)
    expected, losses, records = by_hand(np.ones(70) if weights is None else weights)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(weight(found.graph, "fc.weight"), expected, rtol=1e-4, atol=1e-6)
    for record, want in zip(found.history, records, strict=True):
        assert {name: record[name] for name in want} == pytest.approx(want, rel=1e-5)
    if kind == "a batch of nothing":
        assert losses[4] == found.losses[4] == 0


def test_inputs_by_place_and_by_name_are_the_same() -> None:
    by_name, by_place = (fit(both(), Dataset(x, Y), RECIPE) for x in ({"b": B, "a": A}, (A, B)))
    assert by_name.losses == by_place.losses
    named, alone = (fit(small(), Dataset(x, Y), RECIPE) for x in ({"x": A}, A))
    assert named.losses == alone.losses


def small() -> Graph:
    x = features("batch", 3)
    return network("small", x, Builder(0).dense("fc", x, 2))


def test_only_the_first_input_is_augmented() -> None:
    recipe = replace(RECIPE, augment=(Noise(0.5),))
    plain, changed = (fit(both(), Dataset((A, B * 0), Y), r).losses for r in (RECIPE, recipe))
    assert plain != changed
    plain, changed = (fit(blind(), Dataset((A * 0, B), Y), r).losses for r in (RECIPE, recipe))
    assert plain == changed  # what is changed reaches nothing


def blind() -> Graph:
    """A network whose first input counts for nothing."""
    a, b = both().inputs
    return Graph([a, b], [Builder(0).dense("fc", b, 2) + a.sum(1, keepdims=True) * 0.0], ["y"])


@pytest.mark.parametrize(
    "loss", [CrossEntropy(), CrossEntropy(class_weights=(1.0, 2.0, 0.5)), CrossEntropy(smoothing=0.1)]
)
def test_masks_of_positions(loss: CrossEntropy) -> None:
    """What a mask hides has no influence, and means are over what it shows."""
    tokens, labels = rng.integers(0, 7, (40, 5)), rng.integers(0, 3, (40, 5))
    mask = np.arange(5) < rng.integers(1, 6, (40, 1))
    recipe = Recipe(loss, Adam(), Constant(0.01), batch=8, epochs=2, metrics={"accuracy": accuracy})
    data = Dataset(tokens, labels, mask)
    found = fit(tagger(), data[:30], recipe, validation=data[30:], backend="numpy")
    other = Dataset(np.where(mask, tokens, 0), np.where(mask, labels, 2), mask)
    assert fit(tagger(), other[:30], recipe, validation=other[30:], backend="numpy").history == found.history

    z = graphc.compile(found.graph, backend="numpy")(tokens[30:]).astype(np.float64)
    logs = z - np.log(np.exp(z).sum(1, keepdims=True))
    factors, shown, ε = np.array(loss.class_weights or (1, 1, 1), np.float64), mask[30:], loss.smoothing
    t = labels[30:]
    own = np.take_along_axis(logs, t[:, None], 1)[:, 0]
    losses = -(1 - ε) * factors[t] * own - ε / 3 * (logs * factors[:, None]).sum(1)
    assert found.history[-1]["validation_loss"] == pytest.approx(
        losses[shown].sum() / factors[t][shown].sum(), rel=1e-5
    )
    assert found.history[-1]["validation_accuracy"] == pytest.approx((z.argmax(1) == t)[shown].mean())


def test_ignored_labels_do_not_count_in_means_of_epochs() -> None:
    """Chunks of validation have different numbers of them; one has nothing else."""
    tokens, labels = rng.integers(0, 7, (40, 5)), rng.integers(0, 3, (40, 5))
    labels[rng.random((40, 5)) < 0.4] = -1
    labels[8:16] = -1
    data = Dataset(tokens, labels)
    recipe = Recipe(CrossEntropy(ignore_index=-1), SGD(), Constant(0.0), batch=8, epochs=1)
    found = fit(tagger(), data, recipe, validation=data, backend="numpy")
    z = graphc.compile(tagger(), backend="numpy")(tokens).astype(np.float64)
    logs = z - np.log(np.exp(z).sum(1, keepdims=True))
    counted = labels >= 0
    expected = -np.take_along_axis(logs, np.maximum(labels, 0)[:, None], 1)[:, 0][counted].mean()
    assert found.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert found.history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """In the middle of an epoch, where what batches count for is part of it."""
    path, data = tmp_path / "c.npz", Dataset((A, B), Y, WEIGHTS)
    whole = fit(both(hidden=4), data, RECIPE, validation=data, backend="numpy")
    with pytest.raises(Stop):
        fit(both(hidden=4), data, RECIPE, validation=data, backend="numpy", checkpoint=path, every=1, watcher=StopAt(7))
    parts = fit(both(hidden=4), data, RECIPE, validation=data, backend="numpy", checkpoint=path)
    assert parts.losses == whole.losses
    assert parts.history == whole.history
    for other in (Dataset((A, B), Y, WEIGHTS * 2), Dataset((A, B + 1), Y, WEIGHTS), Dataset((A, B), Y)):
        with pytest.raises(graphc.CompileError, match="is a checkpoint of another training"):
            fit(both(hidden=4), other, RECIPE, checkpoint=path)


def given(x, y=Y, weights=None, *, graph=both, validation=None):
    return lambda: fit(graph(), Dataset(x, y, weights), RECIPE, validation=validation)


def of(*sizes: str | int | None, names: tuple[str, str] = ("a", "b")):
    """The sum of two inputs with these first sizes (None: a scalar)."""

    def build() -> Graph:
        shapes = [() if s is None else (sym(s) if isinstance(s, str) else s, 3) for s in sizes]
        a, b = (Value(TensorType(float32, shape), name=n) for n, shape in zip(names, shapes, strict=True))
        return Graph([a, b], [(a + b) * const(np.ones(3, np.float32), name="w")], ["y"])

    return build


SPOILT = WEIGHTS.copy()
SPOILT[3] = -1
REFUSED = [
    (given({"a": A}), graphc.FeedError, r"training data: missing input 'b'; got 'a', 'target'"),
    (given({"a": A, "b": B, "bb": B}), graphc.FeedError, r"the model has no input 'bb'. Did you mean 'b'\?"),
    (given(A), graphc.FeedError, r"x has 1 array, expected 2: 'a', 'b'. Pass a tuple, or a dict by name"),
    (given((A, B, B)), graphc.FeedError, r"training data: x has 3 arrays, expected 2: 'a', 'b'"),
    (given((A, B), graph=small), graphc.FeedError, r"training data: x has 2 arrays, expected 1: 'x'. Pass one array"),
    (given((A, B[:9])), graphc.FeedError, r"x\[0\] is \[70, 3\], x\[1\] is \[9, 2\] and y is \[70, 2\]"),
    (given({"a": A, "b": B}, Y[:9]), graphc.FeedError, r"x\['a'\] is \[70, 3\], .* and y is \[9, 2\], expected equal"),
    (given((A, B), Y, WEIGHTS[:9]), graphc.FeedError, r"and weights is \[9\], expected equal first sizes"),
    (given((A, B.astype(int))), graphc.FeedError, r"training data: input 'b' is int64, expected float32. Convert it"),
    (given((A, B), Y.astype(float)), graphc.FeedError, "training data: input 'target' is float64, expected float32"),
    (given((A, B[:, :1])), graphc.FeedError, "training data: input 'b': dimension 1 is 1, expected 2"),
    (given((A, B), validation=Dataset((A, B, A), Y)), graphc.FeedError, "validation data: x has 3 arrays, expected 2"),
    (given((A, B), Y, SPOILT), graphc.FeedError, r"a weight is -1\.0 at \[3\], expected one from 0 on"),
    (given((A, B), Y, WEIGHTS * np.nan), graphc.FeedError, r"a weight is nan at \[0\], expected one from 0 on"),
    (given((A, B), Y, WEIGHTS * 0), graphc.FeedError, "training data: all weights are 0. Something must count"),
    (given((A, B), Y, np.full(70, "1")), graphc.FeedError, "weights are <U1, expected numbers or booleans"),
    (given((A, B), Y, B[:, :1]), graphc.FeedError, "a weight is -"),
    (given((A, B), Y, abs(A)), graphc.FeedError, r"weights are \[70, 3\], expected \[70, 2\] or \[70\]"),
    (given((A, A), graph=of("batch", "rows")), graphc.CompileError, "expected one batch as their first size"),
    (given((A, A), graph=of("batch", None)), graphc.CompileError, r"the input is %b: f32\[\], expected a symbol"),
    (given((A, A), graph=of("n", 70)), graphc.CompileError, r"the input is %b: f32\[70,3\], expected a symbol"),
    (given((A, A), A, graph=of("n", "n", names=("a", "target"))), graphc.InvalidModel, "'target'"),
    (given((), graph=lambda: Graph([], [const(np.ones(3, np.float32), name="w") * 2.0], ["y"])), graphc.CompileError,
     "the graph has no inputs"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[m[-30:] for *_, m in REFUSED])
def test_what_it_refuses(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()
