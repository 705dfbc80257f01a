"""Examples, augmentation, whitening, first values, metrics, plateaus, checkpoints: the host's part of training."""

from __future__ import annotations

import math
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc
from graphc import models
from graphc.train import (
    Brightness,
    Colour,
    Contrast,
    Dataset,
    Flip,
    Gaussian,
    He,
    Noise,
    OnPlateau,
    RandomCrop,
    Translate,
    Whitening,
    Xavier,
    initialise,
)
from graphc.train.augmentation import augment
from graphc.train.checkpoint import read_checkpoint, write_checkpoint
from graphc.train.data import chunks, order_of, prefetch
from graphc.train.datasets import DATASETS, digits, enlarge, temperatures
from graphc.train.metrics import (
    accuracy,
    confusion_matrix,
    mean_absolute_error,
    precision_recall,
    root_mean_squared_error,
    top_k,
)

IMAGES = np.random.default_rng(0).random((50, 3, 6, 5)).astype(np.float32)


# -- data -------------------------------------------------------------------------------------------------------------
@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_goes_through_all_examples_once(count: int, seed: int, epoch: int) -> None:
    order = order_of(count, seed, epoch)
    assert sorted(order) == list(range(count))
    assert list(order) == list(order_of(count, seed, epoch))


def test_epochs_differ() -> None:
    assert list(order_of(50, 0, 0)) != list(order_of(50, 0, 1))


def test_splits() -> None:
    data = Dataset(np.arange(10), np.arange(10) * 2)
    first, last = data.split(3)
    assert list(first.x) == list(range(7))
    assert list(last.y) == [14, 16, 18]
    a, b = data.split(0.4, seed=1)
    assert len(b) == 4
    assert sorted([*a.x, *b.x]) == list(range(10))
    assert [len(data[c]) for c in chunks(len(data), 4)] == [4, 4, 2]
    with pytest.raises(graphc.FeedError, match="11 of 10 examples cannot be held out"):
        data.split(11)
    with pytest.raises(graphc.FeedError, match=r"x is \[3\] and y is \[2\], expected equal first sizes"):
        Dataset(np.zeros(3), np.zeros(2))


def test_prefetching_keeps_order_and_errors() -> None:
    assert list(prefetch(iter(range(20)))) == list(range(20))

    def fails():
        yield 1
        raise ValueError("no more")

    found = prefetch(fails())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_prefetching_ends_with_its_reader() -> None:
    before = threading.active_count()
    found = prefetch(iter(range(10**9)))
    assert next(found) == 0
    found.close()
    assert threading.active_count() == before


def test_real_data() -> None:
    task = digits()
    assert task.train.x.shape == (1438, 1, 28, 28)
    assert task.held_out.x.shape == (359, 1, 28, 28)
    assert task.train.x.min() == 0
    assert task.train.x.max() == 1
    assert set(task.held_out.y) == set(range(10))
    weather = temperatures()
    assert weather.train.x.shape == (1093, 3)
    np.testing.assert_array_equal(weather.train.y[:5, 0], weather.train.x[3:8, 0])
    assert weather.held_out.x[0, -1] == weather.train.y[-1, 0]


def test_enlarging_is_bilinear() -> None:
    line = enlarge(np.array([[[[0.0, 1.0], [0.0, 1.0]]]]), 5)[0, 0]
    np.testing.assert_allclose(line[1], [0, 0.25, 0.75, 1, 0][:5])
    assert not line[4].any()
    with pytest.raises(graphc.CompileError, match="8×8 pixels do not fit into 7×7"):
        enlarge(np.zeros((1, 1, 8, 8)), 7)


