"""Ops that write elements by index: ScatterElements, ScatterND, TensorScatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc import expr
from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Expr, Source, as_index, bounded, call, clipped, guard, position, select
from graphc.index import Linear
from graphc.ops.arithmetic import Mod
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    TypeMismatch,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    normalize_axis,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.generate import Range, zeros_like
from graphc.ops.indexing import (
    GatherElements,
    GatherND,
    check_elements,
    element_positions,
    named_places,
    slice_shape,
    tuple_positions,
)
from graphc.ops.logic import Equal, Where
from graphc.ops.reshaping import Expand
from graphc.ops.shape import check_pick, shape_of, size_of
from graphc.types import ALL, COMPLEX, Type, bool_, float6e2m3, float6e3m2, int2, int64, string, uint2, unify

REDUCTIONS: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


class Scatter(Op):
    """y = x, with updates written (or reduced) into it at indices. A subclass says which elements indices name."""

    on_dims: ClassVar[bool] = True

    @property
    def reduction(self) -> str:
        """What becomes of the old element and the update: an attribute of each subclass."""
        raise NotImplementedError

    def positions(self, indices: Array, shape: Sequence[int]) -> tuple[Array, ...]:
        """NumPy's index of the elements that are written."""
        raise NotImplementedError

    def places(self, data: Source, indices: Source, i: Sequence[Linear]) -> list[Linear]:
        """The index of the element that is written with element `i` of the updates."""
        raise NotImplementedError

    def pick(self, x: Value, indices: Value) -> Value:
        """The elements of `x` at `indices`: the op that reads what this one writes."""
        raise NotImplementedError

    def check(self, data: Value, indices: Value, updates: Value, shape: Sizes | None) -> TensorType:
        """The output type, where updates must have `shape`."""
        check_same_dtype(data, updates)
        if self.reduction not in ("none", *REDUCTIONS):
            raise InvalidModel(f"reduction is '{self.reduction}', expected one of none, {', '.join(REDUCTIONS)}")
        refused = {"none": set(), "add": {string}, "mul": {string}}.get(self.reduction, {string, bool_, *COMPLEX})
        if data.dtype in refused:
            raise TypeMismatch(f"data is {data.tensor}, which reduction '{self.reduction}' does not take")
        if shape is not None and updates.shape is not None:
            try:
                if len(shape) != len(updates.shape):
                    raise ShapeError("ranks differ")
                for m, n in zip(shape, updates.shape, strict=True):
                    unify(m, n)
            except ShapeError:
                expected = TensorType(updates.dtype, shape)
                raise ShapeError(f"updates is {updates.tensor}, expected {expected}") from None
        return data.tensor

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        known = xs[1] is not None and xs[1].const is not None and self.reduction == "none"
        return super().contents(xs, types) if known else None

    def eval(self, data: Array, indices: Array, updates: Array) -> Array:
        result = np.array(data)
        at = self.positions(indices, data.shape)
        expected = result[at].shape
        if updates.shape != expected:
            raise ExecutionError(f"updates has shape {list(updates.shape)}, expected {list(expected)}")
        if self.reduction == "none":
            result[at] = updates
        else:
            REDUCTIONS[self.reduction].at(result, at, updates)
        return result

    def element(self, y: TensorType, data: Source, indices: Source, updates: Source) -> expr.Scatter:
        check_pick(data, indices)
        return expr.Scatter(
            lambda *i: data[i],
            updates.shape,
            lambda *i: self.places(data, indices, i),
            lambda *i: updates[i],
            None if self.reduction == "none" else self.reduction,
        )

    def grad(self, dy: Value, y: Value, data: Value, indices: Value, updates: Value) -> Sequence[Value | None]:
        picked = self.pick(dy, indices)
        if self.reduction == "none":
            return [self.apply((dy, indices, zeros_like(updates)))[0], None, picked]
        if self.reduction == "add":
            return [dy, None, picked]
        ones_data, ones = (Expand()(const(np.array(1), x.dtype), shape_of(x)) for x in (data, updates))
        zero = const(np.array(0), data.dtype)
        add = self._reducing("add")
        if self.reduction == "mul":
            factor = self.apply((ones_data, indices, updates))[0]
            # y / u is the product of all other factors of y, unless u = 0: then it is that of the others that are
            # not zero when there is no further zero among them, and zero when there is.
            is_zero = Equal()(updates, zero)
            no_zeros = self.apply((data, indices, Where()(is_zero, ones, updates)))[0]
            zeros = add(zeros_like(data), indices, Where()(is_zero, ones, zeros_like(updates)))
            alone = Equal()(self.pick(zeros, indices), ones)
            others_of_zero = Where()(alone, self.pick(no_zeros, indices), zeros_like(updates))
            nonzero = Where()(is_zero, ones, updates)
            others = Where()(is_zero, others_of_zero, self.pick(y, indices) / nonzero)
            return [dy * factor, None, picked * others]
        # The gradient of a maximum or minimum is shared by all that attain it.
        kept = Where()(Equal()(data, y), ones_data, zeros_like(data))
        won = Where()(Equal()(updates, self.pick(y, indices)), ones, zeros_like(updates))
        share = dy / add(kept, indices, won)
        return [share * kept, None, self.pick(share, indices) * won]

    def _reducing(self, reduction: str) -> Op:
        raise NotImplementedError


