"""Reverse mode: the gradient of values with respect to other values, as graph code.

For y = f(x) and a seed dL/dy, walk from the outputs back to `wrt`. Each node turns the gradients of its outputs into
those of its inputs (`Op.grad`); a value that is read in several places sums what comes from each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.dims import SymDim
from graphc.errors import CompileError, GraphcError
from graphc.ir import OPERATORS, Graph, Node, Op, Value, substitute, topological
from graphc.limits import check_deadline
from graphc.types import MapType, TensorType, Type


def vjp(outputs: Sequence[Value], seeds: Sequence[Value | None], wrt: Sequence[Value]) -> list[Value | None]:
    """Σ_k seeds_k · ∂outputs_k/∂x for each x in `wrt`: a vector-Jacobian product.

    Args:
        outputs: what is differentiated.
        seeds: the gradient of each output, of the output's type; None where nothing depends on it.
        wrt: with respect to what: inputs, or values inside the graph. The derivative is the total one: where one of
            them is computed from another, what flows through it counts for both.

    Returns:
        One value for each of `wrt`, of its type; None where the gradient is zero because no path leads from it to a
        seeded output, or because its elements are not floating-point or complex numbers.

    Raises:
        CompileError: a seed or a gradient does not fit its value.
        GraphcError: an op on the way has no gradient; the error names the node.
    """
    gradients: dict[Value, Value] = {}
    for y, seed in zip(outputs, seeds, strict=True):
        if seed is not None and differentiable(y.type):
            _check_fits(seed, y, "the seed")
            _accumulate(gradients, y, seed)
    for node in reversed(_nodes_between(wrt, list(gradients))):
        check_deadline()
        dys = tuple(gradients.get(y) for y in node.outputs)
        if all(dy is None for dy in dys):
            continue
        for x, dx in zip(node.inputs, _gradients_of_inputs(node, dys), strict=True):
            if x is not None and dx is not None and differentiable(x.type):
                _accumulate(gradients, x, dx)
    return [gradients.get(x) for x in wrt]


def gradient_graph(body: Graph, seeded: Sequence[bool]) -> tuple[Graph, list[bool]]:
    """The vector-Jacobian product of `body` as a graph: (inputs of `body`, seeds) -> gradients of the inputs.

    Args:
        body: the function.
        seeded: for each output, whether there is a seed. The graph has one more input for each that has.

    Returns:
        The graph, whose outputs are the gradients that are not zero; and for each input, whether it has one.
    """
    taken = {v.name for v in body.inputs}
    prefix = "d"
    while any(prefix + name in taken for name in body.output_names):
        prefix += "d"
    seeds = [
        Value(y.type, name=prefix + name) if s else None
        for y, name, s in zip(body.outputs, body.output_names, seeded, strict=True)
    ]
    gradients = vjp(body.outputs, seeds, body.inputs)
    inputs = [*body.inputs, *(s for s in seeds if s is not None)]
    graph = Graph(inputs, [g for g in gradients if g is not None], name=f"d{body.name}")
    return graph, [g is not None for g in gradients]


def decomposed_grad(
    decompose: Callable[..., Value | Sequence[Value] | None], dy: Any, y: Any, xs: Sequence[Value | None]
) -> list[Value | None]:
    """The gradient of an op that `decompose` expresses in other ops, for its inputs `xs`.

    Args:
        decompose: the outputs as a function of the inputs, None for one that is missing.
        dy, y, xs: as `Op.grad` has them.
    """
    # On inputs of its own: what one of `xs` contributes to another is no matter of this op.
    own = [None if x is None else Value(x.type, name=f"x{i}", content=x.content) for i, x in enumerate(xs)]
    dys, ys = ((dy,), (y,)) if isinstance(y, Value) else (dy, y)
    made = decompose(*own)
    outputs = [made] if isinstance(made, Value) else list(made or ())[: len(ys)]
    body = Graph([x for x in own if x is not None], outputs)
    given = [x for x in xs if x is not None]
    graph, found = gradient_graph(body, [d is not None for d in dys])
    # The gradient reads the outputs that are there already; what else it needs of the op it computes again.
    known = dict(zip(body.outputs, ys, strict=True))
    known.update(zip(graph.inputs, [*given, *(d for d in dys if d is not None)], strict=True))
    gradients = iter(substitute(graph, known))
    there = iter(found)
    return [next(gradients) if x is not None and next(there) else None for x in xs]


def differentiable(t: Type) -> bool:
    """True when the elements are floating-point or complex numbers; maps have no gradients."""
    while not isinstance(t, TensorType):
        if isinstance(t, MapType):
            return False
        t = t.element
    return t.dtype.kind in ("float", "complex")


def _nodes_between(wrt: Sequence[Value], outputs: Sequence[Value]) -> list[Node]:
    """The nodes on paths from `wrt` to `outputs`, producers first."""
    reached = {x for x in wrt if differentiable(x.type)}
    found: list[Node] = []
    for node in topological(outputs):
        if any(x in reached for x in node.inputs if x is not None):
            reached.update(y for y in node.outputs if differentiable(y.type))
            found.append(node)
    return found


def _gradients_of_inputs(node: Node, dys: tuple[Value | None, ...]) -> list[Value | None]:
    """What the op's `grad` gives; for an op without one, the gradients of what it decomposes into."""
    single = len(dys) == 1
    dy, y = (dys[0], node.output) if single else (dys, node.outputs)
    try:
        if type(node.op).grad is Op.grad and node.op.decompose(*node.inputs) is not None:
            gradients = decomposed_grad(node.op.decompose, dy, y, node.inputs)
        else:
            gradients = list(node.op.grad(dy, y, *node.inputs))
        if len(gradients) != len(node.inputs):
            raise CompileError(f"grad gives {len(gradients)} gradients for {len(node.inputs)} inputs")
        for i, (x, dx) in enumerate(zip(node.inputs, gradients, strict=True)):
            if x is not None and dx is not None:
                _check_fits(dx, x, f"the gradient of input {i}")
    except GraphcError as e:
        if e.node is None or e.node == node.op.name:
            e.node = node.label
        raise
    return gradients


def _accumulate(gradients: dict[Value, Value], x: Value, dx: Value) -> None:
    before = gradients.get(x)
    gradients[x] = dx if before is None else OPERATORS["GradientSum"](before, dx)


def _check_fits(dx: Value, x: Value, what: str) -> None:
    if not isinstance(dx.type, TensorType) or not isinstance(x.type, TensorType):
        fits = type(dx.type) is type(x.type)
    elif dx.type.dtype is not x.type.dtype:
        fits = not differentiable(x.type)  # such gradients are dropped, whatever they are
    elif dx.type.shape is None or x.type.shape is None:
        fits = True
    else:
        fits = len(dx.type.shape) == len(x.type.shape) and all(
            m == n or isinstance(m, SymDim) or isinstance(n, SymDim)
            for m, n in zip(dx.type.shape, x.type.shape, strict=True)
        )
    if not fits:
        raise CompileError(f"{what} is {dx.type}, expected {x.type}", value=x.name)
