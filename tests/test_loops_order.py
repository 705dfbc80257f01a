"""Orderings, by way of TopK: against Python's sort, which is stable, in the interpreter and as machine code."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvm_targets import targets
from nests import TARGETS, run, run_graph, tensor

import graphc
from graphc.backends.llvm import LlvmBackend
from graphc.expr import Buffer
from graphc.ir import Graph, Value
from graphc.loops.layout import row_major
from graphc.loops.lower import lower
from graphc.ops.base import const
from graphc.ops.ranking import TopK, ascending
from graphc.types import Array, TensorType, dtype_of, float32, int32, int64

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def graph(x: Array, k: int, axis: int = -1, *, largest: bool = True) -> Graph:
    v = Value(TensorType(dtype_of(x.dtype), x.shape), name="x")
    return Graph([v], TopK(axis, largest).apply([v, const(np.array([k]), int64)]), ["values", "indices"])


def expected(x: Array, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Array, Array]:
    """Each row by Python's sort, in which equal elements keep their order, in reverse as well."""

    def rank(v: Any) -> tuple[bool, float]:
        number = v.item() if np.issubdtype(v.dtype, np.integer) else float(v)
        return (True, 0) if number != number else (False, number)

    rows = np.moveaxis(x, axis, -1)
    found = np.empty((*rows.shape[:-1], k), np.int64)
    for at in np.ndindex(rows.shape[:-1]):
        row = rows[at]
        found[at] = sorted(range(len(row)), key=lambda i, row=row: rank(row[i]), reverse=largest)[:k]
    values = np.take_along_axis(rows, found, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(found, -1, axis)


def same(got: Array, want: Array) -> None:
    """Bit by bit: −0 and the bits of NaNs are moved, not computed."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert np.ascontiguousarray(got).tobytes() == np.ascontiguousarray(want).tobytes()


def special(dtype: Any) -> Array:
    """What there is at the ends, and both zeros."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, limits.min + 1, limits.max - 1, 0, 1], dtype)
    tiny = ml_dtypes.finfo(dtype).smallest_subnormal
    return np.array([0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, tiny, -tiny, 1, -1], dtype)


def rows(seed: int, dtype: Any, *shape: int) -> Array:
    """Rows of a few different elements, of many, ascending ones and descending ones."""
    rng = np.random.default_rng([seed, *shape])
    few = rng.choice(special(dtype), shape)
    many = (rng.normal(size=shape) * 100).astype(dtype)
    kind = seed % 5
    if kind < 2:
        return few if kind else many
    if kind == 2:
        return np.where(rng.random(shape) < 0.5, few, many)
    return np.sort(many, -1) if kind == 3 else np.flip(np.sort(many, -1), -1).copy()


@settings(max_examples=30)
@given(data=st.data())
def test_any_row_in_the_interpreter(data: st.DataObject) -> None:
    """Every access of the nest is checked: that it is inside, and of what has been stored."""
    dtype = data.draw(st.sampled_from(FLOATS + INTEGERS))
    n = data.draw(st.integers(1, 90), "n")
    k = data.draw(st.integers(0, n), "k")
    largest, axis = data.draw(st.booleans(), "largest"), data.draw(st.sampled_from([0, 1, -1, -2]), "axis")
    x = np.moveaxis(rows(data.draw(st.integers(0, 99), "seed"), dtype, 2, n), -1, axis)
    width = data.draw(st.sampled_from(sorted(TARGETS)), "width")
    got = run_graph(graph(x, k, axis, largest=largest), [x], width, seed=1)
    for a, b in zip(got, expected(x, k, axis, largest=largest), strict=True):
        same(a, b)


SHAPES = [(1, 1, 1), (3, 7, 2), (2, 33, 5), (2, 100, 100), (3, 333, 2), (1, 600, 200)]
NARROW = [(dtype, name) for name in targets()[1:] for dtype in (np.float16, np.float32, np.int64)]


@pytest.mark.parametrize(
    ("dtype", "target"),
    [*((dtype, targets()[0]) for dtype in FLOATS + INTEGERS), *NARROW],
    ids=lambda x: x if isinstance(x, str) else np.dtype(x).name,
)
def test_machine_code(dtype: Any, target: str) -> None:
    for number, (m, n, k) in enumerate(SHAPES):
        largest = number % 2 == 0
        made = graph(np.empty((m, n), dtype), k, largest=largest)
        model = graphc.compile(made, backend=LlvmBackend(target), threads=1)
        assert [p.backend for p in model.placement()] == ["llvm"]
        for seed in range(5):
            x = rows(seed, dtype, m, n)
            for a, b in zip(model.run([x]).values(), expected(x, k, largest=largest), strict=True):
                same(a, b)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("k", [0, 1, 3, 40])
def test_axes(axis: int, k: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (40, 40, 40)).astype(np.float32)
    model = graphc.compile(graph(x, k, axis), backend="llvm", threads=1)
    assert {p.backend for p in model.placement()} == {"llvm"}
    for a, b in zip(model.run([x]).values(), expected(x, k, axis), strict=True):
        same(a, b)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    k = min(shape[1], 2)
    model = graphc.compile(graph(x, k), backend="llvm", threads=1)
    values, indices = model.run([x]).values()
    assert values.shape == indices.shape == (shape[0], k)


def test_threads_give_the_same_bits() -> None:
    x = rows(2, np.float32, 300, 700)
    one, two = (graphc.compile(graph(x, 30), backend="llvm", threads=n).run([x]) for n in (1, 2))
    for a, b, c in zip(one.values(), two.values(), expected(x, 30), strict=True):
        same(a, c)
        same(b, c)


def test_an_unsorted_result_is_sorted_too() -> None:
    """ONNX leaves the order open; NumPy's kernel does not."""
    x = rows(0, np.float32, 2, 50)
    v = Value(TensorType(float32, x.shape), name="x")
    made = Graph([v], TopK(sorted=False).apply([v, const(np.array(9), int64)]))
    for a, b in zip(run_graph(made, [x], 32), expected(x, 9), strict=True):
        same(a, b)


def test_k_that_is_not_known_runs_on_numpy() -> None:
    v, k = Value(TensorType(float32, (2, 5)), name="x"), Value(TensorType(int64, (1,)), name="k")
    model = graphc.compile(Graph([v, k], TopK().apply([v, k])), backend="llvm", threads=1)
    x = np.array([[3, 1, 2, 5, 4]] * 2, np.float32)
    assert list(model.run([x, np.array([2])]).values())[1].tolist() == [[3, 4]] * 2
    (placed,) = model.placement()
    assert (placed.backend, placed.reason) == ("numpy", "k is known only at run time")


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
def test_keys_are_in_the_order_of_numbers(dtype: Any) -> None:
    """−∞ < … < −0 = 0 < … < ∞ < NaN."""
    finite = np.unique(np.append(np.random.default_rng(0).normal(size=50), 1e-5).astype(dtype))
    x = np.array([-math.inf, *finite[finite < 0], 0, -0.0, *finite[finite > 0], math.inf, math.nan, -math.nan], dtype)
    source = tensor(x, "x")
    y = Buffer("y", int64 if dtype is np.float64 else int32, len(x))
    keys = run(lower(y, row_major(x.shape), lambda i: ascending(source[i])), x)
    steps, zero = np.diff(keys), np.count_nonzero(finite < 0) + 1
    assert steps[zero] == steps[-1] == 0  # of both zeros, and of both NaNs
    assert (np.delete(steps, [zero, -1]) > 0).all()
