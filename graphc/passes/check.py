"""The comparison of a graph before and after a pass on random inputs, for GRAPHC_CHECK=2."""

from __future__ import annotations

from graphc.difference import compare
from graphc.errors import GraphcError, VerificationError
from graphc.interpret import Data, interpret
from graphc.ir import Graph
from graphc.passes.bodies import all_nodes, is_pure
from graphc.random import random_feeds

SIZES = (3, 1, 4)  # tried in turn for the symbolic dimensions, until one suits the graph


class Baseline:
    """What `graph` gives on random inputs, for later graphs to be held to.

    There is none (and every check passes) for a graph with a random generator, with inputs of unknown rank, or that
    cannot be evaluated on any of the inputs tried.
    """

    def __init__(self, graph: Graph):
        self.feeds: list[Data] = []
        self.results: list[Data] | None = None
        if not all(is_pure(node) for node in all_nodes(graph)):
            return
        for size in SIZES:
            try:
                feeds = list(random_feeds(graph, size=size).values())
                self.results, self.feeds = interpret(graph, feeds), feeds
            except GraphcError:
                continue
            return

    def check(self, graph: Graph, culprit: str) -> None:
        """Raise `VerificationError`, naming the pass `culprit`, if `graph` gives something else."""
        if self.results is None:
            return
        for name, got, want in zip(graph.output_names, interpret(graph, self.feeds), self.results, strict=True):
            found = compare(got, want)
            if not found.ok:
                problem = found.note or f"{found.max_abs:.3g} apart, relatively {found.max_rel:.3g}"
                raise VerificationError(
                    f"pass {culprit} changes output '{name}': {problem}",
                    value=name,
                    hint=f"GRAPHC_DEBUG=3 shows the rules that {culprit} fired",
                )
