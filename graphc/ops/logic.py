"""Comparison, logic on booleans, and selection, with broadcasting. On sizes they are decided where that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.dims import provably_nonnegative
from graphc.expr import INFINITY, Element, Expr, Source, call, constant, equal, select
from graphc.ir import MAX_CONTENT, Cost, traffic
from graphc.ops.base import (
    Array,
    Binary,
    Dim,
    Op,
    TensorType,
    Unary,
    Value,
    check_dtype,
    check_same_dtype,
    lift,
    unbroadcast,
)
from graphc.ops.elementwise import fold_small, known
from graphc.types import COMPLEX, FLOAT8, FLOATS, NUMBERS, Type, bool_, broadcast, int32, int64, string


def _less(a: Dim, b: Dim) -> bool | None:
    """a < b, or None where that depends on the sizes the symbols stand for."""
    if provably_nonnegative(b - a - 1):
        return True
    return False if provably_nonnegative(a - b) else None


def _not(decided: bool | None) -> bool | None:
    return None if decided is None else not decided


class Comparison(Binary):
    """z_i = a_i ? b_i as booleans. On dims, `decide` says True, False, or None for "depends on the sizes"."""

    dtypes = NUMBERS
    result = bool_

    def decide(self, a: Dim, b: Dim) -> bool | None:
        raise NotImplementedError

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        a, b = xs
        assert a is not None
        assert b is not None
        if a.dims is None or b.dims is None:
            return fold_small(self, xs, types)
        decided = np.asarray(np.frompyfunc(self.decide, 2, 1)(a.dims, b.dims), object)
        if decided.size > MAX_CONTENT or any(d is None for d in decided.flat):
            return None
        return decided.astype(bool)


class Equal(Comparison):
    """a = b; NaN equals nothing. ONNX Equal-19."""

    dtypes = NUMBERS | {bool_, string}

    def decide(self, a: Dim, b: Dim) -> bool | None:
        if a == b:
            return True
        return False if _less(a, b) or _less(b, a) else None

    def eval(self, a: Array, b: Array) -> Array:
        return np.asarray(np.equal(a, b), bool)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return equal(a, b)


class Greater(Comparison):
    """a > b. ONNX Greater-13."""

    def decide(self, a: Dim, b: Dim) -> bool | None:
        return _less(b, a)

    def eval(self, a: Array, b: Array) -> Array:
        return np.greater(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a > b


class GreaterOrEqual(Comparison):
    """a ≥ b. ONNX GreaterOrEqual-16."""

    def decide(self, a: Dim, b: Dim) -> bool | None:
        return _not(_less(a, b))

    def eval(self, a: Array, b: Array) -> Array:
        return np.greater_equal(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a >= b


class Less(Comparison):
    """a < b. ONNX Less-13."""

    def decide(self, a: Dim, b: Dim) -> bool | None:
        return _less(a, b)

    def eval(self, a: Array, b: Array) -> Array:
        return np.less(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a < b


class LessOrEqual(Comparison):
    """a ≤ b. ONNX LessOrEqual-16."""

    def decide(self, a: Dim, b: Dim) -> bool | None:
        return _not(_less(b, a))

    def eval(self, a: Array, b: Array) -> Array:
        return np.less_equal(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a <= b


class Logical(Binary):
    """z_i = f(a_i, b_i) on booleans. A subclass defines `eval`."""

    dtypes = frozenset({bool_})

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return fold_small(self, xs, types)


class And(Logical):
    """a ∧ b. ONNX And-7."""

    def eval(self, a: Array, b: Array) -> Array:
        return np.logical_and(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a & b


class Or(Logical):
    """a ∨ b. ONNX Or-7."""

    def eval(self, a: Array, b: Array) -> Array:
        return np.logical_or(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a | b


class Xor(Logical):
    """a ≠ b on booleans. ONNX Xor-7."""

    def eval(self, a: Array, b: Array) -> Array:
        return np.logical_xor(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a ^ b


class Not(Unary):
    """¬x. ONNX Not-1."""

    dtypes = frozenset({bool_})

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return fold_small(self, xs, types)

    def eval(self, x: Array) -> Array:
        return np.logical_not(x)

    def scalar(self, x: Expr) -> Expr:
        return ~x


class IsNaN(Op):
    """Whether x is not a number. ONNX IsNaN-20."""

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS | FLOAT8, "input")
        return TensorType(bool_, x.shape)

    def eval(self, x: Array) -> Array:
        return np.isnan(x)

    def element(self, y: TensorType, x: Source) -> Element:
        return lambda *i: call("isnan", x[i], dtype=bool_)


class IsInf(Op):
    """Whether x is infinite, of a sign that is asked for. ONNX IsInf-20."""

    detect_negative: bool = True
    detect_positive: bool = True

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS | FLOAT8, "input")
        return TensorType(bool_, x.shape)

    def eval(self, x: Array) -> Array:
        if self.detect_negative and self.detect_positive:
            return np.isinf(x)
        if self.detect_negative or self.detect_positive:
            return np.asarray(np.isinf(x) & (np.signbit(x) == self.detect_negative))
        return np.zeros(x.shape, bool)

    def element(self, y: TensorType, x: Source) -> Element:
        if self.detect_negative and self.detect_positive:
            return lambda *i: call("isinf", x[i], dtype=bool_)
        if not (self.detect_negative or self.detect_positive):
            return lambda *i: constant(False, bool_)
        return lambda *i: equal(x[i], -INFINITY if self.detect_negative else INFINITY)


class Where(Op):
    """x where the condition holds, else y. ONNX Where-16."""

    def infer(self, condition: Value, x: Value, y: Value) -> TensorType:
        check_dtype(condition, {bool_}, "condition")
        check_same_dtype(x, y)
        check_dtype(x, NUMBERS | COMPLEX | {bool_, string}, "input")
        return TensorType(x.dtype, broadcast(condition.shape, x.shape, y.shape))

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        condition, x, y = xs
        (result,) = types
        assert condition is not None
        assert x is not None
        assert y is not None
        assert isinstance(result, TensorType)
        mask = known(condition)
        if mask is None or not result.is_static:
            return None
        # A branch that is never taken need not be known.
        chosen = known(x) if mask.any() else np.zeros((), object)
        otherwise = known(y) if not mask.all() else np.zeros((), object)
        if chosen is None or otherwise is None:
            return None
        content = np.broadcast_to(np.where(mask, chosen, otherwise), result.shape)  # type: ignore[arg-type]
        if content.size > MAX_CONTENT:
            return None
        return content if x.dtype in (int32, int64) else content.astype(x.dtype.numpy)

    def eval(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def element(self, y: TensorType, condition: Source, a: Source, b: Source) -> Element:
        return lambda *i: select(condition.broadcast(i), a.broadcast(i), b.broadcast(i))

    def grad(self, dy: Value, y: Value, condition: Value, a: Value, b: Value) -> Sequence[Value | None]:
        return [
            None,
            unbroadcast(where(condition, dy, 0), a),
            unbroadcast(where(condition, lift(0, dy), dy), b),
        ]


def where(condition: Value, x: Value, y: Value | float) -> Value:
    """`Where` on values; a number `y` has the element type of `x`."""
    return Where().apply((condition, x, y if isinstance(y, Value) else lift(y, x)))[0]


class Identity(Op):
    """x, of any type. ONNX Identity-25."""

    def infer(self, x: Value) -> Type:
        return x.type

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return None if xs[0] is None else xs[0].content

    def eval(self, x: Array) -> Array:
        return x

    def element(self, y: TensorType, x: Source) -> Element:
        return lambda *i: x[i]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic(xs, ys))

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy]


class StopGradient(Identity):
    """x, a constant for gradients. graphc's own; in ONNX it is Identity."""

    domain: ClassVar[str] = "graphc"

    def decompose(self, x: Value) -> Value:
        return x

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


class Barrier(Op):
    """x, but not before the other inputs are computed: what reads it waits. graphc's own; in ONNX it is Identity."""

    domain: ClassVar[str] = "graphc"

    def infer(self, x: Value, *before: Value) -> Type:
        return x.type

    def eval(self, x: Any, *before: Any) -> Any:
        return x

    def element(self, y: TensorType, x: Source, *before: Source) -> Element:
        return lambda *i: x[i]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, 0)

    def grad(self, dy: Value, y: Value, x: Value, *before: Value) -> Sequence[Value | None]:
        return [dy, *(None for _ in before)]
