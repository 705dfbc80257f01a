"""The bodies of the gradients of control flow: what If, Loop and Scan run backwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.ir import Graph, Value
from graphc.ops.generate import zeros_like
from graphc.ops.vjp import differentiable, gradient_graph, vjp
from graphc.types import TensorType


def branch_gradients(branches: Sequence[Graph], seeded: Sequence[bool]) -> tuple[list[Graph], list[bool]]:
    """The gradient of each branch as a graph (captured values, seeds) -> gradients; zeros where only another has one.

    Args:
        branches: graphs with the same inputs and numbers of outputs.
        seeded: for each output, whether there is a seed.

    Returns:
        The graphs, and for each captured value whether the graphs have a gradient for it.
    """
    made = [gradient_graph(branch, seeded) for branch in branches]
    needed = [any(column) for column in zip(*(has for _, has in made), strict=True)]
    graphs = []
    for graph, has in made:
        found = iter(graph.outputs)
        given = [next(found) if h else None for h in has]
        outputs = [
            zeros_like(x) if g is None else g
            for x, g, n in zip(graph.inputs[: len(needed)], given, needed, strict=True)
            if n
        ]
        graphs.append(Graph(graph.inputs, outputs, name=graph.name))
    return graphs, needed


class TripGradient(Frozen):
    """One trip of a loop backwards.

    Attributes:
        body: inputs (gradients of carried values after the trip, sums for captured values so far, everything that the
            loop's body reads but the captured values, seeds of its slices, captured values); outputs (gradients of
            carried values before the trip, sums for captured values, gradients of the slices that it reads).
        carried: which carried values have a gradient.
        captured: which captured values have one.
        slices: which of the slices that the body reads have one.
    """

    body: Graph
    carried: list[int]
    captured: list[int]
    slices: list[int]


def trip_gradient(
    body: Graph, lead: int, skip: int, carried: int, captured: int, seeded: Sequence[bool]
) -> TripGradient:
    """The gradient of one trip.

    Args:
        body: inputs (`lead` others, carried values, slices, captured values), outputs (`skip` others, carried values,
            slices).
        lead, skip, carried, captured: how many of these there are.
        seeded: for each slice that the body makes, whether there is a seed.
    """
    first, last = lead + carried, len(body.inputs) - captured
    states, after = body.inputs[lead:first], body.outputs[skip : skip + carried]
    for i, (x, y) in enumerate(zip(states, after, strict=True)):
        if not isinstance(x.type, TensorType) or x.type.shape is None or x.type != y.type:
            raise CompileError(f"the gradient needs carried value {i} to keep one shape, it is {x.type} and {y.type}")
    names = _fresh_names(body)
    float_states = [i for i, x in enumerate(states) if differentiable(x.type)]
    state_seeds = {i: Value(states[i].type, name=next(names)) for i in float_states}
    slice_seeds = [
        Value(y.type, name=next(names)) if s else None
        for y, s in zip(body.outputs[skip + carried :], seeded, strict=True)
    ]
    seeds = [*(None,) * skip, *(state_seeds.get(i) for i in range(carried)), *slice_seeds]
    gradients = vjp(body.outputs, seeds, body.inputs)
    float_captured = [i for i in range(captured) if gradients[last + i] is not None]
    float_slices = [i for i in range(last - first) if gradients[first + i] is not None]
    sums = [Value(body.inputs[last + i].type, name=next(names)) for i in float_captured]
    outputs: list[Value] = []
    for i in float_states:
        g = gradients[lead + i]
        outputs.append(zeros_like(states[i]) if g is None else g)
    for i, total in zip(float_captured, sums, strict=True):
        g = gradients[last + i]
        assert g is not None
        outputs.append(total + g)
    outputs += [g for g in gradients[first:last] if g is not None]
    inputs = [
        *state_seeds.values(),
        *sums,
        *body.inputs[:last],
        *(s for s in slice_seeds if s is not None),
        *body.inputs[last:],
    ]
    return TripGradient(Graph(inputs, outputs, name=f"d{body.name}"), float_states, float_captured, float_slices)


def _fresh_names(body: Graph) -> Iterator[str]:
    taken = {v.name for v in body.inputs}
    return (name for name in (f"d{i}" for i in count()) if name not in taken)
