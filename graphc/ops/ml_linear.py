"""Linear models of ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.ir import Cost, Op, elements, traffic
from graphc.ops.base import Array, Tensor, TensorType, Value, const
from graphc.ops.indexing import Gather
from graphc.ops.ml_encoding import DOMAIN
from graphc.ops.ml_features import features
from graphc.ops.ml_scores import TRANSFORMS, Classifier, check_choice, in_floats, rows_of, transformed, two_columns
from graphc.ops.ml_transforms import transform
from graphc.ops.ml_transforms import two_columns as two_columns_of
from graphc.ops.ranking import ArgMax
from graphc.types import float32, float64, int64, string


class Linear(Op):
    """An op of x Wᵀ + b, W written down row by row."""

    domain = DOMAIN

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        n = features(xs[0]) if xs[0] is not None else None
        return Cost(2 * elements(ys[-1]) * (1 if n is None else n), traffic(xs, ys))


def check_coefficients(x: Value, found: int, rows: int) -> None:
    """Raise unless `found` coefficients are `rows` for each feature of x."""
    n = features(x)
    if found % rows or (isinstance(n, int) and found != rows * n):
        raise ShapeError(f"there are {found} coefficients, expected {rows} for each feature of {x.tensor}")


def affine(x: Array, coefficients: Sequence[float], intercepts: Sequence[float] | None, rows: int) -> Array:
    """x Wᵀ + b."""
    if len(coefficients) != rows * x.shape[1]:
        raise ExecutionError(f"there are {len(coefficients)} coefficients, expected {rows} for {x.shape[1]} features")
    y = x @ np.array(coefficients, np.float32).reshape(rows, -1).T
    return np.asarray(y if not intercepts else y + np.array(intercepts, np.float32))


def affine_of(x: Value, coefficients: Sequence[float], intercepts: Sequence[float] | None, rows: int) -> Value:
    """`affine` as graph code, in float32; a vector is one row."""
    if x.rank is None:
        raise CompileError("the rank is not known")
    common = float32 if x.dtype is float32 else float64
    x = x if x.dtype is common else x.cast(common)
    x = x.reshape([1, -1]) if x.rank == 1 else x
    weights = np.array(coefficients, np.float32).reshape(rows, -1).T
    y = x @ const(np.ascontiguousarray(weights), common)
    if intercepts:
        y = y + const(np.array(intercepts, np.float32), common)
    return y if common is float32 else y.cast(float32)


class LinearRegressor(Linear):
    """y = x Wᵀ + b, transformed. x is (N, F) or (F), W is (targets, F), y is (N, targets) as float32.

    ONNX ai.onnx.ml LinearRegressor-1. With one target, only the transform PROBIT does anything, as in ONNX Runtime.
    """

    coefficients: tuple[float, ...] | None = None
    intercepts: tuple[float, ...] | None = None
    post_transform: str = "NONE"
    targets: int = 1

    def infer(self, x: Value) -> TensorType:
        rows = rows_of(x)
        check_choice("post_transform", self.post_transform, TRANSFORMS)
        if self.targets < 1 or (self.intercepts and len(self.intercepts) != self.targets):
            raise InvalidModel(f"there are {len(self.intercepts or ())} intercepts and {self.targets} targets")
        check_coefficients(x, len(self.coefficients or ()), self.targets)
        return TensorType(float32, (rows, self.targets))

    def eval(self, x: Array) -> Array:
        scores = affine(in_floats(x), self.coefficients or (), self.intercepts, self.targets)
        return transformed(scores.astype(np.float32), self.post_transform)

    def decompose(self, x: Value) -> Value:
        return transform(affine_of(x, self.coefficients or (), self.intercepts, self.targets), self.post_transform)


class LinearClassifier(Linear, Classifier):
    """The label of the highest score, and the scores x Wᵀ + b, transformed. ONNX ai.onnx.ml LinearClassifier-1.

    x is (N, F) or (F), W is (E, F), the labels are (N), the scores (N, E) as float32. With two classes, W may have a
    single row: its score s stands for the second class, which it is above 0, and the scores are 1 − s and s.
    `multi_class` says how the model was trained, and changes nothing.
    """

    coefficients: tuple[float, ...]
    classlabels_ints: tuple[int, ...] | None = None
    classlabels_strings: tuple[str, ...] | None = None
    intercepts: tuple[float, ...] | None = None
    multi_class: int = 0
    post_transform: str = "NONE"

    def infer(self, x: Value) -> tuple[TensorType, TensorType]:
        rows, classes = rows_of(x), len(self.labels())
        check_choice("post_transform", self.post_transform, TRANSFORMS)
        if classes < 2 or len(self.intercepts or ()) not in ((0, 1, 2) if classes == 2 else (0, classes)):
            raise InvalidModel(f"there are {len(self.intercepts or ())} intercepts for {classes} classes")
        n = features(x)
        if self.intercepts:
            check_coefficients(x, len(self.coefficients), len(self.intercepts))
        elif not (classes == 2 and len(self.coefficients) == n):
            check_coefficients(x, len(self.coefficients), classes)
        return self.types(rows, classes, float32)

    def eval(self, x: Array) -> tuple[Array, Array]:
        labels, x = self.labels(), in_floats(x)
        single = len(labels) == 2 and len(self.coefficients) == x.shape[1]
        scores = affine(x, self.coefficients, self.intercepts, 1 if single else len(labels)).astype(np.float32)
        if single:
            chosen = labels[(scores[:, 0] > 0).astype(np.int64)]
            return chosen, two_columns(scores[:, 0], self.post_transform, probability=True)
        return labels[scores.argmax(1)], transformed(scores, self.post_transform)

    def decompose(self, x: Value) -> tuple[Value, Value]:
        labels = self.labels()
        names = const(Tensor(labels, string)) if labels.dtype == object else const(labels)
        single = len(labels) == 2 and len(self.coefficients) == features(x)
        scores = affine_of(x, self.coefficients, self.intercepts, 1 if single else len(labels))
        if single:
            chosen = (scores > 0).cast(int64).reshape([-1])
            return Gather(0)(names, chosen), two_columns_of(scores, self.post_transform, probability=True)
        return Gather(0)(names, ArgMax(1, False)(scores)), transform(scores, self.post_transform)
