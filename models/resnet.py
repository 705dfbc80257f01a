"""ResNet (He et al. 2015)."""

from __future__ import annotations

import numpy as np

from graphc.errors import CompileError
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.padding import Pad
from graphc.ops.slicing import Slice

from .builder import Builder, global_average_pool, images, max_pool, network, relu, size, softmax

# Name: blocks of each stage, and whether they are bottlenecks (1×1, 3×3, 1×1) rather than two 3×3.
DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


def resnet18(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """ResNet-18. 11,689,512 parameters."""
    return _resnet("resnet18", batch, image_size, classes, seed)


def resnet34(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """ResNet-34. 21,797,672 parameters."""
    return _resnet("resnet34", batch, image_size, classes, seed)


def resnet50(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """ResNet-50, with the stride of a stage in its first 3×3 convolution. 25,557,032 parameters."""
    return _resnet("resnet50", batch, image_size, classes, seed)


def resnet101(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """ResNet-101. 44,549,160 parameters."""
    return _resnet("resnet101", batch, image_size, classes, seed)


def resnet152(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """ResNet-152. 60,192,808 parameters."""
    return _resnet("resnet152", batch, image_size, classes, seed)


def resnet_cifar(
    *, batch: int | str = 1, image_size: int = 32, classes: int = 10, depth: int = 20, channels: int = 3, seed: int = 0
) -> Graph:
    """ResNet-20, -32, … 6n + 2 for small images (He et al. 2015, section 4.2). ResNet-20 has 269,722 parameters.

    Stages of 16, 32 and 64 channels; shortcuts without weights: every other pixel, and zeros for new channels.
    """
    if depth < 8 or depth % 6 != 2:
        raise CompileError(f"depth is {depth}, expected 6n + 2: 8, 14, 20, 32, 44, 56, 110")
    net, x = Builder(seed), images(batch, channels, image_size)
    y = relu(net.batch_norm("bn1", net.conv("conv1", x, 16, 3, pad=1, bias=False)))
    for stage in range(3):
        for i in range(depth // 6):
            name, width, stride = f"layer{stage + 1}.{i}", 16 << stage, 2 if stage > 0 and i == 0 else 1
            shortcut = y if stride == 1 else _thinned(y, width)
            z = net.conv(f"{name}.conv1", y, width, 3, stride=stride, pad=1, bias=False)
            z = net.conv(f"{name}.conv2", relu(net.batch_norm(f"{name}.bn1", z)), width, 3, pad=1, bias=False)
            y = relu(net.batch_norm(f"{name}.bn2", z, scale=0.2) + shortcut)
    return network(f"resnet{depth}", x, softmax(net.dense("fc", global_average_pool(y), classes)))


def _thinned(x: Value, channels: int) -> Value:
    """Every other row and column of `x`, and channels of zeros after its own (option A of the paper)."""
    starts, ends, axes, steps = (const(np.array(v, np.int64)) for v in ([0, 0], [2**31, 2**31], [2, 3], [2, 2]))
    y = Slice().apply((x, starts, ends, axes, steps))[0]
    return Pad().apply((y, const(np.array([0, 0, 0, 0, 0, channels - size(x, 1), 0, 0], np.int64))))[0]


def _resnet(name: str, batch: int | str, image_size: int, classes: int, seed: int) -> Graph:
    net, x = Builder(seed), images(batch, 3, image_size)
    depths, bottleneck = DEPTHS[name]
    y = relu(net.batch_norm("bn1", net.conv("conv1", x, 64, 7, stride=2, pad=3, bias=False)))
    y = max_pool(y, 3, 2, pad=1)
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            y = block(net, f"layer{stage + 1}.{i}", y, 64 << stage, stride, bottleneck=bottleneck)
    return network(name, x, softmax(net.dense("fc", global_average_pool(y), classes)))


def block(net: Builder, name: str, x: Value, channels: int, stride: int, *, bottleneck: bool) -> Value:
    """relu(F(x) + shortcut(x)); the last scale of F is small, so that random deep networks stay in range."""
    outputs = 4 * channels if bottleneck else channels
    if bottleneck:
        layers = [(channels, 1, 1), (channels, 3, stride), (outputs, 1, 1)]
    else:
        layers = [(channels, 3, stride), (channels, 3, 1)]
    y = x
    for k, (count, kernel, step) in enumerate(layers, 1):
        y = net.conv(f"{name}.conv{k}", y, count, kernel, stride=step, pad=kernel // 2, bias=False)
        y = net.batch_norm(f"{name}.bn{k}", y, scale=1.0 if k < len(layers) else 0.2)
        y = relu(y) if k < len(layers) else y
    shortcut = x
    if stride != 1 or size(x, 1) != outputs:
        shortcut = net.conv(f"{name}.downsample.0", x, outputs, 1, stride=stride, bias=False)
        shortcut = net.batch_norm(f"{name}.downsample.1", shortcut)
    return relu(y + shortcut)
