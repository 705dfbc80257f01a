"""Ops of the domain ai.onnx.ml that replace categories by numbers or names: lookups in tables of keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from graphc.errors import CompileError, ExecutionError, InvalidModel
from graphc.expr import Element, Expr, Source, call, cast, constant, equal, guard, position, select
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import Array, Tensor, TensorType, Value, check_dtype
from graphc.types import DType, bool_, float32, float64, int16, int32, int64, string

DOMAIN = "ai.onnx.ml"
MOST_KEYS = 64  # that are compared one by one


def last_positions(x: Array, keys: Array) -> Array:
    """For each element of `x`, the position of the last of `keys` that equals it, or -1. A NaN equals a NaN."""
    if not len(keys):
        return np.full(x.shape, -1)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    at = np.asarray(np.searchsorted(ordered, x, side="right")) - 1
    candidate = ordered[np.maximum(at, 0)]
    equal = np.asarray((candidate == x) | ((candidate != candidate) & (x != x)), bool)
    return np.where(equal & (at >= 0), order[at], -1)


def pick(x: Array, keys: Array, values: Array, default: object) -> Array:
    """For each element of `x`, the value that belongs to the last key that equals it, or `default`."""
    table = np.empty(len(values) + 1, values.dtype)
    table[:-1], table[-1] = values, default
    return np.asarray(table[last_positions(x, keys)], table.dtype)


def looked_up(x: Expr, keys: Array, values: Sequence[Expr], default: Expr) -> Expr:
    """What `pick` gives for `x`. Raises `CompileError` for more keys than are worth comparing one by one."""
    if len(keys) > MOST_KEYS:
        raise CompileError(f"a table of {len(keys)} keys")
    found = default
    for key, value in zip(keys, values, strict=True):
        found = select(call("isnan", x, dtype=bool_) if key != key else equal(x, key), value, found)
    return found


class Lookup(Op):
    """An op on single elements that looks them up among keys."""

    domain = DOMAIN
    no_gradient = "it finds its input in a table of keys"

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


_KINDS = frozenset({string, int64, float32, int32, int16, float64})


class LabelEncoder(Lookup):
    """y = values[k] for the last k with x = keys[k], else the default. ONNX ai.onnx.ml LabelEncoder-4.

    One of `keys_*` and one of `values_*` is there. The default is `default_tensor`, or else that of `default_*` which
    has the kind of the values: string, int64 (for all integers) or float.
    """

    default_float: float = -0.0
    default_int64: int = -1
    default_string: str = "_Unused"
    default_tensor: Tensor | None = None
    keys_floats: tuple[float, ...] | None = None
    keys_int64s: tuple[int, ...] | None = None
    keys_strings: tuple[str, ...] | None = None
    keys_tensor: Tensor | None = None
    values_floats: tuple[float, ...] | None = None
    values_int64s: tuple[int, ...] | None = None
    values_strings: tuple[str, ...] | None = None
    values_tensor: Tensor | None = None

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, {self._keys.dtype}, "x")
        if self._keys.shape != self._values.shape:
            raise InvalidModel(f"there are {self._keys.size} keys and {self._values.size} values")
        default = self.default_tensor
        if default is not None and (default.dtype is not self._values.dtype or default.size != 1):
            raise InvalidModel(f"default_tensor is {default.type}, expected one element of {self._values.dtype}")
        return TensorType(self._values.dtype, x.shape)

    def eval(self, x: Array) -> Array:
        return pick(x, self._keys.array, self._values.array, self._default)

    def element(self, y: TensorType, x: Source) -> Element:
        values = [constant(v, y.dtype) for v in self._values.array]
        default = constant(self._default, y.dtype)
        return lambda *i: looked_up(x[i], self._keys.array, values, default)

    @property
    def _default(self) -> object:
        if self.default_tensor is not None:
            default: object = self.default_tensor.array.reshape(-1)[0]
            return default
        if self._values.dtype is string:
            return self.default_string
        return self.default_int64 if self._values.dtype.is_integer else self.default_float

    @cached_property
    def _keys(self) -> Tensor:
        return _only("keys", self.keys_tensor, self.keys_strings, self.keys_int64s, self.keys_floats)

    @cached_property
    def _values(self) -> Tensor:
        return _only("values", self.values_tensor, self.values_strings, self.values_int64s, self.values_floats)


def _only(
    what: str,
    tensor: Tensor | None,
    strings: tuple[str, ...] | None,
    ints: tuple[int, ...] | None,
    floats: tuple[float, ...] | None,
) -> Tensor:
    """The one table that is given, as a tensor."""
    lists: list[tuple[tuple[object, ...] | None, DType]] = [(strings, string), (ints, int64), (floats, float32)]
    given = [Tensor(np.array(v, dtype.numpy), dtype) for v, dtype in lists if v]
    given += [] if tensor is None else [tensor]
    if len(given) != 1:
        raise InvalidModel(f"{len(given)} attributes give {what}, expected one of {what}_*")
    if len(given[0].shape) != 1 or given[0].dtype not in _KINDS:
        raise InvalidModel(f"{what} are {given[0].type}, expected a vector")
    return given[0]


class CategoryMapper(Lookup):
    """Strings to integers or back: cats_int64s[k] for the last k with x = cats_strings[k]; else the default.

    ONNX ai.onnx.ml CategoryMapper-1.
    """

    cats_int64s: tuple[int, ...] | None = None
    cats_strings: tuple[str, ...] | None = None
    default_int64: int = -1
    default_string: str = "_Unused"

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, {string, int64}, "x")
        if self.cats_int64s is None or self.cats_strings is None:
            raise InvalidModel("cats_int64s or cats_strings is missing")
        if len(self.cats_int64s) != len(self.cats_strings):
            raise InvalidModel(f"there are {len(self.cats_int64s)} integers and {len(self.cats_strings)} strings")
        return TensorType(int64 if x.dtype is string else string, x.shape)

    def eval(self, x: Array) -> Array:
        integers, strings = np.array(self.cats_int64s, np.int64), np.array(self.cats_strings, object)
        if x.dtype == object:
            return pick(x, strings, integers, self.default_int64)
        return pick(x, integers, strings, self.default_string)


class OneHotEncoder(Lookup):
    """y[…, k] = 1 for the last k with x[…] = cats[k], else 0; numbers are truncated. ONNX ai.onnx.ml OneHotEncoder-1.

    Attributes:
        cats_int64s, cats_strings: the categories; one of them is there, of the kind of x.
        zeros: whether an element may be in no category.
    """

    cats_int64s: tuple[int, ...] | None = None
    cats_strings: tuple[str, ...] | None = None
    zeros: bool = True

    def infer(self, x: Value) -> TensorType:
        if bool(self.cats_int64s) == bool(self.cats_strings):
            raise InvalidModel("expected one of cats_int64s and cats_strings")
        check_dtype(x, {string} if self.cats_strings else {int64, int32, float32, float64}, "x")
        return TensorType(float32, None if x.shape is None else (*x.shape, len(self._categories)))

    def eval(self, x: Array) -> Array:
        categories = self._categories
        check_tensor((*x.shape, len(categories)), 4, "one-hot tensor")
        if x.dtype.kind == "f":  # compared as floats: not every float is an integer
            at = last_positions(np.trunc(x.astype(np.float64)), categories.astype(np.float64))
        else:
            at = last_positions(x, categories)
        if not self.zeros and np.any(at < 0):
            first = x[at < 0].reshape(-1)[0]
            raise ExecutionError(f"{first} is in no category", hint="zeros=1 allows that")
        return np.asarray(at[..., None] == np.arange(len(categories)), np.float32)

    def element(self, y: TensorType, x: Source) -> Element:
        categories = self._categories
        places = [constant(k, int64) for k in range(len(categories))]

        def element(*i: Linear) -> Expr:
            value = x[i[:-1]]
            value = call("trunc", cast(value, float64)) if value.dtype.is_float else cast(value, int64)
            at = looked_up(value, categories, places, constant(-1, int64))
            if not self.zeros:
                at = guard(at >= 0, at)
            return cast(equal(at, position(i[-1])), float32)

        return element

    @cached_property
    def _categories(self) -> Array:
        return np.array(self.cats_strings, object) if self.cats_strings else np.array(self.cats_int64s, np.int64)
