"""VGG (Simonyan and Zisserman 2014), configurations D and E."""

from __future__ import annotations

from graphc.ir import Graph, Value

from .builder import Builder, flatten, images, max_pool, network, relu, softmax

CHANNELS = (64, 128, 256, 512, 512)


def vgg16(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """VGG-16: thirteen 3×3 convolutions and three fully connected layers. 138,357,544 parameters."""
    return _vgg("vgg16", (2, 2, 3, 3, 3), batch, image_size, classes, seed)


def vgg19(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """VGG-19: sixteen 3×3 convolutions and three fully connected layers. 143,667,240 parameters."""
    return _vgg("vgg19", (2, 2, 4, 4, 4), batch, image_size, classes, seed)


def _vgg(name: str, depths: tuple[int, ...], batch: int | str, image_size: int, classes: int, seed: int) -> Graph:
    net, x = Builder(seed), images(batch, 3, image_size)
    y = x
    for stage in range(5):
        y = max_pool(block(net, y, stage, depths[stage]), 2, 2)
    y = relu(net.dense("fc6", flatten(y), 4096))
    y = relu(net.dense("fc7", y, 4096))
    return network(name, x, softmax(net.dense("fc8", y, classes)))


def block(
    net: Builder, y: Value, stage: int, depth: int, *, pad: int = 1, dilation: int = 1, first_pad: int | None = None
) -> Value:
    """`depth` 3×3 convolutions of stage `stage` (from 0), without the pooling that follows them."""
    for i in range(depth):
        margin = first_pad if i == 0 and first_pad is not None else pad
        y = net.conv_relu(f"conv{stage + 1}_{i + 1}", y, CHANNELS[stage], 3, pad=margin, dilation=dilation)
    return y
