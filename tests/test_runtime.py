"""Compiled models: calling them, what they return, what they are made of, and how long they live."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphc.autodiff.gradient import grad
from graphc.dims import sym
from graphc.errors import (
    BackendUnavailable,
    CompileError,
    ExecutionError,
    FeedError,
    ResourceLimit,
    Timeout,
)
from graphc.interpret import Data, interpret
from graphc.ir import Graph, Node, Op, Value
from graphc.limits import Limits
from graphc.ops.base import const
from graphc.passes.manager import optimize
from graphc.passes.specialize import specialize
from graphc.runtime.backend import Options, backend_names, get_backend, unavailable_reason
from graphc.runtime.compile import compile
from graphc.runtime.frontends import save
from graphc.runtime.model import CompiledModel
from graphc.types import TensorType, float32, int32


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def tensor(name: str, *shape: int | str, dtype: Any = float32) -> Value:
    return Value(TensorType(dtype, tuple(sym(d) if isinstance(d, str) else d for d in shape)), name=name)


def small() -> Graph:
    """z = x * y + x and d = x - y"""
    x, y = tensor("x", "n", 4), tensor("y", "n", 4)
    return Graph([x, y], [x * y + x, x - y], ["z", "d"], name="small")


def single(name: str = "y") -> Graph:
    x = tensor("x", "n", 4)
    return Graph([x], [x + x], [name], name="single")


class Sleep(Op):
    """x, after `seconds` if it is 0, at once if it is 1. For tests of timeouts and interruption."""

    seconds: float = 0.01

    def infer(self, x: Value) -> TensorType:
        return x.tensor

    def eval(self, x: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds * (1 - float(x[0])))
        return x


def sleeping(nodes: int, seconds: float = 0.01) -> Graph:
    x = y = tensor("x", 1)
    for _ in range(nodes):
        y = Sleep(seconds)(y)
    return Graph([x], [y], ["y"])


A, B = random(3, 4), random(3, 4, seed=1)


@pytest.fixture(params=["numpy", "llvm"])
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compile` compiles for each of the backends whose behaviour is graphc's own."""
    monkeypatch.setitem(globals(), "compile", partial(compile, backend=request.param))


@pytest.mark.usefixtures("each_backend")
class TestCall:
    def test_several_outputs_are_a_tuple(self):
        z, d = compile(small())(A, B)
        np.testing.assert_allclose(z, A * B + A, rtol=1e-6)
        np.testing.assert_array_equal(d, A - B)

    def test_one_output_is_an_array(self):
        np.testing.assert_array_equal(compile(single())(A), A + A)

    def test_run_by_name(self):
        results = compile(small()).run({"y": B, "x": A})
        assert list(results) == ["z", "d"]

    def test_run_selects_and_orders_outputs(self):
        model = compile(small())
        assert list(model.run({"y": B, "x": A}, ["d", "z"])) == ["d", "z"]
        assert list(model.run({"y": B, "x": A}, "d")) == ["d"]
        assert model.run({"y": B, "x": A}, []) == {}

    def test_an_unknown_output(self):
        with pytest.raises(FeedError, match=r"no output 'dd'. Did you mean 'd'\? It has 'z', 'd'"):
            compile(small()).run({"y": B, "x": A}, ["dd"])

    def test_run_with_a_list_or_one_array(self):
        assert list(compile(small()).run([A, B])) == ["z", "d"]
        np.testing.assert_array_equal(compile(single()).run(A)["y"], A + A)
        with pytest.raises(FeedError, match=r"one ndarray, but the model has 2 inputs. Pass a dict"):
            compile(small()).run(A)

    def test_feeds_are_checked(self):
        with pytest.raises(FeedError, match=r"n is 3 \(x\) and 2 \(y\)"):
            compile(small())(A, B[:2])

    def test_empty_arrays(self):
        z, _ = compile(small())(A[:0], B[:0])
        assert z.shape == (0, 4)

    def test_safe_cast(self):
        x = tensor("x", 2, dtype=int32)
        model = compile(Graph([x], [x + x], ["y"]), cast="safe")
        assert model(np.array([1, 2], np.int8)).tolist() == [2, 4]
        with pytest.raises(CompileError, match="cast='yes' is not known"):
            compile(single(), cast="yes")  # type: ignore[arg-type]


