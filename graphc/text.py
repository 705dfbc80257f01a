"""Graph -> listing. `graphc.parse` reads it back.

    graph @mlp(%x: f32[batch,4]) {
      %w: f32[4,2] = const @w
      %b: f32[2] = const [0.5, -0.5]
      %0: f32[batch,2] = MatMul(%x, %w)
      %y: f32[batch,2] = Add(%0, %b)
      return %y
    }

A value is called by its node's name, or by a number; `#1` marks a second output, `~2` the second node of one name.
Constants up to 8 elements stand in the listing; larger ones are named (`@w`) and travel beside it, see `weights`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.dims import Dim, substitute, sym, symbols
from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.ir import FORMATTERS, Graph, Node, Value
from graphc.names import did_you_mean
from graphc.names import quote as show
from graphc.ops.base import Constant
from graphc.ops.fused import called
from graphc.types import (
    Array,
    DType,
    MapType,
    OptionalType,
    SequenceType,
    Tensor,
    TensorType,
    Type,
    float16,
    float32,
    string,
)

MAX_INLINE = 8
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


class Line(Frozen):
    """One line of a listing and the node that it states, if it does."""

    text: str
    node: Node | None = None


def format_graph(graph: Graph) -> str:
    """The listing of `graph`."""
    return "\n".join(line.text for line in format_lines(graph))


def format_lines(graph: Graph) -> list[Line]:
    """The listing of `graph` line by line."""
    return list(_Printer().graph(graph))


def format_near(graph: Graph, name: str) -> str:
    """The lines of the listing that state nodes called `name`, what they read and what reads them.

    Raises `CompileError` where there is no such node.
    """
    found = [n for n in graph.nodes if name in called(n)]
    if not found:
        near = did_you_mean(name, (other for n in graph.nodes for other in called(n)))
        raise CompileError(f"there is no node {show(name)}", hint=f"{near}`graphc profile` lists the nodes")
    beside = {*found, *(x.node for n in found for x in n.inputs if x is not None)}
    beside |= {user for n in found for v in n.outputs for user, _ in graph.uses.get(v, ())}
    stated = set(graph.nodes)
    shown: list[str] = []
    at: Node | None = None
    for line in format_lines(graph)[1:-2]:  # without the head, the outputs and the end
        at = line.node if line.node in stated else at
        if at in beside:
            shown.append(line.text)
    return "\n".join(shown)


def weights(graph: Graph) -> dict[str, Array]:
    """The constants that a listing names instead of showing: name -> array. `parse` takes them back."""
    printer = _Printer()
    for _ in printer.graph(graph):
        pass
    return {key: tensor.array for key, tensor in printer.weights.items()}


def quote(name: str) -> str:
    """`name` as it stands after % or @: bare if it is a plain identifier, else a JSON string."""
    return name if _BARE.fullmatch(name) else json.dumps(name)


@dataclass
class _Printer:
    labels: dict[Value, str] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    unnamed: int = 0
    unknown: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    # -- graphs -------------------------------------------------------------------------------------------------------
    def graph(self, graph: Graph) -> Iterator[Line]:
        for v in graph.inputs:
            self.name(v, v.name)
        name = f"@{quote(graph.name)}" if graph.name else ""
        yield Line(f"graph {name}({self.parameters(graph)}) {{")
        yield from self.nodes(graph, "  ")
        outputs = ", ".join(
            label if (label := self.labels[v]) == f"%{name}" else f"{label} as {json.dumps(name)}"
            for v, name in zip(graph.outputs, graph.output_names, strict=True)
        )
        yield Line(f"  return {outputs}".rstrip())
        yield Line("}")

    def nodes(self, graph: Graph, indent: str) -> Iterator[Line]:
        for node in graph.nodes:
            yield from self.node(node, indent)

    def node(self, node: Node, indent: str) -> Iterator[Line]:
        base = self.label(node.name)
        for v in node.outputs:
            self.labels[v] = f"{base}#{v.index}" if v.index else base
        results = ", ".join(f"{self.labels[v]}: {self.type(v.type)}" for v in node.outputs)
        start = f"{indent}{results} = "
        if isinstance(node.op, Constant):
            yield Line(f"{start}const {self.contents(node.op.value, base[1:])}", node)
            return
        operands = ", ".join("_" if x is None else self.labels[x] for x in node.inputs)
        call = f"{start}{op_name(node)}({operands})"
        attributes = {k: a for k, a in node.op.attributes().items() if not isinstance(a, Graph)}
        plain = [f"{k}={self.attribute(a, f'{base[1:]}.{k}')}" for k, a in attributes.items()]
        bodies = node.op.graphs()
        if not bodies:
            yield Line(call + (f" {{{', '.join(plain)}}}" if plain else ""), node)
            return
        yield Line(f"{call} {{", node)
        inner = indent + "  "
        for text in plain:
            yield Line(inner + text)
        for key, body in bodies.items():
            shared = headerless(node)
            for i, v in enumerate(body.inputs):
                if shared:
                    self.labels[v] = self.labels[node.inputs[i]]  # type: ignore[index]
                else:
                    self.name(v, v.name)
            if not shared:
                yield Line(f"{inner}{key} = ({self.parameters(body)}) {{")
            deeper = inner if shared else inner + "  "
            yield from self.nodes(body, deeper)
            yield Line(f"{deeper}yield {', '.join(self.labels[v] for v in body.outputs)}".rstrip())
            if not shared:
                yield Line(f"{inner}}}")
        yield Line(f"{indent}}}")

    def parameters(self, graph: Graph) -> str:
        return ", ".join(f"{self.labels[v]}: {self.type(v.type)}" for v in graph.inputs)

    # -- names --------------------------------------------------------------------------------------------------------
    def name(self, v: Value, name: str) -> None:
        self.labels[v] = self.label(name)

    def label(self, name: str) -> str:
        if not name:
            self.unnamed += 1
            return f"%{self.unnamed - 1}"
        self.taken[name] = k = self.taken.get(name, 0) + 1
        return f"%{quote(name)}" + (f"~{k}" if k > 1 else "")

    # -- types and attributes -----------------------------------------------------------------------------------------
    def type(self, type: Type) -> str:
        if isinstance(type, SequenceType):
            return f"seq({self.type(type.element)})"
        if isinstance(type, OptionalType):
            return f"optional({self.type(type.element)})"
        if isinstance(type, MapType) or type.shape is None:
            return str(type)
        return str(TensorType(type.dtype, tuple(self.dim(d) for d in type.shape)))

    def dim(self, d: Dim) -> Dim:
        for s in symbols(d):
            if s.is_unknown:
                self.unknown.setdefault(s.name, f"?{len(self.unknown)}")
        return substitute(d, lambda s: sym(self.unknown[s.name]) if s.name in self.unknown else None)

    def attribute(self, value: Any, key: str) -> str:
        if isinstance(value, Tensor):
            return f"const {value.type} {self.contents(value, key)}"
        if isinstance(value, DType):
            return value.short
        if isinstance(value, (TensorType, SequenceType, OptionalType, MapType)):
            return self.type(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return json.dumps(value)
        if isinstance(value, tuple):
            return f"({','.join(self.attribute(v, key) for v in value)}{',' if len(value) == 1 else ''})"
        return repr(value)

    def contents(self, tensor: Tensor, key: str) -> str:
        if tensor.size <= MAX_INLINE:
            text = _elements(tensor) if tensor.size else "[]"
            if inline_tensor(text, tensor.type) == tensor:  # a NaN's payload, bytes that are not text: not inline
                return text
        self.weights[key] = tensor
        return f"@{key}"


def op_name(node: Node) -> str:
    """The op's name, with its domain unless that is ONNX's default or graphc's own."""
    return node.op.name if node.op.domain in ("", "graphc") else f"{node.op.domain}.{node.op.name}"


