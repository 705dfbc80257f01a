"""The training loop: what it learns, that it is the same bits each time, and what becomes of crashes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import models
from graphc.autodiff import SGD, Adam, AdamW, Constant, Cosine, CrossEntropy, MeanSquared, Momentum, accuracy
from graphc.ir import Graph
from graphc.models.builder import Builder, features, flatten, images, network, relu, softmax
from graphc.ops.dropout import Dropout
from graphc.train import Dataset, Noise, OnPlateau, Recipe, fit
from graphc.train.checkpoint import read_checkpoint
from graphc.train.datasets import digits

TASK = digits(8)
TRAIN, HELD_OUT = (Dataset(d.x.reshape(len(d), 64), d.y) for d in (TASK.train, TASK.held_out))
RECIPE = Recipe(CrossEntropy(), Momentum(), Constant(0.05), batch=32, epochs=3, metrics={"accuracy": accuracy})


def small(hidden: int = 32) -> Graph:
    """A hidden layer with dropout."""
    net, x = Builder(0), features("batch", 64)
    y = Dropout()(relu(net.dense("fc1", x, hidden)), name="drop")
    return network("small", x, softmax(net.dense("fc2", y, 10)))


def weights(graph: Graph) -> dict[str, np.ndarray]:
    return {n.name: n.op.eval() for n in graph.constants() if n.name}


def assert_same(a, b) -> None:
    """The same bits in parameters and losses."""
    assert a.losses == b.losses
    assert a.history == b.history
    for name, w in weights(a.graph).items():
        np.testing.assert_array_equal(w, weights(b.graph)[name], err_msg=name)


class Stop(Exception):
    """Training is interrupted here."""


class StopAt:
    """A watcher that raises after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def on_step(self, epoch, done, batches, means) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop

    def on_epoch(self, record) -> None:
        pass


def test_it_learns() -> None:
    found = fit(small(64), TRAIN, replace(RECIPE, epochs=12), validation=HELD_OUT)
    scores = graphc.compile(found.graph)(HELD_OUT.x)
    share = float((scores.argmax(1) == HELD_OUT.y).mean())
    assert share > 0.95
    last = found.history[-1]
    assert last["validation_accuracy"] == pytest.approx(share)
    log = np.log(scores[np.arange(len(HELD_OUT)), HELD_OUT.y].astype(np.float64))
    assert last["validation_loss"] == pytest.approx(-log.mean(), rel=1e-4)
    assert len(found.losses) == 12 * (1438 // 32) == last["step"]
    assert set(found.rates) == {0.05000000074505806}
    steps = 1438 // 32
    assert found.history[0]["loss"] == pytest.approx(np.mean(found.losses[:steps]))


def test_backends_agree() -> None:
    backends = ("numpy", "llvm", "onnxruntime")
    numpy, *others = (fit(small(), TRAIN, replace(RECIPE, epochs=2), backend=b) for b in backends)
    for other in others:
        np.testing.assert_allclose(other.losses, numpy.losses, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_everything() -> None:
    recipe = replace(RECIPE, batch=128, epochs=1, augment=(Noise(0.1),), seed=7)
    data = Dataset(TASK.train.x, TASK.train.y)
    net, x = Builder(0), images("batch", 1, 8)
    y = relu(net.batch_norm("bn1", net.conv("conv1", x, 32, 3, pad=1)))
    graph = network("net", x, net.dense("fc", Dropout()(flatten(y), name="drop"), 10))
    first = fit(graph, data, recipe, threads=1)
    assert_same(first, fit(graph, data, recipe, threads=2))
    assert fit(graph, data, replace(recipe, seed=8), threads=2).losses != first.losses


def test_threads_do_not_change_what_is_learned() -> None:
    """Short kernels in many steps: a thread that went on before another was done would be seen in the end."""
    recipe = replace(RECIPE, optimiser=AdamW(), schedule=Constant(0.002), epochs=10)
    graph = models.mlp(batch="batch", inputs=64, hidden=(128, 64))
    first = fit(graph, TRAIN, recipe, threads=1)
    for _ in range(3):
        assert_same(first, fit(graph, TRAIN, recipe, threads=2))


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Stopped in the middle of epochs and between them, the result has the bits of one that was not."""
    recipe = replace(RECIPE, optimiser=Adam(), schedule=Cosine(0.01, 100), seed=3, patience=50)
    whole = fit(small(), TRAIN, recipe, validation=HELD_OUT, backend="numpy")
    path = tmp_path / "c.npz"
    for steps in (20, 30, 13, 44):
        with pytest.raises(Stop):
            fit(
                small(),
                TRAIN,
                recipe,
                validation=HELD_OUT,
                backend="numpy",
                checkpoint=path,
                every=10,
                watcher=StopAt(steps),
            )
    parts = fit(small(), TRAIN, recipe, validation=HELD_OUT, backend="numpy", checkpoint=path, every=10)
    assert_same(whole, parts)
    assert_same(
        whole, fit(small(), TRAIN, recipe, validation=HELD_OUT, backend="numpy", checkpoint=path)
    )  # nothing left to do
    longer = fit(small(), TRAIN, replace(recipe, epochs=4), validation=HELD_OUT, backend="numpy", checkpoint=path)
    assert longer.history[:3] == whole.history
    assert len(longer.history) == 4


def test_plateaus_go_on_too(tmp_path: Path) -> None:
    recipe = replace(RECIPE, schedule=OnPlateau(0.05, factor=0.5, patience=1), epochs=6)
    noise = Dataset(
        TRAIN.x[:320], np.random.default_rng(0).permutation(TRAIN.y[:320])
    )  # nothing to learn: it stands still
    other = Dataset(HELD_OUT.x, np.random.default_rng(1).permutation(HELD_OUT.y))
    whole = fit(small(), noise, recipe, validation=other, backend="numpy")
    assert whole.rates[0] == 0.05
    assert min(whole.rates) <= 0.025
    path = tmp_path / "c.npz"
    with pytest.raises(Stop):
        fit(small(), noise, recipe, validation=other, backend="numpy", checkpoint=path, watcher=StopAt(4 * 10 + 5))
    assert_same(whole, fit(small(), noise, recipe, validation=other, backend="numpy", checkpoint=path))


def test_early_stopping_returns_the_best() -> None:
    few = TRAIN[np.arange(64)]
    recipe = replace(RECIPE, schedule=Constant(0.2), epochs=200, patience=5)
    found = fit(small(), few, recipe, validation=HELD_OUT)
    losses = [r["validation_loss"] for r in found.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 5 < 200
    scores = graphc.compile(found.graph)(HELD_OUT.x).astype(np.float64)
    log = np.log(scores[np.arange(len(HELD_OUT)), HELD_OUT.y])
    assert -log.mean() == pytest.approx(losses[best], rel=1e-3)


LONG = replace(RECIPE, epochs=4)
KILLED = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_train import HELD_OUT, LONG, TRAIN, fit, small
    fit(small(), TRAIN, LONG, validation=HELD_OUT, backend="numpy", checkpoint=Path({path!r}), every=1)
    """
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_kill_9_corrupts_nothing(tmp_path: Path) -> None:
    """Killed at random moments while it writes a checkpoint after each step; what lies there is always a whole one."""
    path = tmp_path / "c.npz"
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    chance, done = random.Random(0), 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 120
        before = path.stat().st_mtime_ns if path.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.stat().st_mtime_ns != before:  # it has come on
                time.sleep(chance.uniform(0, 0.1))
                process.kill()
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL, "it was not killed"
        losses = read_checkpoint(path)[0]["steps losses"]
        assert len(losses) > done
        done = len(losses)
    whole = fit(small(), TRAIN, LONG, validation=HELD_OUT, backend="numpy")
    assert len(whole.losses) > done
    assert_same(whole, fit(small(), TRAIN, LONG, validation=HELD_OUT, backend="numpy", checkpoint=path))


def test_divergence_is_traced_to_its_node() -> None:
    with pytest.raises(
        graphc.ExecutionError, match=r"training diverged in step 2 \(epoch 1\): Gemm 'fc2': .* is NaN at"
    ) as info:
        fit(small(), TRAIN, replace(RECIPE, optimiser=SGD(), schedule=Constant(1e30)))
    assert "Lower the learning rate" in str(info.value)


def test_bad_data_is_named() -> None:
    x = TRAIN.x.copy()
    x[100, 3] = np.nan
    with pytest.raises(graphc.ExecutionError, match=r"training diverged in step \d+ .*input 'x' is NaN.*with the data"):
        fit(small(), Dataset(x, TRAIN.y), RECIPE)


def test_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3)).astype(np.float32)
    y = x @ np.array([[0.5], [-1.0], [2.0]], np.float32) + 3
    recipe = Recipe(MeanSquared(), Adam(), Constant(0.02), batch=20, epochs=30)
    found = fit(models.temperature_mlp(batch="batch", hidden=16), Dataset(x, y), recipe)
    assert found.history[-1]["loss"] < 0.02


