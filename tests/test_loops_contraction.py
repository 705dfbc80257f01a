"""Products and convolutions as tiled nests: interpreted, they are what NumPy says, and read nothing they may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from nests import TARGETS, lowered, run_graph

from graphc.expr import Buffer, Call, Const, Position
from graphc.index import Index, evaluate
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.loops import contract, contraction, schedule
from graphc.loops.contract import panels
from graphc.loops.nest import Block, For, If, Prefetch, Store, statements
from graphc.ops.arithmetic import Add
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.ops.linear import Gemm, MatMul
from graphc.passes.fuse import fuse
from graphc.traverse import walk
from graphc.types import TensorType, dtype_of, float32

M, K, N = 9, 17, 18
# name -> op, shapes of its inputs, whether the second is a constant, and inputs after it.
Row = tuple[Op, Sequence[tuple[int, ...]], bool]
ROWS: dict[str, Row] = {
    "matmul": (MatMul(), [(M, K), (K, N)], False),
    "matmul-constant": (MatMul(), [(M, K), (K, N)], True),
    "matmul-wide": (MatMul(), [(2, 5), (5, 150)], True),
    "matmul-tall": (MatMul(), [(41, 9), (9, 3)], True),
    "matmul-even": (MatMul(), [(8, 16), (16, 32)], True),
    "batch": (MatMul(), [(2, M, K), (2, K, N)], False),
    "batch-constant": (MatMul(), [(2, M, K), (2, K, N)], True),
    "batch-shared": (MatMul(), [(2, 3, M, K), (K, N)], True),
    "batch-broadcast": (MatMul(), [(2, 1, M, K), (3, K, N)], False),
    "vector": (MatMul(), [(K,), (2, K, N)], False),
    "gemm": (Gemm(alpha=0.5, beta=2.0), [(M, K), (K, N), (N,)], True),
    "gemm-a": (Gemm(transA=True), [(K, M), (K, N), (M, 1)], False),
    "gemm-b": (Gemm(transB=True), [(M, K), (N, K)], False),
    "gemm-b-constant": (Gemm(transB=True), [(M, K), (N, K), (N,)], True),
    "gemm-both": (Gemm(transA=True, transB=True), [(K, M), (N, K)], True),
    "conv-1d": (Conv(pads=(1, 1)), [(2, 5, 13), (7, 5, 3), (7,)], True),
    "conv-causal": (Conv(pads=(4, 0), dilations=(2,)), [(2, 5, 13), (7, 5, 3)], True),
    "conv-2d": (Conv(pads=(1, 1, 1, 1)), [(1, 3, 7, 9), (20, 3, 3, 3), (20,)], True),
    "conv-inputs": (Conv(pads=(1, 1, 1, 1)), [(1, 4, 6, 7), (8, 4, 3, 3)], False),
    "conv-strided": (Conv(strides=(2, 2), pads=(1, 1, 1, 1)), [(1, 3, 9, 11), (18, 3, 3, 3), (18,)], True),
    "conv-dilated": (Conv(dilations=(2, 1), pads=(2, 0, 2, 0)), [(1, 4, 8, 6), (16, 4, 3, 2)], True),
    "conv-blocked": (Conv(pads=(1, 1, 1, 1)), [(1, 16, 3, 4), (16, 16, 3, 3)], True),
    "conv-1x1": (Conv(), [(1, 16, 5, 6), (24, 16, 1, 1)], True),
    "conv-1x1-strided": (Conv(strides=(2, 2)), [(1, 16, 5, 7), (33, 16, 1, 1)], True),
    "conv-rows": (Conv(pads=(2, 2, 2, 2)), [(2, 1, 9, 13), (2, 1, 5, 5), (2,)], True),
    "conv-rows-1d": (Conv(pads=(4, 4), dilations=(2,)), [(1, 2, 38), (1, 2, 9)], True),
    "conv-rows-blocked": (Conv(pads=(1, 1, 1, 1)), [(1, 16, 5, 8), (1, 16, 3, 3)], True),
    "groups": (Conv(group=2, pads=(1, 1, 1, 1)), [(1, 8, 5, 6), (32, 4, 3, 3)], True),
    "groups-uneven": (Conv(group=3), [(1, 6, 5, 6), (15, 2, 3, 3)], True),
    "depthwise": (Conv(group=16, pads=(1, 1, 1, 1)), [(1, 16, 6, 7), (16, 1, 3, 3)], True),
    "depthwise-partial": (Conv(group=19, strides=(2, 1), pads=(1, 1, 0, 1)), [(1, 19, 7, 6), (19, 1, 3, 3)], True),
    "depthwise-1d": (Conv(group=8, pads=(2, 2)), [(2, 8, 15), (8, 1, 5), (8,)], True),
}
GENERAL = {"vector", "groups-uneven"}  # these are left to the general schedule, at some width at least


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are contractions, and their loops are shared out, as large ones are."""
    monkeypatch.setattr(contraction, "LEAST", 1)
    monkeypatch.setattr(contract, "GRAIN", 1)
    monkeypatch.setattr(schedule, "GRAIN", 1)


