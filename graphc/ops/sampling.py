"""Random tensors. With a `seed`, an op gives the same numbers at each evaluation; without one, new numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ExecutionError
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    TensorType,
    TypeMismatch,
    Value,
    check_dtype,
    check_rank,
)
from graphc.ops.base import (
    Shape as Sizes,
)
from graphc.ops.generate import check_sizes
from graphc.ops.shape import COMMON
from graphc.types import FLOATS, NUMBERS, DType, bool_, dtype_of, float32, int32, int64


def generator(seed: float | None) -> np.random.Generator:
    """The random generator for `seed`, a fresh one for None."""
    if seed is None:
        return np.random.default_rng()
    return np.random.default_rng(int(np.float64(seed).view(np.uint64)))


def normal(shape: Sequence[int], dtype: DType, mean: float, scale: float, seed: float | None) -> Array:
    """Normally distributed numbers with the given mean and standard deviation."""
    check_tensor(tuple(shape), 8, "random tensor")
    return (generator(seed).standard_normal(shape) * scale + mean).astype(dtype.numpy)


def uniform(shape: Sequence[int], dtype: DType, low: float, high: float, seed: float | None) -> Array:
    """Uniformly distributed numbers in [low, high)."""
    check_tensor(tuple(shape), 8, "random tensor")
    y = (generator(seed).random(shape) * (high - low) + low).astype(dtype.numpy)
    if not low < high:
        return y
    # Rounding to a narrow type can reach `high`.
    below = np.nextafter(dtype.numpy.type(high), dtype.numpy.type(low))
    return np.where(y < high, y, below)


def _sampled_type(shape: Sizes | None, dtype: DType) -> TensorType:
    if dtype not in FLOATS:
        raise TypeMismatch(f"dtype is {dtype.short}, expected one of {', '.join(sorted(d.short for d in FLOATS))}")
    return TensorType(dtype, None if shape is None else check_sizes(shape))


class Random(Op):
    """An op that draws numbers of NumPy's generators: what a seed means is what those make of it."""

    pure = False

    def element(self, y: object, *xs: object) -> Any:
        raise CompileError("draws the numbers of NumPy's generators", node=self.name)


class RandomNormal(Random):
    """y_i ~ N(mean, scale²), of the given `shape`. ONNX RandomNormal-22."""

    shape: tuple[int, ...]
    dtype: DType = float32
    mean: float = 0.0
    scale: float = 1.0
    seed: float | None = None

    def infer(self) -> TensorType:
        return _sampled_type(self.shape, self.dtype)

    def eval(self) -> Array:
        return normal(self.shape, self.dtype, self.mean, self.scale, self.seed)

    def grad(self, dy: Value, y: Value) -> Sequence[Value | None]:
        return []


class RandomUniform(Random):
    """y_i ~ U[low, high), of the given `shape`. ONNX RandomUniform-22."""

    shape: tuple[int, ...]
    dtype: DType = float32
    high: float = 1.0
    low: float = 0.0
    seed: float | None = None

    def infer(self) -> TensorType:
        return _sampled_type(self.shape, self.dtype)

    def eval(self) -> Array:
        return uniform(self.shape, self.dtype, self.low, self.high, self.seed)

    def grad(self, dy: Value, y: Value) -> Sequence[Value | None]:
        return []


class RandomNormalLike(Random):
    """y_i ~ N(mean, scale²), of x's shape and (without `dtype`) element type. ONNX RandomNormalLike-22."""

    dtype: DType | None = None
    mean: float = 0.0
    scale: float = 1.0
    seed: float | None = None

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        return _sampled_type(input.shape, self.dtype or input.dtype)

    def eval(self, input: Array) -> Array:
        return normal(input.shape, self.dtype or dtype_of(input.dtype), self.mean, self.scale, self.seed)

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]


class RandomUniformLike(Random):
    """y_i ~ U[low, high), of x's shape and (without `dtype`) element type. ONNX RandomUniformLike-22."""

    dtype: DType | None = None
    high: float = 1.0
    low: float = 0.0
    seed: float | None = None

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, COMMON, "input")
        return _sampled_type(input.shape, self.dtype or input.dtype)

    def eval(self, input: Array) -> Array:
        return uniform(input.shape, self.dtype or dtype_of(input.dtype), self.low, self.high, self.seed)

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]


class Bernoulli(Random):
    """y_i = 1 with probability x_i, else 0. ONNX Bernoulli-22. Its gradient is zero wherever it has one."""

    dtype: DType | None = None
    seed: float | None = None

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, FLOATS, "input")
        dtype = self.dtype or input.dtype
        if dtype not in NUMBERS and dtype is not bool_:
            raise TypeMismatch(f"dtype is {dtype.short}, expected a number type or bool")
        return TensorType(dtype, input.shape)

    def eval(self, input: Array) -> Array:
        dtype = input.dtype if self.dtype is None else self.dtype.numpy
        return (generator(self.seed).random(input.shape) < input.astype(np.float64)).astype(dtype)

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]


class Multinomial(Random):
    """y[b, k] = c with probability exp(x[b, c]) / Σ exp(x[b, ·]), for `sample_size` draws k. ONNX Multinomial-22."""

    dtype: DType = int32
    sample_size: int = 1
    seed: float | None = None

    def infer(self, input: Value) -> TensorType:
        check_dtype(input, FLOATS, "input")
        check_rank(input, "input", 2)
        if self.dtype not in (int32, int64):
            raise TypeMismatch(f"dtype is {self.dtype.short}, expected i32 or i64")
        if self.sample_size < 1:
            raise InvalidModel(f"sample_size is {self.sample_size}, expected at least 1")
        return TensorType(self.dtype, (unknown() if input.shape is None else input.shape[0], self.sample_size))

    def eval(self, input: Array) -> Array:
        batch, classes = input.shape
        if not classes:
            raise ExecutionError("there are no classes to draw from")
        check_tensor((batch, self.sample_size), 8, "samples")
        x = input.astype(np.float64)
        weights = np.cumsum(np.exp(x - x.max(axis=1, keepdims=True)), axis=1)
        draws = generator(self.seed).random((batch, self.sample_size)) * weights[:, -1:]
        rows = [np.searchsorted(w, d, side="right") for w, d in zip(weights, draws, strict=True)]
        return np.array(rows, self.dtype.numpy).reshape(batch, self.sample_size)

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [None]
