"""Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import CompileError, ExecutionError, InvalidModel
from graphc.expr import Element, Expr, ExprLike, Source, bounded, call, clipped, position
from graphc.index import IndexLike, Linear
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    Dim,
    ShapeError,
    Tensor,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    normalize_axes,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.generate import scatter_back, zeros_like
from graphc.ops.shape import (
    Movement,
    at_run_time,
    constants,
    entries,
    integers,
    length,
    shape_of,
    sizes_at_run_time,
    unknown_sizes,
)
from graphc.types import int64

MODES = ("constant", "reflect", "edge", "wrap")


class Pad(Movement):
    """y = x with pads[k] elements more before and pads[n + k] after each axis axes[k]. ONNX Pad-25.

    Negative pads take elements away. Without `axes`, `pads` is for all axes.

    Attributes:
        mode: what stands in the new places: "constant" (`constant_value`, by default 0), "edge" (the nearest element),
            "reflect" (mirrored at the first and last element), "wrap" (x repeated).
    """

    on_dims = False
    mode: str = "constant"

    def infer(
        self, data: Value, pads: Value, constant_value: Value | None = None, axes: Value | None = None
    ) -> TensorType:
        if self.mode not in MODES:
            raise InvalidModel(f"mode is {self.mode!r}, expected one of {', '.join(MODES)}")
        check_dtype(pads, (int64,), "pads")
        check_rank(pads, "pads", 1)
        if constant_value is not None:
            check_same_dtype(data, constant_value)
            check_rank(constant_value, "constant_value", 0, 1)
        amounts = entries(pads, "pads")
        listed = None if axes is None else integers(axes, "axes")
        if data.shape is None:
            n = length(pads)
            return TensorType(data.dtype, unknown_sizes(n // 2) if axes is None and n is not None else None)
        if amounts is None or (axes is not None and listed is None):
            return TensorType(data.dtype, unknown_sizes(len(data.shape)))
        return TensorType(data.dtype, padded(data.shape, _amounts(len(data.shape), amounts, listed)))

    def eval(self, data: Array, pads: Array, constant_value: Array | None = None, axes: Array | None = None) -> Array:
        listed = None if axes is None else [int(a) for a in axes.flat]
        # Run-time pads are numbers, which the types of what `infer` shares do not say.
        amounts: Any = at_run_time(_amounts, data.ndim, [int(p) for p in pads], listed)
        sizes = sizes_at_run_time(padded, data.shape, amounts)
        check_tensor(sizes, data.dtype.itemsize, "padded tensor")
        if self.mode == "constant":
            return _surround(data, amounts, sizes, constant_value)
        for axis, (before, after) in enumerate(amounts):
            if before or after:
                data = np.take(data, _source(self.mode, data.shape[axis], before, after), axis)
        return data

    def element(
        self,
        y: TensorType,
        data: Source,
        pads: Source,
        constant_value: Source | None = None,
        axes: Source | None = None,
    ) -> Element:
        rank = len(data.shape)
        given = constants(pads, "pads")
        along = normalize_axes(range(rank) if axes is None else constants(axes, "axes"), rank)
        before, after = [0] * rank, [0] * rank
        for k, axis in enumerate(along):
            before[axis], after[axis] = given[k], given[len(along) + k]
        if self.mode == "constant":

            def surrounded(*i: Linear) -> Expr:
                fill: ExprLike = 0 if constant_value is None else constant_value.at(0)
                return data.padded([k - b for k, b in zip(i, before, strict=True)], fill)

            return surrounded
        kept = [(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, data.shape, strict=True)]
        if any(low >= high and n for (low, high), n in zip(kept, y.sizes, strict=True)):
            raise CompileError(f"an axis with no elements padded in mode {self.mode!r}")

        def element(*i: Linear) -> Expr:
            return data[
                [
                    _place(self.mode, k - max(b, 0), low, high) if b or a else k
                    for k, b, a, (low, high) in zip(i, before, after, kept, strict=True)
                ]
            ]

        return element

    def grad(self, dy: Value, y: Value, data: Value, pads: Value, *rest: Value | None) -> Sequence[Value | None]:
        value, axes = (*rest, None, None)[:2]
        none = [None] * len(rest)
        if self.mode != "constant":
            return [scatter_back(dy, data, lambda positions: self(positions, pads, None, axes)), None, *none]
        opposite = const(-pads.const) if pads.const is not None else -pads
        dx = Pad()(dy, opposite, None, axes)
        if value is None:
            return [dx, None, *none]
        one = const(Tensor(np.ones((), data.dtype.numpy), data.dtype))
        # The reshape says that the sizes are those of dy, which types do not show when pads are not known.
        added = Pad()(zeros_like(data), pads, one, axes).reshape(shape_of(dy))
        return [dx, None, (dy * added).sum().reshape(shape_of(value)), *none[1:]]


def _amounts(rank: int, pads: Sequence[Dim], axes: Sequence[int] | None) -> list[tuple[Dim, Dim]]:
    """(before, after) for each axis."""
    chosen = tuple(range(rank)) if axes is None else normalize_axes(axes, rank)
    n = len(chosen)
    if len(pads) != 2 * n:
        raise ShapeError(f"pads {list(pads)} has {len(pads)} entries, expected {2 * n}, two for each of {n} axes")
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * rank
    for k, axis in enumerate(chosen):
        amounts[axis] = (pads[k], pads[n + k])
    return amounts


def padded(sizes: Sizes, amounts: Sequence[tuple[Dim, Dim]]) -> Sizes:
    """The sizes after padding. Raises `ShapeError` when one becomes negative."""
    result = tuple(n + before + after for n, (before, after) in zip(sizes, amounts, strict=True))
    if any(isinstance(n, int) and n < 0 for n in result):
        raise ShapeError(f"pads {list(amounts)} take more away from {list(sizes)} than there is")
    return result


def _surround(data: Array, amounts: Sequence[tuple[int, int]], sizes: Sequence[int], value: Array | None) -> Array:
    """`data` as seen through a window on an endless field of `value`."""
    if value is not None:
        y = np.full(sizes, value.reshape(()), data.dtype)
    else:
        y = np.full(sizes, "", object) if data.dtype == object else np.zeros(sizes, data.dtype)
    source, target = [], []
    for old, new, (before, _) in zip(data.shape, sizes, amounts, strict=True):
        low, high = max(0, -before), max(min(old, new - before), max(0, -before))
        source.append(slice(low, high))
        target.append(slice(low + before, high + before))
    y[tuple(target)] = data[tuple(source)]
    return y


def _place(mode: str, i: Linear, low: int, high: int) -> IndexLike:
    """The index of what stands at `i` along an axis of which [low, high) is kept."""
    n = high - low
    first, last = i.range()
    if n == 1 or (first >= 0 and last < n):
        return low if n == 1 else i + low
    if mode == "wrap":
        return i % n + low
    if mode == "edge":
        return bounded(clipped(position(i), n), 0, n - 1) + low
    period = 2 * (n - 1)
    once = first > -n and last < 2 * n - 1
    distance = call("abs", position(i if once else i % period))
    return bounded(call("min", distance, period - distance), 0, n - 1) + low


def _source(mode: str, size: int, before: int, after: int) -> Array:
    """For each place along an axis after padding, the index that its element comes from."""
    low, high = max(0, -before), size - max(0, -after)
    n = high - low
    places = np.arange(-max(before, 0), n + max(after, 0))
    if n <= 0 and places.size:
        raise ExecutionError(f"an axis with no elements cannot be padded in mode {mode!r}")
    if n <= 0:
        return places
    if mode == "edge":
        return low + np.clip(places, 0, n - 1)
    if mode == "wrap":
        return low + places % n
    period = max(2 * (n - 1), 1)
    folded = places % period
    return low + np.where(folded < n, folded, period - folded)