class ScatterElements(Scatter):
    """y = x; y[i_0, …, indices[i_0, …], …] = updates[i_0, …], the index along `axis`. ONNX ScatterElements-18.

    Attributes:
        axis: the axis that the indices name.
        reduction: what becomes of the old element and the update: none (the update), add, mul, max or min.
    """

    axis: int = 0
    reduction: str = "none"

    def infer(self, data: Value, indices: Value, updates: Value) -> TensorType:
        check_elements(data, indices, self.axis)
        check_rank(data, "data", 1, 1 << 30)
        return self.check(data, indices, updates, indices.shape)

    def positions(self, indices: Array, shape: Sequence[int]) -> tuple[Array, ...]:
        return element_positions(indices, shape, normalize_axis(self.axis, len(shape)))

    def places(self, data: Source, indices: Source, i: Sequence[Linear]) -> list[Linear]:
        axis = normalize_axis(self.axis, len(data.shape))
        return [*i[:axis], as_index(indices[i], data.shape[axis]), *i[axis + 1 :]]

    def pick(self, x: Value, indices: Value) -> Value:
        return GatherElements(self.axis).apply((x, indices))[0]

    def _reducing(self, reduction: str) -> Op:
        return ScatterElements(self.axis, reduction)


class ScatterND(Scatter):
    """y = x; y[indices[i, 0], indices[i, 1], …] = updates[i], which may be slices. ONNX ScatterND-18.

    Attributes:
        reduction: what becomes of the old element and the update: none (the update), add, mul, max or min.
    """

    reduction: str = "none"

    def infer(self, data: Value, indices: Value, updates: Value) -> TensorType:
        return self.check(data, indices, updates, slice_shape(data, indices))

    def positions(self, indices: Array, shape: Sequence[int]) -> tuple[Array, ...]:
        return tuple_positions(indices, shape)

    def places(self, data: Source, indices: Source, i: Sequence[Linear]) -> list[Linear]:
        lead = len(indices.shape) - 1
        return [*named_places(indices, i[:lead], data.shape), *i[lead:]]

    def pick(self, x: Value, indices: Value) -> Value:
        return GatherND().apply((x, indices))[0]

    def _reducing(self, reduction: str) -> Op:
        return ScatterND(reduction)


