"""Random graphs: what a pass makes of them gives the same results; bit for bit where the pass does not reassociate."""

from __future__ import annotations

import numpy as np
import pytest
from graphgen import feeds_for, graphs
from hypothesis import given

from graphc.difference import compare
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.passes.manager import optimize
from graphc.passes.pipelines import PIPELINES, Pass
from graphc.verifier import verify_graph

PASSES = {step.run.__name__: step.run for pipeline in PIPELINES.values() for step in pipeline}
# These sum and scale in another order; the others may not change a bit.
REASSOCIATES = {"fold_affine", "fold_batch_norm", "form_gemm"}
SHIFTS_PADDING = {"fold_pad"}  # the sums are the same, of the same numbers and zeros


def same_results(before: Graph, after: Graph, *, exact: bool) -> None:
    for seed in (0, 1):
        feeds = feeds_for(before, seed)
        for got, want in zip(interpret(after, feeds), interpret(before, feeds), strict=True):
            if exact:
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)
                assert np.array_equal(np.signbit(got), np.signbit(want)) or got.dtype.kind != "f"
            else:
                assert compare(got, want, rtol=1e-4).ok


@pytest.mark.parametrize("name", PASSES)
@given(graph=graphs())
def test_each_pass_alone(name: str, graph: Graph) -> None:
    after = PASSES[name](graph)
    verify_graph(after)
    same_results(graph, after, exact=name not in REASSOCIATES | SHIFTS_PADDING)


@pytest.mark.parametrize("level", PIPELINES)
@given(graph=graphs())
def test_each_pipeline(level: int, graph: Graph) -> None:
    after, _ = optimize(graph, level)
    same_results(graph, after, exact=level == 0)


@given(graph=graphs())
def test_twice_is_once(graph: Graph) -> None:
    """A pass that ran to its fixed point has nothing left to do."""
    for run in _fixed_points():
        after = run(graph)
        assert run(after) is after, run.__name__


def _fixed_points() -> list[Pass]:
    return [run for name, run in PASSES.items() if name != "fold_shapes"]
