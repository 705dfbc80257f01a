"""Elementary functions of one variable, and powers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.expr import INFINITY, Const, Element, Expr, Source, call, cast, compare, constant, equal, select, wide
from graphc.ops import special
from graphc.ops.base import Array, Op, TensorType, Value, check_dtype, lift, unbroadcast
from graphc.ops.cast import convert
from graphc.ops.elementwise import Function, widen
from graphc.ops.logic import Equal, where
from graphc.types import FLOATS, NUMBERS, broadcast, dtype_of, float32, float64, int32, int64


class Abs(Function):
    """|x|; the lowest integer stays what it is. ONNX Abs-13."""

    function = np.abs
    dtypes = NUMBERS

    def scalar(self, x: Expr) -> Expr:
        return call("abs", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * Sign().apply((x,))[0]]


class Sign(Function):
    """1, 0 or −1 as x is positive, zero or negative; NaN for NaN. ONNX Sign-13."""

    function = np.sign
    dtypes = NUMBERS

    def scalar(self, x: Expr) -> Expr:
        return call("sign", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


class Ceil(Function):
    """⌈x⌉. ONNX Ceil-13."""

    function = np.ceil

    def scalar(self, x: Expr) -> Expr:
        return call("ceil", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


class Floor(Function):
    """⌊x⌋. ONNX Floor-13."""

    function = np.floor

    def scalar(self, x: Expr) -> Expr:
        return call("floor", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


class Round(Function):
    """The nearest integer, halves to the even one. ONNX Round-22."""

    function = np.rint

    def scalar(self, x: Expr) -> Expr:
        return call("round", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


class Reciprocal(Function):
    """1 / x. ONNX Reciprocal-13."""

    function = np.reciprocal

    def scalar(self, x: Expr) -> Expr:
        return 1 / x

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [-(dy * y * y)]


class Sqrt(Function):
    """√x; NaN below zero. ONNX Sqrt-13."""

    function = np.sqrt

    def scalar(self, x: Expr) -> Expr:
        return call("sqrt", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / (2 * y)]


class Exp(Function):
    """e^x. ONNX Exp-13."""

    function = np.exp

    def scalar(self, x: Expr) -> Expr:
        return call("exp", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * y]


class Log(Function):
    """ln x; −∞ at zero, NaN below. ONNX Log-13."""

    function = np.log

    def scalar(self, x: Expr) -> Expr:
        return call("log", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / x]


class Erf(Function):
    """erf x = 2/√π ∫₀ˣ e^(−t²) dt. ONNX Erf-13."""

    function = staticmethod(special.erf)

    def scalar(self, x: Expr) -> Expr:
        return call("erf", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * (2 / math.sqrt(math.pi)) * Exp().apply((-(x * x),))[0]]


# -- trigonometric and hyperbolic functions ----------------------------------------------------------------------------
class Sin(Function):
    """sin x, x in radians. ONNX Sin-22."""

    function = np.sin

    def scalar(self, x: Expr) -> Expr:
        return call("sin", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * Cos().apply((x,))[0]]


class Cos(Function):
    """cos x, x in radians. ONNX Cos-22."""

    function = np.cos

    def scalar(self, x: Expr) -> Expr:
        return call("cos", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [-(dy * Sin().apply((x,))[0])]


class Tan(Function):
    """tan x, x in radians. ONNX Tan-22."""

    function = np.tan

    def scalar(self, x: Expr) -> Expr:
        return call("tan", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * (1 + y * y)]


class Asin(Function):
    """arcsin x in radians; NaN outside [−1, 1]. ONNX Asin-22."""

    function = np.arcsin

    def scalar(self, x: Expr) -> Expr:
        return call("asin", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / Sqrt().apply((1 - x * x,))[0]]


class Acos(Function):
    """arccos x in radians; NaN outside [−1, 1]. ONNX Acos-22."""

    function = np.arccos

    def scalar(self, x: Expr) -> Expr:
        return call("acos", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [-dy / Sqrt().apply((1 - x * x,))[0]]


class Atan(Function):
    """arctan x in radians. ONNX Atan-22."""

    function = np.arctan

    def scalar(self, x: Expr) -> Expr:
        return call("atan", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / (1 + x * x)]


class Sinh(Function):
    """sinh x. ONNX Sinh-22."""

    function = np.sinh

    def scalar(self, x: Expr) -> Expr:
        return call("sinh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * Cosh().apply((x,))[0]]


class Cosh(Function):
    """cosh x. ONNX Cosh-22."""

    function = np.cosh

    def scalar(self, x: Expr) -> Expr:
        return call("cosh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * Sinh().apply((x,))[0]]


class Tanh(Function):
    """tanh x. ONNX Tanh-13."""

    function = np.tanh

    def scalar(self, x: Expr) -> Expr:
        return call("tanh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * (1 - y * y)]


class Asinh(Function):
    """arsinh x. ONNX Asinh-22."""

    function = np.arcsinh

    def scalar(self, x: Expr) -> Expr:
        return call("asinh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / Sqrt().apply((x * x + 1,))[0]]


class Acosh(Function):
    """arcosh x; NaN below 1. ONNX Acosh-22."""

    function = np.arccosh

    def scalar(self, x: Expr) -> Expr:
        return call("acosh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / Sqrt().apply((x * x - 1,))[0]]


class Atanh(Function):
    """artanh x; ±∞ at ±1, NaN outside [−1, 1]. ONNX Atanh-22."""

    function = np.arctanh

    def scalar(self, x: Expr) -> Expr:
        return call("atanh", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy / (1 - x * x)]


# -- powers -----------------------------------------------------------------------------------------------------------
def _root(x: Expr) -> Expr:
    """x^½, which differs from √x at −∞, where it is ∞, and at −0, where it is 0."""
    return select(equal(x, -INFINITY), INFINITY, call("sqrt", x) + 0)


# Constant exponents of floats that need no logarithm.
_SIMPLE: dict[float, Callable[[Expr], Expr]] = {
    -1.0: lambda x: 1 / x,
    -0.5: lambda x: 1 / _root(x),
    0.0: lambda x: constant(1, x.dtype),
    0.5: _root,
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
}


class Pow(Op):
    """x^y with broadcasting, in the element type of x; that of y may differ. ONNX Pow-15.

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

    def element(self, y: TensorType, x: Source, power: Source) -> Element:
        if x.dtype.is_integer and power.dtype.is_integer:
            return lambda *i: _integer_power_of(x.broadcast(i), power.broadcast(i))
        if x.dtype.is_integer:
            return lambda *i: cast(
                _nearly_exact(cast(x.broadcast(i), float64), cast(power.broadcast(i), float64)), x.dtype
            )
        if power.const is not None and power.const.size == 1 and (simple := _SIMPLE.get(float(power.const.item()))):
            return lambda *i: cast(simple(wide(x.broadcast(i))), x.dtype)
        base = float64 if x.dtype is float64 else float32
        # Exponents that a float32 does not hold are not rounded to one.
        common = base if power.dtype.bits <= 16 or power.dtype is float32 else float64
        return lambda *i: cast(call("pow", cast(x.broadcast(i), common), cast(power.broadcast(i), common)), x.dtype)

    def grad(self, dy: Value, y: Value, x: Value, power: Value) -> Sequence[Value | None]:
        dx = dexponent = None
        if x.dtype.is_float:
            exponent = power if power.dtype is x.dtype else power.cast(x.dtype)
            # d(x^0) is 0 even at x = 0, where x^-1 is infinite.
            is_zero = Equal().apply((exponent, lift(0, exponent)))[0]
            lower = where(is_zero, lift(1, exponent), exponent - 1)
            dx = unbroadcast(dy * exponent * x**lower, x)
        if power.dtype.is_float and x.dtype.is_float:
            # ln x is taken where it exists; at x = 0 the power, and with it the product, is zero.
            positive = where(x > 0, x, 1)
            slope = dy * y * Log().apply((positive,))[0]
            dexponent = unbroadcast(slope if power.dtype is x.dtype else slope.cast(power.dtype), power)
        return [dx, dexponent]


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


