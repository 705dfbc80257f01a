"""Elementary functions of one variable, and powers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ops.base import Array, Op, TensorType, Value, check_dtype, lift, unbroadcast
from graphc.ops.cast import convert
from graphc.ops.elementwise import Function, widen
from graphc.ops.logic import Equal, Where
from graphc.types import FLOATS, NUMBERS, broadcast, dtype_of, int32, int64


@dataclass(frozen=True)
class Sqrt(Function):
    """√x; NaN below zero. ONNX Sqrt-13."""

    function = np.sqrt

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / (2 * y)]


@dataclass(frozen=True)
class Exp(Function):
    """e^x. ONNX Exp-13."""

    function = np.exp

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * y]


@dataclass(frozen=True)
class Log(Function):
    """ln x; −∞ at zero, NaN below. ONNX Log-13."""

    function = np.log

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / x]


@dataclass(frozen=True)
class Tanh(Function):
    """tanh x. ONNX Tanh-13."""

    function = np.tanh

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * (1 - y * y)]


# -- powers -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Pow(Op):
    """x^y with broadcasting, in the element type of x; y may have another. ONNX Pow-15.

    An integer to a non-negative integer power wraps; to a negative or fractional one, the result is truncated towards
    zero (saturating, so 0^-1 is the largest integer).
    """

    def infer(self, x: Value, y: Value) -> TensorType:
        check_dtype(x, FLOATS | {int32, int64}, "base")
        check_dtype(y, NUMBERS, "exponent")
        return TensorType(x.dtype, broadcast(x.shape, y.shape))

    def eval(self, x: Array, y: Array) -> Array:
        if x.dtype.kind == "i" and y.dtype.kind in "iu":
            return _integer_power(x, y)
        if x.dtype.kind == "i":
            return convert(np.power(x.astype(np.float64), y.astype(np.float64)), dtype_of(x.dtype))
        base = widen(x)
        if y.size == 1 and y.ndim <= x.ndim and y.item() in (2, 3):  # the usual ones; np.power is far slower
            result = base * base if y.item() == 2 else base * base * base
        else:
            exponent = y.astype(base.dtype) if y.dtype.itemsize <= 2 else widen(y)
            result = np.power(base, exponent)
        return np.asarray(result).astype(x.dtype, copy=False)

    def grad(self, dz: Value, z: Value, x: Value, y: Value) -> Sequence[Value | None]:
        dx = dy = None
        if x.dtype.is_float:
            exponent = y if y.dtype is x.dtype else y.cast(x.dtype)
            # d(x^0) is 0 even at x = 0, where x^-1 is infinite.
            is_zero = Equal().apply((exponent, lift(0, exponent)))[0]
            lower = Where().apply((is_zero, lift(1, exponent), exponent - 1))[0]
            dx = unbroadcast(dz * exponent * x**lower, x)
        if y.dtype.is_float and x.dtype.is_float:
            # ln x is taken where it exists; at x = 0 the power, and with it the product, is zero.
            positive = Where().apply((x > 0, x, lift(1, x)))[0]
            slope = dz * z * Log().apply((positive,))[0]
            dy = unbroadcast(slope if y.dtype is x.dtype else slope.cast(y.dtype), y)
        return [dx, dy]


def _integer_power(x: Array, y: Array) -> Array:
    """x^y by repeated squaring, wrapping; negative powers of 1 and -1 are themselves, of 0 the largest, else 0."""
    x, y = np.broadcast_arrays(x, y)
    result = np.ones(x.shape, x.dtype)
    base, left = x.copy(), np.where(y < 0, 0, y).astype(np.uint64)
    while np.any(left):
        result = np.where(left & np.uint64(1), result * base, result)
        base, left = base * base, left >> np.uint64(1)
    if y.dtype.kind == "i" and np.any(y < 0):
        odd = (y & 1).astype(bool)
        inverse = np.where(x == 1, 1, np.where(x == -1, np.where(odd, -1, 1), 0))
        inverse = np.where(x == 0, np.iinfo(x.dtype).max, inverse)
        result = np.where(y < 0, inverse, result).astype(x.dtype)
    return result
