"""Rows of the conformance table again, with shapes, axes and the like as constants, which native code needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance import Case, all_cases, compare

from graphc.backends.llvm import LlvmBackend
from graphc.errors import GraphcError
from graphc.interpret import interpret
from graphc.passes.bodies import is_pure
from graphc.runtime.backend import Options


def with_constants(case: Case) -> Case | None:
    """`case` with all small inputs after the first as constants; None where that changes nothing."""
    small = [i for i, x in enumerate(case.inputs) if i and isinstance(x, np.ndarray) and x.size <= 16]
    const = sorted({*case.const, *small})
    return None if const == sorted(case.const) else replace(case, const=const)


CASES = [c for case in all_cases() if (c := with_constants(case)) is not None]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_matches_numpy(case: Case) -> None:
    try:
        graph = case.graph()
    except GraphcError:
        pytest.skip("a constant that inference refuses")
    if not all(is_pure(n) for n in graph.nodes):
        pytest.skip("random numbers")
    want = interpret(graph, case.feeds())
    got = LlvmBackend().compile(graph, Options()).run(case.feeds())
    for g, w in zip(got, want, strict=True):
        compare(g, w, max(case.rtol, 1e-5), case.atol)
