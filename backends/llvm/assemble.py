"""From lowered nodes to a program: where every value lies, and machine code for every distinct kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from graphc import debug
from graphc.ir import Node, Value
from graphc.limits import check_deadline
from graphc.loops.compose import contents, sizes
from graphc.loops.fingerprint import fingerprint
from graphc.loops.layout import Layout, row_major
from graphc.loops.memory import ALIGNMENT, Lifetime, plan
from graphc.loops.nest import For, Nest, statements
from graphc.runtime.parallel import side_by_side
from graphc.types import Array

from ..codegen.emit import emit, emitter
from ..codegen.jit import compile_object, link
from ..codegen.target import Target
from .driver import Call, Place, driver
from .lowering import Kernel, Lowered, copy_kernel, lower_region
from .program import Program, Resident, Step
from .threads import aligned, imported

SLACK = 4 * ALIGNMENT  # bytes after the constants: the last vector of one may reach beyond its end


def build(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    target: Target,
    threads: int = 1,
    winograd: bool | None = None,
) -> Program:
    """Compile `nodes`, which are in order. Raises `CompileError`."""
    lowered = lower_region(nodes, outputs, target, threads, winograd)
    memory = _Memory(lowered, threads)
    kernels = [*lowered.kernels, *memory.place_outputs(inputs, outputs, target)]
    constants = memory.place_constants()
    for i, v in enumerate(inputs):
        memory.place[v] = 2 + i, 0
    arena, residents = memory.place_arena(kernels)
    nests, steps = _steps(kernels, memory)
    objects = []
    for name, (nest, description) in nests.items():
        check_deadline()
        objects.append(
            compile_object(f"{emitter()}\n{name}\n{description}", target, partial(_text, nest, name, target))
        )
    calls = driver([s.call for s in steps], 2 + len(inputs) + len(outputs))
    objects.append(compile_object(calls, target, quick=True))
    library = link(objects, ["enter", *nests], imported())
    return Program(nodes, inputs, outputs, steps, library, arena, residents, constants, threads, target)


def _text(nest: Nest, name: str, target: Target) -> str:
    text = emit(nest, name, target)
    if debug.level() >= 4:
        debug.log(4, f"{nest}\n{text}")
    return text


def _steps(kernels: Sequence[Kernel], memory: _Memory) -> tuple[dict[str, tuple[Nest, str]], list[Step]]:
    """Each distinct kernel by its name, with what tells it from others, and the calls in order."""
    nests: dict[str, tuple[Nest, str]] = {}
    steps = []
    for kernel in kernels:
        description = fingerprint(kernel.nest)
        name = f"k{hashlib.sha256(description.encode()).hexdigest()[:24]}"
        nests.setdefault(name, (kernel.nest, description))
        places = []
        for buffer, v in zip(kernel.nest.arguments, kernel.values, strict=True):
            slot, offset = memory.where(v)
            size = buffer.size * buffer.dtype.numpy.itemsize
            places.append(Place(slot, offset, size, buffer in kernel.nest.written))
        for v in kernel.scratch:
            slot, offset = memory.where(v)
            places.append(Place(slot, offset, memory.size(v), written=True))
        parallel = any(isinstance(s, For) and s.kind == "parallel" for s in statements(kernel.nest.body))
        steps.append(Step(kernel.nest, kernel.node, Call(name, tuple(places), parallel)))
    return nests, steps


@dataclass(eq=False)
class _Memory:
    """Where values are: `place` has the slot of the driver's block, and the offset in bytes, of each root."""

    lowered: Lowered
    threads: int
    place: dict[Value, tuple[int, int]] = field(default_factory=dict)

    def find(self, v: Value) -> tuple[Value, int]:
        """The value whose memory `v` is in, and how many bytes from its start."""
        at = 0
        while v in self.lowered.shared:
            v, elements = self.lowered.shared[v]
            at += elements * v.dtype.numpy.itemsize
        return v, at

    def where(self, v: Value) -> tuple[int, int]:
        root, at = self.find(v)
        slot, offset = self.place[root]
        return slot, offset + at

    def layout(self, v: Value) -> Layout:
        return self.lowered.layouts.get(v) or row_major(sizes(v))

    def size(self, v: Value) -> int:
        """Bytes, for all threads together where each has one."""
        own: int = self.layout(v).size * v.dtype.numpy.itemsize
        return own * self.threads if v in self.lowered.scratch else own

    def place_outputs(self, inputs: Sequence[Value], outputs: Sequence[Value], target: Target) -> list[Kernel]:
        """Outputs are written where the caller gets them; what lies otherwise, or is there already, is copied."""
        copies = []
        for i, v in enumerate(outputs):
            root, at = self.find(v)
            slot = 2 + len(inputs) + i
            layout = self.layout(root)
            array = None if root in inputs or root in self.lowered.constants else contents(root)
            if array is not None:  # a constant that no kernel reads
                self.lowered.constants[root], self.lowered.layouts[root] = array, layout
            own = not at and layout.is_row_major and layout.size == row_major(sizes(v)).size
            if own and root not in inputs and root not in self.place and root not in self.lowered.constants:
                self.place[root] = slot, 0
                continue
            copy = Value(v.type)
            copies.append(copy_kernel(v, self.layout(v), copy, target))
            self.place[copy] = slot, 0
        return copies

    def place_constants(self) -> Array:
        """The constants that kernels read, in one block."""
        constants = self.lowered.constants
        size = 0
        for v, array in constants.items():
            self.place[v] = 1, size
            size += -(-self.layout(v).size * array.itemsize // ALIGNMENT) * ALIGNMENT
        block = aligned(size + SLACK)

        def pack(v: Value) -> None:
            array, start = constants[v], self.place[v][1]
            self.lowered.pack(v, block[start : start + self.layout(v).size * array.itemsize].view(array.dtype))

        side_by_side(pack, list(constants))
        return block

    def place_arena(self, kernels: Sequence[Kernel]) -> tuple[int, list[Resident]]:
        """Everything else, by lifetime; returns the bytes of the arena, and who is in it."""
        first: dict[Value, int] = {}
        last: dict[Value, int] = {}
        for i, kernel in enumerate(kernels):
            for v in (*kernel.values, *kernel.scratch):
                root = self.find(v)[0]
                if root not in self.place:
                    first.setdefault(root, i)
                    last[root] = i
        size = {v: self.size(v) for v in first}
        arena = plan({v: Lifetime(size[v], first[v], last[v]) for v in first})
        residents = []
        for v in first:
            self.place[v] = 0, arena.offsets[v]
            name = v.node.label if v.node is not None else v.name
            residents.append(Resident(name, arena.offsets[v], size[v], first[v], last[v]))
        return arena.size, residents
