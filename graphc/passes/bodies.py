"""Passes inside bodies: what one pass does to a graph, done to the bodies of If, Loop, Scan, … as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from graphc.ir import Graph, Node, Value, rebuild

Enter = Callable[[Node], bool]


def over_bodies(graph: Graph, transform: Callable[[Graph], Graph], enter: Enter = lambda node: True) -> Graph:
    """`transform` applied to the bodies of nodes for which `enter` is true, innermost first, then to `graph` itself.

    Iterative, and a body that several nodes share is transformed once.
    """
    done: dict[Graph, Graph] = {}
    stack = [(graph, iter(_bodies(graph, enter)))]
    while stack:
        current, pending = stack[-1]
        body = next((b for b in pending if b not in done), None)
        if body is not None:
            stack.append((body, iter(_bodies(body, enter))))
            continue
        stack.pop()
        done[current] = transform(_with_bodies(current, done) if done else current)
    return done[graph]


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Every node of `graph`, those of bodies included."""
    pending = [graph]
    while pending:
        current = pending.pop()
        for node in current.nodes:
            yield node
            pending += node.op.graphs().values()


def is_pure(node: Node) -> bool:
    """True when equal inputs give equal outputs: no random generator, in bodies neither."""
    inner = (n for body in node.op.graphs().values() for n in all_nodes(body))
    return node.op.is_pure(*node.inputs) and all(n.op.is_pure(*n.inputs) for n in inner)


def _bodies(graph: Graph, enter: Enter) -> list[Graph]:
    return [body for node in graph.nodes for body in node.op.graphs().values() if enter(node)]


def _with_bodies(graph: Graph, done: dict[Graph, Graph]) -> Graph:
    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        bodies = node.op.graphs()
        changed = {name: done[body] for name, body in bodies.items() if done.get(body, body) is not body}
        if not changed:
            return None
        return dataclasses.replace(node.op, **changed).apply(inputs, node.name)

    return rebuild(graph, visit)
