"""`graphc verify`: the same results on every backend, or after every pass?"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from graphc.cli.console import progress, say, say_json, say_table
from graphc.cli.errors import FAILED
from graphc.cli.inputs import parse_inputs
from graphc.cli.options import Bind, Inputs, Json, Level, Model, Seed, Threads, bound, load_model, parse_bindings
from graphc.random import random_feeds
from graphc.runtime.verify import HEADERS
from graphc.runtime.verify import verify as compare


def verify(
    model: Model,
    inputs: Inputs = None,
    backends: Annotated[
        str, typer.Option("--backends", metavar="A,B,…", help="Compare these; the first is the reference.")
    ] = "numpy,onnxruntime",
    passes: Annotated[bool, typer.Option("--passes", help="Find the pass that changes the results instead.")] = False,
    level: Level = 2,
    bind: Bind = None,
    seed: Seed = 0,
    rtol: Annotated[float | None, typer.Option("--rtol", min=0, help="Relative tolerance.")] = None,
    atol: Annotated[float | None, typer.Option("--atol", min=0, help="Absolute tolerance.")] = None,
    threads: Threads = None,
    everything: Annotated[bool, typer.Option("--all", help="List what agrees as well.")] = False,
    json: Json = False,
) -> None:
    """Compare a model's values between backends.

    Every node's output is compared, or with --passes the outputs after each pass; exits with 1 where they differ.
    """
    graph = load_model(model)
    given = parse_inputs(inputs, graph)
    graph = bound(graph, {**parse_bindings(bind), **given.shapes})
    feeds = random_feeds(graph, seed=seed, given=given.arrays)
    with progress("comparing"):
        result = compare(
            graph,
            feeds,
            backends=[b for b in backends.split(",") if b],
            passes=passes,
            level=level,
            rtol=rtol,
            atol=atol,
            threads=threads,
        )
    if json:
        rows = [{**dataclasses.asdict(row), "ok": row.ok} for row in result.rows]
        say_json({"ok": result.ok, "summary": result.summary, "rows": rows})
    else:
        shown = [row.cells() for row in result.rows if everything or not row.ok]
        if shown:
            say_table(HEADERS, shown)
        say(result.summary, "green" if result.ok else "bold red")
    if not result.ok:
        raise typer.Exit(FAILED)
