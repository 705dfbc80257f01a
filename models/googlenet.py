"""GoogLeNet (Szegedy et al. 2014)."""

from __future__ import annotations

from itertools import islice

from graphc.ir import Graph, Value
from graphc.ops.movement import Concat

from .builder import Builder, global_average_pool, images, local_response_norm, max_pool, network, softmax

# Name: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection (table 1 of the paper).
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(
    *, batch: int | str = 1, image_size: int = 224, classes: int = 1000, blocks: int = 9, seed: int = 0
) -> Graph:
    """Inception v1 without the auxiliary classifiers. 6,998,552 parameters.

    With fewer `blocks` it is the first of the nine, and the classifier.
    """
    net, x = Builder(seed), images(batch, 3, image_size)
    y = max_pool(net.conv_relu("conv1", x, 64, 7, stride=2, pad=3), 3, 2, ceil=True)
    y = net.conv_relu("conv2.reduce", local_response_norm(y), 64, 1)
    y = local_response_norm(net.conv_relu("conv2", y, 192, 3, pad=1))
    y = max_pool(y, 3, 2, ceil=True)
    for name, channels in islice(INCEPTION.items(), blocks):
        if name in ("4a", "5a"):
            y = max_pool(y, 3, 2, ceil=True)
        y = inception(net, f"inception_{name}", y, channels)
    return network("googlenet", x, softmax(net.dense("fc", global_average_pool(y), classes)))


def inception(net: Builder, name: str, x: Value, channels: tuple[int, int, int, int, int, int]) -> Value:
    """Four branches on one input, concatenated: 1×1; 1×1 → 3×3; 1×1 → 5×5; max pooling → 1×1."""
    one, reduce3, three, reduce5, five, pool = channels
    branches = (
        net.conv_relu(f"{name}.1x1", x, one, 1),
        net.conv_relu(f"{name}.3x3", net.conv_relu(f"{name}.3x3.reduce", x, reduce3, 1), three, 3, pad=1),
        net.conv_relu(f"{name}.5x5", net.conv_relu(f"{name}.5x5.reduce", x, reduce5, 1), five, 5, pad=2),
        net.conv_relu(f"{name}.pool", max_pool(x, 3, 1, pad=1), pool, 1),
    )
    return Concat(axis=1).apply(branches, name)[0]
