"""Nodes that are alike but for the values that they read, as in the blocks of a network: what is found out of one, and
the code that is made for it, serves all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from graphc.equality import op_key
from graphc.frozen import Frozen
from graphc.ir import Node, Value
from graphc.loops.compose import known, looked_at
from graphc.loops.nest import Nest
from graphc.ops.base import Constant
from graphc.ops.fused import Fused

from ..codegen.target import Target
from .kernels import Kernel
from .lowering import Lowering


class _Made(Frozen, eq=False):
    """The one kernel of a node, for others that are alike.

    Attributes:
        node: the node.
        nest, values: those of the kernel; the values are around the node, or copies of such.
    """

    node: Node
    nest: Nest
    values: tuple[Value, ...]


class SharedLowering(Lowering):
    """Lowers nodes; of those that are alike only the first is looked at, and its nest is theirs."""

    def __init__(
        self, outputs: Sequence[Value], target: Target, threads: int = 1, winograd: bool | None = None
    ) -> None:
        super().__init__(outputs, target, threads, winograd)
        self.keys: dict[Node, Hashable] = {}
        self.first: dict[Hashable, Node] = {}
        self.made: dict[Hashable, _Made] = {}

    def analyse(self, node: Node) -> None:
        key = self.keys[node] = key_of(node)
        first = self.first.setdefault(key, node)
        if first is node:
            super().analyse(node)
            return
        values = standing(first, node)
        for v, w in zip(first.outputs, node.outputs, strict=True):
            self.found[w] = self.found[v].on(values)
            if self.found[w].contraction is not None:
                self.demand(self.found[w])
        if first in self.joint:
            self.joint.add(node)

    def build(self, node: Node) -> None:
        if any(self.is_chain(v) for v in node.outputs):
            super().build(node)
            return
        layouts = [None if x is None else self.result.layout(x) for x in (*node.inputs, *node.outputs)]
        key = self.keys[node], *layouts
        made = self.made.get(key)
        if made is not None:
            self._make_again(made, node)
            return
        begin, shared = len(self.kernels), len(self.result.shared)
        super().build(node)
        own = [k for k in self.kernels[begin:] if isinstance(k, Kernel) and k.node is node]
        alone = len(own) == 1 and own[0] is self.kernels[-1] and len(self.result.shared) == shared
        if not alone:
            return
        around = {*_values(node)}
        if all(v in around or (v in self.copied and self.copied[v].tensor in around) for v in own[0].values):
            self.made[key] = _Made(node, own[0].nest, own[0].values)

    def _make_again(self, made: _Made, node: Node) -> None:
        """The kernel of a node that is alike, on the values of `node`."""
        values = standing(made.node, node)
        for v in made.values:
            if v not in values:
                copy = self.copied[v]
                values[v] = self.take(replace(copy, tensor=values[copy.tensor]))
        arguments = zip(made.nest.arguments, made.values, strict=True)
        self.add(made.nest, {buffer: values[v] for buffer, v in arguments}, node)


def key_of(node: Node) -> Hashable:
    """A key that nodes share exactly if they compute the same of values of the same types, constant or not.

    Contents of constants are no part of it but for those that an op may look at.
    """
    return _key(node, {})


def standing(a: Node, b: Node) -> dict[Value, Value]:
    """The values around and in `a` -> those of `b`, which has the same key."""
    return dict(zip(_values(a), _values(b), strict=True))


def _values(node: Node) -> list[Value]:
    """What a kernel for `node` may read or write, but for copies."""
    inside = node.op.body.nodes if isinstance(node.op, Fused) else []
    constants = [n.output for n in inside if isinstance(n.op, Constant)]
    return [*(x for x in node.inputs if x is not None), *node.outputs, *constants]


def _key(node: Node, numbers: dict[Value, int]) -> Hashable:
    read: list[Hashable] = []
    for x in node.inputs:
        if x is None or x in numbers:
            read.append(None if x is None else numbers[x])
        else:
            numbers[x] = len(numbers)
            read.append(_facts(x))
    for v in node.outputs:
        numbers[v] = len(numbers)
    return _op_key(node), tuple(read), tuple([_facts(v) for v in node.outputs])


def _op_key(node: Node) -> Hashable:
    if not isinstance(node.op, Fused):
        return op_key(node.op)
    body = node.op.body
    numbers = {v: k for k, v in enumerate(body.inputs)}
    inner: list[Hashable] = []
    for n in body.nodes:
        if isinstance(n.op, Constant):
            numbers[n.output] = len(numbers)
            inner.append(_facts(n.output))
        else:
            inner.append(_key(n, numbers))
    return tuple(inner), tuple([numbers[v] for v in body.outputs])


def _facts(x: Value) -> Hashable:
    """What counts of a value that is read or made."""
    constant = known(x)
    if constant is None:
        return x.type
    return x.type, constant.digest if looked_at(x) is not None else None
