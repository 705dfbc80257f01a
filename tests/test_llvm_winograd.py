"""Native convolutions in fewer multiplications: odd sizes on every target, any number of threads, and the option."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from llvm_targets import targets
from test_loops_winograd import ROWS, close, graph_of

import graphc
from graphc.backends.llvm import LlvmBackend, threads
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.loops import winograd
from graphc.ops.base import Constant
from graphc.ops.conv import Conv
from graphc.types import TensorType, float32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)


@pytest.mark.parametrize("cache", [1 << 20, 1 << 10])
@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("name", ["odd", "dilated", "channels"])
def test_odd_sizes(name: str, target: str, cache: int) -> None:
    op, shapes = ROWS[name]
    graph, x = graph_of(op, shapes)
    exact, _ = graph_of(op, shapes, np.float64)
    backend = LlvmBackend(target, winograd=True)
    backend.target = replace(backend.target, cache=cache)
    model = graphc.compile(graph, backend=backend)
    assert "scratch" in model.listing("loops")
    close(model(x), interpret(exact, [x.astype(np.float64)])[0])


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("name", ["odd", "dilated", "channels"])
def test_weights_that_are_inputs(name: str, target: str) -> None:
    """They are transformed in each run, in float64 as constant ones are."""
    op, shapes = ROWS[name]
    constant, x = graph_of(op, shapes)
    xs = [Value(TensorType(float32, tuple(s)), name=f"x{i}") for i, s in enumerate(shapes)]
    backend = LlvmBackend(target, winograd=True)
    model = graphc.compile(Graph(xs, op.apply(xs)), backend=backend)
    assert "scratch" in model.listing("loops")
    weights = [n.op.value.array for n in constant.nodes if isinstance(n.op, Constant)]
    for scale in (1, 2):  # a power of two: nothing is rounded otherwise
        given = [w * np.float32(scale) for w in weights]
        close(model(x, *given), scale * graphc.compile(constant, backend=backend)(x))


def test_inputs_that_are_worth_it() -> None:
    """Of few images the transform takes longer than it saves."""

    def is_taken(batch: int) -> bool:
        xs = [Value(TensorType(float32, s), name=f"x{i}") for i, s in enumerate([(batch, 64, 8, 8), (64, 64, 3, 3)])]
        model = graphc.compile(Graph(xs, Conv(pads=(1, 1, 1, 1)).apply(xs)), backend="llvm")
        return "scratch" in model.listing("loops")

    assert is_taken(128)
    assert not is_taken(1)


def test_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan depends on it, the results do not."""
    graph, x = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 16, 20, 20), (64, 16, 3, 3), (64,)])
    found = set()
    plans = set()
    for n in (1, 2, 3, 8):
        model = graphc.compile(graph, backend=LlvmBackend(winograd=True), threads=n)
        (compiled,) = model._executable.signatures.values()  # type: ignore[union-attr]
        compiled.whole.threads = n  # however little there is to do
        plans.add(model.listing("loops"))
        found |= {model(x).tobytes() for _ in range(5)}
    assert len(found) == 1
    assert len(plans) > 1


def test_each_thread_has_scratch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "BANDS", (5,))
    monkeypatch.setattr(winograd, "GROUPS", (1,))
    graph, _ = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 16, 20, 20), (64, 16, 3, 3)])

    def scratch(n: int) -> list[int]:
        model = graphc.compile(graph, backend=LlvmBackend(winograd=True), threads=n)
        rows = [line.split() for line in model.memory_plan().splitlines()]
        return [int(r[2].replace(",", "")) for r in rows if r[0] in ("v", "m")]

    assert sorted(scratch(1)) == [4 * 36 * 5 * 16, 4 * 36 * 5 * 64]
    assert scratch(3) == [3 * n for n in scratch(1)]


def test_the_option() -> None:
    graph, x = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 64, 28, 28), (64, 64, 3, 3)])
    found = [graphc.compile(graph, backend=LlvmBackend(winograd=w)) for w in (None, True, False)]
    assert ["scratch" in m.listing("loops") for m in found] == [True, True, False]
    results = [m(x) for m in found]
    assert results[0].tobytes() == results[1].tobytes() != results[2].tobytes()
    close(results[0], results[2])


def test_profile_counts_the_convolution() -> None:
    """Its arithmetic is that of the sum, however it is done; scratch memory is nobody's input or output."""
    graph, x = graph_of(Conv(pads=(1, 1, 1, 1)), [(1, 64, 28, 28), (64, 64, 3, 3)])
    (found,) = [t for t in graphc.compile(graph, backend="llvm").profile([x], repeat=1) if t.op == "Conv"]
    assert found.flops == 2 * 64 * 64 * 9 * 28 * 28
    images, weights, results = 64 * 30 * 30, 36 * 64 * 64, 64 * 28 * 28
    assert found.bytes == 4 * (images + weights + results)
