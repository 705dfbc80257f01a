"""Where each node of a compiled model runs, and why."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.frozen import Frozen
from graphc.ir import Graph
from graphc.runtime.backend import Backend, Executable
from graphc.runtime.table import format_table

FALLBACK = "numpy"  # its kernels run what a compiled backend cannot express


class Placed(Frozen):
    """One node: its label, its op, the backend that runs it, and the reason when it is not the one asked for."""

    node: str
    op: str
    backend: str
    reason: str


class Placement(Frozen):
    """The nodes of a model in order; iterate over it, or print it."""

    nodes: tuple[Placed, ...]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return format_table(
            ["node", "op", "backend", "why"], [(n.node, n.op, n.backend, n.reason or "supported") for n in self.nodes]
        )


def place(graph: Graph, backend: Backend, executable: Executable) -> Placement:
    """Where the nodes of `graph` run, which `backend` made an executable of; constants are data and run nowhere."""
    rows = []
    for node in graph.nodes:
        if not node.inputs and node.op.name == "Constant":
            continue
        reason = executable.left_out(node, backend)
        rows.append(Placed(node.label, node.op.name, backend.name if reason is None else FALLBACK, reason or ""))
    return Placement(tuple(rows))
