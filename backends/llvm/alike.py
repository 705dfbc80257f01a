"""Nodes that are alike but for the values that they read, as in the blocks of a network: what is found out of one, and
the code that is made for it, serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from graphc.equality import op_key
from graphc.frozen import Frozen
from graphc.ir import Node, Value
from graphc.loops.compose import known, looked_at
from graphc.loops.nest import Nest
from graphc.ops.base import Constant
from graphc.ops.fused import Fused

Values = Mapping[Value, Value]


class Made(Frozen, eq=False):
    """The one kernel of a node, for others that are alike.

    Attributes:
        node: the node.
        nest, values: those of the kernel.
        taken: the copies that it reads of its inputs, in order, and what takes such a copy where other values stand.
    """

    node: Node
    nest: Nest
    values: tuple[Value, ...]
    taken: tuple[tuple[Value, Callable[[Values], Value]], ...]


def key_of(node: Node) -> Hashable:
    """A key that nodes share exactly if they compute the same of values of the same types, constant or not.

    Contents of constants are no part of it but for those that an op may look at.
    """
    return _key(node, {})


def standing(a: Node, b: Node) -> dict[Value, Value]:
    """The values around and in `a` -> those of `b`, which has the same key."""
    return dict(zip(values_of(a), values_of(b), strict=True))


def values_of(node: Node) -> list[Value]:
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