class TensorScatter(Op):
    """y = x; y[b, …, write_indices[b] + s, …] = update[b, …, s, …], s along `axis`. ONNX TensorScatter-24.

    The update of a key or value cache. Without `write_indices`, all are 0.

    Attributes:
        mode: "linear", or "circular": positions are taken modulo the size of the cache.
        axis: the sequence axis, not the batch axis 0.
    """

    mode: str = "linear"
    axis: int = -2

    def infer(self, past_cache: Value, update: Value, write_indices: Value | None = None) -> TensorType:
        check_dtype(past_cache, ALL - {float6e2m3, float6e3m2, int2, uint2}, "past_cache")
        check_same_dtype(past_cache, update)
        check_rank(past_cache, "past_cache", 2, 1 << 30)
        check_rank(update, "update", 2, 1 << 30)
        if self.mode not in ("linear", "circular"):
            raise InvalidModel(f"mode is '{self.mode}', expected linear or circular")
        if write_indices is not None:
            check_dtype(write_indices, (int64,), "write_indices")
            check_rank(write_indices, "write_indices", 1)
        if past_cache.shape is not None:
            axis = self._axis(len(past_cache.shape))
            if update.shape is not None:
                self._check_update(past_cache, update, axis)
            if write_indices is not None and write_indices.shape is not None:
                unify(past_cache.shape[0], write_indices.shape[0])
        return past_cache.tensor

    def _axis(self, rank: int) -> int:
        axis = normalize_axis(self.axis, rank)
        if axis == 0:
            raise ShapeError(f"axis is {self.axis}, the batch axis")
        return axis

    def _check_update(self, past_cache: Value, update: Value, axis: int) -> None:
        assert past_cache.shape is not None
        assert update.shape is not None
        fits = len(past_cache.shape) == len(update.shape)
        for i, (m, n) in enumerate(zip(past_cache.shape, update.shape, strict=False)):
            if isinstance(m, int) and isinstance(n, int):
                fits = fits and (n <= m if i == axis else n == m)
        if not fits:
            raise ShapeError(
                f"update is {update.tensor}, expected the shape of past_cache {past_cache.tensor}, "
                f"or shorter along axis {axis}"
            )

    def eval(self, past_cache: Array, update: Array, write_indices: Array | None = None) -> Array:
        axis = self._axis(past_cache.ndim)
        size, steps = past_cache.shape[axis], update.shape[axis]
        first = np.zeros(len(past_cache), np.int64) if write_indices is None else write_indices
        at = first[:, None] + np.arange(steps)
        if self.mode == "circular" and size:
            at = at % size
        elif np.any((at < 0) | (at >= size)):
            raise ExecutionError(
                f"write_indices {first.tolist()} and {steps} steps leave the cache, valid 0..{size - 1}"
            )
        result = np.array(past_cache)
        np.moveaxis(result, axis, 1)[np.arange(len(result))[:, None], at] = np.moveaxis(update, axis, 1)
        return result

    def element(
        self, y: TensorType, past_cache: Source, update: Source, write_indices: Source | None = None
    ) -> Element:
        axis = self._axis(len(past_cache.shape))
        size, steps = past_cache.shape[axis], update.shape[axis]

        def element(*i: Linear) -> Expr:
            """The last of the steps that end up here, or the old element."""
            if steps == 0:
                return past_cache[i]
            step: Expr = position(i[axis])
            if write_indices is not None:
                first = write_indices[i[0]]
                if self.mode == "circular":
                    step = call("mod", step - first, size)
                else:
                    step = guard((first >= 0) & (first <= size - steps), step - first)
            at = bounded(clipped(step, steps), 0, steps - 1)
            written = (step >= 0) & (step < steps)
            return select(written, update[[*i[:axis], at, *i[axis + 1 :]]], past_cache[i])

        return element

    def grad(self, dy: Value, y: Value, past_cache: Value, *others: Value) -> Sequence[Value | None]:
        update, first = others[0], others[1] if len(others) > 1 else None
        rank = past_cache.rank or update.rank
        if rank is None:
            raise CompileError("the gradient needs the rank of an input", hint="Give the graph's inputs shapes")
        axis = self._axis(rank)
        zero, one = const(np.array(0, np.int64)), const(np.array(1, np.int64))
        steps = Range()(zero, size_of(update, axis), one)
        at = steps.reshape([-1 if i == axis else 1 for i in range(rank)])
        if first is not None:
            at = at + first.reshape([-1] + [1] * (rank - 1))
        if self.mode == "circular":
            at = Mod()(at, size_of(past_cache, axis))
        taken = GatherElements(axis)(dy, Expand()(at, shape_of(update)))
        kept = self.apply((dy, zeros_like(update), *others[1:]))[0]
        return [kept, taken, *(None for _ in others[1:])]
