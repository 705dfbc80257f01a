"""What a graph is made of, counted."""

from __future__ import annotations

from collections import Counter

from graphc.dims import Dim
from graphc.frozen import Frozen
from graphc.ir import Graph
from graphc.ops.base import Constant
from graphc.passes.bodies import all_nodes
from graphc.runtime.ports import Port


class OpCount(Frozen):
    """How often an op occurs, and the arithmetic of its nodes together."""

    op: str
    count: int
    flops: Dim


class Summary(Frozen):
    """A graph in numbers.

    Attributes:
        name, inputs, outputs: the graph's.
        nodes: nodes other than constants, those of bodies included; `Fused` only groups nodes and is not one more.
        parameters, parameter_bytes: elements and bytes of all constants; one that is used twice counts once.
        flops: arithmetic operations of one run, a multiply-add being two; symbolic where sizes are.
        ops: the ops, most frequent first.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: int
    parameters: int
    parameter_bytes: int
    flops: Dim
    ops: tuple[OpCount, ...]


def summarize(graph: Graph) -> Summary:
    """Count nodes, parameters and arithmetic."""
    counts: Counter[str] = Counter()
    flops: dict[str, Dim] = {}
    constants = {}
    for node in all_nodes(graph):
        if isinstance(node.op, Constant):
            constants[id(node.op.value)] = node.op.value
        else:
            counts[node.op.name] += 1
    # The cost of a node with bodies includes theirs, so only the nodes of the graph itself are added up.
    for node in graph.nodes:
        if not isinstance(node.op, Constant):
            flops[node.op.name] = flops.get(node.op.name, 0) + node.op.cost(node.inputs, node.outputs).flops
    return Summary(
        graph.name,
        tuple(Port(v.name, v.type) for v in graph.inputs),
        tuple(Port(n, v.type) for n, v in zip(graph.output_names, graph.outputs, strict=True)),
        counts.total() - counts["Fused"],
        sum(t.size for t in constants.values()),
        sum(t.type.nbytes or 0 for t in constants.values()),
        sum(flops.values(), 0),
        tuple(OpCount(op, n, flops.get(op, 0)) for op, n in counts.most_common()),
    )
