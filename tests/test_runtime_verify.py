"""`graphc.verify`, the numbers it reports, and ONNX Runtime as a backend."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import graphc
from graphc.difference import compare
from graphc.dims import sym
from graphc.errors import CompileError, ExecutionError, FeedError, Timeout, UnsupportedOp
from graphc.ir import Graph, Node, Value, rebuild
from graphc.models import NETWORKS
from graphc.ops.arithmetic import Add, Mul
from graphc.ops.base import const
from graphc.ops.control import Loop
from graphc.ops.dropout import Dropout
from graphc.passes import pipelines
from graphc.random import random_feeds
from graphc.runtime.backend import Executable, Options, get_backend
from graphc.types import (
    DTYPES,
    DType,
    SequenceType,
    TensorType,
    bfloat16,
    bool_,
    float8e4m3fn,
    float8e5m2,
    float32,
    int4,
    int64,
)


def tensor(name: str, *shape: int | str, dtype: DType = float32) -> Value:
    return Value(TensorType(dtype, tuple(sym(d) if isinstance(d, str) else d for d in shape)), name=name)


def network() -> Graph:
    """y = (x * w + b) * w, with names"""
    x, w, b = tensor("x", "n", 4), const(np.float32([1, 2, 3, 4]), name="w"), const(np.float32(1), name="b")
    scaled = Mul().apply((x, w), "scale")[0]
    shifted = Add().apply((scaled, b), "shift")[0]
    return Graph([x], [Mul().apply((shifted, w), "again")[0]], ["y"], name="net")


class Wrong:
    """NumPy, but nodes called `name` are off by `error`."""

    def __init__(self, name: str, error: float):
        self.name, self.node, self.error = "wrong", name, error

    def supports(self, node: Node) -> str | None:
        return None

    def compile(self, graph: Graph, options: Options) -> Executable:
        return get_backend("numpy").compile(self.spoil(graph), options)

    def spoil(self, graph: Graph) -> Graph:
        def visit(node: Node, inputs: Sequence[Value | None]) -> Sequence[Value] | None:
            if node.name != self.node:
                return None
            return [node.op.apply(inputs, node.name)[0] + self.error]

        return rebuild(graph, visit)


class TestBetweenBackends:
    def test_agreement(self):
        result = graphc.verify(network())
        assert result.ok
        assert result
        assert [r.where for r in result.rows] == ["Mul 'scale'", "Add 'shift'", "Mul 'again'"]
        assert "3 compared, all agree" in str(result)

    def test_the_first_divergence_is_named(self):
        result = graphc.verify(network(), backends=["numpy", Wrong("shift", 0.5)])
        assert not result.ok
        assert not result
        assert result.first is not None
        assert result.first.where == "Add 'shift'"
        assert result.first.difference is not None
        assert result.first.difference.max_abs == pytest.approx(0.5, rel=1e-3)
        assert result.summary.startswith("2 of 3 differ, first at Add 'shift' (f32[n,4]; wrong / numpy): max abs 0.5")
        assert "DIFFERS" in str(result)

    def test_tolerances(self):
        backends = ["numpy", Wrong("shift", 1e-3)]
        assert not graphc.verify(network(), backends=backends)
        assert graphc.verify(network(), backends=backends, rtol=0.1, atol=0.1)

    def test_feeds_and_seed(self):
        x = np.zeros((3, 4), np.float32)
        assert graphc.verify(network(), {"x": x})
        with pytest.raises(FeedError, match="dimension 1 is 5"):
            graphc.verify(network(), {"x": np.zeros((3, 5), np.float32)})

    def test_what_is_random_is_not_compared_and_not_counted(self):
        x = tensor("x", 50)
        dropped = Dropout()(x, const(np.float32(0.5)), const(True))
        result = graphc.verify(Graph([x], [(x + x) * dropped], name="g"))
        assert result.summary.startswith("1 compared, all agree")
        assert result.summary.endswith("; 2 random, not compared")

    @pytest.mark.parametrize("training", [None, const(False)])
    def test_dropout_outside_training_is_compared(self, training: Value | None):
        x = tensor("x", 50)
        result = graphc.verify(Graph([x], [Dropout()(x, const(np.float32(0.5)), training) * x], name="g"))
        assert result.summary.startswith("2 compared, all agree")
        assert "random" not in result.summary

    def test_one_backend_is_not_enough(self):
        with pytest.raises(CompileError, match="at least two backends, got 1"):
            graphc.verify(network(), backends=["numpy"])

    @pytest.mark.parametrize("name", ["mlp", "lenet5", "temperature_mlp"])
    def test_networks_of_the_zoo(self, name: str):
        result = graphc.verify(NETWORKS[name](batch="n"))
        assert result.ok, result.summary


class TestBetweenPasses:
    def test_agreement(self):
        assert graphc.verify(NETWORKS["lenet5"](), passes=True, backends=["numpy"])

    def test_the_guilty_pass_is_named(self, monkeypatch: pytest.MonkeyPatch):
        def break_things(graph: Graph) -> Graph:
            return Wrong("shift", 0.5).spoil(graph)

        steps = (*pipelines.O1, pipelines.Step(break_things, "for the test"))
        monkeypatch.setitem(pipelines.PIPELINES, 1, steps)
        result = graphc.verify(network(), passes=True, level=1)
        assert result.first is not None
        assert result.first.where == "pass break_things"
        assert "first at pass break_things (y: f32[n,4]; after break_things / before all)" in result.summary


class TestDifference:
    def test_equal(self):
        d = compare(np.float32([1, np.nan, np.inf]), np.float32([1, np.nan, np.inf]))
        assert d.ok
        assert (d.max_abs, d.max_rel, d.ulp) == (0, 0, 0)

    def test_units_in_the_last_place(self):
        one = np.float32([1, -1, 0])
        assert compare(np.nextafter(one, np.float32(9)), one).ulp == 1
        assert compare(np.float32([-0.0]), np.float32([0.0])).ulp == 0
        assert compare(np.float64([1 + 2**-50]), np.float64([1])).ulp == 4
        assert compare(np.float16([1]), np.float16([1.001])).ulp == 1
        assert compare(np.array([1], ml_dtypes.bfloat16), np.array([1.0078125], ml_dtypes.bfloat16)).ulp == 1
        assert compare(np.float32([1e-45]), np.float32([-1e-45])).ulp == 2

    def test_magnitudes(self):
        d = compare(np.float32([1, 2.5]), np.float32([1, 2]))
        assert not d.ok
        assert (d.max_abs, d.max_rel) == (0.5, 0.25)

    def test_cancellation_is_judged_by_the_size_of_the_tensor(self):
        reference = np.float32([100, -100, 1e-6])
        assert compare(reference + np.float32([0, 0, 1e-3]), reference).ok
        assert not compare(np.float32([1e-6]), np.float32([2e-6]), atol=0).ok

    def test_nan_and_infinity_on_one_side(self):
        for a, b in (([np.nan], [1]), ([1], [np.nan]), ([np.inf], [-np.inf]), ([np.inf], [3e38])):
            d = compare(np.float32(a), np.float32(b))
            assert not d.ok
            assert "1 of 1 elements are NaN or infinite on one side only" in d.note

    def test_exact_types(self):
        assert compare(np.array([1, 2]), np.array([1, 2])).ok
        d = compare(np.array([1, 2], np.uint8), np.array([1, 255], np.uint8))
        assert (d.ok, d.max_abs, d.note) == (False, 253, "1 of 2 elements differ")
        assert not compare(np.array(["a"], object), np.array(["b"], object)).ok
        assert not compare(np.array([True]), np.array([False])).ok

    def test_shapes_and_types(self):
        assert compare(np.zeros(2), np.zeros(3)).note == "float64[2] instead of float64[3]"
        assert not compare(np.zeros(2, np.float32), np.zeros(2)).ok

    def test_sequences_and_nothing(self):
        assert compare([np.zeros(2)], [np.zeros(2)]).ok
        assert compare([], []).ok
        assert not compare([np.zeros(2)], []).ok
        assert not compare([np.zeros(2), np.ones(2)], [np.zeros(2), np.zeros(2)]).ok
        assert compare(None, None).ok
        assert not compare(None, np.zeros(2)).ok

    def test_empty(self):
        assert compare(np.zeros((0, 3)), np.zeros((0, 3))).ok

    @pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "string"], ids=str)
    def test_every_element_type(self, dtype: DType):
        x = np.zeros(3, dtype.numpy)
        assert compare(x, x).ok


class TestRandomFeeds:
    def test_symbols_are_shared(self):
        feeds = random_feeds(Graph([tensor("a", "n", "m"), tensor("b", "m", "n")], [], name="g"))
        assert feeds["a"].shape == (2, 8)
        assert feeds["b"].shape == (8, 2)

    def test_what_is_given_decides(self):
        graph = Graph([tensor("a", "n", "m"), tensor("b", "m")], [])
        feeds = random_feeds(graph, given={"a": np.zeros((3, 5), np.float32)})
        assert feeds["b"].shape == (5,)

    def test_the_seed_decides(self):
        graph = Graph([tensor("a", 4)], [])
        assert np.array_equal(random_feeds(graph)["a"], random_feeds(graph)["a"])
        assert not np.array_equal(random_feeds(graph)["a"], random_feeds(graph, seed=1)["a"])

    def test_an_unknown_rank(self):
        with pytest.raises(FeedError, match=r"input 'a' has no known rank.*bindings=\{'a': \(…\)\}"):
            random_feeds(Graph([Value(TensorType(float32, None), name="a")], []))

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_element_type(self, dtype: DType):
        x = random_feeds(Graph([tensor("a", 3, dtype=dtype)], []))["a"]
        assert x.dtype == dtype.numpy
        assert x.shape == (3,)

    def test_sequences(self):
        s = Value(SequenceType(TensorType(float32, (3,))), name="s")
        assert [x.shape for x in random_feeds(Graph([s], []))["s"]] == [(3,), (3,)]


class TestOnnxRuntime:
    def compiled(self, graph: Graph, **options: Any) -> graphc.CompiledModel:
        return graphc.compile(graph, backend="onnxruntime", **options)

    def test_runs(self):
        x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
        expected = graphc.compile(network())(x)
        np.testing.assert_allclose(self.compiled(network(), threads=1)(x), expected, rtol=1e-5)

    def test_telemetry_is_off(self):
        get_backend("onnxruntime").compile(network(), Options())
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"

    def test_bfloat16(self):
        x = tensor("x", 2, dtype=bfloat16)
        y = self.compiled(Graph([x], [x, x], ["y", "z"]), level=0)(np.array([1, 2.5], ml_dtypes.bfloat16))[0]
        assert y.dtype == ml_dtypes.bfloat16
        assert y.tolist() == [1, 2.5]

    @pytest.mark.parametrize("dtype", [float8e5m2, float8e4m3fn], ids=str)
    def test_float8(self, dtype: DType):
        x = tensor("x", 2, dtype=dtype)
        y = self.compiled(Graph([x], [x, x], ["y", "z"]), level=0)(np.array([1, 2.5], dtype.numpy))[1]
        assert y.dtype == dtype.numpy
        assert y.tolist() == [1, 2.5]

    def test_an_element_type_that_it_lacks(self):
        x = tensor("x", 2, dtype=int4)
        with pytest.raises((UnsupportedOp, CompileError), match="onnxruntime"):
            self.compiled(Graph([x], [x], ["y"]), level=0)(np.array([1, 2], ml_dtypes.int4))

    def test_outputs_are_the_callers_own(self):
        x = tensor("x", 2)
        a = np.float32([1, 2])
        first, second = self.compiled(Graph([x], [x, x], ["y", "z"]))(a)
        first[:] = 0
        assert second.tolist() == [1, 2]
        assert a.tolist() == [1, 2]

    def test_threads_share_a_model(self):
        model = self.compiled(network(), threads=1)
        xs = [np.full((i % 3 + 1, 4), i, np.float32) for i in range(16)]
        with ThreadPoolExecutor(8) as pool:
            for x, y in zip(xs, pool.map(model, xs), strict=True):
                np.testing.assert_array_equal(y, graphc.compile(network())(x))

    def test_after_a_fork(self):
        model = self.compiled(network(), threads=2)
        x = np.ones((2, 4), np.float32)
        expected = model(x)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply_async(model, (x,)).get(timeout=60), expected)

    def test_an_endless_loop_can_be_stopped(self):
        trips = tensor("trips", dtype=int64)
        start = tensor("start", 1)
        i, go, state = tensor("i", dtype=int64), tensor("go", dtype=bool_), tensor("state", 1)
        body = Graph([i, go, state], [go, state + state], ["go_on", "state_out"])
        y = Loop(body)(trips, None, start)
        model = self.compiled(Graph([trips, start], [y], ["y"]), level=0)
        one = np.ones(1, np.float32)
        with pytest.raises(Timeout):
            model.run({"trips": np.int64(1 << 60), "start": one}, timeout=0.3)
        assert model.run({"trips": 3, "start": one})["y"] == 8

    def test_what_it_says_when_it_fails(self):
        a, b = tensor("a", "n"), tensor("b", "m")
        with pytest.raises(ExecutionError, match="onnxruntime fails:"):
            self.compiled(Graph([a, b], [a + b], ["y"]))(np.ones(2, np.float32), np.ones(3, np.float32))

    def test_profile_gives_the_whole(self):
        profile = self.compiled(network()).profile({"x": np.ones((2, 4), np.float32)}, repeat=2)
        assert profile.nodes == ()
        assert "compiles nodes together" in str(profile)