# -- augmentation -----------------------------------------------------------------------------------------------------
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_flips() -> None:
    changed = Flip()(IMAGES, rng())
    mirrored = [np.array_equal(a, b[..., ::-1]) for a, b in zip(changed, IMAGES, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(changed, IMAGES, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 40
    assert np.array_equal(Flip(0)(IMAGES, rng()), IMAGES)


def test_translations_are_shifts() -> None:
    changed = Translate(2, fill=-1)(IMAGES, rng())
    assert changed.shape == IMAGES.shape
    seen = set()
    for image, original in zip(changed, IMAGES, strict=True):
        wide = np.pad(original, ((0, 0), (2, 2), (2, 2)), constant_values=-1)
        shifts = [
            (i, j) for i in range(5) for j in range(5) if np.array_equal(wide[:, i : i + 6, j : j + 5], image)
        ]  # fmt: skip
        assert len(shifts) == 1
        seen.update(shifts)
    assert len(seen) > 12


def test_crops() -> None:
    changed = RandomCrop(4)(IMAGES, rng())
    assert changed.shape == (50, 3, 4, 4)
    for image, original in zip(changed, IMAGES, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(original, (4, 4), (1, 2))
        assert any(np.array_equal(windows[:, i, j], image) for i in range(3) for j in range(2))
    assert RandomCrop(6, pad=1)(IMAGES, rng()).shape == (50, 3, 6, 6)


def test_light_and_colour() -> None:
    def constant(a: np.ndarray, axes: tuple[int, ...]) -> None:
        np.testing.assert_allclose(a, np.broadcast_to(a.mean(axes, keepdims=True), a.shape), atol=1e-4)

    brighter = Brightness(0.2)(IMAGES, rng()) - IMAGES
    constant(brighter, (1, 2, 3))
    assert 0.1 < np.abs(brighter).max() <= 0.2 + 1e-6
    coloured = Colour(0.2)(IMAGES, rng()) / IMAGES
    constant(coloured, (2, 3))
    assert 0.8 - 1e-4 < coloured.min() < coloured.max() < 1.2 + 1e-4
    contrast = Contrast(0.5)(IMAGES, rng())
    np.testing.assert_allclose(contrast.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)), rtol=1e-5)
    assert 0.5 < (contrast.std((1, 2, 3)) / IMAGES.std((1, 2, 3))).min() < 0.8


def test_noise() -> None:
    noise = Noise(0.1)(IMAGES, rng()) - IMAGES
    assert noise.std() == pytest.approx(0.1, rel=0.05)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize(
    "change", [Flip(), Translate(1), RandomCrop(4), Brightness(0.1), Contrast(0.1), Colour(0.1), Noise(0.1)], ids=str
)
def test_augmentation_is_by_seed_and_leaves_its_input(change) -> None:
    before = IMAGES.copy()
    a, b, c = (augment(IMAGES, [change], 1, step) for step in (5, 5, 6))
    np.testing.assert_array_equal(IMAGES, before)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert a.dtype == np.float32


# -- whitening, first values ------------------------------------------------------------------------------------------
def test_whitening() -> None:
    train, other = np.random.default_rng(1).normal(3, 2, (200, 4)).astype(np.float32), np.ones((5, 4), np.float32)
    train[:, 3] = 7  # a feature that says nothing
    whiten = Whitening.fit(train)
    white = whiten(train)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(white.std(0), [1, 1, 1, 0], atol=1e-4)
    np.testing.assert_allclose(whiten.inverse(whiten(other)), other, rtol=1e-5)
    channels = Whitening.fit(IMAGES, axes=(0, 2, 3))
    assert channels.mean.shape == (3, 1, 1)
    np.testing.assert_allclose(channels(IMAGES).std((0, 2, 3)), 1, rtol=1e-4)


def test_whitening_becomes_part_of_the_model() -> None:
    graph = models.temperature_mlp(batch="batch")
    raw = np.random.default_rng(1).normal(10, 5, (40, 3)).astype(np.float32)
    whiten = Whitening.fit(raw)
    expected = graphc.compile(graph)(whiten(raw))
    np.testing.assert_allclose(graphc.compile(whiten.before(graph))(raw), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(graphc.CompileError, match="does not fit"):
        Whitening.fit(np.ones((4, 2, 3), np.float32)).before(graph)


@pytest.mark.parametrize(
    ("initialiser", "std"),
    [
        (Gaussian(), lambda i, o: 0.01),
        (Xavier(), lambda i, o: math.sqrt(2 / (i + o))),
        (He(), lambda i, o: math.sqrt(2 / i)),
    ],
    ids=["gaussian", "xavier", "he"],
)
def test_first_values(initialiser, std) -> None:
    graph = initialise(models.resnet18(batch="n", classes=10, image_size=32), initialiser, seed=4)
    constants = {n.name: n.op.eval() for n in graph.constants()}
    kernel, dense = constants["layer2.0.conv1.weight"], constants["fc.weight"]
    assert kernel.std() == pytest.approx(std(64 * 9, 128 * 9), rel=0.02)
    assert dense.std() == pytest.approx(std(512, 10), rel=0.05)
    np.testing.assert_array_equal(constants["fc.bias"], np.zeros(10))
    np.testing.assert_array_equal(constants["bn1.weight"], np.ones(64))
    np.testing.assert_array_equal(constants["bn1.running_mean"], np.zeros(64))
    np.testing.assert_array_equal(constants["bn1.running_var"], np.ones(64))
    again = initialise(models.resnet18(batch="n", classes=10, image_size=32), initialiser, seed=4)
    np.testing.assert_array_equal(kernel, {n.name: n.op.eval() for n in again.constants()}["layer2.0.conv1.weight"])


# -- metrics, plateau -------------------------------------------------------------------------------------------------
def test_metrics() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    scores, labels = generator.random((200, 5)), generator.integers(0, 5, 200)
    taken = scores.argmax(1)
    assert accuracy(scores, labels) == sklearn.accuracy_score(labels, taken)
    assert top_k(scores, labels, 2) == sklearn.top_k_accuracy_score(labels, scores, k=2)
    matrix = confusion_matrix(scores, labels)
    np.testing.assert_array_equal(matrix, sklearn.confusion_matrix(labels, taken))
    precision, recall = precision_recall(matrix)
    np.testing.assert_allclose(precision, sklearn.precision_score(labels, taken, average=None))
    np.testing.assert_allclose(recall, sklearn.recall_score(labels, taken, average=None))
    p, t = generator.random(9), generator.random(9)
    assert root_mean_squared_error(p, t) == pytest.approx(math.sqrt(((p - t) ** 2).mean()))
    assert mean_absolute_error(p, t) == sklearn.mean_absolute_error(t, p)
    w = generator.random(200)
    assert accuracy(scores, labels, w) == pytest.approx(sklearn.accuracy_score(labels, taken, sample_weight=w))
    expected = sklearn.top_k_accuracy_score(labels, scores, k=2, sample_weight=w)
    assert top_k(scores, labels, 2, w) == pytest.approx(expected)
    expected = sklearn.confusion_matrix(labels, taken, sample_weight=w)
    np.testing.assert_allclose(confusion_matrix(scores, labels, w), expected)
    expected = sklearn.root_mean_squared_error(t, p, sample_weight=w[:9])
    assert root_mean_squared_error(p, t, w[:9]) == pytest.approx(expected)
    assert mean_absolute_error(p, t, w[:9]) == pytest.approx(sklearn.mean_absolute_error(t, p, sample_weight=w[:9]))


@pytest.mark.parametrize("name", DATASETS)
def test_packages_without_their_data(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: ModuleSpec(package, None, origin=f"{tmp_path}/x"))
    with pytest.raises(graphc.BackendUnavailable, match=r"is installed without its \w+/.*graphc\[train\]"):
        DATASETS[name]()
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(graphc.BackendUnavailable, match="is not installed"):
        DATASETS[name]()


def test_digits_are_those_of_scikit_learn() -> None:
    scans = pytest.importorskip("sklearn.datasets").load_digits()
    task = digits(8)
    found = {(x.tobytes(), int(y)) for part in (task.train, task.held_out) for x, y in zip(part.x, part.y, strict=True)}
    images = (scans.images / 16).astype(np.float32)
    assert found == {(x.tobytes(), int(y)) for x, y in zip(images, scans.target, strict=True)}


def test_the_rate_falls_on_a_plateau() -> None:
    watch = OnPlateau(1.0, factor=0.5, patience=2)
    losses = [3.0, 2.0, 2.0, 2.1, 2.0, 1.0, 1.0, 1.0, 1.0]
    assert [watch.rates(losses[:k]) for k in range(10)] == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_plateaus_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
    losses = list(np.random.default_rng(5).random(60) + np.linspace(2, 0, 60) ** 2)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=3)
    expected = []
    for loss in losses:
        peer.step(loss)
        expected.append(optimiser.param_groups[0]["lr"])
    assert expected[-1] < 1
    watch = OnPlateau(1.0, 0.5, 3)
    assert [watch.rates(losses[: k + 1]) for k in range(60)] == expected


# -- checkpoints ------------------------------------------------------------------------------------------------------
def test_checkpoints_come_back(tmp_path: Path) -> None:
    arrays = {"a.b/c": IMAGES, "step": np.array(7), "half": np.ones(2, np.float16)}
    write_checkpoint(tmp_path / "c.npz", arrays, {"epoch": 3, "losses": [0.1, 1e-300]})
    found, meta = read_checkpoint(tmp_path / "c.npz")
    assert meta == {"epoch": 3, "losses": [0.1, 1e-300]}
    assert found.keys() == arrays.keys()
    for name, a in arrays.items():
        assert found[name].dtype == a.dtype
        np.testing.assert_array_equal(found[name], a)
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    write_checkpoint(path, {"a": IMAGES}, {})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    for content in (b"", b"nonsense", whole[:-100], whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(graphc.ExecutionError, match="is not a checkpoint"):
            read_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "c.npz"
    write_checkpoint(path, {"a": np.ones(3)}, {"epoch": 1})

    def full(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("graphc.train.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_checkpoint(path, {"a": np.zeros(3)}, {"epoch": 2})
    assert read_checkpoint(path)[1] == {"epoch": 1}


def test_prefetching_is_ahead() -> None:
    made = []

    def items():
        for k in range(5):
            made.append(k)
            yield k

    found = prefetch(items(), depth=2)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) >= 3  # one is read, two wait, one is in the thread's hands
    found.close()
