"""Lowering without LLVM, and running what comes of it in the interpreter of loop nests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.codegen.target import Target
from graphc.backends.llvm.control import lower_region
from graphc.backends.llvm.kernels import Lowered
from graphc.expr import Buffer, Load, Source
from graphc.ir import Graph, Value
from graphc.loops.compose import sizes
from graphc.loops.interpret import interpret
from graphc.loops.layout import row_major
from graphc.loops.nest import Nest
from graphc.ops.base import Constant
from graphc.passes.decompose import decompose
from graphc.types import Array, dtype_of

# Bytes of a vector register -> the target, as far as lowering asks.
TARGETS = {
    width: Target(f"{8 * width} bits", "", "", "", width, registers, True, True)
    for width, registers in ((16, 16), (32, 16), (64, 32))
}
SLACK = 256  # bytes after a constant that vectors may read


def filled(size: int, dtype: np.dtype) -> Array:
    """Memory that nobody has written to: what is made of it shows."""
    return np.full(size, np.nan if dtype.kind not in "iub" else 1, dtype)


def run(nest: Nest, *inputs: Array, seed: int | None = None) -> Array:
    """The buffer that `nest` writes, for the contents of those that it reads, in order."""
    (target,) = nest.written
    read = [b for b in nest.arguments if b is not target]
    memory = dict(zip(read, (np.ascontiguousarray(x).reshape(-1) for x in inputs), strict=True))
    memory[target] = filled(target.size, target.dtype.numpy)
    assert interpret(nest, memory, seed=seed)
    return memory[target]


def tensor(array: Array, name: str) -> Source:
    """`array` in a buffer, row-major."""
    buffer, layout = Buffer(name, dtype_of(array.dtype), array.size), row_major(array.shape)
    return Source(
        buffer.dtype,
        array.shape,
        lambda index: Load(buffer, layout.offset(index)),
        flat=lambda at: Load(buffer, at),
    )


def lowered(graph: Graph, width: int, *, winograd: bool | None = None) -> tuple[Graph, Lowered]:
    """A graph of one region, decomposed, and its kernels."""
    graph = decompose(graph)
    nodes = [n for n in graph.nodes if not isinstance(n.op, Constant)]
    return graph, lower_region(nodes, graph.outputs, TARGETS[width], winograd=winograd)


def run_graph(
    graph: Graph, inputs: Sequence[Array], width: int, seed: int | None = None, *, winograd: bool | None = None
) -> list[Array]:
    """The outputs of `graph`, by way of kernels for vectors of `width` bytes."""
    graph, kernels = lowered(graph, width, winograd=winograd)
    return run_kernels(kernels, dict(zip(graph.inputs, inputs, strict=True)), graph.outputs, seed)


def run_kernels(
    kernels: Lowered, given: dict[Value, Array], outputs: Sequence[Value], seed: int | None = None
) -> list[Array]:
    """The outputs; each value in memory of its own, constants with slack after them."""
    memory: dict[Value, Array] = {}
    for v, x in given.items():
        memory[v] = np.ascontiguousarray(x).reshape(-1)

    def layout(v: Value):
        return kernels.layouts.get(v) or row_major(sizes(v))

    for v in kernels.constants:
        dtype = v.dtype.numpy
        memory[v] = filled(layout(v).size + SLACK // dtype.itemsize, dtype)
        kernels.pack(v, memory[v][: layout(v).size])

    def find(v: Value) -> tuple[Value, int]:
        """The value whose memory `v` is in, and where it begins there."""
        at = 0
        while v in kernels.shared:
            v, elements = kernels.shared[v]
            at += elements
        return v, at

    for kernel in kernels.kernels:
        arguments: dict[Buffer, Array] = {}
        for b, v in zip(kernel.nest.arguments, kernel.values, strict=True):
            root, at = find(v)
            if root not in memory:
                memory[root] = filled(layout(root).size, root.dtype.numpy)
            slack = SLACK // root.dtype.numpy.itemsize if root in kernels.constants else 0
            arguments[b] = memory[root][at : at + b.size + slack]
            assert arguments[b].size >= b.size
        assert interpret(kernel.nest, arguments, seed=seed)
    results = []
    for v in outputs:
        root, at = find(v)
        held = memory.get(root)
        if held is None:
            held = root.const.reshape(-1)
        results.append(layout(v).unpack(held[at : at + math.prod(p.extent for p in layout(v).parts)]))
    return results
