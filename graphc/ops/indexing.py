"""Ops that pick elements by index: Gather, GatherElements, GatherND, and OneHot. Their inverses are in scatter.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import unknown
from graphc.errors import ExecutionError
from graphc.expr import Element, Expr, Source, as_index, cast, equal, position, select
from graphc.index import Linear
from graphc.ir import OPERATORS
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    Dim,
    InvalidModel,
    Op,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    normalize_axis,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.generate import scatter_back, zeros_like
from graphc.ops.reshaping import Unsqueeze
from graphc.ops.shape import COMMON, Movement, check_pick, shape_of
from graphc.types import NUMBERS, bfloat16, int32, int64, unify

INDEX = (int32, int64)


# -- what ops with indices share --------------------------------------------------------------------------------------
def counted(indices: Array, size: int) -> Array:
    """`indices` counted from the front, as int64. Raises `ExecutionError` for one that is not in [-size, size)."""
    found = indices.astype(np.int64)
    wrong = (found < -size) | (found >= size)
    if np.any(wrong):
        first = found[wrong].reshape(-1)[0]
        valid = f"valid {-size}..{size - 1}" if size else "the axis is empty"
        raise ExecutionError(f"index {first} is out of range, {valid}")
    return np.where(found < 0, found + size, found)


def element_positions(indices: Array, shape: Sequence[int], axis: int) -> tuple[Array, ...]:
    """NumPy's index of the elements [i0, …, indices[i0, …, in], …, in], the index taken along `axis`."""
    if any(n > m for i, (n, m) in enumerate(zip(indices.shape, shape, strict=True)) if i != axis):
        raise ExecutionError(f"indices of shape {list(indices.shape)} reach beyond the shape {list(shape)}")
    open_grid = np.ogrid[tuple(slice(n) for n in indices.shape)]
    return (*open_grid[:axis], counted(indices, shape[axis]), *open_grid[axis + 1 :])


def tuple_positions(indices: Array, shape: Sequence[int], batch_dims: int = 0) -> tuple[Array, ...]:
    """NumPy's index of the slices that the last axis of `indices` names, below `batch_dims` common leading axes."""
    depth = indices.shape[-1]
    if batch_dims + depth > len(shape):
        raise ExecutionError(f"indices of shape {list(indices.shape)} name {depth} axes of the shape {list(shape)}")
    columns = [counted(indices[..., j], shape[batch_dims + j]) for j in range(depth)]
    lead = np.ogrid[tuple(slice(n) for n in indices.shape[:-1])][:batch_dims]
    return (*lead, *columns)


def named_places(indices: Source, i: Sequence[Linear], sizes: Sequence[int]) -> list[Linear]:
    """The indices that row `i` of `indices` holds, into axes of `sizes`."""
    return [as_index(indices[[*i, j]], sizes[j]) for j in range(indices.shape[-1])]


def check_elements(data: Value, indices: Value, axis: int) -> None:
    """Check the types of ops that index single elements along `axis`."""
    check_dtype(data, COMMON, "data")
    check_dtype(indices, INDEX, "indices")
    if data.shape is None or indices.shape is None:
        return
    if len(data.shape) != len(indices.shape):
        raise ShapeError(f"ranks differ: data {data.tensor}, indices {indices.tensor}")
    axis = normalize_axis(axis, len(data.shape))
    for i, (n, m) in enumerate(zip(indices.shape, data.shape, strict=True)):
        if i != axis and isinstance(n, int) and isinstance(m, int) and n > m:
            raise ShapeError(f"indices {indices.tensor} reach beyond data {data.tensor} on axis {i}")


