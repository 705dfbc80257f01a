"""A sequence that a Loop makes, one element in each trip, and that is only joined becomes a scan output."""

from __future__ import annotations

import dataclasses

from graphc.frozen import Frozen
from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.base import const, normalize_axis
from graphc.ops.control import Loop
from graphc.ops.movement import Transpose
from graphc.ops.reshaping import Squeeze
from graphc.ops.sequence import ConcatFromSequence, SequenceEmpty, SequenceInsert
from graphc.passes.bodies import over_bodies
from graphc.passes.record import fired
from graphc.types import int64


def stack_sequences(graph: Graph) -> Graph:
    """ConcatFromSequence(Loop(…, [], …) {yield …, s + [x], …}) = Reshape(Loop(…) {yield …, x})

    for a sequence s that nothing else reads, where all x have one size along the axis along which they are joined.
    With a new axis it is a Transpose, or nothing. Where there is no trip, the sequence would have been refused.

    before:
        graph (%x: f32[2]) {
          %0: i64[] = const 3
          %1: seq(f32[...]) = SequenceEmpty()
          %2: seq(f32[...]) = Loop(%0, _, %1, %x) {
            captured=1
            body = (%i: i64[], %going: bool[], %s: seq(f32[...]), %a: f32[2]) {
              %3: f32[] = Cast(%i) {to=f32}
              %4: f32[2] = Mul(%a, %3)
              %5: seq(f32[...]) = SequenceInsert(%s, %4)
              yield %going, %5
            }
          }
          %6: f32[...] = ConcatFromSequence(%2) {axis=0}
          return %6 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: i64[] = const 3
          %1: f32[3,2] = Loop(%0, _, %x) {
            captured=1
            body = (%i: i64[], %going: bool[], %a: f32[2]) {
              %2: f32[] = Cast(%i) {to=f32}
              %3: f32[2] = Mul(%a, %2)
              yield %going, %3
            }
          }
          %4: i64[1] = const [-1]
          %5: f32[6] = Reshape(%1, %4)
          return %5 as "y"
        }
    """
    return over_bodies(graph, _stack)


def _stack(graph: Graph) -> Graph:
    ways: dict[Value, _Way] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Loop):
            found: dict[int, Value] = {}
            for k in range(len(node.op.body.inputs) - 2 - node.op.captured):
                way = _way(graph, node, node.op, k)
                if way is not None:
                    found[k], ways[node.outputs[k]] = way.slice, way
            if found:
                return _scanned(node, node.op, inputs, found)
        way = ways.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        if way is None or inputs[0] is None:
            return None
        made = way.join(inputs[0])
        fired("stack_sequences", [node], made.node.label if made.node is not None else "")
        return (made,)

    return rebuild(graph, visit)


class _Way(Frozen):
    """What each trip gives, and what its elements are joined to: along a new axis, or one that they have."""

    slice: Value
    axis: int
    new_axis: bool

    def join(self, stacked: Value) -> Value:
        """The slices, stacked along their first axis, as they are to be."""
        rank = stacked.rank or 0
        moved = stacked
        if self.axis:
            order = (*range(1, self.axis + 1), 0, *range(self.axis + 1, rank))
            moved = Transpose(order)(stacked)
        after = (self.slice.shape or ())[self.axis + 1 :]
        return moved if self.new_axis else moved.reshape([*([0] * self.axis), -1, *after])


def _way(graph: Graph, node: Node, op: Loop, k: int) -> _Way | None:
    """What is made of the sequence that is carried value `k`, if it grows at its end and is joined, and no more."""
    start, users = node.inputs[2 + k], graph.uses.get(node.outputs[k], [])
    before, after = op.body.inputs[2 + k], op.body.outputs[1 + k]
    insert = after.node
    if start is None or start.node is None or not isinstance(start.node.op, SequenceEmpty) or insert is None:
        return None
    if not isinstance(insert.op, SequenceInsert) or len(insert.inputs) != 2 or len(users) != 1:
        return None
    user, x = users[0][0], insert.inputs[1]
    if op.body.uses[before] != [(insert, 0)] or op.body.uses[after] != [(None, 1 + k)]:
        return None
    if user is None or not isinstance(user.op, ConcatFromSequence) or x is None or x.shape is None:
        return None
    axis = normalize_axis(user.op.axis, len(x.shape) + user.op.new_axis)
    if user.op.new_axis:
        return _Way(x, axis, True)
    if x.shape[axis] == 1:
        return _Way(Squeeze()(x, const([axis], int64)), axis, True)
    # Other sizes are the same in all trips, or else they would not fit; this one need not be.
    return _Way(x, axis, False) if all(isinstance(n, int) and n for n in x.shape[axis:]) else None


def _scanned(node: Node, op: Loop, inputs: tuple[Value | None, ...], found: dict[int, Value]) -> tuple[Value, ...]:
    """The outputs of the loop with slices in place of these carried values."""
    count = len(op.body.inputs) - 2 - op.captured
    left = [k for k in range(count) if k not in found]
    body_inputs = [v for i, v in enumerate(op.body.inputs) if i - 2 not in found]
    going, *made = op.body.outputs
    names = op.body.output_names
    order = [*left, *range(count, len(made)), *found]
    outputs = [going, *(found.get(i, made[i]) for i in order)]
    body = Graph(body_inputs, outputs, [names[0], *(names[1 + i] for i in order)], name=op.body.name)
    given = [x for i, x in enumerate(inputs) if i - 2 not in found]
    results = dataclasses.replace(op, body=body).apply(given, node.name)
    return tuple(results[order.index(i)] for i in range(len(made)))
