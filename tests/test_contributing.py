"""The example in CONTRIBUTING.md works as it stands there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from conformance import Case, compare, random
from gradient_checks import check, in_float64

import graphc
from graphc.autodiff import grad
from graphc.expr import Expr, call
from graphc.interpret import interpret
from graphc.ir import Value
from graphc.ops.elementwise import Function, widen
from graphc.types import Array

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")


def test_adding_an_op() -> None:
    names: dict[str, Any] = {
        "Array": Array, "Case": Case, "ClassVar": ClassVar, "Expr": Expr, "Function": Function, "Sequence": Sequence,
        "Value": Value, "__name__": __name__, "call": call, "np": np, "random": random,
        "widen": widen,
    }  # fmt: skip
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    assert len(names["CASES"]) == 2
    for case in names["CASES"]:
        graph = case.graph()
        compare(interpret(graph, case.feeds())[0], case.expected()[0], case.rtol, case.atol)
        native = graphc.compile(graph, backend="llvm")
        assert [p.backend for p in native.placement()] == ["llvm"]
        compare(native(*case.feeds()), case.expected()[0], case.rtol, case.atol)
        wide = in_float64(case)
        check(wide.graph(), wide.feeds(), grad(wide.graph()))
