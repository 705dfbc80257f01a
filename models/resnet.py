"""ResNet (He et al. 2015)."""

from __future__ import annotations

from graphc.ir import Graph, Value

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
