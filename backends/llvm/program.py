"""One native function for a run of nodes: kernels in order, on an arena that is planned ahead."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc import debug
from graphc.errors import ExecutionError
from graphc.interpret import Data, evaluate
from graphc.ir import Node, Value
from graphc.loops.compose import sizes
from graphc.loops.layout import row_major
from graphc.loops.memory import ALIGNMENT, Lifetime, plan
from graphc.types import Array

from ..codegen.emit import emit
from ..codegen.jit import Library, compile_object, link
from ..codegen.target import Target
from .lowering import Kernel, Lowered, copy_kernel, lower_region


def aligned(size: int) -> Array:
    """`size` bytes that start at a multiple of ALIGNMENT."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


@dataclass(eq=False)
class Program:
    """Machine code for `nodes`, from the values `inputs` to the values `outputs`.

    `run` may be called by several threads at once: each call has an arena of its own.
    """

    nodes: Sequence[Node]
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    library: Library
    arena: int
    constants: Array
    _free: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._function = kind(self.library.addresses["run"])
        self._types = [(v.tensor, sizes(v)) for v in self.outputs]

    def run(self, data: Sequence[Array]) -> list[Array]:
        """The outputs for `data`, arrays of the inputs' types. Raises `ExecutionError` as NumPy's kernels do."""
        arrays = [np.ascontiguousarray(x) for x in data]
        results: list[Array] = [np.empty(shape, t.dtype.numpy) for t, shape in self._types]
        try:
            arena = self._free.pop()
        except IndexError:
            arena = aligned(self.arena)
        held = [arena, self.constants, *arrays, *results]
        pointers = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))
        status = ctypes.c_int32(0)
        self._function(pointers, ctypes.byref(status), 0, 1)
        self._free.append(arena)
        if status.value:
            self._explain(data)
        return results

    def _explain(self, data: Sequence[Data]) -> None:
        """A guard did not hold: NumPy's kernels say which node's, and why."""
        known: dict[Value, Any] = dict(zip(self.inputs, data, strict=True))
        for node in self.nodes:
            results = evaluate(node, [None if x is None else known[x] for x in node.inputs])
            known.update(zip(node.outputs, results, strict=True))
        raise ExecutionError("a value that was computed breaks the contract of an operator")


@dataclass(eq=False)
class _Memory:
    """Where values are: the root that each one shares memory with, and the place of each root."""

    shared: dict[Value, Value] = field(default_factory=dict)
    place: dict[Value, str] = field(default_factory=dict)

    def root(self, v: Value) -> Value:
        while v in self.shared:
            v = self.shared[v]
        return v


def build(nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value], target: Target) -> Program:
    """Compile `nodes`, which are in order. Raises `CompileError`."""
    lowered = lower_region(nodes, outputs, target)
    memory = _Memory(lowered.shared)
    steps = lowered.kernels
    steps += _place_outputs(inputs, outputs, memory, lowered, target)
    constants = _place_constants(lowered, memory)
    for i, v in enumerate(inputs):
        memory.place[v] = f"argument {2 + i}"
    arena = _place_arena(steps, memory, lowered)
    texts, calls = _texts(steps, memory, target)
    objects = [compile_object(text, target) for text in texts.values()]
    count = 2 + len(inputs) + len(outputs)
    objects.append(compile_object(_driver(calls, list(texts), count), target))
    return Program(nodes, inputs, outputs, link(objects, ["run"]), arena, constants)


def _place_outputs(
    inputs: Sequence[Value], outputs: Sequence[Value], memory: _Memory, lowered: Lowered, target: Target
) -> list[Kernel]:
    """Outputs are written where the caller gets them; those that lie otherwise, or are there already, are copied."""
    copies = []
    for i, v in enumerate(outputs):
        root = memory.root(v)
        place = f"argument {2 + len(inputs) + i}"
        layout = lowered.layouts.get(root) or row_major(sizes(root))
        if root in inputs or root in memory.place or root in lowered.constants or not layout.is_row_major:
            copy = Value(v.type)
            shape = lowered.layouts.get(v) or row_major(sizes(v))
            copies.append(copy_kernel(v, shape, copy, target))
            memory.place[copy] = place
        else:
            memory.place[root] = place
    return copies


def _place_constants(lowered: Lowered, memory: _Memory) -> Array:
    """All constants that kernels read, in one block."""
    size = 0
    for v, array in lowered.constants.items():
        memory.place[v] = f"constant {size}"
        size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    block = aligned(size + 4 * ALIGNMENT)  # vectors may reach beyond the last one
    for v, array in lowered.constants.items():
        start = int(memory.place[v].split()[1])
        block[start : start + array.nbytes] = array.view(np.uint8)
    return block


def _place_arena(steps: Sequence[Kernel], memory: _Memory, lowered: Lowered) -> int:
    """Everything else, by lifetime; returns the bytes of the arena."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for i, step in enumerate(steps):
        for v in step.values:
            root = memory.root(v)
            if root not in memory.place:
                first.setdefault(root, i)
                last[root] = i
    lives = {v: Lifetime(lowered.layouts[v].size * v.dtype.numpy.itemsize, first[v], last[v]) for v in first}
    arena = plan(lives)
    for v in first:
        memory.place[v] = f"arena {arena.offsets[v]}"
    return arena.size


def _texts(
    steps: Sequence[Kernel], memory: _Memory, target: Target
) -> tuple[dict[str, str], list[tuple[str, list[str]]]]:
    """The LLVM IR of each distinct kernel by its name, and the calls in order: a name and the places of arguments."""
    texts: dict[str, str] = {}
    calls = []
    for step in steps:
        text = emit(step.nest, "kernel", target)
        name = f"k{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        if name not in texts:
            if debug.level() >= 4:  # listings take time to make
                debug.log(4, f"{step.nest}\n{text}")
            texts[name] = text.replace("@kernel(", f"@{name}(")
        calls.append((name, [memory.place[memory.root(v)] for v in step.values]))
    return texts, calls


def _driver(calls: Sequence[tuple[str, list[str]]], names: Sequence[str], arguments: int) -> str:
    """`run(arguments, status, thread, threads)`: the kernels in order."""
    arity = {name: len(places) for name, places in calls}
    lines = [f"declare void @{n}({', '.join(['ptr'] * (arity[n] + 1))}, i64, i64)" for n in names]
    lines += ["define void @run(ptr %arguments, ptr %status, i64 %thread, i64 %threads) nounwind {"]
    for i in range(arguments):
        lines.append(f"%at{i} = getelementptr ptr, ptr %arguments, i64 {i}")
        lines.append(f"%p{i} = load ptr, ptr %at{i}, align 8")
    count = 0
    for name, places in calls:
        pointers = []
        for place in places:
            kind, number = place.split()
            if kind == "argument":
                pointers.append(f"ptr %p{number}")
                continue
            lines.append(f"%q{count} = getelementptr i8, ptr %p{0 if kind == 'arena' else 1}, i64 {number}")
            pointers.append(f"ptr %q{count}")
            count += 1
        lines.append(f"call void @{name}({', '.join(pointers)}, ptr %status, i64 %thread, i64 %threads)")
    return "\n".join([*lines, "ret void", "}", ""])
