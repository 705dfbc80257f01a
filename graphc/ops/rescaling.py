"""Normalisations without parameters: LRN, LpNormalization, MeanVarianceNormalization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.errors import CompileError
from graphc.expr import Element, Expr, Source, call, cast, equal, over, wide
from graphc.expr import select as either
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.limits import current_limits
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    normalize_axes,
    normalize_axis,
)
from graphc.ops.elementwise import select, widen
from graphc.ops.logic import Where
from graphc.ops.math import Abs, Sign, Sqrt
from graphc.ops.padding import Pad
from graphc.ops.shape import at_run_time
from graphc.ops.slicing import FAR, Slice
from graphc.types import FLOATS

DEVIATION_EPSILON = 1e-9  # of MeanVarianceNormalization, as ONNX defines it


class LRN(Op):
    """y = x / (bias + alpha/size · Σ x²)^beta, the sum over a window of `size` channels around each. ONNX LRN-13.

    Attributes:
        size: the window: floor((size - 1) / 2) channels before, ceil((size - 1) / 2) behind, where there are any.
        alpha, beta, bias: see above.
    """

    size: int
    alpha: float = 0.0001
    beta: float = 0.75
    bias: float = 1.0

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "x")
        check_rank(x, "x", 2, current_limits().max_rank)
        if self.size < 1:
            raise InvalidModel(f"size is {self.size}, expected at least 1")
        return x.tensor

    def eval(self, x: Array) -> Array:
        wide = widen(x)
        squares = np.square(wide)
        total = squares.copy()
        channels = x.shape[1]
        before, behind = self._window()
        for d in range(1, min(behind, channels - 1) + 1):
            total[:, :-d] += squares[:, d:]
        for d in range(1, min(before, channels - 1) + 1):
            total[:, d:] += squares[:, :-d]
        total *= self.alpha / self.size
        total += self.bias
        return np.asarray(wide * np.power(total, -self.beta)).astype(x.dtype, copy=False)

    def _window(self) -> tuple[int, int]:
        return (self.size - 1) // 2, self.size // 2

    def element(self, y: TensorType, x: Source) -> Element:
        before, _ = self._window()

        def element(n: Linear, c: Linear, *rest: Linear) -> Expr:
            def square(d: Linear) -> Expr:
                value = wide(x.padded((n, c + d - before, *rest)))
                return value * value

            base = over("sum", [self.size], square) * (self.alpha / self.size) + self.bias
            return cast(wide(x[(n, c, *rest)]) * self._power(base), y.dtype)

        return element

    def _power(self, base: Expr) -> Expr:
        """base^−beta; for the usual beta by roots."""
        if self.beta in (0.5, 0.75):
            root = call("sqrt", base)
            return 1 / (root if self.beta == 0.5 else root * call("sqrt", root))
        return call("pow", base, -self.beta)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        before, behind = self._window()
        scale = self.alpha / self.size
        base = _window_sum(x * x, before, behind) * scale + self.bias
        # Channel i is in the windows of those from i - behind to i + before.
        through = _window_sum(dy * x * base ** (-self.beta - 1), behind, before)
        return [dy * base**-self.beta - x * through * (2 * scale * self.beta)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost((self.size + 4) * elements(xs[0]), traffic(xs, ys))


def _window_sum(x: Value, before: int, behind: int) -> Value:
    """y_c = Σ x_i over the channels i from c - before to c + behind."""
    channels = const(np.array([1], np.int64))
    padded = Pad().apply((x, const(np.array([before, behind], np.int64)), None, channels))[0]
    size = before + behind + 1
    total: Value | None = None
    for d in range(size):
        end = d - size + 1 if d < size - 1 else FAR
        bounds = (const(np.array([n], np.int64)) for n in (d, end))
        part = Slice().apply((padded, *bounds, channels))[0]
        total = part if total is None else total + part
    assert total is not None
    return total


class LpNormalization(Op):
    """y = x / ‖x‖_p along `axis`, and 0 where the norm is 0. ONNX LpNormalization-22.

    Attributes:
        axis: the axis.
        p: 1 (sum of magnitudes) or 2 (root of the sum of squares).
    """

    axis: int = -1
    p: int = 2

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "input")
        check_rank(x, "input", 1, current_limits().max_rank)
        if self.p not in (1, 2):
            raise InvalidModel(f"p is {self.p}, expected 1 or 2")
        if x.shape is not None:
            normalize_axis(self.axis, len(x.shape))
        return x.tensor

    def eval(self, x: Array) -> Array:
        wide = widen(x)
        axis = at_run_time(normalize_axis, self.axis, x.ndim)
        if self.p == 1:
            norm = np.add.reduce(np.abs(wide), axis=axis, keepdims=True)
        else:
            norm = np.sqrt(np.add.reduce(np.square(wide), axis=axis, keepdims=True))
        return np.asarray(wide / np.where(norm == 0, 1, norm)).astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source) -> Element:
        axis = normalize_axis(self.axis, len(x.shape))

        def element(*i: Linear) -> Expr:
            def term(k: Linear) -> Expr:
                value = wide(x[(*i[:axis], k, *i[axis + 1 :])])
                return call("abs", value) if self.p == 1 else value * value

            total = over("sum", [x.shape[axis]], term)
            norm = total if self.p == 1 else call("sqrt", total)
            return cast(wide(x[i]) / either(equal(norm, 0), 1, norm), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        along = (dy * y).sum(self.axis, keepdims=True)
        if self.p == 1:
            norm = Abs().apply((x,))[0].sum(self.axis, keepdims=True)
            through = along * Sign().apply((x,))[0]
        else:
            norm = _norm((x * x).sum(self.axis, keepdims=True))
            through = along * y
        # At zero, where there is no slope, it is taken as zero.
        return [select(norm > 0, (dy - through) / select(norm > 0, norm, 1.0, Where()), 0.0, Where())]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(3 * elements(xs[0]), traffic(xs, ys))


def _norm(square: Value) -> Value:
    """√square, with a slope of zero at zero."""
    root = Sqrt().apply((select(square > 0, square, 1.0, Where()),))[0]
    return select(square > 0, root, 0.0, Where())


class MeanVarianceNormalization(Op):
    """y = (x − mean) / (√variance + 1e-9) over `axes`. ONNX MeanVarianceNormalization-13."""

    axes: tuple[int, ...] = (0, 2, 3)

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "x")
        if x.shape is not None:
            normalize_axes(self.axes, len(x.shape))
        return x.tensor

    def eval(self, x: Array) -> Array:
        wide = widen(x)
        axes = at_run_time(normalize_axes, self.axes, x.ndim)
        y = np.asarray(wide - np.mean(wide, axis=axes, keepdims=True))
        deviation = np.sqrt(np.mean(np.square(y), axis=axes, keepdims=True))
        y /= deviation + wide.dtype.type(DEVIATION_EPSILON)
        return y.astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source) -> Element:
        axes = normalize_axes(self.axes, len(x.shape))
        sizes = [x.shape[a] for a in axes]
        count = float(math.prod(sizes))

        def element(*i: Linear) -> Expr:
            def at(*k: Linear) -> tuple[Linear, ...]:
                moved = dict(zip(axes, k, strict=True))
                return tuple(moved.get(axis, j) for axis, j in enumerate(i))

            def square(*k: Linear) -> Expr:
                centred = wide(x[at(*k)]) - mean
                return centred * centred

            mean = over("sum", sizes, lambda *k: wide(x[at(*k)])) / count
            deviation = call("sqrt", over("sum", sizes, square) / count)
            return cast((wide(x[i]) - mean) / (deviation + DEVIATION_EPSILON), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        if x.shape is None:
            raise CompileError("the gradient needs a known rank", hint="Give the graph's inputs shapes")
        axes = normalize_axes(self.axes, len(x.shape))
        centred = x - x.mean(axes, keepdims=True)
        deviation = _norm((centred * centred).mean(axes, keepdims=True))
        through = centred * (dy * y).mean(axes, keepdims=True)
        flat = dy - through / select(deviation > 0, deviation, 1.0, Where())
        return [(flat - flat.mean(axes, keepdims=True)) / (deviation + DEVIATION_EPSILON)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(6 * elements(xs[0]), traffic(xs, ys))
