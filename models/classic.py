"""From the perceptron to LeNet-5."""

from __future__ import annotations

from graphc.ir import Graph, Value
from graphc.ops.math import Sign, Tanh

from .builder import Builder, average_pool, features, flatten, images, network, relu, softmax


def perceptron(*, batch: int | str = 1, inputs: int = 2, seed: int = 0) -> Graph:
    """sign(w · x + b) (Rosenblatt 1958)."""
    x = features(batch, inputs)
    return network("perceptron", x, Sign().apply((Builder(seed).dense("fc", x, 1),), "y")[0])


def temperature_mlp(*, batch: int | str = 1, days: int = 3, hidden: int = 8, seed: int = 0) -> Graph:
    """The next day's average temperature from those of the last `days`: one hidden ReLU layer, linear output."""
    net, x = Builder(seed), features(batch, days)
    return network("temperature_mlp", x, net.dense("fc2", relu(net.dense("fc1", x, hidden)), 1))


def mlp(
    *, batch: int | str = 1, inputs: int = 784, hidden: tuple[int, ...] = (512, 512), classes: int = 10, seed: int = 0
) -> Graph:
    """Fully connected ReLU layers and a softmax."""
    net, x = Builder(seed), features(batch, inputs)
    y = x
    for i, units in enumerate(hidden):
        y = relu(net.dense(f"fc{i + 1}", y, units))
    return network("mlp", x, softmax(net.dense(f"fc{len(hidden) + 1}", y, classes)))


def lenet5(*, batch: int | str = 1, image_size: int = 28, classes: int = 10, seed: int = 0) -> Graph:
    """LeNet-5 (LeCun et al. 1998) in its usual form: tanh, average pooling, C3 fully connected, softmax.

    61,706 parameters at 28×28 and ten classes.
    """
    net, x = Builder(seed), images(batch, 1, image_size)
    y = average_pool(_tanh(net.conv("conv1", x, 6, 5, pad=2)), 2, 2)
    y = flatten(average_pool(_tanh(net.conv("conv2", y, 16, 5)), 2, 2))
    y = _tanh(net.dense("fc1", y, 120))
    y = _tanh(net.dense("fc2", y, 84))
    return network("lenet5", x, softmax(net.dense("fc3", y, classes)))


def _tanh(x: Value) -> Value:
    return Tanh().apply((x,))[0]
