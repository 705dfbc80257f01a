"""How long each node takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import escape
from graphc.interpret import Data
from graphc.ir import Graph, Node
from graphc.ops.fused import Fused
from graphc.runtime.backend import Executable
from graphc.runtime.table import format_table


@dataclass(frozen=True)
class Timing:
    """One node.

    Attributes:
        node, op, type: its label, its op (those of a fused node joined by `+`), the type of its first output.
        seconds: the median over the runs.
        flops: arithmetic operations, or None where they depend on sizes known only at run time.
    """

    node: str
    op: str
    type: str
    seconds: float
    flops: int | None

    @property
    def gflops(self) -> float | None:
        """Billions of operations a second."""
        return None if self.flops is None or self.seconds <= 0 else self.flops / self.seconds * 1e-9


@dataclass(frozen=True)
class Profile:
    """The time of one run (`seconds`, the median of `runs`) and of each node in it; slowest first when printed.

    `nodes` is empty where the backend compiles nodes together, so that they have no time of their own.
    """

    seconds: float
    runs: int
    nodes: tuple[Timing, ...]

    def __iter__(self) -> Iterator[Timing]:
        return iter(self.nodes)

    def by_op(self) -> dict[str, float]:
        """Seconds for each kind of op, most first."""
        total: dict[str, float] = {}
        for t in self.nodes:
            total[t.op] = total.get(t.op, 0.0) + t.seconds
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        line = f"{self.seconds * 1e3:.3f} ms a run (median of {self.runs})"
        if not self.nodes:
            return f"{line}; this backend compiles nodes together, so they have no times of their own"
        whole = sum(t.seconds for t in self.nodes) or 1.0
        rows = [
            (
                t.node,
                t.op,
                t.type,
                f"{t.seconds * 1e3:.3f}",
                f"{t.seconds / whole:.1%}",
                "" if t.gflops is None else f"{t.gflops:.2f}",
            )
            for t in sorted(self.nodes, key=lambda t: -t.seconds)
        ]
        return f"{format_table(['node', 'op', 'output', 'ms', 'share', 'Gflop/s'], rows)}\n{line}"


def profile(graph: Graph, executable: Executable, data: Sequence[Data], *, repeat: int) -> Profile:
    """Time `repeat` runs after one to warm up, and each node in as many more."""
    repeat = max(1, repeat)
    executable.run(data)
    runs = []
    for _ in range(repeat):
        start = time.perf_counter()
        executable.run(data)
        runs.append(time.perf_counter() - start)
    timed = [executable.time_nodes(data) for _ in range(repeat)]
    seconds = [t for t in timed if t is not None]
    medians = np.median(np.array(seconds), axis=0) if seconds else []
    nodes = tuple(
        _timing(node, float(s))
        for node, s in zip(graph.nodes, medians, strict=bool(seconds))
        if node.inputs or node.op.name != "Constant"
    )
    return Profile(float(np.median(runs)), repeat, nodes)


def _kind(node: Node) -> str:
    """The op; for a fused node those in it, as `Conv+Relu`."""
    if not isinstance(node.op, Fused):
        return node.op.name
    return "+".join(n.op.name for n in node.op.body.nodes if n.inputs or n.op.name != "Constant")


def _label(node: Node) -> str:
    """The node's; for a fused node without a name that of the first one in it that has one."""
    if node.name or not isinstance(node.op, Fused):
        return node.label
    return next((f"{node.op.name} '{escape(n.name)}'" for n in node.op.body.nodes if n.inputs and n.name), node.label)


def _timing(node: Node, seconds: float) -> Timing:
    flops = node.op.cost(node.inputs, node.outputs).flops
    output = str(node.outputs[0].type) if node.outputs else ""
    return Timing(_label(node), _kind(node), output, seconds, flops if isinstance(flops, int) else None)