def headerless(node: Node) -> bool:
    """True where the body of `Fused` can call its inputs by the operands' names."""
    return node.op.name == "Fused" and len(set(node.inputs)) == len(node.inputs) and None not in node.inputs


def _elements(tensor: Tensor) -> str:
    """The elements as nested lists, in the shortest forms that read back to the same values."""
    if tensor.dtype in (float16, float32):  # as Python floats they would show digits that they do not have
        return _nested(np.array([str(v) for v in tensor.array.flat], object).reshape(tensor.shape).tolist(), str)
    return _nested(tensor.array.tolist(), _element)


def _nested(value: Any, show: Callable[[Any], str]) -> str:
    return f"[{', '.join(_nested(v, show) for v in value)}]" if isinstance(value, list) else show(value)


def _element(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bytes):
        return json.dumps(value.decode("latin-1"))
    if isinstance(value, (int, complex)):
        return repr(value)
    return repr(float(value))


_ATOM = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s\[\],]+')


def inline_tensor(text: str, type: TensorType) -> Tensor | None:
    """The tensor of `type` that nested lists state, or None where they do not fit it."""
    atoms = _ATOM.findall(text)
    try:
        values = [_atom(a, type.dtype) for a in atoms]
        shape = tuple(int(d) for d in type.shape or ())  # type: ignore[arg-type]
        with np.errstate(over="ignore"):  # a float beyond the range is infinite; an integer is an error
            return Tensor(np.array(values, type.dtype.numpy).reshape(shape), type.dtype)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _atom(text: str, dtype: DType) -> Any:
    if dtype is string:
        return json.loads(text)
    if dtype.kind == "bool":
        return {"true": True, "false": False}[text]
    if dtype.kind == "complex":
        return complex(text)
    if dtype.is_float:
        return float(text)
    number, signed = int(text), dtype.kind == "int"
    if not -(signed << (dtype.bits - 1)) <= number < 1 << (dtype.bits - signed):
        raise ValueError(f"{number} is no {dtype}")  # NumPy checks this too, but not for integers of 2 and 4 bits
    return number


FORMATTERS["listing"] = format_graph
