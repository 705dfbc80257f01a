"""Transposes in a row become one, or none."""

from __future__ import annotations

from graphc.ir import Graph, Value
from graphc.ops.movement import Transpose
from graphc.passes.rewrite import Match, p, rewrite, rule, value

x = value("x")
inner = p(Transpose, x)
outer = p(Transpose, inner)
single = p(Transpose, x)


def _order(m: Match, op: Transpose) -> tuple[int, ...]:
    if op.perm is not None:
        return op.perm
    rank = m.node.output.rank
    if rank is None:
        m.decline("the rank is not known")
    return tuple(range(rank))[::-1]


@rule(single)
def drop_transpose(m: Match) -> Value:
    """Transpose(x, (0, 1, 2, …)) = x.

    before:
        graph (%x: f32[2,3]) {
          %0: f32[2,3] = Transpose(%x) {perm=(0,1)}
          %1: f32[2,3] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2,3]) {
          %0: f32[2,3] = Neg(%x)
          return %0 as "y"
        }
    """
    order = _order(m, m.op(single))
    m.require(order == tuple(range(len(order))), "the axes change places")
    return m[x]


@rule(outer)
def merge_transpose(m: Match) -> Value:
    """Transpose(Transpose(x, p), q) = Transpose(x, p∘q),  (p∘q)_i = p_(q_i).

    before:
        graph (%x: f32[2,3,4]) {
          %0: f32[3,4,2] = Transpose(%x) {perm=(1,2,0)}
          %1: f32[3,2,4] = Transpose(%0) {perm=(0,2,1)}
          return %1 as "y"
        }
    after:
        graph (%x: f32[2,3,4]) {
          %0: f32[3,2,4] = Transpose(%x) {perm=(1,0,2)}
          return %0 as "y"
        }
    """
    first, second = _order(m, m.op(inner)), _order(m, m.op(outer))
    order = tuple(first[i] for i in second)
    return m[x] if order == tuple(range(len(order))) else m[x].transpose(order)


RULES = (drop_transpose, merge_transpose)


def merge_transposes(graph: Graph) -> Graph:
    """At most one transpose in a row."""
    return rewrite(graph, RULES)
