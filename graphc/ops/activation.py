"""Activation functions, element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.errors import ExecutionError
from graphc.expr import Element, Expr, Source, call, cast, select, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    Unary,
    Value,
    check_dtype,
    check_same_dtype,
    lift,
    unbroadcast,
)
from graphc.ops.cast import convert
from graphc.ops.elementwise import Function, widen
from graphc.ops.logic import where
from graphc.ops.math import Abs, Erf, Exp, Tanh
from graphc.ops.shape import at_run_time, value_of
from graphc.ops.special import erf
from graphc.types import (
    FLOATS,
    NUMBERS,
    SIGNED,
    bfloat16,
    broadcast,
    dtype_of,
    float64,
    int32,
    int64,
    uint32,
    uint64,
    unify,
)


# -- rectifiers -------------------------------------------------------------------------------------------------------
class Relu(Unary):
    """max(x, 0). ONNX Relu-14."""

    dtypes = FLOATS | SIGNED

    def eval(self, x: Array) -> Array:
        return np.asarray(np.maximum(x, x.dtype.type(0)))

    def scalar(self, x: Expr) -> Expr:
        return call("max", x, 0)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(y > 0, dy, 0)]


class LeakyRelu(Function):
    """x where x ≥ 0, else αx. ONNX LeakyRelu-16."""

    alpha: float = 0.01
    operations = 2

    def function(self, x: Array) -> Array:
        return np.where(x >= 0, x, self.alpha * x)

    def scalar(self, x: Expr) -> Expr:
        return select(x >= 0, x, x * self.alpha)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x >= 0, dy, self.alpha * dy)]


class PRelu(Op):
    """x where x ≥ 0, else slope · x; `slope` is broadcast to the shape of x. ONNX PRelu-16."""

    def infer(self, x: Value, slope: Value) -> TensorType:
        check_same_dtype(x, slope)
        check_dtype(x, FLOATS | {int32, int64, uint32, uint64}, "input")
        wide = broadcast(x.shape, slope.shape)
        if wide is not None and x.shape is not None:
            stretched = any(m == 1 and n != 1 for m, n in zip(x.shape, wide, strict=False))
            if len(wide) != len(x.shape) or stretched:
                raise ShapeError(f"slope {slope.tensor} does not broadcast to {x.tensor}", value=slope.name)
        return x.tensor

    def eval(self, x: Array, slope: Array) -> Array:
        at_run_time(self.infer, value_of(x), value_of(slope))
        wide = widen(x)
        return np.where(wide >= 0, wide, wide * widen(slope)).astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source, slope: Source) -> Element:
        def element(*i: Linear) -> Expr:
            value = wide(x[i])
            return cast(select(value >= 0, value, value * wide(slope.broadcast(i))), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, slope: Value) -> Sequence[Value | None]:
        negative = x < 0
        return [where(negative, dy * slope, dy), unbroadcast(where(negative, dy * x, 0), slope)]


class ThresholdedRelu(Function):
    """x where x > α, else 0. ONNX ThresholdedRelu-22."""

    alpha: float = 1.0

    def function(self, x: Array) -> Array:
        return np.where(x > self.alpha, x, x.dtype.type(0))

    def scalar(self, x: Expr) -> Expr:
        return select(x > self.alpha, x, 0)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x > self.alpha, dy, 0)]


class Shrink(Unary):
    """x + bias where x < −λ, x − bias where x > λ, else 0; integers truncate towards zero. ONNX Shrink-9."""

    bias: float = 0.0
    lambd: float = 0.5
    dtypes = NUMBERS - {bfloat16}

    def eval(self, x: Array) -> Array:
        wide = widen(x) if x.dtype.kind == "f" else x.astype(np.float64)
        low, high = wide < -self.lambd, wide > self.lambd
        result = np.where(low, wide + self.bias, np.where(high, wide - self.bias, wide.dtype.type(0)))
        return convert(result, dtype_of(x.dtype))

    def scalar(self, x: Expr) -> Expr:
        value = wide(x) if x.dtype.is_float else cast(x, float64)
        above = select(value > self.lambd, value - self.bias, 0)
        return cast(select(value < -self.lambd, value + self.bias, above), x.dtype)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where((x >= -self.lambd) & (x <= self.lambd), lift(0, dy), dy)]


# -- exponential units ------------------------------------------------------------------------------------------------
def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_of(x: Expr, alpha: float) -> Expr:
    return select(x > 0, x, call("expm1", call("min", x, 0)) * alpha)


class Elu(Function):
    """x where x > 0, else α (e^x − 1). ONNX Elu-22."""

    alpha: float = 1.0
    operations = 4

    def function(self, x: Array) -> Array:
        return _elu(x, self.alpha)

    def scalar(self, x: Expr) -> Expr:
        return _elu_of(x, self.alpha)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x > 0, dy, dy * (y + self.alpha))]


class Selu(Function):
    """γ x where x > 0, else γ α (e^x − 1). ONNX Selu-22."""

    alpha: float = 1.6732632
    gamma: float = 1.050701
    operations = 5

    def function(self, x: Array) -> Array:
        return self.gamma * _elu(x, self.alpha)

    def scalar(self, x: Expr) -> Expr:
        return _elu_of(x, self.alpha) * self.gamma

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x > 0, dy * self.gamma, dy * (y + self.gamma * self.alpha))]


class Celu(Function):
    """max(x, 0) + min(0, α (e^(x/α) − 1)). ONNX Celu-28."""

    alpha: float = 1.0
    operations = 5

    def infer(self, x: Value) -> TensorType:
        if self.alpha == 0:
            raise InvalidModel("alpha is 0, expected another number")
        return super().infer(x)

    def function(self, x: Array) -> Array:
        return np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0) / self.alpha)

    def scalar(self, x: Expr) -> Expr:
        return call("max", x, 0) + call("expm1", call("min", x, 0) / self.alpha) * self.alpha

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x > 0, dy, dy * (y / self.alpha + 1))]


# -- sigmoids ---------------------------------------------------------------------------------------------------------
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^−x) of floats."""
    # exp overflows to inf for very negative x, and 1/inf is the right answer.
    return 1 / (1 + np.exp(-x))


