"""Every row of the conformance table: types, values against the oracle, and gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from conformance import Case, all_cases

from graphc.dims import unknown
from graphc.equality import graph_equal
from graphc.interpret import fits, interpret
from graphc.ir import retype
from graphc.ops import OPS
from graphc.parse import parse
from graphc.text import format_graph, weights
from graphc.types import TensorType
from graphc.verifier import verify_graph

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_matches_the_oracle(case: Case) -> None:
    graph = case.graph()
    expected = case.expected()
    for value, got, want in zip(graph.outputs, interpret(graph, case.feeds()), expected, strict=True):
        if isinstance(value.type, TensorType):
            assert fits(got, value.type), f"inferred {value.type}, evaluated {got.dtype}{got.shape}"
        compare(got, want, case.rtol, case.atol)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_infers_with_unknown_sizes(case: Case) -> None:
    """The inferred types stay true when nothing is known of the inputs' sizes, or of their ranks."""
    graph = case.graph()
    results = interpret(graph, case.feeds())
    for forget in (
        lambda t: TensorType(t.dtype, tuple(unknown() for _ in t.shape)),
        lambda t: TensorType(t.dtype, None),
    ):
        types = [forget(v.type) if isinstance(v.type, TensorType) else v.type for v in graph.inputs]
        for value, got in zip(retype(graph, types).outputs, results, strict=True):
            if isinstance(value.type, TensorType):
                assert fits(got, value.type), f"inferred {value.type}, evaluated {got.dtype}{got.shape}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_listing_round_trip(case: Case) -> None:
    graph = case.graph()
    text = format_graph(graph)
    again = parse(text, weights(graph))
    assert graph_equal(graph, again)
    assert format_graph(again) == text
    verify_graph(graph)


def test_every_op_has_a_row() -> None:
    missing = {op.__name__ for op in OPS} - {case.op.name for case in CASES}
    assert not missing, f"without a row in tests/cases: {sorted(missing)}"


def compare(got: object, want: object, rtol: float, atol: float) -> None:
    """Equal dtype and shape, and equal values within the tolerance; exactly equal unless floating."""
    if isinstance(want, list):
        assert isinstance(got, list)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            compare(g, w, rtol, atol)
        return
    if isinstance(want, dict):
        assert isinstance(got, dict)
        assert list(map(repr, got)) == list(map(repr, want))  # the same keys in the same order
        assert {type(v) for v in got.values()} == {type(v) for v in want.values()}
        got, want = list(got.values()), list(want.values())
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if got.dtype.kind in "fcV":
        wide = np.complex128 if got.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)
