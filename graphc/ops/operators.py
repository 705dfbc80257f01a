"""The operators and methods of `Value` (`a + b`, `x.sum(axes)`), as functions that make nodes."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import OPERATORS, Op, Operand, Value
from graphc.ops import arithmetic
from graphc.ops.base import lift


def _binary(op: type[Op]) -> Callable[[Operand, Operand], Value]:
    def apply(a: Operand, b: Operand) -> Value:
        like = a if isinstance(a, Value) else b
        assert isinstance(like, Value)
        return op().apply((lift(a, like), lift(b, like)))[0]

    return apply


def _unary(op: type[Op]) -> Callable[[Value], Value]:
    return lambda x: op().apply((x,))[0]


def install() -> None:
    """Fill `OPERATORS`; `graphc.ops` calls this once."""
    for op in (arithmetic.Add, arithmetic.Sub, arithmetic.Mul, arithmetic.Div):
        OPERATORS[op.__name__] = _binary(op)
    OPERATORS["Neg"] = _unary(arithmetic.Neg)
