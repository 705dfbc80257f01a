"""Conversion between element types."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Source, call, cast
from graphc.ops.base import Array, InvalidModel, Op, TensorType, TypeMismatch, Value
from graphc.ops.elementwise import fold_small
from graphc.types import (
    FLOAT8,
    DType,
    Type,
    bool_,
    dtype_of,
    float8e8m0,
    int32,
    int64,
    string,
)

_ROUND_MODES = ("up", "down", "nearest")


def convert(x: Array, to: DType, *, saturate: bool = True, round_mode: str = "up") -> Array:
    """`x` converted to `to`, with the rules that `Cast` documents."""
    source = dtype_of(x.dtype)
    if source is to:
        return x
    if source is string:
        return _parse(x, to, saturate=saturate, round_mode=round_mode)
    x = _native(x, source)
    if to is string:
        return _format(x)
    if x.dtype.kind == "c" and to.kind != "complex":
        x = x.real
    if to is bool_:
        return np.not_equal(x, 0)
    if to.is_integer:
        return _truncate(x, to) if x.dtype.kind == "f" else x.astype(to.numpy)
    if to is float8e8m0:
        return _to_power_of_two(x.astype(np.float64), saturate, round_mode)
    if to in FLOAT8 and saturate:
        largest = float(ml_dtypes.finfo(to.numpy).max)  # type: ignore[no-untyped-call]
        x = np.clip(x if x.dtype.kind == "f" else x.astype(np.float64), -largest, largest)
    return x.astype(to.numpy)


def _native(x: Array, source: DType) -> Array:
    """`x` in one of NumPy's own types that has all its values; ml_dtypes does not convert every pair."""
    if x.dtype.isbuiltin == 1:
        return x
    return x.astype(np.float32 if source.is_float else np.int8)


def _truncate(x: Array, to: DType) -> Array:
    """Floats to integers: towards zero, NaN to 0, and what is out of range to the nearest end of the range."""
    if to.bits < 8:
        return _truncate(x, int64).astype(to.numpy)
    lowest, highest = _range(to)
    wide = np.uint64 if lowest == 0 else np.int64
    whole = np.trunc(x if x.dtype.itemsize > 2 else x.astype(np.float32))
    # Powers of two are exact in every float type; `highest` itself is not.
    below, above = whole < float(lowest), whole >= float(highest + 1)
    wrong = below | above | np.isnan(whole)
    if not np.any(wrong):
        return np.asarray(whole.astype(wide).astype(to.numpy))
    result = np.where(wrong, 0, whole).astype(wide)
    result = np.where(below, wide(lowest), np.where(above, wide(highest), result))
    return np.asarray(result.astype(to.numpy))


def _to_power_of_two(x: Array, saturate: bool, round_mode: str) -> Array:
    """|x| to float8e8m0, which has the powers 2^-127 … 2^127 and NaN, but neither zero nor a sign."""
    mantissa, exponent = np.frexp(x)  # |x| = |mantissa| · 2^exponent with |mantissa| in [1/2, 1)
    excess = np.abs(mantissa) * 2
    floor = exponent - 1
    if round_mode == "up":
        floor = floor + (excess > 1)
    elif round_mode == "nearest":
        floor = floor + (excess >= 1.5)
    floor = np.where(x == 0, -1000, np.where(np.isinf(x), 1000, floor))
    code = np.clip(floor, -127, 127) + 127
    bad = np.isnan(x) if saturate else np.isnan(x) | (floor < -127) | (floor > 127)
    return np.asarray(np.where(bad, 255, code).astype(np.uint8)).view(float8e8m0.numpy)


def _format(x: Array) -> Array:
    """Numbers as the shortest text that reads back as the same number; `NaN`, `INF`, `-INF` as ONNX writes them."""
    special = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}
    texts = [special.get(text, text) for text in x.astype(str).ravel().tolist()]
    return np.array(texts, object).reshape(x.shape)


def _parse(x: Array, to: DType, *, saturate: bool, round_mode: str) -> Array:
    """Strings read as numbers. Integers are read exactly, and clipped to the range of `to`."""
    readers: dict[str, Callable[[str], Any]] = {"complex": complex, "int": _integer, "uint": _integer, "bool": _boolean}
    read = readers.get(to.kind, float)
    numbers: list[Any] = []
    for i, text in enumerate(x.flat):
        try:
            numbers.append(read(text))
        except ValueError as e:
            at = [int(k) for k in np.unravel_index(i, x.shape)]
            raise ExecutionError(f"{text!r} at index {at} is not a number", hint=f"{to} needs numbers") from e
    if not to.is_integer:
        wide = np.array(numbers, np.complex128 if to.kind == "complex" else np.float64).reshape(x.shape)
        return convert(wide, to, saturate=saturate, round_mode=round_mode)
    lowest, highest = _range(to)
    clipped = [min(max(n, lowest), highest) for n in numbers]
    return np.array(clipped, np.uint64 if lowest == 0 else np.int64).reshape(x.shape).astype(to.numpy)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        return 0 if math.isnan(value) else int(min(max(value, -(2.0**64)), 2.0**64))


