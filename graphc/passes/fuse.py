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
    Trees join where one reads the result of the other and all else that it reads is there before: both are results
    then if both are read elsewhere, as y and y·sigmoid(y), or a momentum and the weights that it moves.
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
    """Nodes that become one.

    Attributes:
        root: the node in the place of which the group is computed.
        nodes: all of them.
        anchor: the position of the convolution, product or sum, if there is one.
        copies: those of `nodes` that other groups may have too.
    """

    root: Node
    nodes: list[Node]
    anchor: int | None
    copies: set[Node] = field(default_factory=set)

    def results(self, graph: Graph, of: dict[Node, _Group]) -> list[Value]:
        """What is read outside of the group, but not where that has a copy of what makes it."""

        def is_read(x: Value, reader: Node | None) -> bool:
            group = None if reader is None else of.get(reader)
            return group is not self and (group is None or x.node not in group.copies)

        values = [v for n in self.nodes if n not in self.copies for v in n.outputs]
        return [v for v in values if any(is_read(v, reader) for reader, _ in graph.uses.get(v, []))]


def _fuse(graph: Graph) -> Graph:
    of = _groups(graph)
    new: dict[Value, Value] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...]:
        group = of.get(node)
        if group is None:
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            made = node.outputs if same else node.on(inputs) or node.op.apply(inputs, node.name)
            new.update(zip(node.outputs, made, strict=True))
        elif node is group.root:
            results = group.results(graph, of)
            new.update(zip(results, _fused(group, results, new), strict=True))
        return tuple(new.get(v, v) for v in node.outputs)  # what is not there only the group reads

    return rebuild(graph, visit) if of else graph


def _groups(graph: Graph) -> dict[Node, _Group]:
    """The groups of two nodes or more, by their nodes."""
    of: dict[Node, _Group] = {}
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, ANCHORS):
            of[node] = _Group(node, [node], position)
        elif _is_pointwise(node) or isinstance(node.op, SUMS):
            of[node] = group = _Group(node, [node], position if isinstance(node.op, SUMS) else None)
            for producer in _mergeable(graph, node, of):
                _merge(group, of[producer], of)
            for producer in _copied(graph, node, of):
                _merge(group, _Group(producer, [producer], None, {producer}), of)
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node in of and of[node].root is node:
            _join(graph, of[node], of, order)
    kept = {node: group for node, group in of.items() if len(group.nodes) > 1}
    for group in {id(g): g for g in kept.values()}.values():
        group.nodes.sort(key=order.__getitem__)
    return kept


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


def _join(graph: Graph, group: _Group, of: dict[Node, _Group], order: dict[Node, int]) -> None:
    """Let element-wise nodes join the group whose result they read, if that is a contraction or theirs alone.

    That group is computed where it was. So all else that they read must be there by then.
    """
    if group.anchor is not None or not group.results(graph, of):
        return
    read = [x for n in group.nodes for x in n.inputs if x is not None and x.node not in group.nodes]
    hosts = {id(of[x.node]): of[x.node] for x in read if x.node in of}
    host = max(hosts.values(), key=lambda h: order[h.root], default=None)
    if host is None or len(host.nodes) + len(group.nodes) > MAX_NODES:
        return
    from_host = [x for x in read if x.node in host.nodes]
    others = [n for x in read if (n := x.node) is not None and n not in host.nodes and not isinstance(n.op, Constant)]
    contracts = host.anchor is not None and isinstance(graph.nodes[host.anchor].op, ANCHORS)
    own = all(reader in group.nodes for x in from_host for reader, _ in graph.uses[x])
    if (
        (contracts or own)
        and all(x.shape is not None and x.shape == group.root.output.shape for x in from_host)
        and all(order[of[n].root if n in of else n] < order[host.root] for n in others)
    ):
        host.nodes += [n for n in group.nodes if n not in host.nodes]
        host.copies |= group.copies
        of.update((n, host) for n in group.nodes if n not in group.copies)


def _fused(group: _Group, results: list[Value], new: dict[Value, Value]) -> tuple[Value, ...]:
    """The `Fused` node of a group, on new values."""
    inside: dict[Value, Value] = {}
    given: dict[Value, Value] = {}  # new value outside -> input of the body
    first = results[0].node
    assert first is not None
    for node in group.nodes:
        inputs = [_operand(x, node, inside, given, new) for x in node.inputs]
        # The name of what makes the first result goes to the group.
        outputs = node.op.apply(inputs, "" if node is first else node.name)
        inside.update(zip(node.outputs, outputs, strict=True))
    body = Graph(list(given.values()), [inside[v] for v in results], [f"y{i}" for i in range(len(results))])
    outputs = Fused(body).apply(list(given), first.name)
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
