"""Ops that keep the elements and change the shape: Reshape, Flatten, Squeeze, Unsqueeze; and Expand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError
from graphc.expr import Element, Source
from graphc.limits import check_tensor, current_limits
from graphc.ops.base import (
    Array,
    Dim,
    ShapeError,
    SymDim,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    normalize_axes,
    normalize_axis,
    unbroadcast,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.movement import Concat
from graphc.ops.shape import (
    COMMON,
    Movement,
    Shape,
    View,
    at_run_time,
    entries,
    integers,
    length,
    shape_of,
    sizes_at_run_time,
    unknown_sizes,
)
from graphc.types import broadcast, count, int64


class Reshape(View):
    """y = x's elements, in order, in `shape`; -1 stands for what is left, 0 for x's own size there. ONNX Reshape-25.

    Attributes:
        allowzero: take a 0 in `shape` as the size 0.
    """

    allowzero: bool = False

    def infer(self, data: Value, shape: Value) -> TensorType:
        check_dtype(shape, (int64,), "shape")
        check_rank(shape, "shape", 1)
        wanted = entries(shape, "shape")
        if wanted is None:
            return TensorType(data.dtype, unknown_sizes(length(shape)))
        return TensorType(data.dtype, self._sizes(data.shape, wanted))

    def eval(self, data: Array, shape: Array) -> Array:
        return np.reshape(data, sizes_at_run_time(self._sizes, data.shape, [int(n) for n in shape]))

    def grad(self, dy: Value, y: Value, data: Value, shape: Value) -> Sequence[Value | None]:
        return [reshape_like(dy, data), None]

    def _sizes(self, old: Sizes | None, wanted: list[Dim]) -> Sizes:
        """The sizes that `wanted` stands for."""
        holes = [i for i, n in enumerate(wanted) if isinstance(n, int) and n == -1]
        if len(holes) > 1:
            raise ShapeError(f"shape {wanted} has more than one -1")
        if any(isinstance(n, int) and n < -1 for n in wanted):
            raise ShapeError(f"shape {wanted} has a negative size")
        if self.allowzero and holes and 0 in wanted:
            raise ShapeError(f"shape {wanted} has both 0 and -1, which allowzero=1 does not permit")
        new = list(wanted)
        for i, n in enumerate(wanted):
            if n == 0 and not self.allowzero:
                if old is not None and i >= len(old):
                    raise ShapeError(f"shape {wanted} has a 0 at {i}, but the input has only {len(old)} axes")
                new[i] = unknown() if old is None else old[i]
        if old is None:
            return tuple(unknown() if i in holes else n for i, n in enumerate(new))
        for i in holes:
            new[i] = quotient(old, [*new[:i], *new[i + 1 :]], wanted)
        total, got = count(old), count(new)
        if isinstance(total, int) and isinstance(got, int) and total != got:
            raise ShapeError(f"cannot reshape [{_join(old)}] ({total} elements) to {wanted} ({got} elements)")
        return tuple(new)


def quotient(old: Sequence[Dim], rest: Sequence[Dim], wanted: Sequence[Dim]) -> Dim:
    """count(old) / count(rest): the size that -1 stands for. Sizes that occur on both sides cancel first."""
    above = list(old)
    below: list[Dim] = []
    for n in rest:
        if n in above and n != 0:
            above.remove(n)
        else:
            below.append(n)
    top, bottom = count(above), count(below)
    if bottom == 0:
        raise ShapeError(f"shape {list(wanted)} has a -1 beside a size of 0, so that any size would do")
    if isinstance(top, int) and isinstance(bottom, int) and top % bottom:
        raise ShapeError(f"cannot reshape [{_join(old)}] ({count(old)} elements) to {list(wanted)}")
    return top // bottom


def _join(sizes: Sequence[Dim]) -> str:
    return ",".join(map(str, sizes))


def reshape(x: Value, shape: Value | Sequence[Dim]) -> Value:
    """`x` in `shape`, where 0 is the size 0, but beside a -1 it is x's own size there, as in ONNX.

    Symbolic sizes are read from `x` at run time; one that `x` does not have becomes -1.

    Raises `CompileError` when more than one size of `shape` cannot be told that way.
    """
    if isinstance(shape, Value):
        known = shape.const
        return Reshape(allowzero=known is None or -1 not in known).apply((x, shape))[0]
    sizes = list(shape)
    symbolic = [i for i, n in enumerate(sizes) if isinstance(n, SymDim)]
    if len(symbolic) == 1 and 0 not in sizes and -1 not in sizes:
        sizes[symbolic[0]] = -1
        symbolic = []
    if not symbolic:
        allowzero = 0 in sizes and -1 not in sizes
        return Reshape(allowzero).apply((x, const(np.array(sizes, np.int64))))[0]
    parts: list[Value] = []
    for n in sizes:
        if isinstance(n, int):
            parts.append(const(np.array([n], np.int64)))
        elif x.shape is not None and n in x.shape:
            at = x.shape.index(n)
            parts.append(Shape(at, at + 1).apply((x,))[0])
        else:
            parts.append(const(np.array([-1], np.int64)))
    target = Concat(0).apply(parts)[0]
    holes = sum(p.const is not None and int(p.const[0]) == -1 for p in parts)
    if holes > 1:
        raise CompileError(
            f"a reshape of {x.tensor} to [{_join(sizes)}] depends on run-time sizes",
            hint="Bind the symbolic dimensions with specialize() first",
        )
    return Reshape(allowzero=holes == 0).apply((x, target))[0]


def reshape_like(x: Value, like: Value) -> Value:
    """`x` in the shape of `like`."""
    return Reshape(allowzero=True).apply((x, shape_of(like)))[0]


class Flatten(View):
    """y[n, m] = x, with n the product of the sizes before `axis` and m of those after. ONNX Flatten-25."""

    axis: int = 1

    def infer(self, input: Value) -> TensorType:
        if input.shape is None:
            return TensorType(input.dtype, (unknown(), unknown()))
        return TensorType(input.dtype, self._sizes(input.shape))

    def _sizes(self, old: Sizes) -> Sizes:
        rank = len(old)
        axis = rank if self.axis == rank else normalize_axis(self.axis, rank)
        return (count(old[:axis]), count(old[axis:]))

    def eval(self, input: Array) -> Array:
        return np.reshape(input, sizes_at_run_time(self._sizes, input.shape))

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [reshape_like(dy, input)]


class Squeeze(View):
    """y = x without the axes `axes`, which must have size 1; by default without all of size 1. ONNX Squeeze-25."""

    def infer(self, data: Value, axes: Value | None = None) -> TensorType:
        if axes is None:
            if data.shape is None or any(isinstance(n, SymDim) for n in data.shape):
                return TensorType(data.dtype, None)
            return TensorType(data.dtype, tuple(n for n in data.shape if n != 1))
        removed = integers(axes, "axes")
        if removed is not None and data.shape is not None:
            gone = _single(data.shape, removed)
            return TensorType(data.dtype, tuple(n for i, n in enumerate(data.shape) if i not in gone))
        fewer = length(axes)
        if fewer is None or data.shape is None:
            return TensorType(data.dtype, None)
        if fewer > len(data.shape):
            raise ShapeError(f"cannot remove {fewer} axes from {data.tensor}")
        return TensorType(data.dtype, unknown_sizes(len(data.shape) - fewer))

    def eval(self, data: Array, axes: Array | None = None) -> Array:
        if axes is None:
            return np.squeeze(data)
        return np.squeeze(data, at_run_time(_single, data.shape, [int(a) for a in axes.flat]))

    def grad(self, dy: Value, y: Value, data: Value, axes: Value | None = None) -> Sequence[Value | None]:
        return [reshape_like(dy, data), None][: 1 if axes is None else 2]


def _single(sizes: Sizes, axes: Sequence[int]) -> tuple[int, ...]:
    """`axes` counted from the front. Raises `ShapeError` when one has another size than 1."""
    found = normalize_axes(axes, len(sizes))
    for a in found:
        if isinstance(sizes[a], int) and sizes[a] != 1:
            raise ShapeError(f"axis {a} of [{_join(sizes)}] has size {sizes[a]}, expected 1")
    return found


class Unsqueeze(View):
    """y = x with axes of size 1 where `axes` says, in terms of y's rank. ONNX Unsqueeze-25."""

    def infer(self, data: Value, axes: Value) -> TensorType:
        added = integers(axes, "axes")
        more = length(axes)
        if data.shape is None or more is None:
            return TensorType(data.dtype, None)
        if added is None:
            return TensorType(data.dtype, unknown_sizes(len(data.shape) + more))
        current_limits().check("rank", len(data.shape) + more, "max_rank")
        return TensorType(data.dtype, self._sizes(data.shape, added))

    def _sizes(self, old: Sizes, axes: Sequence[int]) -> Sizes:
        rank = len(old) + len(axes)
        added = normalize_axes(axes, rank)
        kept = iter(old)
        return tuple(1 if i in added else next(kept) for i in range(rank))

    def eval(self, data: Array, axes: Array) -> Array:
        return np.reshape(data, sizes_at_run_time(self._sizes, data.shape, [int(a) for a in axes.flat]))

    def grad(self, dy: Value, y: Value, data: Value, axes: Value) -> Sequence[Value | None]:
        return [reshape_like(dy, data), None]


