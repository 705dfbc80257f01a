"""Pictures: what is in them, and that they are written."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import models
from graphc.ir import Graph
from graphc.models.builder import Builder, images, network, relu
from graphc.train import pictures

HISTORY = [{"step": 5.0, "validation_loss": 0.7}, {"step": 10.0, "validation_loss": 0.5}]
IMAGE = np.random.default_rng(0).random((1, 1, 28, 28)).astype(np.float32)


def stack(layers: int) -> Graph:
    net, x = Builder(0), images(1, 1, 21)
    y = x
    for k in range(layers):
        y = net.conv(f"conv{k + 1}", y, 2, 3, pad=1)
    return network("stack", x, relu(y))


def write(path: Path) -> None:
    pictures.training(path, [1.0 / k for k in range(1, 11)], [0.1] * 10, HISTORY)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_every_picture_is_written(tmp_path: Path, suffix: str) -> None:
    graph = models.lenet5_digits()
    calls = {
        "training": write,
        "curves": lambda p: pictures.curves(p, pictures.Chart("loss", {"a": [3.0, 2.0], "b": [1.0] * 1000}, log=True)),
        "filters": lambda p: pictures.filters(p, graph, "conv1.weight"),
        "activations": lambda p: pictures.activations(p, graph, "conv1", IMAGE),
        "confusion": lambda p: pictures.confusion(p, np.array([[3, 1], [0, 4]]), ["cat", "dog"]),
        "field": lambda p: pictures.field(p, graph, "conv2", IMAGE),
    }
    for name, call in calls.items():
        path = tmp_path / f"{name}.{suffix}"
        call(path)
        assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write(tmp_path / name)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_smoothing() -> None:
    np.testing.assert_allclose(pictures.smooth([1, 3, 5, 7], 2), [1, 2, 4, 6])
    np.testing.assert_allclose(pictures.smooth([1, 3, 5, 7], 1), [1, 3, 5, 7])


def test_tiles() -> None:
    page = pictures.tiles(np.arange(12.0).reshape(3, 2, 2))
    assert page.shape == (5, 5)
    np.testing.assert_allclose(page[:2, :2], [[0, 1 / 3], [2 / 3, 1]])
    assert np.isnan(page[2]).all()
    assert np.isnan(page[3:, 3:]).all()  # there is no fourth


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_receptive_fields(layers: int) -> None:
    """Stacked 3×3 layers see 2·layers + 1 pixels."""
    seen = pictures.receptive_field(stack(4), f"conv{layers}", np.ones((1, 1, 21, 21), np.float32))
    rows, columns = np.nonzero(seen)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (2 * layers + 1, 2 * layers + 1)
    assert (rows.min() + rows.max()) // 2 == 10


def test_what_is_refused(tmp_path: Path, monkeypatch) -> None:
    graph, path = models.lenet5_digits(), tmp_path / "p.png"
    with pytest.raises(graphc.CompileError, match=r"there is no kernel 'conv1\.wait'.*conv1\.weight"):
        pictures.filters(path, graph, "conv1.wait")
    with pytest.raises(graphc.CompileError, match=r"there is no kernel 'fc1\.weight'"):
        pictures.filters(path, graph, "fc1.weight")
    with pytest.raises(graphc.CompileError, match="no node 'conv9' makes images"):
        pictures.activations(path, graph, "conv9", IMAGE)
    with pytest.raises(graphc.CompileError, match="no node 'fc1' makes images"):
        pictures.receptive_field(graph, "fc1", IMAGE)
    for bad in (tmp_path / "p.xyz", tmp_path / "none" / "p.png"):
        with pytest.raises(graphc.CompileError, match="cannot write"):
            write(bad)

    def without(name: str, *arguments: object, real=builtins.__import__):
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(graphc.BackendUnavailable, match=r"pip install 'graphc\[plot\]'"):
        write(path)
