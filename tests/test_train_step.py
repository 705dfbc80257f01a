"""The train step as one graph: the same learning on every backend, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import graphc
from graphc import models
from graphc.autodiff import (
    L2,
    SGD,
    Adam,
    AdamW,
    ClipByNorm,
    Constant,
    Cosine,
    CrossEntropy,
    MeanSquared,
    Momentum,
    WarmUp,
    accuracy,
    inference_mode,
    initial_state,
    train_step,
    trained,
    training_mode,
)
from graphc.equality import graph_equal
from graphc.ir import Graph
from graphc.models.builder import Builder, flatten, images, max_pool, network, relu, softmax
from graphc.ops.base import const
from graphc.ops.dropout import Dropout
from graphc.types import float32

DIGITS = load_digits()
X = (DIGITS.images / 16).astype(np.float32)[:, None]
Y = DIGITS.target.astype(np.int64)
BACKENDS = ("numpy", "llvm", "onnxruntime")


def small(batch: int | str = 16, *, ratio: float = 0.3) -> Graph:
    """A convolution with batch normalisation, and two dropouts."""
    net, x = Builder(0), images(batch, 1, 8)
    y = relu(net.batch_norm("bn1", net.conv("conv1", x, 8, 3, pad=1, bias=False)))
    y = Dropout()(flatten(max_pool(y, 2, 2)), const(ratio, float32), name="drop1")
    y = Dropout()(relu(net.dense("fc1", y, 32)), name="drop2")
    return network("small", x, softmax(net.dense("fc2", y, 10)))


def curve(step: Graph, graph: Graph, backend: str, steps: int, *, seed: int = 3, wide: bool = False):
    """The losses of so many steps, and the state after them."""
    model = graphc.compile(step, backend=backend, level=0 if backend == "onnxruntime" else 2, threads=1)
    state, losses = initial_state(step, graph), []
    (x,) = graph.inputs
    batch = int(x.shape[0])  # type: ignore[index, arg-type]
    images = np.pad(X, ((0, 0), (0, 0), (10, 10), (10, 10))) if wide else X
    for k in range(steps):
        chosen = np.random.default_rng([0, k]).integers(0, 1500, batch)
        feeds = {"x": images[chosen].reshape([batch, *x.shape[1:]]), "target": Y[chosen], **state}  # type: ignore[index]
        if "seed" in model.graph.inputs[2].name:
            feeds["seed"] = np.int64(seed)
        results = model.run(feeds)
        losses.append(float(results["loss"]))
        state = {name: results[f"new_{name}"] for name in state}
    return np.array(losses), state


NETWORKS = {
    "mlp": (lambda: models.mlp(batch=32, inputs=64, hidden=(48, 32)), False),
    "lenet5": (lambda: models.lenet5(batch=8), True),
    "small": (small, False),
}
OPTIMISERS = {"momentum": (Momentum(0.9), Constant(0.02)), "adam": (Adam(), WarmUp(5, Cosine(0.002, 95)))}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_backend_learns_the_same(name: str, optimiser: str) -> None:
    """A hundred steps; dropout draws the same bits everywhere."""
    build, wide = NETWORKS[name]
    graph = build()
    chosen, schedule = OPTIMISERS[optimiser]
    step = train_step(graph, CrossEntropy(), chosen, schedule=schedule)
    expected, _ = curve(step, graph, "numpy", 100, wide=wide)
    assert expected[-10:].mean() < 0.6 * expected[:10].mean()
    for backend in BACKENDS[1:]:
        got, _ = curve(step, graph, backend, 100, wide=wide)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=backend)


def test_steps_are_those_made_by_hand() -> None:
    """Back-propagation and momentum of a two-layer network in float64, without a graph."""
    graph = models.mlp(batch=20, inputs=64, hidden=(16,))
    step = train_step(graph, CrossEntropy(), Momentum(0.9), schedule=Constant(0.1), regulariser=L2(0.01))
    weights = {k: v.astype(np.float64) for k, v in initial_state(step, graph).items() if "velocity" not in k}
    w1, b1, w2, b2 = (weights[n] for n in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"))
    velocity, losses = [np.zeros_like(w) for w in (w1, b1, w2, b2)], []
    for k in range(30):
        chosen = np.random.default_rng([0, k]).integers(0, 1500, 20)
        x, t = X[chosen].reshape(20, 64).astype(np.float64), np.eye(10)[Y[chosen]]
        hidden = np.maximum(x @ w1.T + b1, 0)
        p = np.exp(hidden @ w2.T + b2)
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log((p * t).sum(1)).mean() + 0.01 * ((w1**2).sum() + (w2**2).sum()))
        dz = (p - t) / 20
        dh = dz @ w2 * (hidden > 0)
        gradients = (dh.T @ x + 0.02 * w1, dh.sum(0), dz.T @ hidden + 0.02 * w2, dz.sum(0))
        for w, v, g in zip((w1, b1, w2, b2), velocity, gradients, strict=True):
            v *= 0.9
            v += g
            w -= 0.1 * v
    got, state = curve(step, graph, "llvm", 30)
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    np.testing.assert_allclose(state["fc1.weight"], w1, rtol=1e-3, atol=1e-5)


def test_a_step_is_an_onnx_model_of_its_own(tmp_path) -> None:
    """Saved, loaded, and run: the optimiser and the random numbers are in it."""
    graph = small()
    step = train_step(graph, CrossEntropy(), AdamW(), clipping=ClipByNorm(1.0), schedule=Constant(0.01))
    graphc.save(step, tmp_path / "step.onnx")
    again = graphc.load(tmp_path / "step.onnx")
    assert [v.name for v in again.inputs] == [v.name for v in step.inputs]
    assert again.output_names == step.output_names
    expected, _ = curve(step, graph, "numpy", 5)
    got, _ = curve(again, graph, "numpy", 5)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_inputs_and_outputs_of_a_step() -> None:
    step = train_step(small(), CrossEntropy(), Momentum(), metrics={"accuracy": accuracy}, weighted=True)
    names = [v.name for v in step.inputs]
    parameters = ["conv1.weight", "bn1.weight", "bn1.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    state = [*parameters, "bn1.running_mean", "bn1.running_var", *(f"{p}.velocity" for p in parameters), "step"]
    assert names == ["x", "target", "weights", "seed", "learning_rate", *state]
    assert list(step.output_names) == [
        "loss",
        "accuracy",
        "loss.weight",
        "accuracy.weight",
        *(f"new_{s}" for s in state),
    ]
    scheduled = train_step(small(), CrossEntropy(), SGD(), schedule=Constant(0.1))
    assert "learning_rate" in scheduled.output_names
    assert "learning_rate" not in [v.name for v in scheduled.inputs]


def test_only_chosen_parameters_are_trained() -> None:
    step = train_step(small(), CrossEntropy(), Momentum(), parameters=["fc2.weight"])
    assert [n for n in step.output_names if "weight" in n] == ["new_fc2.weight", "new_fc2.weight.velocity"]


def test_seeds_decide_what_is_dropped() -> None:
    graph = small()
    step = train_step(graph, CrossEntropy(), SGD(), schedule=Constant(0.05))
    first, state = curve(step, graph, "llvm", 10, seed=1)
    again, state_again = curve(step, graph, "llvm", 10, seed=1)
    other, _ = curve(step, graph, "llvm", 10, seed=2)
    np.testing.assert_array_equal(first, again)
    for name, value in state.items():
        np.testing.assert_array_equal(value, state_again[name])
    assert not np.array_equal(first, other)


def test_training_mode_and_back() -> None:
    graph = small()
    train = training_mode(graph)
    assert [v.name for v in train.inputs] == ["x", "seed", "step"]
    assert train.output_names == ("probabilities", "new_bn1.running_mean", "new_bn1.running_var")
    assert training_mode(models.lenet5()).inputs[0].name == "x"
    back = inference_mode(train)
    assert graph_equal(graph, back)
    x = X[:16]
    np.testing.assert_array_equal(graphc.compile(back)(x), graphc.compile(graph)(x))


def test_running_averages_follow_the_batches() -> None:
    """new = 0.9 old + 0.1 batch, with the variance of the batch as it is (ONNX: not n / (n − 1))."""
    graph = small()
    step = train_step(graph, CrossEntropy(), SGD(), schedule=Constant(0.0))
    before = initial_state(step, graph)
    chosen = np.random.default_rng([0, 0]).integers(0, 1500, 16)
    y = np.pad(X[chosen].astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), (2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, before["conv1.weight"].astype(np.float64))
    _, state = curve(step, graph, "llvm", 1)
    mean = 0.9 * before["bn1.running_mean"] + 0.1 * y.mean((0, 2, 3))
    var = 0.9 * before["bn1.running_var"] + 0.1 * y.var((0, 2, 3))
    np.testing.assert_allclose(state["bn1.running_mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state["bn1.running_var"], var, rtol=1e-5, atol=1e-6)


def test_what_is_learned_goes_back_into_the_graph() -> None:
    graph = small("batch")
    fixed = small(32, ratio=0.1)
    step = train_step(fixed, CrossEntropy(), Adam(), schedule=Constant(0.01))
    _, state = curve(step, fixed, "llvm", 300)
    model = graphc.compile(trained(graph, state), backend="llvm")
    share = float((model(X[1500:]).argmax(1) == Y[1500:]).mean())
    assert share > 0.85
    assert float((graphc.compile(graph)(X[1500:]).argmax(1) == Y[1500:]).mean()) < 0.4


def test_regression_on_outputs_as_they_are() -> None:
    graph = models.temperature_mlp(batch=16)
    step = train_step(graph, MeanSquared(), Adam(), schedule=Constant(0.01))
    model, state = graphc.compile(step), initial_state(step, graph)
    rng, losses = np.random.default_rng(0), []
    for _ in range(300):
        x = rng.standard_normal((16, 3)).astype(np.float32)
        results = model.run({"x": x, "target": x.mean(1, keepdims=True), **state})
        state = {name: results[f"new_{name}"] for name in state}
        losses.append(float(results["loss"]))
    assert np.mean(losses[-20:]) < 0.02 * np.mean(losses[:5])


def test_what_a_step_refuses() -> None:
    with pytest.raises(graphc.InvalidModel, match=r"there is no parameter 'fc1\.wieght'.*fc1\.weight"):
        train_step(small(), CrossEntropy(), SGD(), parameters=["fc1.wieght"])
    with pytest.raises(graphc.InvalidModel, match="there is no parameter 'target'"):
        train_step(small(), CrossEntropy(), SGD(), parameters=["target"])
    with pytest.raises(graphc.InvalidModel, match="the loss depends on no parameter"):
        train_step(small(), CrossEntropy(), SGD(), parameters=[])
    optimised, _ = graphc.optimize(small())
    with pytest.raises(graphc.CompileError, match="expected a Graph"):
        train_step(graphc.compile(optimised), CrossEntropy(), SGD())  # type: ignore[arg-type]
