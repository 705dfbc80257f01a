"""Reductions over axes: sums, means, extrema, products and norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from graphc.dims import dim_max, dim_min, unknown
from graphc.errors import CompileError, ExecutionError
from graphc.expr import INFINITY, Element, Expr, Source, call, cast, over, select, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.arithmetic import truncated_divide
from graphc.ops.base import (
    Array,
    Op,
    Shape,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    lift,
    normalize_axes,
)
from graphc.ops.cumulative import CumProd
from graphc.ops.elementwise import widen
from graphc.ops.logic import Equal, where
from graphc.ops.math import Exp
from graphc.ops.minmax import Max
from graphc.ops.reshaping import Expand, Unsqueeze
from graphc.ops.shape import Size, at_run_time, shape_of
from graphc.types import FLOATS, DType, bool_, float64, int8, int32, int64, uint8, uint32, uint64

REDUCIBLE = FLOATS | {int32, int64, uint32, uint64}
ORDERED = REDUCIBLE | {int8, uint8, bool_}

_maximum_of_dims = np.frompyfunc(dim_max, 2, 1)
_minimum_of_dims = np.frompyfunc(dim_min, 2, 1)


Terms = Callable[..., Expr]  # the elements that a reduction combines, by their indices


# -- what the family shares -------------------------------------------------------------------------------------------
class Reduce(Op):
    """y = f(x over `axes`). Without axes (or with none in them) all are reduced; none with `noop_with_empty_axes`.

    A subclass defines `reduce(x, axes)`, which keeps the reduced axes, for x in the element type of `widen`, and
    `combined`, the same as an expression.
    """

    keepdims: bool = True
    noop_with_empty_axes: bool = False
    dtypes: ClassVar[frozenset[DType]] = REDUCIBLE

    def infer(self, x: Value, axes: Value | None = None) -> TensorType:
        check_dtype(x, self.dtypes, "data")
        if axes is not None:
            check_dtype(axes, {int64}, "axes")
            check_rank(axes, "axes", 1)
        return TensorType(x.dtype, self._shape(x.shape, axes))

    def _shape(self, shape: Shape | None, axes: Value | None) -> Shape | None:
        known = np.zeros(0, np.int64) if axes is None else axes.const
        if known is not None and len(known) == 0 and not self.noop_with_empty_axes and not self.keepdims:
            return ()
        if shape is None:
            return None
        if known is not None:
            reduced = self._axes([int(a) for a in known], len(shape))
            if self.keepdims:
                return tuple(1 if i in reduced else d for i, d in enumerate(shape))
            return tuple(d for i, d in enumerate(shape) if i not in reduced)
        assert axes is not None
        count = None if axes.shape is None else axes.shape[0]
        if self.keepdims:
            everything = count == len(shape)  # axes are distinct
            return tuple(1 if d == 1 or everything else unknown() for d in shape)
        if not isinstance(count, int) or count == 0:
            return None
        if count > len(shape):
            raise ShapeError(f"{count} axes of a tensor of rank {len(shape)}")
        return tuple(unknown() for _ in range(len(shape) - count))

    def _axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        if len(axes) == 0:
            return () if self.noop_with_empty_axes else tuple(range(rank))
        return normalize_axes(axes, rank)

    def eval(self, x: Array, axes: Array | None = None) -> Array:
        given = [] if axes is None else [int(a) for a in axes.flat]
        reduced = at_run_time(self._axes, given, x.ndim)
        result = np.asarray(self.reduce(widen(x), reduced)).astype(x.dtype, copy=False)
        if self.keepdims:
            return result
        return result.reshape([n for i, n in enumerate(result.shape) if i not in reduced])

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        """f over `axes`, which stay as axes of size 1."""
        raise NotImplementedError(f"{self.name}.reduce")

    def element(self, y: TensorType, x: Source, axes: Source | None = None) -> Element:
        if axes is not None and axes.const is None:
            raise CompileError("the axes are known only at run time")
        given = [] if axes is None or axes.const is None else [int(a) for a in axes.const.flat]
        reduced = self._axes(given, len(x.shape))
        extents = [x.shape[a] for a in reduced]

        def element(*index: Linear) -> Expr:
            kept = iter(index)
            fixed = [next(kept) if self.keepdims or a not in reduced else None for a in range(len(x.shape))]

            def term(*k: Linear) -> Expr:
                inner = dict(zip(reduced, k, strict=True))
                return wide(x[[inner.get(a, i) for a, i in enumerate(fixed)]])  # type: ignore[misc]

            return cast(self.combined(term, extents), y.dtype)

        return element

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        """f of `x(i, j, …)` over 0 ≤ i < extents[0], 0 ≤ j < extents[1], …"""
        raise CompileError("has no loop-level form", node=self.name)

    def contents(self, xs: Sequence[Value | None], types: Sequence[TensorType]) -> Array | None:  # type: ignore[override]
        if len(xs) > 1 and xs[1] is not None and xs[1].const is None:
            return None
        if elements(xs[0]) == 0:
            return None
        return super().contents(xs, types)

    def grad(self, dy: Value, y: Value, x: Value, axes: Value | None = None) -> Sequence[Value | None]:
        dx = self.slope(self._kept(dy, axes), self._kept(y, axes), x, axes)
        return [dx] if axes is None else [dx, None]

    def _kept(self, y: Value, axes: Value | None) -> Value:
        """`y` with the reduced axes in it, so that it broadcasts with the input."""
        if self.keepdims or axes is None:  # without axes, y has no axis, or all
            return y
        return Unsqueeze().apply((y, axes))[0]

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        """The gradient of x, for dy and y that broadcast with x."""
        raise NotImplementedError(f"{self.name}.slope")

    def _to_extrema(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        """dy shared out evenly among the elements that are equal to y."""
        mask = Equal().apply((x, y))[0].cast(x.dtype)
        keeping = ReduceSum(True, self.noop_with_empty_axes)
        ties = keeping.apply((mask,) if axes is None else (mask, axes))[0]
        return dy * mask / ties

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


def expand_like(y: Value, x: Value) -> Value:
    """`y` broadcast to the shape of `x`."""
    if y.shape is not None and y.shape == x.shape:
        return y
    return Expand().apply((y, shape_of(x)))[0]


def _ratio(x: Value, y: Value) -> Value:
    """How many elements of `x` there are for each of `y`, in their element type."""
    many, few = (Size().apply((v,))[0] for v in (x, y))  # in float16, `many` might be infinite where the ratio is not
    return (many / Max().apply((few, lift(1, few)))[0]).cast(x.dtype)


def _fold(function: np.ufunc, x: Array, axes: tuple[int, ...]) -> Array:
    """`function` over `axes` of an object array; several at once would need NumPy to know that it is commutative."""
    for axis in axes:
        x = function.reduce(x, axis=axis, keepdims=True)
    return x


def _least(dtype: np.dtype[Any]) -> float | int | bool:
    """What no element of `dtype` is below: the maximum of nothing."""
    if dtype.kind == "b":
        return False
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -np.inf


def _greatest(dtype: np.dtype[Any]) -> float | int | bool:
    """What no element of `dtype` is above: the minimum of nothing."""
    if dtype.kind == "b":
        return True
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else np.inf


def square(x: Expr) -> Expr:
    """x²."""
    return x * x


# -- the family -------------------------------------------------------------------------------------------------------
class ReduceSum(Reduce):
    """y = Σ x; integers wrap; 0 over nothing. ONNX ReduceSum-13."""

    on_dims = True

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.add.reduce(x, axis=axes, dtype=x.dtype, keepdims=True)

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("sum", extents, x)

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return expand_like(dy, x)


class ReduceMean(Reduce):
    """y = Σ x / n; integers truncate towards zero; NaN over nothing, which integers cannot say. ONNX ReduceMean-18."""

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        total = np.add.reduce(x, axis=axes, dtype=x.dtype, keepdims=True)
        count = int(np.prod([x.shape[a] for a in axes]))
        if x.dtype.kind == "f":
            return np.asarray(np.divide(total, x.dtype.type(count)))
        if count == 0 and total.size:
            raise ExecutionError(f"the mean of no integers is not defined: {x.dtype}{list(x.shape)} over {list(axes)}")
        return truncated_divide(total, np.asarray(max(count, 1), x.dtype))

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        total, count = over("sum", extents, x), prod(extents)
        if count == 0 and not total.dtype.is_float:
            raise CompileError("the mean of no integers is not defined")
        return total / count

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return expand_like(dy / _ratio(x, y), x)


class ReduceMax(Reduce):
    """y = max x; over nothing -inf, or the least number of the type. ONNX ReduceMax-20."""

    dtypes = ORDERED
    on_dims = True

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        if x.dtype == object:
            return _fold(_maximum_of_dims, x, axes)
        return np.asarray(np.max(x, axis=axes, keepdims=True, initial=_least(x.dtype)))

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("max", extents, x)

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return self._to_extrema(dy, y, x, axes)


class ReduceMin(Reduce):
    """y = min x; over nothing +inf, or the greatest number of the type. ONNX ReduceMin-20."""

    dtypes = ORDERED
    on_dims = True

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        if x.dtype == object:
            return _fold(_minimum_of_dims, x, axes)
        return np.asarray(np.min(x, axis=axes, keepdims=True, initial=_greatest(x.dtype)))

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("min", extents, x)

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return self._to_extrema(dy, y, x, axes)


class ReduceProd(Reduce):
    """y = Π x; integers wrap; 1 over nothing. ONNX ReduceProd-18."""

    on_dims = True

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.multiply.reduce(x, axis=axes, dtype=x.dtype, keepdims=True)

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("prod", extents, x)

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        if x.shape is None or (axes is not None and axes.const is None):
            raise CompileError("the gradient of a product needs a known rank and axes that are constants")
        given = [] if axes is None or axes.const is None else axes.const.tolist()
        # One axis after another, so that each step multiplies the others of a row: right where factors are zero.
        steps = [(x, axis) for axis in self._axes(given, len(x.shape))]
        for k in range(1, len(steps)):
            before, axis = steps[k - 1]
            steps[k] = (ReduceProd().apply((before, const([axis], int64)))[0], steps[k][1])
        for factors, axis in reversed(steps):
            along = const(axis, int64)
            before = CumProd(exclusive=True).apply((factors, along))[0]
            after = CumProd(exclusive=True, reverse=True).apply((factors, along))[0]
            dy = dy * before * after
        return expand_like(dy, x)


class ReduceL1(Reduce):
    """y = Σ |x|. ONNX ReduceL1-18."""

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.add.reduce(np.abs(x), axis=axes, dtype=x.dtype, keepdims=True)

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("sum", extents, lambda *k: call("abs", x(*k)))

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return where(x > 0, dy, where(x < 0, -dy, 0.0))


class ReduceL2(Reduce):
    """y = √(Σ x²); for integers rounded towards zero. ONNX ReduceL2-18."""

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.sqrt(np.add.reduce(np.square(x), axis=axes, dtype=x.dtype, keepdims=True))

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        total = over("sum", extents, lambda *k: square(x(*k)))
        return call("sqrt", total if total.dtype.is_float else cast(total, float64))

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return dy * x / where(y > 0, y, 1.0)


class ReduceSumSquare(Reduce):
    """y = Σ x²; integers wrap. ONNX ReduceSumSquare-18."""

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.add.reduce(np.square(x), axis=axes, dtype=x.dtype, keepdims=True)

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return over("sum", extents, lambda *k: square(x(*k)))

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return 2 * (dy * x)


class ReduceLogSum(Reduce):
    """y = log Σ x. ONNX ReduceLogSum-28."""

    dtypes = FLOATS

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.log(np.add.reduce(x, axis=axes, keepdims=True))

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        return call("log", over("sum", extents, x))

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return expand_like(dy / Exp().apply((y,))[0], x)


class ReduceLogSumExp(Reduce):
    """y = m + log Σ exp(x − m), m = max x, which cannot overflow; -inf over nothing. ONNX ReduceLogSumExp-28."""

    dtypes = FLOATS

    def reduce(self, x: Array, axes: tuple[int, ...]) -> Array:
        m = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
        m = np.where(np.isfinite(m), m, 0)  # inf - inf is NaN; without a shift, exp and log give what is right
        shifted = np.asarray(np.subtract(x, m))
        np.exp(shifted, out=shifted)
        return np.log(np.add.reduce(shifted, axis=axes, keepdims=True)) + m

    def combined(self, x: Terms, extents: Sequence[int]) -> Expr:
        highest = over("max", extents, x)
        m = select(call("abs", highest) < INFINITY, highest, 0)
        return call("log", over("sum", extents, lambda *k: call("exp", x(*k) - m))) + m

    def slope(self, dy: Value, y: Value, x: Value, axes: Value | None) -> Value:
        return dy * Exp().apply((x - y,))[0]
