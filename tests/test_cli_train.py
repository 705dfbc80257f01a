"""`graphc train`, from the shell to a trained model and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import cli
from graphc.dims import sym
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.linear import MatMul
from graphc.train.datasets import digits
from graphc.types import TensorType, float32


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """run("train", …) in an empty folder -> exit code, stdout, stderr"""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as info:
            cli.main(["train", *arguments])
        out, err = capsys.readouterr()
        return int(info.value.code or 0), out, err

    return call


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Digits of 8×8 pixels in a file."""
    task = digits(8)
    np.savez(tmp_path / "small.npz", x=task.train.x, y=task.train.y)
    return "small.npz"


def test_a_model_is_trained_and_written(run, small) -> None:
    code, out, err = run(
        "mlp", small, "-s", "inputs=64", "--epochs", "3", "-o", "m.onnx", "--init", "he", "--plot", "p"
    )
    assert code == 0, err
    assert [line.split()[:2] for line in out.splitlines()] == [["epoch", "1"], ["epoch", "2"], ["epoch", "3"]]
    assert "wrote m.onnx" in err
    assert {p.name for p in Path("p").iterdir()} == {"training.png", "confusion.png"}
    held_out = digits(8).held_out
    scores = graphc.compile("m.onnx")(held_out.x.reshape(-1, 64))
    assert (scores.argmax(1) == held_out.y).mean() > 0.9


def test_json(run, small) -> None:
    code, out, _ = run("mlp", small, "-s", "inputs=64", "-e", "2", "--json", "--held-out", "0.5", "--optimiser", "adam")
    assert code == 0
    document = json.loads(out)
    assert [r["epoch"] for r in document["history"]] == [1, 2]
    assert len(document["losses"]) == 2 * (719 // 32)
    assert document["history"][1]["loss"] < document["history"][0]["loss"]


def test_regression_with_whitening(run) -> None:
    code, _, err = run("temperature_mlp", "temperatures", "--whiten", "-e", "30", "--optimiser", "adam", "-r", "0.03",
                       "-o", "t.onnx")  # fmt: skip
    assert code == 0, err
    y = graphc.compile("t.onnx")(np.full((2, 3), 20, np.float32))  # raw degrees
    assert np.abs(y - 19).max() < 3


@pytest.fixture
def lines(run) -> dict[str, np.ndarray]:
    """In two.onnx: y = slope · a + b · w + bias, in the batch; the arrays of a .npz that goes with it."""
    a, b = (Value(TensorType(float32, (sym("batch"), n)), name=name) for name, n in (("a", 1), ("b", 2)))
    first: Value = MatMul()(a, const(np.ones((1, 1), np.float32), name="slope"))
    second: Value = MatMul()(b, const(np.ones((2, 1), np.float32), name="w"))
    graphc.save(Graph([a, b], [first + second + const(np.zeros(1, np.float32), name="bias")], ["y"]), "two.onnx")
    rng = np.random.default_rng(0)
    arrays = {"a": rng.standard_normal((200, 1)), "b": rng.standard_normal((200, 2))}
    y = 3 * arrays["a"] + arrays["b"] @ np.array([[-2], [0.5]]) + 4
    weights = rng.random(200) < 0.7
    return {**arrays, "y": np.where(weights[:, None], y, 1000.0), "weights": weights}  # what does not count is wrong


def test_several_inputs_and_weights(run, lines) -> None:
    held_out = {f"{name}_test": a[:40] for name, a in lines.items()}
    np.savez("lines.npz", **lines, **held_out)
    code, out, err = run("two.onnx", "lines.npz", "-e", "60", "--optimiser", "adam", "-r", "0.05", "-o", "m.onnx",
                         "--json", "--plot", "p")  # fmt: skip
    assert code == 0, err
    last = json.loads(out)["history"][-1]
    assert last["loss"] < 1e-3
    assert last["validation_loss"] < 1e-3
    y = graphc.compile("m.onnx").run({"a": np.ones((2, 1), np.float32), "b": np.ones((2, 2), np.float32)})["y"]
    np.testing.assert_allclose(y, np.full((2, 1), 5.5), atol=0.1)
    code, out, err = run("two.onnx", "lines.npz", "-e", "2", "--json", "-r", "0.01", "--whiten", "-o", "white.onnx")
    assert code == 0, err
    assert [v.name for v in graphc.load("white.onnx").inputs] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": None}, "lines.npz has no array b. It has a, y, weights"),
        ({"wieghts": np.ones(200)}, "has an array 'wieghts' that nothing reads. Did you mean 'weights'?"),
        ({"x": np.ones(200)}, "has an array 'x' that nothing reads. "),
        ({"a_test": np.ones((3, 1))}, "lines.npz has no array b_test"),
        ({"b": np.ones((3, 2))}, "x['b'] is [3, 2], y is [200, 1] and weights is [200], expected equal first sizes"),
        ({"a": np.full((200, 1), "1")}, "training data: input 'a' is"),
        ({"y": np.full((200, 1), "1")}, "training data: input 'target' is"),
        ({"weights": np.full((200, 1, 1), True)}, "weights are [160, 1, 1], expected [160, 1] or [160]"),
        ({"weights": np.arange(-1, 199)}, "a weight is -1 at "),
    ],
)
def test_arrays_that_do_not_fit(run, lines, changes, message: str) -> None:
    np.savez("lines.npz", **{name: a for name, a in (lines | changes).items() if a is not None})
    code, _, err = run("two.onnx", "lines.npz", "-e", "1")
    assert message in " ".join(err.split())
    assert code == 2


