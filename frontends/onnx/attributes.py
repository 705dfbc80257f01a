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

from graphc.dims import is_unknown
from graphc.errors import InvalidModel, escape
from graphc.ir import Graph, Op
from graphc.types import DType, MapType, OptionalType, SequenceType, Tensor, TensorType

from .schema import FIELDS, attribute_type
from .tensors import TensorReader, dtype_of_number, pack
from .valuetypes import TypeReader, write_type


def shortest_float(x: float) -> float:
    """The double with the fewest digits that rounds to the float32 `x`: 0.01, not 0.009999999776."""
    return float(str(np.float32(x)))


def _hints(cls: type[Op]) -> dict[str, Any]:
    """Field name -> its declared type, without `| None`."""
    hints = typing.get_type_hints(cls)
    result: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        result[f.name] = hint
    return result


@cache
def field_types(cls: type[Op]) -> dict[str, type]:
    """Field name -> the type to convert to, without `| None`: bool, int, float, str, tuple, DType, Tensor or Graph."""
    return {name: typing.get_origin(hint) or hint for name, hint in _hints(cls).items()}


@cache
def _list_types(cls: type[Op]) -> dict[str, int]:
    """Field name -> the type of attribute that a tuple becomes, empty or not."""
    kinds = {float: AttributeProto.FLOATS, str: AttributeProto.STRINGS}
    elements = {name: next(iter(typing.get_args(hint)), int) for name, hint in _hints(cls).items()}
    return {name: kinds.get(element, AttributeProto.INTS) for name, element in elements.items()}


def op_to_attributes(
    op: Op, graph_to_proto: Callable[[Graph, str], onnx.GraphProto] | None = None
) -> list[AttributeProto]:
    """The attributes of `op` that differ from their defaults, and those without a default.

    Fields with metadata `onnx=False` are graphc's own and are left out.
    """
    found: list[AttributeProto] = []
    cls: Any = type(op)
    kinds = field_types(cls)
    for f in dataclasses.fields(op):
        value = getattr(op, f.name)
        if value is None or not f.metadata.get("onnx", True):
            continue
        if isinstance(value, Graph):
            if graph_to_proto is None:
                raise InvalidModel(f"attribute {f.name} is a graph", node=op.name)
            found.append(helper.make_attribute(f.name, graph_to_proto(value, f.name)))
        elif isinstance(value, tuple):
            items = [int(v) if isinstance(v, bool) else v for v in value]
            found.append(helper.make_attribute(f.name, items, attr_type=_list_types(cls)[f.name]))
        else:
            found.append(_attribute(f.name, float(value) if kinds[f.name] is float else value))
    return found


def _attribute(name: str, value: Any) -> AttributeProto:
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, DType):
        value = value.onnx
    elif isinstance(value, Tensor):
        value = tensor_to_proto(value)
    elif isinstance(value, (TensorType, SequenceType, OptionalType, MapType)):
        attribute = AttributeProto(name=name, type=AttributeProto.TYPE_PROTO)
        write_type(value, attribute.tp, lambda d: "" if is_unknown(d) else str(d))
        return attribute
    return helper.make_attribute(name, value)


def tensor_to_proto(tensor: Tensor, name: str = "") -> onnx.TensorProto:
    """A TensorProto with the contents of `tensor`."""
    proto = onnx.TensorProto(data_type=tensor.dtype.onnx, dims=tensor.shape)
    if name:
        proto.name = name
    fill_data(proto, tensor)
    return proto


def fill_data(proto: onnx.TensorProto, tensor: Tensor) -> None:
    """Put the contents of `tensor` into `raw_data` (`string_data` for strings)."""
    if tensor.dtype.kind == "string":
        proto.string_data.extend(s if isinstance(s, bytes) else str(s).encode() for s in tensor.array.flat)
    else:
        proto.raw_data = pack(tensor.array, tensor.dtype)


def python_value(attribute: AttributeProto, tensors: TensorReader, types: TypeReader, node: str) -> Any:
    """The Python value of an attribute that is not a graph: numbers, text, tuples of them, Tensor, Type.

    Raises `InvalidModel`, also where the value is missing.
    """
    kind, name = attribute_type(attribute), attribute.name
    field = FIELDS.get(kind)
    if field is None:
        raise InvalidModel(f"attribute '{escape(name)}' has the type {kind}, which is not supported")
    if kind in _MESSAGES and field not in {f.name for f, _ in attribute.ListFields()}:
        raise InvalidModel(f"attribute '{escape(name)}' has no value in its field {field}")
    value = getattr(attribute, field)
    if kind == AttributeProto.FLOAT:
        return shortest_float(value)
    if kind == AttributeProto.FLOATS:
        return tuple(shortest_float(v) for v in value)
    if kind == AttributeProto.STRING:
        return _decode(value, name)
    if kind == AttributeProto.STRINGS:
        return tuple(_decode(v, name) for v in value)
    if kind == AttributeProto.TENSOR:
        return tensors.tensor(value, value.name or f"{node}.{name}")
    if kind == AttributeProto.SPARSE_TENSOR:
        return tensors.sparse(value, value.values.name or f"{node}.{name}")
    if kind == AttributeProto.TYPE_PROTO:
        return types.read(value, f"{node}.{name}")
    return tuple(value) if kind == AttributeProto.INTS else value


_MESSAGES: frozenset[int] = frozenset({AttributeProto.TENSOR, AttributeProto.SPARSE_TENSOR, AttributeProto.TYPE_PROTO})


def _decode(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as e:
        raise InvalidModel(f"attribute '{escape(name)}' is not UTF-8: {value[:40]!r}") from e


def scalar_attribute(value: Any, kind: type) -> Any:
    """An attribute's Python value converted to the field type `kind`."""
    if kind is bool:
        return bool(value)
    if kind is float:
        return shortest_float(value)
    if kind is str:
        return value.decode() if isinstance(value, bytes) else str(value)
    if kind is tuple:
        return tuple(value)
    if kind is DType:
        return dtype_of_number(value, "an attribute")
    return value
