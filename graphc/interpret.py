"""Evaluate a graph with each op's `eval`. Ops with bodies, constant folding and the NumPy backend use this one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc import debug
from graphc.errors import ExecutionError, GraphcError, ResourceLimit
from graphc.ir import Graph, Node, Value
from graphc.limits import check_deadline, current_limits
from graphc.types import Array, TensorType

Data = Any  # an array, a list of data (sequence), a `Map` or dict (map), or None (empty optional, omitted input)
Observer = Callable[[Node, Sequence[Data], Sequence[Data]], None]


def interpret(graph: Graph, inputs: Sequence[Data], observe: Observer | None = None) -> list[Data]:
    """The outputs of `graph` for `inputs`; each value is freed after its last use.

    Args:
        graph: the graph.
        inputs: one array (or list, for sequences) for each input, of the declared dtype.
        observe: called with each node, its input and output data, as soon as it has run.
    """
    data: dict[Value, Data] = dict(zip(graph.inputs, inputs, strict=True))
    checked = debug.check() >= 1
    with np.errstate(all="ignore"):  # once: for small arrays it takes longer than the arithmetic
        for node, dead in zip(graph.nodes, graph.last_uses, strict=True):
            check_deadline()
            arguments = [None if x is None else data[x] for x in node.inputs]
            results = _evaluate(node, arguments)
            if checked:
                _check_types(node, results)
            if observe is not None:
                observe(node, arguments, results)
            data.update(zip(node.outputs, results, strict=True))
            for value in dead:
                data.pop(value, None)
    return [data[v] for v in graph.outputs]


def evaluate(node: Node, arguments: Sequence[Data]) -> tuple[Data, ...]:
    """The outputs of one node; every failure is a `GraphcError` that names the node."""
    with np.errstate(all="ignore"):
        return _evaluate(node, arguments)


def _evaluate(node: Node, arguments: Sequence[Data]) -> tuple[Data, ...]:
    _check_sizes(node)
    try:
        result = node.op.eval(*arguments)
    except GraphcError as e:
        if e.node is None:
            e.node = node.label
        raise
    except MemoryError as e:
        raise ResourceLimit(f"out of memory: {e}", node=node.label) from e
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError) as e:
        given = ", ".join(_describe(a) for a in arguments)
        raise ExecutionError(f"cannot be evaluated on ({given}): {e}", node=node.label) from e
    if type(result) is np.ndarray:  # the usual case
        return (result,)
    results = result if isinstance(result, tuple) else (result,)
    return tuple(
        np.asarray(r) if isinstance(v.type, TensorType) else r for r, v in zip(results, node.outputs, strict=True)
    )


def _check_sizes(node: Node) -> None:
    limit = current_limits().max_tensor_bytes
    for v in node.outputs:
        if isinstance(v.type, TensorType) and (v.type.nbytes or 0) > limit:
            raise ResourceLimit(f"output {v.type} is {v.type.nbytes:,} bytes, the limit is {limit:,}", node=node.label)


def _check_types(node: Node, results: Sequence[Data]) -> None:
    for v, r in zip(node.outputs, results, strict=True):
        if isinstance(v.type, TensorType) and not fits(r, v.type):
            raise ExecutionError(f"inferred {v.type}, evaluated to {_describe(r)}", node=node.label, value=v.name)


def fits(array: Array, type: TensorType) -> bool:
    """True when `array` has the dtype, the rank and the known sizes of `type`."""
    if array.dtype != type.dtype.numpy:
        return False
    if type.shape is None:
        return True
    return len(type.shape) == array.ndim and all(
        not isinstance(d, int) or d == n for d, n in zip(type.shape, array.shape, strict=True)
    )


def _describe(data: Data) -> str:
    if isinstance(data, np.ndarray):
        return f"{data.dtype}[{','.join(map(str, data.shape))}]"
    return type(data).__name__