def graph_of(row: Row, dtype: np.dtype) -> tuple[Graph, list[np.ndarray]]:
    op, shapes, is_constant = row
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(dtype) for s in shapes]
    inputs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=f"x{k}") for k, a in enumerate(arrays)]
    fixed = range(1, len(arrays)) if is_constant else ()
    values = [
        const(a, dtype_of(a.dtype)) if k in fixed else v for k, (a, v) in enumerate(zip(arrays, inputs, strict=True))
    ]
    given = [k for k in range(len(arrays)) if k not in fixed]
    return Graph([inputs[k] for k in given], op.apply(values)), [arrays[k] for k in given]


def is_tiled(graph: Graph, width: int) -> bool:
    """True if there are products that are added up in registers."""
    for kernel in lowered(graph, width)[1].kernels:
        stores = [s for s in statements(kernel.nest.body) if isinstance(s, Store)]
        if any(isinstance(e, Call) and e.function == "fma" for s in stores for e in walk(s.value)):
            return True
    return False


@pytest.mark.parametrize("width", TARGETS)
@pytest.mark.parametrize("name", ROWS)
def test_is_what_numpy_says(name: str, width: int) -> None:
    graph, arrays = graph_of(ROWS[name], np.dtype(np.float32))
    wide, wider = graph_of(ROWS[name], np.dtype(np.float64))
    (expected,) = interpret(wide, [a.astype(np.float32).astype(np.float64) for a in wider])
    (got,) = run_graph(graph, arrays, width, seed=1)
    np.testing.assert_allclose(got, expected, 1e-4, 1e-4)
    assert is_tiled(graph, width) or name in GENERAL


