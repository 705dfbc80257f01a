"""The verifier: infer every type again, compare it with the stored one, and point at the fault."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.errors import GraphcError, InvalidModel
from graphc.ir import Graph, Node, Value
from graphc.text import format_lines
from graphc.types import Type, same_type

CONTEXT = 3  # lines shown before and after the fault


def verify_graph(graph: Graph) -> None:
    """Check that every node's stored types are what its op infers, in bodies too.

    Raises:
        InvalidModel: naming the node, stored against inferred types, with the lines of the listing around it.
    """
    for node, problem in _problems(graph):
        raise InvalidModel(f"{problem}\n{_excerpt(graph, node)}", node=node.label)


def _problems(graph: Graph) -> Iterator[tuple[Node, str]]:
    pending = [graph]
    while pending:
        current = pending.pop()
        defined: set[Value] = set(current.inputs)
        renamed: dict[str, str] = {}
        for node in current.nodes:
            for x in node.inputs:
                if x is not None and x not in defined:
                    yield node, f"%{x.name} is used before it is defined"
            defined.update(node.outputs)
            problem = _problem(node, renamed)
            if problem:
                yield node, problem
            pending += node.op.graphs().values()


def _problem(node: Node, renamed: dict[str, str]) -> str | None:
    try:
        inferred = node.op.infer(*node.inputs)
    except (GraphcError, ValueError, TypeError) as e:
        return f"inference fails: {e}"
    types: tuple[Type, ...] = inferred if isinstance(inferred, tuple) else (inferred,)
    stored = tuple(v.type for v in node.outputs)
    if len(types) == len(stored) and all(same_type(a, b, renamed) for a, b in zip(types, stored, strict=True)):
        return None
    return f"stored {', '.join(map(str, stored))}, inferred {', '.join(map(str, types))}"


def _excerpt(graph: Graph, fault: Node) -> str:
    lines = format_lines(graph)
    at = next(i for i, line in enumerate(lines) if line.node is fault)
    first = max(at - CONTEXT, 0)
    shown = lines[first : at + CONTEXT + 1]
    return "\n".join(f"{line.text}{'   <-- here' if first + i == at else ''}" for i, line in enumerate(shown))
