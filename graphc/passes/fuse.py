"""Fusion: a convolution or matrix product and the element-wise nodes after it, these alone, or a sum of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.activation import PRelu
from graphc.ops.arithmetic import Add, Mul, Neg, Sub
from graphc.ops.base import Binary, Constant, Unary
from graphc.ops.cast import Cast
from graphc.ops.conv import Conv
from graphc.ops.fused import Fused
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.logic import Where
from graphc.ops.math import Pow
from graphc.ops.minmax import Clip, Several
from graphc.ops.normalization import BatchNormalization
from graphc.ops.reduction import ReduceMean, ReduceSum
from graphc.passes.bodies import over_bodies
from graphc.passes.record import fired

ANCHORS = (Conv, Gemm, MatMul)
POINTWISE = (Unary, Binary, Several, Cast, Clip, Where, Pow, PRelu)
SUMS = (ReduceSum, ReduceMean)
LIGHT = (Add, Sub, Mul, Neg)
MAX_NODES = 64  # of one group: code generators compose the expressions of a body


def fuse(graph: Graph) -> Graph:
    """relu(Conv(x, w) + r) = Fused(x, w, r) {relu(Conv(x, w) + r)}.

    A group is a tree: each value inside has one use, and the shape of the group's result. So nothing is computed
    twice, and no path leaves the group and comes back. It has at most one convolution or product, at its leaves, or
    a sum, of elements that are computed for it alone. What takes one operation on each element of one tensor, as
    x − mean, is copied into every group that reads it: x is read in place of it, and it need not be stored.
    Constants of one element move into the body; bodies do not nest.

    before:
        graph (%x: f32[1,3,8,8], %r: f32[1,4,6,6]) {
          %w: f32[4,3,3,3] = const @w
          %conv: f32[1,4,6,6] = Conv(%x, %w)
          %0: f32[1,4,6,6] = Add(%conv, %r)
          %relu: f32[1,4,6,6] = Relu(%0)
          return %relu as "y"
        }
    after:
        graph (%x: f32[1,3,8,8], %r: f32[1,4,6,6]) {
          %w: f32[4,3,3,3] = const @w
          %relu: f32[1,4,6,6] = Fused(%x, %w, %r) {
            %conv: f32[1,4,6,6] = Conv(%x, %w)
            %0: f32[1,4,6,6] = Add(%conv, %r)
            %1: f32[1,4,6,6] = Relu(%0)
            yield %1
          }
          return %relu as "y"
        }
    """
    return over_bodies(graph, _fuse, enter=lambda node: not isinstance(node.op, Fused))


@dataclass(eq=False)
class _Group:
    """Nodes in order, the last one being the root, and the position of the anchor, if there is one.

    `copies` are those of `nodes` that other groups may have too.
    """

    nodes: list[Node]
    anchor: int | None
    copies: set[Node] = field(default_factory=set)


def _fuse(graph: Graph) -> Graph:
    groups = _groups(graph)
    inside = {node for group in groups for node in group.nodes[:-1] if node not in group.copies}
    roots = {group.nodes[-1]: group for group in groups}
    new: dict[Value, Value] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...]:
        if node in inside:
            return node.outputs  # only the group reads them
        if node in roots:
            outputs = _fused(roots[node], new)
        else:
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            outputs = node.outputs if same else node.op.apply(inputs, node.name)
        new.update(zip(node.outputs, outputs, strict=True))
        return outputs

    return rebuild(graph, visit) if groups else graph


def _groups(graph: Graph) -> list[_Group]:
    """The groups of two nodes or more."""
    of: dict[Node, _Group] = {}
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, ANCHORS):
            of[node] = _Group([node], position)
        elif _is_pointwise(node) or isinstance(node.op, SUMS):
            of[node] = group = _Group([node], position if isinstance(node.op, SUMS) else None)
            for producer in _mergeable(graph, node, of):
                _merge(group, of[producer], of)
            for producer in _copied(graph, node, of):
                _merge(group, _Group([producer], None, {producer}), of)
    kept = {id(g): g for g in of.values() if len(g.nodes) > 1}
    order = {node: i for i, node in enumerate(graph.nodes)}
    for group in kept.values():
        group.nodes.sort(key=order.__getitem__)
    return list(kept.values())


def _copied(graph: Graph, node: Node, of: dict[Node, _Group]) -> list[Node]:
    """The producers of `node`'s inputs that are copied: several read them, and they read one tensor of that size."""
    found = []
    for x in dict.fromkeys(_elements(node)):
        p = x.node
        if p is None or not isinstance(p.op, LIGHT) or len(graph.uses[x]) == 1 or len(of[p].nodes) > 1:
            continue
        if sum(y is not None and y.shape == x.shape for y in p.inputs) == 1:
            found.append(p)
    return found