def _boolean(text: str) -> bool:
    names = {"true": True, "false": False}
    lower = text.strip().lower()
    return names[lower] if lower in names else float(text) != 0


def _range(to: DType) -> tuple[int, int]:
    info = ml_dtypes.iinfo(to.numpy)  # type: ignore[no-untyped-call]
    return int(info.min), int(info.max)


class Cast(Op):
    """x converted to the element type `to`. ONNX Cast-28.

    - float → float: rounds to nearest, ties to even; out of range gives ±∞. float64 goes to types of 16 bits or fewer
      by way of float32.
    - float → 8-bit float: out of range gives the largest number, or with `saturate=False` NaN (±∞ for float8e5m2).
      float8e8m0 rounds |x| to a power of two as `round_mode` says (`up`, `down`, or `nearest` with ties up); with
      `saturate`, zero gives the smallest and ∞ the largest power.
    - float → float4e2m1, float6e2m3, float6e3m2: out of range gives the largest number.
    - float → integer: towards zero, NaN gives 0. Out of range gives the nearest end of the range; but 4- and 2-bit
      integers wrap, as those of ONNX's reference implementation do.
    - integer → integer: wraps modulo 2^bits. integer → float: rounds to nearest.
    - number → bool: whether it is not zero (NaN is not). bool → number: 0 or 1.
    - complex → other numbers: the real part.
    - number → string: the shortest text that reads back as the number; `NaN`, `INF`, `-INF`; `True`, `False`.
    - string → number: decimal or scientific notation, read exactly; `INF`, `+INF`, `-INF`, `NaN` in any case; with an
      integer type, towards zero and clipped to its range. Anything else raises `ExecutionError`.
    """

    to: DType
    saturate: bool = True
    round_mode: str = "up"

    def infer(self, x: Value) -> TensorType:
        _check_round_mode(self.round_mode)
        return TensorType(self.to, x.tensor.shape)

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        (x,) = xs
        if x is not None and x.dims is not None and self.to in (int32, int64):
            return x.dims
        return fold_small(self, xs, types)

    def eval(self, x: Array) -> Array:
        return convert(x, self.to, saturate=self.saturate, round_mode=self.round_mode)

    def element(self, y: TensorType, x: Source) -> Element:
        _check_default(y.dtype, self.saturate, self.round_mode)
        return lambda *i: cast(x[i], y.dtype)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy.cast(x.dtype) if x.dtype.is_float and y.dtype.is_float else None]


class CastLike(Op):
    """x converted to the element type of `target`, with the rules of Cast. ONNX CastLike-25."""

    saturate: bool = True
    round_mode: str = "up"

    def infer(self, x: Value, target: Value) -> TensorType:
        _check_round_mode(self.round_mode)
        return TensorType(target.dtype, x.tensor.shape)

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        x, target = xs
        assert target is not None
        return Cast(target.dtype, self.saturate, self.round_mode).contents((x,), types)

    def eval(self, x: Array, target: Array) -> Array:
        return convert(x, dtype_of(target.dtype), saturate=self.saturate, round_mode=self.round_mode)

    def element(self, y: TensorType, x: Source, target: Source) -> Element:
        _check_default(y.dtype, self.saturate, self.round_mode)
        return lambda *i: cast(x[i], y.dtype)

    def grad(self, dy: Value, y: Value, x: Value, target: Value) -> Sequence[Value | None]:
        return [dy.cast(x.dtype) if x.dtype.is_float and y.dtype.is_float else None, None]


class BitCast(Op):
    """The bits of x read as the element type `to`, which has the same width. ONNX BitCast-26."""

    to: DType

    def infer(self, x: Value) -> TensorType:
        if string in (x.dtype, self.to):
            raise TypeMismatch(f"strings have no bits to reinterpret: {x.tensor} as {self.to}")
        if x.dtype.bits != self.to.bits:
            raise TypeMismatch(f"{x.dtype} has {x.dtype.bits} bits, {self.to} has {self.to.bits}")
        return TensorType(self.to, x.tensor.shape)

    def eval(self, x: Array) -> Array:
        return x.view(self.to.numpy)

    def element(self, y: TensorType, x: Source) -> Element:
        return lambda *i: call("bitcast", x[i], dtype=y.dtype)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None]


def _check_round_mode(round_mode: str) -> None:
    if round_mode not in _ROUND_MODES:
        raise InvalidModel(f"round_mode is '{round_mode}', expected one of {', '.join(_ROUND_MODES)}")


def _check_default(to: DType, saturate: bool, round_mode: str) -> None:
    """Raise `CompileError` for what the scalar function `cast` does not do."""
    if not saturate and to in FLOAT8 | {float8e8m0}:
        raise CompileError(f"to {to.name} without saturation")
    if to is float8e8m0 and round_mode != "up":
        raise CompileError(f"to float8e8m0 with round_mode {round_mode}")
