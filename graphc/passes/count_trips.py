"""Loops that count up to a bound get a trip count, from which follows how often they run and what their shapes are."""

from __future__ import annotations

import dataclasses

from graphc.ir import Graph, Value
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
    op = m.op(loop)
    trip_count, cond, *xs = (*m.inputs, None)[: max(2, len(m.inputs))]
    m.require(trip_count is None and cond is not None, "it has a trip count, or no condition")
    again, *made = op.body.outputs
    m.require(again.node is not None and isinstance(again.node.op, Less), "the condition is not i + 1 < n")
    following, bound = again.node.inputs
    m.require(following in made, "what is compared is not carried")
    k = made.index(following)
    counter, start = op.body.inputs[2 + k], xs[k]
    step = following.node
    m.require(
        step is not None and isinstance(step.op, Add) and step.inputs[0] is counter and counter.type == COUNTER
        and (one := step.inputs[1]) is not None and one.const is not None and one.const.tolist() == 1,
        "what is compared does not count the trips",
    )  # fmt: skip
    first = len(op.body.inputs) - op.captured
    m.require(bound in op.body.inputs[first:] and bound.type == COUNTER, "the bound may change")
    limit = xs[op.body.inputs.index(bound) - 2]
    before = cond.node
    m.require(
        before is not None and isinstance(before.op, Less) and before.inputs == (start, limit),
        "the first trip does not depend on i < n",
    )
    body = op.body.with_outputs([op.body.inputs[1], *made], op.body.output_names)
    return dataclasses.replace(op, body=body).apply((limit - start, None, *xs))


RULES = (counted_loop,)


def count_trips(graph: Graph) -> Graph:
    """Give loops that count a trip count."""
    return rewrite(graph, RULES)
