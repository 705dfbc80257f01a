"""Figures that an introduction to deep learning quotes, computed by graphc from the networks themselves."""

from __future__ import annotations

import numpy as np
import pytest

from graphc import models
from graphc.autodiff import grad
from graphc.interpret import interpret
from graphc.ir import Graph, Value, elements
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.types import Tensor, TensorType, float32


def image(*shape: int) -> Value:
    return Value(TensorType(float32, shape), name="x")


def weight(*shape: int) -> Value:
    """A constant that is never read: only its shape counts."""
    return const(Tensor.lazy(float32, shape, lambda: np.ones(shape, np.float32)), name="w")


def test_a_fully_connected_layer_of_images_is_unaffordable() -> None:
    """200×200 pixels to 400,000 units: 16 billion weights; 10×10 fields: 40 million; ten shared filters: 1,000."""
    w = weight(200 * 200, 400_000)
    y = image(1, 200 * 200) @ w
    assert y.shape == (1, 400_000)
    assert elements(w) == 16_000_000_000
    local = elements(y) * elements(weight(10, 10))  # type: ignore[operator]
    assert local == 40_000_000
    shared = weight(10, 1, 10, 10)
    assert Conv()(image(1, 1, 200, 200), shared).shape == (1, 10, 191, 191)
    assert elements(shared) == 1_000


def receptive_field(graph: Graph) -> tuple[int, int]:
    """Height and width of the input region that one central output reads: where its gradient is not zero."""
    derivative = grad(graph)
    x = np.random.default_rng(0).uniform(0.5, 1, tuple(graph.inputs[0].shape)).astype(np.float32)  # type: ignore[arg-type]
    seed = np.zeros(tuple(graph.outputs[0].shape), np.float32)  # type: ignore[arg-type]
    seed[0, :, seed.shape[2] // 2, seed.shape[3] // 2] = 1
    (dx,) = interpret(derivative, [x, seed])
    rows, columns = np.nonzero(np.any(dx[0] != 0, axis=0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def positive(*shape: int) -> Value:
    return const(np.random.default_rng(1).uniform(0.01, 0.02, shape).astype(np.float32))


@pytest.mark.parametrize(("k", "layers"), [(3, 1), (3, 2), (3, 4), (5, 3)])
def test_the_receptive_field_of_stacked_layers_grows_linearly(k: int, layers: int) -> None:
    """One k×k layer sees k; each further one adds k − 1: l·(k−1) + k for l further layers."""
    x = image(1, 1, 41, 41)
    y = x
    for _ in range(layers):
        y = Conv(pads=(k // 2,) * 4)(y, positive(1, 1, k, k))
    assert receptive_field(Graph([x], [y])) == ((layers - 1) * (k - 1) + k,) * 2


def test_the_receptive_field_of_dilated_layers_grows_exponentially() -> None:
    """Dilations 1, 2, 4, 8 of 3×3: (2^(i+2) − 1)² after layer i (Yu and Koltun 2016)."""
    x = image(1, 1, 65, 65)
    y = x
    for i in range(4):
        y = Conv(dilations=(1 << i,) * 2, pads=(1 << i,) * 4)(y, positive(1, 1, 3, 3))
        assert receptive_field(Graph([x], [y])) == (2 ** (i + 2) - 1,) * 2


def test_the_context_module_sees_67_by_67() -> None:
    graph = models.context_module(image_size=80, classes=2)
    x = graph.inputs[0]
    y = x
    for node in graph.nodes:
        if node.op.name == "Conv":  # without the ReLUs, which could hide a path
            w = positive(*node.inputs[1].shape)  # type: ignore[union-attr, misc]
            y = node.op(y, w)
    assert receptive_field(Graph([x], [y])) == (67, 67)


def test_the_basic_context_module_has_64_c_squared_weights() -> None:
    classes = 21
    weights = [n.op.value.size for n in models.context_module().constants() if n.name.endswith("weight")]  # type: ignore[attr-defined]
    assert sum(weights) == 64 * classes**2


def test_googlenet_needs_a_tenth_of_alexnets_parameters() -> None:
    counts = [
        sum(n.op.value.size for n in graph.constants())  # type: ignore[attr-defined]
        for graph in (models.googlenet(), models.alexnet())
    ]
    assert 4e6 < counts[0] < 7e6
    assert 60e6 < counts[1] < 62e6
