"""Ops in terms of others: the same values, with names that lead back, and left alone where that would be wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conformance import Case, all_cases, compare

from graphc.backends.llvm import LlvmBackend
from graphc.errors import ExecutionError
from graphc.interpret import interpret
from graphc.ir import Graph, Node, Op, Value, retype
from graphc.ops.base import const
from graphc.ops.control import Loop
from graphc.ops.conv import ConvTranspose
from graphc.ops.recurrent import GRU, LSTM, RNN
from graphc.ops.sampling import RandomNormal
from graphc.passes.bodies import is_pure
from graphc.passes.decompose import decompose
from graphc.runtime.backend import Options
from graphc.types import TensorType, bool_, float32, int32, int64


def decomposes(node: Node) -> bool:
    return type(node.op).decompose is not Op.decompose and is_pure(node)


CASES = [c for c in all_cases() if any(decomposes(n) for n in c.graph().nodes)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_decomposed_is_the_same(case: Case) -> None:
    feeds = case.feeds()
    graph = case.graph()
    types = [TensorType(v.dtype, x.shape) if isinstance(v.type, TensorType) else v.type
             for v, x in zip(graph.inputs, feeds, strict=True)]  # fmt: skip
    graph = retype(graph, types)
    for got, want in zip(interpret(decompose(graph), feeds), interpret(graph, feeds), strict=True):
        compare(got, want, max(case.rtol, 1e-5), case.atol)


def test_names_lead_back() -> None:
    x, w, r = (Value(TensorType(float32, s), name=n) for s, n in (((3, 1, 2), "x"), ((1, 6, 2), "w"), ((1, 6, 2), "r")))
    graph = Graph([x, w, r], GRU(outputs=2).apply((x, w, r), "gru"))
    after = decompose(graph)
    assert [v.name for v in after.outputs] == ["gru", "gru#1"]
    assert all(n.name.startswith("gru") for n in after.nodes if n.inputs)


@pytest.mark.parametrize("layer", [RNN, GRU, LSTM])
@pytest.mark.parametrize("length", [-1, 4])
def test_a_sequence_length_out_of_range_is_an_error(layer: type[Op], length: int) -> None:
    n = {RNN: 1, GRU: 3, LSTM: 4}[layer] * 2  # type: ignore[index]
    inputs = [Value(TensorType(float32, s), name=f"x{i}") for i, s in enumerate([(3, 1, 2), (1, n, 2), (1, n, 2)])]
    lengths = Value(TensorType(int32, (1,)), name="lengths")
    graph = Graph([*inputs, lengths], [layer()(*inputs, None, lengths)])
    feeds = [*(np.zeros(x.shape, np.float32) for x in inputs), np.array([length], np.int32)]  # type: ignore[arg-type]
    for g in (graph, decompose(graph)):
        with pytest.raises(ExecutionError):
            interpret(g, feeds)


def test_many_steps_are_not_unrolled() -> None:
    x, w = Value(TensorType(float32, (1000, 1, 2)), name="x"), Value(TensorType(float32, (1, 2, 2)), name="w")
    graph = Graph([x, w], [RNN()(x, w, w)])
    assert decompose(graph) is graph


def loop(trips: int, drawn: bool) -> Graph:
    x = Value(TensorType(float32, (2,)), name="x")
    i, going, carried = (Value(TensorType(d, s), name=n) for d, s, n in (
        (int64, (), "i"), (bool_, (), "going"), (float32, (2,), "carried")))  # fmt: skip
    body = Graph([i, going, carried], [going, carried + (RandomNormal((2,))() if drawn else i.cast(float32))])
    return Graph([x], [Loop(body)(const(trips, int64), None, x)])


def test_loops_unroll_where_that_is_little_code() -> None:
    after = decompose(loop(3, drawn=False))
    assert not any(n.op.name == "Loop" for n in after.nodes)
    assert interpret(after, [np.zeros(2, np.float32)])[0].tolist() == [3, 3]
    for graph in (loop(1000, drawn=False), loop(3, drawn=True)):  # each trip draws numbers of its own
        assert decompose(graph) is graph


def transposed(**attributes: tuple[int, ...]) -> Graph:
    x, w = Value(TensorType(float32, (1, 2, 4)), name="x"), Value(TensorType(float32, (2, 1, 3)), name="w")
    return Graph([x, w], [ConvTranspose(**attributes)(x, w)])


@pytest.mark.parametrize(("stride", "dilation"), list(product((1, 2, 3, 4), (1, 2, 3, 4, 6))))
def test_transposed_convolution(monkeypatch: pytest.MonkeyPatch, stride: int, dilation: int) -> None:
    """As a direct convolution, and as a gather where it is none."""
    graph = transposed(
        strides=(stride,), dilations=(dilation,), pads=(1, 2), output_padding=(max(stride, dilation) // 2,)
    )
    rng = np.random.default_rng(0)
    feeds = [rng.standard_normal(s).astype(np.float32) for s in ((1, 2, 4), (2, 1, 3))]
    (want,) = interpret(graph, feeds)
    np.testing.assert_allclose(interpret(decompose(graph), feeds)[0], want, atol=1e-5)
    monkeypatch.setattr(ConvTranspose, "decompose", Op.decompose)
    assert LlvmBackend().supports(graph.nodes[0]) is None
    (got,) = LlvmBackend().compile(graph, Options()).run(feeds)
    np.testing.assert_allclose(got, want, atol=1e-5)
