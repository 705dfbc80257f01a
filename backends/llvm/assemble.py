"""From lowered nodes to a program: where every value lies, and machine code for every distinct kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from graphc import debug
from graphc.ir import Node, Value
from graphc.limits import check_deadline
from graphc.loops.compose import known, sizes
from graphc.loops.fingerprint import fingerprint
from graphc.loops.layout import row_major
from graphc.loops.memory import ALIGNMENT, Lifetime, plan
from graphc.loops.nest import For, Nest, statements
from graphc.loops.schedule import Machine
from graphc.loops.stream import stream
from graphc.parallel import side_by_side
from graphc.types import Array

from ..codegen.emit import emit, emitter
from ..codegen.jit import Library, compile_object, link
from ..codegen.target import Target
from .calls import ARENA, ARRAYS, CONSTANTS, Call, Place
from .control import lower_region
from .kernels import Kernel, Kernels, Lowered, copy_kernel, is_brief
from .program import Program, Resident, Step
from .steps import Repeat, Steps, bodies, mapped
from .threads import aligned

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
        memory.place[v] = ARRAYS + i, 0
    arena, residents = memory.place_arena(kernels)
    nests, steps = _steps(kernels, memory, target.schedule)
    objects = []
    for name, (nest, description) in nests.items():
        check_deadline()
        key, write = f"{emitter()}\n{name}\n{description}", partial(_text, nest, name, target)
        objects.append(compile_object(key, target, write, quick=is_brief(nest)))
    library = link(objects, list(nests)) if objects else Library({})
    return Program(nodes, inputs, outputs, steps, library, arena, residents, constants, threads, target)


def _text(nest: Nest, name: str, target: Target) -> str:
    text = emit(nest, name, target)
    if debug.level() >= 4:
        debug.log(4, f"{nest}\n{text}")
    return text


def _steps(
    kernels: Kernels, memory: _Memory, machine: Machine
) -> tuple[dict[str, tuple[Nest, str]], Steps[Step, Place]]:
    """Each distinct kernel by its name, with what tells it from others, and the calls."""
    nests: dict[str, tuple[Nest, str]] = {}
    names: dict[Nest, str] = {}  # nodes that are alike have one nest

    def step(kernel: Kernel) -> list[Step]:
        arguments, places = kernel.nest.arguments, []
        for buffer, v in zip(arguments, kernel.values, strict=True):
            slot, offset = memory.where(v)
            size = buffer.size * buffer.dtype.numpy.itemsize
            places.append(Place(slot, offset, size, buffer in kernel.nest.written))
        # What the caller gets may begin anywhere.
        aligned = [b for b, p in zip(arguments, places, strict=True) if p.slot == ARENA and p.offset % ALIGNMENT == 0]
        nest = stream(kernel.nest, aligned, machine)
        if nest not in names:
            description = fingerprint(nest)
            name = f"k{hashlib.sha256(description.encode()).hexdigest()[:24]}"
            nests.setdefault(name, (nest, description))
            names[nest] = name
        for v in kernel.scratch:
            slot, offset = memory.where(v)
            places.append(Place(slot, offset, memory.size(v), written=True))
        parallel = any(isinstance(s, For) and s.kind == "parallel" for s in statements(kernel.nest.body))
        return [Step(nest, kernel.node, Call(names[nest], tuple(places), parallel))]

    return nests, mapped(kernels, step, lambda v: Place(*memory.where(v), memory.size(v), written=False))


@dataclass(eq=False)
class _Memory:
    """Where values are: `place` has the slot of the driver's block, and the offset in bytes, of each root."""

    lowered: Lowered
    threads: int
    place: dict[Value, tuple[int, int]] = field(default_factory=dict)

    def find(self, v: Value) -> tuple[Value, int]:
        """The value whose memory `v` is in, and how many bytes from its start."""
        root, at = self.lowered.find(v)
        return root, at * root.dtype.numpy.itemsize

    def where(self, v: Value) -> tuple[int, int]:
        root, at = self.find(v)
        slot, offset = self.place[root]
        return slot, offset + at

    def size(self, v: Value) -> int:
        """Bytes, for all threads together where each has one."""
        own: int = self.lowered.layout(v).size * v.dtype.numpy.itemsize
        return own * self.threads if v in self.lowered.scratch else own

    def place_outputs(self, inputs: Sequence[Value], outputs: Sequence[Value], target: Target) -> list[Kernel]:
        """Outputs are written where the caller gets them; what lies otherwise, or is there already, is copied."""
        copies = []
        for i, v in enumerate(outputs):
            root, at = self.find(v)
            slot = ARRAYS + len(inputs) + i
            layout = self.lowered.layout(root)
            constant = None if root in inputs or root in self.lowered.constants else known(root)
            if constant is not None:  # a constant that no kernel reads
                self.lowered.constants[root], self.lowered.layouts[root] = constant, layout
            own = not at and layout.is_row_major and layout.size == row_major(sizes(v)).size
            if own and root not in inputs and root not in self.place and root not in self.lowered.constants:
                self.place[root] = slot, 0
                continue
            copy = Value(v.type)
            copies.append(copy_kernel(v, self.lowered.layout(v), copy, target))
            self.place[copy] = slot, 0
        return copies

    def place_constants(self) -> Array:
        """The constants that kernels read, in one block."""
        constants = self.lowered.constants
        size = 0
        for v in constants:
            self.place[v] = CONSTANTS, size
            size += -(-self.size(v) // ALIGNMENT) * ALIGNMENT
        block = aligned(size + SLACK)

        def pack(v: Value) -> None:
            start = self.place[v][1]
            self.lowered.pack(v, block[start : start + self.size(v)].view(v.dtype.numpy))

        side_by_side(pack, sorted(constants, key=self.size, reverse=True))  # so that all threads end at about one time
        return block

    def place_arena(self, kernels: Kernels) -> tuple[int, list[Resident]]:
        """Everything else, by lifetime; returns the bytes of the arena, and who is in it."""
        first: dict[Value, int] = {}
        last: dict[Value, int] = {}
        done = 0  # so many kernels

        def touch(v: Value) -> None:
            root = self.find(v)[0]
            if root not in self.place:
                first.setdefault(root, done)
                last[root] = done

        def visit(steps: Steps[Kernel, Value]) -> None:
            nonlocal done
            for step in steps:
                if isinstance(step, Kernel):
                    for v in (*step.values, *step.scratch):
                        touch(v)
                    done += 1
                    continue
                start = done
                for v in (step.condition, *(step.kept if isinstance(step, Repeat) else ())):
                    touch(v)
                before = list(first)
                for body in bodies(step):
                    visit(body)
                if isinstance(step, Repeat):  # what was there before is there in every trip
                    end = max(start, done - 1)
                    last.update((v, max(last[v], end)) for v in before if last[v] >= start)

        visit(kernels)
        size = {v: self.size(v) for v in first}
        arena = plan({v: Lifetime(size[v], first[v], last[v]) for v in first})
        residents = []
        for v in first:
            self.place[v] = ARENA, arena.offsets[v]
            name = v.node.label if v.node is not None else v.name
            residents.append(Resident(name, arena.offsets[v], size[v], first[v], last[v]))
        return arena.size, residents
