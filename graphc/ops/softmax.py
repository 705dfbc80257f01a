"""Softmax and its relatives: functions of the rows along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.expr import Element, Expr, Source, call, cast, constant, equal, over, position, select, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.ops.base import Array, Op, TensorType, Value, check_dtype, normalize_axis
from graphc.ops.elementwise import widen
from graphc.ops.math import Exp
from graphc.types import FLOATS, bool_


class Rows(Op):
    """y = f(x) along the attribute `axis`, computed in float32 for 16-bit floats. A subclass defines `rows`."""

    operations: ClassVar[int]
    axis: int

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "input")
        if x.rank is not None:
            normalize_axis(self.axis, x.rank)
        return x.tensor

    def eval(self, x: Array) -> Array:
        if x.size == 0:
            return x
        return self.rows(widen(x)).astype(x.dtype, copy=False)

    def rows(self, x: Array) -> Array:
        """The function of a float32 or float64 array that is not empty."""
        raise NotImplementedError

    def along(self, function: str, x: Source, element: Element, index: tuple[Linear, ...]) -> Expr:
        """`element` combined by `function` over the row that `index` is in."""
        axis = normalize_axis(self.axis, len(x.shape))
        return over(function, [x.shape[axis]], lambda k: element(*index[:axis], k, *index[axis + 1 :]))

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(self.operations * elements(ys[0]), traffic(xs, ys))


class Softmax(Rows):
    """softmax(x)_i = exp(x_i − max_j x_j) / Σ_j exp(x_j − max_j x_j) along `axis`. ONNX Softmax-13."""

    axis: int = -1
    operations = 5

    def rows(self, x: Array) -> Array:
        y: Array = x - x.max(self.axis, keepdims=True)
        np.exp(y, out=y)
        y /= y.sum(self.axis, keepdims=True)
        return y

    def element(self, y: TensorType, x: Source) -> Element:
        def power(*i: Linear) -> Expr:
            return call("exp", wide(x[i]) - self.along("max", x, lambda *j: wide(x[j]), i))

        return lambda *i: cast(power(*i) / self.along("sum", x, power, i), y.dtype)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [(dy - (dy * y).sum(self.axis, keepdims=True)) * y]


class LogSoftmax(Rows):
    """log softmax(x)_i = x_i − max_j x_j − ln Σ_j exp(x_j − max_j x_j) along `axis`. ONNX LogSoftmax-13."""

    axis: int = -1
    operations = 5

    def rows(self, x: Array) -> Array:
        y: Array = x - x.max(self.axis, keepdims=True)
        y -= np.log(np.exp(y).sum(self.axis, keepdims=True))
        return y

    def element(self, y: TensorType, x: Source) -> Element:
        def shifted(*i: Linear) -> Expr:
            return wide(x[i]) - self.along("max", x, lambda *j: wide(x[j]), i)

        def element(*i: Linear) -> Expr:
            total = self.along("sum", x, lambda *j: call("exp", shifted(*j)), i)
            return cast(shifted(*i) - call("log", total), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy - Exp().apply((y,))[0] * dy.sum(self.axis, keepdims=True)]


class Hardmax(Rows):
    """1 at the first maximum along `axis`, 0 elsewhere. ONNX Hardmax-13."""

    axis: int = -1
    operations = 1

    def rows(self, x: Array) -> Array:
        y = np.zeros_like(x)
        np.put_along_axis(y, np.expand_dims(x.argmax(self.axis), self.axis), 1, self.axis)
        return y

    def element(self, y: TensorType, x: Source) -> Element:
        axis = normalize_axis(self.axis, len(x.shape))

        def element(*i: Linear) -> Expr:
            highest = self.along("max", x, lambda *j: wide(x[j]), i)

            def place(*j: Linear) -> Expr:  # a NaN is the highest of its row
                value = wide(x[j])
                best = equal(value, highest) | call("isnan", value, dtype=bool_)
                return select(best, position(j[axis]), x.shape[axis])

            first = equal(position(i[axis]), self.along("min", x, place, i))
            return select(first, constant(1, y.dtype), 0)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]
