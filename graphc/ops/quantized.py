"""Products of quantised tensors: exact sums of integers, and their requantised forms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.dims import Dim
from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Expr, Source, cast
from graphc.index import IndexLike, Linear, linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
)
from graphc.ops.conv import Conv
from graphc.ops.conv_kernels import convolve
from graphc.ops.linear import MatMul
from graphc.ops.quantize import saturate, saturated
from graphc.ops.windows import Ints
from graphc.types import FLOAT8, DType, bfloat16, dtype_of, float16, float32, int8, int32, int64, uint8

BYTES = frozenset({int8, uint8})
SCALES = frozenset({float32, float16, bfloat16})


def _exact(depth: int) -> np.dtype[np.floating]:
    """A float type in which sums of `depth` products of bytes are exact; products of floats run on the BLAS."""
    return np.dtype(np.float32) if depth * 255 * 255 < 1 << 24 else np.dtype(np.float64)


def _shifted(x: Array, zero_point: Array | None, float_type: np.dtype[np.floating]) -> Array:
    wide = x.astype(float_type)
    return wide if zero_point is None else np.asarray(wide - zero_point.astype(float_type))


def _wrapped(x: Array) -> Array:
    """Integers held in floats as int32, modulo 2^32."""
    return x.astype(np.int64).astype(np.int32)


def _sums_in(depth: int) -> DType:
    """An integer type that holds sums of `depth` products of differences of bytes."""
    return int32 if depth * 255 * 255 < 1 << 31 else int64


# -- matrix products --------------------------------------------------------------------------------------------------
def _check_matrix_parameter(p: Value | None, x: Value, what: str, axis: int) -> None:
    """A scale or zero point: one element, one for each index of `axis`, or that with the rank of `x`."""
    if p is None or p.shape is None or x.shape is None or all(n == 1 for n in p.shape):
        return
    size = x.shape[axis] if len(x.shape) > 1 else 1
    last = p.shape[0] if len(p.shape) == 1 else p.shape[axis] if len(p.shape) == len(x.shape) else None
    if last is None or (isinstance(last, int) and isinstance(size, int) and last not in (1, size)):
        raise ShapeError(f"{what} is {p.tensor}, expected one element or {size} for {x.tensor}")


def _along(p: Array | None, x: Array, axis: int) -> Array | None:
    """A scale or zero point in a shape that broadcasts with `x`; a vector lies along `axis`."""
    if p is None or p.ndim == x.ndim > 1:
        return p
    if p.size == 1:
        return p.reshape(())
    if p.ndim != 1 or p.size != (x.shape[axis] if x.ndim > 1 else 1):
        raise ExecutionError(f"scale or zero point of shape {list(p.shape)} does not fit {list(x.shape)}")
    return p[:, None] if axis == -2 else p


def _parameter(p: Source, x: Source, axis: int, index: Sequence[IndexLike]) -> Expr:
    """The scale or zero point of `x` at `index`; a vector lies along `axis`."""
    if len(p.shape) == len(x.shape) > 1:
        return p.broadcast(index)
    if math.prod(p.shape) == 1:
        return p.at(0)
    if len(p.shape) != 1 or p.shape[0] != (x.shape[axis] if len(x.shape) > 1 else 1):
        raise CompileError("a scale or zero point that does not fit")
    return p[(index[axis],)]


def _difference(x: Source, zero_point: Source | None, axis: int, dtype: DType) -> Source:
    """x - zero_point in `dtype`."""

    def element(index: tuple[Linear, ...]) -> Expr:
        value = cast(x[index], dtype)
        return value if zero_point is None else value - cast(_parameter(zero_point, x, axis, index), dtype)

    return Source(dtype, x.shape, element)


class MatMulInteger(Op):
    """y = (a - a_zero_point) @ (b - b_zero_point) in int32, modulo 2^32. ONNX MatMulInteger-10.

    A zero point is a scalar, or one for each row of a, for each column of b.
    """

    def infer(
        self, A: Value, B: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None
    ) -> TensorType:
        check_dtype(A, BYTES, "A")
        check_dtype(B, BYTES, "B")
        check_same_dtype(A, a_zero_point)
        check_same_dtype(B, b_zero_point)
        _check_matrix_parameter(a_zero_point, A, "a_zero_point", -2)
        _check_matrix_parameter(b_zero_point, B, "b_zero_point", -1)
        return TensorType(int32, MatMul()._shape(A, B))

    def eval(self, A: Array, B: Array, a_zero_point: Array | None = None, b_zero_point: Array | None = None) -> Array:
        float_type = _exact(A.shape[-1])
        a = _shifted(A, _along(a_zero_point, A, -2), float_type)
        b = _shifted(B, _along(b_zero_point, B, -1), float_type)
        return _wrapped(np.asarray(np.matmul(a, b)))

    def element(
        self,
        y: TensorType,
        A: Source,
        B: Source,
        a_zero_point: Source | None = None,
        b_zero_point: Source | None = None,
    ) -> Element:
        a, b = _difference(A, a_zero_point, -2, int32), _difference(B, b_zero_point, -1, int32)
        return MatMul().element(y, a, b)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(MatMul().cost(xs[:2], ys).flops, traffic(xs, ys))


class QLinearMatMul(Op):
    """y = saturate(round((a - a_zp) @ (b - b_zp) · a_scale · b_scale / y_scale) + y_zp). ONNX QLinearMatMul-21.

    Scales and zero points are scalars, or one for each row of a, for each column of b.
    """

    def infer(
        self,
        a: Value,
        a_scale: Value,
        a_zero_point: Value,
        b: Value,
        b_scale: Value,
        b_zero_point: Value,
        y_scale: Value,
        y_zero_point: Value,
    ) -> TensorType:
        for what, x, zero_point in (("a", a, a_zero_point), ("b", b, b_zero_point)):
            check_dtype(x, BYTES | FLOAT8, what)
            check_same_dtype(x, zero_point)
        check_dtype(y_zero_point, BYTES | FLOAT8, "y_zero_point")
        check_dtype(a_scale, SCALES, "a_scale")
        check_same_dtype(a_scale, b_scale, y_scale)
        for what, p, x, axis in (
            ("a_scale", a_scale, a, -2),
            ("a_zero_point", a_zero_point, a, -2),
            ("b_scale", b_scale, b, -1),
            ("b_zero_point", b_zero_point, b, -1),
        ):
            _check_matrix_parameter(p, x, what, axis)
        _check_one(y_scale, "y_scale")
        _check_one(y_zero_point, "y_zero_point")
        return TensorType(y_zero_point.dtype, MatMul()._shape(a, b))

    def eval(
        self,
        a: Array,
        a_scale: Array,
        a_zero_point: Array,
        b: Array,
        b_scale: Array,
        b_zero_point: Array,
        y_scale: Array,
        y_zero_point: Array,
    ) -> Array:
        float_type = _exact(a.shape[-1])
        left = _shifted(a, _along(a_zero_point, a, -2), float_type)
        right = _shifted(b, _along(b_zero_point, b, -1), float_type)
        scales = [np.asarray(_along(p, x, i), np.float32) for p, x, i in ((a_scale, a, -2), (b_scale, b, -1))]
        factor = scales[0] * scales[1] / y_scale.astype(np.float32).reshape(())
        total = np.asarray(np.matmul(left, right)).astype(np.float32)
        if a.ndim == 1 or b.ndim == 1:  # a factor for each row or column that the product does not have
            factor = factor.reshape(total.shape) if factor.size > 1 else factor.reshape(())
        return saturate(total * factor, dtype_of(y_zero_point.dtype), y_zero_point.reshape(()))

    def element(
        self,
        y: TensorType,
        a: Source,
        a_scale: Source,
        a_zero_point: Source,
        b: Source,
        b_scale: Source,
        b_zero_point: Source,
        y_scale: Source,
        y_zero_point: Source,
    ) -> Element:
        sums = _sums_in(a.shape[-1]) if a.dtype.is_integer and b.dtype.is_integer else float32
        left, right = _difference(a, a_zero_point, -2, sums), _difference(b, b_zero_point, -1, sums)
        product = MatMul().element(TensorType(sums, y.shape), left, right)
        rows, columns = len(a.shape) > 1, len(b.shape) > 1

        def element(*i: Linear) -> Expr:
            batch, own = i[: len(i) - rows - columns], i[len(i) - rows - columns :]
            row = (*batch, own[0] if rows else linear(0), linear(0))
            column = (*batch, linear(0), own[-1] if columns else linear(0))
            scales = cast(_parameter(a_scale, a, -2, row), float32) * cast(_parameter(b_scale, b, -1, column), float32)
            factor = scales / cast(y_scale.at(0), float32)
            return saturated(cast(product(*i), float32) * factor, y.dtype, y_zero_point.at(0))

        return element

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(MatMul().cost([xs[0], xs[3]], ys).flops + elements(ys[0]) * 2, traffic(xs, ys))


def _check_one(p: Value | None, what: str) -> None:
    if p is not None and p.shape is not None and any(isinstance(n, int) and n != 1 for n in p.shape):
        raise ShapeError(f"{what} is {p.tensor}, expected a scalar")


# -- convolutions -----------------------------------------------------------------------------------------------------
class _Convolution(Op):
    """Attributes, shapes and cost as those of Conv."""

    auto_pad: str
    dilations: Ints | None
    group: int
    kernel_shape: Ints | None
    pads: Ints | None
    strides: Ints | None

    @property
    def _conv(self) -> Conv:
        return Conv(self.auto_pad, self.dilations, self.group, self.kernel_shape, self.pads, self.strides)

    def _check(
        self, x: Value, w: Value, x_zero_point: Value | None, w_parameters: Sequence[tuple[str, Value | None]]
    ) -> None:
        check_dtype(x, BYTES, "x")
        check_dtype(w, BYTES, "w")
        check_rank(x, "x", 3, 64)
        check_rank(w, "w", 3, 64)
        check_same_dtype(x, x_zero_point)
        if self.group < 1:
            raise InvalidModel(f"group is {self.group}, expected at least 1")
        _check_one(x_zero_point, "x_zero_point")
        for what, p in w_parameters:
            if p is None or p.shape is None:
                continue
            check_rank(p, what, 0, 1)
            channels: Dim | None = None if w.shape is None else w.shape[0]
            size = p.shape[0] if p.shape else 1
            if isinstance(channels, int) and isinstance(size, int) and size not in (1, channels):
                raise ShapeError(f"{what} is {p.tensor}, expected one element or {channels} for {w.tensor}")

    def _sums(self, x: Array, w: Array, x_zero_point: Array | None, w_zero_point: Array | None) -> Array:
        """The convolution of x - x_zero_point and w - w_zero_point, as exact integers in a float type."""
        float_type = _exact(int(np.prod(w.shape[1:])))
        left = _shifted(x, None if x_zero_point is None else x_zero_point.reshape(()), float_type)
        right = _shifted(w, None if w_zero_point is None else _by_channel(w_zero_point, w.ndim), float_type)
        windows = self._conv._grid(w.shape).windows(x.shape[2:])
        return convolve(left, right, windows, self.group)

    def _sum_of(
        self, y: TensorType, x: Source, w: Source, x_zero: Source | None, w_zero: Source | None, dtype: DType
    ) -> Element:
        """The element of the convolution of x - x_zero and w - w_zero, summed up in `dtype`."""

        def weight(index: tuple[Linear, ...]) -> Expr:
            value = cast(w[index], dtype)
            return value if w_zero is None else value - cast(_of_channel(w_zero, index[0]), dtype)

        def shifted(index: tuple[Linear, ...]) -> Expr:
            value = cast(x[index], dtype)
            return value if x_zero is None else value - cast(x_zero.at(0), dtype)

        plain = x_zero is None or (x_zero.const is not None and not x_zero.const.any())
        left = (
            Source(dtype, x.shape, lambda i: cast(x[i], dtype), halo=x.halo)
            if plain
            else Source(dtype, x.shape, shifted)
        )
        return self._conv.element(TensorType(dtype, y.shape), left, Source(dtype, w.shape, weight))


def _of_channel(p: Source, m: Linear) -> Expr:
    """The element for output channel `m`."""
    return p.at(0) if math.prod(p.shape) == 1 else p[(m,)]


def _by_channel(p: Array, rank: int) -> Array:
    """One element, or one for each output channel of weights of `rank`."""
    return p.reshape(()) if p.size == 1 else p.reshape(-1, *(1 for _ in range(rank - 1)))


class ConvInteger(_Convolution):
    """y = Conv(x - x_zero_point, w - w_zero_point) in int32; zeros around x - x_zero_point. ONNX ConvInteger-10.

    The zero point of w is a scalar, or one for each output channel.
    """

    auto_pad: str = "NOTSET"
    dilations: Ints | None = None
    group: int = 1
    kernel_shape: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(
        self, x: Value, w: Value, x_zero_point: Value | None = None, w_zero_point: Value | None = None
    ) -> TensorType:
        self._check(x, w, x_zero_point, [("w_zero_point", w_zero_point)])
        check_same_dtype(w, w_zero_point)
        return TensorType(int32, self._conv._shape(x, w, None))

    def eval(self, x: Array, w: Array, x_zero_point: Array | None = None, w_zero_point: Array | None = None) -> Array:
        return _wrapped(self._sums(x, w, x_zero_point, w_zero_point))

    def element(
        self,
        y: TensorType,
        x: Source,
        w: Source,
        x_zero_point: Source | None = None,
        w_zero_point: Source | None = None,
    ) -> Element:
        return self._sum_of(y, x, w, x_zero_point, w_zero_point, int32)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(self._conv.cost(xs[:2], ys).flops, traffic(xs, ys))


class QLinearConv(_Convolution):
    """y = saturate(round((Conv(x - x_zp, w - w_zp) + B) · x_scale · w_scale / y_scale) + y_zp). ONNX QLinearConv-10.

    Scale and zero point of w are scalars, or one for each output channel; B is quantised with x_scale · w_scale.
    """

    auto_pad: str = "NOTSET"
    dilations: Ints | None = None
    group: int = 1
    kernel_shape: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(
        self,
        x: Value,
        x_scale: Value,
        x_zero_point: Value,
        w: Value,
        w_scale: Value,
        w_zero_point: Value,
        y_scale: Value,
        y_zero_point: Value,
        B: Value | None = None,
    ) -> TensorType:
        self._check(x, w, x_zero_point, [("w_scale", w_scale), ("w_zero_point", w_zero_point)])
        check_same_dtype(w, w_zero_point)
        check_dtype(y_zero_point, BYTES, "y_zero_point")
        for what, p in (("x_scale", x_scale), ("y_scale", y_scale), ("y_zero_point", y_zero_point)):
            _check_one(p, what)
        for what, p in (("x_scale", x_scale), ("w_scale", w_scale), ("y_scale", y_scale)):
            check_dtype(p, (float32,), what)
        if B is not None:
            check_dtype(B, (int32,), "B")
            check_rank(B, "B", 1)
        return TensorType(y_zero_point.dtype, self._conv._shape(x, w, B))

    def eval(
        self,
        x: Array,
        x_scale: Array,
        x_zero_point: Array,
        w: Array,
        w_scale: Array,
        w_zero_point: Array,
        y_scale: Array,
        y_zero_point: Array,
        B: Array | None = None,
    ) -> Array:
        total = self._sums(x, w, x_zero_point, w_zero_point)
        if B is not None:
            total = total.astype(np.float64) + _by_channel(B, w.ndim - 1)
        factor = x_scale.reshape(()) * _by_channel(w_scale, w.ndim - 1) / y_scale.reshape(())
        to: DType = dtype_of(y_zero_point.dtype)
        return saturate(total.astype(np.float32) * factor, to, y_zero_point.reshape(()))

    def element(
        self,
        y: TensorType,
        x: Source,
        x_scale: Source,
        x_zero_point: Source,
        w: Source,
        w_scale: Source,
        w_zero_point: Source,
        y_scale: Source,
        y_zero_point: Source,
        B: Source | None = None,
    ) -> Element:
        sums = _sums_in(math.prod(w.shape[1:]))
        product = self._sum_of(y, x, w, x_zero_point, w_zero_point, sums)

        def element(n: Linear, m: Linear, *p: Linear) -> Expr:
            total = product(n, m, *p)
            if B is not None:
                total = cast(total, int64) + cast(B[m], int64)
            factor = x_scale.at(0) * _of_channel(w_scale, m) / y_scale.at(0)
            return saturated(cast(total, float32) * factor, y.dtype, y_zero_point.at(0))

        return element

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(self._conv.cost([xs[0], xs[3]], ys).flops + elements(ys[0]) * 3, traffic(xs, ys))
