"""`graphc optimize`: the passes applied to a file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from graphc.cli.console import note, progress, say, say_json, say_table
from graphc.cli.options import Bind, Json, Level, Model, bound, load_model, parse_bindings
from graphc.passes.manager import PassReport
from graphc.passes.manager import optimize as run_passes
from graphc.runtime.frontends import save


def optimize(
    model: Model,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the optimised model as ONNX.")] = None,
    level: Level = 2,
    bind: Bind = None,
    opset: Annotated[int | None, typer.Option("--opset", help="The ONNX opset to write.")] = None,
    declined: Annotated[bool, typer.Option("--declined", help="Also list rewrites that were declined.")] = False,
    json: Json = False,
) -> None:
    """Optimise a model.

    Prints what each pass did, and writes the result where --output says.
    """
    graph = bound(load_model(model), parse_bindings(bind))
    with progress("optimising"):
        optimized, report = run_passes(graph, level)
    if output is not None:
        with progress(f"writing {output}"):
            save(optimized, output, opset=opset)
    if json:
        say_json({"passes": [dataclasses.asdict(p) for p in report.passes], "output": output})
        return
    rows = [(p.name, p.before, p.after, f"{p.seconds * 1e3:.1f}", _rules(p)) for p in report.passes]
    say_table(["pass", "before", "after", "ms", "rewrites"], rows)
    if declined:
        for p in report.passes:
            for refusal in p.refused:
                say(str(refusal))
    if output is not None:
        note(f"wrote {output}")


def _rules(p: PassReport) -> str:
    return ", ".join(f"{rule} {n}" for rule, n in Counter(f.rule for f in p.fired).items())