def slice_shape(data: Value, indices: Value, batch_dims: int = 0) -> Sizes | None:
    """The sizes of the slices that `indices` name in `data`, each slice's own sizes last; None where not known."""
    check_dtype(data, COMMON, "data")
    check_dtype(indices, (int64,), "indices")
    check_rank(indices, "indices", batch_dims + 1, 1 << 30)
    check_rank(data, "data", batch_dims + 1, 1 << 30)
    if batch_dims < 0:
        raise InvalidModel(f"batch_dims is {batch_dims}, expected 0 or more")
    if data.shape is None or indices.shape is None:
        return None
    for i in range(batch_dims):
        try:
            unify(data.shape[i], indices.shape[i])
        except ShapeError:
            raise ShapeError(f"batch axis {i} differs: data {data.tensor}, indices {indices.tensor}") from None
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        return None
    if not 1 <= depth <= len(data.shape) - batch_dims:
        raise ShapeError(
            f"the last axis of indices {indices.tensor} names {depth} axes of data {data.tensor}, "
            f"expected 1..{len(data.shape) - batch_dims}"
        )
    return (*indices.shape[:-1], *data.shape[batch_dims + depth :])


# -- ops --------------------------------------------------------------------------------------------------------------
class Gather(Movement):
    """y[p, i, q] = x[p, indices[i], q], the index taken along `axis`; negative ones from the end. ONNX Gather-13."""

    axis: int = 0

    def infer(self, data: Value, indices: Value) -> TensorType:
        check_dtype(data, COMMON, "data")
        check_dtype(indices, INDEX, "indices")
        check_rank(data, "data", 1, 1 << 30)
        if data.shape is None or indices.shape is None:
            return TensorType(data.dtype, None)
        axis = normalize_axis(self.axis, len(data.shape))
        return TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))

    def eval(self, data: Array, indices: Array) -> Array:
        return np.take(data, counted(indices, data.shape[self.axis]), self.axis)

    def element(self, y: TensorType, data: Source, indices: Source) -> Element:
        check_pick(data, indices)
        axis, picked = normalize_axis(self.axis, len(data.shape)), len(indices.shape)

        def element(*i: Linear) -> Expr:
            at = as_index(indices[i[axis : axis + picked]], data.shape[axis])
            return data[[*i[:axis], at, *i[axis + picked :]]]

        return element

    def grad(self, dy: Value, y: Value, data: Value, indices: Value) -> Sequence[Value | None]:
        if data.rank is None or indices.rank is None:
            return [scatter_back(dy, data, lambda positions: self(positions, indices)), None]
        axis, picked = normalize_axis(self.axis, data.rank), indices.rank
        at = Unsqueeze()(indices if indices.dtype is int64 else indices.cast(int64), const([-1]))
        if axis == 0:
            return [OPERATORS["ScatterNDAdd"](zeros_like(data), at, dy), None]
        # The indexed axis goes to the front, where a row is all that one index picks.
        front = [axis, *(i for i in range(data.rank) if i != axis)]
        dy_front = [*range(axis, axis + picked), *(i for i in range(dy.rank or 0) if not axis <= i < axis + picked)]
        added = OPERATORS["ScatterNDAdd"](zeros_like(data.transpose(front)), at, dy.transpose(dy_front))
        return [added.transpose([front.index(i) for i in range(data.rank)]), None]


class GatherElements(Movement):
    """y[i_0, …] = x[i_0, …, indices[i_0, …], …], the index taken along `axis`. ONNX GatherElements-13."""

    axis: int = 0

    def infer(self, data: Value, indices: Value) -> TensorType:
        check_elements(data, indices, self.axis)
        check_rank(data, "data", 1, 1 << 30)
        return TensorType(data.dtype, indices.shape)

    def eval(self, data: Array, indices: Array) -> Array:
        return data[element_positions(indices, data.shape, normalize_axis(self.axis, data.ndim))]

    def element(self, y: TensorType, data: Source, indices: Source) -> Element:
        check_pick(data, indices)
        axis = normalize_axis(self.axis, len(data.shape))

        def element(*i: Linear) -> Expr:
            return data[[*i[:axis], as_index(indices[i], data.shape[axis]), *i[axis + 1 :]]]

        return element

    def grad(self, dy: Value, y: Value, data: Value, indices: Value) -> Sequence[Value | None]:
        return [OPERATORS["ScatterAdd"](zeros_like(data), indices, dy, self.axis), None]


