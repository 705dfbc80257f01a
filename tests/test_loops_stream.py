"""Stores past the caches: which ones they are, in loops, in text and in machine code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphc
from graphc.backends.codegen.emit import emit
from graphc.backends.codegen.target import host_target
from graphc.backends.llvm import LlvmBackend
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.loops.schedule import Machine
from graphc.loops.stream import stream
from graphc.loops.text import parse_nest
from graphc.ops.activation import Relu
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.ops.pool import MaxPool
from graphc.types import TensorType, float32

KERNEL = """kernel(x: f32[80], out y: f32[80]) {
  parallel i < 5 {
    vector l < 16 {
      y[16*i + l] := x[16*i + l]
    }
  }
}"""
MACHINE = Machine(64, 32, last_cache=1 << 10)


def streamed(*lines: str, size: int = 80) -> list[str]:
    """The statements of a kernel with these ones, of which all arguments begin at lines."""
    text = "\n".join([f"kernel(x: f32[{size}], out y: f32[{size}]) {{", *(f"  {line}" for line in lines), "}"])
    nest = parse_nest(text)
    made = stream(nest, nest.arguments, MACHINE)
    assert str(parse_nest(str(made))) == str(made)
    return [line.removeprefix("  ") for line in str(made).splitlines()[1:-1]]


def test_vectors_that_are_lines() -> None:
    assert streamed("for i < 5 {", "  vector l < 16 {", "    y[16*i + l] = x[16*i + l]", "  }", "}")[2].endswith(
        "y[16*i + l] := x[16*i + l]"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["for i < 10 {", "  vector l < 8 {", "    y[8*i + l] = 1", "  }", "}"],  # half of a line
        ["for i < 4 {", "  vector l < 16 {", "    y[16*i + l + 4] = 1", "  }", "}"],  # parts of two lines
        ["for i < 5 {", "  vector l < 16 {", "    y[8*i + l] = 1", "  }", "}"],
        ["for i < 2 {", "  vector l < 16 {", "    y[32*i + 2*l] = 1", "  }", "}"],
        ["for i < 80 {", "  y[i] = 1", "}"],
        ["for i < 5 {", "  vector l < 16 {", "    y[16*i + l] add= 1", "  }", "}"],
        ["vector l < 16 {", "  y[l] = 1", "}", "y[16] = y[3]"],  # is read
    ],
)
def test_what_stays(lines: list[str]) -> None:
    assert streamed(*lines) == lines


def test_what_a_cache_keeps_stays() -> None:
    lines = ["for i < 4 {", "  vector l < 16 {", "    y[16*i + l] = 1", "  }", "}"]
    assert streamed(*lines, size=64) == lines


def test_what_is_stored_past_a_cache_is_not_fetched() -> None:
    lines = ["for i < 5 {", "  prefetch1 y[16*i]", "  prefetch1 x[16*i]", "  vector l < 16 {", "    y[16*i + l] = 1"]
    made = streamed(*lines, "  }", "}")
    assert [line.strip() for line in made][1:4] == ["prefetch1 x[16*i]", "vector l < 16 {", "y[16*i + l] := 1"]


def backend(last_cache: int) -> LlvmBackend:
    made = LlvmBackend()
    made.target = replace(made.target, last_cache=last_cache)
    return made


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_bits(threads: int) -> None:
    """Later kernels read what other threads stored past the caches; what the caller gets is stored as usual."""
    rng = np.random.default_rng(0)
    x = Value(TensorType(float32, (1, 16, 90, 90)), name="x")
    w, b = (const(rng.normal(size=s).astype(np.float32), float32) for s in ((32, 16, 3, 3), (32,)))
    (y,) = Conv(pads=(1, 1, 1, 1)).apply([x, w, b])
    (pooled,) = MaxPool((2, 2), strides=(1, 1)).apply(Relu().apply([y]))
    graph = Graph([x], [pooled, *Relu().apply([x])])
    array = rng.normal(size=(1, 16, 90, 90)).astype(np.float32)
    found = []
    for size in (1 << 10, 1 << 30):
        model = graphc.compile(graph, backend=backend(size), threads=threads)
        found += [model.run([array]) for _ in range(5)]
        taken = size == 1 << 10 and host_target().vector_bytes == 64
        assert (":=" in model.listing("loops")) == taken
    for results in found:
        assert {n: r.tobytes() for n, r in results.items()} == {n: r.tobytes() for n, r in found[0].items()}
    for got, want in zip(found[0].values(), interpret(graph, [array]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_other_cores_see_it_when_the_kernel_ends() -> None:
    """On x86 that takes a fence, after which no thread of the kernel stores anything."""
    for triple, fences in (("x86_64-unknown-linux-gnu", 1), ("aarch64-unknown-linux-gnu", 0)):
        text = emit(parse_nest(KERNEL), "kernel", replace(host_target(), triple=triple, vector_bytes=64))
        (line,) = (line for line in text.splitlines() if "store" in line)
        assert line.startswith("store <16 x float>")
        assert line.endswith("align 64, !nontemporal !0")
        assert text.partition(line)[2].count("call void @llvm.x86.sse.sfence()") == fences
