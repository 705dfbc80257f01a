"""One form for what can be written in several, so that later rules need not say everything twice."""

from __future__ import annotations

from graphc.ir import Graph, Value
from graphc.ops.arithmetic import Add, Mul, Sub
from graphc.ops.base import Binary
from graphc.ops.logic import And, Equal, Or, Xor
from graphc.passes.rewrite import Match, constant, p, rewrite, rule, value

COMMUTATIVE = (Add, Mul, And, Or, Xor, Equal)

c, x = constant("c"), value("x")
commutative: tuple[type[Binary], ...] = COMMUTATIVE
constant_first = p(commutative, c, x)


@rule(constant_first)
def constant_last(m: Match) -> Value:
    """c + x = x + c  for each commutative op.

    before:
        graph (%x: f32[2]) {
          %c: f32[2] = const [1.0, 2.0]
          %0: f32[2] = Add(%c, %x)
          return %0 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %c: f32[2] = const [1.0, 2.0]
          %0: f32[2] = Add(%x, %c)
          return %0 as "y"
        }
    """
    m.require(not m.is_constant(x), "both sides are constant")
    return m.op(constant_first).apply((m[x], m[c]))[0]


@rule(p(Sub, x, c))
def add_negative(m: Match) -> Value:
    """x - c = x + (-c), which is exact for floats, and for integers that wrap.

    before:
        graph (%x: f32[2]) {
          %c: f32[2] = const [1.0, 2.0]
          %0: f32[2] = Sub(%x, %c)
          return %0 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %c: f32[2] = const [-1.0, -2.0]
          %0: f32[2] = Add(%x, %c)
          return %0 as "y"
        }
    """
    m.require(not m.is_constant(x), "both sides are constant")
    m.require(m[c].dtype.kind in ("float", "int"), f"{m[c].dtype} has no negatives")
    negative = -m[c]
    return m[x] + negative


RULES = (constant_last, add_negative)


def canonicalize(graph: Graph) -> Graph:
    """Constants stand on the right of commutative ops; the subtraction of a constant is an addition."""
    return rewrite(graph, RULES)
