"""From nodes to kernels: a nest for each output, on the buffers of values."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.expr import Buffer, Load, Source
from graphc.ir import Node, Value
from graphc.loops.compose import elements, immediate, sizes, stored
from graphc.loops.layout import row_major
from graphc.loops.lower import lower
from graphc.loops.nest import For, Nest, Store
from graphc.loops.schedule import schedule
from graphc.ops.base import Constant

from ..codegen.scalars import register_type
from ..codegen.target import Target


@dataclass(frozen=True, eq=False)
class Kernel:
    """A nest and the values that its arguments hold, in order."""

    nest: Nest
    values: tuple[Value, ...]


def lower_node(node: Node, target: Target) -> list[Kernel | Value]:
    """What computes each output of `node`: a kernel, or the input whose memory it shares.

    Raises `CompileError` where the node has no loop-level form.
    """
    buffers: dict[Buffer, Value] = {}
    given = {x: _source(x, buffers) for x in dict.fromkeys(node.inputs) if x is not None}
    inputs = [None if x is None else given[x] for x in node.inputs]
    made = elements(node.op, node.outputs, inputs, lambda x: _source(x, buffers))
    result: list[Kernel | Value] = []
    for v, element in zip(node.outputs, made, strict=True):
        register_type(v.dtype)
        layout = row_major(sizes(v))
        buffer = Buffer("y", v.dtype, layout.size)
        nest = lower(buffer, layout, element)
        names = {**buffers, buffer: v}
        shared = copied(nest)
        if shared is not None:
            result.append(names[shared])
        else:
            nest = schedule(nest, target.schedule)
            result.append(Kernel(nest, tuple(names[b] for b in nest.arguments)))
    return result


def _source(x: Value, buffers: dict[Buffer, Value]) -> Source:
    register_type(x.dtype)
    if x.node is not None and isinstance(x.node.op, Constant) and x.node.op.value.size == 1:
        return immediate(x)
    layout = row_major(sizes(x))
    buffer = Buffer(f"x{len(buffers)}", x.dtype, layout.size)
    buffers[buffer] = x
    return stored(x, buffer, layout)


def copied(nest: Nest) -> Buffer | None:
    """The input that `nest` copies as it is, if it does nothing else."""
    body = nest.body
    while len(body) == 1 and isinstance(body[0], For):
        body = body[0].body
    if len(body) != 1 or not isinstance(store := body[0], Store) or not isinstance(read := store.value, Load):
        return None
    same = read.offset == store.offset and read.buffer.size == store.buffer.size
    return read.buffer if same and read.buffer.dtype is store.buffer.dtype else None


def copy_kernel(x: Value, y: Value, target: Target) -> Kernel:
    """y = x."""
    buffers: dict[Buffer, Value] = {}
    source = _source(x, buffers)
    layout = row_major(sizes(y))
    buffer = Buffer("y", y.dtype, layout.size)
    nest = schedule(lower(buffer, layout, lambda *i: source[i]), target.schedule)
    names = {**buffers, buffer: y}
    return Kernel(nest, tuple(names[b] for b in nest.arguments))
