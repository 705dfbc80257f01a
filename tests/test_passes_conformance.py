"""Every row of the conformance table through the whole pipeline: as it is, and with all inputs constant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance import Case, all_cases

from graphc.difference import compare
from graphc.interpret import interpret
from graphc.passes.manager import optimize

CASES = [case for case in all_cases() if case.op.pure]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_optimised_results_agree(case: Case) -> None:
    graph = case.graph()
    after, _ = optimize(graph, 2)
    for got, want in zip(interpret(after, case.feeds()), interpret(graph, case.feeds()), strict=True):
        assert compare(got, want, rtol=1e-6).ok


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_folded_results_are_equal(case: Case) -> None:
    arrays = [x is None or isinstance(x, np.ndarray) for x in case.inputs]
    constant = replace(case, const=tuple(i for i, is_array in enumerate(arrays) if is_array))
    graph = constant.graph()
    after, _ = optimize(graph, 1)
    for got, want in zip(interpret(after, constant.feeds()), interpret(graph, constant.feeds()), strict=True):
        assert compare(got, want, rtol=0.0).ok
