"""Ops that are defined in terms of others are replaced by those, for backends that compile."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import GraphcError
from graphc.ir import Graph, Node, Value, rebuild, substitute
from graphc.passes.fold_constants import fold_node
from graphc.passes.record import fired, refused


def decompose(graph: Graph) -> Graph:
    """f(xs) = g(h(xs))  for an op f whose `decompose` says so; again, until no such op is left.

    The nodes that stand for one called `f` have names that begin so, and the one that makes its output is called `f`.
    What they make of constants alone is folded.

    before:
        graph (%x: f32[1,1,4]) {
          %w: f32[1,1,2] = const [[[1.0, 2.0]]]
          %y: f32[1,1,5] = ConvTranspose(%x, %w)
          return %y
        }
    after:
        graph (%x: f32[1,1,4]) {
          %y.Slice: f32[1,1,2] = const [[[2.0, 1.0]]]
          %y: f32[1,1,5] = Conv(%x, %y.Slice) {dilations=(1,), pads=(1,1)}
          return %y
        }
    """
    while (after := rebuild(graph, _visit)) is not graph:
        graph = after
    return graph


def _visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
    # On inputs of its own: what one of `inputs` is made of is no matter of this op.
    own = [None if x is None else Value(x.type, name=f"x{i}", content=x.content) for i, x in enumerate(inputs)]
    parts = parts_of(node, own)
    if parts is None:
        return None
    body = Graph([x for x in own if x is not None], parts)
    names = _names(node, parts)
    given = {a: b for a, b in zip(own, inputs, strict=True) if a is not None and b is not None}

    def visit(n: Node, xs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if not n.inputs:
            return None  # a constant
        inner = n.name or n.op.name if node.name else ""
        made = n.op.apply(xs, names.get(n) or (f"{node.name}.{inner}" if inner else n.name))
        fresh = made[0].node
        return (None if fresh is None else fold_node(fresh, xs, strict=False)) or made

    outputs = substitute(body, given, visit)
    fired("decompose", [node], ", ".join(v.node.label for v in outputs if v.node is not None))
    return outputs


def _names(node: Node, parts: Sequence[Value]) -> dict[Node, str]:
    """The names of the nodes that make the outputs of `node`."""
    names: dict[Node, str] = {}
    for i, v in enumerate(parts):
        if node.name and v.node is not None:
            names.setdefault(v.node, f"{node.name}#{i}" if i else node.name)
    return names


def parts_of(node: Node, inputs: Sequence[Value | None]) -> tuple[Value, ...] | None:
    """What `node` is in terms of other ops on `inputs`; None where it cannot be said, as with unknown sizes."""
    try:
        outputs = node.op.decompose(*inputs)
    except GraphcError as e:
        refused("decompose", node, str(e.message))
        return None
    if outputs is None:
        return None
    parts = (outputs,) if isinstance(outputs, Value) else tuple(outputs)
    return parts[: len(node.outputs)] if len(parts) >= len(node.outputs) else None
