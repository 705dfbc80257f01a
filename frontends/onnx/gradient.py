"""Gradient-1 of ai.onnx.preview.training: an operator on the graph around it, replaced by its derivative's nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from graphc.errors import InvalidModel, escape
from graphc.ir import Graph, Value, substitute, topological
from graphc.ops.base import Tensor, TensorType
from graphc.ops.generate import ConstantOfShape, zeros_like
from graphc.ops.logic import Identity
from graphc.ops.shape import shape_of
from graphc.ops.vjp import vjp

DOMAIN, NAME = "ai.onnx.preview.training", "Gradient"


def is_gradient(op: str, domain: str) -> bool:
    """True for the operator of this file."""
    return (domain, op) == (DOMAIN, NAME)


def values_read(node: onnx.NodeProto) -> list[str]:
    """The names of the values that `node` reads: its inputs, and those that a Gradient names in its attributes."""
    names = list(node.input)
    if is_gradient(node.op_type, node.domain):
        for attribute in node.attribute:
            names += [s.decode(errors="replace") for s in (*attribute.strings, attribute.s) if s]
    return names


def differentiate(
    find: Callable[[str], Value | None], attributes: Mapping[str, Any], inputs: Sequence[Value | None]
) -> list[Value]:
    """∂ Σ y / ∂ x for each x of `xs`, where the values called `xs` and `zs` are independent and equal to `inputs`.

    Raises `InvalidModel` for names, inputs or types that do not fit, and the errors of `vjp`.
    """
    xs, zs = ([_value(find, name) for name in attributes.get(key, ())] for key in ("xs", "zs"))
    y, old = _value(find, attributes["y"]), [*xs, *zs]
    given = [x for x in inputs if x is not None]
    if len(given) != len(old):
        raise InvalidModel(f"has {len(given)} inputs, expected one for each of the {len(old)} values in xs and zs")
    for v in (*xs, y):
        if not isinstance(v.type, TensorType) or not v.dtype.is_float:
            raise InvalidModel(f"'{escape(v.name)}' is {v.type}, expected floating-point numbers", value=v.name)
    if y.node is None and y not in old:
        raise InvalidModel(f"'{escape(y.name)}' is not computed in the graph that the Gradient is in", value=y.name)
    if given != old or _depend_on_each_other(old):
        leaves: list[Value] = [Identity()(v) for v in given]
        y = _on(y, dict(zip(old, leaves, strict=True)))
        xs = leaves[: len(xs)]
    seed = ConstantOfShape(Tensor([1], y.dtype)).apply((shape_of(y),))[0]
    gradients = vjp([y], [seed], xs)
    return [zeros_like(x) if dx is None else dx for x, dx in zip(xs, gradients, strict=True)]


def _value(find: Callable[[str], Value | None], name: str) -> Value:
    value = find(name)
    if value is None:
        raise InvalidModel(f"'{escape(name)}' is an omitted input of a function", value=name)
    return value


def _depend_on_each_other(values: Sequence[Value]) -> bool:
    """True when one of `values` is computed from another, or is there twice."""
    reached = set(values)
    if len(reached) < len(values):
        return True
    for node in topological(values):
        if any(x in reached for x in node.inputs if x is not None):
            if any(y in values for y in node.outputs):
                return True
            reached.update(node.outputs)
    return False


def _on(y: Value, leaves: Mapping[Value, Value]) -> Value:
    """`y` computed again with values replaced."""
    read = [y, *(x for node in topological([y]) for x in node.inputs if x is not None)]
    graph = Graph(list(dict.fromkeys(v for v in read if v.node is None)), [y])
    return substitute(graph, leaves)[0]
