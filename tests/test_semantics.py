"""Every row of docs/semantics.md is what the backends do."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import pytest
from semantics import FATAL, MACHINE, ORT, PAGE, ROWS, Example, Row, page

from graphc.errors import ExecutionError, GraphcError

BACKENDS = ["numpy"]  # those that the semantics bind
EXAMPLES = [
    pytest.param(example, id=f"{row.op}-{number}-{i}")
    for number, row in enumerate(ROWS)
    for i, example in enumerate(row.examples)
]


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: Example, backend: str, level: int) -> None:
    if example.want is ExecutionError:
        with pytest.raises(ExecutionError):
            example.run(backend, level)
        return
    got = example.run(backend, level)
    assert example.agrees(got), got


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.op}-{i}") for i, row in enumerate(ROWS)])
def test_what_the_page_says_about_onnxruntime(row: Row) -> None:
    try:
        installed = version("onnxruntime")
    except PackageNotFoundError:
        pytest.skip("onnxruntime is not installed")
    if not installed.startswith(f"{ORT}.") or platform.machine() != MACHINE:
        pytest.skip(f"the page speaks of onnxruntime {ORT} on {MACHINE}")
    if row.onnxruntime == FATAL or row.onnxruntime.startswith("depends"):
        pytest.skip(row.onnxruntime)
    assert all(map(onnxruntime_agrees, row.examples)) == (row.onnxruntime == "yes")


def onnxruntime_agrees(example: Example) -> bool:
    try:
        got = example.run("onnxruntime", 0)
    except ExecutionError:
        return example.want is ExecutionError
    except GraphcError:
        return False
    return example.want is not ExecutionError and example.agrees(got)


def test_the_page_has_the_rows() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it again: python tests/semantics.py"
