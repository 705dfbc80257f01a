"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

import graphc
from graphc import cli
from graphc.cli import console, errors
from graphc.dims import sym
from graphc.errors import ExecutionError, GraphcError, InvalidModel, ResourceLimit, UnsupportedOp, VerificationError
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.passes import pipelines
from graphc.runtime import zoo
from graphc.types import TensorType, float32


def affine() -> Graph:
    """y = x * w + b"""
    x = Value(TensorType(float32, (sym("n"), 3)), name="x")
    return Graph([x], [x * const(np.float32([1, 2, 3])) + const(np.float32(1))], ["y"], name="affine")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An ONNX file of `affine`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    graphc.save(affine(), tmp_path / "affine.onnx")
    return "affine.onnx"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run("zoo", "--json") -> exit code, stdout, stderr"""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as info:
            cli.main(arguments)
        out, err = capsys.readouterr()
        return int(info.value.code or 0), out, err

    return call


class TestRun:
    def test_random_inputs(self, run, path):
        code, out, err = run("run", path)
        assert code == 0
        assert out.startswith("y: float32 [2,3]\n  [")
        assert "mean" in out
        assert err == "input x: random float32 [2,3], seed 0\n"
        assert run("run", path) == (code, out, err)
        assert run("run", path, "--seed", "1")[1] != out

    @pytest.mark.parametrize("spelling", ["x={}", "{}"])
    def test_an_array_from_a_file(self, run, path, spelling):
        np.save("data.npy", np.float32([[1, 1, 1]]))
        code, out, err = run("run", path, "-i", spelling.format("data.npy"))
        assert (code, err) == (0, "")
        assert "[2.0, 3.0, 4.0]" in out

    def test_all_inputs_from_one_file(self, run, path):
        np.savez("data.npz", x=np.float32([[1, 1, 1]]))
        assert "[2.0, 3.0, 4.0]" in run("run", path, "-i", "data.npz")[1]

    @pytest.mark.parametrize("spelling", ["x:4x3", "4x3", "x:4,3"])
    def test_a_shape(self, run, path, spelling):
        assert run("run", path, "-i", spelling)[1].startswith("y: float32 [4,3]")

    def test_a_binding(self, run, path):
        assert run("run", path, "-b", "n=5")[1].startswith("y: float32 [5,3]")

    def test_json(self, run, path):
        np.save("data.npy", np.float32([[1, 1, 1]]))
        code, out, err = run("run", path, "-i", "x=data.npy", "--json", "--profile", "2")
        assert (code, err) == (0, "")
        data = json.loads(out)
        assert data["outputs"]["y"] == {
            "dtype": "float32", "shape": [1, 3], "first": [2, 3, 4], "min": 2, "max": 4, "mean": 3,
        }  # fmt: skip
        assert data["profile"]["runs"] == 2

    def test_json_has_no_nan(self, run, path):
        np.save("data.npy", np.float32([[1, np.inf, np.nan]]))
        data = json.loads(run("run", path, "-i", "x=data.npy", "--json")[1], parse_constant=pytest.fail)
        assert data["outputs"]["y"]["first"] == [2, "inf", "nan"]

    @pytest.mark.parametrize("target", ["out.npy", "out.npz", "folder"])
    def test_outputs_to_files(self, run, path, target):
        np.save("data.npy", np.float32([[1, 1, 1]]))
        code, _, err = run("run", path, "-i", "x=data.npy", "-o", target)
        assert code == 0
        assert f"wrote {target}" in err
        saved = np.load("folder/y.npy" if target == "folder" else target)
        assert (saved["y"] if target == "out.npz" else saved).tolist() == [[2, 3, 4]]

    def test_profile(self, run, path):
        code, out, _ = run("run", path, "--profile", "3")
        assert code == 0
        assert "Gflop/s" in out
        assert "ms a run (median of 3)" in out

    def test_another_backend(self, run, path):
        assert run("run", path, "-B", "onnxruntime")[1] == run("run", path)[1]

    def test_a_network_of_the_zoo(self, run):
        code, out, _ = run("run", "temperature_mlp")
        assert code == 0
        assert "float32 [1,1]" in out

    def test_check_nan(self, run, path):
        np.save("data.npy", np.float32([[1, 1, np.nan]]))
        code, _, err = run("run", path, "-i", "x=data.npy", "--check-nan")
        assert code == errors.USAGE
        assert err == "error: input 'x' is NaN at [0, 2]\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["-i", "y=data.npy"], "no input 'y'. The inputs are 'x'"),
            (["-i", "nope=1x3"], "no input 'nope'"),
            (["-i", "x=missing.npy"], "no file 'missing.npy'"),
            (["-i", "x=text.npy"], "'text.npy' is not a .npy or .npz file"),
            (["-i", "x=both.npz"], "both.npz holds several arrays"),
            (["-i", "x:5x5"], "input 'x': shape [5,5] does not fit"),
            (["-i", "x:5xfive"], "'5xfive' is no shape"),
            (["-o", "text.npy/out"], "cannot write text.npy/out"),
            (["-o", "plain.txt"], "plain.txt is a file, not a folder"),
            (["-i", "x=double.npy"], "is float64, expected float32"),
            (["-b", "m=3"], "no symbolic dimension 'm'"),
            (["-b", "n"], "--bind 'n' is not SYMBOL=SIZE"),
            (["-o", "/proc/no/such/folder"], "cannot write /proc/no/such/folder"),
            (["-O", "7"], "--level"),
            (["--no-such-option"], "--no-such-option"),
        ],
    )
    def test_wrong_usage(self, run, path, arguments, message):
        Path("text.npy").write_text("hello")
        Path("plain.txt").write_text("hello")
        np.savez("both.npz", x=np.zeros(3), z=np.zeros(3))
        np.save("double.npy", np.zeros((1, 3)))
        code, _, err = run("run", path, *arguments)
        assert code == errors.USAGE
        assert message in err
        assert "Traceback" not in err

    def test_several_outputs_do_not_fit_into_one_array(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        graph = affine()
        graphc.save(Graph(graph.inputs, [*graph.outputs, graph.inputs[0] + graph.inputs[0]], ["y", "z"]), "two.onnx")
        code, _, err = run("run", "two.onnx", "-o", "out.npy")
        assert code == errors.USAGE
        assert "out.npy holds one array, the model gives 2" in err


class TestExitCodes:
    def test_a_file_that_is_no_model(self, run, tmp_path):
        bad = tmp_path / "bad.onnx"
        bad.write_text("this is no model")
        for command in ("run", "inspect", "verify", "optimize"):
            code, out, err = run(command, str(bad))
            assert code == errors.BAD_MODEL
            assert out == ""
            assert err.startswith("error: ")
            assert err.count("\n") == 1

    def test_a_file_that_is_not_there(self, run):
        code, _, err = run("run", "missing.onnx")
        assert code == errors.BAD_MODEL
        assert "no file 'missing.onnx'" in err
        assert "Did you mean 'lenet5'?" in run("run", "lenet")[2]

    def test_unsupported(self, run, path):
        code, _, err = run("run", path, "-B", "tpu")
        assert code == errors.UNSUPPORTED
        assert "there is no backend 'tpu'. Available: llvm, numpy" in err

    def test_a_limit(self, run, path):
        code, _, err = run("run", path, "--timeout", "0")
        assert code == errors.LIMIT
        assert "error: stopped after 0.0 s" in err

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (VerificationError("x"), 1), (GraphcError("x"), 2), (InvalidModel("x"), 3), (ExecutionError("x"), 3),
            (UnsupportedOp("x"), 4), (ResourceLimit("x"), 5), (ZeroDivisionError("x"), 70), (FileNotFoundError("x"), 2),
            (MemoryError("x"), 5),
        ],
    )  # fmt: skip
    def test_table(self, error, code):
        assert errors.exit_code(error) == code

    def test_a_traceback_only_for_debugging(self, run, path, monkeypatch):
        assert "Traceback" not in run("run", path, "-B", "tpu")[2]
        monkeypatch.setenv("GRAPHC_DEBUG", "1")
        assert "Traceback" in run("run", path, "-B", "tpu")[2]

    def test_an_error_in_graphc_itself(self, run, monkeypatch):
        def fail() -> object:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr("graphc.runtime.backend.backend_names", fail)
        monkeypatch.setattr(sys.modules["graphc.cli.doctor"], "backend_names", fail)
        code, _, err = run("doctor")
        assert code == 70
        assert err.startswith("error: internal error: ZeroDivisionError: oops. Please report it")

    def test_an_interruption(self, run, monkeypatch):
        def interrupt() -> object:
            raise KeyboardInterrupt

        monkeypatch.setattr(sys.modules["graphc.cli.doctor"], "backend_names", interrupt)
        assert run("doctor")[0] in (1, 130)  # older versions of typer answer 1 themselves


class TestInspect:
    def test_numbers(self, run, path):
        code, out, err = run("inspect", path)
        assert (code, err) == (0, "")
        assert "input   x     float32 [n,3]" in out
        assert "2 nodes, 4 parameters (16 bytes)" in out
        assert "Mul      1" in out

    def test_before_and_after(self, run, path):
        out = run("inspect", path, "-O", "1", "-b", "n=2")[1]
        assert "after optimising" in out
        assert "before  after" in out

    def test_listing(self, run, path):
        out = run("inspect", path, "--listing")[1]
        assert "graph @affine(%x: f32[n,3])" in out

    def test_json(self, run, path):
        data = json.loads(run("inspect", path, "-O", "2", "--listing", "--json")[1])
        assert data["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["n", 3], "type": "f32[n,3]"}]
        assert data["ops"] == {"Mul": 1, "Add": 1}
        assert data["optimized"]["parameters"] == 4
        assert data["listing"].startswith("graph @affine")


class TestVerify:
    def test_agreement(self, run, path):
        code, out, _ = run("verify", path)
        assert code == 0
        assert out.startswith("2 compared, all agree")

    def test_all(self, run, path):
        assert run("verify", path, "--all")[1].startswith("where")

    def test_json(self, run, path):
        data = json.loads(run("verify", path, "--json")[1])
        assert data["ok"] is True
        assert [row["ok"] for row in data["rows"]] == [True, True]

    def test_a_difference(self, run, path, monkeypatch):
        def break_things(graph: Graph) -> Graph:
            return graph.with_outputs([graph.outputs[0] + 1.0], graph.output_names)

        monkeypatch.setitem(pipelines.PIPELINES, 0, (pipelines.Step(break_things, "for the test"),))
        code, out, _ = run("verify", path, "--passes", "-O", "0")
        assert code == errors.FAILED
        assert "1 of 1 differ, first at pass break_things" in out
        code, out, _ = run("verify", path, "--passes", "-O", "0", "--json")
        assert code == errors.FAILED
        assert json.loads(out)["ok"] is False

    def test_one_backend(self, run, path):
        code, _, err = run("verify", path, "--backends", "numpy")
        assert code == errors.USAGE
        assert "at least two backends" in err


class TestOptimizeAndExport:
    def test_optimize(self, run, path):
        code, out, err = run("optimize", path, "-o", "small.onnx")
        assert code == 0
        assert "fold_constants" in out
        assert err == "wrote small.onnx\n"
        assert graphc.load("small.onnx").output_names == ("y",)

    def test_optimize_json(self, run, path):
        data = json.loads(run("optimize", path, "--json")[1])
        assert "fold_constants" in [p["name"] for p in data["passes"]]

    def test_export_with_options(self, run, path):
        code, _, err = run("export", "temperature_mlp", "-s", "batch=n", "-s", "hidden=5", "-o", "t.onnx")
        assert (code, err) == (0, "wrote t.onnx\n")
        assert str(graphc.load("t.onnx").inputs[0].type) == "f32[n,3]"
        assert graphc.verify("t.onnx")

    def test_export_does_not_overwrite_unasked(self, run, path):
        assert run("export", "temperature_mlp")[0] == 0
        assert Path("temperature_mlp.onnx").exists()
        code, _, err = run("export", "temperature_mlp")
        assert code == errors.USAGE
        assert "temperature_mlp.onnx exists already" in err

    def test_export_says_what_there_is_instead(self, run, path):
        code, _, err = run("export", "mlp", "-s", "bach=2", "-o", "t.onnx")
        assert code == errors.USAGE
        assert "no option 'bach'. Did you mean 'batch'? Its options are batch, inputs" in err
        code, _, err = run("export", path, "-s", "batch=2", "-o", "t.onnx")
        assert code == errors.USAGE
        assert "is a file, --set is for networks of the zoo" in err

    def test_a_folder_that_is_not_there(self, run, path):
        for command in ("export", "optimize"):
            code, _, err = run(command, path, "-o", "nowhere/t.onnx")
            assert code == errors.USAGE
            assert "cannot write nowhere/t.onnx" in err

    def test_export_of_what_does_not_exist(self, run, path):
        for arguments in (
            ["temperature_mlp", "-s", "colour=red"],
            ["no_such_net", "-s", "batch=2"],
            ["mlp", "-s", "x"],
        ):
            code, _, err = run("export", *arguments, "-o", "t.onnx")
            assert code in (errors.USAGE, errors.BAD_MODEL)
            assert err.startswith("error: ")

    def test_opset(self, run, path):
        assert run("export", path, "-o", "old.onnx", "--opset", "17")[0] == 0
        assert graphc.verify("old.onnx")


class TestAbout:
    def test_zoo(self, run):
        code, out, _ = run("zoo")
        assert code == 0
        for name in zoo.networks():
            assert name in out
        assert json.loads(run("zoo", "--json")[1])["lenet5"]["options"]["classes"] == 10

    def test_doctor(self, run):
        code, out, _ = run("doctor")
        assert code == 0
        assert "numpy" in out
        data = json.loads(run("doctor", "--json")[1])
        assert data["backends"]["numpy"] is None
        assert data["packages"]["graphc"] == graphc.__version__

    def test_version(self, run):
        assert run("--version")[:2] == (0, f"graphc {graphc.__version__}\n")

    def test_help(self, run):
        code, out, _ = run("--help")
        assert code == 0
        for command in ("run", "inspect", "verify", "optimize", "export", "zoo", "doctor"):
            assert f"  {command}  " in out
        assert "--input" in run("run", "-h")[1]

    def test_every_command_speaks_json(self):
        commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
        assert all(any("--json" in p.opts for p in c.params) for c in commands.values())


class TestTerminal:
    def test_no_colour_and_no_bar_elsewhere(self, run, path, monkeypatch):
        monkeypatch.setattr(console, "PATIENCE", 0.0)
        _, out, err = run("verify", path)
        assert "\x1b" not in out + err

    def test_a_bar_on_terminals_for_what_takes_long(self, capsys, monkeypatch):
        monkeypatch.setattr(console, "PATIENCE", 0.05)
        monkeypatch.setattr(console, "stderr", console.Console(stderr=True, force_terminal=True))
        with console.progress("thinking"):
            pass
        assert "thinking" not in capsys.readouterr().err
        with console.progress("thinking"):
            time.sleep(0.4)
        captured = capsys.readouterr()
        assert "thinking" in captured.err
        assert captured.out == ""


def test_as_a_module_and_fast(tmp_path):
    """Help comes without loading models or backends; the bound is loose because the machine may be busy."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "graphc", "--help"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0
    assert "Usage: graphc" in done.stdout
    assert time.perf_counter() - started < 5
    code = "import sys, graphc.cli; print(sorted({'onnx', 'onnxruntime', 'llvmlite', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