@pytest.mark.usefixtures("each_backend")
class TestOwnership:
    def identity(self) -> tuple[CompiledModel, np.ndarray]:
        weight = np.arange(4, dtype=np.float32)
        x, w = tensor("x", 4), const(weight)
        y = x + w
        return compile(Graph([x], [x, w, y, y], ["x_out", "w", "y", "y_again"]), level=0), weight

    def test_outputs_are_writeable_and_the_callers_own(self):
        model, weight = self.identity()
        x = np.ones(4, np.float32)
        first = model(x)
        assert not any(np.shares_memory(a, x) or np.shares_memory(a, weight) for a in first)
        for i, a in enumerate(first):
            assert not any(np.shares_memory(a, b) for b in first[i + 1 :])
            a[:] = -1
        assert x.tolist() == [1, 1, 1, 1]
        assert [a.tolist() for a in model(x)] == [[1, 1, 1, 1], [0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]]

    def test_inputs_are_not_changed(self):
        x, y = A.copy(), B.copy()
        compile(small())(x, y)
        assert np.array_equal(x, A)
        assert np.array_equal(y, B)

    def test_read_only_inputs(self):
        x = A.copy()
        x.flags.writeable = False
        compile(single())(x)[0, 0] = 5

    def test_changing_the_callers_weights_afterwards_does_not_matter_for_outputs(self):
        model, weight = self.identity()
        result = model(np.zeros(4, np.float32))[1]
        result[:] = 9
        assert weight.tolist() == [0, 1, 2, 3]


class TestDescription:
    def test_ports(self):
        model = compile(small())
        assert [(p.name, str(p.dtype), str(p.shape)) for p in model.inputs] == [
            ("x", "float32", "(n, 4)"),
            ("y", "float32", "(n, 4)"),
        ]
        assert [p.name for p in model.outputs] == ["z", "d"]
        assert str(model.outputs[0]) == "z: float32 [n,4]"

    def test_repr(self):
        assert repr(compile(single())) == "<CompiledModel 'single' on numpy: (x: float32 [n,4]) -> (y: float32 [n,4])>"

    def test_placement(self):
        placement = compile(small(), level=0).placement()
        assert {p.backend for p in placement} == {"numpy"}
        assert {p.op for p in placement} == {"Add", "Mul", "Sub"}
        assert "supported" in str(placement)

    def test_explain(self):
        x = tensor("x", 2)
        report = compile(Graph([x], [x + (const(np.float32([1, 2])) + const(np.float32([3, 4])))], ["y"])).explain()
        folded = next(p for p in report.passes if p.name == "fold_constants")
        assert folded.after < folded.before
        assert folded.fired
        assert "fold_constants" in str(report)

    def test_source_and_graph(self):
        graph = small()
        model = compile(graph)
        assert model.source is graph
        assert model.graph.output_names == graph.output_names

    def test_profile(self):
        graph = sleeping(3)
        profile = compile(graph, level=0).profile([np.zeros(1, np.float32)], repeat=2)
        assert [t.op for t in profile] == ["Sleep"] * 3
        assert all(0.01 <= t.seconds < 0.1 for t in profile)
        assert 0.03 <= profile.seconds < 0.3
        assert list(profile.by_op()) == ["Sleep"]
        assert "ms a run (median of 2)" in str(profile)

    def test_profile_names_what_is_fused(self):
        assert set(compile(small()).profile([A, B]).by_op()) & {"Mul+Add", "Mul+Add+Sub"}

    def test_profile_counts_arithmetic(self):
        x = tensor("x", 64, 64)
        (timing,) = compile(Graph([x], [x + x], ["y"])).profile([random(64, 64)])
        assert timing.flops == 64 * 64
        assert timing.gflops is not None
        assert timing.gflops > 0


class TestBindings:
    def test_a_symbol(self):
        model = compile(small(), bindings={"n": 3})
        assert model.inputs[0].shape == (3, 4)
        assert model.outputs[0].shape == (3, 4)
        with pytest.raises(FeedError, match="dimension 0 is 2, expected 3"):
            model(A[:2], B[:2])

    def test_a_whole_shape(self):
        graph = specialize(small(), {"x": (5, 4)})
        assert [v.shape for v in graph.inputs] == [(5, 4), (5, 4)]

    def test_a_shape_for_an_unknown_rank(self):
        x = Value(TensorType(float32, None), name="x")
        graph = specialize(Graph([x], [x + x], ["y"]), {"x": (2, "m")})
        assert str(graph.outputs[0].type) == "f32[2,m]"

    def test_renaming_a_symbol(self):
        graph = specialize(small(), {"x": ("rows", 4)})
        assert {str(v.type) for v in graph.inputs} == {"f32[rows,4]"}

    @pytest.mark.parametrize(
        ("bindings", "error", "message"),
        [
            ({"m": 3}, CompileError, "no symbolic dimension 'm'. There is 'n'"),
            ({"z": (1, 4)}, CompileError, "no input 'z'"),
            ({"n": -1}, CompileError, "'n' cannot be -1"),
            ({"x": (3, 5)}, CompileError, r"shape \[3,5\] does not fit the declared f32\[n,4\]"),
            ({"x": (3,)}, CompileError, "does not fit"),
            ({"x": (3, 4), "y": (2, 4)}, CompileError, "n is 2 in the shape of 'y' and 3 elsewhere"),
            ({"n": True}, CompileError, "'n' cannot be True"),
            ({"n": 2.5}, CompileError, "'n' cannot be 2.5"),
        ],
    )
    def test_refused(self, bindings: Any, error: type[Exception], message: str):
        with pytest.raises(error, match=message):
            specialize(small(), bindings)


