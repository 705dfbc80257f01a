"""The operators and methods of `Value` (`a + b`, `x.sum(axes)`), as functions that make nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ir import OPERATORS, Axes, Op, Operand, Value
from graphc.ops import (
    arithmetic,
    cast,
    linear,
    logic,
    math,
    movement,
    optional,
    reduction,
    reshaping,
    scatter,
    sequence,
)
from graphc.ops.base import const, lift
from graphc.types import OptionalType, SequenceType, int64


def _binary(op: type[Op]) -> Callable[[Operand, Operand], Value]:
    def apply(a: Operand, b: Operand) -> Value:
        like = a if isinstance(a, Value) else b
        assert isinstance(like, Value)
        return op().apply((lift(a, like), lift(b, like)))[0]

    return apply


def _unary(op: type[Op]) -> Callable[[Value], Value]:
    return lambda x: op().apply((x,))[0]


def _reduction(op: type[reduction.Reduce]) -> Callable[..., Value]:
    def apply(x: Value, axes: Axes, *, keepdims: bool) -> Value:
        if axes is None:
            return op(keepdims=keepdims).apply((x,))[0]
        listed = [axes] if isinstance(axes, int) else list(axes)
        # An empty list means no axes here, where ONNX would take it for all of them.
        return op(keepdims, noop_with_empty_axes=not listed).apply((x, const(listed, int64)))[0]

    return apply


def _transpose(x: Value, perm: Sequence[int]) -> Value:
    return movement.Transpose(tuple(perm)).apply((x,))[0]


def _scatter_add(x: Value, positions: Value, added: Value, axis: int = 0) -> Value:
    return scatter.ScatterElements(axis, reduction="add").apply((x, positions, added))[0]


def _gradient_sum(a: Value, b: Value) -> Value:
    """What two uses of a value send back: tensors, sequences of them, or optionals that hold either."""
    if isinstance(a.type, OptionalType):
        held = (optional.OptionalGetElement().apply((v,))[0] for v in (a, b))
        return optional.Optional().apply((_gradient_sum(*held),))[0]
    return sequence.added(a, b) if isinstance(a.type, SequenceType) else a + b


def install() -> None:
    """Fill `OPERATORS`; `graphc.ops` calls this once."""
    binary: tuple[type[Op], ...] = (
        arithmetic.Add, arithmetic.Sub, arithmetic.Mul, arithmetic.Div, math.Pow, linear.MatMul, logic.And,
        logic.Equal, logic.Greater, logic.GreaterOrEqual, logic.Less, logic.LessOrEqual,
    )  # fmt: skip
    for op in binary:
        OPERATORS[op.__name__] = _binary(op)
    OPERATORS["Neg"] = _unary(arithmetic.Neg)
    OPERATORS["Not"] = _unary(logic.Not)
    OPERATORS["Cast"] = lambda x, dtype: cast.Cast(dtype).apply((x,))[0]
    for reduce in (reduction.ReduceSum, reduction.ReduceMean, reduction.ReduceMax):
        OPERATORS[reduce.__name__] = _reduction(reduce)
    OPERATORS["Reshape"] = reshaping.reshape
    OPERATORS["Transpose"] = _transpose
    OPERATORS["GradientSum"] = _gradient_sum
    OPERATORS["ScatterAdd"] = _scatter_add
    OPERATORS["ScatterNDAdd"] = lambda x, indices, updates: scatter.ScatterND("add").apply((x, indices, updates))[0]