class GatherND(Movement):
    """y[b, i] = x[b, indices[b, i, 0], indices[b, i, 1], …], b over `batch_dims` leading axes. ONNX GatherND-13."""

    batch_dims: int = 0

    def infer(self, data: Value, indices: Value) -> TensorType:
        return TensorType(data.dtype, slice_shape(data, indices, self.batch_dims))

    def eval(self, data: Array, indices: Array) -> Array:
        return np.asarray(data[tuple_positions(indices, data.shape, self.batch_dims)])

    def element(self, y: TensorType, data: Source, indices: Source) -> Element:
        check_pick(data, indices)
        batch, lead = self.batch_dims, len(indices.shape) - 1

        def element(*i: Linear) -> Expr:
            return data[[*i[:batch], *named_places(indices, i[:lead], data.shape[batch:]), *i[lead:]]]

        return element

    def grad(self, dy: Value, y: Value, data: Value, indices: Value) -> Sequence[Value | None]:
        if self.batch_dims:
            return [scatter_back(dy, data, lambda positions: self(positions, indices)), None]
        return [OPERATORS["ScatterNDAdd"](zeros_like(data), indices, dy), None]


class OneHot(Op):
    """y[…, k, …] = values[1] where indices[…] = k (mod depth when negative), else values[0]. ONNX OneHot-28.

    `axis` says where the new axis of size `depth` stands; an index outside [-depth, depth) gives no 1 anywhere.
    """

    axis: int = -1

    def infer(self, indices: Value, depth: Value, values: Value) -> TensorType:
        check_dtype(indices, NUMBERS - {bfloat16}, "indices")
        check_dtype(depth, NUMBERS - {bfloat16}, "depth")
        check_dtype(values, COMMON, "values")
        check_rank(depth, "depth", 0, 1)
        check_rank(values, "values", 1)
        if values.shape is not None and isinstance(values.shape[0], int) and values.shape[0] != 2:
            raise ShapeError(f"values is {values.tensor}, expected two elements, [off, on]")
        if indices.shape is None:
            return TensorType(values.dtype, None)
        axis = normalize_axis(self.axis, len(indices.shape) + 1)
        return TensorType(values.dtype, (*indices.shape[:axis], _depth(depth), *indices.shape[axis:]))

    def eval(self, indices: Array, depth: Array, values: Array) -> Array:
        if depth.size != 1:
            raise ExecutionError(f"depth has {depth.size} elements, expected one")
        size = int(depth.reshape(-1)[0])
        if size < 0:
            raise ExecutionError(f"depth is {size}, expected 0 or more")
        axis = normalize_axis(self.axis, indices.ndim + 1)
        check_tensor((*indices.shape, size), values.dtype.itemsize, "one-hot tensor")
        index = np.expand_dims(indices.astype(np.int64), axis)
        classes = np.arange(size).reshape([size if i == axis else 1 for i in range(indices.ndim + 1)])
        hot = (index == classes) | (index + size == classes)
        return np.asarray(np.where(hot, values[1], values[0]), values.dtype)

    def element(self, y: TensorType, indices: Source, depth: Source, values: Source) -> Element:
        axis = normalize_axis(self.axis, len(indices.shape) + 1)
        size = y.sizes[axis]

        def element(*i: Linear) -> Expr:
            index, place = cast(indices[[*i[:axis], *i[axis + 1 :]]], int64), position(i[axis])
            return select(equal(index, place) | equal(index + size, place), values[1], values[0])

        return element

    def grad(self, dy: Value, y: Value, indices: Value, depth: Value, values: Value) -> Sequence[Value | None]:
        hot = self(indices, depth, const(np.array([0, 1]), values.dtype)).reshape(shape_of(dy))
        on = (dy * hot).sum().reshape([1])
        off = (dy * (1 - hot)).sum().reshape([1])
        # [off, on] without a Concat, whose module is built on this one's neighbours.
        return [None, None, off * const(np.array([1, 0]), dy.dtype) + on * const(np.array([0, 1]), dy.dtype)]


def _depth(depth: Value) -> Dim:
    if depth.dims is not None:
        known = depth.dims.reshape(-1)
    elif depth.const is not None:
        known = depth.const.reshape(-1)
    else:
        return unknown()
    if len(known) != 1:
        raise ShapeError(f"depth is {depth.tensor}, expected one element")
    return known[0] if depth.dims is not None else int(known[0])