REFUSED = [
    (lambda: fit(models.mlp(batch=4), TRAIN, RECIPE), graphc.CompileError, "expected a symbol as its first size"),
    (lambda: fit(small(), TRAIN[np.arange(20)], RECIPE), graphc.FeedError, "20 examples are no batch of 32"),
    (
        lambda: fit(small(), Dataset(TRAIN.x[:, :60], TRAIN.y), RECIPE),
        graphc.FeedError,
        r"input 'x': dimension 1 is 60, expected 64",
    ),
    (
        lambda: fit(small(), Dataset(TRAIN.x, TRAIN.y + 5), RECIPE),
        graphc.ExecutionError,
        "label 1[0-4] at .* out of range",
    ),
    (lambda: fit(small(), Dataset(TRAIN.x, TRAIN.y.astype(np.int32)), RECIPE), graphc.FeedError, "int64"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[m[:12] for _, _, m in REFUSED])
def test_what_it_refuses(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    fit(small(), TRAIN, replace(RECIPE, epochs=1), checkpoint=path)
    for graph, data, recipe in [
        (small(16), TRAIN, RECIPE),
        (small(), Dataset(TRAIN.x + 1, TRAIN.y), RECIPE),
        (small(), TRAIN, replace(RECIPE, seed=1)),
        (small(), TRAIN, replace(RECIPE, augment=(Noise(0.1),))),
        (small(), TRAIN, replace(RECIPE, optimiser=Adam())),
        (small(), TRAIN, replace(RECIPE, schedule=Constant(0.01))),
    ]:
        with pytest.raises(graphc.CompileError, match="is a checkpoint of another training"):
            fit(graph, data, recipe, checkpoint=path)
    path.write_bytes(b"nonsense")
    with pytest.raises(graphc.ExecutionError, match="is not a checkpoint"):
        fit(small(), TRAIN, RECIPE, checkpoint=path)
