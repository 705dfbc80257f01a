"""Element-wise arithmetic with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import ExecutionError
from graphc.expr import Expr, call, cast, wide
from graphc.ops.base import Array, Binary, Dim, SymDim, Unary, Value, unbroadcast
from graphc.ops.elementwise import widen
from graphc.types import FLOATS, NUMBERS, SIGNED, Type


class Add(Binary):
    """a + b; integers wrap. ONNX Add-14."""

    dtypes = NUMBERS
    on_dims = True

    def eval(self, a: Array, b: Array) -> Array:
        return np.add(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a + b

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy, a), unbroadcast(dy, b)]


class Sub(Binary):
    """a - b; integers wrap. ONNX Sub-14."""

    dtypes = NUMBERS
    on_dims = True

    def eval(self, a: Array, b: Array) -> Array:
        return np.subtract(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a - b

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy, a), unbroadcast(-dy, b)]


class Mul(Binary):
    """a · b; integers wrap. ONNX Mul-14."""

    dtypes = NUMBERS
    on_dims = True

    def eval(self, a: Array, b: Array) -> Array:
        return np.multiply(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a * b

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy * b, a), unbroadcast(dy * a, b)]


class Div(Binary):
    """a / b. Integers truncate towards zero; INT_MIN / -1 wraps; an integer division by zero raises. ONNX Div-14."""

    dtypes = NUMBERS
    on_dims = True

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return super().contents(xs, types) if _divides(xs[1]) else None

    def eval(self, a: Array, b: Array) -> Array:
        if object in (a.dtype, b.dtype):
            return np.asarray(np.frompyfunc(_divide_dims, 2, 1)(a, b), object)
        if a.dtype.kind not in "iu":
            return np.divide(a, b)
        check_divisor(b)
        return truncated_divide(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a / b

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy / b, a), unbroadcast(-(dy * y) / b, b)]


def _divides(b: Value | None) -> bool:
    """Whether `b`, as far as it is known, has no zero; dividing by zero is an error of the run, not of the model."""
    return b is not None and (b.dims is None or all(isinstance(d, SymDim) or d != 0 for d in b.dims.flat))


def _divide_dims(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int) and (a < 0) != (b < 0):
        return -(-a // b)
    return a // b  # what has symbols is a size, never negative


def check_divisor(b: Array) -> None:
    """Raise `ExecutionError` if an integer divisor is zero."""
    if not np.all(b):
        at = np.unravel_index(int(np.argmin(b != 0)), b.shape)
        raise ExecutionError(f"integer division by zero at index {[int(i) for i in at]} of the divisor")


def truncated_divide(a: Array, b: Array) -> Array:
    """Integer a / b rounded towards zero; INT_MIN / -1 gives INT_MIN."""
    quotient = np.asarray(np.floor_divide(a, b))
    if quotient.dtype.kind == "u":
        return quotient
    # floor(a/b) is one too low where the signs differ and the division leaves a remainder.
    inexact = quotient * b != a
    return np.where(inexact & ((a < 0) != (b < 0)), quotient + quotient.dtype.type(1), quotient)


class Mod(Binary):
    """a − ⌊a/b⌋ b, which has the sign of b; with `fmod`, a − trunc(a/b) b, which has the sign of a. ONNX Mod-28.

    A floating-point b of zero gives NaN; an integer one raises `ExecutionError`.
    """

    fmod: bool = False
    dtypes = NUMBERS
    on_dims = True

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return super().contents(xs, types) if not self.fmod and _divides(xs[1]) else None

    def eval(self, a: Array, b: Array) -> Array:
        if a.dtype.kind in "iu":
            check_divisor(b)
        if object in (a.dtype, b.dtype):
            return np.asarray(np.mod(a, b), object)
        wide = (widen(a), widen(b))
        result = np.fmod(*wide) if self.fmod else np.mod(*wide)
        return np.asarray(result).astype(a.dtype, copy=False)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return cast(call("fmod" if self.fmod else "mod", wide(a), wide(b)), a.dtype)

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        quotient = (a - y) / b
        return [unbroadcast(dy, a), unbroadcast(-(dy * quotient), b)]


class Neg(Unary):
    """-x. ONNX Neg-13."""

    dtypes = FLOATS | SIGNED
    on_dims = True

    def eval(self, x: Array) -> Array:
        return np.negative(x)

    def scalar(self, x: Expr) -> Expr:
        return -x

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [-dy]
