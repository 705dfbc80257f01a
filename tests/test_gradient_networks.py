"""Gradient graphs of whole networks: through the passes, on NumPy, and exported to onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc import models
from graphc.ir import Graph, Value
from graphc.types import TensorType, float32

NETWORKS = {
    "lenet5": (lambda: models.lenet5(batch=2), ["x", "conv1.weight", "conv2.bias", "fc1.weight", "fc3.bias"]),
    "resnet18": (
        lambda: models.resnet18(batch=2, image_size=32, classes=10),
        ["x", "conv1.weight", "bn1.weight", "layer2.0.conv1.weight", "layer4.1.bn2.bias", "fc.weight"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_graphs_agree_with_onnxruntime(name: str) -> None:
    build, wrt = NETWORKS[name]
    graph: Graph = build()
    gradient = graphc.grad(graph, wrt)
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.standard_normal(tuple(v.shape)).astype(np.float32) for v in gradient.inputs}  # type: ignore[arg-type]
    expected = graphc.compile(gradient, backend="onnxruntime", level=0, threads=1).run(feeds)
    for level in (0, 2):
        results = graphc.compile(gradient, level=level).run(feeds)
        assert list(results) == [f"grad_{w}" for w in wrt]
        for key, want in expected.items():
            np.testing.assert_allclose(results[key], want, rtol=1e-3, atol=1e-5 * np.abs(want).max(), err_msg=key)


def test_a_scalar_loss_needs_no_seed() -> None:
    graph = models.temperature_mlp(batch=4)
    (y,) = graph.outputs
    loss = graph.with_outputs([(y * y).mean()], ["loss"])
    gradient = graphc.grad(loss, ["fc1.weight"], keep_outputs=True)
    assert [v.name for v in gradient.inputs] == ["x"]
    assert gradient.output_names == ("loss", "grad_fc1.weight")


def test_errors_say_what_can_be_differentiated() -> None:
    with pytest.raises(graphc.InvalidModel, match="nothing to differentiate is called 'fc9'"):
        graphc.grad(models.lenet5(), ["fc9"])


def test_no_path_gives_zeros() -> None:
    x, unused = (Value(TensorType(float32, (3,)), name=n) for n in ("x", "unused"))
    model = graphc.compile(graphc.grad(Graph([x, unused], [x * 2.0], ["y"])))
    results = model.run([np.ones(3, np.float32)] * 3)
    np.testing.assert_array_equal(results["grad_x"], [2, 2, 2])
    np.testing.assert_array_equal(results["grad_unused"], [0, 0, 0])