class Sigmoid(Function):
    """σ(x) = 1 / (1 + e^−x). ONNX Sigmoid-13."""

    function = staticmethod(sigmoid)
    operations = 4

    def scalar(self, x: Expr) -> Expr:
        return call("sigmoid", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * y * (1 - y)]


class Swish(Function):
    """x σ(αx). ONNX Swish-24."""

    alpha: float = 1.0
    operations = 6

    def function(self, x: Array) -> Array:
        return x * sigmoid(self.alpha * x)

    def scalar(self, x: Expr) -> Expr:
        return x * call("sigmoid", x * self.alpha)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        s = Sigmoid().apply((self.alpha * x,))[0]
        return [dy * (s + self.alpha * y * (1 - s))]


class SwiGLU(Op):
    """a σ(αa) b, of two tensors of one shape. ONNX SwiGLU-28."""

    alpha: float = 1.0

    def infer(self, A: Value, B: Value) -> TensorType:
        check_same_dtype(A, B)
        check_dtype(A, FLOATS, "input")
        if A.shape is None or B.shape is None:
            return A.tensor if B.shape is None else B.tensor
        if len(A.shape) != len(B.shape):
            raise ShapeError(f"ranks differ: {A.tensor} and {B.tensor}")
        return TensorType(A.dtype, tuple(unify(m, n) for m, n in zip(A.shape, B.shape, strict=True)))

    def eval(self, A: Array, B: Array) -> Array:
        if A.shape != B.shape:
            raise ExecutionError(f"the shapes differ: {list(A.shape)} and {list(B.shape)}")
        a = widen(A)
        return np.asarray(a * sigmoid(self.alpha * a) * widen(B)).astype(A.dtype, copy=False)

    def element(self, y: TensorType, A: Source, B: Source) -> Element:
        def element(*i: Linear) -> Expr:
            a = wide(A[i])
            return cast(a * call("sigmoid", a * self.alpha) * wide(B[i]), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, A: Value, B: Value) -> Sequence[Value | None]:
        swish = Swish(self.alpha)(A)
        s = Sigmoid().apply((self.alpha * A,))[0]
        return [dy * B * (s + self.alpha * swish * (1 - s)), dy * swish]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(7 * elements(ys[0]), traffic(xs, ys))