def _elements(node: Node) -> list[Value]:
    """The inputs whose elements are those of the group: of a sum, what is summed up."""
    if isinstance(node.op, SUMS):
        return [x for x in node.inputs[:1] if x is not None]
    inputs = node.inputs[:1] if isinstance(node.op, BatchNormalization) else node.inputs
    shape = node.output.shape
    return [x for x in inputs if x is not None and shape is not None and x.shape == shape]


def _is_pointwise(node: Node) -> bool:
    if isinstance(node.op, BatchNormalization):
        return not node.op.training_mode
    return isinstance(node.op, POINTWISE)


def _mergeable(graph: Graph, node: Node, of: dict[Node, _Group]) -> list[Node]:
    """The producers of `node`'s inputs whose groups may join it; those with an anchor first, the latest one leading.

    Of two convolutions that are added, the one computed last takes the sum: the other's result is there by then.
    """
    found = []
    for x in _elements(node):
        if x.node is None or (isinstance(node.op, SUMS) and x.node in of and of[x.node].anchor is not None):
            continue
        if x.node in of and len(graph.uses[x]) == 1 and len(x.node.outputs) == 1:
            found.append(x.node)
    return sorted(found, key=lambda n: -1 if (at := of[n].anchor) is None else at, reverse=True)


def _merge(group: _Group, other: _Group, of: dict[Node, _Group]) -> None:
    if group.anchor is not None and other.anchor is not None:
        return
    if len(group.nodes) + len(other.nodes) > MAX_NODES:
        return
    group.nodes = list(dict.fromkeys(other.nodes + group.nodes))
    group.copies |= other.copies
    group.anchor = other.anchor if group.anchor is None else group.anchor
    for node in other.nodes:
        if node not in other.copies:
            of[node] = group


def _fused(group: _Group, new: dict[Value, Value]) -> tuple[Value, ...]:
    """The `Fused` node of a group, on new values."""
    inside: dict[Value, Value] = {}
    given: dict[Value, Value] = {}  # new value outside -> input of the body
    root = group.nodes[-1]
    for node in group.nodes:
        inputs = [_operand(x, node, inside, given, new) for x in node.inputs]
        # The root's name goes to the group, whose result is the root's.
        outputs = node.op.apply(inputs, "" if node is root else node.name)
        inside.update(zip(node.outputs, outputs, strict=True))
    body = Graph(list(given.values()), [inside[root.output]], ["y0"])
    outputs = Fused(body).apply(list(given), root.name)
    assert outputs[0].node is not None
    fired("fuse", group.nodes, outputs[0].node.label)
    return outputs


def _operand(
    x: Value | None, reader: Node, inside: dict[Value, Value], given: dict[Value, Value], new: dict[Value, Value]
) -> Value | None:
    if x is None or x in inside:
        return None if x is None else inside[x]
    outer = new.get(x, x)
    if not isinstance(reader.op, ANCHORS) and _is_number(outer):
        assert outer.node is not None
        inside[x] = outer.node.op.apply((), outer.name)[0]
        return inside[x]
    if outer not in given:
        given[outer] = Value(outer.type, name=f"x{len(given)}", content=outer.content)
    return given[outer]


def _is_number(x: Value) -> bool:
    return x.node is not None and isinstance(x.node.op, Constant) and x.node.op.value.size == 1
