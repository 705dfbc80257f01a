"""The rewrite driver: what matches, what does not, names, bodies, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dims import sym
from graphc.errors import CompileError
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.activation import Relu
from graphc.ops.arithmetic import Add, Mul, Neg
from graphc.ops.base import const
from graphc.ops.control import If
from graphc.ops.minmax import Clip
from graphc.passes.bodies import over_bodies
from graphc.passes.inline_branches import inline_branches
from graphc.passes.record import recording
from graphc.passes.rewrite import Match, Rule, constant, maybe, p, rewrite, rule, value
from graphc.types import TensorType, float32

x, y, c = value("x"), value("y"), constant("c")


@rule(p(Neg, p(Neg, x)))
def twice(m: Match) -> Value:
    return m[x]


def given(*shape: int) -> Value:
    return Value(TensorType(float32, shape), name="x")


def test_an_unchanged_graph_is_the_same_object() -> None:
    a = given(2)
    graph = Graph([a], [-a])
    assert rewrite(graph, [twice]) is graph


def test_a_value_used_elsewhere_or_returned_is_no_interior() -> None:
    a = given(2)
    once = -a
    for graph in (Graph([a], [-once, once + a]), Graph([a], [-once, once])):
        assert rewrite(graph, [twice]) is graph
    assert not rewrite(Graph([a], [-once]), [twice]).nodes


def test_the_replacement_inherits_the_name_and_leaves_keep_theirs() -> None:
    @rule(p(Add, x, y))
    def commute(m: Match) -> Value:
        m.require(m.old(y) is m.graph.inputs[0], "done")
        return m[y] + m[x]

    a = given(2)
    kept = Neg()(a, name="kept")
    after = rewrite(Graph([a], [Add()(kept, a, name="sum")]), [commute])
    assert [n.label for n in after.nodes] == ["Neg 'kept'", "Add 'sum'"]
    # A rule that returns one of its leaves renames nothing.
    after = rewrite(Graph([a], [Neg()(Neg()(Relu()(a), name="inner"), name="outer")]), [twice])
    assert [n.label for n in after.nodes] == ["Relu"]


def test_a_rule_that_returns_an_input_beyond_its_pattern_renames_nothing() -> None:
    a = given(2)
    inner = -a
    bodies = [Graph([b], [b]) for b in (given(2), given(2))]
    graph = Graph([a], [If(*bodies)(const(True), inner, name="choice")])
    assert [n.label for n in inline_branches(graph).nodes] == ["Neg"]
    assert inner.name == ""


def test_one_leaf_in_two_places_matches_one_value_only() -> None:
    @rule(p(Add, x, x))
    def double(m: Match) -> Value:
        return m[x] * 2.0

    a, b = given(2), Value(TensorType(float32, (2,)), name="b")
    different = Graph([a, b], [a + b])
    assert rewrite(different, [double]) is different
    assert rewrite(Graph([a], [a + a]), [double]).nodes[-1].op == Mul()


def test_constants_are_what_depends_on_constants_only() -> None:
    @rule(p(Add, x, c))
    def drop(m: Match) -> Value:
        return m[x]

    a = given(2)
    k = -const(np.ones(2, np.float32))
    assert not rewrite(Graph([a], [a + k]), [drop]).nodes
    variable = Graph([a], [k + a])
    assert rewrite(variable, [drop]) is variable


def test_an_optional_input_may_be_there_or_not() -> None:
    low, high = maybe(value("low")), maybe(constant("high"))
    seen: list[tuple[bool, bool]] = []

    @rule(p(Clip, x, low, high))
    def look(m: Match) -> Value:
        seen.append((m[low] is None, m[high] is None))
        m.decline("only looking")

    a, one = given(2), const(np.float32(1))
    rewrite(Graph([a], [Clip()(Clip()(Clip()(a), one), None, one)]), [look])
    assert seen == [(True, True), (False, True), (True, False)]


def test_a_long_chain_takes_few_sweeps_and_no_recursion() -> None:
    a = given(2)
    v = a
    for _ in range(20_001):
        v = -v
    after = rewrite(Graph([a], [v]), [twice])
    assert len(after.nodes) == 1


def test_a_rule_that_never_ends_is_stopped() -> None:
    @rule(p(Neg, x))
    def again(m: Match) -> Value:
        return -m[x]

    a = given(2)
    assert len(rewrite(Graph([a], [-a]), [again]).nodes) == 1


def test_a_rule_that_changes_the_type_is_refused_loudly() -> None:
    @rule(p(Neg, x))
    def wrong(m: Match) -> Value:
        return m[x].sum(0)

    a = given(2)
    with pytest.raises(CompileError, match=r"from f32\[2\] to f32\[\]"):
        rewrite(Graph([a], [-a]), [wrong])


def test_a_type_that_is_known_less_well_is_declined() -> None:
    @rule(p(Add, x, y))
    def first(m: Match) -> Value:
        return m[x]

    a = Value(TensorType(float32, (sym("n"),)), name="a")
    graph = Graph([a], [a + const(np.ones(4, np.float32))])
    with recording() as record:
        assert rewrite(graph, [first]) is graph
    reason = "the type would be known less well: f32[n] for f32[4]"
    assert [str(r) for r in record.refused] == [f"first: Add declined: {reason}"]


def nested(depth: int) -> Graph:
    """-(-x) inside `depth` Ifs."""
    type = TensorType(float32, (2,))
    inner = Value(type, name="x")
    body = Graph([inner], [Neg()(Neg()(inner))])
    for _ in range(depth):
        inner, same = Value(type, name="x"), Value(type, name="x")
        first = inner.sum(0) > 0.0
        body = Graph([inner], [If(body, Graph([same], [same]))(first, inner)])
    return body


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_rules_reach_into_bodies(depth: int) -> None:
    after = rewrite(nested(depth), [twice])
    levels = []
    graph = after
    while graph.nodes:
        levels.append(graph)
        graph = graph.nodes[-1].op.graphs()["then_branch"]
    assert len(levels) == depth
    data = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(interpret(after, [data])[0], data)


def test_a_body_that_is_shared_is_transformed_once() -> None:
    calls = []
    graph = nested(1)
    node = graph.nodes[-1]
    body = node.op.graphs()["then_branch"]
    both = If(body, body)(graph.nodes[-1].inputs[0], graph.inputs[0])
    twice_more = If(body, body)(graph.nodes[-1].inputs[0], both)
    over_bodies(Graph(graph.inputs, [twice_more]), lambda g: calls.append(g) or g)
    assert len(calls) == 2


def test_the_record_says_what_fired_and_what_declined() -> None:
    a = given(2)
    with recording() as record:
        rewrite(Graph([a], [Neg()(Neg()(a, name="inner"), name="outer")]), [twice])
    assert [str(f) for f in record.fired] == ["twice: Neg 'inner' + Neg 'outer' -> %x"]


def test_rules_are_tried_in_their_order() -> None:
    def named(name: str) -> Rule:
        def build(m: Match) -> Value:
            return m[x]

        build.__name__ = name
        return rule(p(Neg, x))(build)

    a = given(2)
    with recording() as record:
        rewrite(Graph([a], [-a]), [named("one"), named("two")])
    assert [f.rule for f in record.fired] == ["one"]
