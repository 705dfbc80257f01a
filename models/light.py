"""The nine networks that the onnx package ships for tests, with seeded random weights in place of their constant ones.

They are real exports (Caffe2, opset 9): AlexNet, DenseNet-121, Inception v1 and v2, ResNet-50, ShuffleNet, SqueezeNet,
VGG-19 and ZFNet-512. As shipped, every weight tensor is one number repeated.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from graphc.types import Array

from .builder import draw

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = tuple(sorted(p.stem.removeprefix("light_") for p in FOLDER.glob("light_*.onnx")))


def light(name: str, *, batch: int | str = 1, seed: int = 0) -> onnx.ModelProto:
    """The network `name` of `NAMES`: kernels drawn as in the zoo, biases near 0, and scales and variances near 1.

    Args:
        name: such as `resnet50`.
        batch: the first dimension of the image input; a string makes it symbolic.
        seed: of the weights. Each weight has a stream of its own, seeded by its name.
    """
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph = model.graph
    fills = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    tensors = {t.name: t for t in graph.initializer}
    shapes = {n.output[0]: numpy_helper.to_array(tensors.pop(n.input[0])).tolist() for n in fills}
    shapes |= {t.name: list(t.dims) for t in tensors.values() if t.data_type == onnx.TensorProto.FLOAT}
    centres = _centres(graph)
    layers = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    given = {t.name for t in graph.initializer}
    images = [i for i in graph.input if i.name not in given]
    model.ir_version = 4  # the first in which an initialiser need not be an input
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(layers)
    graph.initializer.extend(t for w, t in tensors.items() if w not in shapes)
    for w, shape in shapes.items():  # each is written where it belongs: together they are hundreds of megabytes
        drawn = _draw(w, shape, centres.get(w, 0.0), seed)
        graph.initializer.add(name=w, data_type=onnx.TensorProto.FLOAT, dims=shape, raw_data=drawn.tobytes())
    graph.input.extend(images)
    _set_batch(graph, batch)
    return model


def _centres(graph: onnx.GraphProto) -> dict[str, float]:
    """What the weights that scale are drawn around; the others are drawn around 0.

    That is 1 for variances and factors, and less for a normalisation whose output is summed with a shortcut: so random
    deep networks stay in range, and a softmax at their end is not saturated.
    """
    unsqueezed = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Unsqueeze"}
    summed = {x for n in graph.node if n.op_type == "Sum" for x in n.input}
    found: dict[str, float] = {}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            found |= {node.input[1]: 0.2 if node.output[0] in summed else 1.0, node.input[4]: 1.0}
        elif node.op_type == "Mul":
            found |= {unsqueezed.get(x, x): 1.0 for x in node.input}
    return found


def _draw(name: str, shape: list[int], centre: float, seed: int) -> Array:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if len(shape) > 1:
        fan_in = int(np.prod([d for d in shape if d > 1][1:]))
        return draw(rng, shape, (2 / fan_in) ** 0.5)
    return rng.uniform(centre - 0.1, centre + 0.1, shape).astype(np.float32)


def _set_batch(graph: onnx.GraphProto, batch: int | str) -> None:
    tensors = {t.name: t for t in graph.initializer}
    for info in [*(i for i in graph.input if i.name not in tensors), *graph.output]:
        dim = info.type.tensor_type.shape.dim[0]
        if isinstance(batch, str):
            dim.dim_param = batch
        else:
            dim.dim_value = batch
    for node in graph.node:
        if node.op_type == "Reshape":  # written for one image: 1 becomes 0, "as in the input"
            shape = numpy_helper.to_array(tensors[node.input[1]])
            if shape[0] == 1:
                copied = np.concatenate([[0], shape[1:]])
                tensors[node.input[1]].CopyFrom(numpy_helper.from_array(copied, node.input[1]))
