"""docs/training.md and the examples: the code runs, the numbers are those of the models that lie here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import models
from graphc.train.datasets import digits, temperatures

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "training.md").read_text("utf-8")


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_code_runs(tmp_path: Path) -> None:
    printed = run([sys.executable, "-c", "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))], tmp_path)
    (shown,) = re.findall(r"```\n(graph @train_mlp.*?)```", TEXT, re.DOTALL)
    for line in shown.splitlines():  # what stands between the dots
        for part in line.split("…"):
            assert part.strip(" ,") in printed
    assert graphc.compile(tmp_path / "digits.onnx").outputs[0].name == "probabilities"


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path) -> None:
    for line in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)[0].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "graphc"
        assert "epoch" in run([sys.executable, "-m", "graphc", *arguments], tmp_path)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)", TEXT))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


def test_the_files_named_exist() -> None:
    for name in re.findall(r"`((?:graphc|examples|models|benchmarks)/[\w./]+)", TEXT):
        assert (ROOT / name).exists(), name


def test_lenet5_reads_digits() -> None:
    """The share on the page; on every backend the same answers."""
    held_out, graph = digits().held_out, models.lenet5_digits(batch="batch")
    read = {b: graphc.compile(graph, backend=b)(held_out.x).argmax(1) for b in ("numpy", "llvm", "onnxruntime")}
    share = 100 * float((read["llvm"] == held_out.y).mean())
    assert share >= 98.5
    assert f"| LeNet-5, 28×28 | 61,706 | {share:.1f} % |" in TEXT
    np.testing.assert_array_equal(read["llvm"], read["numpy"])
    np.testing.assert_array_equal(read["llvm"], read["onnxruntime"])


def test_persistence_is_as_on_the_page() -> None:
    test = temperatures().held_out
    error = test.x[:, -1:].astype(np.float64) - test.y
    row = f"| as today | {np.abs(error).mean():.3f} | {np.sqrt((error**2).mean()):.3f} |"
    assert row in TEXT


@pytest.mark.slow
def test_the_network_beats_persistence(tmp_path: Path) -> None:
    """The example says so with its exit code."""
    printed = run([sys.executable, ROOT / "examples" / "temperature.py", "--pictures", str(tmp_path)], tmp_path)
    assert "network" in printed
    assert (tmp_path / "temperature.svg").exists()


@pytest.mark.slow
def test_perceptron_and_mlp_reach_those_of_scikit_learn(tmp_path: Path) -> None:
    """Means over the first of the page's twenty seeds; the exit code says if one is behind by more than chance.

    They may be as far from the page's means, over all twenty, as three standard errors of that.
    """
    seeds = 8
    printed = run([sys.executable, ROOT / "examples" / "beside_sklearn.py", "--seeds", str(seeds)], tmp_path)
    (table,) = re.findall(r"\| classifier \|.*?\n\n", TEXT, re.DOTALL)
    shown, found = (re.findall(r"([+−-]?[\d.]+) ± ([\d.]+)", text) for text in (table, printed))
    assert len(shown) == len(found) == 9  # in the order of the rows
    for (mean, error), (of_first, _) in zip(shown, found, strict=True):
        far = abs(float(of_first) - float(mean.replace("−", "-")))
        assert far <= 3 * float(error) * np.sqrt(20 / seeds - 1)


@pytest.mark.slow
def test_digits_are_learned(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "digits.py", "perceptron", "--save", str(tmp_path / "p.onnx")]
    run([*command, "--pictures", str(tmp_path / "pictures")], tmp_path)
    held_out = digits(8).held_out
    scores = graphc.compile(tmp_path / "p.onnx")(held_out.x.reshape(-1, 64))
    assert float((scores.argmax(1) == held_out.y).mean()) > 0.96
