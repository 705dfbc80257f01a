"""Small ONNX models for tests of the frontend, whole and broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def info(name: str, shape: Sequence[int | str | None] | None = (2,), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """`node("Add", "x y", "z")`; `_` stands for an omitted value."""
    split = [["" if n == "_" else n for n in names.split()] for names in (inputs, outputs)]
    return helper.make_node(op, *split, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | str = "y",
    *,
    opset: int = 21,
    weights: dict[str, Any] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A model, of an input x: f32[2] unless others are given; outputs given as names have no type."""
    if isinstance(outputs, str):
        outputs = [onnx.ValueInfoProto(name=name) for name in outputs.split()]
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x")] if inputs is None else inputs,
        outputs,
        initializer=[
            w if isinstance(w, TensorProto) else numpy_helper.from_array(np.asarray(w), name)
            for name, w in (weights or {}).items()
        ],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def relu() -> onnx.ModelProto:
    """y = relu(x), x: f32[2]."""
    return model([node("Relu", "x", "y")])


def raw_tensor(name: str, dtype: int, dims: Sequence[int], raw: bytes | None = None, **fields: Any) -> TensorProto:
    """A TensorProto as it is said, right or wrong."""
    tensor = TensorProto(name=name, data_type=dtype, dims=dims)
    if raw is not None:
        tensor.raw_data = raw
    for field, values in fields.items():
        getattr(tensor, field).extend(values)
    return tensor


def with_weight(tensor: TensorProto) -> onnx.ModelProto:
    """y = identity(w) for an initialiser `w`."""
    tensor.name = "w"
    return model([node("Identity", "w", "y")], [], weights={"w": tensor})
