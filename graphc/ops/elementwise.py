"""What the element-wise families share: 16-bit floats, functions of one variable, known contents of small tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Expr, Source, cast, wide
from graphc.ir import MAX_CONTENT, Cost, Value, elements, traffic
from graphc.ops.base import Array, Op, TensorType, Unary, lift
from graphc.types import FLOATS, Type

_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def widen(x: Array) -> Array:
    """`x`, as float32 where it is float16 or bfloat16: the type in which composite functions are computed."""
    return x.astype(np.float32) if x.dtype in _NARROW else x


class Function(Unary):
    """y_i = f(x_i), computed in float32 for 16-bit floats. A subclass sets `function` and defines `grad`.

    Attributes:
        function: f on arrays of float32, float64 or integers.
        operations: arithmetic operations for each element, an elementary function counting as one.
    """

    dtypes = FLOATS
    function: ClassVar[Callable[..., Any]]
    operations: ClassVar[int] = 1

    def scalar(self, x: Expr) -> Expr:
        """f of an expression of element type float32, float64 or an integer."""
        raise CompileError("has no loop-level form", node=self.name)

    def element(self, y: TensorType, x: Source) -> Element:
        return lambda *i: cast(self.scalar(wide(x[i])), y.dtype)

    def eval(self, x: Array) -> Array:
        return np.asarray(self.function(widen(x))).astype(x.dtype, copy=False)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(self.operations * elements(ys[0]), traffic(xs, ys))


def known(x: Value) -> Array | None:
    """What is known of a small tensor: its dims if it has integers, else its elements; None for nothing."""
    if x.dims is not None:
        return x.dims
    return x.const if x.const is not None and x.const.size <= MAX_CONTENT else None


def fold_small(op: Op, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
    """`op.eval` of small known inputs, as an op's `contents`: masks in shape computations need no folding pass."""
    constants = [None if x is None or x.content is None or x.content.size > MAX_CONTENT else x.const for x in xs]
    if any(c is None for c, x in zip(constants, xs, strict=True) if x is not None):
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(op.eval(*constants))
    except ExecutionError:  # the node may stand in a branch that is never taken
        return None
    return result if result.size <= MAX_CONTENT and isinstance(types[0], TensorType) else None


def select(condition: Value, a: Value, b: Value | float, where: Op) -> Value:
    """`where(condition, a, b)`; a number `b` has the type of `a`. Gradients use it to mask without making NaNs."""
    return where.apply((condition, a, b if isinstance(b, Value) else lift(b, a)))[0]
