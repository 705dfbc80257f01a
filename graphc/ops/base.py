"""What op families share: checks for `infer`, constants, and the gradient of broadcasting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphc.dims import Dim, SymDim
from graphc.errors import CompileError, InvalidModel, ShapeError, TypeMismatch
from graphc.expr import Element, Expr, Source
from graphc.ir import OPERATORS, Op, Operand, Value
from graphc.types import Array, DType, Shape, Tensor, TensorType, broadcast

__all__ = [
    "Array", "Binary", "Constant", "Dim", "InvalidModel", "Op", "Operand", "Shape", "ShapeError", "SymDim", "Tensor",
    "TensorType", "TypeMismatch", "Unary", "Value", "check_dtype", "check_rank", "check_same_dtype", "const",
    "known_sizes", "lift", "normalize_axes", "normalize_axis", "per_output", "static_shape", "unbroadcast",
]  # fmt: skip


# -- constants --------------------------------------------------------------------------------------------------------
class Constant(Op):
    """`value`. ONNX Constant-13, and the form in which initialisers enter the graph."""

    value: Tensor

    def infer(self) -> TensorType:
        return self.value.type

    def contents(self, xs: object, types: object) -> Array | None:
        # Reading a lazy or large weight here would load it for nothing.
        return self.value.array if self.value.size <= 4096 else None

    def eval(self) -> Array:
        return self.value.array

    def grad(self, dy: Value, y: Value) -> Sequence[Value | None]:
        return []


def const(array: npt.ArrayLike | Tensor, dtype: DType | None = None, name: str = "") -> Value:
    """A constant value of `array`, converted to `dtype` if one is given."""
    tensor = array if isinstance(array, Tensor) else Tensor(array, dtype)
    return Constant(tensor).apply((), name)[0]


def lift(operand: Operand | Value, like: Value) -> Value:
    """`operand` itself, or the number `operand` as a 0-d constant of `like`'s dtype."""
    return operand if isinstance(operand, Value) else const(np.asarray(operand, like.dtype.numpy), like.dtype)


# -- checks -----------------------------------------------------------------------------------------------------------
def check_dtype(x: Value, allowed: Iterable[DType], what: str) -> None:
    """Raise `TypeMismatch` unless `x`'s element type is one of `allowed`."""
    if x.dtype not in allowed:
        names = ", ".join(sorted(d.short for d in allowed))
        raise TypeMismatch(f"{what} is {x.tensor}, expected one of {names}", value=x.name)


def check_same_dtype(*xs: Value | None) -> None:
    """Raise `TypeMismatch` unless all values have one element type; ONNX converts nothing implicitly."""
    given = [x for x in xs if x is not None]
    if any(x.dtype is not given[0].dtype for x in given[1:]):
        raise TypeMismatch(
            f"element types differ: {', '.join(str(x.tensor) for x in given)}", hint="Insert a Cast on one of them"
        )


def check_rank(x: Value, what: str, least: int, most: int | None = None) -> None:
    """Raise `ShapeError` unless the rank of `x`, where known, is from `least` to `most` (default: `least` exactly)."""
    most = least if most is None else most
    if x.shape is not None and not least <= len(x.shape) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ShapeError(f"{what} is {x.tensor}, expected rank {wanted}", value=x.name)


def normalize_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises `ShapeError` when it is not in [-rank, rank)."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is out of range for rank {rank}, valid {-rank}..{rank - 1}")
    return axis + rank if axis < 0 else axis


def normalize_axes(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Each axis counted from the front. Raises `ShapeError` when one is out of range or there twice."""
    result = tuple(normalize_axis(int(a), rank) for a in axes)
    if len(set(result)) < len(result):
        raise ShapeError(f"axes {list(result)} name one axis twice")
    return result


def static_shape(x: Value) -> tuple[int, ...] | None:
    """The shape as numbers, or None where a dimension is not known."""
    return x.tensor.sizes if x.tensor.is_static else None


# -- gradients --------------------------------------------------------------------------------------------------------
def known_sizes(x: Value, *axes: int) -> tuple[int, ...]:
    """The sizes of `x` along `axes`, which a gradient depends on. Raises `CompileError` where one is not known."""
    sizes = [] if x.shape is None else [n for a in axes if isinstance(n := x.shape[a], int)]
    if x.shape is None or len(sizes) < len(axes):
        raise CompileError(
            f"the gradient needs known sizes, got {x.tensor}",
            hint="Bind the symbolic dimensions with specialize() first",
        )
    return tuple(sizes)


def per_output(given: Any) -> Sequence[Any]:
    """What `grad` is given of an op's outputs, dy or y, with one for each: that of a single output comes alone."""
    return (given,) if isinstance(given, Value) else tuple(given)


def unbroadcast(dy: Value, x: Value) -> Value:
    """The gradient of broadcasting `x` to the shape of `dy`: the sum over the axes that were stretched."""
    if dy.shape is None or x.shape is None:
        raise CompileError("the gradient of a broadcast needs known ranks", hint="Give the graph's inputs shapes")
    lead = len(dy.shape) - len(x.shape)
    axes = list(range(lead))
    for i, d in enumerate(x.shape):
        wide = dy.shape[lead + i]
        if d == 1 and wide != 1:
            axes.append(lead + i)
        elif d != wide and d != 1 and wide != 1 and isinstance(d, SymDim):
            raise CompileError(
                f"the gradient of a broadcast of {x.tensor} to {dy.tensor} depends on run-time sizes",
                hint="Bind the symbolic dimensions with specialize() first",
            )
    if axes:
        dy = OPERATORS["ReduceSum"](dy, axes, keepdims=True)
    return OPERATORS["Reshape"](dy, x.shape) if lead else dy


# -- element-wise families --------------------------------------------------------------------------------------------
class Unary(Op):
    """y_i = f(x_i), one element type for both. A subclass sets `dtypes` and defines `eval` and `grad`."""

    dtypes: ClassVar[frozenset[DType]]

    def scalar(self, x: Expr) -> Expr:
        """f of one element."""
        raise CompileError("has no loop-level form", node=self.name)

    def element(self, y: TensorType, x: Source) -> Element:
        return lambda *i: self.scalar(x[i])

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, self.dtypes, "input")
        return x.tensor


class Binary(Op):
    """z_i = f(x_i, y_i) with broadcasting, one element type for both inputs. A subclass sets `dtypes`."""

    dtypes: ClassVar[frozenset[DType]]
    result: ClassVar[DType | None] = None  # the output's element type, where it is not the inputs'

    def scalar(self, a: Expr, b: Expr) -> Expr:
        """f of two elements."""
        raise CompileError("has no loop-level form", node=self.name)

    def element(self, y: TensorType, a: Source, b: Source) -> Element:
        return lambda *i: self.scalar(a.broadcast(i), b.broadcast(i))

    def infer(self, a: Value, b: Value) -> TensorType:
        check_same_dtype(a, b)
        check_dtype(a, self.dtypes, "input")
        return TensorType(self.result or a.dtype, broadcast(a.shape, b.shape))
