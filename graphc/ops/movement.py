"""Ops that reorder, join, cut and repeat: Transpose, Concat, Split, Tile, ReverseSequence, Compress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np

from graphc.dims import ceildiv, unknown
from graphc.errors import CompileError, ExecutionError
from graphc.expr import Boxes, Element, Expr, Source, bounded, clipped, guard, position, select
from graphc.index import Linear
from graphc.limits import check_tensor, current_limits
from graphc.ops.base import (
    Array,
    Dim,
    InvalidModel,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    normalize_axes,
    normalize_axis,
    per_output,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.generate import scatter_back, zeros_like
from graphc.ops.shape import (
    COMMON,
    Movement,
    at_run_time,
    check_pick,
    entries,
    length,
    shape_of,
    size_of,
    sizes_at_run_time,
    unknown_sizes,
    value_of,
)
from graphc.types import bool_, int64, unify


class Transpose(Movement):
    """y[i_perm0, i_perm1, …] = x[i_0, i_1, …]; without `perm`, the axes in reverse. ONNX Transpose-25."""

    perm: tuple[int, ...] | None = None

    def _order(self, rank: int) -> tuple[int, ...]:
        perm = tuple(range(rank))[::-1] if self.perm is None else self.perm
        if sorted(perm) != list(range(rank)):
            raise ShapeError(f"perm {list(perm)} is not an order of the {rank} axes of the input")
        return perm

    def infer(self, data: Value) -> TensorType:
        if data.shape is None:
            sizes = unknown_sizes(None if self.perm is None else len(self._order(len(self.perm))))
            return TensorType(data.dtype, sizes)
        return TensorType(data.dtype, tuple(data.shape[i] for i in self._order(len(data.shape))))

    def eval(self, data: Array) -> Array:
        return np.transpose(data, self._order(data.ndim))

    def element(self, y: TensorType, data: Source) -> Element:
        perm = self._order(len(data.shape))
        back = [perm.index(axis) for axis in range(len(perm))]
        return lambda *i: data[[i[axis] for axis in back]]

    def grad(self, dy: Value, y: Value, data: Value) -> Sequence[Value | None]:
        if self.perm is None:
            return [Transpose()(dy)]
        return [dy.transpose([self.perm.index(i) for i in range(len(self.perm))])]


class Concat(Movement):
    """y = the inputs one after the other along `axis`. ONNX Concat-13."""

    axis: int

    def infer(self, *inputs: Value) -> TensorType:
        if not inputs:
            raise InvalidModel("needs at least one input")
        check_same_dtype(*inputs)
        check_dtype(inputs[0], COMMON, "input")
        known = [x.shape for x in inputs if x.shape is not None]
        if not known:
            return TensorType(inputs[0].dtype, None)
        rank = len(known[0])
        if any(len(s) != rank for s in known):
            raise ShapeError(f"ranks differ: {_types(inputs)}")
        axis = normalize_axis(self.axis, rank)
        sizes = list(known[0])
        for s in known[1:]:
            try:
                sizes = [unify(a, b) if i != axis else a for i, (a, b) in enumerate(zip(sizes, s, strict=True))]
            except ShapeError:
                raise ShapeError(f"sizes differ outside axis {axis}: {_types(inputs)}") from None
        total: Dim = 0
        for s in known:
            total = total + s[axis]
        sizes[axis] = total if len(known) == len(inputs) else unknown()
        return TensorType(inputs[0].dtype, tuple(sizes))

    def contents(self, xs: Sequence[Value | None], types: Sequence[object]) -> Array | None:
        parts = [None if x is None else x.dims for x in xs]
        known = [p for p in parts if p is not None]
        return np.concatenate(known, self.axis) if len(known) == len(xs) else None

    def eval(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, self.axis)

    def element(self, y: TensorType, *inputs: Source) -> Boxes:
        axis = normalize_axis(self.axis, len(inputs[0].shape))

        def part(x: Source) -> Element:
            return lambda *i: x[i]

        return Boxes(axis, tuple(x.shape[axis] for x in inputs), tuple(map(part, inputs)))

    def grad(self, dy: Value, y: Value, *inputs: Value) -> Sequence[Value | None]:
        if len(inputs) == 1:
            return [dy]
        ranks = [x.rank for x in inputs if x.rank is not None]
        if not ranks:
            raise CompileError("the gradient needs the rank of an input", hint="Give the graph's inputs shapes")
        axis = normalize_axis(self.axis, ranks[0])
        sizes = [size_of(x, axis) for x in inputs]
        lengths = [x.const for x in sizes]
        known = [n for n in lengths if n is not None]
        split = const(np.concatenate(known)) if len(known) == len(sizes) else Concat(0)(*sizes)
        return Split(axis, outputs=len(inputs)).apply((dy, split))


def _types(xs: Sequence[Value]) -> str:
    return ", ".join(str(x.tensor) for x in xs)


class Split(Movement):
    """y_k = the k-th piece of x along `axis`, of size split[k]. ONNX Split-18.

    Without `split`, `num_outputs` pieces of size ceil(n / num_outputs), the last one what is left.

    Attributes:
        outputs: how many pieces there are; 0 for as many as `num_outputs` or a constant `split` says.
    """

    axis: int = 0
    num_outputs: int | None = None
    outputs: int = field(default=0, metadata={"onnx": False})

    def _pieces(self, split: Value | None) -> int:
        """How many outputs there are."""
        found = {n for n in (self.outputs, self.num_outputs, None if split is None else length(split)) if n}
        if len(found) != 1 or (split is None) == (self.num_outputs is None):
            raise InvalidModel(
                f"needs either split or num_outputs, that agree with the outputs: split "
                f"{'absent' if split is None else split.tensor}, num_outputs {self.num_outputs}, {self.outputs} outputs"
            )
        current_limits().check("number of outputs", max(found), "max_nodes")
        return found.pop()

    def infer(self, input: Value, split: Value | None = None) -> tuple[TensorType, ...]:
        check_dtype(input, COMMON, "input")
        if split is not None:
            check_dtype(split, (int64,), "split")
            check_rank(split, "split", 1)
        n = self._pieces(split)
        if input.shape is None:
            return (TensorType(input.dtype, None),) * n
        axis = normalize_axis(self.axis, len(input.shape))
        known = None if split is None else entries(split, "split")
        if split is None:
            parts = even_parts(input.shape[axis], n)
        elif known is None:
            parts = [unknown() for _ in range(n)]
        else:
            parts = check_parts(known, input.shape[axis])
        return tuple(TensorType(input.dtype, (*input.shape[:axis], p, *input.shape[axis + 1 :])) for p in parts)

    def eval(self, input: Array, split: Array | None = None) -> tuple[Array, ...]:
        size = input.shape[self.axis]
        if split is None:
            parts = at_run_time(even_parts, size, self.num_outputs or 0)
        else:
            parts = at_run_time(check_parts, [int(p) for p in split], size)
            if self.outputs and len(parts) != self.outputs:
                raise ExecutionError(f"split {parts} has {len(parts)} entries, expected {self.outputs}")
        return tuple(np.split(input, np.cumsum(np.array(parts, np.int64))[:-1], self.axis))

    def element(
        self, y: TensorType | tuple[TensorType, ...], input: Source, split: Source | None = None
    ) -> tuple[Element, ...]:
        axis = normalize_axis(self.axis, len(input.shape))
        pieces = y if isinstance(y, tuple) else (y,)
        starts = [sum(p.sizes[axis] for p in pieces[:k]) for k in range(len(pieces))]

        def piece(start: int) -> Element:
            return lambda *i: input[[*i[:axis], i[axis] + start, *i[axis + 1 :]]]

        return tuple(piece(s) for s in starts)

    def contents(self, xs: Sequence[Value | None], types: Sequence[object]) -> Array | None:
        data, split = xs[0], xs[1] if len(xs) > 1 else None
        if data is None or data.dims is None or (split is not None and split.const is None):
            return None
        return self.eval(data.dims, None if split is None else split.const)[0]

    def grad(
        self, dy: Value | Sequence[Value | None], y: Value | Sequence[Value], *xs: Value
    ) -> Sequence[Value | None]:
        pieces = zip(per_output(dy), per_output(y), strict=True)
        filled = [zeros_like(o) if d is None else d for d, o in pieces]
        return [Concat(self.axis)(*filled), *([None] * (len(xs) - 1))]


def even_parts(size: Dim, n: int) -> list[Dim]:
    """`size` in `n` parts of ceil(size / n), the last one what is left. Raises `ShapeError` when nothing is left."""
    if n < 1:
        raise ShapeError(f"num_outputs is {n}, expected at least 1")
    part = ceildiv(size, n)
    last = size - part * (n - 1)
    if isinstance(last, int) and last < 0:
        raise ShapeError(f"size {size} cannot be split in {n} parts of {part}")
    return [part] * (n - 1) + [last]


def check_parts(parts: list[Dim], size: Dim) -> list[Dim]:
    """`parts`, which must be non-negative and sum to `size`. Raises `ShapeError`."""
    total: Dim = 0
    for p in parts:
        total = total + p
        if isinstance(p, int) and p < 0:
            raise ShapeError(f"split {parts} has a negative entry")
    if isinstance(total, int) and isinstance(size, int) and total != size:
        raise ShapeError(f"split {parts} sums to {total}, the size is {size}")
    return parts


class Tile(Movement):
    """y = `repeats[i]` copies of x one after the other along each axis i. ONNX Tile-13."""

    def infer(self, input: Value, repeats: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        check_dtype(repeats, (int64,), "repeats")
        check_rank(repeats, "repeats", 1)
        times = entries(repeats, "repeats")
        if times is not None and input.shape is not None:
            return TensorType(input.dtype, _tiled(input.shape, times))
        rank = length(repeats) if input.shape is None else len(input.shape)
        return TensorType(input.dtype, unknown_sizes(rank))

    def eval(self, input: Array, repeats: Array) -> Array:
        times = [int(r) for r in repeats]
        check_tensor(sizes_at_run_time(_tiled, input.shape, times), input.dtype.itemsize, "tiled tensor")
        return np.tile(input, times)

    def element(self, y: TensorType, input: Source, repeats: Source) -> Element:
        return lambda *i: input[[k % n for k, n in zip(i, input.shape, strict=True)]]

    def grad(self, dy: Value, y: Value, input: Value, repeats: Value) -> Sequence[Value | None]:
        if input.rank is None:
            raise CompileError("the gradient needs the rank of the input", hint="Give the graph's inputs shapes")
        if input.rank == 0:
            return [dy, None]
        # y[r0·n0 + i0, …] as [r0, n0, r1, n1, …], summed over the r.
        pairs = Concat(1)(repeats.reshape([-1, 1]), shape_of(input).reshape([-1, 1]))
        return [dy.reshape(pairs.reshape([-1])).sum(list(range(0, 2 * input.rank, 2))), None]


def _tiled(sizes: Sizes, times: Sequence[Dim]) -> Sizes:
    if len(times) != len(sizes):
        raise ShapeError(f"repeats has {len(times)} entries, expected {len(sizes)}, the input's rank")
    if any(isinstance(r, int) and r < 0 for r in times):
        raise ShapeError(f"repeats {list(times)} has a negative entry")
    return tuple(n * r for n, r in zip(sizes, times, strict=True))


class ReverseSequence(Movement):
    """y[t, b] = x[l_b - 1 - t, b] for t < l_b = sequence_lens[b], else x[t, b]. ONNX ReverseSequence-28."""

    on_dims = False
    batch_axis: int = 1
    time_axis: int = 0

    def infer(self, input: Value, sequence_lens: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        check_dtype(sequence_lens, (int64,), "sequence_lens")
        check_rank(input, "input", 2, current_limits().max_rank)
        check_rank(sequence_lens, "sequence_lens", 1)
        if input.shape is not None:
            batch, _ = self._axes(len(input.shape))
            if sequence_lens.shape is not None:
                try:
                    unify(input.shape[batch], sequence_lens.shape[0])
                except ShapeError:
                    raise ShapeError(
                        f"sequence_lens is {sequence_lens.tensor}, expected one entry for each of the "
                        f"{input.shape[batch]} of axis {batch} of {input.tensor}"
                    ) from None
        return input.tensor

    def _axes(self, rank: int) -> tuple[int, int]:
        batch, time = normalize_axes((self.batch_axis, self.time_axis), rank)
        return batch, time

    def eval(self, input: Array, sequence_lens: Array) -> Array:
        at_run_time(self.infer, value_of(input), value_of(sequence_lens))
        batch, time = self._axes(input.ndim)
        steps = input.shape[time]
        if np.any((sequence_lens < 0) | (sequence_lens > steps)):
            raise ExecutionError(f"sequence_lens {sequence_lens.tolist()} has entries outside 0..{steps}")
        x = np.moveaxis(input, (time, batch), (0, 1))
        t = np.arange(steps)[:, None]
        source = np.where(t < sequence_lens, sequence_lens - 1 - t, t)
        return np.moveaxis(x[source, np.arange(x.shape[1])], (0, 1), (time, batch))

    def element(self, y: TensorType, input: Source, sequence_lens: Source) -> Element:
        batch, time = self._axes(len(input.shape))
        steps = input.shape[time]
        check_pick(input, sequence_lens)

        def element(*i: Linear) -> Expr:
            length, t = sequence_lens[i[batch]], position(i[time])
            valid = (length >= 0) & (length <= steps)
            source = clipped(guard(valid, select(t < length, length - 1 - t, t)), steps)
            return input[[bounded(source, 0, steps - 1) if axis == time else k for axis, k in enumerate(i)]]

        return element

    def grad(self, dy: Value, y: Value, input: Value, sequence_lens: Value) -> Sequence[Value | None]:
        return [self(dy, sequence_lens), None]


class Compress(Movement):
    """y = the slices of x along `axis` (of x flattened, when None) where `condition` is true. ONNX Compress-28.

    `condition` may be shorter than the axis: what it does not reach is left out.
    """

    on_dims = False
    axis: int | None = None

    def infer(self, input: Value, condition: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        check_dtype(condition, (bool_,), "condition")
        check_rank(condition, "condition", 1)
        kept: Dim = unknown() if condition.const is None else int(np.count_nonzero(condition.const))
        if self.axis is None:
            return TensorType(input.dtype, (kept,))
        if input.shape is None:
            return TensorType(input.dtype, None)
        axis = normalize_axis(self.axis, len(input.shape))
        self._check(input.shape[axis], None if condition.shape is None else condition.shape[0])
        return TensorType(input.dtype, (*input.shape[:axis], kept, *input.shape[axis + 1 :]))

    def _check(self, size: Dim, entries: Dim | None) -> None:
        if isinstance(size, int) and isinstance(entries, int) and entries > size:
            raise ShapeError(f"condition has {entries} entries for a size of {size}")

    def eval(self, input: Array, condition: Array) -> Array:
        at_run_time(self._check, input.size if self.axis is None else input.shape[self.axis], len(condition))
        return np.compress(condition, input, self.axis)

    def grad(self, dy: Value, y: Value, input: Value, condition: Value) -> Sequence[Value | None]:
        return [scatter_back(dy, input, lambda positions: self(positions, condition)), None]
