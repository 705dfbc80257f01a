"""Ops that are defined in terms of others are replaced by those, for backends that compile."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir import Graph, Node, Value, rebuild


def decompose(graph: Graph) -> Graph:
    """f(xs) = g(h(xs))  for an op f whose `decompose` says so; again, until no such op is left."""
    while (after := rebuild(graph, _visit)) is not graph:
        graph = after
    return graph


def _visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
    outputs = node.op.decompose(*inputs)
    if outputs is None:
        return None
    return (outputs,) if isinstance(outputs, Value) else tuple(outputs)
