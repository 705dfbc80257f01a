"""Where the first NaN or infinity comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.errors import ExecutionError, FeedError
from graphc.interpret import Data, interpret
from graphc.ir import Graph, Value
from graphc.names import quote
from graphc.ops.fused import Fused
from graphc.runtime.backend import Backend, Options
from graphc.runtime.ports import Port
from graphc.types import Array

Run = Callable[[Graph, Sequence[Data]], list[Data]]


def check_feeds(inputs: Sequence[Port], data: Sequence[Data]) -> None:
    """Raise `FeedError` if an input holds a NaN. Infinities are let through: masks are made of them."""
    for port, x in zip(inputs, data, strict=True):
        nan, _ = _non_finite(x)
        if nan is not None:
            raise FeedError(f"input {quote(port.name)} is NaN at {nan}", value=port.name)


def find_non_finite(graph: Graph, backend: Backend, options: Options, data: Sequence[Data]) -> None:
    """Raise `ExecutionError` naming the first node that makes a NaN out of none, or an infinity from finite inputs.

    A node that only hands on what it was given is not at fault, and neither are constants.
    """

    def run(graph: Graph, data: Sequence[Data]) -> list[Data]:
        return run_once(graph, data, backend, options)

    _find(graph, data, run)


def run_once(graph: Graph, data: Sequence[Data], backend: Backend, options: Options) -> list[Data]:
    """Compile `graph`, run it and let it go."""
    executable = backend.compile(graph, options)
    try:
        return executable.run(data)
    finally:
        executable.close()


def _find(graph: Graph, data: Sequence[Data], run: Run) -> None:
    exposed = exposed_values(graph)
    if not exposed:
        return
    values = dict(zip(exposed, run(expose(graph, exposed), data), strict=True))
    values.update(zip(graph.inputs, data, strict=True))
    values.update({node.output: node.op.eval() for node in graph.constants()})
    found = {v: _non_finite(x) for v, x in values.items()}
    for value in exposed:
        node = value.node
        assert node is not None
        nan, infinite = found[value]
        given = [found[x] for x in node.inputs if x is not None]
        new_nan = nan is not None and all(n is None for n, _ in given)
        if not new_nan and (infinite is None or any(g != (None, None) for g in given)):
            continue
        if isinstance(node.op, Fused):
            _find(node.op.body, [None if x is None else values[x] for x in node.inputs], interpret)
        what = f"NaN at {nan}" if new_nan else f"infinite at {infinite}"
        raise ExecutionError(f"output {value.type} is {what}, and no input is", node=node.label)


def exposed_values(graph: Graph) -> list[Value]:
    """Every value that a node of `graph` computes, in order."""
    return [v for node in graph.nodes if node.inputs or node.op.name != "Constant" for v in node.outputs]


def expose(graph: Graph, values: Sequence[Value]) -> Graph:
    """`graph` with `values` as its outputs, called `value0`, `value1`, … (made distinct by underscores).

    None is there twice: ONNX would have to copy it, which it cannot do with maps.
    """
    prefix = "value"
    while any(v.name.startswith(prefix) for v in graph.inputs):
        prefix = f"_{prefix}"
    return graph.with_outputs(values, [f"{prefix}{i}" for i in range(len(values))])


def _non_finite(data: Data) -> tuple[list[int] | None, list[int] | None]:
    """The indices of the first NaN and the first infinity."""
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fcV":
        return None, None
    try:
        return _first(np.isnan(data)), _first(np.isinf(data))
    except TypeError:  # types without NaN have no such test either
        return None, None


def _first(found: Array) -> list[int] | None:
    if not found.any():
        return None
    return [int(i) for i in np.unravel_index(int(np.argmax(found)), found.shape)]
