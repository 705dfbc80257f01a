"""Ops that order elements or look for them: ArgMax, ArgMin, TopK, Unique, NonZero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import ExecutionError
from graphc.expr import Element, Expr, Ordering, Source, call, constant, equal, over, position, select, wide
from graphc.index import Linear
from graphc.ir import OPERATORS, Cost, elements, traffic
from graphc.limits import check_tensor, current_limits
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    normalize_axis,
    per_output,
)
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.indexing import Gather, GatherElements
from graphc.ops.scatter import ScatterElements
from graphc.ops.shape import COMMON, at_run_time, constants, shape_of
from graphc.types import NUMBERS, bool_, float32, int32, int64


# -- extrema ----------------------------------------------------------------------------------------------------------
class ArgExtremum(Op):
    """The index along `axis` of the greatest or least element; of several, the first (or the last). NaN counts as it.

    Attributes:
        axis: the axis.
        keepdims: keep it, with size 1.
        select_last_index: take the last one.
    """

    axis: int = 0
    keepdims: bool = True
    select_last_index: bool = False
    extremum: ClassVar[str]

    def infer(self, data: Value) -> TensorType:
        check_dtype(data, NUMBERS, "data")
        if data.shape is None:
            return TensorType(int64, None)
        axis = self._axis(len(data.shape))
        if data.shape[axis : axis + 1] == (0,):
            raise ShapeError(f"axis {self.axis} of {data.tensor} has no elements")
        kept = (1,) if self.keepdims and data.shape else ()
        return TensorType(int64, (*data.shape[:axis], *kept, *data.shape[axis + 1 :]))

    def _axis(self, rank: int) -> int:
        # ONNX Runtime and PyTorch take axis 0 and -1 of a number.
        return normalize_axis(self.axis, max(rank, 1))

    def eval(self, data: Array) -> Array:
        if data.ndim == 0:
            return np.zeros((), np.int64)
        axis = at_run_time(self._axis, data.ndim)
        x = widen(data)
        if data.shape[axis] == 0:
            raise ExecutionError(f"axis {self.axis} of shape {list(data.shape)} has no elements")
        if self.select_last_index:
            return np.asarray(data.shape[axis] - 1 - self.find(np.flip(x, axis), axis))
        return self.find(x, axis)

    def element(self, y: TensorType, data: Source) -> Element:
        if not data.shape:
            return lambda: constant(0, int64)
        axis = self._axis(len(data.shape))
        size = data.shape[axis]

        def element(*i: Linear) -> Expr:
            rest = i[axis + 1 :] if self.keepdims else i[axis:]

            def x(k: Linear) -> Expr:
                return wide(data[[*i[:axis], k, *rest]])

            best = over(self.extremum, [size], x)

            def place(k: Linear) -> Expr:
                found = equal(x(k), best)
                if data.dtype.is_float:  # where there is a NaN, it is the extremum, and equals nothing
                    found = found | call("isnan", x(k), dtype=bool_)
                return select(found, position(k), -1 if self.select_last_index else size)

            return over("max" if self.select_last_index else "min", [size], place)

        return element

    def find(self, x: Array, axis: int) -> Array:
        """The first index along `axis`."""
        raise NotImplementedError(f"{self.name}.find")

    def grad(self, dy: Value, y: Value, data: Value) -> Sequence[Value | None]:
        return [None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


class ArgMax(ArgExtremum):
    """y = argmax x along `axis`. ONNX ArgMax-13."""

    extremum = "max"

    def find(self, x: Array, axis: int) -> Array:
        return np.asarray(np.argmax(x, axis=axis, keepdims=self.keepdims))


class ArgMin(ArgExtremum):
    """y = argmin x along `axis`. ONNX ArgMin-13."""

    extremum = "min"

    def find(self, x: Array, axis: int) -> Array:
        return np.asarray(np.argmin(x, axis=axis, keepdims=self.keepdims))


class TopK(Op):
    """The k greatest (or least) elements along `axis` in order, and their indices; of equal ones the first come first.

    NaN counts as the greatest. ONNX TopK-24.

    Attributes:
        axis: the axis.
        largest: the greatest elements, not the least.
        sorted: ONNX leaves the order open without it; it is the same here.
    """

    axis: int = -1
    largest: bool = True
    sorted: bool = True

    def infer(self, x: Value, k: Value) -> tuple[TensorType, TensorType]:
        check_dtype(x, NUMBERS, "x")
        check_rank(x, "x", 1, current_limits().max_rank)
        check_dtype(k, {int64}, "k")
        check_rank(k, "k", 0, 1)
        if k.shape is not None and any(isinstance(d, int) and d != 1 for d in k.shape):
            raise ShapeError(f"k is {k.tensor}, expected one element")
        count: Dim = unknown() if k.dims is None else k.dims.item()
        if x.shape is None:
            return TensorType(x.dtype, None), TensorType(int64, None)
        axis = normalize_axis(self.axis, len(x.shape))
        self._check(count, x.shape[axis])
        shape = tuple(count if i == axis else d for i, d in enumerate(x.shape))
        return TensorType(x.dtype, shape), TensorType(int64, shape)

    def _check(self, k: Dim, size: Dim) -> None:
        if isinstance(k, int) and k < 0:
            raise ShapeError(f"k is {k}, expected at least 0")
        if isinstance(k, int) and isinstance(size, int) and k > size:
            raise ShapeError(f"k is {k}, but axis {self.axis} has only {size} elements")

    def eval(self, x: Array, k: Array) -> tuple[Array, Array]:
        axis = at_run_time(normalize_axis, self.axis, x.ndim)
        count = int(k.item())
        at_run_time(self._check, count, x.shape[axis])
        keys = widen(x)
        if self.largest:
            # Negation would overflow, and a descending sort is not stable: sort backwards from the end.
            order = np.flip(np.argsort(np.flip(keys, axis), axis=axis, kind="stable"), axis)
            order = x.shape[axis] - 1 - order
        else:
            order = np.argsort(keys, axis=axis, kind="stable")
        indices = np.take(order, np.arange(count), axis=axis).astype(np.int64, copy=False)
        return np.take_along_axis(x, indices, axis), indices

    def decompose(self, x: Value, k: Value) -> tuple[Value, Value] | None:
        """ArgMax where k = 1, and ArgMin of integers: of floats it takes a NaN for the least."""
        if k.const is None or k.const.item() != 1 or not (self.largest or x.dtype.is_integer):
            return None
        (index,) = (ArgMax if self.largest else ArgMin)(self.axis).apply((x,))
        return GatherElements(self.axis).apply((x, index))[0], index

    def element(self, y: tuple[TensorType, TensorType], x: Source, k: Source) -> tuple[Ordering, Ordering]:
        constants(k, "k")
        axis = normalize_axis(self.axis, len(x.shape))

        def key(*i: Linear) -> Expr:
            return ~ascending(x[i]) if self.largest else ascending(x[i])

        form = Ordering(axis, x.shape[axis], key, (lambda *i: x[i], lambda *i: position(i[axis])))
        return form, form

    def grad(self, dy: Sequence[Value | None], y: Sequence[Value], x: Value, k: Value) -> Sequence[Value | None]:
        if dy[0] is None:
            return [None, None]
        return [ScatterElements(self.axis).apply((zeros_like(x), y[1], dy[0]))[0], None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


def ascending(x: Expr) -> Expr:
    """x as an integer in the order of numbers: −0 is 0, and NaN the greatest."""
    if not x.dtype.is_float:
        return x
    x = wide(x)
    integer = int32 if x.dtype is float32 else int64
    greatest = int(np.iinfo(integer.numpy).max)
    bits = call("bitcast", x + 0.0, dtype=integer)  # −0 + 0 is 0
    # As a number, the bits below the sign say how far from 0 it is, on either side.
    return select(call("isnan", x, dtype=bool_), greatest, bits ^ (call("shr", bits, integer.bits - 1) & greatest))


# -- sets -------------------------------------------------------------------------------------------------------------
class Unique(Op):
    """The distinct elements (or slices along `axis`), in order; their first indices; where each went; their counts.

    NaNs count as equal. ONNX Unique-28.

    Attributes:
        axis: compare slices along this axis; without it, the elements of x as one row.
        sorted: ascending order; otherwise that of their first occurrence.
        outputs: how many of the four outputs are wanted.
    """

    axis: int | None = None
    sorted: bool = True
    outputs: int = field(default=1, metadata={"onnx": False})

    def infer(self, x: Value) -> tuple[TensorType, ...]:
        check_dtype(x, COMMON, "x")
        if not 1 <= self.outputs <= 4:
            raise InvalidModel(f"{self.outputs} outputs are wanted, expected 1 to 4")
        distinct = unknown()
        length: Dim = unknown() if x.shape is None else elements(x)
        if self.axis is None:
            y = TensorType(x.dtype, (distinct,))
        elif x.shape is None:
            y = TensorType(x.dtype, None)
        else:
            axis = normalize_axis(self.axis, len(x.shape))
            length = x.shape[axis]
            y = TensorType(x.dtype, tuple(distinct if i == axis else d for i, d in enumerate(x.shape)))
        return (y, *(TensorType(int64, (n,)) for n in (distinct, length, distinct)))[: self.outputs]

    def eval(self, x: Array) -> tuple[Array, ...]:
        axis = 0 if self.axis is None else at_run_time(normalize_axis, self.axis, x.ndim)
        slices = x.reshape(-1) if self.axis is None else x
        # Numbers that are ordered as the elements are, so that slices of any type compare as rows of integers.
        codes: Array = np.unique(widen(slices), return_inverse=True)[1].reshape(slices.shape)
        rows: Array = np.moveaxis(codes, axis, 0).reshape(slices.shape[axis], -1) if codes.ndim > 1 else codes
        if rows.ndim > 1 and rows.shape[1] == 0:
            rows = np.zeros(len(rows), np.int64)  # slices without elements are all equal
        _, first, inverse, counts = np.unique(rows, axis=0, return_index=True, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        if not self.sorted:
            order = np.argsort(first)
            first, counts = first[order], counts[order]
            inverse = np.argsort(order)[inverse]
        results = (np.take(slices, first, axis=axis), *(v.astype(np.int64) for v in (first, inverse, counts)))
        return results[: self.outputs]

    def grad(self, dy: Any, y: Any, x: Value) -> Sequence[Value | None]:
        upstream = per_output(dy)[0]
        if upstream is None:
            return [None]
        first = replace(self, outputs=2).apply((x,))[1]  # y is a Gather at the first indices
        if self.axis is None:
            blank = zeros_like(x).reshape([-1])
            return [OPERATORS["ScatterAdd"](blank, first, upstream, 0).reshape(shape_of(x))]
        return [Gather(self.axis).grad(upstream, upstream, x, first)[0]]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


class NonZero(Op):
    """y[a, k] = the index along axis a of the k-th element that is not zero, in row-major order. ONNX NonZero-13."""

    dtypes: ClassVar = COMMON

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, self.dtypes, "x")
        return TensorType(int64, (unknown() if x.shape is None else len(x.shape), unknown()))

    def eval(self, x: Array) -> Array:
        found = np.flatnonzero(x)
        check_tensor((x.ndim, len(found)), 8, "indices")
        if x.ndim == 0:
            return np.zeros((0, len(found)), np.int64)
        return np.array(np.unravel_index(found, x.shape), np.int64)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))
