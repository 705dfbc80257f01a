"""From the graph that infers to the one that is trained, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.errors import CompileError
from graphc.ir import Graph, Node, Value, expect_graph, rebuild, substitute
from graphc.ops.base import const
from graphc.ops.dropout import Dropout
from graphc.ops.normalization import BatchNormalization
from graphc.ops.seeded_dropout import SeededDropout
from graphc.types import TensorType, float32, int64

NEW = "new_"  # the output new_x is what the input (or constant) x is in the next step
SEED, STEP = "seed", "step"
DEFAULT_RATIO = 0.5  # of ONNX's Dropout


def training_mode(graph: Graph) -> Graph:
    """BatchNormalization normalises by the batch, Dropout drops.

    The result has an output `new_m` for each running average m, after those of `graph`; and, where something is
    dropped, the inputs `seed` and `step` (int64 scalars), which decide what. A graph in which nothing differs between
    training and inference is returned as it is.

    Raises `CompileError` where a running average is no named constant or input, or a dropout's ratio no constant.
    """
    expect_graph(graph)
    seed, step = (Value(TensorType(int64, ()), name=name) for name in (SEED, STEP))
    averages: dict[str, Value] = {}
    dropouts = 0

    def visit(node: Node, xs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        nonlocal dropouts
        if isinstance(node.op, BatchNormalization) and not node.op.training_mode:
            y, *running = replace(node.op, training_mode=True, outputs=3).apply(xs, node.name)
            averages.update({NEW + _name(x, node): v for x, v in zip(xs[3:], running, strict=True)})
            return [y]
        if isinstance(node.op, Dropout) and len(node.outputs) == 1:
            dropouts += 1
            return SeededDropout(_ratio(node), stream=dropouts - 1).apply((xs[0], seed, step), node.name)
        return None

    outputs = substitute(graph, {}, visit)
    if not dropouts and not averages:
        return graph
    inputs = [*graph.inputs, seed, step] if dropouts else graph.inputs
    return Graph(inputs, [*outputs, *averages.values()], [*graph.output_names, *averages], name=graph.name)


def inference_mode(graph: Graph) -> Graph:
    """The reverse: BatchNormalization takes the running averages, nothing is dropped, outputs `new_…` are gone."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, BatchNormalization) and node.op.training_mode:
            y = replace(node.op, training_mode=False, outputs=1).apply(xs, node.name)[0]
            return [y, *(x for x in xs[3:] if x is not None)][: len(node.outputs)]
        if isinstance(node.op, SeededDropout):
            ratio = None if node.op.ratio == DEFAULT_RATIO else const(node.op.ratio, float32)
            return Dropout().apply((xs[0], ratio), node.name)
        return None

    expect_graph(graph)
    kept = [(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True) if not n.startswith(NEW)]
    graph = rebuild(graph.with_outputs([v for v, _ in kept], [n for _, n in kept]), visit)
    read = [v for v in graph.inputs if v.name not in (SEED, STEP) or graph.uses.get(v)]
    return Graph(read, graph.outputs, graph.output_names, name=graph.name)


def _name(x: Value | None, node: Node) -> str:
    if x is None or not x.name or (x.node is not None and x.node.inputs):
        raise CompileError(
            "a running average is computed, so no step can update it",
            node=node.label,
            hint="Train the graph as it was before optimisation",
        )
    return x.name


def _ratio(node: Node) -> float:
    ratio = node.inputs[1] if len(node.inputs) > 1 else None
    if ratio is None:
        return DEFAULT_RATIO
    if ratio.const is None:
        raise CompileError("the ratio is not a constant", node=node.label)
    return float(ratio.const.item())
