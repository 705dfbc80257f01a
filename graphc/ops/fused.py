"""The op that stands for a group of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from graphc.interpret import interpret
from graphc.ir import Cost, Graph, Node, Op, Value, substitute
from graphc.ops.base import per_output
from graphc.ops.bodies import body_cost, fitted_inputs, leaving, leaving_content
from graphc.ops.vjp import gradient_graph
from graphc.types import Array, TensorType, Type


class Fused(Op):
    """body(xs): several nodes as one, so that a backend may compile them together. graphc's own; not in ONNX.

    Attributes:
        body: a graph with one input for each input of the op; it may hold constants, and nodes with bodies.
    """

    domain: ClassVar[str] = "graphc"
    body: Graph

    def refine(self, xs: Sequence[Value | None]) -> Op:
        given = [x for x in xs if x is not None]
        body = self.body
        inputs = fitted_inputs(body, [x.type for x in given], [x.content for x in given])
        if inputs is None:
            return self
        outputs = substitute(body, dict(zip(body.inputs, inputs, strict=True)))
        return replace(self, body=Graph(inputs, outputs, body.output_names, name=body.name))

    def infer(self, *xs: Value) -> tuple[Type, ...]:
        return leaving([y.type for y in self.body.outputs], xs)

    def contents(self, xs: Sequence[Value | None], types: Sequence[Type]) -> Array | None:
        return leaving_content(self.body.outputs[0], xs) if isinstance(types[0], TensorType) else None

    def eval(self, *xs: Any) -> tuple[Any, ...]:
        return tuple(interpret(self.body, xs))

    def grad(self, dy: Any, y: Any, *xs: Value) -> Sequence[Value | None]:
        dys = per_output(dy)
        graph, has_gradient = gradient_graph(self.body, [d is not None for d in dys])
        # The gradient reads the outputs that are there already; what else it needs of the body it computes again.
        known = dict(zip(self.body.outputs, per_output(y), strict=True))
        known.update(zip(graph.inputs, [*xs, *(d for d in dys if d is not None)], strict=True))
        gradients = iter(substitute(graph, known))
        return [next(gradients) if has else None for has in has_gradient]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return body_cost(self.body)


def called(node: Node) -> Iterator[str]:
    """What a user may call a node: by its name, or that of a node fused into it; one without a name by its op."""
    if node.name:
        yield node.name
    if isinstance(node.op, Fused):
        for n in node.op.body.nodes:
            yield from called(n)
    elif not node.name:
        yield node.op.name
