"""Real networks against onnxruntime: the zoo and the nine of the onnx package, before and after the passes."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.models import NETWORKS
from graphc.models.light import NAMES, light

# The fully convolutional networks pad every image by 100 pixels; a small image keeps them affordable.
SIZES = {"fcn32s": 32, "fcn16s": 32, "fcn8s": 32, "dilated_front_end": 380}


def check(source: object, batch: int) -> None:
    """onnxruntime, graphc without passes, and graphc with all of them agree on random images."""
    oracle = graphc.compile(source, backend="onnxruntime", level=0, threads=1)
    (port,) = oracle.inputs
    x = np.random.default_rng(batch).standard_normal((batch, *port.shape[1:])).astype(np.float32)
    expected = oracle(x)
    for level in (0, 2):
        result = graphc.compile(source, backend="numpy", level=level)(x)
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_zoo(name: str, batch: int) -> None:
    size = {"image_size": SIZES[name]} if name in SIZES else {}
    check(NETWORKS[name](batch=batch, **size), batch)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_light(name: str, batch: int) -> None:
    check(light(name, batch=batch), batch)
