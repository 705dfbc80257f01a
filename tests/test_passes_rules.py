"""Each rule does what its docstring says, the results stay the same, and it keeps its hands off everything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from refusals import REFUSALS
from rules import all_rules, apply, documented_passes, listings, parse_with_weights, shown_like

from graphc.difference import compare
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.passes.record import recording
from graphc.random import random_feeds
from graphc.text import format_graph
from graphc.verifier import verify_graph

RULES = all_rules()
DOCUMENTED = {name: (rule.doc, apply(rule)) for name, rule in RULES.items()} | {
    name: (function.__doc__ or "", function) for name, function in documented_passes().items()
}


def same_results(before: Graph, after: Graph, rtol: float = 1e-5) -> None:
    for size in (3, 1):
        feeds = list(random_feeds(before, seed=1, size=size).values())
        for got, want in zip(interpret(after, feeds), interpret(before, feeds), strict=True):
            assert compare(got, want, rtol=rtol).ok


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_docstring_is_true(name: str) -> None:
    doc, function = DOCUMENTED[name]
    before, expected = listings(doc)
    graph = parse_with_weights(before)
    assert shown_like(format_graph(graph), before) == before
    with recording() as record:
        after = function(graph)
    verify_graph(after)
    assert shown_like(format_graph(after), expected) == expected
    assert name in {f.rule for f in record.fired}
    same_results(graph, after)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_twice_is_once(name: str) -> None:
    doc, function = DOCUMENTED[name]
    after = function(parse_with_weights(listings(doc)[0]))
    assert function(after) is after


def test_every_rule_has_a_case_that_must_not_fire() -> None:
    assert set(REFUSALS) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_must_not_fire(name: str, golden: Callable[[str, str], None]) -> None:
    """The graph comes back as the same object; the golden file shows it and the reasons."""
    listing = REFUSALS[name].strip()
    graph = parse_with_weights(listing)
    assert shown_like(format_graph(graph), listing) == listing
    with recording() as record:
        assert DOCUMENTED[name][1](graph) is graph
    reasons = [str(r) for r in record.refused if r.rule == name]
    golden("\n".join([listing, "", *(reasons or ["(no match)"])]), name)
