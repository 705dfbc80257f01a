"""The decompositions of LinearAttention and CausalConvWithState: their values, and their gradients in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cases.linear_attention import CASES
from conformance import Case, type_of
from gradient_checks import check

from graphc.autodiff import grad
from graphc.interpret import interpret
from graphc.ir import Graph, Value

ROWS = [
    c for c in CASES if all(x is None or x.dtype == np.float32 for x in c.inputs) and c.inputs[0].shape[1:].count(0) < 1
]


def decomposed(case: Case, dtype: type) -> tuple[Graph, list[np.ndarray]]:
    feeds = [x.astype(dtype) for x in case.inputs if x is not None]
    given = iter([Value(type_of(x), name=f"x{i}") for i, x in enumerate(feeds)])
    values = [None if x is None else next(given) for x in case.inputs]
    return Graph([v for v in values if v is not None], case.op.decompose(*values), ["y", "state"]), feeds


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c.name)
def test_decompose(case: Case) -> None:
    graph, feeds = decomposed(case, np.float32)
    for got, want in zip(interpret(graph, feeds), case.op.eval(*case.inputs), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    graph, feeds = decomposed(case, np.float64)
    check(graph, feeds, grad(graph))


@pytest.mark.parametrize("case", [ROWS[7], ROWS[-1]], ids=lambda c: c.name)
def test_the_ops_gradient_is_that_of_its_decomposition(case: Case) -> None:
    direct, (parts, feeds) = grad(case.graph()), decomposed(case, np.float32)
    seeds = [np.ones_like(y) for y in case.op.eval(*case.inputs)]
    for got, want in zip(interpret(direct, [*feeds, *seeds]), interpret(grad(parts), [*feeds, *seeds]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
