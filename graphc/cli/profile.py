"""`graphc profile`: where the time of a run goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from graphc.cli.console import note, progress, say, say_json, say_table, writing
from graphc.cli.inputs import parse_inputs
from graphc.cli.options import (
    BackendName,
    Bind,
    Inputs,
    Json,
    Level,
    Model,
    Seed,
    Threads,
    bound,
    load_model,
    parse_bindings,
)  # fmt: skip
from graphc.random import random_feeds
from graphc.runtime.backend import get_backend
from graphc.runtime.compile import compile


def profile(
    model: Model,
    inputs: Inputs = None,
    backend: BackendName = "llvm",
    level: Level = 2,
    bind: Bind = None,
    threads: Threads = None,
    seed: Seed = 0,
    runs: Annotated[int, typer.Option("--runs", "-n", min=1, help="Take the median of so many runs.")] = 10,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Write a trace for chrome://tracing or Perfetto.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Show where values are in memory as well.")] = False,
    json: Json = False,
) -> None:
    """Show where the time of a run goes: by kernel, and how near each comes to what the machine can do."""
    get_backend(backend)  # before anything slow
    graph = load_model(model)
    given = parse_inputs(inputs, graph)
    graph = bound(graph, {**parse_bindings(bind), **given.shapes})
    feeds = random_feeds(graph, seed=seed, given=given.arrays)
    with progress("compiling"):
        compiled = compile(graph, backend=backend, level=level, threads=threads)
    with compiled, progress("running"):
        found = compiled.profile(feeds, repeat=runs)
        plan = compiled.memory_plan(feeds) if memory else None
    if trace is not None:
        with writing(trace):
            found.trace(trace)
        note(f"wrote {trace}")
    if json:
        say_json({**dataclasses.asdict(found), **({} if plan is None else {"memory": plan})})
        return
    head, *rows = str(found).split("\n")
    say(head, "bold" if rows else "")
    for row in rows:
        say(row)
    whole = sum(found.by_op().values())
    if whole:
        say()
        say_table(["op", "ms", "share"], [(o, f"{s * 1e3:.3f}", f"{s / whole:.1%}") for o, s in found.by_op().items()])
    if plan is not None:
        say()
        say(plan)
