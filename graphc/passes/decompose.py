"""Ops that are defined in terms of others are replaced by those, for backends that compile."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import GraphcError
from graphc.ir import Graph, Node, Value, rebuild


def decompose(graph: Graph) -> Graph:
    """f(xs) = g(h(xs))  for an op f whose `decompose` says so; again, until no such op is left."""
    while (after := rebuild(graph, _visit)) is not graph:
        graph = after
    return graph


def _visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
    parts = parts_of(node, inputs)
    if parts is None or len(parts) < len(node.outputs):
        return None
    _name(parts, set(inputs), node.name)
    return parts[: len(node.outputs)]


def _name(parts: Sequence[Value], inputs: set[Value | None], name: str) -> None:
    """Call the nodes that were made from `inputs` as the node that they replace, so that profiles can tell."""
    waiting = list(parts)
    while waiting:
        value = waiting.pop()
        node = value.node
        if node is None or value in inputs or node.name or node.op.name == "Constant":
            continue
        node.name = name
        waiting += [x for x in node.inputs if x is not None]


def parts_of(node: Node, inputs: Sequence[Value | None]) -> tuple[Value, ...] | None:
    """What `node` is in terms of other ops on `inputs`; None where it cannot be said, as with unknown sizes."""
    try:
        outputs = node.op.decompose(*inputs)
    except GraphcError:
        return None
    return (outputs,) if isinstance(outputs, Value) else None if outputs is None else tuple(outputs)