def _nearly_exact(x: Expr, y: Expr) -> Expr:
    """x^y, and exactly so where it is an integer: truncating what is a little below one would lose 1."""
    power = call("pow", x, y)
    whole = call("round", power)
    return select(call("abs", power - whole) <= call("abs", whole) * 2.0**-50, whole, power)


def _integer_power_of(x: Expr, y: Expr) -> Expr:
    """x^y as `_integer_power` has it, by repeated squaring."""
    bits = x.dtype.bits
    if isinstance(y, Const) and y.value >= 0:
        return _product_of_squares(x, [bool(int(y.value) >> k & 1) for k in range(int(y.value).bit_length())])
    # x^(2^k) is 1 for odd x from k = bits − 2 on, and 0 for even x long before: bits of y above that hardly matter.
    steps = min(y.dtype.bits - (y.dtype.kind == "int"), bits - 2)
    digits = [compare("ne", y & (1 << k), 0) for k in range(steps)]
    result = _product_of_squares(x, digits)
    if y.dtype.bits > steps + 1:
        result = select(equal(x & 1, 0) & compare("ne", call("shr", y, steps), 0), 0, result)
    if y.dtype.kind == "uint":
        return result
    largest = int(np.iinfo(x.dtype.numpy).max)
    of_minus_one = select(equal(y & 1, 0), constant(1, x.dtype), -1)
    inverse = select(equal(x, 1), constant(1, x.dtype), select(equal(x, -1), of_minus_one, 0))
    return select(y < 0, select(equal(x, 0), largest, inverse), result)


def _product_of_squares(x: Expr, digits: Sequence[Expr | bool]) -> Expr:
    """Π_k x^(2^k) over the binary digits that are 1; wraps."""
    result: Expr | None = None
    square = x
    for k, digit in enumerate(digits):
        square = square if k == 0 else square * square
        if isinstance(digit, Expr):
            factor = select(digit, square, 1)
        elif digit:
            factor = square
        else:
            continue
        result = factor if result is None else result * factor
    return constant(1, x.dtype) if result is None else result
