"""A sequence that a Loop makes, one element in each trip, and that is only joined becomes a scan output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.base import const, normalize_axis
from graphc.ops.control import Loop
from graphc.ops.reshaping import Squeeze
from graphc.ops.sequence import ConcatFromSequence, SequenceEmpty, SequenceInsert
from graphc.passes.bodies import over_bodies
from graphc.passes.record import fired
from graphc.passes.rewrite import matched, p, value
from graphc.types import int64

s, x = value("s"), value("x")
empty, longer = p(SequenceEmpty), p(SequenceInsert, s, x)


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
    elements: dict[Value | None, Value] = {}  # a sequence that a loop makes -> an element, in the body

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, Loop):
            count = len(node.op.body.inputs) - 2 - node.op.captured
            found = {k: v for k in range(count) if (v := _element(graph, node, node.op, k)) is not None}
            elements.update((node.outputs[k], element) for k, (element, _) in found.items())
            slices = {k: x for k, (_, x) in found.items()}
            return _scanned(node, node.op, inputs, slices) if slices else None
        if not isinstance(node.op, ConcatFromSequence) or node.inputs[0] not in elements or inputs[0] is None:
            return None
        made = _joined(node.op, inputs[0], elements[node.inputs[0]])
        fired("stack_sequences", [node], made.node.label if made.node is not None else "")
        return [made]

    return rebuild(graph, visit)


def _element(graph: Graph, node: Node, op: Loop, k: int) -> tuple[Value, Value] | None:
    """x, where carried value `k` is [] at first and s + [x] after each trip, is joined in the end, and no more.

    And what each trip gives instead: x without the axis along which it is joined, if that has one element.
    """
    before, after, final = op.body.inputs[2 + k], op.body.outputs[1 + k], node.outputs[k]
    begins, grows = matched(graph, node.inputs[2 + k], empty), matched(op.body, after, longer)
    if begins is None or grows is None or grows[s] is not before:
        return None
    if len(op.body.uses[before]) > 1 or len(op.body.uses[after]) > 1 or len(graph.uses.get(final, [])) != 1:
        return None
    ((join, _),) = graph.uses[final]
    if join is None or not isinstance(join.op, ConcatFromSequence) or not _is_regular(join.op, grows[x]):
        return None
    axis = _axis(join.op, grows[x])
    narrow = not join.op.new_axis and (grows[x].shape or ())[axis] == 1
    return grows[x], Squeeze().apply((grows[x], const([axis], int64)))[0] if narrow else grows[x]


def _axis(op: ConcatFromSequence, element: Value) -> int:
    return normalize_axis(op.axis, len(element.shape or ()) + op.new_axis)


def _is_regular(op: ConcatFromSequence, element: Value) -> bool:
    """Whether `op` joins elements that have one size in all trips; sizes of other axes are, or they would not fit."""
    if element.shape is None:
        return False
    sizes = element.shape[_axis(op, element) :]
    return op.new_axis or sizes[0] == 1 or all(isinstance(n, int) and n for n in sizes)


def _joined(op: ConcatFromSequence, stacked: Value, element: Value) -> Value:
    """What `op` makes of `stacked`, which are the elements along a new first axis."""
    shape, axis, rank = element.shape or (), _axis(op, element), stacked.rank or 0
    moved = stacked if axis == 0 else stacked.transpose([*range(1, axis + 1), 0, *range(axis + 1, rank)])
    if op.new_axis or shape[axis] == 1:
        return moved
    return moved.reshape([*(0 for _ in range(axis)), -1, *shape[axis + 1 :]])


def _scanned(node: Node, op: Loop, inputs: Sequence[Value | None], found: Mapping[int, Value]) -> list[Value]:
    """The outputs of the loop with slices, behind those that it has, in place of the carried values `found`."""
    outputs = [v for i, v in enumerate(op.body.outputs) if i - 1 not in found]
    names = [name for i, name in enumerate(op.body.output_names) if i - 1 not in found]
    names += [op.body.output_names[1 + k] for k in found]
    body_inputs = [v for i, v in enumerate(op.body.inputs) if i - 2 not in found]
    body = Graph(body_inputs, [*outputs, *found.values()], names, name=op.body.name)
    given = [v for i, v in enumerate(inputs) if i - 2 not in found]
    made = dataclasses.replace(op, body=body).apply(given, node.name)
    stacked, others = dict(zip(found, made[-len(found) :], strict=True)), iter(made)
    return [stacked[i] if i in found else next(others) for i in range(len(node.outputs))]
