"""AlexNet and Network in Network."""

from __future__ import annotations

from graphc.ir import Graph, Value

from .builder import (
    Builder,
    flatten,
    global_average_pool,
    images,
    local_response_norm,
    max_pool,
    network,
    relu,
    softmax,
)


def alexnet(*, batch: int | str = 1, image_size: int = 227, classes: int = 1000, seed: int = 0) -> Graph:
    """AlexNet (Krizhevsky et al. 2012): two groups, local response normalisation. 60,965,224 parameters."""
    net, x = Builder(seed), images(batch, 3, image_size)
    y = max_pool(local_response_norm(net.conv_relu("conv1", x, 96, 11, stride=4)), 3, 2)
    y = max_pool(local_response_norm(net.conv_relu("conv2", y, 256, 5, pad=2, group=2)), 3, 2)
    y = net.conv_relu("conv3", y, 384, 3, pad=1)
    y = net.conv_relu("conv4", y, 384, 3, pad=1, group=2)
    y = flatten(max_pool(net.conv_relu("conv5", y, 256, 3, pad=1, group=2), 3, 2))
    y = relu(net.dense("fc6", y, 4096))
    y = relu(net.dense("fc7", y, 4096))
    return network("alexnet", x, softmax(net.dense("fc8", y, classes)))


def nin(*, batch: int | str = 1, image_size: int = 224, classes: int = 1000, seed: int = 0) -> Graph:
    """Network in Network (Lin et al. 2013), ImageNet form: each convolution is followed by two 1×1 (mlpconv)."""
    net, x = Builder(seed), images(batch, 3, image_size)

    def mlpconv(k: int, y: Value, channels: tuple[int, int, int], kernel: int, stride: int = 1, pad: int = 0) -> Value:
        y = net.conv_relu(f"conv{k}", y, channels[0], kernel, stride=stride, pad=pad)
        y = net.conv_relu(f"cccp{2 * k - 1}", y, channels[1], 1)
        return net.conv_relu(f"cccp{2 * k}", y, channels[2], 1)

    y = max_pool(mlpconv(1, x, (96, 96, 96), 11, stride=4), 3, 2, ceil=True)
    y = max_pool(mlpconv(2, y, (256, 256, 256), 5, pad=2), 3, 2, ceil=True)
    y = max_pool(mlpconv(3, y, (384, 384, 384), 3, pad=1), 3, 2, ceil=True)
    y = mlpconv(4, y, (1024, 1024, classes), 3, pad=1)
    return network("nin", x, softmax(global_average_pool(y)))
