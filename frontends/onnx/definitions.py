"""Operators that ONNX defines by others: what they stand for, where graphc has no operator of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx
from onnx import AttributeProto

from graphc.errors import InvalidModel
from graphc.ir import Value

from .schema import Schema
from .valuetypes import write_type


def is_defined(schema: Schema) -> bool:
    """True when ONNX gives a function body for the operator."""
    bodies: Any = schema  # what onnx's type stubs leave out of OpSchema
    return bool(bodies.all_function_opset_versions)


def definition(
    schema: Schema,
    version: int,
    node: onnx.NodeProto,
    attributes: Iterable[AttributeProto],
    inputs: Sequence[Value | None],
) -> onnx.FunctionProto:
    """The body for `node` in opset `version`; some bodies depend on the attributes and on the types of the inputs.

    Raises `InvalidModel` when ONNX makes none for them.
    """
    bodies: Any = schema
    function = onnx.FunctionProto()
    usable = [v for v in bodies.function_opset_versions if v <= version]
    if usable:
        function.ParseFromString(bodies.get_function_with_opset_version(max(usable)))
        return function
    usable = [v for v in bodies.context_dependent_function_opset_versions if v <= version]
    call = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=node.input, output=node.output)
    call.attribute.extend(attributes)
    types = []
    for x in inputs:
        proto = onnx.TypeProto()
        if x is not None:
            write_type(x.type, proto, str)
        types.append(proto.SerializeToString())
    try:
        made = bodies.get_context_dependent_function_with_opset_version(max(usable), call.SerializeToString(), types)
    except (RuntimeError, ValueError, TypeError) as e:
        raise InvalidModel(f"ONNX has no definition of {schema.name} for these inputs and attributes: {e}") from e
    function.ParseFromString(made)
    return function


def default_attributes(schema: Schema) -> dict[str, AttributeProto]:
    """The attributes that have a default."""
    defaults = {name: formal.default_value for name, formal in schema.attributes.items()}
    return {name: value for name, value in defaults.items() if value.type != AttributeProto.UNDEFINED}
