"""`graphc export`: a network of the zoo, or any model, written as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphc.cli.console import note, progress, say_json, writing
from graphc.cli.options import Json, Model, Set, load_model, parse_options
from graphc.errors import CompileError
from graphc.runtime.frontends import save
from graphc.runtime.summary import summarize


def export(
    model: Model,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; by default MODEL.onnx here.")] = None,
    options: Set = None,
    opset: Annotated[int | None, typer.Option("--opset", help="The ONNX opset to write.")] = None,
    json: Json = False,
) -> None:
    """Write a network of the zoo, or any model, as ONNX."""
    chosen = parse_options(options)
    target = output or Path(f"{Path(model).stem}.onnx")
    if output is None and target.exists():
        raise CompileError(f"{target} exists already", hint="Name another file, or the same, with -o")
    graph = load_model(model, options=chosen)
    with progress(f"writing {target}"), writing(target):
        save(graph, target, opset=opset)
    if json:
        summary = summarize(graph)
        say_json({"output": target, "nodes": summary.nodes, "parameters": summary.parameters})
    else:
        note(f"wrote {target}")
