"""`graphc inspect`: what a model is made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from graphc.cli.console import say, say_json, say_table
from graphc.cli.options import Bind, Json, Model, bound, load_model, parse_bindings
from graphc.errors import CompileError, escape
from graphc.ir import Graph
from graphc.names import quote
from graphc.passes.manager import optimize
from graphc.runtime.compile import compile
from graphc.runtime.ports import Port, describe
from graphc.runtime.summary import Summary, summarize
from graphc.text import format_graph

STAGES = ("graph", "loops", "llvm", "asm")


def inspect(
    model: Model,
    bind: Bind = None,
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            "-O",
            min=0,
            max=2,
            help="Also show what is left after optimising; with --stage, compile at it (2).",
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="With --stage: the node to show.", show_default=False)
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="graph|loops|llvm|asm", help="Show the code at this stage instead."),
    ] = None,
    listing: Annotated[bool, typer.Option("--listing", help="Print the graph itself.")] = False,
    json: Json = False,
) -> None:
    """Show what a model is made of, or with --stage what the LLVM backend makes of it, or of one NODE."""
    graph = bound(load_model(model), parse_bindings(bind))
    if stage is not None or node is not None:
        text = _listing(graph, 2 if level is None else level, stage or "", node)
        if json:
            say_json({"stage": stage, "node": node, "listing": text})
        else:
            say(text)
        return
    before = summarize(graph)
    after = None
    if level is not None:
        graph, _ = optimize(graph, level)
        after = summarize(graph)
    if json:
        data = _data(before)
        if after is not None:
            data["optimized"] = _data(after)
        if listing:
            data["listing"] = format_graph(graph)
        say_json(data)
        return
    _show(before, after)
    if listing:
        say()
        say(format_graph(graph))


def _listing(graph: Graph, level: int, stage: str, node: str | None) -> str:
    """What the LLVM backend makes of the graph, or of one node, at a stage."""
    if stage not in STAGES:
        raise CompileError(f"--stage {quote(stage)} is not known", hint=f"Use one of {', '.join(STAGES)}")
    with compile(graph, backend="llvm", level=level) as compiled:
        return compiled.listing(stage, node)


def _show(before: Summary, after: Summary | None) -> None:
    """Ports, sizes and ops; `after`: optimising."""
    say(escape(before.name) or "(unnamed)", "bold")
    rows = [("input", *_port(p)) for p in before.inputs] + [("output", *_port(p)) for p in before.outputs]
    say_table(["", "name", "type"], rows)
    say()
    for label, s in (("", before), ("after optimising: ", after)):
        if s is not None:
            groups = next((f", {c.count:,} fused groups" for c in s.ops if c.op == "Fused"), "")
            say(
                f"{label}{s.nodes:,} nodes{groups}, {s.parameters:,} parameters ({_bytes(s.parameter_bytes)}), "
                f"{_flops(s.flops)}"
            )
    say()
    if after is None:
        say_table(["op", "nodes", "flop"], [(c.op, c.count, _number(c.flops)) for c in before.ops])
        return
    counts = {c.op: c.count for c in before.ops}, {c.op: c.count for c in after.ops}
    names = list(dict.fromkeys([*counts[0], *counts[1]]))
    say_table(["op", "before", "after"], [(n, counts[0].get(n, 0), counts[1].get(n, 0)) for n in names])


def _port(port: Port) -> tuple[str, str]:
    return escape(port.name), describe(port.type)


def _data(s: Summary) -> dict[str, Any]:
    def ports(found: tuple[Port, ...]) -> list[dict[str, Any]]:
        return [{"name": p.name, "dtype": str(p.dtype), "shape": _shape(p), "type": str(p.type)} for p in found]

    return {
        "name": s.name,
        "inputs": ports(s.inputs),
        "outputs": ports(s.outputs),
        "nodes": s.nodes,
        "parameters": s.parameters,
        "parameter_bytes": s.parameter_bytes,
        "flops": s.flops if isinstance(s.flops, int) else str(s.flops),
        "ops": {c.op: c.count for c in s.ops},
    }


def _shape(port: Port) -> list[int | str] | None:
    return None if port.shape is None else [d if isinstance(d, int) else str(d) for d in port.shape]


def _bytes(n: int) -> str:
    size = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.4g} {unit}"


def _flops(flops: object) -> str:
    return f"{flops / 1e9:.4g} Gflop" if isinstance(flops, int) else f"{flops} flop"


def _number(flops: object) -> str:
    return f"{flops:,}" if isinstance(flops, int) else str(flops)
