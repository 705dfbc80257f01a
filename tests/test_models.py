"""The zoo has the published sizes."""

from __future__ import annotations

import numpy as np
import pytest

from graphc import models
from graphc.interpret import interpret
from graphc.ir import Graph, elements
from graphc.models import NETWORKS

# Learned parameters as published or as they follow from the papers' tables; running statistics are not among them.
PARAMETERS = {
    "perceptron": 3,
    "temperature_mlp": 41,
    "mlp": 669_706,
    "lenet5": 61_706,
    "lenet5_digits": 61_706,
    "alexnet": 60_965_224,
    "nin": 7_595_176,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 6_998_552,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet_cifar": 269_722,
    "mobilenet_v1": 4_231_976,
    "bert_base": 109_482_240,
    "vit_b16": 86_567_656,
    "fcn32s": 136_152_917,
    "context_module": 9 * 21 * 21 * 7 + 21 * 21 + 8 * 21,
}
# Multiply-adds of convolutions, fully connected layers and attention for one input of the default size, in 1e9.
GIGA_MACS = {
    "alexnet": 0.72,
    "nin": 1.10,
    "vgg16": 15.47,
    "vgg19": 19.63,
    "googlenet": 1.58,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "resnet_cifar": 0.0408,
    "mobilenet_v1": 0.57,
    "bert_base": 11.17,
    "vit_b16": 17.56,
}


def parameters(graph: Graph) -> int:
    weights = [n for n in graph.constants() if n.name.endswith((".weight", ".bias"))]
    return sum(n.op.value.size for n in weights)  # type: ignore[attr-defined]


def layer_flops(graph: Graph) -> float:
    layers = [n for n in graph.nodes if n.op.name in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    return sum(float(n.op.cost(n.inputs, n.outputs).flops) for n in layers)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert parameters(NETWORKS[name]()) == PARAMETERS[name]


@pytest.mark.parametrize("name", GIGA_MACS)
def test_arithmetic(name: str) -> None:
    assert layer_flops(NETWORKS[name]()) / 2e9 == pytest.approx(GIGA_MACS[name], abs=0.02 * GIGA_MACS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_any_batch(name: str) -> None:
    symbolic, fixed = NETWORKS[name](batch="n"), NETWORKS[name](batch=7)
    assert str(symbolic.outputs[0].type).replace("n", "7", 1) == str(fixed.outputs[0].type)


def test_sizes_and_classes() -> None:
    assert models.resnet18(image_size=64, classes=5).outputs[0].shape == (1, 5)
    assert models.fcn8s(image_size=96, classes=3).outputs[0].shape == (1, 3, 96, 96)
    assert models.mobilenet_v1(image_size=96, classes=7).outputs[0].shape == (1, 7)
    assert models.vit_b16(image_size=64, classes=9, layers=1).outputs[0].shape == (1, 9)
    assert models.bert_base(length=16, layers=1, width=96, heads=3).outputs[0].shape == (1, 16, 96)
    assert models.dilated_front_end(image_size=900).outputs[0].shape == (1, 21, 66, 66)


def test_weights_are_seeded() -> None:
    a, b, c = (models.lenet5(seed=s).constants()[0].op.value for s in (0, 0, 1))  # type: ignore[attr-defined]
    assert a == b
    assert a != c


def test_layers_hold_parameters_and_arithmetic_where_the_lecture_says() -> None:
    """Fully connected layers hold most parameters of AlexNet and VGG, convolutions most of the arithmetic."""
    for graph in (models.alexnet(), models.vgg16()):
        dense = [n for n in graph.nodes if n.op.name == "Gemm"]
        convolutions = [n for n in graph.nodes if n.op.name == "Conv"]
        weights = sum(int(elements(n.inputs[1])) for n in dense)  # type: ignore[arg-type]
        flops = sum(float(n.op.cost(n.inputs, n.outputs).flops) for n in convolutions)  # type: ignore[arg-type]
        assert weights > 0.85 * parameters(graph)
        assert flops > 0.9 * layer_flops(graph)


def test_local_response_normalisation_is_that_of_the_paper() -> None:
    """x / (k + alpha · Σ x²)^beta with k = 2, n = 5, alpha = 1e-4, beta = 0.75; ONNX divides alpha by n."""
    (op,) = {n.op for n in models.alexnet().nodes if n.op.name == "LRN"}
    assert (op.bias, op.size, op.alpha / op.size, op.beta) == (2.0, 5, 1e-4, 0.75)  # type: ignore[attr-defined]


def test_the_perceptron_is_the_sign_of_a_weighted_sum() -> None:
    graph = models.perceptron(batch=5, inputs=3)
    w, b = (n.op.value.array for n in graph.constants())  # type: ignore[attr-defined]
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(interpret(graph, [x])[0], np.sign(x @ w.T + b))
