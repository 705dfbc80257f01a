"""Reading and writing model files, through the frontends found under the entry points of `graphc.frontends`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

from graphc.errors import CompileError
from graphc.ir import Graph, expect_graph
from graphc.limits import Limits
from graphc.names import quote
from graphc.runtime.plugins import find_plugin, plugin_names
from graphc.types import Tensor

GROUP = "graphc.frontends"


class Frontend(Protocol):
    """A file format."""

    def load(self, source: Any, *, strict: bool, limits: Limits, allow_links: bool) -> Graph:
        """The graph in `source`. Raises `ModelError`."""
        ...

    def save(
        self,
        graph: Graph,
        target: Any = None,
        *,
        opset: int | None,
        external_data: bool | int | None,
        aside: MutableMapping[str, Tensor] | None,
    ) -> Any:
        """Write `graph` to `target` and return the model in the format's own form."""
        ...


def get_frontend(format: str) -> Frontend:
    """The frontend for `format`. Raises `CompileError` listing those there are."""
    try:
        found = find_plugin(GROUP, format)
    except LookupError as e:
        names = ", ".join(plugin_names(GROUP)) or "none"
        raise CompileError(f"there is no frontend for {quote(format)}", hint=f"Installed: {names}") from e
    frontend: Frontend = found.load()()
    return frontend


def load(
    source: Any, *, format: str = "onnx", strict: bool = False, limits: Limits | None = None, allow_links: bool = False
) -> Graph:
    """The graph of a model.

    Args:
        source: a path, bytes, a binary file, a model in the format's own form (such as `onnx.ModelProto`), or a graph,
            which is returned as it is.
        format: the name of a frontend.
        strict: refuse what can be put right, such as nodes out of order.
        limits: what the model may cost; `Limits()` when None.
        allow_links: let external data be a hard link.

    Raises:
        ModelError: the model is invalid, unsupported, or too large.
    """
    if isinstance(source, Graph):
        return source
    return get_frontend(format).load(source, strict=strict, limits=limits or Limits(), allow_links=allow_links)


def save(
    graph: Graph,
    target: Any = None,
    *,
    format: str = "onnx",
    opset: int | None = None,
    external_data: bool | int | None = None,
    aside: MutableMapping[str, Tensor] | None = None,
) -> Any:
    """Write `graph` to the path or binary file `target` (None: nowhere) and return the model, an `onnx.ModelProto`.

    Args:
        graph: the graph; fused nodes are written as what they consist of.
        target: where to; external data goes beside it where the format needs that.
        format: the name of a frontend.
        opset: the ONNX opset to write; by default 21, or a later one where an operator needs that.
        external_data: keep weights in a file beside `target`: True for all but tiny ones, a number of bytes for another
            bound; by default only when the model is too large for one file.
        aside: where to put all but tiny weights, by name, instead of into the model: for a runtime that takes them from
            memory.
    """
    expect_graph(graph)
    return get_frontend(format).save(graph, target, opset=opset, external_data=external_data, aside=aside)