def test_inputs_with_names_that_are_taken(run, lines) -> None:
    a, b = (Value(TensorType(float32, (sym("batch"), 1)), name=name) for name in ("y", "b"))
    graphc.save(Graph([a, b], [(a + b) * const(np.ones((1, 1), np.float32), name="w")], ["z"]), "taken.onnx")
    np.savez("lines.npz", **lines)
    code, _, err = run("taken.onnx", "lines.npz")
    assert "the model has an input 'y', which in a .npz file is something else. Rename the input" in " ".join(
        err.split()
    )
    assert code == 2


def test_checkpoints_go_on(run, small) -> None:
    arguments = ("mlp", small, "-s", "inputs=64", "--checkpoint", "c.npz", "--schedule", "stairstep", "--clip", "1")
    assert run(*arguments, "-e", "1")[0] == 0
    code, out, _ = run(*arguments, "-e", "2")
    assert code == 0
    assert out.startswith("epoch   2")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize("name", ["stairstep", "exponential", "cosine", "plateau"])
def test_schedules(run, name: str) -> None:
    options = ("--schedule", name, "--every", "1", "--factor", "0.5", "--warm-up", "0" if name == "plateau" else "5")
    code, out, err = run("temperature_mlp", "temperatures", "-e", "3", "-r", "0.0001", "--json", *options)
    assert code == 0, err
    rates = [r["learning_rate"] for r in json.loads(out)["history"]]
    assert rates == sorted(rates, reverse=True)
    assert name == "plateau" or rates[0] > rates[-1]


REFUSED = [
    (("mlp", "digis"), 2, "there is no data set 'digis'. Did you mean 'digits'?"),
    (("mlp", "none.npz"), 2, "cannot read none.npz"),
    (("nlp", "digits"), 3, "no network of that name. Did you mean 'mlp'?"),
    (("mlp", "digits", "--optimiser", "adm"), 2, "--optimiser 'adm' is not known. Did you mean 'adam'?"),
    (("mlp", "digits", "--schedule", "steps"), 2, "--schedule 'steps' is not known"),
    (("mlp", "digits", "--init", "hee"), 2, "--init 'hee' is not known. Did you mean 'he'?"),
    (("mlp", "digits", "--schedule", "plateau", "--warm-up", "3"), 2, "--warm-up does not go with"),
    (("mlp", "digits", "--epochs", "0"), 2, "--epochs"),
    (("mlp", "digits", "--backend", "lvm"), 4, "there is no backend 'lvm'"),
    (("mlp", "digits", "-s", "batch=8"), 2, "expected a symbol as its first size"),
    (("mlp", "digits", "--batch", "5000"), 2, "1438 examples are no batch of 5000"),
    (("mlp", "digits", "--rate", "1e30", "-e", "1"), 3, "training diverged in step"),
    (("mlp", "digits", "-e", "1", "-s", "hiden=8"), 2, "has no option 'hiden'"),
]


@pytest.mark.parametrize(("arguments", "expected", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_errors(run, arguments, expected, message) -> None:
    code, _, err = run(*arguments)
    assert message in " ".join(err.split())
    assert code == expected


def test_what_cannot_be_written(run, small) -> None:
    code, _, err = run("mlp", small, "-s", "inputs=64", "-e", "1", "-o", "no/such/m.onnx")
    assert (code, "cannot write no/such/m.onnx" in err) == (2, True)
    Path("bad.npz").write_bytes(b"nonsense")
    code, _, err = run("mlp", "bad.npz")
    assert (code, "cannot read bad.npz" in err) == (2, True)
    np.savez("half.npz", x=np.zeros(3))
    code, _, err = run("mlp", "half.npz")
    assert (code, "half.npz has no array y" in err) == (2, True)
