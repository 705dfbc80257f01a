"""Running sums and products along an axis, and the triangles of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError
from graphc.expr import Element, Expr, Prefix, Source, cast, equal, position, select, wide
from graphc.index import Linear
from graphc.ir import Cost, traffic
from graphc.limits import current_limits
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    normalize_axis,
)
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.logic import where
from graphc.ops.reshaping import Unsqueeze
from graphc.ops.shape import COMMON, at_run_time, constants
from graphc.types import FLOATS, NUMBERS, DType, bool_, int32, int64, uint32, uint64

ACCUMULABLE = FLOATS | {int32, int64, uint32, uint64}


class Cumulative(Op):
    """Inputs: x, and the axis as a tensor of one element.

    Attributes:
        exclusive: leave out the element itself.
        reverse: run from the end to the start.
    """

    exclusive: bool = False
    reverse: bool = False
    accumulate: ClassVar[np.ufunc]
    function: ClassVar[str]

    def infer(self, x: Value, axis: Value) -> TensorType:
        check_dtype(x, ACCUMULABLE, "x")
        check_rank(x, "x", 1, current_limits().max_rank)
        check_dtype(axis, {int32, int64}, "axis")
        check_rank(axis, "axis", 0, 1)
        if axis.const is not None and x.shape is not None:
            self._axis(axis.const, len(x.shape))
        return x.tensor

    def _axis(self, axis: Array, rank: int) -> int:
        if axis.size != 1:
            raise ShapeError(f"axis has {axis.size} elements, expected one")
        return normalize_axis(int(axis.item()), rank)

    def eval(self, x: Array, axis: Array) -> Array:
        at = at_run_time(self._axis, axis, x.ndim)
        source = np.flip(x, at) if self.reverse else x
        result = self.accumulate.accumulate(widen(source), axis=at).astype(x.dtype, copy=False)
        if self.exclusive:
            # Shift by one and start with the sum, or the product, of nothing.
            shifted = np.full_like(result, self.accumulate.identity)
            rest = (slice(None),) * at
            shifted[(*rest, slice(1, None))] = result[(*rest, slice(0, -1))]
            result = shifted
        return np.flip(result, at) if self.reverse else result

    def element(self, y: TensorType, x: Source, axis: Source) -> Prefix:
        at = normalize_axis(constants(axis, "axis")[0], len(x.shape))
        return Prefix(self.function, at, lambda *i: wide(x[i]), exclusive=self.exclusive, reverse=self.reverse)


class CumSum(Cumulative):
    """y_i = Σ_{j ≤ i} x_j along the axis; integers wrap. ONNX CumSum-14."""

    accumulate = np.add
    function = "add"

    def grad(self, dy: Value, y: Value, x: Value, axis: Value) -> Sequence[Value | None]:
        return [CumSum(self.exclusive, not self.reverse).apply((dy, axis))[0], None]


class CumProd(Cumulative):
    """y_i = Π_{j ≤ i} x_j along the axis; integers wrap. ONNX CumProd-26."""

    accumulate = np.multiply
    function = "mul"

    def grad(self, dy: Value, y: Value, x: Value, axis: Value) -> Sequence[Value | None]:
        """dx_k = Σ_i dy_i · Π_{j ≤ i, j ≠ k} x_j, from the n × n products: y / x would fail where x is zero."""
        if x.shape is None or axis.const is None:
            raise CompileError("the gradient of a running product needs a known rank and a constant axis")
        rank = len(x.shape)
        at = normalize_axis(int(axis.const.item()), rank)
        to_end = [i for i in range(rank) if i != at] + [at]
        back = [to_end.index(i) for i in range(rank)]
        row = x.transpose(to_end)
        ones = zeros_like(row) + 1
        # square[..., k, i] = x_i; on the diagonal, where i = k, x_k is left out.
        square = Unsqueeze().apply((ones, const([-1], int64)))[0] * Unsqueeze().apply((row, const([-2], int64)))[0]
        diagonal = Trilu().apply((Trilu(upper=False).apply((zeros_like(square) + 1,))[0],))[0]
        factors = where(diagonal > 0, zeros_like(square) + 1, square)
        products = CumProd(self.exclusive, self.reverse).apply((factors, const(-1, int64)))[0]
        # Only the y_i that read x_k count: those from k on (before k in reverse), without k itself if exclusive.
        shift = int(self.exclusive) * (-1 if self.reverse else 1)
        reads = Trilu(upper=not self.reverse).apply((products, const(shift, int64)))[0]
        slope = reads * Unsqueeze().apply((dy.transpose(to_end), const([-2], int64)))[0]
        return [slope.sum(-1).transpose(back), None]


# -- triangles --------------------------------------------------------------------------------------------------------
class Trilu(Op):
    """y_ij = x_ij where j − i ≥ k (for the lower triangle j − i ≤ k), else zero. ONNX Trilu-14."""

    upper: bool = True

    def infer(self, input: Value, k: Value | None = None) -> TensorType:
        check_dtype(input, COMMON, "input")
        check_rank(input, "input", 2, current_limits().max_rank)
        if k is not None:
            check_dtype(k, {int64}, "k")
            check_rank(k, "k", 0, 1)
            if k.shape is not None and any(isinstance(d, int) and d != 1 for d in k.shape):
                raise ShapeError(f"k is {k.tensor}, expected one element")
        return input.tensor

    def eval(self, input: Array, k: Array | None = None) -> Array:
        offset = offsets(*input.shape[-2:])
        diagonal = 0 if k is None else int(k.item())
        kept = offset >= diagonal if self.upper else offset <= diagonal
        zero = "" if input.dtype == object else np.zeros((), input.dtype)
        return np.where(kept, input, zero).astype(input.dtype, copy=False)

    def element(self, y: TensorType, input: Source, k: Source | None = None) -> Element:
        def element(*i: Linear) -> Expr:
            offset = position(i[-1] - i[-2])
            if k is None or k.const is not None:
                diagonal: Expr | int = 0 if k is None or k.const is None else int(k.const.item())
            else:
                diagonal = k.at(0)
            return select(offset >= diagonal if self.upper else offset <= diagonal, input[i], 0)

        return element

    def grad(self, dy: Value, y: Value, input: Value, k: Value | None = None) -> Sequence[Value | None]:
        return [self.apply((dy, k))[0], None][: 1 if k is None else 2]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic((), ys) * 2)


def offsets(rows: int, columns: int) -> Array:
    """j − i for each element of a matrix: the number of its diagonal."""
    return np.arange(columns) - np.arange(rows)[:, np.newaxis]


class EyeLike(Op):
    """y_ij = 1 where j − i = k, else 0, in the shape of the matrix x. ONNX EyeLike-22.

    Attributes:
        dtype: y's element type; by default that of x.
        k: the diagonal.
    """

    dtype: DType | None = None
    k: int = 0
    dtypes: ClassVar[frozenset[DType]] = NUMBERS | {bool_}

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, self.dtypes, "input")
        check_rank(input, "input", 2)
        if self.dtype is not None and self.dtype not in self.dtypes:
            raise InvalidModel(f"dtype is {self.dtype}, expected a real number type or bool")
        shape = input.shape if input.shape is not None else (unknown(), unknown())
        return TensorType(self.dtype or input.dtype, shape)

    def eval(self, input: Array) -> Array:
        dtype = input.dtype if self.dtype is None else self.dtype.numpy
        return np.asarray(offsets(*input.shape) == self.k).astype(dtype)

    def element(self, y: TensorType, input: Source) -> Element:
        return lambda i, j: cast(equal(position(j - i), self.k), y.dtype)

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]
