"""Tensors made from sizes: ConstantOfShape and Range; and the gradient of picking elements, which needs both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np

from graphc.dims import ceildiv, dim_max, unknown
from graphc.errors import ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, cast, constant, position
from graphc.index import Linear
from graphc.ir import MAX_CONTENT, OPERATORS
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    Dim,
    Op,
    Tensor,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.shape import Movement, Size, entries, length, shape_of, sizes_at_run_time, unknown_sizes
from graphc.types import (
    ALL,
    BY_ONNX,
    COMPLEX,
    FLOATS,
    DType,
    Type,
    bfloat16,
    float6e2m3,
    float6e3m2,
    float16,
    float32,
    float64,
    int16,
    int32,
    int64,
    string,
)

ZERO = Tensor(np.zeros(1, np.float32))


class ConstantOfShape(Movement):
    """y = a tensor of the sizes `input`, every element `value`. ONNX ConstantOfShape-25.

    Attributes:
        value: one element, and with it y's element type.
    """

    value: Tensor = field(default=ZERO)
    dtypes = ALL - COMPLEX - {string, float6e2m3, float6e3m2}

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, (int64,), "input")
        check_rank(input, "input", 1)
        if self.value.size != 1:
            raise InvalidModel(f"value is {self.value.type}, expected one element")
        if self.value.dtype not in self.dtypes:
            raise InvalidModel(f"value is {self.value.type}, an element type that ConstantOfShape does not make")
        sizes = entries(input, "input")
        if sizes is None:
            return TensorType(self.value.dtype, unknown_sizes(length(input)))
        return TensorType(self.value.dtype, check_sizes(sizes))

    def contents(self, xs: Sequence[Value | None], types: Sequence[object]) -> Array | None:
        if xs[0] is None or xs[0].const is None or self.value.dtype not in (int32, int64):
            return None
        sizes = [int(n) for n in xs[0].const]
        small = math.prod(sizes) <= MAX_CONTENT
        return np.full(sizes, int(self.value.array.item()), object) if small else None

    def eval(self, input: Array) -> Array:
        sizes = sizes_at_run_time(check_sizes, [int(n) for n in input])
        check_tensor(sizes, self.value.dtype.numpy.itemsize)
        return np.full(sizes, self.value.array.reshape(()), self.value.dtype.numpy)

    def element(self, y: TensorType, input: Source) -> Element:
        value = constant(self.value.array.reshape(-1)[0], self.value.dtype)
        return lambda *i: value

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]


def check_sizes(sizes: Sequence[Dim]) -> Sizes:
    """`sizes` as a shape. Raises `ShapeError` for a negative one."""
    if any(isinstance(n, int) and n < 0 for n in sizes):
        raise ShapeError(f"shape {list(sizes)} has a negative size")
    return tuple(sizes)


class Range(Op):
    """y_i = start + i · delta for i < max(ceil((limit - start) / delta), 0). ONNX Range-27.

    Attributes:
        stash_type: the element type in which 16-bit floats are computed, as ONNX's number (1: float32).
    """

    stash_type: int = 1
    dtypes = frozenset({float16, bfloat16, float32, float64, int16, int32, int64})

    def infer(self, start: Value, limit: Value, delta: Value) -> TensorType:
        check_same_dtype(start, limit, delta)
        check_dtype(start, self.dtypes, "start")
        for what, x in (("start", start), ("limit", limit), ("delta", delta)):
            check_rank(x, what, 0, 1)
            if x.shape is not None and any(isinstance(n, int) and n != 1 for n in x.shape):
                raise ShapeError(f"{what} is {x.tensor}, expected one element")
        if BY_ONNX.get(self.stash_type) not in FLOATS:
            raise InvalidModel(f"stash_type is {self.stash_type}, expected a floating-point type")
        values = [x.const for x in (start, limit, delta)]
        known = [v for v in values if v is not None]
        if len(known) == 3:
            try:
                return TensorType(start.dtype, (self._count(*known),))
            except ExecutionError as e:
                raise InvalidModel(e.message) from None
        dims = [x.dims for x in (start, limit, delta)]
        first, last, step = (None if d is None else d.item() for d in dims)
        if first is None or last is None or not isinstance(step, int) or step == 0:
            return TensorType(start.dtype, (unknown(),))
        n = ceildiv(last - first, step) if step > 0 else ceildiv(first - last, -step)
        return TensorType(start.dtype, (dim_max(n, 0),))

    def _count(self, start: Array, limit: Array, delta: Array) -> int:
        """The number of elements. Raises `ExecutionError` for a step of zero and for what is not finite."""
        a, b, step = start.item(), limit.item(), delta.item()
        if step == 0:
            raise ExecutionError(f"delta is 0, start {a}, limit {b}")
        if start.dtype.kind in "iu":
            return max(int(-((a - b) // step)), 0)
        span = float((limit - start).item())
        if not np.isfinite(span) or not np.isfinite(step):
            raise ExecutionError(f"start {a}, limit {b}, delta {step} do not bound a range")
        return max(int(np.ceil(span / step)), 0)

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        size = types[0].shape if isinstance(types[0], TensorType) else None
        start, _, delta = (None if x is None or x.dims is None else x.dims.item() for x in xs)
        if size is None or not isinstance(size[0], int) or size[0] > MAX_CONTENT or start is None or delta is None:
            return None
        values = np.empty(size[0], object)
        for i in range(size[0]):
            values[i] = start + delta * i
        return values

    def eval(self, start: Array, limit: Array, delta: Array) -> Array:
        n = self._count(start, limit, delta)
        check_tensor((n,), start.dtype.itemsize, "range")
        wide = start.dtype if start.dtype.itemsize > 2 else np.dtype(np.int64)
        if start.dtype in (float16.numpy, bfloat16.numpy):
            wide = BY_ONNX[self.stash_type].numpy
        steps = np.arange(n, dtype=np.int64).astype(wide) * delta.astype(wide).reshape(())
        return np.asarray(start.astype(wide).reshape(()) + steps, start.dtype)

    def element(self, y: TensorType, start: Source, limit: Source, delta: Source) -> Element:
        wide = y.dtype if y.dtype not in (float16, bfloat16) else BY_ONNX[self.stash_type]

        def element(i: Linear) -> Expr:
            steps = cast(position(i), wide) * cast(delta.at(0), wide)
            return cast(cast(start.at(0), wide) + steps, y.dtype)

        return element

    def grad(self, dy: Value, y: Value, start: Value, limit: Value, delta: Value) -> Sequence[Value | None]:
        position = (y - start) / delta
        return [_total(dy, start), None, _total(dy * position, delta)]


def _total(dy: Value, x: Value) -> Value:
    """The sum of `dy` in the shape of `x`, which has one element."""
    return dy.sum().reshape(shape_of(x))


# -- gradients --------------------------------------------------------------------------------------------------------
def zeros(sizes: Value, dtype: DType) -> Value:
    """Zeros of the shape `sizes`."""
    zero = Tensor(np.zeros(1, dtype.numpy), dtype)
    return ConstantOfShape(zero).apply((sizes,))[0]


def zeros_like(x: Value) -> Value:
    """Zeros in the type of `x`."""
    return zeros(shape_of(x), x.dtype)


def scatter_back(dy: Value, x: Value, pick: Callable[[Value], Value]) -> Value:
    """The gradient of y = pick(x), where `pick` moves elements and computes nothing: dx[p] = the sum of its copies' dy.

    `pick` is applied to the positions of x's elements, which works for every parameter that is only known at run time.
    """
    total = Size().apply((x,))[0]
    zero, one = const(np.array(0, np.int64)), const(np.array(1, np.int64))
    positions = Range().apply((zero, total, one))[0].reshape(shape_of(x))
    blank = zeros(total.reshape([1]), x.dtype)
    added = OPERATORS["ScatterAdd"](blank, pick(positions).reshape([-1]), dy.reshape([-1]), 0)
    return added.reshape(shape_of(x))
