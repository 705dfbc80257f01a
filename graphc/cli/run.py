"""`graphc run`: run a model once, or time it."""

from __future__ import annotations

import dataclasses
import re
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
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
    Seconds,
    Seed,
    Threads,
    bound,
    load_model,
    parse_bindings,
)  # fmt: skip
from graphc.errors import CompileError
from graphc.interpret import Data
from graphc.random import random_feeds
from graphc.runtime.backend import get_backend
from graphc.runtime.compile import compile
from graphc.runtime.ports import describe
from graphc.runtime.profile import Profile

SHOWN = 6  # elements of an output that are printed


def run(
    model: Model,
    inputs: Inputs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the outputs: a .npz, a .npy, or a folder of .npy files."),
    ] = None,
    backend: BackendName = "numpy",
    level: Level = 2,
    bind: Bind = None,
    threads: Threads = None,
    seed: Seed = 0,
    timeout: Seconds = None,
    check_nan: Annotated[bool, typer.Option("--check-nan", help="Name the first node that makes a NaN.")] = False,
    profile: Annotated[
        int, typer.Option("--profile", min=0, metavar="RUNS", help="Time each node over RUNS runs.")
    ] = 0,
    json: Json = False,
) -> None:
    """Run a model and print its outputs.

    Inputs that are not given get seeded random data.
    """
    get_backend(backend)  # before anything slow
    graph = load_model(model)
    given = parse_inputs(inputs, graph)
    graph = bound(graph, {**parse_bindings(bind), **given.shapes})
    feeds = random_feeds(graph, seed=seed, given=given.arrays)
    for v in graph.inputs:
        if v.name not in given.arrays and not json:
            note(f"input {v.name}: random {_outline(feeds[v.name])}, seed {seed}")
    with progress("compiling"):
        compiled = compile(graph, backend=backend, level=level, threads=threads, timeout=timeout)
    with compiled, progress("running"):
        results = compiled.run(feeds, timeout=timeout, check_nan=check_nan)
        profiled = compiled.profile(feeds, repeat=profile) if profile else None
    if output is not None:
        _write(output, results)
    if json:
        say_json({"outputs": {n: _facts(r) for n, r in results.items()}, **_profile_data(profiled)})
        return
    for port, (name, result) in zip(compiled.outputs, results.items(), strict=True):
        say(f"{name}: {_outline(result) if isinstance(result, np.ndarray) else describe(port.type)}", "bold")
        say(f"  {_contents(result)}")
    if profiled is not None:
        say()
        _show_profile(profiled)


def _outline(data: Data) -> str:
    if isinstance(data, np.ndarray):
        return f"{data.dtype} [{','.join(map(str, data.shape))}]"
    return "nothing" if data is None else f"{'map' if isinstance(data, dict) else 'list'} of {len(data)}"


def _contents(data: Data) -> str:
    if isinstance(data, dict):
        entries = ", ".join(f"{k}: {v}" for k, v in islice(data.items(), SHOWN))
        return f"{{{entries}{', …' if len(data) > SHOWN else ''}}}"
    if not isinstance(data, np.ndarray):
        return "nothing" if data is None else "\n  ".join(f"{_outline(x)} {_contents(x)}" for x in data)
    facts = _facts(data)
    values = ", ".join(str(v) for v in facts["first"])
    text = f"[{values}{', …' if data.size > SHOWN else ''}]"
    if "mean" in facts:
        text += f"  min {facts['min']:.6g}  max {facts['max']:.6g}  mean {facts['mean']:.6g}"
    return text


def _facts(data: Data) -> Any:
    """What JSON says of an output; the elements themselves are for `--output`."""
    if isinstance(data, dict):
        return dict(data)
    if not isinstance(data, np.ndarray):
        return None if data is None else [_facts(x) for x in data]
    facts: dict[str, Any] = {"dtype": str(data.dtype), "shape": list(data.shape)}
    flat = data.reshape(-1)
    if data.dtype.kind not in "fiuV" or data.dtype == object:
        return {**facts, "first": [str(v) if data.dtype.kind in "cO" else v.item() for v in flat[:SHOWN]]}
    wide = flat.astype(np.float64)
    facts["first"] = [v if data.dtype.kind in "iu" else _short(v) for v in (flat[:SHOWN].tolist())]
    if flat.size:
        facts.update(min=float(wide.min()), max=float(wide.max()), mean=float(wide.mean()))
    return facts


def _short(v: Any) -> float:
    return float(f"{float(v):.6g}")


def _profile_data(profiled: Profile | None) -> dict[str, Any]:
    return {} if profiled is None else {"profile": dataclasses.asdict(profiled)}


def _show_profile(profiled: Profile) -> None:
    table, _, last = str(profiled).rpartition("\n")
    if table:
        head, *rows = table.split("\n")
        say(head, "bold")
        for row in rows:
            say(row)
    whole = sum(profiled.by_op().values()) or 1.0
    if profiled.nodes:
        say()
        say_table(
            ["op", "ms", "share"], [(o, f"{s * 1e3:.3f}", f"{s / whole:.1%}") for o, s in profiled.by_op().items()]
        )
    say(last)


def _arrays(name: str, data: Data) -> dict[str, np.ndarray[Any, Any]]:
    """`data` as arrays that a file can hold: those of lists by number, a map as its keys and its values."""
    if isinstance(data, np.ndarray):
        return {name: data.astype(str) if data.dtype == object else data}
    if isinstance(data, dict):
        return {f"{name}.{part}": np.array(list(x)) for part, x in (("keys", data), ("values", data.values()))}
    return {key: array for i, x in enumerate(data or []) for key, array in _arrays(f"{name}.{i}", x).items()}


def _write(path: Path, results: dict[str, Data]) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, data in results.items():
        arrays.update(_arrays(name, data))
    with writing(path):
        if path.suffix == ".npz":
            np.savez(path, allow_pickle=False, **arrays)
        elif path.suffix == ".npy":
            if len(arrays) != 1:
                raise CompileError(
                    f"{path} holds one array, the model gives {len(arrays)}", hint="Use .npz or a folder"
                )
            np.save(path, next(iter(arrays.values())), allow_pickle=False)
        else:
            if path.is_file():
                raise CompileError(f"{path} is a file, not a folder", hint="Name a .npz, a .npy, or a folder")
            path.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                file = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".") or "output"
                np.save(path / f"{file}.npy", array, allow_pickle=False)
    note(f"wrote {path}")
