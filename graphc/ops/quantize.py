"""Quantisation: between floating-point numbers and small integers or small floats, q = x / scale + zero point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from graphc.dims import ceildiv
from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Expr, Source, call, cast, constant, wide
from graphc.index import IndexLike, Linear, linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    TypeMismatch,
    Value,
    check_dtype,
    check_same_dtype,
    const,
    normalize_axis,
)
from graphc.ops.cast import Cast, convert
from graphc.ops.logic import where
from graphc.ops.math import Round
from graphc.ops.minmax import Clip, Max, Min
from graphc.ops.reduction import ReduceMax, ReduceMin
from graphc.ops.reshaping import Expand
from graphc.ops.shape import shape_of
from graphc.types import (
    FLOAT8,
    SMALL_INTEGERS,
    DType,
    bfloat16,
    dtype_of,
    float4e2m1,
    float6e2m3,
    float6e3m2,
    float8e8m0,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
)

QUANTIZED = FLOAT8 | SMALL_INTEGERS | {int8, uint8, int16, uint16, float4e2m1, float6e2m3, float6e3m2}
HIGH_PRECISION = frozenset({float32, float16, bfloat16})


# -- parameters -------------------------------------------------------------------------------------------------------
def check_parameters(x: Value, scale: Value, zero_point: Value | None, axis: int, block_size: int) -> None:
    """Check the shapes of scale and zero point: one for the tensor, for each index of an axis, or for each block."""
    if block_size < 0:
        raise InvalidModel(f"block_size is {block_size}, expected 0 or more")
    for what, p in (("scale", scale), ("zero point", zero_point)):
        if p is None or p.shape is None or p.shape == () or p.shape == (1,):
            continue
        if not x.shape:
            continue
        at = _axis(axis, len(x.shape))
        if block_size:
            expected = (*x.shape[:at], ceildiv(x.shape[at], block_size), *x.shape[at + 1 :])
        else:
            expected = (x.shape[at],)
        fits = len(expected) == len(p.shape) and all(
            m == n or not (isinstance(m, int) and isinstance(n, int)) for m, n in zip(p.shape, expected, strict=True)
        )
        if not fits:
            kind = f"blocks of {block_size} along axis {at}" if block_size else f"axis {at}"
            raise ShapeError(
                f"the {what} is {p.tensor}, expected [] or {TensorType(p.dtype, expected)} for {kind} of {x.tensor}"
            )
    # One element is one element: models mix [] and [1].
    shapes = [() if p.shape == (1,) else p.shape for p in (scale, zero_point) if p is not None and p.shape is not None]
    if zero_point is not None and len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(f"scale and zero point differ in shape: {scale.tensor} and {zero_point.tensor}")


def _axis(axis: int, rank: int) -> int:
    """`axis` from the front; a vector has but one, whatever `axis` says."""
    return 0 if rank == 1 else normalize_axis(axis, rank)


def spread(parameter: Array, shape: Sequence[int], axis: int, block_size: int) -> Array:
    """A scale or zero point in a shape that broadcasts to `shape`. Raises `ExecutionError` when it does not fit."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = _axis(axis, len(shape))
    if block_size:
        result = np.repeat(parameter, block_size, axis)
        result = result[(*(slice(None) for _ in range(axis)), slice(0, shape[axis]))]
        fits = result.shape == tuple(shape) and parameter.shape[axis] == ceildiv(shape[axis], block_size)
    else:
        fits = parameter.shape == (shape[axis],)
        result = parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    if not fits:
        raise ExecutionError(f"scale or zero point of shape {list(parameter.shape)} does not fit {list(shape)}")
    return result


