"""Ops between maps and tensors: ZipMap, DictVectorizer, CastMap."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import ml_maps as op
from graphc.types import Map, MapType, float32, float64, int64, string

WORDS, NUMBERS = MapType(string, float32), MapType(int64, float32)
X = random(2, 3)


def numbers(**attributes):
    return op.CastMap(**attributes), [Map(NUMBERS, {5: 2.5, 0: 1.75, 2: -2.7})]


def texts(**attributes):
    return op.CastMap(**attributes), [Map(MapType(int64, string), {5: "2.5", 0: "1e3", 2: "-2"})]


CASES = [
    Case(op.ZipMap(classlabels_strings=("b", "a", "é")), [X], id="strings"),
    Case(op.ZipMap(classlabels_int64s=(5, 1, -3)), [X], id="integers"),
    Case(op.ZipMap(classlabels_int64s=(5, 1, 1)), [X], id="equal-labels"),
    Case(op.ZipMap(classlabels_int64s=(5, 1, 2)), [X[0]], id="vector"),
    Case(op.ZipMap(classlabels_int64s=(5, 1, 2)), [X[:0]], id="empty"),

    Case(op.DictVectorizer(string_vocabulary=("a", "c", "b", "a")), [Map(WORDS, {"a": 4.0, "c": 8.5})], id="strings"),
    Case(op.DictVectorizer(string_vocabulary=("a", "c")), [Map(WORDS, {"q": 4.0})], id="unknown-key"),
    Case(op.DictVectorizer(int64_vocabulary=(4, 5, 3)), [Map(NUMBERS, {3: 4.5, 4: 8.0})], id="integers"),
    Case(op.DictVectorizer(string_vocabulary=("a", "b")), [Map(MapType(string, int64), {"b": 1 << 60})], id="int64",
         oracle=lambda x: np.array([[0, 1 << 60]])),
    Case(op.DictVectorizer(string_vocabulary=("a", "b")), [Map(MapType(string, float64), {})], id="empty-float64",
         oracle=lambda x: np.zeros((1, 2))),
    Case(op.DictVectorizer(int64_vocabulary=(1, 2)), [Map(MapType(int64, string), {2: "x"})], id="texts",
         oracle=lambda x: np.array([["", "x"]], object)),

    Case(*numbers(), id="dense"),
    Case(*numbers(map_form="SPARSE", max_map=7), id="sparse"),
    Case(*numbers(cast_to="TO_INT64"), id="dense-integers"),
    Case(*numbers(cast_to="TO_INT64", map_form="SPARSE", max_map=6), id="sparse-integers"),
    Case(*numbers(cast_to="TO_STRING"), id="dense-strings",
         oracle=lambda x: np.array([["1.75", "-2.7", "2.5"]], object)),
    Case(*texts(), id="texts", oracle=lambda x: np.array([[1000, -2, 2.5]], np.float32)),
    Case(*texts(cast_to="TO_INT64", map_form="SPARSE", max_map=6), id="texts-sparse-integers",
         oracle=lambda x: np.array([[1000, 0, -2, 0, 0, 2]])),
    Case(*texts(cast_to="TO_STRING", map_form="SPARSE", max_map=6), id="texts-sparse",
         oracle=lambda x: np.array([["1e3", "", "-2", "", "", "2.5"]], object)),
    Case(op.CastMap(), [Map(NUMBERS, {})], id="dense-empty", oracle=lambda x: np.zeros((1, 0), np.float32)),
]  # fmt: skip
