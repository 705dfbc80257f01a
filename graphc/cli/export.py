"""`graphc export`: a network of the zoo, or any model, written as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphc.cli.console import note, progress, say_json
from graphc.cli.options import Json, Model, load_model
from graphc.errors import CompileError
from graphc.names import quote
from graphc.runtime.frontends import save
from graphc.runtime.summary import summarize


def export(
    model: Model,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; by default MODEL.onnx here.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="An option of the network: batch=8, classes=10."),
    ] = None,
    opset: Annotated[int | None, typer.Option("--opset", help="The ONNX opset to write.")] = None,
    json: Json = False,
) -> None:
    """Write a network of the zoo, or any model, as ONNX."""
    chosen = _options(options)
    target = output or Path(f"{Path(model).stem}.onnx")
    if output is None and target.exists():
        raise CompileError(f"{target} exists already", hint="Name another file, or the same, with -o")
    graph = load_model(model, options=chosen)
    try:
        with progress(f"writing {target}"):
            save(graph, target, opset=opset)
    except OSError as e:
        raise CompileError(f"cannot write {target}: {e.strerror or e}") from e
    if json:
        summary = summarize(graph)
        say_json({"output": target, "nodes": summary.nodes, "parameters": summary.parameters})
    else:
        note(f"wrote {target}")


def _options(texts: list[str] | None) -> dict[str, Any]:
    """`batch=8` is a number, `batch=n` the name of a symbolic dimension."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise CompileError(f"--set {quote(text)} is not NAME=VALUE")
        found[name] = int(value) if value.lstrip("-").isdecimal() else value
    return found
