"""Arguments and options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphc.cli.console import progress
from graphc.errors import CompileError, InvalidModel
from graphc.ir import Graph
from graphc.limits import Limits, limited
from graphc.names import did_you_mean, quote
from graphc.passes.specialize import Bindings, specialize
from graphc.runtime.frontends import load
from graphc.runtime.zoo import build, networks

Model = Annotated[
    str, typer.Argument(help="An ONNX file, or a network of the zoo.", metavar="MODEL", show_default=False)
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE|NAME:SHAPE",
        help="x=data.npy, x:1x3x224x224 for random data, or a .npz with all inputs. Others get random data.",
    ),
]
Bind = Annotated[
    list[str] | None, typer.Option("--bind", "-b", metavar="SYMBOL=SIZE", help="Bind a symbolic dimension: batch=8.")
]
Level = Annotated[int, typer.Option("--level", "-O", min=0, max=2, help="How much to optimise.")]
BackendName = Annotated[str, typer.Option("--backend", "-B", help="What runs the model; see `graphc doctor`.")]
Threads = Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Threads of one run.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of random data.")]
Seconds = Annotated[float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop after so long.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="An option of the network: batch=8, classes=10."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def load_model(name: str, *, limits: Limits | None = None, options: dict[str, Any] | None = None) -> Graph:
    """The graph in the file `name`, or the network of that name built with `options`."""
    if options and name not in networks() and Path(name).exists():
        raise CompileError(f"{quote(name)} is a file, --set is for networks of the zoo")
    if options or not Path(name).exists():
        if not options and (Path(name).suffix or "/" in name or name not in networks()):
            close = "" if Path(name).suffix else did_you_mean(name, networks())
            raise InvalidModel(
                f"no file {quote(name)}, and no network of that name", hint=f"{close}`graphc zoo` lists the networks"
            )
        with progress(f"building {name}"):
            return load(build(name, **(options or {})), limits=limits)
    with progress(f"loading {name}"), limited(limits or Limits()):
        return load(name, limits=limits)


def parse_bindings(texts: list[str] | None) -> dict[str, int]:
    """`["batch=8"]` -> {"batch": 8}. Raises `CompileError`."""
    found: dict[str, int] = {}
    for text in texts or []:
        name, equals, size = text.rpartition("=")
        if not equals or not size.isdecimal():
            raise CompileError(f"--bind {quote(text)} is not SYMBOL=SIZE")
        found[name] = int(size)
    return found


def parse_options(texts: list[str] | None) -> dict[str, Any]:
    """`batch=8` is a number, `batch=n` the name of a symbolic dimension."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise CompileError(f"--set {quote(text)} is not NAME=VALUE")
        found[name] = int(value) if value.lstrip("-").isdecimal() else value
    return found


def bound(graph: Graph, bindings: Bindings) -> Graph:
    """`graph` specialised, or itself when there is nothing to bind."""
    return specialize(graph, bindings) if bindings else graph
