"""Every row of the conformance table on the LLVM backend, at each vector width that this machine has.

`llvm_placement.txt` names the rows that run on NumPy's kernels, and why; it is exact.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from conformance import compare
from llvm_placement import placement, reasons, rows
from llvm_targets import targets

from graphc.backends.llvm import LlvmBackend
from graphc.backends.llvm.backend import LlvmExecutable
from graphc.interpret import interpret
from graphc.passes.bodies import is_pure
from graphc.runtime.backend import Options

ROWS = rows()
PLACEMENT = placement()


BACKENDS = [LlvmBackend(name) for name in targets()]


@pytest.mark.parametrize("name", ROWS)
def test_matches_numpy(name: str) -> None:
    """NumPy's kernels are held to the oracles by test_conformance.py."""
    case = ROWS[name]
    graph, feeds = case.graph(), case.feeds()
    want = interpret(graph, feeds)
    pure = all(is_pure(n) for n in graph.nodes)
    for backend in BACKENDS:
        executable = backend.compile(graph, Options())
        assert isinstance(executable, LlvmExecutable)
        for g, w in zip(executable.run(feeds), want, strict=True):
            if pure:
                compare(g, w, max(case.rtol, 1e-5), case.atol)
            else:
                assert np.asarray(g).shape == np.asarray(w).shape
        found = reasons(executable, backend.target)
        assert found == PLACEMENT.get(name), "python tests/llvm_placement.py --write"


def test_the_list_names_only_rows_that_exist() -> None:
    assert set(PLACEMENT) <= set(ROWS)


def test_most_rows_are_native() -> None:
    """Ops that run on NumPy's kernels at all times are those that are no loop nests."""
    count = Counter(case.op.name for case in ROWS.values())
    left = Counter(ROWS[name].op.name for name in PLACEMENT)
    assert len(ROWS) - len(PLACEMENT) > 3400
    assert sum(left[op] == count[op] for op in left) <= 44
