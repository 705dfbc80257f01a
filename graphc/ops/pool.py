"""Pooling: extrema, averages and norms over windows or over all spatial axes, and MaxUnpool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from functools import reduce
from math import prod
from operator import and_
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import (
    Element,
    Expr,
    Scatter,
    Source,
    as_position,
    bounded,
    call,
    cast,
    constant,
    equal,
    inside,
    over,
    position,
    select,
    wide,
)
from graphc.index import Linear, flatten, unflatten
from graphc.ir import OPERATORS, Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    Shape,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    known_sizes,
    per_output,
)
from graphc.ops.conv import static_sizes, transposed
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.indexing import GatherElements
from graphc.ops.logic import Equal
from graphc.ops.math import Abs, Sign
from graphc.ops.reduction import expand_like
from graphc.ops.shape import at_run_time, shape_of, value_of
from graphc.ops.slicing import Slice
from graphc.ops.windows import (
    Grid,
    Ints,
    Window,
    check_ints,
    elements_of,
    ending,
    fold,
    positions,
    volume,
    window_sizes,
)
from graphc.types import FLOATS, DType, Tensor, bool_, int8, int32, int64, uint8


class Pool(Op):
    """What pooling ops share: x is (N, C, spatial…), windows are `kernel_shape` wide, y is (N, C, window counts…).

    Attributes:
        kernel_shape, strides, dilations: one entry for each spatial axis.
        pads: padding before each spatial axis, then after each; in place of it, `auto_pad`.
        ceil_mode: keep a last window that reaches past the padding, if it starts before it.
    """

    kernel_shape: Ints
    auto_pad: str = "NOTSET"
    ceil_mode: bool = False
    dilations: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None
    dtypes: ClassVar[frozenset[DType]] = FLOATS

    def pooled(self, x: Value) -> TensorType:
        """The type of y."""
        check_dtype(x, self.dtypes, "x")
        if not self.kernel_shape:
            raise InvalidModel("kernel_shape is empty, expected one entry for each spatial axis")
        check_rank(x, "x", len(self.kernel_shape) + 2)
        grid = self.grid()
        shape = x.shape or tuple(unknown() for _ in range(len(self.kernel_shape) + 2))
        return TensorType(x.dtype, (*shape[:2], *grid.counts(shape[2:])))

    def grid(self) -> Grid:
        return Grid.of(
            self.kernel_shape,
            strides=self.strides, dilations=self.dilations, pads=self.pads, auto_pad=self.auto_pad,
            ceil_mode=self.ceil_mode,
        )  # fmt: skip

    def infer(self, x: Value) -> TensorType | tuple[TensorType, ...]:
        return self.pooled(x)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]) * volume(self.kernel_shape), traffic(xs, ys))


class MaxPool(Pool):
    """y[n,c,p] = max_k x[n, c, p·strides + k·dilations − pads], padding left out. ONNX MaxPool-22.

    The second output has the position of each maximum, the first of equal ones, among all of x's elements in a row.

    Attributes:
        storage_order: 1 counts positions inside of (spatial…) with the first axis running fastest.
        outputs: 2 for the maxima and their positions.
    """

    storage_order: int = 0
    outputs: int = field(default=1, metadata={"onnx": False})
    dtypes = FLOATS | {int8, uint8}

    def infer(self, x: Value) -> TensorType | tuple[TensorType, ...]:
        if self.storage_order not in (0, 1):
            raise InvalidModel(f"storage_order is {self.storage_order}, expected 0 or 1")
        y = self.pooled(x)
        grid = self.grid()
        for k, d, pads in zip(self.kernel_shape, grid.dilations, grid.pads, strict=True):
            if max(pads) > (k - 1) * d:
                raise InvalidModel(f"pads {pads[0]}+{pads[1]} leave windows of {(k - 1) * d + 1} with nothing in them")
        return (y, TensorType(int64, y.shape)) if self.outputs == 2 else y

    def eval(self, x: Array) -> Array | tuple[Array, Array]:
        windows = self.grid().windows(x.shape[2:])
        if self.outputs == 2:
            return _maxima(x, windows, self.storage_order)
        return fold(x, windows, np.maximum, _lowest(x.dtype))

    def element(self, y: TensorType | tuple[TensorType, ...], x: Source) -> Element | tuple[Element, ...]:
        windows, lowest = self.grid().windows(x.shape[2:]), _lowest(x.dtype.numpy)
        count = prod(x.shape[2:])

        def highest(n: Linear, c: Linear, *p: Linear) -> Expr:
            return over("max", self.kernel_shape, lambda *k: x.padded((n, c, *positions(windows, p, k)), lowest))

        def where(n: Linear, c: Linear, *p: Linear) -> Expr:
            best = highest(n, c, *p)

            def place(*k: Linear) -> Expr:
                at = positions(windows, p, k)
                value = x.padded((n, c, *at), lowest)
                is_best = equal(value, best)
                if x.dtype.is_float:  # a NaN is the maximum of its window
                    is_best = is_best | call("isnan", value, dtype=bool_)
                on = reduce(and_, (inside(i, size) for i, size in zip(at, x.shape[2:], strict=True)))
                return select(on & is_best, position(flatten(at, x.shape[2:])), count)

            first = over("min", self.kernel_shape, place)
            at: Linear = bounded(first, 0, count)
            if self.storage_order:
                inner = unflatten(at, x.shape[2:])
                at = flatten(inner[::-1], x.shape[:1:-1])
            return select(first < count, position(flatten((n, c), x.shape[:2]) * count + at), -1)

        return (highest, where) if self.outputs == 2 else highest

    def grad(
        self, dy: Value | tuple[Value | None, ...], y: Value | tuple[Value, ...], x: Value
    ) -> Sequence[Value | None]:
        upstream = per_output(dy)[0]
        if upstream is None:
            return [None]
        if isinstance(y, tuple) and self.storage_order == 0:
            positions = y[1]
        else:
            positions = replace(self, storage_order=0, outputs=2).apply((x,))[1]
        zeros = zeros_like(x).reshape([-1])
        dx = OPERATORS["ScatterAdd"](zeros, positions.reshape([-1]), upstream.reshape([-1]), 0)
        return [dx.reshape(shape_of(x))]


def _lowest(dtype: np.dtype[Any]) -> float:
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -np.inf


def _maxima(x: Array, windows: Sequence[Window], storage_order: int) -> tuple[Array, Array]:
    """The maximum of each window, and where it is."""
    lead, sizes = x.shape[:2], x.shape[2:]
    counts = tuple(w.count for w in windows)
    check_tensor((*lead, *counts), 8, "the positions of maxima")
    y: Array = np.full((*lead, *counts), _lowest(x.dtype), x.dtype)
    positions: Array = np.full((*lead, *counts), -1, np.int64)
    order = range(len(sizes)) if storage_order else range(len(sizes))[::-1]
    steps = dict(zip(order, np.cumprod([1, *(sizes[i] for i in order)]).tolist(), strict=False))
    planes = np.arange(volume(lead)).reshape(*lead, *(1 for _ in sizes)) * volume(sizes)
    for _, to, at in elements_of(windows):
        inside = np.zeros((), np.int64)
        for i, (s, n) in enumerate(zip(at, sizes, strict=True)):
            inside = inside[..., None] + np.arange(n)[s] * steps[i]
        values, best, where = x[ending(at)], y[ending(to)], positions[ending(to)]
        # A NaN is the maximum of its window, as for np.maximum.
        better = (values > best) | (where < 0) | ((values != values) & (best == best))
        np.copyto(best, values, where=better)
        np.copyto(where, planes + inside, where=better)
    return y, positions


class AveragePool(Pool):
    """y[n,c,p] = (Σ_k x[n, c, p·strides + k·dilations − pads]) / number of elements. ONNX AveragePool-22.

    Attributes:
        count_include_pad: padding counts among the elements; what `ceil_mode` adds behind it does not.
    """

    count_include_pad: bool = False

    def _counts(self, windows: Sequence[Window]) -> Array:
        """The number of elements of each window; 1 in place of 0, so that the average of nothing is 0."""
        if not self.count_include_pad:
            return np.maximum(window_sizes(windows), 1)
        pads = self.grid().pads
        if self.auto_pad.startswith("SAME"):
            pads = tuple((w.before, max(w.after, 0)) for w in windows)
        return np.maximum(window_sizes(windows, pads), 1)

    def eval(self, x: Array) -> Array:
        windows = self.grid().windows(x.shape[2:])
        total = fold(widen(x), windows, np.add, 0)
        total /= self._counts(windows).astype(total.dtype)
        return total.astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source) -> Element:
        windows = self.grid().windows(x.shape[2:])
        counts = self._counts(windows)
        whole = counts.size and (counts == counts.flat[0]).all()

        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            total = over("sum", self.kernel_shape, lambda *k: wide(x.padded((n, c, *positions(windows, p, k)))))
            size: Expr | float = float(counts.flat[0]) if whole else cast(self._count(windows, p), total.dtype)
            return cast(total / size, y.dtype)

        return element

    def _count(self, windows: Sequence[Window], p: Sequence[Linear]) -> Expr:
        """The number of elements of the window at `p`, as `_counts` has it."""
        pads = self.grid().pads if self.count_include_pad else ((0, 0),) * len(windows)
        if self.count_include_pad and self.auto_pad.startswith("SAME"):
            pads = tuple((w.before, max(w.after, 0)) for w in windows)

        def one(*k: Linear) -> Expr:
            at = positions(windows, p, k)
            on = [inside(i + b, w.size + b + a) for i, w, (b, a) in zip(at, windows, pads, strict=True)]
            return select(reduce(and_, on), constant(1, int32), 0)

        return call("max", over("sum", self.kernel_shape, one), 1)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        windows = self.grid().windows(static_sizes(x))
        return [_spread(dy / _like(self._counts(windows), x), windows, x)]


class LpPool(Pool):
    """y[n,c,p] = (Σ_k |x[n, c, p·strides + k·dilations − pads]|^p)^(1/p). ONNX LpPool-22."""

    p: int = 2

    def infer(self, x: Value) -> TensorType:
        _check_power(self.p)
        return self.pooled(x)

    def eval(self, x: Array) -> Array:
        windows = self.grid().windows(x.shape[2:])
        total = fold(_power(widen(x), self.p), windows, np.add, 0)
        return _root(total, self.p).astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source) -> Element:
        windows = self.grid().windows(x.shape[2:])

        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            def term(*k: Linear) -> Expr:
                return power(wide(x.padded((n, c, *positions(windows, p, k)))), self.p)

            return cast(root(over("sum", self.kernel_shape, term), self.p), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        windows = self.grid().windows(static_sizes(x))
        outer, inner = _norm_slopes(dy, y, x, self.p)
        return [inner * _spread(outer, windows, x)]


def _check_power(p: int) -> None:
    if p < 1:
        raise InvalidModel(f"p is {p}, expected at least 1")


def _power(x: Array, p: int) -> Array:
    """|x|^p."""
    return np.square(x) if p == 2 else np.power(np.abs(x), p)


def _root(x: Array, p: int) -> Array:
    """x^(1/p)."""
    return np.sqrt(x) if p == 2 else np.power(x, 1 / p)


def power(x: Expr, p: int) -> Expr:
    """|x|^p, p ≥ 1, by squaring."""
    result: Expr | None = None
    square = x if p % 2 == 0 else call("abs", x)
    while True:
        if p & 1:
            result = square if result is None else result * square
        p >>= 1
        if not p:
            assert result is not None
            return result
        square = square * square


def root(x: Expr, p: int) -> Expr:
    """x^(1/p), x ≥ 0."""
    if p <= 2:
        return x if p == 1 else call("sqrt", x)
    return call("pow", x, 1 / p)


def _norm_slopes(dy: Value, y: Value, x: Value, p: int) -> tuple[Value, Value]:
    """(dy · y^(1−p), x · |x|^(p−2)), whose product is the gradient of y = (Σ|x|^p)^(1/p); zero where y is zero."""
    if p == 1:
        return dy, Sign()(x)
    nonzero = y + Equal()(y, _like(0, y)).cast(y.dtype)  # where y is 0, so is x, and any divisor but 0 is right
    slope = x if p == 2 else x * Abs()(x) ** (p - 2)
    return (dy / nonzero if p == 2 else dy / nonzero ** (p - 1)), slope


def _like(array: Array | float, x: Value) -> Value:
    """A constant in the element type of `x`."""
    return const(Tensor(np.asarray(array).astype(x.dtype.numpy), x.dtype))


def _spread(dy: Value, windows: Sequence[Window], x: Value) -> Value:
    """The adjoint of the sum over windows: each dy is added to every element of its window."""
    counts, kernel = [w.count for w in windows], [w.kernel for w in windows]
    flat = dy.reshape([-1, 1, *counts])
    ones = _like(np.ones((1, 1, *kernel)), x)
    return transposed(windows, 1).apply((flat, ones))[0].reshape(shape_of(x))


# -- over all spatial axes --------------------------------------------------------------------------------------------
class GlobalPool(Op):
    """What global pooling ops share: y is (N, C, 1, …), one number for each channel."""

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "x")
        check_rank(x, "x", 2, 64)
        return TensorType(x.dtype, None if x.shape is None else (*x.shape[:2], *(1 for _ in x.shape[2:])))

    def eval(self, x: Array) -> Array:
        return self.reduce(widen(x), tuple(range(2, x.ndim))).astype(x.dtype, copy=False)

    def reduce(self, x: Array, axes: Ints) -> Array:
        """The reduction over `axes`, which stay as axes of size 1."""
        raise NotImplementedError(f"{self.name}.reduce")

    def element(self, y: TensorType, x: Source) -> Element:
        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            return cast(self.combined(lambda *k: wide(x[(n, c, *k)]), x.shape[2:]), y.dtype)

        return element

    def combined(self, x: Callable[..., Expr], extents: Ints) -> Expr:
        """The reduction of `x(i, j, …)` over 0 ≤ i < extents[0], 0 ≤ j < extents[1], …"""
        raise CompileError("has no loop-level form", node=self.name)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


class GlobalAveragePool(GlobalPool):
    """y[n,c] = the mean of x[n,c] over all spatial axes. ONNX GlobalAveragePool-22."""

    def reduce(self, x: Array, axes: Ints) -> Array:
        return np.asarray(np.add.reduce(x, axis=axes, keepdims=True) / x.dtype.type(volume(x.shape[2:])))

    def combined(self, x: Callable[..., Expr], extents: Ints) -> Expr:
        return over("sum", extents, x) / float(prod(extents))

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [expand_like(dy / float(volume(static_sizes(x))), x)]


class GlobalMaxPool(GlobalPool):
    """y[n,c] = the maximum of x[n,c] over all spatial axes. ONNX GlobalMaxPool-22."""

    def reduce(self, x: Array, axes: Ints) -> Array:
        return np.asarray(np.max(x, axis=axes, keepdims=True, initial=-np.inf))

    def combined(self, x: Callable[..., Expr], extents: Ints) -> Expr:
        return over("max", extents, x)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        # Shared out evenly among equal maxima, as for ReduceMax.
        mask = Equal()(x, y).cast(x.dtype)
        return [mask * (dy / mask.sum(range(2, x.rank or 0), keepdims=True))]


class GlobalLpPool(GlobalPool):
    """y[n,c] = (Σ |x[n,c]|^p)^(1/p) over all spatial axes. ONNX GlobalLpPool-22."""

    p: int = 2

    def infer(self, x: Value) -> TensorType:
        _check_power(self.p)
        return super().infer(x)

    def reduce(self, x: Array, axes: Ints) -> Array:
        return _root(np.add.reduce(_power(x, self.p), axis=axes, keepdims=True), self.p)

    def combined(self, x: Callable[..., Expr], extents: Ints) -> Expr:
        return root(over("sum", extents, lambda *k: power(x(*k), self.p)), self.p)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        outer, inner = _norm_slopes(dy, y, x, self.p)
        return [inner * outer]


# -- the way back -----------------------------------------------------------------------------------------------------
class MaxUnpool(Op):
    """y[I_j] = x_j in y's elements in a row, 0 elsewhere; I are positions as MaxPool gives them. ONNX MaxUnpool-22.

    y is (N, C, (size − 1)·strides + kernel_shape − pads). With `output_shape` that is the part of y at the start of
    each axis in which the positions count, and zeros follow it, as in ONNX's reference and test data.
    """

    kernel_shape: Ints
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(self, x: Value, indices: Value, output_shape: Value | None = None) -> TensorType:
        check_dtype(x, FLOATS, "x")
        check_dtype(indices, {int64}, "indices")
        rank = len(self.kernel_shape)
        check_rank(x, "x", rank + 2)
        check_rank(indices, "indices", rank + 2)
        for m, n in zip(x.shape or (), indices.shape or (), strict=False):
            if isinstance(m, int) and isinstance(n, int) and m != n:
                raise ShapeError(f"x and indices differ in shape: {x.tensor}, {indices.tensor}")
        sizes = self._spread(x.shape or tuple(unknown() for _ in range(rank + 2)))
        if output_shape is None:
            return TensorType(x.dtype, sizes)
        check_same_dtype(indices, output_shape)
        check_rank(output_shape, "output_shape", 1)
        if output_shape.dims is None:
            return TensorType(x.dtype, tuple(unknown() for _ in range(rank + 2)))
        return TensorType(x.dtype, _surrounding(sizes, tuple(output_shape.dims.tolist())))

    def _spread(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """The sizes of that part of y in which the positions count."""
        rank = len(self.kernel_shape)
        kernel = check_ints(self.kernel_shape, "kernel_shape", rank, 1)
        strides = check_ints(self.strides, "strides", rank, 1)
        pads = check_ints(self.pads, "pads", 2 * rank, 0)
        sizes = [(n - 1) * strides[i] + kernel[i] - pads[i] - pads[rank + i] for i, n in enumerate(shape[2:])]
        return (*shape[:2], *sizes)

    def eval(self, x: Array, indices: Array, output_shape: Array | None = None) -> Array:
        at_run_time(self.infer, *(value_of(a) for a in (x, indices, output_shape) if a is not None))
        part = tuple(int(n) for n in self._spread(x.shape))  # type: ignore[arg-type]
        shape = part
        if output_shape is not None:
            given = tuple(int(n) for n in output_shape)
            shape = tuple(int(n) for n in at_run_time(_surrounding, part, given))  # type: ignore[arg-type]
        check_tensor(shape, x.itemsize, "the unpooled tensor")
        spread: Array = np.zeros(volume(part), x.dtype)
        at = indices.reshape(-1)
        if at.size and not 0 <= at.min() <= at.max() < spread.size:
            raise ExecutionError(
                f"positions from {at.min()} to {at.max()}, valid 0..{spread.size - 1} for {list(part)}"
            )
        spread[at] = x.reshape(-1)
        if shape == part:
            return spread.reshape(part)
        y: Array = np.zeros(shape, x.dtype)
        y[tuple(map(slice, part))] = spread.reshape(part)
        return y

    def element(self, y: TensorType, x: Source, indices: Source, output_shape: Source | None = None) -> Scatter:
        part = tuple(int(n) for n in self._spread(x.shape))  # type: ignore[arg-type]
        if 0 in part and 0 not in x.shape:
            raise CompileError("there is no place to write to")
        return Scatter(
            lambda *i: constant(0, y.dtype),
            x.shape,
            lambda *i: unflatten(as_position(indices[i], volume(part)), part),
            lambda *i: x[i],
        )

    def grad(
        self, dy: Value, y: Value, x: Value, indices: Value, output_shape: Value | None = None
    ) -> Sequence[Value | None]:
        part = self._spread(known_sizes(x, *range(x.rank or 0))) if output_shape is not None else None
        if part is not None and part != y.shape:
            dy = Slice().apply((dy, const(np.zeros(len(part), np.int64)), const(np.array(part, np.int64))))[0]
        dx = GatherElements(0).apply((dy.reshape([-1]), indices.reshape([-1])))[0].reshape(shape_of(x))
        return [dx, None, None][: 2 if output_shape is None else 3]


def _surrounding(part: Shape, shape: Shape) -> Shape:
    """`shape`, the output_shape of a MaxUnpool. Raises `ShapeError` unless it has room for `part`."""
    fits = [not (isinstance(m, int) and isinstance(n, int)) or m <= n for m, n in zip(part, shape, strict=False)]
    if len(part) != len(shape) or not all(fits):
        listed = [f"[{','.join(map(str, sizes))}]" for sizes in (shape, part)]
        raise ShapeError(f"output_shape is {listed[0]}, expected rank {len(part)} and at least {listed[1]}")
    return shape
