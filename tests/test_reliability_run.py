"""What a model does with inputs that nobody should give it: a right result, or a `GraphcError` that says what is wrong.

The feeds themselves are in test_feeds.py, files that are no models in the tests of the ONNX frontend.
"""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphc

FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
Shape = Sequence[int | str] | None


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    **initializers: np.ndarray,
) -> onnx.ModelProto:
    """An ONNX model, built without graphc."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, *t) for n, t in inputs.items()],
        [helper.make_tensor_value_info(n, *t) for n, t in outputs.items()],
        [onnx.numpy_helper.from_array(a, n) for n, a in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """`node("Add", "a b", "c")`, named after its first output."""
    names = outputs.split()
    return helper.make_node(op, inputs.split(), names, name=f"make_{names[0]}", **attributes)


def one(op: str, dtype: int, shape: Shape = ("n",), result: int | None = None, **attributes: Any) -> onnx.ModelProto:
    """y = op(a, b) on inputs of one type."""
    return model(
        [node(op, "a b", "y", **attributes)],
        {"a": (dtype, shape), "b": (dtype, shape)},
        {"y": (dtype if result is None else result, None)},
    )


AFFINE = model(
    [node("Mul", "x w", "scaled"), node("Add", "scaled w", "y")],
    {"x": (FLOAT, ["n", 3])},
    {"y": (FLOAT, ["n", 3]), "scaled": (FLOAT, ["n", 3])},
    w=np.array([1, 2, 3], np.float32),
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)
W = np.float32([1, 2, 3])

BACKENDS = ["numpy", "llvm", "onnxruntime"]
OWN = pytest.mark.parametrize("backend", ["numpy", "llvm"])  # those whose behaviour is graphc's own


@pytest.fixture(params=BACKENDS)
def compiled(request: pytest.FixtureRequest) -> graphc.CompiledModel:
    return graphc.compile(AFFINE, backend=request.param)


class TestModelSources:
    """Row 75."""

    @pytest.mark.parametrize("kind", ["proto", "bytes", "file", "path", "str", "graph"])
    def test_accepted(self, kind: str, tmp_path: Path):
        path = tmp_path / "affine.onnx"
        onnx.save(AFFINE, path)
        source: Any = {
            "proto": AFFINE,
            "bytes": AFFINE.SerializeToString(),
            "file": io.BytesIO(AFFINE.SerializeToString()),
            "path": path,
            "str": str(path),
            "graph": graphc.load(AFFINE),
        }[kind]
        np.testing.assert_array_equal(graphc.compile(source)(X)[0], X * W + W)


class TestFeeds:
    """Rows 53 to 66 through the front door, on each backend; test_feeds.py has the rest."""

    @pytest.mark.parametrize(
        ("feeds", "message"),
        [
            ({"x": X.astype(np.float64)}, "is float64, expected float32. Convert it: x.astype(np.float32)"),
            ({"x": X[0]}, "has rank 1, expected 2"),
            ({"x": X[:, :2]}, "dimension 1 is 2, expected 3"),
            ({"x": X[:, :0]}, "dimension 1 is 0, expected 3"),
            ({}, "missing input 'x'"),
            ({"X": X}, "Did you mean 'x'?"),
            ({"x": X, "extra": X}, "no input 'extra'"),
            ({"x": None}, "is None"),
            ({"x": X.astype(object)}, "dtype object"),
            ({"x": np.ma.masked_array(X)}, "masked array"),
            ([X, X], "takes 1 input (x), got 2"),
            ("x", "input 'x' is "),
        ],
    )
    def test_refused(self, compiled: graphc.CompiledModel, feeds: Any, message: str):
        with pytest.raises(graphc.FeedError) as info:
            compiled.run(feeds)
        assert message in str(info.value)
        assert isinstance(info.value, ValueError)
        compiled(X)

    @pytest.mark.parametrize(
        "x",
        [
            X.astype(">f4"),
            np.asfortranarray(X),
            X[::-1, ::-1],
            np.broadcast_to(np.float32(2), (2, 3)),
            np.frombuffer(b"." + X.tobytes(), np.float32, offset=1).reshape(2, 3),
            X[:0],
            X.tolist(),
        ],
        ids=["big-endian", "fortran", "negative strides", "zero strides", "misaligned", "empty", "list"],
    )
    def test_accepted(self, compiled: graphc.CompiledModel, x: Any):
        y, scaled = compiled(x)
        np.testing.assert_allclose(y, np.asarray(x, np.float32) * W + W, rtol=1e-6)
        np.testing.assert_allclose(scaled, np.asarray(x, np.float32) * W, rtol=1e-6)

    @OWN
    def test_symbols_that_disagree(self, backend: str):
        with pytest.raises(graphc.FeedError, match=r"n is 2 \(a\) and 3 \(b\)"):
            graphc.compile(one("Add", FLOAT), backend=backend)(np.zeros(2, np.float32), np.zeros(3, np.float32))

    def test_nan_and_infinity_propagate(self, compiled: graphc.CompiledModel):
        y, _ = compiled(np.float32([[np.nan, np.inf, -np.inf]]))
        assert np.isnan(y[0, 0])
        assert y[0, 1:].tolist() == [np.inf, -np.inf]

    @OWN
    def test_check_nan_names_the_first_node(self, backend: str):
        nodes = [node("Log", "x", "logarithm"), node("Relu", "logarithm", "y")]
        log = graphc.compile(model(nodes, {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}), backend=backend)
        with pytest.raises(graphc.ExecutionError, match=r"Log 'make_logarithm'.*NaN at \[1\]"):
            log.run([np.float32([1, -1])], check_nan=True)


@OWN
class TestArithmetic:
    """Rows 67 to 69."""

    @pytest.mark.parametrize("op", ["Div", "Mod"])
    @pytest.mark.parametrize("dtype", [INT32, INT64])
    def test_integer_division_by_zero(self, backend: str, op: str, dtype: int):
        numpy = helper.tensor_dtype_to_np_dtype(dtype)
        with pytest.raises(graphc.ExecutionError, match=rf"{op} 'make_y'.*zero"):
            graphc.compile(one(op, dtype), backend=backend)(np.array([1, 2], numpy), np.array([1, 0], numpy))

    @pytest.mark.parametrize("dtype", [INT32, INT64])
    def test_the_least_integer_by_minus_one_wraps(self, backend: str, dtype: int):
        least = np.iinfo(helper.tensor_dtype_to_np_dtype(dtype)).min
        a = np.array([least, 7], helper.tensor_dtype_to_np_dtype(dtype))
        assert graphc.compile(one("Div", dtype), backend=backend)(a, np.array([-1, -1], a.dtype)).tolist() == [
            least,
            -7,
        ]
        assert graphc.compile(one("Mod", dtype), backend=backend)(a, np.array([-1, -1], a.dtype)).tolist() == [0, 0]

    def test_casts_out_of_range_saturate(self, backend: str):
        cast = model([node("Cast", "x", "y", to=INT32)], {"x": (FLOAT, ["n"])}, {"y": (INT32, ["n"])})
        got = graphc.compile(cast, backend=backend)(np.float32([1e20, -1e20, np.inf, -np.inf, 1.9, -1.9]))
        low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        assert got.tolist() == [high, low, high, low, 1, -1]


@OWN
@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("constants", ["a b", "b"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["Div", "Mod"])
class TestConstantOperands:
    """Rows 33 and 34 with the divisor, or both, as constants: folded by passes, and without any."""

    def divide(self, op: str, dtype: type, constants: str, level: int, backend: str, **operands: list[int]) -> Any:
        arrays = {name: np.array(x, dtype) for name, x in operands.items()}
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        inputs = {name: (number, [len(x)]) for name, x in arrays.items() if name not in constants}
        fixed = {name: x for name, x in arrays.items() if name in constants}
        source = model([node(op, "a b", "y")], inputs, {"y": (number, None)}, **fixed)
        feeds = {name: arrays[name] for name in inputs}
        return graphc.compile(source, backend=backend, level=level).run(feeds)["y"].tolist()

    def test_zero_raises(self, op: str, dtype: type, constants: str, level: int, backend: str):
        with pytest.raises(graphc.ExecutionError, match=rf"{op} 'make_y'.*zero"):
            self.divide(op, dtype, constants, level, backend, a=[1, 2, 3], b=[1, 0, 1])

    def test_the_least_by_minus_one_wraps(self, op: str, dtype: type, constants: str, level: int, backend: str):
        least = int(np.iinfo(dtype).min)
        got = self.divide(op, dtype, constants, level, backend, a=[least, 7, least], b=[-1, -1, 2])
        assert got == ([least, -7, least // 2] if op == "Div" else [0, 0, 0])


@OWN
class TestSizesFromData:
    """Row 70: shapes, indices and counts that arrive with the feeds."""

    def refused(self, backend: str, source: onnx.ModelProto, feeds: dict[str, Any]) -> graphc.GraphcError:
        before = time.perf_counter()
        with pytest.raises((graphc.ExecutionError, graphc.ResourceLimit, graphc.InvalidModel)) as info:
            graphc.compile(source, backend=backend).run(feeds)
        assert time.perf_counter() - before < 5
        assert info.value.node is not None
        assert "make_y" in info.value.node
        return info.value

    @pytest.mark.parametrize("size", [[-4], [1 << 40], [1 << 31, 1 << 31, 1 << 31]], ids=str)
    def test_constant_of_shape(self, backend: str, size: list[int]):
        source = model([node("ConstantOfShape", "s", "y")], {"s": (INT64, [len(size)])}, {"y": (FLOAT, None)})
        self.refused(backend, source, {"s": np.array(size, np.int64)})

    def test_expand_and_tile(self, backend: str):
        for op in ("Expand", "Tile"):
            inputs = {"x": (FLOAT, [1]), "s": (INT64, [1])}
            source = model([node(op, "x s", "y")], inputs, {"y": (FLOAT, None)})
            self.refused(backend, source, {"x": np.ones(1, np.float32), "s": np.array([1 << 42])})

    def test_range(self, backend: str):
        inputs = {n: (INT64, []) for n in ("a", "b", "c")}
        source = model([node("Range", "a b c", "y")], inputs, {"y": (INT64, None)})
        self.refused(backend, source, {"a": 0, "b": 1 << 60, "c": 1})
        self.refused(backend, source, {"a": 0, "b": 5, "c": 0})

    def test_gather(self, backend: str):
        inputs = {"x": (FLOAT, [3]), "i": (INT64, ["n"])}
        source = model([node("Gather", "x i", "y")], inputs, {"y": (FLOAT, None)})
        for index in (3, -4, 1 << 40):
            error = self.refused(backend, source, {"x": W, "i": np.array([0, index])})
            assert str(index) in str(error)

    def test_top_k(self, backend: str):
        inputs = {"x": (FLOAT, [3]), "k": (INT64, [1])}
        source = model([node("TopK", "x k", "y i")], inputs, {"y": (FLOAT, None), "i": (INT64, None)})
        self.refused(backend, source, {"x": W, "k": np.array([4])})
        self.refused(backend, source, {"x": W, "k": np.array([-1])})

    def test_reshape(self, backend: str):
        inputs = {"x": (FLOAT, ["n"]), "s": (INT64, ["m"])}
        source = model([node("Reshape", "x s", "y")], inputs, {"y": (FLOAT, None)})
        for shape in ([2, 2], [-1, -1], [-2], [4, -1]):
            self.refused(backend, source, {"x": W, "s": np.array(shape)})


class TestOwnership:
    """Row 71."""

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_outputs_can_be_overwritten(self, backend: str):
        source = model(
            [node("Identity", "x", "same"), node("Reshape", "x s", "flat"), node("Identity", "w", "weight")],
            {"x": (FLOAT, [2, 3])},
            dict.fromkeys(("same", "flat", "weight"), (FLOAT, None)),
            s=np.array([6]),
            w=W,
        )
        compiled = graphc.compile(source, backend=backend)
        x = X.copy()
        first = compiled(x)
        copies = [a.copy() for a in first]
        for a in first:
            a[...] = -99
        np.testing.assert_array_equal(x, X)
        for a, b in zip(compiled(x), copies, strict=True):
            np.testing.assert_array_equal(a, b)


class TestManyCallers:
    """Rows 72 and 73."""

    def test_eight_threads(self, compiled: graphc.CompiledModel):
        with ThreadPoolExecutor(8) as pool:
            for k, (y, _) in enumerate(pool.map(lambda k: compiled(X + k), range(40))):
                np.testing.assert_allclose(y, (X + k) * W + W, rtol=1e-6)

    def test_a_forked_process(self, compiled: graphc.CompiledModel):
        compiled(X)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            y, _ = pool.apply_async(compiled, (X,)).get(timeout=60)
        np.testing.assert_allclose(y, X * W + W, rtol=1e-6)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies(self, compiled: graphc.CompiledModel, duplicate: Callable[[Any], Any]):
        again = duplicate(compiled)
        compiled.close()
        np.testing.assert_allclose(again(X)[0], X * W + W, rtol=1e-6)


class TestStopping:
    """Rows 40, 76 and 78."""

    def endless(self) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        body = helper.make_graph(
            [node("Identity", "go", "go_on"), node("Add", "v v", "v_out")],
            "body",
            [info("i", INT64, []), info("go", BOOL, []), info("v", FLOAT, [1])],
            [info("go_on", BOOL, []), info("v_out", FLOAT, [1])],
        )
        inputs = {"go_first": (BOOL, []), "start": (FLOAT, [1])}
        loop = helper.make_node("Loop", ["", "go_first", "start"], ["y"], name="make_y", body=body)
        return model([loop], inputs, {"y": (FLOAT, [1])})

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_timeout(self, backend: str):
        compiled = graphc.compile(self.endless(), backend=backend)
        feeds = {"go_first": True, "start": np.ones(1, np.float32)}
        start = time.perf_counter()
        with pytest.raises(graphc.Timeout):
            compiled.run(feeds, timeout=0.2)
        assert time.perf_counter() - start < 2
        assert compiled.run({**feeds, "go_first": False})["y"] == 1

    @OWN
    def test_the_number_of_trips_is_limited(self, backend: str):
        compiled = graphc.compile(self.endless(), backend=backend, limits=graphc.Limits(max_loop_trips=1000))
        with pytest.raises(graphc.ResourceLimit, match="1,000"):
            compiled.run({"go_first": True, "start": np.ones(1, np.float32)})

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_interruption(self, backend: str):
        compiled = graphc.compile(self.endless(), backend=backend)
        feeds = {"go_first": True, "start": np.ones(1, np.float32)}
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            compiled.run(feeds, timeout=30)
        assert compiled.run({**feeds, "go_first": False})["y"] == 1

    def test_after_close(self, compiled: graphc.CompiledModel):
        compiled.close()
        with pytest.raises(graphc.GraphcError, match="the model is closed"):
            compiled(X)

    def test_an_unknown_backend(self):
        with pytest.raises(graphc.BackendUnavailable, match="Available: llvm, numpy"):
            graphc.compile(AFFINE, backend="tpu")


QUIET = """
    import socket, sys

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    socket.socket.__init__ = refuse
    socket.create_connection = socket.getaddrinfo = refuse

    import numpy as np
    import graphc

    compiled = graphc.compile(sys.argv[1])
    compiled(np.zeros((2, 3), np.float32))
    compiled.placement(), str(compiled.explain()), compiled.profile([np.zeros((2, 3), np.float32)])
    unwanted = {"onnxruntime", "matplotlib", "llvmlite", "cuda", "torch", "requests", "urllib3"} & set(sys.modules)
    assert not unwanted, unwanted
"""


def test_no_network_and_nothing_imported_that_was_not_asked_for(tmp_path: Path):
    path = tmp_path / "affine.onnx"
    onnx.save(AFFINE, path)
    command = [sys.executable, "-c", textwrap.dedent(QUIET), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_results_have_the_same_bits_every_time(compiled: graphc.CompiledModel):
    assert len({compiled(X)[0].tobytes() for _ in range(5)}) == 1
