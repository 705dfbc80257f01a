"""Slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import ceildiv, dim_max, dim_min, provably_nonnegative, unknown
from graphc.expr import Element, Source
from graphc.ops.base import (
    Array,
    Dim,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    normalize_axes,
)
from graphc.ops.base import Shape as Sizes
from graphc.ops.generate import scatter_back, zeros_like
from graphc.ops.padding import Pad
from graphc.ops.shape import COMMON, Movement, at_run_time, constants, entries, integers, length, unknown_sizes
from graphc.types import int32, int64

FAR = 2**31 - 1  # a bound from here on is a way to write "to the end"


class Slice(Movement):
    """y = x[starts : ends : steps] along `axes`, with Python's rules for negative and far bounds. ONNX Slice-13.

    `axes` are by default the first ones, `steps` 1. A step of zero is an error. Unlike in Python, a start before the
    first element is the first element for a negative step too.
    """

    def infer(
        self, data: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
    ) -> TensorType:
        check_dtype(data, COMMON, "data")
        parameters = [x for x in (starts, ends, axes, steps) if x is not None]
        check_same_dtype(*parameters)
        for what, x in (("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps)):
            if x is not None:
                check_dtype(x, (int32, int64), what)
                check_rank(x, what, 1)
        lengths = {n for n in map(length, parameters) if n is not None}
        if len(lengths) > 1:
            given = ", ".join(str(x.tensor) for x in parameters)
            raise ShapeError(f"starts, ends, axes and steps differ in length: {given}")
        if data.shape is None:
            return data.tensor
        rank = len(data.shape)
        listed = integers(axes, "axes") if axes is not None else list(range(lengths.pop())) if lengths else None
        if listed is None:
            return TensorType(data.dtype, unknown_sizes(rank))
        sliced = normalize_axes(listed, rank)
        begin, end = (_entries(x, len(sliced)) for x in (starts, ends))
        by: list[Dim | None] = [1] * len(sliced) if steps is None else _entries(steps, len(sliced))
        sizes = list(data.shape)
        for axis, b, e, s in zip(sliced, begin, end, by, strict=True):
            sizes[axis] = sliced_size(sizes[axis], b, e, s)
        return TensorType(data.dtype, tuple(sizes))

    def eval(
        self, data: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
    ) -> Array:
        return data[at_run_time(_slices, data.shape, starts, ends, axes, steps)]

    def element(
        self,
        y: TensorType,
        data: Source,
        starts: Source,
        ends: Source,
        axes: Source | None = None,
        steps: Source | None = None,
    ) -> Element:
        begin, rank = constants(starts, "starts"), len(data.shape)
        along = normalize_axes(range(len(begin)) if axes is None else constants(axes, "axes"), rank)
        by = [1] * len(begin) if steps is None else constants(steps, "steps")
        first, stride = [0] * rank, [1] * rank
        for axis, b, s in zip(along, begin, by, strict=True):
            n = data.shape[axis]
            first[axis] = min(max(b + n if b < 0 else b, 0), n if s > 0 else n - 1)
            stride[axis] = s
        return lambda *i: data[[k * s + b for k, b, s in zip(i, first, stride, strict=True)]]

    def grad(self, dy: Value, y: Value, data: Value, *parameters: Value | None) -> Sequence[Value | None]:
        none = [None] * len(parameters)
        steps = _static_steps(data, dy, *parameters)
        if steps is None:
            return [scatter_back(dy, data, lambda positions: self(positions, *parameters)), *none]
        return [_spread(dy, data, steps), *none]


def _entries(x: Value, n: int) -> list[Dim | None]:
    known = entries(x, "bounds")
    return [None] * n if known is None else list(known)


def sliced_size(size: Dim, start: Dim | None, end: Dim | None, step: Dim | None) -> Dim:
    """The number of indices in `start : end : step` of an axis of `size`, as exact as what is known allows."""
    if step == 0:
        raise ShapeError("step is 0")
    if start is None or end is None or not isinstance(step, int):
        return unknown()
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(*_slice(size, start, end, step).indices(size)))
    if step < 0:
        # Only the whole axis backwards; other bounds rarely meet symbolic sizes.
        whole = (start == -1 or _is_far(start) or start == size - 1) and isinstance(end, int) and end <= -FAR
        return ceildiv(size, -step) if whole else unknown()
    to_end = _is_far(end) or end == size
    if isinstance(start, int) and start < 0:
        # The last -start elements, or as many as there are.
        return ceildiv(dim_min(-start, size), step) if to_end else unknown()
    if not provably_nonnegative(start):
        return unknown()
    if to_end:
        stop = size
    elif provably_nonnegative(end):
        stop = dim_min(end, size)
    elif isinstance(end, int):
        stop = size + end
    else:
        return unknown()
    return ceildiv(dim_max(stop - start, 0), step)


def _is_far(bound: Dim) -> bool:
    return isinstance(bound, int) and bound >= FAR


def _slice(size: Dim, start: int, end: int, step: int) -> slice:
    """`start : end : step` of an axis of `size` in Python's terms."""
    if step < 0 and isinstance(size, int) and size > 0:
        start = max(start, -size)  # ONNX clamps it to [0, size - 1]; Python would begin, and end, before the axis
    return slice(start, end, step)


