"""What the builders share: layers with named, seeded weights."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from graphc.dims import Dim, sym
from graphc.errors import ShapeError
from graphc.ir import Graph, Value
from graphc.ops.activation import Relu
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.normalization import BatchNormalization, LayerNormalization
from graphc.ops.pool import AveragePool, GlobalAveragePool, MaxPool
from graphc.ops.rescaling import LRN
from graphc.ops.reshaping import Flatten
from graphc.ops.softmax import Softmax
from graphc.types import Array, Tensor, TensorType, float32


def draw(rng: np.random.Generator, shape: Sequence[int], std: float) -> Array:
    """float32 of mean 0 and this standard deviation; uniform, which takes a quarter of the time of normal numbers."""
    values = rng.random(tuple(shape), dtype=np.float32)
    values -= np.float32(0.5)
    values *= np.float32(12**0.5 * std)
    return values


class Builder:
    """Layers on NCHW float32 values. Each weight is drawn from its own stream, seeded by its name.

    Weights have the standard deviation sqrt(2 / fan_in) of He et al. 2015 unless a layer says otherwise, and are
    drawn when they are first read, so that building a large network to look at it costs nothing.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    # -- weights ------------------------------------------------------------------------------------------------------
    def weights(self, name: str, shape: Sequence[int], std: float) -> Value:
        """A constant of mean 0 and this standard deviation."""
        return const(Tensor.lazy(float32, shape, lambda: draw(self._rng(name), shape, std)), name=name)

    def uniform(self, name: str, shape: Sequence[int], low: float, high: float) -> Value:
        """A constant drawn uniformly from [low, high)."""
        return const(self._rng(name).uniform(low, high, tuple(shape)).astype(np.float32), name=name)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    # -- layers -------------------------------------------------------------------------------------------------------
    def conv(
        self, name: str, x: Value, channels: int, kernel: int, *, stride: int = 1, pad: int = 0, dilation: int = 1,
        group: int = 1, bias: bool = True,
    ) -> Value:  # fmt: skip
        """A square 2-D convolution."""
        fan_in = size(x, 1) // group * kernel * kernel
        w = self.weights(f"{name}.weight", (channels, size(x, 1) // group, kernel, kernel), (2 / fan_in) ** 0.5)
        b = self.uniform(f"{name}.bias", (channels,), -0.1, 0.1) if bias else None
        op = Conv(strides=_square(stride), pads=_margin(pad), dilations=_square(dilation), group=group)
        return op.apply((x, w, b), name)[0]

    def up_conv(self, name: str, x: Value, channels: int, kernel: int, *, stride: int) -> Value:
        """A transposed convolution without bias, initialised to bilinear interpolation of each channel (Long 2015)."""
        inputs = size(x, 1)

        def draw() -> Array:
            factor = (kernel + 1) // 2
            centre = factor - 1 if kernel % 2 else factor - 0.5
            line = 1 - np.abs(np.arange(kernel) - centre) / factor
            w = np.zeros((inputs, channels, kernel, kernel), np.float32)
            w[range(min(inputs, channels)), range(min(inputs, channels))] = np.outer(line, line)
            return w

        w = const(Tensor.lazy(float32, (inputs, channels, kernel, kernel), draw), name=f"{name}.weight")
        return ConvTranspose(strides=(stride, stride)).apply((x, w), name)[0]

    def dense(self, name: str, x: Value, units: int) -> Value:
        """A fully connected layer: x · wᵀ + b for x of shape [batch, features]."""
        w = self.weights(f"{name}.weight", (units, size(x, 1)), (2 / size(x, 1)) ** 0.5)
        b = self.uniform(f"{name}.bias", (units,), -0.1, 0.1)
        return Gemm(transB=True).apply((x, w, b), name)[0]

    def linear(self, name: str, x: Value, units: int, *, std: float) -> Value:
        """A fully connected layer over the last axis: x · w + b for x of any rank."""
        w = self.weights(f"{name}.weight", (size(x, -1), units), std)
        return MatMul().apply((x, w), name)[0] + self.uniform(f"{name}.bias", (units,), -0.1, 0.1)

    def layer_norm(self, name: str, x: Value, *, epsilon: float) -> Value:
        """Layer normalisation over the last axis, with a learned scale near 1."""
        c = (size(x, -1),)
        scale, b = self.uniform(f"{name}.weight", c, 0.8, 1.2), self.uniform(f"{name}.bias", c, -0.1, 0.1)
        return LayerNormalization(epsilon=epsilon).apply((x, scale, b), name)[0]

    def batch_norm(self, name: str, x: Value, *, scale: float = 1.0) -> Value:
        """Batch normalisation with running statistics near 0 and 1, and a learned scale near `scale`."""
        c = (size(x, 1),)
        parameters = (
            self.uniform(f"{name}.weight", c, 0.8 * scale, 1.2 * scale),
            self.uniform(f"{name}.bias", c, -0.1, 0.1),
            self.uniform(f"{name}.running_mean", c, -0.1, 0.1),
            self.uniform(f"{name}.running_var", c, 0.8, 1.2),
        )
        return BatchNormalization().apply((x, *parameters), name)[0]

    def conv_relu(
        self, name: str, x: Value, channels: int, kernel: int, *, stride: int = 1, pad: int = 0, dilation: int = 1,
        group: int = 1,
    ) -> Value:  # fmt: skip
        """A convolution and a ReLU."""
        return relu(self.conv(name, x, channels, kernel, stride=stride, pad=pad, dilation=dilation, group=group))


def _square(size: int) -> tuple[int, int] | None:
    """`size` for height and width; None for 1, the default, which listings leave out."""
    return None if size == 1 else (size, size)


def _margin(pad: int) -> tuple[int, int, int, int] | None:
    return None if pad == 0 else (pad,) * 4


# -- layers without weights -------------------------------------------------------------------------------------------
def relu(x: Value) -> Value:
    return Relu().apply((x,))[0]


def max_pool(x: Value, kernel: int, stride: int, *, pad: int = 0, ceil: bool = False) -> Value:
    op = MaxPool(kernel_shape=(kernel,) * 2, strides=_square(stride), pads=_margin(pad), ceil_mode=ceil)
    return op.apply((x,))[0]


def average_pool(x: Value, kernel: int, stride: int) -> Value:
    return AveragePool(kernel_shape=(kernel,) * 2, strides=(stride,) * 2).apply((x,))[0]


def global_average_pool(x: Value) -> Value:
    """The mean of each channel: [n, c, h, w] -> [n, c]."""
    return flatten(GlobalAveragePool().apply((x,))[0])


def local_response_norm(x: Value) -> Value:
    """Normalisation across five channels: x / (2 + 1e-4 · Σ x²)^0.75 (Krizhevsky 2012, section 3.3)."""
    # ONNX divides alpha by the size; the paper does not.
    return LRN(size=5, alpha=5e-4, beta=0.75, bias=2.0).apply((x,))[0]


def flatten(x: Value) -> Value:
    return Flatten().apply((x,))[0]


def softmax(x: Value, axis: int = 1) -> Value:
    return Softmax(axis=axis).apply((x,), "probabilities")[0]


# -- graphs -----------------------------------------------------------------------------------------------------------
def images(batch: int | str, channels: int, height: int, width: int | None = None) -> Value:
    """The input `x`: [batch, channels, height, width]; a string as batch gives a symbolic dimension."""
    return Value(TensorType(float32, (_dim(batch), channels, height, width or height)), name="x")


def features(batch: int | str, count: int) -> Value:
    """The input `x`: [batch, count]."""
    return Value(TensorType(float32, (_dim(batch), count)), name="x")


def network(name: str, x: Value, y: Value) -> Graph:
    """The graph from `x` to `y`, whose output carries the name of its node, or `y`."""
    return Graph([x], [y], [y.name or "y"], name=name)


def _dim(batch: int | str) -> Dim:
    return sym(batch) if isinstance(batch, str) else batch


def size(x: Value, axis: int) -> int:
    """A dimension that must be known, such as the number of channels."""
    shape = x.shape
    if shape is None or not isinstance(shape[axis], int):
        raise ShapeError(f"axis {axis} of {x.tensor} must be a known size")
    return int(shape[axis])  # type: ignore[arg-type]
