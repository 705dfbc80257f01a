"""The zoo: one short file for each family of networks.

Each builder returns a `Graph` with seeded random weights, for any batch (a number, or a name for a symbolic dimension),
size and number of classes; `trained` has one that has learned. `NETWORKS` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph

from .alexnet import alexnet, nin
from .classic import lenet5, mlp, perceptron, temperature_mlp
from .googlenet import googlenet
from .mobilenet import mobilenet_v1
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152, resnet_cifar
from .segmentation import context_module, dilated_front_end, fcn8s, fcn16s, fcn32s
from .trained import lenet5_digits
from .transformer import bert_base, vit_b16
from .vgg import vgg16, vgg19

NETWORKS: dict[str, Callable[..., Graph]] = {
    builder.__name__: builder
    for builder in (
        perceptron, temperature_mlp, mlp, lenet5, alexnet, nin, vgg16, vgg19, googlenet, resnet18, resnet34, resnet50,
        resnet101, resnet152, resnet_cifar, mobilenet_v1, fcn32s, fcn16s, fcn8s, dilated_front_end, context_module,
        bert_base, vit_b16, lenet5_digits,
    )
}  # fmt: skip

__all__ = ["NETWORKS", *NETWORKS]