def _between_0_and_1(x: Expr) -> Expr:
    return call("min", call("max", x, 0), 1)


class HardSigmoid(Function):
    """max(0, min(1, αx + β)). ONNX HardSigmoid-22."""

    alpha: float = 0.2
    beta: float = 0.5
    operations = 4

    def function(self, x: Array) -> Array:
        return np.clip(self.alpha * x + self.beta, 0, 1)

    def scalar(self, x: Expr) -> Expr:
        return _between_0_and_1(x * self.alpha + self.beta)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where((y > 0) & (y < 1), self.alpha * dy, 0)]


class HardSwish(Function):
    """x max(0, min(1, x/6 + 1/2)). ONNX HardSwish-22."""

    operations = 5

    def function(self, x: Array) -> Array:
        return x * np.clip(x / 6 + 0.5, 0, 1)

    def scalar(self, x: Expr) -> Expr:
        return x * _between_0_and_1(x / 6 + 0.5)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [where(x >= 3, dy, where(x > -3, dy * (x / 3 + 0.5), 0))]


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


class Softplus(Function):
    """ln(1 + e^x). ONNX Softplus-22."""

    function = staticmethod(_softplus)
    operations = 6

    def scalar(self, x: Expr) -> Expr:
        return call("softplus", x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * Sigmoid().apply((x,))[0]]


class Mish(Function):
    """x tanh(ln(1 + e^x)). ONNX Mish-22."""

    operations = 8

    def function(self, x: Array) -> Array:
        return x * np.tanh(_softplus(x))

    def scalar(self, x: Expr) -> Expr:
        return x * call("tanh", call("softplus", x))

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        t = Tanh().apply((Softplus().apply((x,))[0],))[0]
        return [dy * (t + x * (1 - t * t) * Sigmoid().apply((x,))[0])]


class Softsign(Function):
    """x / (1 + |x|). ONNX Softsign-22."""

    operations = 3

    def function(self, x: Array) -> Array:
        return np.asarray(x / (1 + np.abs(x)))

    def scalar(self, x: Expr) -> Expr:
        return x / (call("abs", x) + 1)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        denominator = 1 + Abs().apply((x,))[0]
        return [dy / (denominator * denominator)]


# -- Gaussian error units ---------------------------------------------------------------------------------------------
_SLOPE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


class Gelu(Function):
    """x Φ(x) = x/2 (1 + erf(x/√2)). ONNX Gelu-20.

    With `approximate="tanh"`, x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).
    """

    approximate: str = "none"
    operations = 8

    def infer(self, x: Value) -> TensorType:
        if self.approximate not in ("none", "tanh"):
            raise InvalidModel(f"approximate is '{self.approximate}', expected none or tanh")
        return super().infer(x)

    def function(self, x: Array) -> Array:
        if self.approximate == "tanh":
            factor = np.tanh(_SLOPE * (x + _CUBIC * (x * x * x)))
        else:
            factor = erf(x * math.sqrt(0.5))
        return np.asarray(0.5 * x * (1 + factor))

    def scalar(self, x: Expr) -> Expr:
        if self.approximate == "tanh":
            factor = call("tanh", (x + x * x * x * _CUBIC) * _SLOPE)
        else:
            factor = call("erf", x * math.sqrt(0.5))
        return x * 0.5 * (factor + 1)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        if self.approximate == "tanh":
            t = Tanh().apply((_SLOPE * (x + _CUBIC * (x * x * x)),))[0]
            inner = _SLOPE * (1 + 3 * _CUBIC * (x * x))
            return [dy * 0.5 * (1 + t + x * (1 - t * t) * inner)]
        cumulative = 0.5 * (1 + Erf().apply((x * math.sqrt(0.5),))[0])
        density = Exp().apply((-0.5 * (x * x),))[0] / math.sqrt(2 * math.pi)
        return [dy * (cumulative + x * density)]
