"""Linear algebra: matrix products, Einstein sums, determinants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Cost, Op, elements, traffic
from graphc.ops.base import Array, Dim, Shape, TensorType, Value, check_dtype, check_same_dtype
from graphc.ops.reduction import REDUCIBLE, widen
from graphc.types import broadcast


def check_inner(a: Value, b: Value, m: Dim, n: Dim) -> None:
    """Raise `ShapeError` unless the sizes that a product sums over can be equal."""
    if isinstance(m, int) and isinstance(n, int) and m != n:
        raise ShapeError(f"inner sizes differ: {a.tensor} @ {b.tensor} ({m} against {n})")


@dataclass(frozen=True)
class MatMul(Op):
    """y[…,i,j] = Σ_k a[…,i,k] · b[…,k,j], a vector on either side taken as a row or a column. ONNX MatMul-13."""

    def infer(self, a: Value, b: Value) -> TensorType:
        check_same_dtype(a, b)
        check_dtype(a, REDUCIBLE, "input")
        return TensorType(a.dtype, self._shape(a, b))

    def _shape(self, a: Value, b: Value) -> Shape | None:
        for x in (a, b):
            if x.shape == ():
                raise ShapeError(f"a factor has rank 0: {a.tensor} @ {b.tensor}", hint="Use Mul for scalars")
        if a.shape is None or b.shape is None:
            return None
        check_inner(a, b, a.shape[-1], b.shape[0] if len(b.shape) == 1 else b.shape[-2])
        batch = broadcast(a.shape[:-2], b.shape[:-2])
        assert batch is not None
        rows = a.shape[-2:-1] if len(a.shape) > 1 else ()
        columns = b.shape[-1:] if len(b.shape) > 1 else ()
        return (*batch, *rows, *columns)

    def eval(self, a: Array, b: Array) -> Array:
        return matmul(a, b)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        a = xs[0]
        inner = 0 if a is None or a.shape is None else a.shape[-1]
        return Cost(2 * elements(ys[0]) * inner, traffic(xs, ys))


def matmul(a: Array, b: Array) -> Array:
    """NumPy's a @ b in `a`'s element type; 16-bit floats are multiplied and summed in float32."""
    left, right = widen(a), widen(b)
    if right.ndim == 2 and left.ndim > 2:  # one large product is faster than many small ones
        rows = int(np.prod(left.shape[:-1]))
        product = np.matmul(left.reshape(rows, left.shape[-1]), right).reshape(*left.shape[:-1], right.shape[-1])
    else:
        product = np.asarray(np.matmul(left, right))
    return product.astype(a.dtype, copy=False)
