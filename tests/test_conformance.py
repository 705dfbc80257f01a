"""Every row of the conformance table on NumPy's kernels, through the passes, and to texts and ONNX and back."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from conformance import Case, all_cases
from conformance_checks import check_folded, check_listing, check_optimised, check_oracle, check_unknown_sizes
from conformance_saved import EXCEPTIONS, check_saved

from graphc.interpret import interpret
from graphc.ops import OPS

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_row(case: Case) -> None:
    """One test for all that is checked of a row: to set it up takes longer than most of the checks."""
    graph = case.graph()
    results = interpret(graph, case.feeds())
    check_oracle(case, graph, results)
    check_unknown_sizes(graph, results)
    check_listing(graph)
    check_saved(case)
    if case.op.pure:
        check_optimised(case, graph, results)
        check_folded(case, results)


def test_every_op_has_a_row() -> None:
    missing = {op.__name__ for op in OPS} - {case.op.name for case in CASES}
    assert not missing, f"without a row in tests/cases: {sorted(missing)}"


def test_every_exception_of_saving_is_one() -> None:
    for table in EXCEPTIONS:
        for pattern in table:
            assert any(fnmatchcase(case.name, pattern) for case in CASES), f"{pattern} is the name of no row"
