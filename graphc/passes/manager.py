"""The pass manager: runs a pipeline; after each pass it verifies, times, records and, on demand, dumps and compares."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc import debug
from graphc.errors import CompileError, InvalidModel, VerificationError
from graphc.frozen import Frozen
from graphc.ir import Graph, expect_graph
from graphc.limits import check_deadline
from graphc.ops.base import Constant
from graphc.ops.fused import Fused
from graphc.passes.check import Baseline
from graphc.passes.pipelines import PIPELINES, Pass
from graphc.passes.record import Fired, Refused, recording
from graphc.text import format_graph
from graphc.verifier import verify_graph

OnPass = Callable[[str, Graph, Graph], None]


class PassReport(Frozen):
    """What one pass did.

    Attributes:
        name: the pass.
        before, after: nodes to run: bodies included, constants not, and a `Fused` as one.
        seconds: time that the pass took, checks not counted.
        fired, refused: its rewrites, and the matches it declined with the reasons.
    """

    name: str
    before: int
    after: int
    seconds: float
    fired: tuple[Fired, ...]
    refused: tuple[Refused, ...]

    def __str__(self) -> str:
        line = f"{self.name:<24} {self.before:>6} -> {self.after:<6} nodes {self.seconds * 1e3:9.2f} ms"
        counts = Counter(f.rule for f in self.fired)
        rules = ", ".join(f"{rule} {n}" for rule, n in counts.items())
        return f"{line}  {rules}".rstrip()


@dataclass
class Report:
    """What a pipeline did, pass by pass. `str` gives one line for each pass."""

    passes: list[PassReport] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(p.seconds for p in self.passes)

    def history(self, label: str) -> list[Fired]:
        """The rewrites from which the node called `label` (as in `Conv 'conv1'`) came, oldest first."""
        wanted = {label}
        found: list[Fired] = []
        for event in reversed([f for p in self.passes for f in p.fired]):
            if event.result in wanted:
                found.append(event)
                wanted.update(event.nodes)
        return found[::-1]

    def __str__(self) -> str:
        return "\n".join(map(str, self.passes))


def optimize(
    graph: Graph, level: int = 2, *, passes: Sequence[Pass] | None = None, on_pass: OnPass | None = None
) -> tuple[Graph, Report]:
    """`graph` after the pipeline of optimisation level 0, 1 or 2 (or after `passes`), and what was done to it.

    Args:
        graph: the graph; it is not changed.
        level: 0 nothing, 1 what every backend gains from, 2 also fusion.
        passes: run these instead, in this order.
        on_pass: called after each pass with its name, the graph before and the graph after.

    Raises:
        VerificationError: a pass broke the graph (or, under GRAPHC_CHECK=2, changed its results); names the pass.
        CompileError: there is no such level, or `graph` is no graph.
    """
    expect_graph(graph)
    if passes is None:
        if level not in PIPELINES:
            raise CompileError(f"there is no optimisation level {level!r}, valid: {', '.join(map(str, PIPELINES))}")
        passes = [step.run for step in PIPELINES[level]]
    baseline = Baseline(graph) if debug.check() >= 2 else None
    report = Report()
    count = _count(graph)
    _dump(graph, 0, "input")
    for number, run in enumerate(passes[: debug.stop()], 1):
        check_deadline()
        name = pass_name(run)
        before = graph
        with recording() as record:
            start = time.perf_counter()
            graph = run(before)
            seconds = time.perf_counter() - start
        counted, count = count, count if graph is before else _count(graph)
        entry = PassReport(name, counted, count, seconds, tuple(record.fired), tuple(record.refused))
        report.passes.append(entry)
        debug.log(1, entry)
        if graph is not before:
            if debug.level() >= 2:
                debug.log(2, format_graph(graph))
            _dump(graph, number, name)
            _verify(before, graph, name)
            if baseline is not None:
                baseline.check(graph, name)
        if on_pass is not None:
            on_pass(name, before, graph)
    return graph, report


def pass_name(run: Pass) -> str:
    """What a pass is called: the name of its function."""
    return getattr(run, "__name__", repr(run))


def _count(graph: Graph) -> int:
    """What a backend has to run: a constant is nothing, a `Fused` is one thing however much it holds."""
    total, pending = 0, [graph]
    while pending:
        for node in pending.pop().nodes:
            if isinstance(node.op, Constant):
                continue
            total += 1
            if not isinstance(node.op, Fused):
                pending += node.op.graphs().values()
    return total


def _verify(before: Graph, after: Graph, name: str) -> None:
    if after.output_names != before.output_names or [v.name for v in after.inputs] != [v.name for v in before.inputs]:
        raise VerificationError(f"pass {name} changes the names of the graph's inputs or outputs")
    try:
        verify_graph(after)
    except InvalidModel as e:
        raise VerificationError(f"pass {name} breaks the graph: {e.message}", node=e.node, value=e.value) from e


def _dump(graph: Graph, number: int, name: str) -> None:
    folder = debug.dump_dir()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_file_name(graph)}.{number:02}-{name}.txt"
        path.write_text(format_graph(graph) + "\n", "utf-8")
    except OSError as e:
        raise CompileError(f"cannot write the graph to {folder}: {e}", hint="GRAPHC_DUMP names a folder") from e


def _file_name(graph: Graph) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", graph.name).strip("-")[:80] or "graph"
