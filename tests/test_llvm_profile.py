"""Profiles, traces, memory plans and listings of native code; the commands that show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import cli, models
from graphc.backends.codegen.target import host_target
from graphc.backends.llvm.limits import measure_limits
from graphc.ir import Graph, Value
from graphc.ops.activation import Relu
from graphc.ops.base import const
from graphc.ops.ranking import NonZero
from graphc.ops.reduction import ReduceSum
from graphc.types import TensorType, float32, int64

X = np.ones((1, 1, 28, 28), np.float32)


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest) -> graphc.CompiledModel:
    return graphc.compile(models.lenet5(), backend="llvm", threads=request.param)


class TestProfile:
    def test_every_kernel_has_its_node_and_its_time(self, model: graphc.CompiledModel):
        found = model.profile([X], repeat=3)
        layers = [t for t in found if t.op != "Identity"]  # the others bring a tensor into another layout
        assert [t.op for t in layers] == [
            "Conv+Tanh", "AveragePool", "Conv+Tanh", "AveragePool", "Gemm+Tanh", "Gemm+Tanh", "Gemm", "Softmax",
        ]  # fmt: skip
        assert "'conv1'" in layers[0].node
        assert all(t.seconds > 0 and t.kernel for t in found)
        starts = [t.start for t in found]
        assert starts == sorted(starts)
        assert layers[0].flops > 100_000
        assert layers[0].bytes >= 4 * (28 * 28 + 6 * 28 * 28)
        assert "of limit" in str(found)
        assert found.limits is not None

    def test_results_stay_the_same(self, model: graphc.CompiledModel):
        before = model(X)
        model.profile([X], repeat=1)
        assert model(X).tobytes() == before.tobytes()

    def test_nodes_without_native_code_are_in_it(self):
        x = Value(TensorType(float32, (4,)), name="x")
        graph = Graph([x], [NonZero()(Relu()(x))], ["z"])
        found = graphc.compile(graph, backend="llvm").profile([np.ones(4, np.float32)])
        assert [(t.op, bool(t.kernel)) for t in found] == [("Relu", True), ("NonZero", False)]

    def test_trace(self, model: graphc.CompiledModel, tmp_path: Path):
        model.profile([X], repeat=1).trace(tmp_path / "trace.json")
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        assert len(events) == 10
        for e, after in pairwise(events):
            assert e["ph"] == "X"
            assert e["ts"] + e["dur"] <= after["ts"] + 1e3

    def test_trace_of_a_backend_without_kernels(self, tmp_path: Path):
        graphc.compile(models.lenet5()).profile([X], repeat=1).trace(tmp_path / "trace.json")
        assert len(json.loads((tmp_path / "trace.json").read_text())["traceEvents"]) > 8


@pytest.mark.parametrize("target", ["native", "x86-64"])
def test_limits(target: str):
    found = measure_limits(host_target(target if host_target().triple.startswith("x86") else "native"), 1)
    assert 1e9 < found.flops < 1e13
    assert 1e8 < found.bytes < 1e13


def test_memory_plan(model: graphc.CompiledModel):
    plan = model.memory_plan([X])
    assert plan.splitlines()[0].split() == ["value", "offset", "bytes", "from", "step", "to", "step"]
    assert "10 steps" in plan.splitlines()[-1]
    assert model.memory_plan() == plan
    with pytest.raises(graphc.GraphcError, match="no plan of memory"):
        graphc.compile(models.lenet5()).memory_plan()


class TestListing:
    @pytest.mark.parametrize(("stage", "text"), [("loops", "kernel("), ("llvm", "define void @k"), ("asm", ".globl")])
    def test_stages(self, model: graphc.CompiledModel, stage: str, text: str):
        assert text in model.listing(stage, "fc3")
        assert model.listing(stage).count(text) >= model.listing(stage, "fc3").count(text)

    @pytest.mark.parametrize(("rows", "optimised"), [(4, False), (4096, True)])
    def test_what_is_brief_is_shown_as_it_was_written(self, rows: int, optimised: bool):
        """That code runs: its place for the sum is in memory, that of optimised code in a register."""
        x = Value(TensorType(float32, (rows, 3)), name="x")
        graph = Graph([x], ReduceSum().apply([x, const([1], int64)]))
        model = graphc.compile(graph, backend="llvm")
        assert ("alloca" not in model.listing("llvm")) == optimised
        y = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_array_equal(model(y).ravel(), y.sum(1))

    def test_a_node_of_the_graph_and_those_beside_it(self, model: graphc.CompiledModel):
        whole = model.listing("graph").splitlines()
        shown = model.listing("graph", "conv2").splitlines()
        at = [whole.index(line) for line in shown if line != "  }"]
        assert at == sorted(at)
        # What pools before, the weights, the convolution with what is fused into it, what pools after.
        ops = [line.split(" = ")[1].split("(")[0].split()[0] for line in shown if " = " in line]
        assert ops == ["AveragePool", "const", "const", "Fused", "Conv", "Tanh", "AveragePool"]
        assert shown[-2:-1] == ["  }"]

    def test_what_is_not_there(self, model: graphc.CompiledModel):
        with pytest.raises(graphc.CompileError, match=r"no node 'convv'.*Did you mean 'conv"):
            model.listing("graph", "convv")
        with pytest.raises(graphc.CompileError, match="Did you mean 'conv"):
            model.listing("loops", "conv")
        with pytest.raises(graphc.CompileError, match="no stage 'ptx'"):
            model.listing("ptx")
        with pytest.raises(graphc.CompileError, match="makes no code"):
            graphc.compile(models.lenet5()).listing("loops")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as info:
            cli.main(arguments)
        out, err = capsys.readouterr()
        return int(info.value.code or 0), out, err

    return call


class TestCommands:
    def test_profile(self, run, tmp_path: Path):
        code, out, err = run("profile", "lenet5", "--runs", "2", "--memory", "--trace", str(tmp_path / "t.json"))
        assert code == 0, err
        assert "Conv+Tanh" in out
        assert "arena" in out
        assert (tmp_path / "t.json").exists()

    def test_profile_json(self, run):
        code, out, _ = run("profile", "lenet5", "--runs", "1", "--json", "--backend", "numpy")
        assert code == 0
        assert json.loads(out)["nodes"][0]["node"]

    def test_profile_cannot_write(self, run, tmp_path: Path):
        code, _, err = run("profile", "lenet5", "--runs", "1", "--trace", str(tmp_path / "no" / "t.json"))
        assert code == 2
        assert "cannot write" in err

    def test_inspect_a_stage(self, run):
        code, out, _ = run("inspect", "lenet5", "fc3", "--stage", "loops")
        assert code == 0
        assert out.count("kernel(") == 1
        assert run("inspect", "lenet5", "fc3")[0] == 2
        assert run("inspect", "lenet5", "fc9", "--stage", "asm")[0] == 2

    @pytest.mark.slow
    def test_bench(self, run, tmp_path: Path):
        picture = tmp_path / "p.png"
        code, out, err = run("bench", "lenet5", "--seconds", "0.1", "--plot", str(picture), "--threads", "1")
        assert code == 0, err
        assert out.splitlines()[0].split()[:2] == ["backend", "p50"]
        assert "llvm takes" in out
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_bench_json(self, run):
        code, out, err = run("bench", "lenet5", "--seconds", "0.05", "--backends", "llvm", "--json")
        assert code == 0, err
        (found,) = json.loads(out)["results"]
        assert found["runs"] >= 10
        assert found["peak_bytes"] > 1 << 20

    def test_bench_of_a_broken_file(self, run, tmp_path: Path):
        (tmp_path / "m.onnx").write_bytes(b"no")
        code, _, err = run("bench", str(tmp_path / "m.onnx"), "--backends", "llvm")
        assert code == 2
        assert "llvm:" in err
