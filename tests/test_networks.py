"""Real networks against onnxruntime: the zoo and the nine of the onnx package, before and after the passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import graphc
from graphc.backends.llvm import threads
from graphc.ir import Graph
from graphc.models import NETWORKS
from graphc.models.light import NAMES, light
from graphc.passes.specialize import specialize
from graphc.random import random_feeds

# The fully convolutional networks pad every image by 100 pixels; a small image keeps them affordable.
SIZES = {
    "fcn32s": {"image_size": 32},
    "fcn16s": {"image_size": 32},
    "fcn8s": {"image_size": 32},
    "dilated_front_end": {"image_size": 380},
    "mobilenet_v1": {"image_size": 96},
    "bert_base": {"length": 16, "layers": 2, "vocabulary": 1000},
    "vit_b16": {"image_size": 64, "layers": 2},
}

# One network of each kind of layers runs on two images as well.
TWO_IMAGES = {
    "mlp", "lenet5", "alexnet", "nin", "googlenet", "resnet18", "resnet50", "resnet_cifar", "mobilenet_v1", "fcn8s",
    "context_module", "bert_base", "vit_b16",
}  # fmt: skip
TWO_IMAGES_LIGHT = {"shufflenet", "squeezenet"}


@pytest.fixture(autouse=True)
def several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 3)


def check(network: Graph, batches: Sequence[int]) -> None:
    """onnxruntime, graphc without passes, with all of them, and native code for every node agree on random inputs.

    NumPy runs the graph as it is for one image, and what the passes make of it for more. Native code gives the same
    bits with one thread as with three.
    """
    oracle = graphc.compile(network, backend="onnxruntime", level=0, threads=1)
    for batch in batches:
        graph = specialize(network, {"batch": batch})
        feeds = random_feeds(graph, seed=batch)
        expected = oracle.run(feeds)
        results = graphc.compile(graph, backend="numpy", level=0 if batch == 1 else 2).run(feeds)
        for name, y in expected.items():
            np.testing.assert_allclose(results[name], y, rtol=1e-3, atol=1e-5 * np.abs(y).max())
        model = graphc.compile(graph, backend="llvm", threads=3)
        results = model.run(feeds)
        for name, y in expected.items():
            np.testing.assert_allclose(results[name], y, rtol=1e-3, atol=1e-4 * np.abs(y).max())
        if batch == 1:
            assert [p for p in model.placement() if p.backend != "llvm"] == []
            (compiled,) = model._executable.signatures.values()  # type: ignore[union-attr]
            compiled.whole.threads = 1
            assert {n: y.tobytes() for n, y in model.run(feeds).items()} == {n: y.tobytes() for n, y in results.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_zoo(name: str) -> None:
    check(NETWORKS[name](batch="batch", **SIZES.get(name, {})), [1, 2] if name in TWO_IMAGES else [1])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_light(name: str) -> None:
    check(graphc.load(light(name, batch="batch")), [1, 2] if name in TWO_IMAGES_LIGHT else [1])
