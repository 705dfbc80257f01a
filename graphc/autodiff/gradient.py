"""Gradients: Graph -> Graph."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.autodiff.checkpoint import rematerialize
from graphc.errors import CompileError, InvalidModel
from graphc.ir import Graph, Value, expect_graph
from graphc.ops.base import const
from graphc.ops.generate import zeros_like
from graphc.ops.logic import StopGradient
from graphc.ops.vjp import vjp
from graphc.types import TensorType


def grad(
    graph: Graph,
    wrt: str | Sequence[str] | None = None,
    *,
    keep_outputs: bool = False,
    checkpoint: Sequence[str] | None = None,
) -> Graph:
    """The gradient of `graph`: d loss / d w for each w in `wrt`, as a graph like any other.

    A graph whose only floating-point output is a scalar is the loss itself. Otherwise the result has a further input
    `grad_<output>` for each floating-point output y, and computes the vector-Jacobian product Σ grad_yᵀ · dy/dw.

    Args:
        graph: the graph to differentiate.
        wrt: names of inputs or of constants, or one name; by default every floating-point input.
        keep_outputs: also return the outputs of `graph`, in front of the gradients.
        checkpoint: names of values of `graph`: the gradient computes what lies between them again, in place of keeping
            it; see `graphc.autodiff.checkpoint`. Less memory, at most one more forward pass, the same bits.

    Returns:
        A graph with the inputs of `graph` (and the seeds), and one output `grad_<w>` for each w, of its type. A value
        on which no output depends has a gradient of zeros.

    Raises:
        InvalidModel: when a name in `wrt` is unknown or its value is not floating-point, or there is no value of a
            name in `checkpoint`.
        GraphcError: naming the node, when the path to an output passes an op without a gradient.
    """
    expect_graph(graph)
    sources = _sources(graph)
    if wrt is None:
        names = [v.name for v in graph.inputs if _is_float(v)]
    else:
        names = [wrt] if isinstance(wrt, str) else list(wrt)
    for name in names:
        if name not in sources:
            raise InvalidModel(f"nothing to differentiate is called '{name}'", hint=f"Valid: {', '.join(sources)}")
    differentiable = [(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True) if _is_float(v)]
    if not differentiable:
        raise CompileError("the graph has no floating-point output")
    seeds: list[Value] = []
    inputs = list(graph.inputs)
    if len(differentiable) == 1 and differentiable[0][0].shape == ():
        seeds.append(const(1.0, differentiable[0][0].dtype))
    else:
        seeds = [Value(v.type, name=f"grad_{name}") for v, name in differentiable]
        inputs += seeds
    values = [sources[name] for name in names]
    kept = _kept(graph, checkpoint or ())
    found = vjp([v for v, _ in differentiable], seeds, [*values, *kept])
    gradients = found[: len(values)]
    if kept:
        there = {v: g for v, g in zip([*values, *kept], found, strict=True) if g is not None}
        again = rematerialize(graph, there, kept)
        gradients = [again.get(v) for v in values]
    results = [zeros_like(v) if g is None else g for v, g in zip(values, gradients, strict=True)]
    outputs = [*graph.outputs, *results] if keep_outputs else results
    output_names = [f"grad_{name}" for name in names]
    if keep_outputs:
        output_names = [*graph.output_names, *output_names]
    return Graph(inputs, outputs, output_names, name=f"grad_{graph.name}" if graph.name else "")


def stop_gradient(x: Value) -> Value:
    """`x`, a constant for gradients: ∂/∂x = 0. In ONNX it becomes an Identity."""
    return StopGradient().apply((x,))[0]


def _kept(graph: Graph, names: Sequence[str]) -> list[Value]:
    """The values of these names. Raises `InvalidModel`."""
    named = {v.name: v for n in graph.nodes for v in n.outputs if v.name}
    for name in names:
        if name not in named:
            raise InvalidModel(f"no value to keep is called '{name}'", hint="Name an output of a node")
    return [named[name] for name in names]


def _sources(graph: Graph) -> dict[str, Value]:
    """What can be differentiated for: floating-point inputs and named constants."""
    candidates = [*graph.inputs, *(n.output for n in graph.constants())]
    return {v.name: v for v in reversed(candidates) if v.name and _is_float(v)}


def _is_float(v: Value) -> bool:
    return isinstance(v.type, TensorType) and v.type.dtype.is_float
