"""Loops that count up to a bound get a trip count, from which follows how often they run and what their shapes are."""

from __future__ import annotations

import dataclasses

from graphc.ir import Graph, Op, Value
from graphc.ops.arithmetic import Add
from graphc.ops.control import Loop
from graphc.ops.logic import Less
from graphc.passes.rewrite import Match, p, rewrite, rule
from graphc.types import TensorType, int64

loop = p(Loop, ...)
COUNTER = TensorType(int64, ())


@rule(loop)
def counted_loop(m: Match) -> tuple[Value, ...]:
    """Loop(_, i < n, i, …) {yield i + 1 < n, i + 1, …} = Loop(n − i, _, i, …) {yield true, i + 1, …}.

    before:
        graph (%x: f32[2], %m: i64[]) {
          %0: i64[] = const 0
          %1: bool[] = Less(%0, %m)
          %2: i64[], %2#1: f32[2] = Loop(_, %1, %0, %x, %m) {
            captured=1
            body = (%i: i64[], %going: bool[], %k: i64[], %a: f32[2], %n: i64[]) {
              %3: i64[] = const 1
              %4: i64[] = Add(%k, %3)
              %5: bool[] = Less(%4, %n)
              %6: f32[2] = Add(%a, %a)
              yield %5, %4, %6
            }
          }
          return %2#1 as "y"
        }
    after:
        graph (%x: f32[2], %m: i64[]) {
          %0: i64[] = const 0
          %1: i64[] = Sub(%m, %0)
          %2: i64[], %2#1: f32[2] = Loop(%1, _, %0, %x, %m) {
            captured=1
            body = (%i: i64[], %going: bool[], %k: i64[], %a: f32[2], %n: i64[]) {
              %3: i64[] = const 1
              %4: i64[] = Add(%k, %3)
              %5: f32[2] = Add(%a, %a)
              yield %going, %4, %5
            }
          }
          return %2#1 as "y"
        }
    """
    op, inputs = m.op(loop), (*m.inputs, None)
    m.require(inputs[0] is None and inputs[1] is not None, "it has a trip count, or no condition")
    xs = [x for x in inputs[2:] if x is not None]
    again, *made = op.body.outputs
    carried = made[: len(xs) - op.captured]
    following, bound = _operands(m, again, Less, "it does not go on while i < n")
    m.require(following in carried, "it does not go on while i < n")
    counter = op.body.inputs[2 + carried.index(following)]
    value, one = _operands(m, following, Add, "i does not count the trips")
    counts = value is counter and counter.type == COUNTER and one.const is not None and one.const.tolist() == 1
    m.require(counts, "i does not count the trips")
    captured = op.body.inputs[len(op.body.inputs) - op.captured :]
    m.require(bound in captured and bound.type == COUNTER, "n may change")
    start, limit = (xs[op.body.inputs.index(v) - 2] for v in (counter, bound))
    first = _operands(m, inputs[1], Less, "whether it begins does not depend on i < n")
    m.require(first == (start, limit), "whether it begins does not depend on i < n")
    body = op.body.with_outputs([op.body.inputs[1], *made], op.body.output_names)
    return dataclasses.replace(op, body=body).apply((limit - start, None, *xs))


def _operands(m: Match, x: Value | None, op: type[Op], otherwise: str) -> tuple[Value, Value]:
    """a and b where x = op(a, b); declines where it is not."""
    node = None if x is None else x.node
    if node is None or not isinstance(node.op, op) or node.inputs[0] is None or node.inputs[1] is None:
        m.decline(otherwise)
    return node.inputs[0], node.inputs[1]


RULES = (counted_loop,)


def count_trips(graph: Graph) -> Graph:
    """Give loops that count a trip count."""
    return rewrite(graph, RULES)
