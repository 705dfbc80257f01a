"""Fusion by composition: the elements of a node's outputs as functions of the elements of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.errors import CompileError
from graphc.expr import Buffer, Const, Element, Expr, Form, Joint, Load, Source
from graphc.index import Linear
from graphc.ir import Op, Value
from graphc.loops.layout import Layout
from graphc.ops.base import Constant, static_shape
from graphc.ops.fused import Fused
from graphc.types import Array, Tensor, TensorType

FEW = 16  # elements that an op may look at


def stored(value: Value, buffer: Buffer, layout: Layout) -> Source:
    """A tensor that lies in `buffer`."""
    return Source(
        value.dtype,
        layout.shape,
        lambda index: Load(buffer, layout.offset(index)),
        const=looked_at(value),
        halo=layout.halo,
        flat=(lambda position: Load(buffer, position)) if layout.is_row_major else None,
    )


def computed(value: Value, element: Form) -> Source:
    """A tensor whose elements are computed where they are read; each index once."""
    made: dict[tuple[Linear, ...], Expr] = {}

    def at(index: tuple[Linear, ...]) -> Expr:
        if isinstance(element, Joint):
            raise CompileError("its elements are not computed one by one")
        if index not in made:
            made[index] = element(*index)
        return made[index]

    return Source(value.dtype, sizes(value), at, const=looked_at(value))


def known(value: Value) -> Tensor | None:
    """The elements of a constant, or what inference knows of a small tensor."""
    if value.node is not None and isinstance(value.node.op, Constant):
        return value.node.op.value
    return None if value.const is None else Tensor(value.const, value.dtype)


def looked_at(value: Value) -> Array | None:
    """What an op may look at of the elements: integers, as sizes and axes are, and of other types a few."""
    array = value.const
    return array if array is None or array.size <= FEW or array.dtype.kind in "iub" else None


def sizes(value: Value) -> tuple[int, ...]:
    """The shape as numbers. Raises `CompileError` where it is not known."""
    shape = static_shape(value) if isinstance(value.type, TensorType) else None
    if shape is None:
        raise CompileError(f"{value.type} is known only at run time")
    return shape


def elements(
    op: Op,
    outputs: Sequence[Value],
    xs: Sequence[Source | None],
    constant: Callable[[Value], Source],
    before: Mapping[Value, Source] | None = None,
) -> tuple[Form, ...]:
    """One function from indices to an expression (or another form) for each of `outputs`: those of `op` on `xs`.

    `constant` finds a place for a constant inside of `op`. Of a group, what is made of outputs that are there `before`
    reads them. Raises `CompileError` where `op`, or one inside it, has no `element`.
    """
    if isinstance(op, Fused):
        there = zip(op.body.outputs, outputs, strict=True)
        return _fused(op, xs, constant, {v: before[y] for v, y in there if before and y in before})
    types = tuple(v.type for v in outputs)
    made = op.element(types[0] if len(types) == 1 else types, *xs)
    return made if isinstance(made, tuple) else (made,)


def _fused(
    op: Fused, xs: Sequence[Source | None], constant: Callable[[Value], Source], before: Mapping[Value, Source]
) -> tuple[Form, ...]:
    sources: dict[Value, Source] = {}
    forms: dict[Value, Form] = {}
    for v, x in zip(op.body.inputs, xs, strict=True):
        assert x is not None
        sources[v] = x
    for node in op.body.nodes:
        if isinstance(node.op, Constant):
            sources[node.output] = constant(node.output)
            continue
        inputs = [None if x is None else sources[x] for x in node.inputs]
        made = elements(node.op, node.outputs, inputs, constant)
        sources.update((v, before.get(v) or computed(v, e)) for v, e in zip(node.outputs, made, strict=True))
        forms.update((v, e) for v, e in zip(node.outputs, made, strict=True) if isinstance(e, Joint))
    return tuple(forms[v] if v in forms else _element(sources[v]) for v in op.body.outputs)


def immediate(value: Value) -> Source:
    """A constant of one element, written into the code."""
    array = looked_at(value)
    assert array is not None
    assert array.size == 1
    number = Const(array.reshape(-1)[0], value.dtype)
    return Source(value.dtype, array.shape, lambda index: number, const=array, flat=lambda position: number)


def _element(source: Source) -> Element:
    return lambda *index: source[index]
