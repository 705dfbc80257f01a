"""Ops of the domain ai.onnx.ml that choose, join and scale features: matrices (N, F), or vectors (F)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, bounded, call, cast, constant, equal, guard, over, position, select
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank, check_same_dtype, const, known_sizes
from graphc.ops.indexing import Gather
from graphc.ops.logic import Equal, Identity, IsNaN, where
from graphc.ops.math import Abs, Sqrt
from graphc.ops.ml_encoding import DOMAIN
from graphc.ops.movement import Concat
from graphc.ops.padding import Pad
from graphc.ops.shape import at_run_time, value_of
from graphc.ops.unroll import part
from graphc.ops.vjp import decomposed_grad
from graphc.types import DType, count, float32, float64, int32, int64, string, unify

NUMBERS = frozenset({float32, float64, int64, int32})


class FeatureOp(Op):
    """An op on features, of `operations` for each element of the output."""

    domain = DOMAIN
    operations = 1

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(self.operations * elements(ys[0]), traffic(xs, ys))


def features(x: Value) -> Dim | None:
    """The number of features of a matrix (N, F) or a vector (F); None where it is not known."""
    return x.shape[-1] if x.shape else None


def check_features(x: Value, found: int, what: str) -> None:
    """Raise unless `what` has one entry, or one for each feature of a vector or matrix `x`."""
    if found == 1:
        return
    check_rank(x, "x", 1, 2)
    expected = features(x)
    if isinstance(expected, int) and expected != found:
        raise ShapeError(f"{what} has {found} entries, expected 1 or {expected}, for the features of {x.tensor}")


def _by_feature(values: Array, dtype: DType) -> Value:
    """A constant that broadcasts with features: one number, or one for each feature."""
    return const((values.reshape(()) if values.size == 1 else values).astype(dtype.numpy), dtype)


def matrix(x: Value) -> Value:
    """`x` as rows of features; a vector is one row."""
    return x.reshape([1, -1]) if x.rank == 1 else x


class ArrayFeatureExtractor(FeatureOp):
    """z[…, k] = x[…, y_k], y flattened; a vector x is taken as one row. ONNX ai.onnx.ml ArrayFeatureExtractor-1."""

    operations = 0

    def infer(self, x: Value, y: Value) -> TensorType:
        check_dtype(x, NUMBERS | {string}, "x")
        check_dtype(y, {int64}, "y")
        check_rank(x, "x", 1, 1 << 30)
        if x.shape is None:
            return TensorType(x.dtype, None)
        picked = unknown() if y.shape is None else count(y.shape)
        return TensorType(x.dtype, (*(x.shape[:-1] or (1,)), picked))

    def eval(self, x: Array, y: Array) -> Array:
        at = y.reshape(-1)
        wrong = (at < 0) | (at >= x.shape[-1])
        if np.any(wrong):
            raise ExecutionError(f"index {at[wrong][0]} is out of range, valid 0..{x.shape[-1] - 1}")
        check_tensor((*x.shape[:-1], len(at)), x.itemsize)
        return np.take(np.atleast_2d(x), at, -1)

    def element(self, y: TensorType, x: Source, indices: Source) -> Element:
        n = x.shape[-1]
        if not n:
            raise CompileError("there are no features")

        def element(*i: Linear) -> Expr:
            at = indices.at(i[-1])
            valid = guard((at >= 0) & (at < n), at)
            k = bounded(call("min", call("max", valid, 0), n - 1), 0, n - 1)
            return x[(*i[: len(x.shape) - 1], k) if len(x.shape) > 1 else (k,)]

        return element

    def grad(self, dy: Value, y: Value, x: Value, indices: Value) -> Sequence[Value | None]:
        return decomposed_grad(lambda x, at: [Gather(1).apply((matrix(x), at.reshape([-1])))[0]], dy, y, [x, indices])


class FeatureVectorizer(FeatureOp):
    """The inputs side by side as float32, a vector as one row. ONNX ai.onnx.ml FeatureVectorizer-1.

    Attributes:
        inputdimensions: features of each input; more are cut off, fewer are filled with zeros.
    """

    inputdimensions: tuple[int, ...] | None = None
    operations = 0

    def infer(self, *xs: Value) -> TensorType:
        if not xs:
            raise InvalidModel("needs at least one input")
        check_same_dtype(*xs)
        check_dtype(xs[0], NUMBERS, "input")
        widths = self.inputdimensions
        if widths is not None and (len(widths) != len(xs) or min(widths) < 0):
            raise InvalidModel(f"inputdimensions is {list(widths)}, expected a size for each of {len(xs)} inputs")
        rows: Dim = unknown()
        for x in xs:
            check_rank(x, "input", 1, 2)
            if x.shape is not None:
                rows = unify(rows, x.shape[0] if len(x.shape) == 2 else 1)
        sizes = widths or [unknown() if x.shape is None else x.shape[-1] for x in xs]
        total: Dim = 0
        for n in sizes:
            total = total + n
        return TensorType(float32, (rows, total))

    def eval(self, *xs: Array) -> Array:
        rows = [np.atleast_2d(x).astype(np.float32) for x in xs]
        if self.inputdimensions is not None:
            check_tensor((len(rows[0]), sum(self.inputdimensions)), 4, "features")
            rows = [_resized(x, width) for x, width in zip(rows, self.inputdimensions, strict=True)]
        return np.concatenate(rows, 1)

    def element(self, y: TensorType, *xs: Source) -> Element:
        widths = self.inputdimensions or [x.shape[-1] for x in xs]
        ends = list(accumulate(widths))

        def element(i: Linear, j: Linear) -> Expr:
            result: Expr = constant(0, float32)
            for x, width, end in reversed(list(zip(xs, widths, ends, strict=True))):
                k = j - (end - width)
                value = x.padded((i, k) if len(x.shape) == 2 else (k,))
                result = select(position(j) < end, cast(value, float32), result)
            return result

        return element

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._joined, dy, y, xs)

    def _joined(self, *xs: Value) -> list[Value]:
        """The op in simpler ones."""
        widths = self.inputdimensions or [known_sizes(x, -1)[0] for x in xs]
        rows = []
        for x, width in zip(xs, widths, strict=True):
            row = matrix(x if x.dtype is float32 else x.cast(float32))
            (size,) = known_sizes(row, 1)
            row = part(row, 1, 0, min(size, width))
            rows.append(Pad().apply((row, const([0, 0, 0, max(0, width - size)], int64)))[0])
        return [Concat(1).apply(rows)[0]]


def _resized(x: Array, width: int) -> Array:
    return np.pad(x[:, :width], [(0, 0), (0, max(0, width - x.shape[1]))])


class Binarizer(FeatureOp):
    """y = 1 where x > threshold, else 0. ONNX ai.onnx.ml Binarizer-1."""

    threshold: float = 0.0

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, NUMBERS, "x")
        return x.tensor

    def eval(self, x: Array) -> Array:
        return (x > np.float32(self.threshold)).astype(x.dtype)

    def element(self, y: TensorType, x: Source) -> Element:
        threshold = float(np.float32(self.threshold))
        common = float32 if x.dtype is float32 else float64
        return lambda *i: cast(cast(x[i], common) > threshold, y.dtype)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]  # the slope of steps


class Scaler(FeatureOp):
    """y = (x - offset) · scale as float32, each with one entry or one for each feature. ONNX ai.onnx.ml Scaler-1."""

    offset: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    operations = 2

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, NUMBERS, "x")
        for name, values in (("offset", self.offset), ("scale", self.scale)):
            if values is not None:
                check_features(x, len(values), name)
        return TensorType(float32, x.shape)

    def eval(self, x: Array) -> Array:
        at_run_time(self.infer, value_of(x))
        y = x if x.dtype == np.float32 else x.astype(np.float64)
        if self.offset is not None:
            y = y - np.array(self.offset, np.float32)
        if self.scale is not None:
            y = y * np.array(self.scale, np.float32)
        return np.asarray(y, np.float32)

    def decompose(self, x: Value) -> Value:
        common = float32 if x.dtype is float32 else float64
        y = x if x.dtype is common else x.cast(common)
        if self.offset is not None:
            y = y - _by_feature(np.array(self.offset, np.float32), common)
        if self.scale is not None:
            y = y * _by_feature(np.array(self.scale, np.float32), common)
        return y if common is float32 else y.cast(float32)


class Normalizer(FeatureOp):
    """y = x / max_j x_j, x / Σ_j |x_j| or x / √(Σ_j x_j²) of its row, x where that is 0. ONNX ai.onnx.ml Normalizer-1.

    Attributes:
        norm: "MAX", "L1" or "L2".
    """

    norm: str = "MAX"
    operations = 3

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, NUMBERS, "x")
        check_rank(x, "x", 1, 2)
        if self.norm not in ("MAX", "L1", "L2"):
            raise InvalidModel(f"norm is {self.norm!r}, expected MAX, L1 or L2")
        return TensorType(float32, x.shape)

    def eval(self, x: Array) -> Array:
        wide = x.astype(np.float64)
        if not x.size:
            return wide.astype(np.float32)
        if self.norm == "MAX":
            divisor = wide.max(-1, keepdims=True)
        elif self.norm == "L1":
            divisor = np.abs(wide).sum(-1, keepdims=True)
        else:
            divisor = np.sqrt((wide * wide).sum(-1, keepdims=True))
        return (wide / np.where(divisor == 0, 1, divisor)).astype(np.float32)

    def element(self, y: TensorType, x: Source) -> Element:
        def element(*i: Linear) -> Expr:
            def term(k: Linear) -> Expr:
                value = cast(x[(*i[:-1], k)], float64)
                return value if self.norm == "MAX" else call("abs", value) if self.norm == "L1" else value * value

            norm = over("max" if self.norm == "MAX" else "sum", x.shape[-1:], term)
            if self.norm == "L2":
                norm = call("sqrt", norm)
            return cast(cast(x[i], float64) / select(equal(norm, 0), 1, norm), float32)

        return element

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._normalized, dy, y, [x])

    def _normalized(self, x: Value) -> list[Value]:
        """The op in simpler ones."""
        wide = x.cast(float64)
        if self.norm == "MAX":
            divisor = wide.max(-1, keepdims=True)
        elif self.norm == "L1":
            divisor = Abs().apply((wide,))[0].sum(-1, keepdims=True)
        else:
            divisor = Sqrt().apply(((wide * wide).sum(-1, keepdims=True),))[0]
        is_zero = Equal().apply((divisor, const(0.0, float64)))[0]
        return [(wide / where(is_zero, divisor + 1.0, divisor)).cast(float32)]


class Imputer(FeatureOp):
    """x, where it is `replaced_value` the `imputed_value` of its feature; NaN is NaN. ONNX ai.onnx.ml Imputer-1.

    Attributes:
        imputed_value_floats, imputed_value_int64s: one entry, or one for each feature; that of the kind of x is there.
        replaced_value_float, replaced_value_int64: that of the kind of x is read.
    """

    imputed_value_floats: tuple[float, ...] | None = None
    imputed_value_int64s: tuple[int, ...] | None = None
    replaced_value_float: float = 0.0
    replaced_value_int64: int = 0

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, NUMBERS, "x")
        kind = "imputed_value_floats" if x.dtype.is_float else "imputed_value_int64s"
        values = getattr(self, kind)
        if not values:
            raise InvalidModel(f"{kind} is missing, x is {x.tensor}")
        check_features(x, len(values), kind)
        return x.tensor

    def eval(self, x: Array) -> Array:
        at_run_time(self.infer, value_of(x))
        floats = x.dtype.kind == "f"
        values = np.array(self.imputed_value_floats if floats else self.imputed_value_int64s).astype(x.dtype)
        replaced = np.float32(self.replaced_value_float) if floats else self.replaced_value_int64
        missing = np.isnan(x) if replaced != replaced else x == replaced
        return np.where(missing, values, x)

    def decompose(self, x: Value) -> Value:
        if x.dtype.is_float:
            values = _by_feature(np.array(self.imputed_value_floats), x.dtype)
            replaced = float(np.float32(self.replaced_value_float))
            missing = IsNaN()(x) if math.isnan(replaced) else Equal()(x, const(np.array(replaced), x.dtype))
        else:
            values = _by_feature(np.array(self.imputed_value_int64s), x.dtype)
            bounds = np.iinfo(x.dtype.numpy)
            if not bounds.min <= self.replaced_value_int64 <= bounds.max:
                return Identity().apply((x,))[0]
            missing = Equal()(x, const(np.array(self.replaced_value_int64), x.dtype))
        return where(missing, values, x)
