"""Structural equality: of graphs, and of ops as keys."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Hashable

from graphc.ir import Graph, Op, Value, same_attribute
from graphc.types import Tensor, same_type


def graph_equal(a: Graph, b: Graph, *, names: bool = True) -> bool:
    """True when the graphs have the same structure, attributes, constants and types (up to names of unknown sizes).

    With `names=False`, the names of nodes and graphs may differ; those of inputs and outputs may not. The inputs and
    outputs of bodies go by position: their names say nothing.
    """
    if a.output_names != b.output_names or [v.name for v in a.inputs] != [v.name for v in b.inputs]:
        return False
    return (not names or a.name == b.name) and _same_structure(a, b, names)


def _same_structure(a: Graph, b: Graph, names: bool) -> bool:
    if len(a.nodes) != len(b.nodes) or len(a.inputs) != len(b.inputs):
        return False
    renamed: dict[str, str] = {}
    same: dict[Value | None, Value | None] = {None: None}
    for x, y in zip(a.inputs, b.inputs, strict=True):
        if not same_type(x.type, y.type, renamed):
            return False
        same[x] = y
    for m, n in zip(a.nodes, b.nodes, strict=True):
        if type(m.op) is not type(n.op) or (names and m.name != n.name) or len(m.inputs) != len(n.inputs):
            return False
        if any(same.get(x) is not y for x, y in zip(m.inputs, n.inputs, strict=True)):
            return False
        if len(m.outputs) != len(n.outputs) or not _same_attributes(m.op, n.op, names):
            return False
        for x, y in zip(m.outputs, n.outputs, strict=True):
            if not same_type(x.type, y.type, renamed):
                return False
            same[x] = y
    return len(a.outputs) == len(b.outputs) and all(same.get(x) is y for x, y in zip(a.outputs, b.outputs, strict=True))


def _same_attributes(a: Op, b: Op, names: bool) -> bool:
    for f in dataclasses.fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, Graph) and isinstance(y, Graph):
            if not _same_structure(x, y, names):
                return False
        elif not same_attribute(x, y):
            return False
    return True


def op_key(op: Op) -> Hashable:
    """Equal exactly for ops whose attributes mean the same: 0.0 is not -0.0, 1 is not True; bodies go by identity."""
    return (type(op), *(_attribute_key(getattr(op, f.name)) for f in dataclasses.fields(op)))


def _attribute_key(value: object) -> Hashable:
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, tuple):
        return tuple(_attribute_key(v) for v in value)
    if isinstance(value, Tensor):
        return value.key
    return (type(value), value)
