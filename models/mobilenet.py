"""MobileNet (Howard et al. 2017)."""

from __future__ import annotations

from graphc.ir import Graph, Value

from .builder import Builder, global_average_pool, images, network, relu, size, softmax

# Output channels and stride of each pair of a depthwise 3×3 and a 1×1 convolution; table 1 of the paper.
PAIRS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_v1(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """MobileNet v1, width 1. 4,231,976 parameters."""
    net, x = Builder(seed), images(batch, 3, image_size)
    y = _conv(net, "conv1", x, 32, 3, stride=2)
    for i, (channels, stride) in enumerate(PAIRS, 2):
        y = _conv(net, f"conv{i}.depthwise", y, size(y, 1), 3, stride=stride, group=size(y, 1))
        y = _conv(net, f"conv{i}.pointwise", y, channels, 1)
    return network("mobilenet_v1", x, softmax(net.dense("fc", global_average_pool(y), classes)))


def _conv(net: Builder, name: str, x: Value, channels: int, kernel: int, *, stride: int = 1, group: int = 1) -> Value:
    """Convolution without bias, batch normalisation, ReLU."""
    y = net.conv(name, x, channels, kernel, stride=stride, pad=kernel // 2, group=group, bias=False)
    return relu(net.batch_norm(f"{name}.bn", y))
