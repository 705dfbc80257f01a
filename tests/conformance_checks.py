"""What holds for a row of the conformance table on NumPy's kernels. Each check is given the row's graph and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from conformance import Case, compare

from graphc import difference
from graphc.dims import unknown
from graphc.equality import graph_equal
from graphc.interpret import Data, fits, interpret
from graphc.ir import Graph, retype
from graphc.parse import parse
from graphc.passes.manager import optimize
from graphc.text import format_graph, weights
from graphc.types import TensorType
from graphc.verifier import verify_graph


def check_oracle(case: Case, graph: Graph, results: Sequence[Data]) -> None:
    """The results are of the inferred types, and what the oracle says."""
    check_types(graph, results)
    for got, want in zip(results, case.expected(), strict=True):
        compare(got, want, case.rtol, case.atol)


def check_unknown_sizes(graph: Graph, results: Sequence[Data]) -> None:
    """The inferred types stay true when nothing is known of the inputs' sizes, or of their ranks."""
    for forget in (
        lambda t: TensorType(t.dtype, tuple(unknown() for _ in t.shape)),
        lambda t: TensorType(t.dtype, None),
    ):
        types = [forget(v.type) if isinstance(v.type, TensorType) else v.type for v in graph.inputs]
        check_types(retype(graph, types), results)


def check_types(graph: Graph, results: Sequence[Data]) -> None:
    for value, got in zip(graph.outputs, results, strict=True):
        if isinstance(value.type, TensorType):
            assert fits(got, value.type), f"inferred {value.type}, evaluated {got.dtype}{got.shape}"


def check_listing(graph: Graph) -> None:
    """The listing is parsed to the same graph."""
    text = format_graph(graph)
    again = parse(text, weights(graph))
    assert graph_equal(graph, again)
    assert format_graph(again) == text
    verify_graph(graph)


def check_optimised(case: Case, graph: Graph, results: Sequence[Data]) -> None:
    """The results are the same after the whole pipeline."""
    after, _ = optimize(graph, 2)
    for got, want in zip(interpret(after, case.feeds()), results, strict=True):
        assert difference.compare(got, want, rtol=1e-6).ok


def check_folded(case: Case, results: Sequence[Data]) -> None:
    """The results are equal when all inputs are constants, which passes compute with."""
    arrays = [x is None or isinstance(x, np.ndarray) for x in case.inputs]
    constant = replace(case, const=tuple(i for i, is_array in enumerate(arrays) if is_array))
    after, _ = optimize(constant.graph(), 1)
    for got, want in zip(interpret(after, constant.feeds()), results, strict=True):
        assert difference.compare(got, want, rtol=0.0).ok
