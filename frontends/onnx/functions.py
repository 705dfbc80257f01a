"""Model-local functions: how much inlining them makes, found by counting before anything is expanded."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.errors import InvalidModel
from graphc.limits import Limits

from .survey import FunctionKey, Region, Survey, function_label


def check_functions(survey: Survey, limits: Limits) -> set[FunctionKey]:
    """The functions that the model's graph reaches.

    Raises `InvalidModel` with the call path when a function calls itself, directly, through others or in a body, and
    `ResourceLimit` when inlining all calls would make more nodes than `max_inlined_nodes`.
    """
    totals: dict[FunctionKey, int] = {}
    if not survey.functions:
        return set()
    calls = _calls(survey, survey.main)
    stack: list[tuple[FunctionKey | None, int, Iterator[FunctionKey]]] = [(None, _nodes(survey.main), iter(calls))]
    path: dict[FunctionKey | None, None] = {None: None}
    total = 0
    while stack:
        current, nodes, pending = stack[-1]
        for key in pending:
            if key in totals:
                nodes += totals[key]
                stack[-1] = (current, nodes, pending)
                continue
            if key in path:
                route = [k for k in path if k is not None]
                cycle = [*route[route.index(key) :], key]
                names = " -> ".join(function_label(k) for k in cycle)
                raise InvalidModel(f"the function {function_label(key)} calls itself: {names}")
            path[key] = None
            stack.append((key, _nodes(survey.functions[key]), iter(_calls(survey, survey.functions[key]))))
            break
        else:
            stack.pop()
            del path[current]
            if current is None:
                total = nodes
            else:
                totals[current] = nodes
                outer, before, rest = stack[-1]
                stack[-1] = (outer, before + nodes, rest)
    if totals:
        limits.check("number of nodes after inlining functions", total, "max_inlined_nodes")
    return set(totals)


def _calls(survey: Survey, region: Region) -> list[FunctionKey]:
    """The function of each call in `region`, bodies included."""
    keys = (survey.function(node) for r in region.everything() for node in r.proto.node)
    return [key for key in keys if key is not None]


def _nodes(region: Region) -> int:
    return sum(len(r.proto.node) for r in region.everything())