class Expand(Movement):
    """y = x broadcast together with `shape`, either of which may stretch the other. ONNX Expand-13."""

    def infer(self, input: Value, shape: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        check_dtype(shape, (int64,), "shape")
        check_rank(shape, "shape", 1)
        wanted = entries(shape, "shape")
        if wanted is not None:
            return TensorType(input.dtype, _expanded(input.shape, wanted))
        n = length(shape)
        if n is None or input.shape is None:
            return TensorType(input.dtype, None)
        rank = max(n, len(input.shape))
        # Only a size of 1 can be stretched, so that the others are known.
        sizes = list(unknown_sizes(rank) or ())
        for i, size in enumerate(reversed(input.shape), 1):
            if isinstance(size, int) and size != 1:
                sizes[-i] = size
        return TensorType(input.dtype, tuple(sizes))

    def eval(self, input: Array, shape: Array) -> Array:
        sizes = sizes_at_run_time(_expanded, input.shape, [int(n) for n in shape])
        check_tensor(sizes, input.dtype.itemsize, "expanded tensor")
        return np.broadcast_to(input, sizes)

    def element(self, y: TensorType, input: Source, shape: Source) -> Element:
        return lambda *i: input.broadcast(i)

    def grad(self, dy: Value, y: Value, input: Value, shape: Value) -> Sequence[Value | None]:
        return [unbroadcast(dy, input), None]


def _expanded(old: Sizes | None, wanted: list[Dim]) -> Sizes | None:
    if any(isinstance(n, int) and n < 0 for n in wanted):
        raise ShapeError(f"shape {wanted} has a negative size")
    return broadcast(old, tuple(wanted))
