"""Shape and Size, and what ops that read shapes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ExecutionError, ShapeError
from graphc.expr import Element, Expr, Source, constant, equal, position, select
from graphc.index import Linear, flatten
from graphc.ir import Cost, traffic
from graphc.limits import current_limits
from graphc.ops.base import Array, Dim, Op, SymDim, TensorType, Value, check_dtype, const, static_shape
from graphc.ops.base import Shape as Sizes
from graphc.types import ALL, COMPLEX, NUMBERS, Type, bool_, count, dtype_of, int32, int64, string

T = TypeVar("T")

COMMON = NUMBERS | COMPLEX | {bool_, string}  # what ops that move elements take: all but the small types


# -- what ops that move elements share --------------------------------------------------------------------------------
class Movement(Op):
    """y's elements are elements of the first input; the other inputs (shapes, axes, …) say which. No arithmetic."""

    on_dims = True

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic((), ys) * 2)  # what is left out is not read

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        if any(x is not None and x.const is None for x in xs[1:]):
            return None
        return super().contents(xs, types)


class View(Movement):
    """The same elements in the same order under another shape: costs nothing."""

    def element(self, y: TensorType, data: Source, *parameters: Source | None) -> Element:
        shape = y.sizes
        return lambda *i: data.at(flatten(i, shape))

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, 0)


def entries(x: Value, what: str) -> list[Dim] | None:
    """The elements of the integer vector `x` (numbers or symbolic dims), or None where they are not known."""
    check_vector(x, what)
    return None if x.dims is None else list(x.dims.flat)


def integers(x: Value, what: str) -> list[int] | None:
    """The elements of the integer vector `x`, or None where one of them is not known."""
    check_vector(x, what)
    return None if x.const is None else [int(v) for v in x.const.flat]


def constants(x: Source, what: str) -> list[int]:
    """The elements of the integer tensor `x`. Raises `CompileError` where they are not known."""
    if x.const is None:
        raise CompileError(f"{what} is known only at run time")
    return [int(v) for v in x.const.flat]


def check_pick(data: Source, indices: Source) -> None:
    """Raise `CompileError` where there are indices, but nothing that they can name: that is an error of the run."""
    if 0 in data.shape and 0 not in indices.shape:
        raise CompileError("there is nothing to pick from")


def check_vector(x: Value, what: str) -> None:
    """Raise unless `x` is a vector of integers (a 0-d one is taken, as models in the wild have it)."""
    check_dtype(x, (int32, int64), what)
    if x.shape is not None and len(x.shape) > 1:
        raise ShapeError(f"{what} is {x.tensor}, expected a vector", value=x.name)


def length(x: Value) -> int | None:
    """How many elements the vector `x` has, or None where that is not known."""
    if x.shape is None or any(isinstance(d, SymDim) for d in x.shape):
        return None
    return int(count(x.shape))  # type: ignore[arg-type]


def unknown_sizes(rank: int | None) -> Sizes | None:
    """A shape of `rank` unknown sizes."""
    if rank is None:
        return None
    current_limits().check("rank", rank, "max_rank")
    return tuple(unknown() for _ in range(rank))


def at_run_time(function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)`; a shape that does not fit is an `ExecutionError`, because it came from data."""
    try:
        return function(*arguments)
    except ShapeError as e:
        raise ExecutionError(e.message, hint=e.hint) from None


def value_of(x: Array) -> Value:
    """A value of the type of `x`: what `infer` checks of symbolic sizes, data is held to by inferring again."""
    return Value(TensorType(dtype_of(x.dtype), x.shape))


def sizes_at_run_time(function: Callable[..., Sizes | None], *arguments: Any) -> tuple[int, ...]:
    """The shape `function(*arguments)`, whose arguments are numbers and no symbols; see `at_run_time`."""
    return tuple(int(n) for n in at_run_time(function, *arguments) or ())  # type: ignore[arg-type]


def shape_of(x: Value) -> Value:
    """The shape of `x`, a constant if it is known."""
    known = static_shape(x)
    return Shape().apply((x,))[0] if known is None else const(np.array(known, np.int64))


def size_of(x: Value, axis: int) -> Value:
    """The size of `x` along `axis` (from the front) as a vector of one element, a constant if it is known."""
    if x.shape is not None and isinstance(x.shape[axis], int):
        return const(np.array([x.shape[axis]], np.int64))
    return Shape(axis, axis + 1).apply((x,))[0]


# -- ops --------------------------------------------------------------------------------------------------------------
class Shape(Op):
    """y = the sizes of x's axes from `start` up to `end`, clamped to the rank. ONNX Shape-25."""

    start: int = 0
    end: int | None = None

    def _part(self, rank: int) -> slice:
        return slice(*slice(self.start, self.end).indices(rank))

    def infer(self, data: Value) -> TensorType:
        sizes = data.shape
        return TensorType(int64, (unknown() if sizes is None else len(sizes[self._part(len(sizes))]),))

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        sizes = xs[0].shape if xs[0] is not None else None
        return None if sizes is None else np.array(sizes[self._part(len(sizes))], object)

    def eval(self, data: Array) -> Array:
        return np.array(data.shape[self._part(data.ndim)], np.int64)

    def element(self, y: TensorType, data: Source) -> Element:
        def element(k: Linear) -> Expr:
            size: Expr = constant(0, int64)
            for axis, n in enumerate(data.shape[self._part(len(data.shape))]):
                size = select(equal(position(k), axis), constant(n, int64), size)
            return size

        return element

    def grad(self, dy: Value, y: Value, data: Value) -> Sequence[Value | None]:
        return [None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic((), ys))


class Size(Op):
    """y = the number of x's elements. ONNX Size-25."""

    def infer(self, data: Value) -> TensorType:
        check_dtype(data, ALL, "input")
        return TensorType(int64, ())

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        sizes = xs[0].shape if xs[0] is not None else None
        return None if sizes is None else np.array(count(sizes), object)

    def eval(self, data: Array) -> Array:
        return np.array(data.size, np.int64)

    def element(self, y: TensorType, data: Source) -> Element:
        return lambda: constant(count(data.shape), int64)

    def grad(self, dy: Value, y: Value, data: Value) -> Sequence[Value | None]:
        return [None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic((), ys))