def _slices(sizes: Sizes, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> tuple[slice, ...]:
    given = [p for p in (starts, ends, axes, steps) if p is not None]
    if len({len(p) for p in given}) > 1:
        raise ShapeError(f"starts, ends, axes, steps have lengths {[len(p) for p in given]}")
    sliced = normalize_axes(range(len(starts)) if axes is None else axes, len(sizes))
    by = [1] * len(starts) if steps is None else [int(s) for s in steps]
    if 0 in by:
        raise ShapeError(f"steps {by} has a step of 0")
    parts = [slice(None)] * len(sizes)
    for axis, b, e, s in zip(sliced, starts, ends, by, strict=True):
        parts[axis] = _slice(sizes[axis], int(b), int(e), s)
    return tuple(parts)


# -- gradient ---------------------------------------------------------------------------------------------------------
def _static_steps(
    data: Value,
    dy: Value,
    starts: Value | None,
    ends: Value | None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> list[range | None] | None:
    """The indices taken along each axis; None for an axis that is whole, and for all if one depends on data."""
    if data.shape is None or dy.shape is None:
        return None
    known = [None if x is None else x.const for x in (starts, ends, axes, steps)]
    if any(k is None for k, x in zip(known, (starts, ends, axes, steps), strict=True) if x is not None):
        return None
    first, last = known[:2]
    if first is None or last is None:
        return None
    taken: list[range | None] = []
    for size, part in zip(data.shape, _slices(data.shape, first, last, *known[2:]), strict=True):
        if part == slice(None):
            taken.append(None)
        elif isinstance(size, int):
            taken.append(range(*part.indices(size)))
        else:
            return None
    return taken


def _spread(dy: Value, data: Value, taken: Sequence[range | None]) -> Value:
    """Zeros like `data`, with `dy` at the indices `taken`."""
    if any(r is not None and len(r) == 0 for r in taken):
        return zeros_like(data)
    backwards = [axis for axis, r in enumerate(taken) if r is not None and r.step < 0]
    if backwards:
        dy = reverse(dy, backwards)
    before, after = [0] * len(taken), [0] * len(taken)
    for axis, r in enumerate(taken):
        if r is None:
            continue
        step, size = abs(r.step), data.shape[axis] if data.shape is not None else 0
        assert isinstance(size, int)
        if step > 1 and len(r) > 1:
            dy = _interleave(dy, axis, step)
        before[axis] = min(r[0], r[-1])
        after[axis] = size - before[axis] - (len(r) * step if len(r) > 1 else 1)
    if not any(before) and not any(after):
        return dy
    return Pad().apply((dy, const(np.array(before + after, np.int64))))[0]


def _interleave(x: Value, axis: int, step: int) -> Value:
    """`x` with `step - 1` zeros after each element along `axis`."""
    assert x.shape is not None
    column = (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
    room = const(np.array([0, step - 1], np.int64))
    (wide,) = Pad().apply((x.reshape(column), room, None, const(np.array([axis + 1], np.int64))))
    return wide.reshape((*x.shape[:axis], x.shape[axis] * step, *x.shape[axis + 1 :]))


def reverse(x: Value, axes: Sequence[int]) -> Value:
    """`x` backwards along `axes`."""
    n = len(axes)
    last, first, minus = (const(np.full(n, v, np.int64)) for v in (-1, np.iinfo(np.int64).min, -1))
    return Slice().apply((x, last, first, const(np.array(axes, np.int64)), minus))[0]