def spread_of(
    parameter: Source, shape: Sequence[int], axis: int, block_size: int
) -> Callable[[Sequence[IndexLike]], Expr]:
    """The scale or zero point of the element at an index of a tensor of `shape`."""
    if math.prod(parameter.shape) == 1:
        return lambda index: parameter.at(0)
    axis = _axis(axis, len(shape))
    if block_size:
        if len(parameter.shape) != len(shape) or parameter.shape[axis] != ceildiv(shape[axis], block_size):
            raise CompileError("blocks that do not fit")
        return lambda index: parameter[(*index[:axis], linear(index[axis]) // block_size, *index[axis + 1 :])]
    if parameter.shape != (shape[axis],):
        raise CompileError("a scale or zero point that does not fit")
    return lambda index: parameter[(index[axis],)]


def saturated(x: Expr, to: DType, zero_point: Expr | None = None) -> Expr:
    """`saturate` of one element."""
    if not to.is_integer:
        single = cast(x, float32)
        return cast(single if zero_point is None else single + cast(zero_point, float32), to)
    info = ml_dtypes.iinfo(to.numpy)  # type: ignore[no-untyped-call]
    whole = cast(call("round", wide(x)), int32)  # NaN is 0, what is far outside saturates
    lowest, highest = constant(int(info.min), int32), constant(int(info.max), int32)
    if zero_point is None:
        return cast(call("min", call("max", whole, lowest), highest), to)
    shift = cast(zero_point, int32)
    within = call("min", call("max", whole, lowest - shift), highest - shift)
    return cast(within + shift, to)


def saturate(x: Array, to: DType, zero_point: Array | None = None, *, saturating: bool = True) -> Array:
    """round(x) + zero point clipped to `to`'s range; for a float `to`, x + zero point converted to it."""
    if not to.is_integer:
        wide = x.astype(np.float32)
        return convert(wide if zero_point is None else wide + zero_point.astype(np.float32), to, saturate=saturating)
    info = ml_dtypes.iinfo(to.numpy)  # type: ignore[no-untyped-call]
    rounded = np.rint(x.astype(np.float64))
    rounded = np.where(np.isnan(rounded), 0, rounded)
    if zero_point is not None:
        rounded = rounded + zero_point.astype(np.float64)
    return np.asarray(np.clip(rounded, int(info.min), int(info.max)).astype(np.int32).astype(to.numpy))


# -- ops --------------------------------------------------------------------------------------------------------------
class QuantizeLinear(Op):
    """y = saturate(round(x / y_scale) + y_zero_point), ties to even. ONNX QuantizeLinear-28.

    Scale and zero point are scalars, vectors along `axis`, or (with `block_size`) one for each block along it.

    Attributes:
        axis: the axis of vectors and blocks.
        block_size: elements of a block; 0 for no blocks.
        output_dtype: y's element type; default the zero point's, or uint8.
        precision: the element type of the division; default the scale's.
        saturate: clip to the range of a float8 type, instead of giving infinity or NaN.
    """

    axis: int = 1
    block_size: int = 0
    output_dtype: DType | None = None
    precision: DType | None = None
    saturate: bool = True
    no_gradient = "it rounds"

    def infer(self, x: Value, y_scale: Value, y_zero_point: Value | None = None) -> TensorType:
        check_dtype(x, HIGH_PRECISION | {int32}, "x")
        check_dtype(y_scale, HIGH_PRECISION | {int32, float8e8m0}, "y_scale")
        to = self.output_dtype or (uint8 if y_zero_point is None else y_zero_point.dtype)
        if to not in QUANTIZED:
            raise TypeMismatch(f"{to} is not a type to quantize to")
        if self.precision not in HIGH_PRECISION | {None}:
            raise TypeMismatch(f"precision is {self.precision}, expected float32, float16 or bfloat16")
        if y_zero_point is not None and y_zero_point.dtype is not to:
            raise TypeMismatch(f"y_zero_point is {y_zero_point.tensor}, output_dtype is {to}")
        check_parameters(x, y_scale, y_zero_point, self.axis, self.block_size)
        return TensorType(to, x.shape)

    def eval(self, x: Array, y_scale: Array, y_zero_point: Array | None = None) -> Array:
        to = self.output_dtype or (uint8 if y_zero_point is None else None)
        scale = spread(y_scale, x.shape, self.axis, self.block_size)
        precision = (self.precision.numpy if self.precision else scale.dtype) if scale.dtype != np.int32 else np.float64
        if precision == float8e8m0.numpy:
            precision = np.dtype(np.float32)
        zero_point = None
        if y_zero_point is not None:
            zero_point = spread(y_zero_point, x.shape, self.axis, self.block_size)
            to = to or dtype_of(y_zero_point.dtype)
        assert to is not None
        ratio = np.asarray(x.astype(precision) / scale.astype(precision))
        return saturate(ratio, to, zero_point, saturating=self.saturate)

    def element(self, y: TensorType, x: Source, y_scale: Source, y_zero_point: Source | None = None) -> Element:
        if not self.saturate and y.dtype in FLOAT8:
            raise CompileError(f"to {y.dtype.name} without saturation")
        precision = float64 if y_scale.dtype is int32 else self.precision or y_scale.dtype
        if precision is float8e8m0:
            precision = float32
        scale_of = spread_of(y_scale, x.shape, self.axis, self.block_size)
        zero_of = None if y_zero_point is None else spread_of(y_zero_point, x.shape, self.axis, self.block_size)

        def element(*i: Linear) -> Expr:
            ratio = cast(x[i], precision) / cast(scale_of(i), precision)
            return saturated(ratio, y.dtype, None if zero_of is None else zero_of(i))

        return element

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]) * 3, traffic(xs, ys))


