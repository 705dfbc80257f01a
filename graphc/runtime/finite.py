"""Where the first NaN or infinity comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import ExecutionError, FeedError
from graphc.interpret import Data
from graphc.ir import Graph, Value
from graphc.runtime.backend import Backend, Options
from graphc.runtime.names import quote
from graphc.runtime.ports import Port
from graphc.types import Array


def check_feeds(inputs: Sequence[Port], data: Sequence[Data]) -> None:
    """Raise `FeedError` if an input holds a NaN. Infinities are let through: masks are made of them."""
    for port, x in zip(inputs, data, strict=True):
        nan, _ = _non_finite(x)
        if nan is not None:
            raise FeedError(f"input {quote(port.name)} is NaN at {nan}", value=port.name)


def find_non_finite(graph: Graph, backend: Backend, options: Options, data: Sequence[Data]) -> None:
    """Raise `ExecutionError` naming the first node that makes a NaN, or an infinity from finite inputs.

    A node that only hands on what it was given is not at fault, and neither are constants.
    """
    exposed = exposed_values(graph)
    executable = backend.compile(expose(graph, exposed), options)
    try:
        results = executable.run(data)[len(graph.outputs) :]
    finally:
        executable.close()
    found = {v: _non_finite(x) for v, x in zip(exposed, results, strict=True)}
    found.update({v: _non_finite(x) for v, x in zip(graph.inputs, data, strict=True)})
    for constant in graph.constants():
        found[constant.output] = _non_finite(constant.op.eval())
    for value in exposed:
        node = value.node
        assert node is not None
        nan, infinite = found[value]
        given = [found[x] for x in node.inputs if x is not None and x in found]
        if nan is not None and all(n is None for n, _ in given):
            raise ExecutionError(f"output {value!r} is NaN at {nan}, and no input is", node=node.label)
        if infinite is not None and all(g == (None, None) for g in given):
            raise ExecutionError(f"output {value!r} is infinite at {infinite}, and no input is", node=node.label)


def exposed_values(graph: Graph) -> list[Value]:
    """Every value that a node of `graph` computes, in order."""
    return [v for node in graph.nodes if node.inputs or node.op.name != "Constant" for v in node.outputs]


def expose(graph: Graph, values: Sequence[Value]) -> Graph:
    """`graph` with `values` as further outputs, called `value0`, `value1`, … (made distinct by underscores)."""
    names = list(graph.output_names)
    prefix = "value"
    while any(n.startswith(prefix) for n in (*names, *(v.name for v in graph.inputs))):
        prefix = f"_{prefix}"
    names += [f"{prefix}{i}" for i in range(len(values))]
    return graph.with_outputs([*graph.outputs, *values], names)


def _non_finite(data: Data) -> tuple[list[int] | None, list[int] | None]:
    """The indices of the first NaN and the first infinity."""
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fcV" or data.dtype == object:
        return None, None
    try:
        return _first(np.isnan(data)), _first(np.isinf(data))
    except TypeError:  # formats without NaN have no such test either
        return None, None


def _first(found: Array) -> list[int] | None:
    if not found.any():
        return None
    return [int(i) for i in np.unravel_index(int(np.argmax(found)), found.shape)]