@pytest.mark.parametrize("width", TARGETS)
def test_few_channels_leave_the_lanes_to_rows(width: int) -> None:
    """What is stored is not blocked, and the image is read at as many places as the kernel has columns."""
    graph, _ = graph_of(ROWS["conv-rows"], np.dtype(np.float32))
    *_, kernel = lowered(graph, width)[1].kernels
    assert kernel.nest.written[0].size == 2 * 2 * 9 * 13
    vectors = [s for s in statements(kernel.nest.body) if isinstance(s, For) and s.kind == "vector"]
    assert {s.index.extent for s in vectors} == {min(8, width // 4)}
    graph, _ = graph_of(ROWS["depthwise"], np.dtype(np.float32))  # many channels, though each has one weight only
    products = [k.nest for k in lowered(graph, width)[1].kernels if len(k.nest.arguments) == 3]
    vectors = [s for s in statements(products[0].body) if isinstance(s, For) and s.kind == "vector"]
    assert {s.index.extent for s in vectors} == {width // 4}


@pytest.mark.parametrize("rows", [7, 8, 9])
def test_rows_that_share_what_they_read_follow_each_other(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache is small: with a dilation of 3 that is every third row."""
    monkeypatch.setitem(TARGETS, 64, replace(TARGETS[64], cache=1))
    row: Row = (Conv(dilations=(3, 1), pads=(3, 1, 3, 1)), [(1, 4, rows, 10), (16, 4, 3, 3)], True)
    graph, arrays = graph_of(row, np.dtype(np.float32))
    kernels = [str(k.nest) for k in lowered(graph, 64)[1].kernels]
    assert any(" s2" in k for k in kernels)
    (got,) = run_graph(graph, arrays, 64, seed=1)
    np.testing.assert_allclose(got, interpret(graph, arrays)[0], 1e-4, 1e-4)


@pytest.mark.parametrize(
    "name", ["matmul-wide", "batch-constant", "conv-strided", "conv-rows", "depthwise-partial", "groups"]
)
def test_parallel_loops_run_in_any_order(name: str) -> None:
    graph, arrays = graph_of(ROWS[name], np.dtype(np.float32))
    (got,) = run_graph(graph, arrays, 64)
    for seed in (1, 2):
        (shuffled,) = run_graph(graph, arrays, 64, seed)
        np.testing.assert_array_equal(shuffled, got)


def prefetched(body: Block, buffer: Buffer, at: Mapping[Index, int] = MappingProxyType({})) -> Iterator[int]:
    """The position of each prefetch in `buffer`."""
    for s in body:
        if isinstance(s, For) and any(isinstance(x, Prefetch) for x in statements(s.body)):
            for i in range(s.index.extent):
                yield from prefetched(s.body, buffer, {**at, s.index: i})
        elif isinstance(s, If) and any(isinstance(x, Prefetch) for x in statements(s.body)):
            assert isinstance(s.condition, Call)
            assert s.condition.function == "lt"
            place, bound = s.condition.args
            assert isinstance(place, Position)
            assert isinstance(bound, Const)
            if evaluate(place.index, at) < bound.value:
                yield from prefetched(s.body, buffer, at)
        elif isinstance(s, Prefetch) and s.buffer is buffer:
            yield evaluate(s.offset, at)


@pytest.mark.parametrize("width", TARGETS)
@pytest.mark.parametrize("sizes", [(50, 37, 200), (50, 64, 320), (61, 100, 192)])
def test_all_panels_after_the_first_are_fetched_ahead(sizes: tuple[int, int, int], width: int) -> None:
    m, k, n = sizes
    graph, _ = graph_of((Gemm(), [(m, k), (k, n)], True), np.dtype(np.float32))
    (nest,) = [x.nest for x in lowered(graph, width)[1].kernels]
    (read,) = {s.buffer for s in statements(nest.body) if isinstance(s, Prefetch)} - {*nest.written}
    found = {at // 16 for at in prefetched(nest.body, read)}
    assert min(found) <= read.size // 32
    assert found >= set(range(min(found), read.size // 16))


@pytest.mark.parametrize("width", TARGETS)
@pytest.mark.parametrize("sizes", [(50, 40, 192), (7, 200, 192), (8, 33, 192)])
def test_what_is_added_and_the_output_are_fetched_during_the_sums(sizes: tuple[int, int, int], width: int) -> None:
    """Every line of theirs, and once where a vector is a line, but for a few beyond the last of a tile."""
    m, k, n = sizes
    a, b, c = (
        Value(TensorType(float32, shape), name=name) for name, shape in {"a": (m, k), "b": (k, n), "c": (m, n)}.items()
    )
    (product,) = MatMul().apply([a, b])
    (nest,) = [x.nest for x in lowered(fuse(Graph([a, b, c], Add().apply([c, product]))), width)[1].kernels][-1:]
    added = [b for b in nest.arguments if b not in nest.written and b.size == m * n]
    for buffer in (*nest.written, *added):
        lines = Counter(at // 16 for at in prefetched(nest.body, buffer))
        assert set(range(m * n // 16)) <= set(lines)
        assert width < 64 or sum(lines.values()) <= 1.5 * m * n / 16
    assert len(added) == 1


@pytest.mark.parametrize("width", TARGETS)
def test_a_chain_keeps_its_blocks(width: int) -> None:
    """Convolutions, a sum and a product: what one stores blocked and with a halo, the next one reads so."""
    rng = np.random.default_rng(0)
    x = Value(TensorType(float32, (1, 3, 4, 5)), name="x")

    def weights(*shape: int) -> Value:
        return const(rng.normal(size=shape).astype(np.float32), float32)

    (a,) = Conv(pads=(1, 1, 1, 1)).apply([x, weights(18, 3, 3, 3), weights(18)])
    (b,) = Conv(pads=(1, 1, 1, 1), group=18).apply([a, weights(18, 1, 3, 3)])
    (c,) = Conv().apply([b, weights(16, 18, 1, 1)])
    (d,) = Conv(pads=(1, 0, 1, 0)).apply([c, weights(5, 16, 3, 2)])
    (e,) = MatMul().apply([d, weights(4, 9)])
    graph = Graph([x], [e, b])
    array = rng.normal(size=(1, 3, 4, 5)).astype(np.float32)
    for got, expected in zip(run_graph(graph, [array], width, seed=2), interpret(graph, [array]), strict=True):
        np.testing.assert_allclose(got, expected, 1e-3, 1e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.int32], ids=lambda d: np.dtype(d).name)
def test_other_element_types(dtype: type) -> None:
    graph, arrays = graph_of(ROWS["matmul"], np.dtype(dtype))
    (got,) = run_graph(graph, arrays, 32)
    np.testing.assert_allclose(got, interpret(graph, arrays)[0], 1e-12)


@pytest.mark.parametrize("padded", [True, False])
def test_panels_cover_the_lanes(padded: bool) -> None:
    for extent in range(1, 80):
        for lanes, vectors in ((4, 1), (4, 3), (8, 2), (16, 4)):
            stored: list[int] = []
            for p in panels(extent, lanes, vectors, padded=padded, whole=False):
                assert p.valid <= p.vectors * p.lanes
                assert p.valid == p.vectors * p.lanes or padded
                for panel in range(p.count):
                    start = p.start + panel * p.vectors * p.lanes
                    places = [start + u * p.step + lane for u in range(p.vectors) for lane in range(p.lanes)]
                    stored += places[: p.valid]
            assert sorted(set(stored)) == list(range(extent))
            assert len(stored) == extent or (not padded and len(stored) < 2 * extent)


@pytest.mark.parametrize("width", TARGETS)
def test_lanes_run_over_what_is_constant(width: int) -> None:
    """Weights are packed before the run, however small the image is beside them."""
    graph, _ = graph_of((Conv(), [(1, 64, 3, 3), (256, 64, 1, 1)], True), np.dtype(np.float32))
    *_, kernel = lowered(graph, width)[1].kernels
    stores = [s for s in statements(kernel.nest.body) if isinstance(s, Store) and s.buffer in kernel.nest.written]
    vectors = [s for s in statements(kernel.nest.body) if isinstance(s, For) and s.kind == "vector"]
    assert {s.index.extent for s in vectors} == {width // 4}
    assert all(s.offset.terms.get(v.index) == 1 for s in stores for v in vectors if v.index in s.offset.terms)
