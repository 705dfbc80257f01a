"""Attributes between an op's fields and ONNX's AttributeProto."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from graphc.errors import InvalidModel
from graphc.ir import Graph, Op
from graphc.types import BY_ONNX, DType, Tensor


def shortest_float(x: float) -> float:
    """The double with the fewest digits that rounds to the float32 `x`: 0.01, not 0.009999999776."""
    return float(str(np.float32(x)))


@cache
def field_types(cls: type[Op]) -> dict[str, type]:
    """Field name -> the type to convert to, without `| None`: bool, int, float, str, tuple, DType, Tensor or Graph."""
    hints = typing.get_type_hints(cls)
    result: dict[str, type] = {}
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        result[f.name] = typing.get_origin(hint) or hint
    return result


def op_to_attributes(
    op: Op, graph_to_proto: Callable[[Graph, str], onnx.GraphProto] | None = None
) -> list[AttributeProto]:
    """The attributes of `op` that differ from their defaults, and those without a default.

    Fields with metadata `onnx=False` are graphc's own and are left out.
    """
    found: list[AttributeProto] = []
    for f in dataclasses.fields(op):
        value = getattr(op, f.name)
        if value is None or not f.metadata.get("onnx", True):
            continue
        if isinstance(value, Graph):
            if graph_to_proto is None:
                raise InvalidModel(f"attribute {f.name} is a graph", node=op.name)
            found.append(helper.make_attribute(f.name, graph_to_proto(value, f.name)))
        else:
            found.append(_attribute(f.name, value))
    return found


def _attribute(name: str, value: Any) -> AttributeProto:
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, DType):
        value = value.onnx
    elif isinstance(value, Tensor):
        value = tensor_to_proto(value)
    elif isinstance(value, tuple):
        kind = AttributeProto.INTS
        if value and isinstance(value[0], float):
            kind = AttributeProto.FLOATS
        elif value and isinstance(value[0], str):
            kind = AttributeProto.STRINGS
        return helper.make_attribute(name, [int(v) if isinstance(v, bool) else v for v in value], attr_type=kind)
    return helper.make_attribute(name, value)


def tensor_to_proto(tensor: Tensor, name: str = "") -> onnx.TensorProto:
    """A TensorProto with the contents of `tensor` in `raw_data` (in `string_data` for strings)."""
    if tensor.dtype.kind == "string":
        strings = [s if isinstance(s, bytes) else str(s).encode() for s in tensor.array.flat]
        return onnx.TensorProto(name=name, data_type=tensor.dtype.onnx, dims=tensor.shape, string_data=strings)
    return onnx.numpy_helper.from_array(tensor.array, name)


def scalar_attribute(value: Any, kind: type) -> Any:
    """An attribute's Python value converted to the field type `kind`."""
    if kind is bool:
        return bool(value)
    if kind is float:
        return shortest_float(value)
    if kind is str:
        return value.decode() if isinstance(value, bytes) else str(value)
    if kind is DType:
        if value not in BY_ONNX:
            raise InvalidModel(f"element type {value} does not exist, valid 1..{max(BY_ONNX)}")
        return BY_ONNX[value]
    return value