class TestWhatIsNoGraph:
    @pytest.mark.parametrize("given", ["model.onnx", None, compile(small())])
    def test_is_refused_with_what_to_do(self, given: Any):
        calls: list[Callable[[], object]] = [
            lambda: optimize(given), lambda: grad(given), lambda: save(given, "x.onnx"), lambda: specialize(given, {}),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(CompileError, match=r"expected a Graph, got .*graphc\.load"):
                call()

    def test_one_name_for_grad(self):
        graph = small()
        name = graph.inputs[0].name
        assert grad(graph, name).output_names == grad(graph, [name]).output_names


class TestBackends:
    def test_names(self):
        assert {"numpy", "onnxruntime"} <= set(backend_names())
        assert unavailable_reason("numpy") is None

    def test_an_unknown_one(self):
        with pytest.raises(BackendUnavailable, match=r"Did you mean 'numpy'\? Available: llvm, numpy"):
            compile(single(), backend="nunpy")

    def test_one_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(BackendUnavailable) as info:
            get_backend("onnxruntime")
        assert "pip install 'graphc[verify]'" in str(info.value)
        assert "Available: llvm, numpy" in str(info.value)

    def test_one_that_fails_to_import(self, monkeypatch: pytest.MonkeyPatch):
        def fail(self: object) -> object:
            raise ImportError("libfoo.so is missing")

        monkeypatch.setattr("importlib.metadata.EntryPoint.load", fail)
        with pytest.raises(BackendUnavailable, match=r"backend 'numpy' cannot be loaded: libfoo.so is missing"):
            get_backend("numpy")

    def test_an_object_with_a_reason_for_each_node(self):
        class Partial:
            name = "partial"

            def supports(self, node: Node) -> str | None:
                return None if node.op.name == "Add" else f"{node.op.name} is not written yet"

            def compile(self, graph: Graph, options: Options) -> Any:
                return get_backend("numpy").compile(graph, options)

        model = compile(small(), backend=Partial(), level=0)
        placed = {p.op: (p.backend, p.reason) for p in model.placement()}
        assert placed["Add"] == ("partial", "")
        assert placed["Mul"] == ("numpy", "Mul is not written yet")

    def test_threads(self):
        assert compile(single(), threads=2)(A).shape == (3, 4)
        with pytest.raises(CompileError, match="threads=0"):
            compile(single(), threads=0)


@pytest.mark.usefixtures("each_backend")
class TestLife:
    def test_close(self):
        with compile(single()) as model:
            model(A)
        model.close()
        assert "closed" in repr(model)
        for use in (lambda: model(A), lambda: model.run({"x": A}), lambda: model.profile([A])):
            with pytest.raises(ExecutionError, match=r"the model is closed. Compile it again"):
                use()

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies_run(self, duplicate: Any):
        model = compile(small(), cast="safe", limits=Limits(max_nodes=7))
        again = duplicate(model)
        assert isinstance(again, CompiledModel)
        np.testing.assert_array_equal(again(A, B)[0], model(A, B)[0])
        assert again.inputs == model.inputs
        assert str(again.explain()) == str(model.explain())
        model.close()
        again(A, B)

    def test_a_copy_of_a_closed_model_is_closed(self):
        model = compile(single())
        model.close()
        with pytest.raises(ExecutionError, match="closed"):
            copy.deepcopy(model)(A)

    def test_threads_share_a_model(self):
        model = compile(small())
        xs = [random(i % 5 + 1, 4, seed=i) for i in range(64)]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda x: model(x, x)[0], xs))
        for x, z in zip(xs, results, strict=True):
            np.testing.assert_allclose(z, x * x + x, rtol=1e-6)

    def test_after_a_fork(self):
        model = compile(single())
        model(A)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = pool.map(model, [A, A + 1])
        np.testing.assert_array_equal(results[1], (A + 1) * 2)

    def test_same_bits_every_time(self):
        model = compile(small())
        assert len({model(A, B)[0].tobytes() for _ in range(5)}) == 1


