"""Rematerialisation: gradients that compute values of the forward pass again, in place of keeping them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.ir import Graph, Node, Value, topological
from graphc.ops.base import Constant
from graphc.ops.logic import Barrier


def rematerialize(graph: Graph, gradients: Mapping[Value, Value], kept: Iterable[Value]) -> dict[Value, Value]:
    """`gradients`, in which the values of `graph` between those that are `kept` are computed again.

    The values that are kept cut `graph` into segments. The gradient of the last segment reads what the forward pass
    made; that of an earlier one computes the segment again from what is kept at its border, when the gradients of the
    segments behind it are there (a `Barrier` says so). So only the values of one segment live at a time: with √n
    segments of √n layers, memory for √n layers and one more forward pass. Chen et al. 2016, "Training deep nets with
    sublinear memory cost", arXiv:1604.06174.

    Args:
        graph: the forward pass.
        gradients: of values of `graph`, among them all those that are kept and have one.
        kept: values of `graph`. Those that are read across segments, and random ones, are kept too.
    """
    held = {*kept, *graph.inputs}
    segment = _segments(graph, held)
    readers = {v: [segment[n] for n, _ in uses if n is not None] for v, uses in graph.uses.items()}
    held |= {
        v
        for n in graph.nodes
        for v in n.outputs
        if not n.op.is_pure(*n.inputs) or (n.inputs and max(readers.get(v, ()), default=0) > segment[n])
    }
    last = max(segment.values(), default=0)
    # What there must be before a segment is computed again: gradients of what is at its end, and of weights behind it.
    first_read = {x: min(readers.get(x, ()), default=last) for x in gradients}
    again = _Again(segment, held, last)
    for s in reversed(range(last)):
        again.before[s] = again.rebuilt([g for x, g in gradients.items() if first_read[x] > s])
    return dict(zip(gradients, again.rebuilt(list(gradients.values())), strict=True))


def _segments(graph: Graph, held: set[Value]) -> dict[Node, int]:
    """For each node, the largest number of kept values on a path to it."""
    segment: dict[Node, int] = {}
    for n in graph.nodes:
        found = [segment[x.node] + (x in held) for x in n.inputs if x is not None and x.node is not None]
        segment[n] = max(found, default=0)
    return segment


class _Again:
    """The gradients on values that are computed again.

    Attributes:
        before: segment -> what is computed before it is again.
    """

    def __init__(self, segment: dict[Node, int], held: set[Value], last: int):
        self.segment, self.held, self.last = segment, held, last
        self.before: dict[int, list[Value]] = {}
        self.new: dict[Value, Value] = {}  # of the backward pass
        self.copies: dict[Value, Value] = {}  # of the forward pass
        self.barriers: dict[tuple[Value, int], Value] = {}

    def rebuilt(self, values: Sequence[Value]) -> list[Value]:
        """`values` of the backward pass."""
        for node in topological(values):
            if node in self.segment or node.output in self.new:
                continue
            inputs = [None if x is None else self._read(x) for x in node.inputs]
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            outputs = node.outputs if same else node.on(inputs) or node.op.apply(inputs, node.name)
            self.new.update(zip(node.outputs, outputs, strict=True))
        return [self.new.get(v, v) for v in values]

    def _read(self, x: Value) -> Value:
        """What the backward pass reads in place of `x`."""
        if x.node is None or x.node not in self.segment:
            return self.new.get(x, x)
        if x in self.held or isinstance(x.node.op, Constant) or self.segment[x.node] == self.last:
            return x
        waiting = [x.node] if x not in self.copies else []
        while waiting:
            node = waiting[-1]
            s = self.segment[node]
            missing = [y.node for y in node.inputs if y is not None and y.node is not None and self._is_lost(y)]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if node.outputs and node.output in self.copies:
                continue
            inputs = [None if y is None else self._copy(y, s) for y in node.inputs]
            self.copies.update(zip(node.outputs, node.op.apply(inputs), strict=True))
        return self.copies[x]

    def _is_lost(self, y: Value) -> bool:
        """True for what is not kept, and not computed again yet."""
        assert y.node is not None
        return y not in self.held and not isinstance(y.node.op, Constant) and y not in self.copies

    def _copy(self, y: Value, s: int) -> Value:
        """What a node of segment `s` reads when it is computed again."""
        if y not in self.held:
            return self.copies.get(y, y)
        if (y, s) not in self.barriers:
            self.barriers[y, s] = Barrier().apply((y, *self.before[s]))[0]
        return self.barriers[y, s]
