"""What README.md and docs/architecture.md show is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from official import SUITES, cases, expected_failures

from graphc.backends.codegen.target import host_target
from graphc.ops import OPS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_tour(tmp_path: Path) -> None:
    """Every command and every block of Python runs, in order, from a folder that is empty at first."""
    console = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)[0]
    shown = re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]
    outputs = {}
    for step in shown:
        command, _, expected = step.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "graphc"
        outputs[arguments[0]] = (run([sys.executable, "-m", "graphc", *arguments], tmp_path), expected)
    got, expected = outputs["inspect"]
    assert got.strip() == expected.strip()
    got, expected = outputs["verify"]
    assert got.split(";")[0] == expected.split(";")[0]
    blocks = [b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "@rule" not in b]
    printed = run([sys.executable, "-c", "\n".join(blocks)], tmp_path)
    if host_target().vector_bytes >= 32:  # the listing has vectors of 8
        assert "\n".join(re.findall(r"^# k.*?^}$", TEXT, re.DOTALL | re.MULTILINE)) in printed
    for line in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)[0].splitlines():
        _, *arguments = shlex.split(line, comments=True)
        assert run([sys.executable, "-m", "graphc", *arguments], tmp_path)


def test_the_worked_example_of_the_architecture(tmp_path: Path) -> None:
    """Its nest is for vectors of 32 bytes."""
    if host_target().vector_bytes < 32:
        pytest.skip("this machine lacks x86-64-v3")
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (nest,) = re.findall(r"```\n(kernel.*?)```", page, re.DOTALL)
    assert run([sys.executable, "-c", code], tmp_path).endswith(f"\n{nest}")


def test_the_rule_is_the_one_in_the_code() -> None:
    block = next(b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "@rule" in b)
    rule = block[block.index("@rule") : block.index("def form_gemm")].strip()
    assert rule in (ROOT / "graphc" / "passes" / "form_gemm.py").read_text("utf-8")


def test_the_numbers_of_operators_and_official_cases() -> None:
    passed = len(cases()) - len(expected_failures())
    assert f"{passed:,} pass, on NumPy and in native code" in re.sub(r"\s+", " ", TEXT)
    assert f"Of the {len(cases()):,} official cases" in TEXT
    assert len(SUITES) == 4
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and not s.deprecated}
    ours = {op.__name__ for op in OPS if op.domain == ""}
    assert f"{len(ours & known)} of the {len(known)}" in TEXT


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)", TEXT))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
