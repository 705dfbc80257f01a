"""Random inputs for a graph, and the comparison of two graphs on them, for GRAPHC_CHECK=2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphc.dims import Symbol, substitute
from graphc.errors import GraphcError, VerificationError
from graphc.interpret import Data, interpret
from graphc.ir import Graph
from graphc.passes.bodies import all_nodes, is_pure
from graphc.types import Array, DType, TensorType

SIZES = (3, 1, 4)  # tried in turn for the symbolic dimensions, until one suits the graph


def random_feeds(graph: Graph, *, seed: int = 0, size: int = 3) -> list[Array] | None:
    """One seeded array for each input, symbols bound to `size`; None where an input is no tensor of known rank."""
    rng = np.random.default_rng(seed)
    feeds = []
    for v in graph.inputs:
        if not isinstance(v.type, TensorType) or v.type.shape is None:
            return None
        shape = [substitute(d, lambda symbol: _bound(symbol, size)) for d in v.type.shape]
        if any(not isinstance(d, int) or d < 0 for d in shape):
            return None
        feeds.append(random_array(v.type.dtype, [int(d) for d in shape], rng))  # type: ignore[arg-type]
    return feeds


def _bound(symbol: Symbol, size: int) -> int:
    return size


def random_array(dtype: DType, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Floats in [-1, 1), integers in [0, 3], random bits for bool."""
    if dtype.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "string":
        return rng.choice(np.array(["a", "b", "c"], object), shape)
    if dtype.is_integer:
        high = 1 if dtype.bits == 2 and dtype.kind == "int" else 3
        return rng.integers(0, high, shape, endpoint=True).astype(dtype.numpy)
    return rng.uniform(-1, 1, shape).astype(dtype.numpy)


class Baseline:
    """What `graph` gives on random inputs, for later graphs to be held to.

    There is none (and every check passes) for a graph with a random generator, with sequence inputs, or that cannot
    be evaluated on any of the inputs tried.
    """

    def __init__(self, graph: Graph):
        self.feeds: list[Array] = []
        self.results: list[Data] | None = None
        if not all(is_pure(node) for node in all_nodes(graph)):
            return
        for feeds in _candidates(graph):
            try:
                self.results, self.feeds = interpret(graph, feeds), feeds
            except GraphcError:
                continue
            return

    def check(self, graph: Graph, culprit: str) -> None:
        """Raise `VerificationError`, naming the pass `culprit`, if `graph` gives something else."""
        if self.results is None:
            return
        for name, got, want in zip(graph.output_names, interpret(graph, self.feeds), self.results, strict=True):
            problem = difference(got, want)
            if problem is not None:
                raise VerificationError(
                    f"pass {culprit} changes output '{name}': {problem}",
                    value=name,
                    hint=f"GRAPHC_DEBUG=3 shows the rules that {culprit} fired",
                )


def _candidates(graph: Graph) -> Iterator[list[Array]]:
    for size in SIZES:
        feeds = random_feeds(graph, size=size)
        if feeds is not None:
            yield feeds


def difference(got: Data, want: Data, rtol: float = 1e-3) -> str | None:
    """How two results differ by more than rounding, or None. Passes may reassociate floating-point sums."""
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return "the sequences differ in length"
        found = (difference(g, w, rtol) for g, w in zip(got, want, strict=True))
        return next((problem for problem in found if problem is not None), None)
    if got is None or want is None:
        return None if got is want else "one of the two is empty"
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if want.dtype.kind not in "fcV":
        return None if np.array_equal(got, want) else f"{int(np.sum(got != want))} of {want.size} elements differ"
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), want.astype(wide)
    finite = np.abs(b[np.isfinite(b)])
    rtol = max(rtol, 4 * float(_epsilon(want.dtype)))
    close = np.isclose(a, b, rtol=rtol, atol=rtol * float(finite.max(initial=0.0)), equal_nan=True)
    if np.all(close):
        return None
    at = tuple(int(i) for i in np.argwhere(~close)[0])
    return f"{int(np.sum(~close))} of {b.size} elements differ, first at {list(at)}: {a[at]} instead of {b[at]}"


def _epsilon(dtype: np.dtype[np.generic]) -> float:
    return 0.25 if dtype.itemsize == 1 else 2.0**-7 if dtype.itemsize == 2 else 0.0
