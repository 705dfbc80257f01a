"""Convolutions in fewer multiplications: which ones are, and that their nests, interpreted, are what NumPy says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from nests import TARGETS, lowered, run_graph, run_kernels
from test_loops_text import read_back

from graphc.backends.llvm.kernels import Lowered
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.loops import contraction, winograd
from graphc.ops.activation import Relu, Tanh
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.ops.fused import Fused
from graphc.types import Array, TensorType, dtype_of, float32

Shape = tuple[int, ...]
# name -> the convolution, and the shapes of x, w and perhaps b.
ROWS: dict[str, tuple[Conv, list[Shape]]] = {
    "even": (Conv(pads=(1, 1, 1, 1)), [(1, 16, 4, 8), (16, 16, 3, 3), (16,)]),
    "odd": (Conv(pads=(1, 0, 2, 1)), [(2, 3, 5, 7), (5, 3, 3, 3), (5,)]),
    "no-padding": (Conv(), [(1, 4, 6, 9), (8, 4, 3, 3)]),
    "padding": (Conv(pads=(4, 3, 0, 5)), [(1, 2, 3, 2), (13, 2, 3, 3)]),
    "dilated": (Conv(pads=(2, 2, 2, 2), dilations=(2, 2)), [(1, 4, 9, 10), (6, 4, 3, 3), (6,)]),
    "dilations": (Conv(pads=(1, 3, 0, 2), dilations=(1, 3)), [(2, 3, 5, 11), (12, 3, 3, 3)]),
    "dilated-far": (Conv(pads=(5, 5, 5, 5), dilations=(5, 5)), [(1, 2, 3, 4), (12, 2, 3, 3)]),
    "channels": (Conv(pads=(1, 1, 1, 1)), [(1, 19, 4, 3), (21, 19, 3, 3), (21,)]),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sums of products are contractions as well."""
    monkeypatch.setattr(contraction, "LEAST", 1)


def graph_of(op: Conv, shapes: list[Shape], dtype: type = np.float32) -> tuple[Graph, Array]:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(np.float32).astype(dtype) for s in shapes]
    x = Value(TensorType(dtype_of(arrays[0].dtype), shapes[0]), name="x")
    return Graph([x], op.apply([x, *(const(a) for a in arrays[1:])])), arrays[0]


def found(op: Conv, shapes: list[Shape], dtype: type = np.float32) -> bool:
    """Whether it takes fewer multiplications: 36 products for each channel, or 9."""
    graph, _ = graph_of(op, shapes, dtype)
    return bool(lowered(graph, 64, winograd=True)[1].made)


def close(got: Array, expected: Array) -> None:
    np.testing.assert_allclose(got, expected, 0, 3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("width", TARGETS)
@pytest.mark.parametrize("name", ROWS)
def test_is_what_numpy_says(name: str, width: int) -> None:
    op, shapes = ROWS[name]
    graph, x = graph_of(op, shapes)
    exact, _ = graph_of(op, shapes, np.float64)
    assert found(op, shapes)
    (got,) = run_graph(graph, [x], width, seed=1, winograd=True)
    close(got, interpret(exact, [x.astype(np.float64)])[0])


@pytest.mark.parametrize(
    ("op", "shapes", "dtype"),
    [
        (Conv(strides=(2, 2)), [(1, 4, 9, 9), (4, 4, 3, 3)], np.float32),
        (Conv(strides=(1, 2)), [(1, 4, 9, 9), (4, 4, 3, 3)], np.float32),
        (Conv(group=2), [(1, 32, 9, 9), (32, 16, 3, 3)], np.float32),
        (Conv(group=16), [(1, 16, 9, 9), (16, 1, 3, 3)], np.float32),
        (Conv(), [(1, 4, 9, 9), (4, 4, 3, 5)], np.float32),
        (Conv(), [(1, 4, 9, 9), (4, 4, 1, 1)], np.float32),
        (Conv(), [(1, 8, 30), (8, 8, 3)], np.float32),
        (Conv(), [(1, 4, 5, 5, 5), (4, 4, 3, 3, 3)], np.float32),
        (Conv(), [(1, 4, 9, 9), (4, 4, 3, 3)], np.float64),
        (Conv(), [(1, 4, 9, 9), (4, 4, 3, 3)], np.float16),
        (Conv(pads=(200, 0, 200, 0)), [(1, 4, 9, 9), (4, 4, 3, 3)], np.float32),
    ],
    ids=str,
)
def test_other_convolutions_are_left(op: Conv, shapes: list[Shape], dtype: type) -> None:
    assert not found(op, shapes, dtype)


def test_weights_that_are_not_constant_are_left() -> None:
    x, w = (Value(TensorType(float32, s), name=n) for n, s in (("x", (1, 4, 9, 9)), ("w", (4, 4, 3, 3))))
    assert not lowered(Graph([x, w], [Conv()(x, w)]), 64, winograd=True)[1].made


def _residual(x: Value, y: Value) -> Value:
    return Relu()(x + y)


def _tanh(x: Value, y: Value) -> Value:
    return Tanh()(y)


@pytest.mark.parametrize("end", [_residual, _tanh])
def test_what_follows_is_fused(end: Callable[[Value, Value], Value]) -> None:
    graph, array = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 5, 6, 7), (5, 5, 3, 3), (5,)])
    body = Graph(graph.inputs, [end(graph.inputs[0], graph.outputs[0])])
    x = Value(TensorType(float32, array.shape), name="x")
    fused = Graph([x], Fused(body).apply([x]))
    (got,) = run_graph(fused, [array], 32, seed=1, winograd=True)
    close(got, interpret(fused, [array])[0])


