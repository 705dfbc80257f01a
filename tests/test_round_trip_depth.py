"""Deep bodies and long chains: they print, verify, pickle and go to ONNX, or say that they are too deep."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from cases.control import body
from test_control import STEP, TRUE, fused_nest, if_nest, loop_nest, x

from graphc.equality import graph_equal
from graphc.errors import InvalidModel, ResourceLimit
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.activation import Relu
from graphc.ops.control import If
from graphc.parse import parse
from graphc.text import format_graph, weights
from graphc.types import TensorType, float32
from graphc.verifier import verify_graph

NESTS = [fused_nest, if_nest, loop_nest]
FEEDS = {1: [x], 2: [TRUE, x], 3: [STEP, TRUE, x]}
every_nest = pytest.mark.parametrize("make", NESTS)
Make = Callable[[int], Graph]


@every_nest
def test_200_deep(make: Make) -> None:
    assert sys.getrecursionlimit() <= 1000
    start = time.perf_counter()
    graph = make(200)
    verify_graph(graph)
    text = format_graph(graph)
    for again in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert graph_equal(graph, again)
        assert format_graph(again) == text
    loaded = load(save(graph), strict=True)
    np.testing.assert_array_equal(interpret(loaded, FEEDS[len(graph.inputs)])[-1], x + 1)
    assert graph_equal(loaded, load(save(loaded), strict=True))
    assert time.perf_counter() - start < 20


@every_nest
def test_the_parser_reads_40_levels(make: Make) -> None:
    graph = make(40)
    assert graph_equal(graph, parse(format_graph(graph), weights(graph)))


@every_nest
def test_the_parser_refuses_what_is_too_deep(make: Make) -> None:
    graph = make(250)
    with pytest.raises(InvalidModel, match="nested too deeply"):
        parse(format_graph(graph), weights(graph))


@pytest.mark.parametrize("make", [if_nest, loop_nest])
def test_a_file_that_protobuf_would_not_read_is_refused(make: Make) -> None:
    file = io.BytesIO()
    save(make(24), file)
    load(file.getvalue(), strict=True)
    refused = io.BytesIO()
    with pytest.raises(ResourceLimit, match="sub-graphs nest 40 deep"):
        save(make(40), refused)
    assert not refused.getvalue()


def test_a_shared_body_is_pickled_once() -> None:
    """Each level has the one below twice: 2^30 bodies, of which 31 differ."""
    graph = body(lambda c, a: a + 1.0, TRUE, x)
    for _ in range(30):
        graph = body(lambda c, a, inner=graph: If(inner, inner)(c, c, a), TRUE, x)
    data = pickle.dumps(graph)
    assert len(data) < 50_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(interpret(again, [TRUE, x])[0], x + 1)


def test_a_long_chain_without_names() -> None:
    v = given = Value(TensorType(float32, (4,)), name="x")
    for _ in range(20_000):
        v = Relu()(v)
    graph = Graph([given], [v])
    start = time.process_time()
    assert graph_equal(graph, load(save(graph)), names=False)
    assert graph_equal(graph, pickle.loads(pickle.dumps(graph)))
    assert graph_equal(graph, parse(format_graph(graph)))
    assert time.process_time() - start < 30
