"""A run of nodes as kernels: what lowering makes, and what a program is put together of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from graphc.expr import Buffer
from graphc.frozen import Frozen
from graphc.ir import Node, Value
from graphc.loops.compose import sizes, stored
from graphc.loops.layout import Layout, row_major
from graphc.loops.lower import lower
from graphc.loops.nest import Nest
from graphc.loops.schedule import schedule, work
from graphc.types import Array, Tensor

from ..codegen.target import Target
from .steps import Branch, Repeat, bodies, leaves, mapped


class Kernel(Frozen, eq=False):
    """A nest, the values that its arguments and its scratch hold, in order, and the node that it is for."""

    nest: Nest
    values: tuple[Value, ...]
    node: Node | None = None
    scratch: tuple[Value, ...] = ()

    @property
    def written(self) -> list[Value]:
        return [v for b, v in zip(self.nest.arguments, self.values, strict=True) if b in self.nest.written]


BRIEF = 1 << 9  # operations up to which a kernel takes about a microsecond, however it is compiled


def is_brief(nest: Nest) -> bool:
    """Whether to optimise its code takes longer than would ever be saved, as for sums of a few sizes."""
    return sum(map(work, nest.body)) <= BRIEF


Kernels = list[Kernel | Branch[Kernel, Value] | Repeat[Kernel, Value]]


@dataclass(eq=False)
class Lowered:
    """A run of nodes as kernels.

    Attributes:
        kernels: in order, in branches and repetitions as the nodes are.
        shared: a value -> the one whose memory it is in, and where it begins there, in elements.
        layouts: how each value lies in its memory.
        constants: the constants that are read, in the order of their memory.
        made: for some of those, what writes them into their memory, where that has other elements.
        scratch: the values that each thread has one of.
    """

    kernels: Kernels = field(default_factory=list)
    shared: dict[Value, tuple[Value, int]] = field(default_factory=dict)
    layouts: dict[Value, Layout] = field(default_factory=dict)
    constants: dict[Value, Tensor] = field(default_factory=dict)
    made: dict[Value, Callable[[Array, Array], None]] = field(default_factory=dict)
    scratch: set[Value] = field(default_factory=set)

    def pack(self, v: Value, out: Array) -> None:
        """Write the constant `v` into its memory."""
        write = self.made.get(v, self.layouts[v].pack)
        write(self.constants[v].read(), out)

    def find(self, v: Value) -> tuple[Value, int]:
        """The value whose memory `v` is in, and where it begins there, in elements."""
        at = 0
        while v in self.shared:
            v, start = self.shared[v]
            at += start
        return v, at

    def layout(self, v: Value) -> Layout:
        return self.layouts.get(v) or row_major(sizes(v))

    def read_kernels(self, outputs: Sequence[Value]) -> Kernels:
        """The kernels but for rearrangements that nothing reads: all that would took copies of what these read."""
        kernels = self.kernels
        while True:
            read = {self.find(v)[0] for v in outputs}
            read |= {self.find(v)[0] for s in kernels for v, is_written in touched(s) if not is_written}
            kept = {k for k in leaves(kernels) if any(self.find(v)[0] in read for v in k.written)}
            if len(kept) == sum(1 for _ in leaves(kernels)):
                return kernels
            kernels = _only(kernels, kept)


def touched(step: Kernel | Branch[Kernel, Value] | Repeat[Kernel, Value]) -> Iterator[tuple[Value, bool]]:
    """The values that a step reads, with False, and those that it writes, with True."""
    if isinstance(step, Kernel):
        yield from ((v, b in step.nest.written) for b, v in zip(step.nest.arguments, step.values, strict=True))
        return
    yield step.condition, False
    if isinstance(step, Repeat):
        yield step.trip, False
    for body in bodies(step):
        for s in body:
            yield from touched(s)


def _only(kernels: Kernels, kept: set[Kernel]) -> Kernels:
    return [*mapped(kernels, lambda k: [k] if k in kept else [], lambda v: v)]


def copy_kernel(x: Value, layout: Layout, y: Value, target: Target) -> Kernel:
    """y = x, row-major."""
    source_buffer = Buffer("x", x.dtype, layout.size)
    source = stored(x, source_buffer, layout)
    new = row_major(sizes(y))
    buffer = Buffer("y", y.dtype, new.size)
    nest = schedule(lower(buffer, new, lambda *i: source[i]), target.schedule)
    return Kernel(nest, tuple({source_buffer: x, buffer: y}[b] for b in nest.arguments))