def test_two_in_a_row_share_a_halo() -> None:
    """The first one writes what tiles of the second one read beyond its ends."""
    rng = np.random.default_rng(0)
    array = rng.normal(size=(1, 4, 5, 6)).astype(np.float32)
    x = Value(TensorType(float32, array.shape), name="x")
    y = x
    for pad in (1, 2):
        w = const((rng.normal(size=(4, 4, 3, 3)) / 6).astype(np.float32))
        y = Conv(pads=(pad,) * 4)(y, w)
    graph = Graph([x], [y])
    close(run_graph(graph, [array], 16, seed=1, winograd=True)[0], interpret(graph, [array])[0])


@pytest.mark.parametrize(("band", "groups", "shares"), [(2, 1, 3), (2, 2, 6), (3, 2, 4), (5, 1, 1), (5, 2, 2)])
def test_bands_and_groups(band: int, groups: int, shares: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the plan is, results have the same bits; shares may run in any order. What runs is what is listed."""
    graph, x = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 2, 4, 18), (8, 2, 3, 3)])  # 5 tiles
    (expected,) = run_graph(graph, [x], 16, winograd=True)
    monkeypatch.setattr(winograd, "BANDS", (band,))
    monkeypatch.setattr(winograd, "GROUPS", (groups,))
    monkeypatch.setitem(TARGETS, 16, replace(TARGETS[16], cache=1 << 10))  # weights are fetched while others are used
    graph, kernels = lowered(graph, 16, winograd=True)
    assert "prefetch2 x" in listed(kernels)
    assert ("parallel share <" in listed(kernels)) == (shares > 1)
    assert shares == 1 or f"parallel share < {shares} " in listed(kernels)
    (got,) = run_kernels(read_back(kernels), {graph.inputs[0]: x}, graph.outputs, seed=1)
    np.testing.assert_array_equal(got, expected)


def listed(kernels: Lowered) -> str:
    return "\n".join(str(k.nest) for k in kernels.kernels)


def test_only_where_it_is_faster() -> None:
    """The plan of a cost model: large maps take it, small ones and little work do not."""

    def chosen(channels: int, size: int) -> bool:
        rng = np.random.default_rng(0)
        x = Value(TensorType(float32, (1, channels, size, size)), name="x")
        w = const(rng.normal(size=(channels, channels, 3, 3)).astype(np.float32))
        return bool(lowered(Graph([x], [Conv(pads=(1, 1, 1, 1))(x, w)]), 64)[1].made)

    assert chosen(64, 56)
    assert chosen(256, 14)
    assert not chosen(512, 7)
    assert not chosen(16, 8)