@pytest.mark.usefixtures("each_backend")
class TestStopping:
    def test_a_timeout_of_one_run(self):
        model = compile(sleeping(1000), level=0)
        start = time.perf_counter()
        with pytest.raises(Timeout, match=r"stopped after 0.05 s"):
            model.run([np.zeros(1, np.float32)], timeout=0.05)
        assert time.perf_counter() - start < 1

    def test_a_timeout_in_the_limits(self):
        model = compile(sleeping(1000), level=0, limits=Limits(timeout_s=0.5))
        with pytest.raises(Timeout):
            model.run([np.zeros(1, np.float32)], timeout=0.05)
        with pytest.raises(Timeout):
            model(np.zeros(1, np.float32))

    def test_a_timeout_of_compilation(self):
        with pytest.raises(Timeout):
            compile(sleeping(10), timeout=0)

    def test_interrupting_leaves_the_model_usable(self):
        model = compile(sleeping(300), level=0)
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        start = time.perf_counter()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model(np.zeros(1, np.float32))
        assert time.perf_counter() - start < 1.5
        assert model(np.ones(1, np.float32)) == 1

    def test_limits_apply_to_runs(self):
        x = tensor("x", "n", 1)
        y = tensor("y", 1, "n")
        model = compile(Graph([x, y], [x + y], ["z"]), limits=Limits(max_tensor_bytes=10_000))
        assert model.run([np.zeros((9, 1), np.float32), np.zeros((1, 9), np.float32)])["z"].shape == (9, 9)
        with pytest.raises(ResourceLimit):
            model.run([np.zeros((999, 1), np.float32), np.zeros((1, 999), np.float32)])


@pytest.mark.usefixtures("each_backend")
class TestCheckNan:
    def graph(self) -> Graph:
        x, y = tensor("x", 3), tensor("y", 3)
        product = Op.apply(type((x * y).node.op)(), (x, y), "scores")[0]  # type: ignore[union-attr]
        return Graph([x, y], [product + x], ["z"])

    def test_names_the_first_node(self):
        bad = {"x": np.float32([1, np.inf, 2]), "y": np.float32([1, 0, 1])}
        with pytest.raises(ExecutionError) as info:
            compile(self.graph()).run(bad, check_nan=True)
        assert "Mul 'scores'" in str(info.value)
        assert "is NaN at [1], and no input is" in str(info.value)

    def test_infinities(self):
        with pytest.raises(ExecutionError, match=r"is infinite at \[0\], and no input is"):
            compile(self.graph()).run({"x": np.float32([1e30] * 3), "y": np.float32([1e30] * 3)}, check_nan=True)

    def test_an_infinite_input_is_handed_on(self):
        inf = np.float32([np.inf] * 3)
        assert compile(self.graph()).run({"x": inf, "y": inf}, check_nan=True)["z"].tolist() == [np.inf] * 3

    def test_a_nan_in_an_input(self):
        with pytest.raises(FeedError, match=r"input 'y' is NaN at \[2\]"):
            compile(self.graph()).run({"x": A[0, :3], "y": np.float32([1, 2, np.nan])}, check_nan=True)

    def test_without_it_they_propagate(self):
        z = compile(self.graph())(np.float32([np.nan, 1, np.inf]), np.float32([1, 1, 1]))
        assert np.isnan(z[0])
        assert z[2] == np.inf

    def test_finite_values_pass(self):
        assert compile(self.graph()).run({"x": A[0, :3], "y": B[0, :3]}, check_nan=True)["z"].shape == (3,)


def test_the_executable_is_what_the_interpreter_gives():
    graph = small()
    expected: Sequence[Data] = interpret(graph, [A, B])
    for level in (0, 1, 2):
        for got, want in zip(compile(graph, level=level)(A, B), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.usefixtures("each_backend")
def test_the_memory_of_a_whole_run_is_limited():
    x = tensor("x", "n", 10)
    y = x
    for _ in range(5):
        y = y + x
    small_limits = Limits(max_total_bytes=2000)
    chain = compile(Graph([x], [y], ["y"]), level=0, limits=small_limits)
    assert chain(np.zeros((20, 10), np.float32)).shape == (20, 10)  # two values of 800 bytes are alive at one time
    with pytest.raises(ResourceLimit, match="bytes are needed here at one time with n = 30, the limit is 2,000"):
        chain(np.zeros((30, 10), np.float32))
