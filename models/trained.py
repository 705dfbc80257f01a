"""Networks that have learned."""

from __future__ import annotations

from pathlib import Path

from graphc.ir import Graph
from graphc.passes.specialize import specialize
from graphc.runtime.frontends import load


def lenet5_digits(*, batch: int | str = 1) -> Graph:
    """LeNet-5 that knows handwritten digits: 28×28 pixels from 0 (paper) to 1 (ink).

    Made by `python examples/digits.py lenet5 --save models/lenet5_digits.onnx`.
    """
    graph = load(Path(__file__).with_name("lenet5_digits.onnx"))
    return specialize(graph, {"x": (batch, 1, 28, 28)})
