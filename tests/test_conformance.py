"""Every row of the conformance table: on NumPy's kernels, through the passes, to texts and ONNX and back, natively."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase

import pytest
from conformance_checks import check_folded, check_listing, check_optimised, check_oracle, check_unknown_sizes
from conformance_native import PLACEMENT, check_native, check_native_with_constants
from conformance_saved import EXCEPTIONS, check_saved
from llvm_placement import rows

from graphc.interpret import interpret
from graphc.ops import OPS

ROWS = rows()


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    """One test for all that is checked of a row: to set it up takes longer than most of the checks."""
    case = ROWS[name]
    graph = case.graph()
    results = interpret(graph, case.feeds())
    check_oracle(case, graph, results)
    check_unknown_sizes(graph, results)
    check_listing(graph)
    check_saved(case)
    if case.op.pure:
        check_optimised(case, graph, results)
        check_folded(case, results)
    check_native(name, case, graph, results)
    check_native_with_constants(case)


def test_every_op_has_a_row() -> None:
    missing = {op.__name__ for op in OPS} - {case.op.name for case in ROWS.values()}
    assert not missing, f"without a row in tests/cases: {sorted(missing)}"


def test_every_exception_of_saving_is_one() -> None:
    for table in EXCEPTIONS:
        for pattern in table:
            assert any(fnmatchcase(case.name, pattern) for case in ROWS.values()), f"{pattern} is the name of no row"


def test_the_list_of_what_is_not_native_names_only_rows_that_exist() -> None:
    assert set(PLACEMENT) <= set(ROWS)


def test_most_rows_are_native() -> None:
    """Ops that run on NumPy's kernels at all times are those that are no loop nests."""
    count = Counter(case.op.name for case in ROWS.values())
    left = Counter(ROWS[name].op.name for name in PLACEMENT)
    assert len(ROWS) - len(PLACEMENT) > 3400
    assert sum(left[op] == count[op] for op in left) <= 44
