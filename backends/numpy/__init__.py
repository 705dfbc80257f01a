"""The NumPy backend: each node's `eval`, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence

from graphc.interpret import Data, interpret
from graphc.ir import Graph, Node
from graphc.runtime.backend import Executable, Options
from graphc.runtime.constants import read_constants

__all__ = ["NumpyBackend", "NumpyExecutable"]


class NumpyExecutable(Executable):
    """Interprets the graph, freeing values after their last use. Without state: any number of runs may overlap."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def run(self, inputs: Sequence[Data]) -> list[Data]:
        return interpret(self.graph, inputs)

    def time_nodes(self, inputs: Sequence[Data]) -> list[float]:
        seconds: list[float] = []
        since = time.perf_counter()

        def observe(node: Node, arguments: Sequence[Data], results: Sequence[Data]) -> None:
            nonlocal since
            now = time.perf_counter()
            seconds.append(now - since)
            since = now

        interpret(self.graph, inputs, observe)
        return seconds


class NumpyBackend:
    """Runs every op there is, with the semantics that the other backends are held to."""

    name = "numpy"

    def supports(self, node: Node) -> str | None:
        return None

    def compile(self, graph: Graph, options: Options) -> Executable:
        read_constants(graph)
        return NumpyExecutable(graph)
