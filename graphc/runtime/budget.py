"""What a run will take in memory, computed from the sizes of its inputs before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.dims import Dim, plain_symbol, substitute
from graphc.errors import ResourceLimit
from graphc.interpret import Data
from graphc.ir import Graph, Value
from graphc.limits import current_limits
from graphc.types import TensorType, count

REMEMBERED = 64  # signatures of input shapes that have passed and need no second look


class Budget:
    """Holds each run of `graph` against `max_tensor_bytes` and `max_total_bytes`.

    The total is that of the values alive at one time when each is freed after its last use; constants are not in it,
    and neither are values whose size depends on data, which the operators check themselves.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self._passed: set[tuple[tuple[int, ...], ...]] = set()
        # All sizes are known, and the same in every run.
        self._is_static = all(isinstance(v.type, TensorType) and v.type.is_static for v in graph.inputs)

    def check(self, data: Sequence[Data]) -> None:
        """Raise `ResourceLimit`, naming the node, if a run with inputs `data` would take too much."""
        if self._is_static and self._passed:
            return
        signature = tuple(x.shape if isinstance(x, np.ndarray) else () for x in data)
        if signature in self._passed:
            return
        self._walk(_sizes(self._graph.inputs, data))
        if len(self._passed) >= REMEMBERED:
            self._passed.clear()
        self._passed.add(signature)

    def _walk(self, sizes: Mapping[str, int]) -> None:
        limits = current_limits()
        alive = 0
        held: dict[Value, int] = {}
        for node, dead in zip(self._graph.nodes, self._graph.last_uses, strict=True):
            if not node.inputs and node.op.name == "Constant":
                continue
            for v in node.outputs:
                held[v] = _nbytes(v, sizes)
                alive += held[v]
                if held[v] > limits.max_tensor_bytes:
                    raise ResourceLimit(
                        f"output {v.type} is {held[v]:,} bytes{_given(sizes)}, "
                        f"the limit is {limits.max_tensor_bytes:,}",
                        node=node.label,
                        hint="Raise it with Limits(max_tensor_bytes=…)",
                    )
            if alive > limits.max_total_bytes:
                raise ResourceLimit(
                    f"{alive:,} bytes are needed here at one time{_given(sizes)}, "
                    f"the limit is {limits.max_total_bytes:,}",
                    node=node.label,
                    hint="Raise it with Limits(max_total_bytes=…)",
                )
            alive -= sum(held.pop(v, 0) for v in dead)


def _sizes(inputs: Sequence[Value], data: Sequence[Data]) -> dict[str, int]:
    found: dict[str, int] = {}
    for v, x in zip(inputs, data, strict=True):
        if isinstance(v.type, TensorType) and isinstance(x, np.ndarray):
            for d, n in zip(v.type.shape or (), x.shape, strict=False):
                symbol = plain_symbol(d)
                if isinstance(symbol, str):
                    found[symbol] = n
    return found


def _nbytes(v: Value, sizes: Mapping[str, int]) -> int:
    if not isinstance(v.type, TensorType) or v.type.shape is None:
        return 0
    total: Dim = count([substitute(d, lambda s: sizes.get(s.name)) for d in v.type.shape])
    return total * int(v.type.dtype.numpy.itemsize) if isinstance(total, int) else 0


def _given(sizes: Mapping[str, int]) -> str:
    return f" with {', '.join(f'{s} = {n}' for s, n in sizes.items())}" if sizes else ""