class DequantizeLinear(Op):
    """y = (x - x_zero_point) · x_scale. ONNX DequantizeLinear-28.

    Scale and zero point are scalars, vectors along `axis`, or (with `block_size`) one for each block along it.

    Attributes:
        axis: the axis of vectors and blocks.
        block_size: elements of a block; 0 for no blocks.
        output_dtype: y's element type; default the scale's.
    """

    axis: int = 1
    block_size: int = 0
    output_dtype: DType | None = None

    def infer(self, x: Value, x_scale: Value, x_zero_point: Value | None = None) -> TensorType:
        check_dtype(x, QUANTIZED | {int32}, "x")
        check_dtype(x_scale, HIGH_PRECISION | {float8e8m0}, "x_scale")
        check_same_dtype(x, x_zero_point)
        to = self.output_dtype or x_scale.dtype
        if to not in HIGH_PRECISION:
            raise TypeMismatch(f"the output would be {to}", hint="Set output_dtype to float32, float16 or bfloat16")
        check_parameters(x, x_scale, x_zero_point, self.axis, self.block_size)
        return TensorType(to, x.shape)

    def eval(self, x: Array, x_scale: Array, x_zero_point: Array | None = None) -> Array:
        to = self.output_dtype.numpy if self.output_dtype else x_scale.dtype
        # Small integers differ exactly in float32; 32-bit ones would not, and have no zero point but 0.
        wide = np.float64 if x.dtype == np.int32 else np.float32
        difference = x.astype(wide)
        if x_zero_point is not None:
            difference = difference - spread(x_zero_point, x.shape, self.axis, self.block_size).astype(wide)
        scale = spread(x_scale, x.shape, self.axis, self.block_size).astype(np.float32)
        return np.asarray(difference.astype(np.float32) * scale).astype(to)

    def element(self, y: TensorType, x: Source, x_scale: Source, x_zero_point: Source | None = None) -> Element:
        scale_of = spread_of(x_scale, x.shape, self.axis, self.block_size)
        zero_of = None if x_zero_point is None else spread_of(x_zero_point, x.shape, self.axis, self.block_size)
        exact = int64 if x.dtype is int32 else int32 if x.dtype.is_integer else float32

        def element(*i: Linear) -> Expr:
            difference = cast(x[i], exact)
            if zero_of is not None:
                difference = difference - cast(zero_of(i), exact)
            return cast(cast(difference, float32) * cast(scale_of(i), float32), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, x_scale: Value, *zero_point: Value) -> Sequence[Value | None]:
        if self.block_size or x_scale.shape is None or x.rank is None:
            raise CompileError("the gradient needs a scale of known rank, and no blocks")
        ones = Expand()(const(np.array(1), x_scale.dtype), shape_of(x_scale))
        products = dy * self.apply((x, ones, *zero_point))[0]
        if x_scale.shape == () or x_scale.shape == (1,):
            total = products.sum()
        else:
            axis = _axis(self.axis, x.rank)
            total = products.sum([i for i in range(x.rank) if i != axis])
        if total.dtype is not x_scale.dtype:
            total = total.cast(x_scale.dtype)
        return [None, total.reshape(shape_of(x_scale)), *(None for _ in zero_point)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]) * 2, traffic(xs, ys))


class DynamicQuantizeLinear(Op):
    """(y, scale, zero point) in uint8 with scale = (max(0, x) - min(0, x)) / 255. ONNX DynamicQuantizeLinear-11."""

    def infer(self, x: Value) -> tuple[TensorType, ...]:
        check_dtype(x, (float32,), "x")
        return TensorType(uint8, x.shape), TensorType(float32, ()), TensorType(uint8, ())

    def eval(self, x: Array) -> tuple[Array, ...]:
        lowest = np.minimum(np.min(x, initial=0), np.float32(0))
        highest = np.maximum(np.max(x, initial=0), np.float32(0))
        span = (highest - lowest).astype(np.float32)
        scale = np.asarray(span / np.float32(255) if span > 0 else 1, np.float32)
        zero_point = saturate(np.clip(-lowest / scale, 0, 255), uint8)
        return saturate(x / scale, uint8, zero_point), scale, zero_point

    def decompose(self, x: Value) -> tuple[Value, ...]:
        zero, most = const(0.0, float32), const(255.0, float32)
        lowest, highest = Min()(ReduceMin(False)(x), zero), Max()(ReduceMax(False)(x), zero)
        span = highest - lowest
        scale = where(span > 0, span / most, 1)
        zero_point = Cast(uint8)(Round()(Clip()(-lowest / scale, zero, most)))
        return QuantizeLinear()(x, scale, zero_point), scale, zero_point

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]) * 5, traffic(xs, ys))
