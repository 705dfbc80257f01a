"""Common subexpressions are computed once."""

from __future__ import annotations

from collections.abc import Hashable

from graphc.equality import op_key
from graphc.ir import Graph, Node, Value, rebuild
from graphc.passes.bodies import is_pure, over_bodies
from graphc.passes.record import fired


def share_subexpressions(graph: Graph) -> Graph:
    """f(x, y) and f(x, y) = one f(x, y)  for a pure f; equal constants are one constant.

    Value numbering in one sweep: two nodes are equal if their ops, attributes and (numbered) inputs are.

    before:
        graph (%x: f32[4]) {
          %0: f32[4] = Neg(%x)
          %1: f32[] = const 2.0
          %2: f32[4] = Mul(%0, %1)
          %3: f32[4] = Neg(%x)
          %4: f32[] = const 2.0
          %5: f32[4] = Mul(%3, %4)
          %6: f32[4] = Add(%2, %5)
          return %6 as "y"
        }
    after:
        graph (%x: f32[4]) {
          %0: f32[4] = Neg(%x)
          %1: f32[] = const 2.0
          %2: f32[4] = Mul(%0, %1)
          %3: f32[4] = Add(%2, %2)
          return %3 as "y"
        }
    """
    return over_bodies(graph, _share)


def _share(graph: Graph) -> Graph:
    seen: dict[Hashable, Node] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if not is_pure(node):
            return None
        key = (op_key(node.op), len(node.outputs), *(None if x is None else id(x) for x in inputs))
        first = seen.get(key)
        if first is not None:
            fired("share_subexpressions", [node], first.label)
            return first.outputs
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        outputs = node.outputs if same else node.on(inputs) or node.op.apply(inputs, node.name)
        if outputs and outputs[0].node is not None:
            seen[key] = outputs[0].node  # which keeps the inputs alive, so that their ids stay theirs
        return outputs

    return rebuild(graph, visit)
