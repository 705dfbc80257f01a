"""`graphc.verify`: the same model on several backends, compared node by node; and which pass changed the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.difference import Difference, compare
from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.interpret import Data
from graphc.ir import Graph, Node, Value
from graphc.limits import Limits, limited
from graphc.passes.bodies import is_pure
from graphc.passes.manager import optimize
from graphc.passes.specialize import Bindings, specialize
from graphc.random import random_feeds
from graphc.runtime.backend import Backend, Options, get_backend
from graphc.runtime.feeds import Feeds
from graphc.runtime.finite import expose, exposed_values, run_once
from graphc.runtime.frontends import load
from graphc.runtime.ports import Port
from graphc.runtime.table import format_table

HEADERS = ("where", "value", "compared", "max abs", "max rel", "ulp", "result")  # of `Row.cells`


class Row(Frozen):
    """One comparison: a value that `node` computed, or (for a pass) an output of the graph after it.

    Attributes:
        where: the node's label, or the pass.
        value: the value's name and type.
        against: what was compared, such as `numpy / onnxruntime`.
        difference: how far apart; None where random numbers make a comparison meaningless.
    """

    where: str
    value: str
    against: str
    difference: Difference | None

    @property
    def ok(self) -> bool:
        return self.difference is None or self.difference.ok

    def cells(self) -> tuple[str, ...]:
        d = self.difference
        if d is None:
            return self.where, self.value, self.against, "", "", "", "random"
        ulp = "" if d.ulp is None else str(d.ulp)
        verdict = "ok" if d.ok else "DIFFERS"
        numbers = (f"{d.max_abs:.3g}", f"{d.max_rel:.3g}", ulp)
        return self.where, self.value, self.against, *numbers, f"{verdict} {d.note}".strip()


class Verification(Frozen):
    """The result of `graphc.verify`. `ok` when everything agrees; printed, a table and the first divergence."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return self.first is None

    def __bool__(self) -> bool:
        return self.ok

    @property
    def first(self) -> Row | None:
        """The first comparison, in the order of the graph (or of the passes), that is not within the tolerance."""
        return next((row for row in self.rows if not row.ok), None)

    @property
    def summary(self) -> str:
        """One line: how much agrees, or what is the first thing that does not."""
        row = self.first
        if row is None or row.difference is None:
            worst = max((r.difference.max_abs for r in self.rows if r.difference), default=0.0)
            random = sum(r.difference is None for r in self.rows)
            compared = f"{len(self.rows) - random} compared, all agree; largest difference {worst:.3g}"
            return f"{compared}; {random} random, not compared" if random else compared
        d = row.difference
        what = d.note or f"max abs {d.max_abs:.3g}, max rel {d.max_rel:.3g}" + (f", {d.ulp} ulp" if d.ulp else "")
        wrong = sum(not r.ok for r in self.rows)
        return f"{wrong} of {len(self.rows)} differ, first at {row.where} ({row.value}; {row.against}): {what}"

    def __str__(self) -> str:
        return f"{format_table(HEADERS, [row.cells() for row in self.rows])}\n{self.summary}"


def verify(
    source: Any,
    feeds: Mapping[str, Any] | None = None,
    *,
    backends: Sequence[str | Backend] = ("numpy", "onnxruntime"),
    passes: bool = False,
    level: int = 2,
    bindings: Bindings | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Verification:
    """Run a model on several backends and compare every value that it computes with the first backend's.

    Args:
        source: what `graphc.compile` takes.
        feeds: input name -> array; seeded random data when None.
        backends: names of backends, or backends; the first is the reference.
        passes: instead, run the pipeline of `level` on the first backend and compare the outputs after each pass with
            those before the first; the first divergence names the guilty pass.
        level: the optimisation level for `passes`.
        bindings: sizes for symbolic dimensions.
        seed: for the random data.
        rtol, atol: tolerances; by default what suits each element type. See `Difference.ok`.
        threads: for the backends.
        limits: what the model may cost.

    Raises:
        GraphcError: the model, the feeds or a backend cannot be used. Values that differ are no error.
    """
    limits = limits or Limits()
    options = Options(threads)
    chosen = [get_backend(b) if isinstance(b, str) else b for b in backends]
    if not chosen or (len(chosen) < 2 and not passes):
        raise CompileError(
            f"verify needs at least two backends, got {len(chosen)}", hint="Or check the passes: passes=True (--passes)"
        )
    with limited(limits):
        graph = load(source, limits=limits)
        if bindings:
            graph = specialize(graph, bindings)
        ports = [Port(v.name, v.type) for v in graph.inputs]
        data = Feeds(ports).bind_names(random_feeds(graph, seed=seed) if feeds is None else feeds)
        if passes:
            return _by_pass(graph, data, chosen[0], options, level, rtol, atol)
        return _by_node(graph, data, chosen, options, rtol, atol)


def _by_node(
    graph: Graph,
    data: Sequence[Data],
    backends: Sequence[Backend],
    options: Options,
    rtol: float | None,
    atol: float | None,
) -> Verification:
    exposed = exposed_values(graph)
    whole = expose(graph, exposed)
    results = [run_once(whole, data, backend, options) for backend in backends if exposed]
    random = _random_nodes(graph)
    rows = []
    for i, value in enumerate(exposed):
        node = value.node
        assert node is not None
        for backend, result in zip(backends[1:], results[1:], strict=True):
            difference = None if node in random else compare(result[i], results[0][i], rtol=rtol, atol=atol)
            rows.append(Row(node.label, _describe(value), f"{backend.name} / {backends[0].name}", difference))
    return Verification(tuple(rows))


def _by_pass(
    graph: Graph,
    data: Sequence[Data],
    backend: Backend,
    options: Options,
    level: int,
    rtol: float | None,
    atol: float | None,
) -> Verification:
    reference = run_once(graph, data, backend, options)
    random = _random_nodes(graph)
    rows: list[Row] = []

    def on_pass(name: str, before: Graph, after: Graph) -> None:
        if after is before:
            return
        for number, (got, want) in enumerate(zip(run_once(after, data, backend, options), reference, strict=True)):
            source = graph.outputs[number]
            difference = None if source.node in random else compare(got, want, rtol=rtol, atol=atol)
            against = f"after {name} / before all"
            rows.append(Row(f"pass {name}", f"{graph.output_names[number]}: {source.type}", against, difference))

    optimize(graph, level, on_pass=on_pass)
    return Verification(tuple(rows))


def _random_nodes(graph: Graph) -> set[Node]:
    """The nodes that are random generators, and those that depend on one."""
    found: set[Node] = set()
    for node in graph.nodes:
        if not is_pure(node) or any(x is not None and x.node in found for x in node.inputs):
            found.add(node)
    return found


def _describe(value: Value) -> str:
    number = f" #{value.index}" if value.index else ""
    return f"{value.type}{number}"
