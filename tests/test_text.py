"""Listings: golden forms, round trips, and errors with line numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.dims import sym, unknown
from graphc.equality import graph_equal
from graphc.errors import InvalidModel
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.parse import parse
from graphc.text import format_graph, inline_tensor, weights
from graphc.types import DType, TensorType, bfloat16, float32, int4, int64, uint2, uint8, uint64


def example() -> Graph:
    x = Value(TensorType(float32, (sym("batch"), unknown(), (sym("h") + 1) // 2)), name="x")
    w = const(np.arange(30, dtype=np.float32).reshape(10, 3), name="fc 1")
    y = x * 2.0 + const(np.array([1, -0.0, np.inf], np.float32), name="b")
    return Graph([x], [y, w * w], ["out", "squares"], name="two outputs")


def test_listing(golden: Callable[[str], None]) -> None:
    golden(format_graph(example()))


def test_round_trip_is_exact() -> None:
    graph = example()
    text = format_graph(graph)
    again = parse(text, weights(graph))
    assert graph_equal(graph, again)
    assert format_graph(again) == text


def test_names_that_are_no_identifiers() -> None:
    x = Value(TensorType(int64, ()), name="a b\n%")
    once = (x + 1).node
    assert once is not None
    y = once.op(x, x, name="0")
    z = once.op(y, y, name="0")
    graph = Graph([x], [y, z, z], name='"')
    assert graph_equal(graph, parse(format_graph(graph)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph (%x: f32[2]) {\n  %y: f32[3] = Neg(%x)\n  return %y\n}", "line 2: %y is stated as f32[3]"),
        ("graph (%x: f32[2]) {\n  %y: f32[2] = Nope(%x)\n  return %y\n}", "line 2: no op is called Nope"),
        ("graph (%x: f32[2]) {\n  %y: f32[2] = Neg(%z)\n  return %y\n}", "line 2: %z is not defined"),
        ("graph (%x: f33[2]) {\n  return %x\n}", "line 1: no element type is called f33"),
        ("graph (%x: f32[2]) {\n  %y: f32[2] = Neg(%x) {a=1}\n  return %y\n}", "line 2: Neg has no attribute a"),
        ("graph () {\n  %w: f32[99] = const @w\n  return %w\n}", "line 2: no weights are given for @w"),
        ("graph (", "line 1: expected a value"),
        ("", "line 1: expected 'graph'"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message.replace("(", r"\(").replace("[", r"\[")):
        parse(text)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ("[18446744073709551615, 1]", uint64, [2**64 - 1, 1]),
        ("[9223372036854775808]", int64, None),
        ("[-9223372036854775808]", int64, [-(2**63)]),
        ("[-1]", uint8, None),
        ("[256]", uint8, None),
        ("[-8, 7]", int4, [-8, 7]),
        ("[8]", int4, None),
        ("[4]", uint2, None),
        ("[1e39]", float32, [np.inf]),
        ("[1e300]", bfloat16, [np.inf]),
    ],
)
def test_numbers_that_fit_their_type(text: str, dtype: DType, expected: list[float] | None) -> None:
    found = inline_tensor(text, TensorType(dtype, (text.count(",") + 1,)))
    assert (None if found is None else found.array.tolist()) == expected
