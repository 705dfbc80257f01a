"""How long each node takes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from graphc.dims import Dim
from graphc.errors import escape
from graphc.frozen import Frozen
from graphc.interpret import Data
from graphc.ir import Graph, Node
from graphc.ops.fused import Fused
from graphc.runtime.backend import Executable, KernelRun, MachineLimits
from graphc.runtime.table import format_table


class Timing(Frozen):
    """One node, or one kernel of a backend that compiles.

    Attributes:
        node, op, type: its label, its op (those of a fused node joined by `+`), the type of its first output.
        seconds: in one run, all calls together; the median over the runs.
        flops: arithmetic operations, or None where they depend on sizes known only at run time.
        bytes: read and written, each input and output once; None as for `flops`.
        start: seconds after the start of the run; None where that was not recorded.
        kernel: the name of the generated kernel; empty for NumPy's.
        calls: how often it was called in one run: in a branch perhaps never, in a loop many times.
    """

    node: str
    op: str
    type: str
    seconds: float
    flops: int | None
    bytes: int | None = None
    start: float | None = None
    kernel: str = ""
    calls: int = 1

    @property
    def gbytes(self) -> float | None:
        """Billions of bytes a second."""
        return None if self.bytes is None or self.seconds <= 0 else self.bytes / self.seconds * 1e-9

    def share_of(self, limits: MachineLimits) -> float:
        """How much of what the machine could do at most this is: in arithmetic or in bytes, whichever is more."""
        return max((self.gflops or 0) * 1e9 / limits.flops, (self.gbytes or 0) * 1e9 / limits.bytes)

    @property
    def gflops(self) -> float | None:
        """Billions of operations a second."""
        return None if self.flops is None or self.seconds <= 0 else self.flops / self.seconds * 1e-9


class Profile(Frozen):
    """The time of one run (`seconds`, the median of `runs`) and of each node in it; slowest first when printed.

    `nodes` are kernels where the backend compiles: a node may have several, or be in one with others. `limits` is what
    the machine can do at most, measured beside.
    """

    seconds: float
    runs: int
    nodes: tuple[Timing, ...]
    limits: MachineLimits | None = None

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
        headers = ["node", "op", "output", "calls", "ms", "share", "Gflop/s", "GB/s"]
        rows = [
            [
                t.node,
                t.op,
                t.type,
                str(t.calls),
                f"{t.seconds * 1e3:.3f}",
                f"{t.seconds / whole:.1%}",
                "" if t.gflops is None else f"{t.gflops:.2f}",
                "" if t.gbytes is None else f"{t.gbytes:.2f}",
                *([] if self.limits is None else [f"{t.share_of(self.limits):.1%}"]),
            ]
            for t in sorted(self.nodes, key=lambda t: -t.seconds)
        ]
        if self.limits is not None:
            headers.append("of limit")
            line += (
                f"; the limit of {self.limits.threads} thread{'' if self.limits.threads == 1 else 's'}: "
                f"{self.limits.flops * 1e-9:.0f} Gflop/s in registers, "
                f"{self.limits.bytes * 1e-9:.1f} GB/s from memory"
            )
        return f"{format_table(headers, rows)}\n{line}"

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write the nodes as a trace that chrome://tracing and Perfetto show."""
        events: list[dict[str, object]] = []
        clock = 0.0
        for t in self.nodes:
            start = clock if t.start is None else t.start
            clock = start + t.seconds
            arguments = {
                "op": t.op,
                "output": t.type,
                "kernel": t.kernel,
                "calls": t.calls,
                "flops": t.flops,
                "bytes": t.bytes,
                "Gflop/s": t.gflops,
                "GB/s": t.gbytes,
            }
            times = {"ts": start * 1e6, "dur": t.seconds * 1e6}
            events.append({"name": t.node, "cat": t.op, "ph": "X", "pid": 0, "tid": 0, **times, "args": arguments})
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, indent=1), "utf-8")


def profile(graph: Graph, executable: Executable, data: Sequence[Data], *, repeat: int) -> Profile:
    """Time `repeat` runs after one to warm up, and each node or kernel in as many more."""
    repeat = max(1, repeat)
    executable.run(data)
    runs = []
    for _ in range(repeat):
        start = time.perf_counter()
        executable.run(data)
        runs.append(time.perf_counter() - start)
    seconds = float(np.median(runs))
    kernels = [k for k in (executable.time_kernels(data) for _ in range(repeat)) if k is not None]
    if kernels:
        medians = np.median([[k.seconds for k in run] for run in kernels], axis=0)
        # The start times are those of one run, the fastest: gaps between kernels are real.
        fastest = min(kernels, key=lambda run: sum(k.seconds for k in run))
        timings = tuple(_kernel_timing(k, float(s)) for k, s in zip(fastest, medians, strict=True))
        return Profile(seconds, repeat, timings, executable.machine_limits())
    timed = [t for t in (executable.time_nodes(data) for _ in range(repeat)) if t is not None]
    medians = np.median(np.array(timed), axis=0) if timed else np.zeros(0)
    nodes = tuple(
        _timing(node, float(s))
        for node, s in zip(graph.nodes, medians, strict=bool(timed))
        if node.inputs or node.op.name != "Constant"
    )
    return Profile(seconds, repeat, nodes)


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
    cost = node.op.cost(node.inputs, node.outputs)
    output = str(node.outputs[0].type) if node.outputs else ""
    return Timing(_label(node), _kind(node), output, seconds, _number(cost.flops), _number(cost.bytes))


def _kernel_timing(run: KernelRun, seconds: float) -> Timing:
    if run.node is None:
        moved = None if run.bytes is None else run.bytes * run.calls
        return Timing("(copy)", "Identity", "", seconds, 0, moved, run.start, run.kernel, run.calls)
    timing = _timing(run.node, seconds)
    moved = timing.bytes if run.bytes is None else run.bytes
    flops = None if timing.flops is None else timing.flops * run.calls
    moved = None if moved is None else moved * run.calls
    return replace(timing, flops=flops, bytes=moved, start=run.start, kernel=run.kernel, calls=run.calls)


def _number(n: Dim) -> int | None:
    return n if isinstance(n, int) else None
