"""First values of parameters, drawn by seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphc.autodiff.step import with_constants
from graphc.ir import Graph, Node
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm
from graphc.ops.normalization import BatchNormalization
from graphc.types import Array


class Initialiser(Protocol):
    """The standard deviation of the normal distribution from which weights are drawn."""

    def std(self, fan_in: int, fan_out: int) -> float:
        """For units that read `fan_in` values and are read by `fan_out`."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """N(0, σ²) with one σ for all layers: signals of deep networks die out, or explode."""

    sigma: float = 0.01

    def std(self, fan_in: int, fan_out: int) -> float:
        return self.sigma


@dataclass(frozen=True)
class Xavier:
    """σ² = 2 / (fan_in + fan_out) keeps variances of linear and tanh layers (Glorot and Bengio 2010)."""

    def std(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / (fan_in + fan_out))


@dataclass(frozen=True)
class He:
    """σ² = 2 / fan_in keeps variances of ReLU layers, which halve them (He et al. 2015; MSR)."""

    def std(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / fan_in)


def initialise(graph: Graph, initialiser: Initialiser, *, seed: int = 0) -> Graph:
    """`graph` with new first values: weights drawn, scales and running variances 1, biases and running means 0.

    Weights are the named constants of rank 2 and more that a convolution or a matrix product reads; those of rank 1
    that such a node or a batch normalisation reads are the others. Each weight has a stream of its own, by its name.
    """
    values: dict[str, Array] = {}
    for node in graph.nodes:
        for number, x in enumerate(node.inputs):
            if x is None or x.node is None or x.node.inputs or not x.name or not x.tensor.is_static:
                continue
            shape: Sequence[int] = x.tensor.shape or ()  # type: ignore[assignment]
            if isinstance(node.op, BatchNormalization):
                values[x.name] = np.full(shape, float(number in (1, 4)), x.dtype.numpy)
            elif node.op.name in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
                if len(shape) >= 2:
                    std = initialiser.std(*fans(node, shape))
                    rng = np.random.default_rng([seed, zlib.crc32(x.name.encode())])
                    values[x.name] = (rng.standard_normal(shape) * std).astype(x.dtype.numpy)
                else:
                    values[x.name] = np.zeros(shape, x.dtype.numpy)
    return with_constants(graph, values)


def fans(node: Node, shape: Sequence[int]) -> tuple[int, int]:
    """How many values a unit of the layer reads, and how many units read one value, for a weight of `shape`."""
    window, op = math.prod(shape[2:]), node.op
    if isinstance(op, Conv):
        return shape[1] * window, shape[0] // op.group * window
    if isinstance(op, ConvTranspose):
        return shape[0] // op.group * window, shape[1] * window
    if isinstance(op, Gemm) and op.transB:
        return shape[1], shape[0]
    return shape[-2], shape[-1]
