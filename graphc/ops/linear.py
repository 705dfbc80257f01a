"""Linear algebra: matrix products and determinants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ShapeError
from graphc.expr import Element, Expr, Source, cast, over, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.limits import current_limits
from graphc.ops.base import (
    Array,
    Dim,
    Op,
    Shape,
    SymDim,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    unbroadcast,
)
from graphc.ops.elementwise import widen
from graphc.ops.indexing import Gather
from graphc.ops.reduction import REDUCIBLE
from graphc.ops.reshaping import Squeeze, Unsqueeze
from graphc.types import FLOATS, broadcast, float64, unify


# -- products ---------------------------------------------------------------------------------------------------------
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
        left, right = widen(a), widen(b)
        if right.ndim == 2 and left.ndim > 2:  # one large product is faster than many small ones
            rows = int(np.prod(left.shape[:-1]))
            product: Array = np.matmul(left.reshape(rows, left.shape[-1]), right)
            product = product.reshape(*left.shape[:-1], right.shape[-1])
        else:
            product = np.asarray(np.matmul(left, right))
        return product.astype(a.dtype, copy=False)

    def element(self, y: TensorType, a: Source, b: Source) -> Element:
        rows, columns = len(a.shape) > 1, len(b.shape) > 1

        def element(*index: Linear) -> Expr:
            i, j = index[: len(index) - columns], index[len(index) - columns :]
            batch, row = i[: len(i) - rows], i[len(i) - rows :]

            def factor(x: Source, batch: tuple[Linear, ...], *own: Linear) -> Expr:
                return wide(x.broadcast((*batch, *own)) if len(x.shape) > 1 else x[own])

            total = over("sum", a.shape[-1:], lambda k: factor(a, batch, *row, k) * factor(b, batch, k, *j))
            return cast(total, y.dtype)

        return element

    def grad(self, dy: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
        if a.shape is None or b.shape is None:
            raise CompileError("the gradient of MatMul needs known ranks", hint="Give the graph's inputs shapes")
        left, right, dz = a, b, dy
        if len(b.shape) == 1:
            right, dz = _unsqueeze(b, -1), _unsqueeze(dz, -1)
        if len(a.shape) == 1:
            left, dz = _unsqueeze(a, -2), _unsqueeze(dz, -2)
        da = dz @ swap(right)
        db = swap(left) @ dz
        inner, columns = right.shape[-2:]  # type: ignore[index]
        flat = all(isinstance(n, int) and n > 0 for n in (inner, columns))
        if flat and right.rank == 2 and left.rank != 2:
            # One product over all rows, not one for each matrix followed by a sum.
            db = swap(left.reshape([-1, inner])) @ dz.reshape([-1, columns])
        if len(a.shape) == 1:
            da = _squeeze(da, -2)
        if len(b.shape) == 1:
            db = _squeeze(db, -1)
        return [unbroadcast(da, a), unbroadcast(db, b)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        a = xs[0]
        inner = 0 if a is None or a.shape is None else a.shape[-1]
        return Cost(2 * elements(ys[0]) * inner, traffic(xs, ys))


def check_inner(a: Value, b: Value, m: Dim, n: Dim) -> None:
    """Raise `ShapeError` unless the sizes that a product sums over can be equal."""
    if isinstance(m, int) and isinstance(n, int) and m != n:
        raise ShapeError(f"inner sizes differ: {a.tensor} @ {b.tensor} ({m} against {n})")


def swap(x: Value) -> Value:
    """`x` with its last two axes swapped."""
    assert x.shape is not None
    rank = len(x.shape)
    return x.transpose([*range(rank - 2), rank - 1, rank - 2])


def _unsqueeze(x: Value, axis: int) -> Value:
    return Unsqueeze().apply((x, const(np.array([axis], np.int64))))[0]


def _squeeze(x: Value, axis: int) -> Value:
    return Squeeze().apply((x, const(np.array([axis], np.int64))))[0]


class Gemm(Op):
    """y = alpha · a' b' + beta · c with a' = aᵀ if `transA` else a, b' likewise, and c broadcast. ONNX Gemm-13."""

    alpha: float = 1.0
    beta: float = 1.0
    transA: bool = False
    transB: bool = False

    def infer(self, a: Value, b: Value, c: Value | None = None) -> TensorType:
        check_same_dtype(a, b, c)
        check_dtype(a, REDUCIBLE, "input")
        check_rank(a, "a", 2)
        check_rank(b, "b", 2)
        m, inner = _sizes(a, self.transA)
        k, n = _sizes(b, self.transB)
        if inner is not None and k is not None:
            check_inner(a, b, inner, k)
        if c is not None:
            check_rank(c, "c", 0, 2)
            rows, columns = (1, 1) if c.shape is None else (1, 1, *c.shape)[-2:]
            try:
                m, n = _at_least(m, rows), _at_least(n, columns)
            except ShapeError as e:
                raise ShapeError(f"c is {c.tensor}, which cannot be broadcast to a product [{m},{n}]") from e
        return TensorType(a.dtype, (unknown() if m is None else m, unknown() if n is None else n))

    def eval(self, a: Array, b: Array, c: Array | None = None) -> Array:
        left, right = widen(a.T if self.transA else a), widen(b.T if self.transB else b)
        y: Array = np.matmul(left, right)
        if self.alpha != 1:
            y = _scaled(y, self.alpha)
        if c is not None and self.beta != 0:
            y += widen(c) if self.beta == 1 else _scaled(widen(c), self.beta)
        return y.astype(a.dtype, copy=False)

    def element(self, y: TensorType, a: Source, b: Source, c: Source | None = None) -> Element:
        inner = a.shape[0 if self.transA else 1]

        def element(i: Linear, j: Linear) -> Expr:
            total = over(
                "sum",
                [inner],
                lambda k: wide(a[(k, i) if self.transA else (i, k)]) * wide(b[(j, k) if self.transB else (k, j)]),
            )
            total = scaled(total, self.alpha)
            if c is not None and self.beta != 0:
                total = total + scaled(wide(c.broadcast((i, j))), self.beta)
            return cast(total, y.dtype)

        return element

    def grad(self, dy: Value, y: Value, a: Value, b: Value, c: Value | None = None) -> Sequence[Value | None]:
        if self.transA:
            da = Gemm(self.alpha, transA=self.transB, transB=True).apply((b, dy))[0]
        else:
            da = Gemm(self.alpha, transB=not self.transB).apply((dy, b))[0]
        if self.transB:
            db = Gemm(self.alpha, transA=True, transB=self.transA).apply((dy, a))[0]
        else:
            db = Gemm(self.alpha, transA=not self.transA).apply((a, dy))[0]
        return [da, db] if c is None else [da, db, unbroadcast(dy if self.beta == 1 else dy * self.beta, c)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        a = xs[0]
        inner = None if a is None else _sizes(a, self.transA)[1]
        return Cost(2 * elements(ys[0]) * (0 if inner is None else inner), traffic(xs, ys))


def _sizes(x: Value, transposed: bool) -> tuple[Dim | None, Dim | None]:
    if x.shape is None:
        return None, None
    rows, columns = x.shape
    return (columns, rows) if transposed else (rows, columns)


def _at_least(size: Dim | None, stretched: Dim) -> Dim | None:
    """`size` with what is known from a size that is broadcast to it. Raises `ShapeError`."""
    if isinstance(stretched, SymDim) or stretched == 1:
        return size
    return stretched if size is None else unify(size, stretched)


def _scaled(x: Array, factor: float) -> Array:
    """factor · x in the element type of x; integers are truncated towards zero."""
    if x.dtype.kind == "f":
        return np.asarray(np.multiply(x, x.dtype.type(factor)))
    return np.multiply(x, x.dtype.type(factor) if factor.is_integer() and factor >= 0 else factor).astype(x.dtype)


def scaled(x: Expr, factor: float) -> Expr:
    """factor · x, as `_scaled`."""
    if factor == 1:
        return x
    if x.dtype.is_float or (factor.is_integer() and factor >= 0):
        return x * (factor if x.dtype.is_float else int(factor))
    return cast(cast(x, float64) * factor, x.dtype)


# -- determinants -----------------------------------------------------------------------------------------------------
class Det(Op):
    """y = det x of each matrix x[…,n,n]; 1 for n = 0. ONNX Det-22."""

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, FLOATS, "input")
        check_rank(x, "input", 2, current_limits().max_rank)
        if x.shape is None:
            return TensorType(x.dtype, None)
        try:
            unify(*x.shape[-2:])
        except ShapeError as e:
            raise ShapeError(f"input is {x.tensor}, expected square matrices", value=x.name) from e
        return TensorType(x.dtype, x.shape[:-2])

    def eval(self, x: Array) -> Array:
        return np.asarray(np.linalg.det(widen(x))).astype(x.dtype, copy=False)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        """∂det/∂x_ij = (-1)^(i+j) times the determinant without row i and column j: no inverse, which may not exist."""
        n = None if x.shape is None else x.shape[-1]
        if x.shape is None or not isinstance(n, int):
            raise CompileError("the gradient of Det needs the size of the matrices")
        if n == 0:
            return [x]
        others = np.array([[k for k in range(n) if k != i] for i in range(n)], np.int64).reshape(n, n - 1)
        rows = Gather(axis=-2).apply((x, const(others)))[0]  # […, i, row, column]
        minors = Gather(axis=-1).apply((rows, const(others)))[0]  # […, i, row, j, column]
        rank = len(x.shape) + 2
        order = [*range(rank - 4), rank - 4, rank - 2, rank - 3, rank - 1]
        determinants = Det().apply((minors.transpose(order),))[0]
        signs = np.where((np.arange(n)[:, np.newaxis] + np.arange(n)) % 2, -1, 1).astype(x.dtype.numpy)
        scaled = determinants * const(signs, x.dtype)
        return [scaled * Unsqueeze().apply((dy, const(np.array([-2, -1], np.int64))))[0]]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        x = xs[0]
        n = 0 if x is None or x.shape is None else x.shape[-1]
        return Cost(2 * elements(x) * n // 3, traffic(xs, ys))
