"""`graphc bench`: how fast a model runs, beside other backends."""

from __future__ import annotations

import dataclasses
import importlib.util
import json as jsonlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from graphc.cli.console import note, progress, say, say_json, say_table
from graphc.cli.inputs import parse_inputs
from graphc.cli.options import Bind, Inputs, Json, Level, Model, Seed, Threads, bound, load_model, parse_bindings
from graphc.errors import CompileError, GraphcError
from graphc.random import random_feeds
from graphc.runtime.backend import get_backend
from graphc.runtime.bench import PERCENTILES, Benchmark, benchmark
from graphc.runtime.bench import plot as draw
from graphc.runtime.compile import compile


def bench(
    model: Model,
    inputs: Inputs = None,
    backends: Annotated[
        str | None,
        typer.Option("--backends", metavar="A,B,…", help="What to time; llvm, and onnxruntime if it is installed."),
    ] = None,
    level: Level = 2,
    bind: Bind = None,
    threads: Threads = None,
    seed: Seed = 0,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="How long to time each backend.")] = 3.0,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the times, as a PNG.")] = None,
    json: Json = False,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Time a model: percentiles, throughput, cold start and memory, beside onnxruntime.

    Each backend runs in a process of its own, one after the other; on a busy machine compare with care.
    """
    if backends is None:
        backends = "llvm,onnxruntime" if importlib.util.find_spec("onnxruntime") is not None else "llvm"
    names = [b for b in backends.split(",") if b]
    for name in names:
        get_backend(name)  # before anything slow
    if worker:
        say_json(_measure(model, inputs, names[0], level, bind, threads, seed, seconds))
        return
    options = ["--level", str(level), "--seed", str(seed), "--seconds", str(seconds)]
    for text in inputs or []:
        options += ["--input", text]
    for text in bind or []:
        options += ["--bind", text]
    if threads is not None:
        options += ["--threads", str(threads)]
    results = []
    for name in names:
        with progress(f"timing {name}"):
            results.append(_in_process(model, name, options))
    if plot is not None:
        try:
            draw(results, plot, model)
        except (OSError, ValueError) as e:
            raise CompileError(f"cannot write {plot}: {e}") from e
        note(f"wrote {plot}")
    if json:
        say_json({"results": [dataclasses.asdict(r) for r in results]})
        return
    say_table(["backend", *(f"p{p} ms" for p in PERCENTILES), "runs/s", "cold start s", "peak MiB"], _rows(results))
    if len(results) > 1:
        first, other = results[0], results[1]
        say()
        ratio = first.milliseconds[50] / other.milliseconds[50]
        say(f"{first.backend} takes {ratio:.2f} times as long as {other.backend} (medians)")


def _measure(
    model: str,
    inputs: list[str] | None,
    backend: str,
    level: int,
    bind: list[str] | None,
    threads: int | None,
    seed: int,
    seconds: float,
) -> dict[str, Any]:
    start = time.perf_counter()
    graph = load_model(model)
    given = parse_inputs(inputs, graph)
    graph = bound(graph, {**parse_bindings(bind), **given.shapes})
    loaded = time.perf_counter()
    # onnxruntime does its own optimising, on the graph as it was loaded.
    level = 0 if backend == "onnxruntime" else level
    with compile(graph, backend=backend, level=level, threads=threads) as compiled:
        ready = time.perf_counter()
        feeds = random_feeds(graph, seed=seed, given=given.arrays)
        found = benchmark(compiled, feeds, seconds=seconds, load_s=loaded - start, compile_s=ready - loaded)
    return dataclasses.asdict(found)


def _in_process(model: str, backend: str, options: list[str]) -> Benchmark:
    command = [sys.executable, "-m", "graphc", "bench", model, "--backends", backend, "--worker", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        message = done.stderr.strip().removeprefix("error: ") or f"the process ended with {done.returncode}"
        raise GraphcError(f"{backend}: {message}")
    data = jsonlib.loads(done.stdout)
    data["milliseconds"] = {int(p): t for p, t in data["milliseconds"].items()}
    return Benchmark(**{**data, "times": tuple(data["times"])})


def _rows(results: list[Benchmark]) -> list[tuple[str, ...]]:
    return [
        (
            r.backend,
            *(f"{r.milliseconds[p]:.3f}" for p in PERCENTILES),
            f"{r.throughput:.1f}",
            f"{r.load_s + r.compile_s + r.first_run_s:.2f}",
            "" if r.peak_bytes is None else f"{r.peak_bytes / (1 << 20):.0f}",
        )
        for r in results
    ]
