"""Random graphs through everything that carries them: listings, pickles, ONNX files, and ONNX Runtime."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import onnx
import pytest
from graphgen import graphs
from hypothesis import given
from modelgen import feeds_for, models, renamed

from graphc.equality import graph_equal
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.ops.base import Constant
from graphc.parse import parse
from graphc.passes.manager import optimize
from graphc.text import format_graph, weights
from graphc.types import TensorType
from graphc.verifier import verify_graph


def distinct_outputs(graph: Graph) -> Graph:
    """`graph` without the outputs that ONNX has to copy: inputs, constants, and those that are there twice."""
    made = dict.fromkeys(v for v in graph.outputs if v.node is not None and not isinstance(v.node.op, Constant))
    return graph.with_outputs(list(made), [f"y{i}" for i in range(len(made))])


def has_ranks(graph: Graph) -> bool:
    """ONNX's checker takes no input or output without one."""
    return all(v.type.shape is not None for v in graph.outputs if isinstance(v.type, TensorType))


def same_results(before: Graph, after: Graph) -> None:
    feeds = feeds_for(before, 0)
    for got, want in zip(interpret(after, feeds), interpret(before, feeds), strict=True):
        same_data(got, want, 0)


def same_data(got: object, want: object, tolerance: float) -> None:
    if isinstance(want, list):
        assert isinstance(got, list)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            same_data(g, w, tolerance)
        return
    assert isinstance(got, np.ndarray)
    assert isinstance(want, np.ndarray)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@given(graph=models())
def test_listing_and_pickle(graph: Graph) -> None:
    text = format_graph(graph)
    for again in (parse(text, weights(graph)), pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert graph_equal(graph, again)
        assert format_graph(again) == text
    verify_graph(graph)


@given(graph=models())
def test_onnx_carries_the_results(graph: Graph) -> None:
    model = save(graph)
    if has_ranks(graph):
        onnx.checker.check_model(model, full_check=True)
    again = load(model.SerializeToString(), strict=True)
    verify_graph(again)
    same_results(graph, again)
    assert graph_equal(again, load(save(again), strict=True))


@given(graph=graphs())
def test_onnx_carries_the_graph(graph: Graph) -> None:
    """Exact, where every node has a name and ONNX need not copy an output."""
    graph = distinct_outputs(graph)
    numbers = itertools.count()
    graph = renamed(graph, lambda node: f"{node.op.name}.{next(numbers)}")
    if graph.outputs:
        assert graph_equal(graph, load(save(graph), strict=True))


@given(graph=models())
def test_an_optimized_graph_goes_to_onnx(graph: Graph) -> None:
    after, _ = optimize(graph)
    model = save(after)
    if has_ranks(after):
        onnx.checker.check_model(model, full_check=True)
    same_results(after, load(model, strict=True))


@given(graph=graphs())
def test_onnxruntime_agrees(graph: Graph) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(save(graph).SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = feeds_for(graph, 0)
    given = dict(zip((v.name for v in graph.inputs), feeds, strict=True))
    for got, want in zip(session.run(None, given), interpret(graph, feeds), strict=True):
        same_data(got, want, 1e-5)
