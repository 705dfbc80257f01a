"""Ops of the domain ai.onnx.ml between maps and tensors. No op changes a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dims import unknown
from graphc.errors import ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank
from graphc.ops.cast import convert
from graphc.ops.ml_encoding import DOMAIN
from graphc.ops.ml_features import features
from graphc.ops.shape import at_run_time, value_of
from graphc.types import DType, Map, MapType, SequenceType, float32, float64, int64, string

ENTRY_BYTES = 100  # of a Python dict, about


def map_type(x: Value) -> MapType:
    """The type of the map `x`. Raises `TypeMismatch`."""
    if not isinstance(x.type, MapType):
        raise TypeMismatch(f"x is {x.type}, expected a map", value=x.name)
    return x.type


def only(what: str, strings: tuple[str, ...] | None, ints: tuple[int, ...] | None) -> tuple[DType, tuple[Any, ...]]:
    """The one of two lists that is given and has entries, and the element type of these."""
    if bool(strings) == bool(ints):
        raise InvalidModel(f"expected one of {what}")
    return (string, strings) if strings else (int64, ints or ())


class ZipMap(Op):
    """z = [{label_j: x[i,j] for all j} for each row i], a vector x as one row. ONNX ai.onnx.ml ZipMap-1.

    The entries are in the order of their keys; of equal labels the last counts.

    Attributes:
        classlabels_int64s, classlabels_strings: the keys, one for each column; one of them is there.
    """

    domain = DOMAIN
    classlabels_int64s: tuple[int, ...] | None = None
    classlabels_strings: tuple[str, ...] | None = None

    def infer(self, x: Value) -> SequenceType:
        check_dtype(x, {float32}, "x")
        check_rank(x, "x", 1, 2)
        key, labels = self._labels()
        columns = features(x)
        if isinstance(columns, int) and columns != len(labels):
            raise ShapeError(f"there are {len(labels)} labels for the {columns} columns of {x.tensor}")
        return SequenceType(MapType(key, float32))

    def eval(self, x: Array) -> list[dict[Any, float]]:
        at_run_time(self.infer, value_of(x))
        columns = sorted({label: j for j, label in enumerate(self._labels()[1])}.items())
        rows = np.atleast_2d(x)
        check_tensor((len(rows), len(columns)), ENTRY_BYTES, "list of maps")
        keys = [label for label, _ in columns]
        return [dict(zip(keys, row, strict=True)) for row in rows[:, [j for _, j in columns]].tolist()]

    def _labels(self) -> tuple[DType, tuple[Any, ...]]:
        return only("classlabels_*", self.classlabels_strings, self.classlabels_int64s)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(0, traffic(xs, ()))


class FromMap(Op):
    """An op that makes one row of a map."""

    domain = DOMAIN

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]), traffic((), ys))


class DictVectorizer(FromMap):
    """y[0, k] = x[vocabulary_k], or 0 (for strings, "") if x has no such key. ONNX ai.onnx.ml DictVectorizer-1.

    Keys that are not in the vocabulary are passed over, as scikit-learn does.

    Attributes:
        int64_vocabulary, string_vocabulary: the keys in the order of y; that of the kind of x's keys is there.
    """

    int64_vocabulary: tuple[int, ...] | None = None
    string_vocabulary: tuple[str, ...] | None = None

    def infer(self, x: Value) -> TensorType:
        key, vocabulary = only("*_vocabulary", self.string_vocabulary, self.int64_vocabulary)
        allowed = {float32, float64, int64 if key is string else string}
        if map_type(x).key is not key or map_type(x).value not in allowed:
            values = ", ".join(sorted(d.short for d in allowed))
            raise TypeMismatch(f"x is {x.type}, expected a map from {key} to one of {values}", value=x.name)
        return TensorType(map_type(x).value, (1, len(vocabulary)))

    def eval(self, x: Map) -> Array:
        vocabulary = only("*_vocabulary", self.string_vocabulary, self.int64_vocabulary)[1]
        dtype = x.type.value
        absent = "" if dtype is string else 0
        return np.array([[x.get(key, absent) for key in vocabulary]], dtype.numpy)


class CastMap(FromMap):
    """y[0, k] = the k-th value of x by ascending keys, or the value of the key k, cast. ONNX ai.onnx.ml CastMap-1.

    Attributes:
        cast_to: "TO_FLOAT", "TO_INT64" or "TO_STRING"; values are converted as by Cast.
        map_form: "DENSE", or "SPARSE": y has `max_map` entries, 0 (for strings, "") where x has no such key.
        max_map: the number of entries of a sparse y; no key may be as large.
    """

    cast_to: str = "TO_FLOAT"
    map_form: str = "DENSE"
    max_map: int = 1

    def infer(self, x: Value) -> TensorType:
        if map_type(x) not in (MapType(int64, float32), MapType(int64, string)):
            raise TypeMismatch(f"x is {x.type}, expected a map from int64 to f32 or str", value=x.name)
        if self.map_form not in ("DENSE", "SPARSE"):
            raise InvalidModel(f"map_form is {self.map_form!r}, expected DENSE or SPARSE")
        if self.map_form == "SPARSE" and self.max_map < 1:
            raise InvalidModel(f"max_map is {self.max_map}, expected at least 1")
        return TensorType(self._result, (1, unknown() if self.map_form == "DENSE" else self.max_map))

    @property
    def _result(self) -> DType:
        found = {"TO_FLOAT": float32, "TO_INT64": int64, "TO_STRING": string}.get(self.cast_to)
        if found is None:
            raise InvalidModel(f"cast_to is {self.cast_to!r}, expected TO_FLOAT, TO_INT64 or TO_STRING")
        return found

    def eval(self, x: Map) -> Array:
        keys = sorted(x)
        values = convert(np.array([x[k] for k in keys], x.type.value.numpy), self._result)
        if self.map_form == "DENSE":
            return values.reshape(1, -1)
        if keys and not 0 <= keys[0] <= keys[-1] < self.max_map:
            raise ExecutionError(f"the keys go from {keys[0]} to {keys[-1]}, valid 0..{self.max_map - 1}")
        check_tensor((1, self.max_map), self._result.numpy.itemsize)
        y = np.full((1, self.max_map), "" if self._result is string else 0, self._result.numpy)
        y[0, keys] = values
        return y
