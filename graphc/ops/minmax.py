"""Minimum, maximum, sum and mean of several tensors, with broadcasting, and clipping to an interval."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.dims import dim_max, dim_min
from graphc.expr import Element, Expr, Source, call, cast, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.base import (
    Array,
    Op,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    lift,
    unbroadcast,
)
from graphc.ops.elementwise import widen
from graphc.ops.logic import Equal, where
from graphc.types import FLOATS, NUMBERS, DType, broadcast, count


def maximum(a: Array, b: Array) -> Array:
    """The larger of two, NaN if either is; also for dims."""
    if object in (a.dtype, b.dtype):
        return np.asarray(np.frompyfunc(dim_max, 2, 1)(a, b), object)
    return np.maximum(a, b)


def minimum(a: Array, b: Array) -> Array:
    """The smaller of two, NaN if either is; also for dims."""
    if object in (a.dtype, b.dtype):
        return np.asarray(np.frompyfunc(dim_min, 2, 1)(a, b), object)
    return np.minimum(a, b)


class Several(Op):
    """y_i = f(x0_i, x1_i, …) with broadcasting, one element type for all. A subclass sets `dtypes`."""

    dtypes: ClassVar[frozenset[DType]]

    def infer(self, x: Value, *more: Value) -> TensorType:
        check_same_dtype(x, *more)
        check_dtype(x, self.dtypes, "input")
        return TensorType(x.dtype, broadcast(x.shape, *(m.shape for m in more)))

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost((len(xs) - 1) * elements(ys[0]), traffic(xs, ys))


class Extreme(Several):
    """What Max and Min share: the gradient goes to the first input that attains the extreme."""

    dtypes = NUMBERS
    on_dims = True

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        gradients: list[Value | None] = []
        for x in xs:
            attained = Equal().apply((x, y))[0]
            gradients.append(unbroadcast(where(attained, dy, 0), x))
            dy = where(attained, lift(0, dy), dy)
        return gradients


class Max(Extreme):
    """max(x0, x1, …); NaN if one of them is. ONNX Max-13."""

    def eval(self, *xs: Array) -> Array:
        return functools.reduce(maximum, xs)

    def element(self, y: TensorType, *xs: Source) -> Element:
        return lambda *i: functools.reduce(lambda a, b: call("max", a, b), (x.broadcast(i) for x in xs))


class Min(Extreme):
    """min(x0, x1, …); NaN if one of them is. ONNX Min-13."""

    def eval(self, *xs: Array) -> Array:
        return functools.reduce(minimum, xs)

    def element(self, y: TensorType, *xs: Source) -> Element:
        return lambda *i: functools.reduce(lambda a, b: call("min", a, b), (x.broadcast(i) for x in xs))


def _total(xs: Sequence[Source], index: Sequence[Linear]) -> Expr:
    return functools.reduce(lambda a, b: a + b, (wide(x.broadcast(index)) for x in xs))


class Sum(Several):
    """x0 + x1 + …. ONNX Sum-13."""

    dtypes = FLOATS

    def eval(self, *xs: Array) -> Array:
        total = functools.reduce(np.add, [widen(x) for x in xs])
        return np.asarray(total).astype(xs[0].dtype, copy=False)

    def element(self, y: TensorType, *xs: Source) -> Element:
        return lambda *i: cast(_total(xs, i), y.dtype)

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy, x) for x in xs]


class Mean(Several):
    """(x0 + x1 + …) / n for n inputs. ONNX Mean-13."""

    dtypes = FLOATS

    def eval(self, *xs: Array) -> Array:
        total = functools.reduce(np.add, [widen(x) for x in xs])
        return np.asarray(total / len(xs)).astype(xs[0].dtype, copy=False)

    def element(self, y: TensorType, *xs: Source) -> Element:
        return lambda *i: cast(_total(xs, i) / len(xs), y.dtype)

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy / len(xs), x) for x in xs]


class Clip(Op):
    """min(max(x, low), high); where low > high, high. A bound that is not given does not bind. ONNX Clip-13."""

    on_dims = True

    def infer(self, x: Value, low: Value | None = None, high: Value | None = None) -> TensorType:
        check_same_dtype(x, low, high)
        check_dtype(x, NUMBERS, "input")
        for bound, what in ((low, "low"), (high, "high")):
            if bound is not None:
                check_rank(bound, what, 0, 1)
                if bound.shape is not None and isinstance(size := count(bound.shape), int) and size != 1:
                    raise ShapeError(f"{what} is {bound.tensor}, expected one number", value=bound.name)
        return x.tensor

    def eval(self, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
        result = x if low is None else maximum(x, low.reshape(()))
        return result if high is None else minimum(result, high.reshape(()))

    def element(self, y: TensorType, x: Source, low: Source | None = None, high: Source | None = None) -> Element:
        def element(*i: Linear) -> Expr:
            raised = x[i] if low is None else call("max", x[i], low.at(0))
            return raised if high is None else call("min", raised, high.at(0))

        return element

    def grad(
        self, dy: Value, y: Value, x: Value, low: Value | None = None, high: Value | None = None
    ) -> Sequence[Value | None]:
        dlow = dhigh = None
        if high is not None:
            raised = x if low is None else Clip().apply((x, low))[0]
            beyond = raised > high.reshape([])
            dhigh = where(beyond, dy, 0).sum().reshape([1] * (high.rank or 0))
            dy = where(beyond, lift(0, dy), dy)
        if low is not None:
            beyond = x < low.reshape([])
            dlow = where(beyond, dy, 0).sum().reshape([1] * (low.rank or 0))
            dy = where(beyond, lift(0, dy), dy)
        given = 1 if low is None and high is None else 2 if high is None else 3
        return [dy, dlow, dhigh][:given]
