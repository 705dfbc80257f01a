"""Every row of the conformance table on the LLVM backend, at the vector widths that this machine has."""

from __future__ import annotations

import numpy as np
import pytest
from conformance import Case, all_cases
from test_conformance import compare

from graphc.backends.llvm import LlvmBackend
from graphc.interpret import interpret
from graphc.passes.bodies import is_pure
from graphc.runtime.backend import Options

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_matches_numpy(case: Case) -> None:
    """NumPy's kernels are held to the oracles by test_conformance.py."""
    graph = case.graph()
    want = interpret(graph, case.feeds())
    got = LlvmBackend().compile(graph, Options()).run(case.feeds())
    for g, w in zip(got, want, strict=True):
        if all(is_pure(n) for n in graph.nodes):
            compare(g, w, max(case.rtol, 1e-5), case.atol)
        else:
            assert np.asarray(g).shape == np.asarray(w).shape
