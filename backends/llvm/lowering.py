"""From nodes to kernels: first what layout each value has, then a nest for each output.

Layouts follow from the shapes of nests, not from ops: a contraction whose lanes do not run along the last axis of its
output stores that blocked by the vector width; what reads a blocked tensor index by index along the blocked axis is
blocked likewise; a tensor that a contraction reads beyond its ends has a halo of zeros. Everything else is row-major,
and reorders stand where a layout does not serve a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from graphc.expr import Boxes, Buffer, Element, Expr, Form, Joint, Load, Ordering, Source, bounded
from graphc.index import Index, Linear, linear
from graphc.ir import Node, Value
from graphc.loops import winograd
from graphc.loops.compose import contents, elements, immediate, sizes, stored
from graphc.loops.contract import contract
from graphc.loops.contraction import MAX_HALO, Contraction, Order, Read, lanes_of, match, meets, order, packed, tiling
from graphc.loops.layout import Layout, blocked, in_blocks, padded, row_major
from graphc.loops.lower import kernel, lower, lower_together, part, slice_at, zero_gaps, zero_halo
from graphc.loops.nest import Block, For, Nest, Store
from graphc.loops.schedule import schedule
from graphc.loops.winograd import PRODUCTS, Plan
from graphc.loops.winograd_nest import minimal_filtering
from graphc.ops.base import Constant
from graphc.traverse import walk
from graphc.types import Array, TensorType

from ..codegen.scalars import register_type
from ..codegen.target import Target
from .steps import Branch, Repeat

Halo = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A nest, the values that its arguments and its scratch hold, in order, and the node that it is for."""

    nest: Nest
    values: tuple[Value, ...]
    node: Node | None = None
    scratch: tuple[Value, ...] = ()


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
    constants: dict[Value, Array] = field(default_factory=dict)
    made: dict[Value, Callable[[Array, Array], None]] = field(default_factory=dict)
    scratch: set[Value] = field(default_factory=set)

    def pack(self, v: Value, out: Array) -> None:
        """Write the constant `v` into its memory."""
        write = self.made.get(v, self.layouts[v].pack)
        write(self.constants[v], out)

    def find(self, v: Value) -> tuple[Value, int]:
        """The value whose memory `v` is in, and where it begins there, in elements."""
        at = 0
        while v in self.shared:
            v, start = self.shared[v]
            at += start
        return v, at

    def layout(self, v: Value) -> Layout:
        return self.layouts.get(v) or row_major(sizes(v))


@dataclass(frozen=True, eq=False)
class _Part:
    """What is read for the elements of an output from `start` on along `axis`, which have `indices`."""

    axis: int
    start: int
    indices: list[Index]
    reads: list[Read]
    whole: Read | None  # where the part is one tensor as it is

    def plain(self, read: Read, split: tuple[int, int] | None) -> tuple[int, int] | None:
        """(axis of the output, block) if the tensor is blocked along an axis that is read index by index."""
        if split is None:
            return None
        at, block = split
        i = read.index[at]
        if len(i.terms) != 1 or i.constant % block:
            return None
        ((atom, c),) = i.terms.items()
        if c != 1 or atom not in self.indices:
            return None
        axis = self.indices.index(atom)
        return None if axis == self.axis and self.start % block else (axis, block)


@dataclass(eq=False)
class _Output:
    """What is known of one output before layouts are: its contraction, perhaps a faster way, or what its parts read."""

    contraction: Contraction | None
    parts: list[_Part]
    winograd: Plan | None = None

    def halos(self) -> list[tuple[Value, Halo]]:
        """The factors of the contraction, and the padding that they should have."""
        c = self.contraction
        assert c is not None
        found = [(r.tensor, c.halo(r, sizes(r.tensor), int(r.tensor.dtype.numpy.itemsize))) for r in (c.a, c.b)]
        if self.winograd is not None:
            found[0] = c.a.tensor, self.winograd.conv.halo(sizes(c.a.tensor))
        return found


def check(node: Node, target: Target) -> None:
    """Raise `CompileError` where `node` has no loop-level form; what shows only when code is written is not seen."""
    Lowering(node.outputs, target, winograd=False).analyse(node)


class Lowering:
    """Lowers nodes one by one, after all have been looked at.

    Args:
        outputs: those of the nodes' values that are read outside.
        target: the instruction set.
        threads: how many there will be; results do not depend on it.
        winograd: whether convolutions that can be are computed in fewer multiplications; None: where it is faster.

    Attributes:
        result: what has been made so far.
        kernels: where kernels go now: those of `result`, or of a body.
    """

    def __init__(
        self, outputs: Sequence[Value], target: Target, threads: int = 1, winograd: bool | None = None
    ) -> None:
        self.threads, self.winograd = threads, winograd
        self.outputs = set(outputs)
        self.target, self.machine = target, target.schedule
        self.result = Lowered()
        self.kernels = self.result.kernels
        self.homes: dict[Value, Kernels] = {}  # where the kernel is that makes a value; not those given from outside
        self.found: dict[Value, _Output] = {}
        self.halos: dict[Value, Halo] = {}
        self.copies: dict[tuple[Value, Layout], Value] = {}

    def lower(self, node: Node) -> None:
        """Add the kernels of `node`."""
        for v in node.outputs:
            self.result.layouts[v] = self._choose(v)
            self.homes[v] = self.kernels
        self._build(node)

    def move(self, x: Value, y: Value) -> None:
        """y = x, in memory of its own, row-major."""
        x = self.hold(x)
        self.kernels.append(copy_kernel(x, self.result.layout(x), y, self.target))

    def move_slice(self, x: Value, y: Value, axis: int, number: Value, *, reverse: bool) -> None:
        """y[…, i, …] = x, where i along `axis` is the number, or counts from the end; the rest of `y` stays."""
        names: dict[Buffer, Value] = {}
        source, at = (self._source(v, self.result.layout(v), names) for v in (x, number))
        buffer = Buffer("y", y.dtype, row_major(sizes(y)).size)
        last = sizes(y)[axis] - 1
        place = bounded(at[()], 0, last)
        nest = slice_at(buffer, row_major(sizes(y)), axis, last - place if reverse else place, lambda *i: source[i])
        self._add(schedule(nest, self.machine), {**names, buffer: y}, None)

    # -- what there is ------------------------------------------------------------------------------------------------
    def analyse(self, node: Node) -> None:
        """Find out what `node` reads and how. Raises `CompileError` where it has no loop-level form.

        What shows only when code is written is not seen.
        """
        reads: dict[Load, Read] = {}
        given = {x: self._recorded(x, reads) for x in dict.fromkeys(node.inputs) if x is not None}
        for v, element in zip(node.outputs, self._elements(node, given, {}), strict=True):
            register_type(v.dtype)
            shape = sizes(v)
            if 0 in shape or isinstance(element, Joint):
                self.found[v] = _Output(None, [])
                continue
            if isinstance(element, Boxes):
                parts = zip(element.starts, element.sizes, element.parts, strict=True)
                found = [self._part(e, shape, reads, element.axis, start, n) for start, n, e in parts if n]
                self.found[v] = _Output(None, found)
                continue
            contraction = match(element, shape, reads, lambda x: contents(x) is not None, self.machine)
            if contraction is not None and self._takes(contraction):
                self.found[v] = _Output(contraction, [], self._winograd(contraction))
                self._demand(self.found[v])
            else:
                self.found[v] = _Output(None, [self._part(element, shape, reads, 0, 0, None)])

    def _part(
        self, element: Element, shape: Sequence[int], reads: dict[Load, Read], axis: int, start: int, size: int | None
    ) -> _Part:
        sizes = list(shape)
        if size is not None:
            sizes[axis] = size
        indices = [Index(f"o{k}", n) for k, n in enumerate(sizes)]
        logical = [linear(i) if i.extent != 1 else linear(0) for i in indices]
        expr = element(*logical)
        whole = reads.get(expr) if isinstance(expr, Load) else None
        if whole is not None and list(whole.index) != logical:
            whole = None
        found = [reads[e] for e in walk(expr) if isinstance(e, Load) and e in reads]
        return _Part(axis, start, indices, found, whole)

    def _recorded(self, x: Value, reads: dict[Load, Read]) -> Source:
        """`x`, row-major; what is read of it is noted down."""
        register_type(x.dtype)
        if is_number(x):
            return immediate(x)
        layout = row_major(sizes(x))
        buffer = Buffer("x", x.dtype, layout.size)

        def at(index: tuple[Linear, ...]) -> Expr:
            load = Load(buffer, layout.offset(index))
            reads[load] = Read(x, index)
            return load

        return Source(x.dtype, layout.shape, at, contents(x), flat=lambda position: Load(buffer, position))

    def _elements(self, node: Node, given: dict[Value, Source], names: dict[Buffer, Value]) -> tuple[Form, ...]:
        """The elements of a node's outputs; constants inside of it get buffers, which are added to `names`."""
        inside: dict[Value, Source] = {}

        def constant(x: Value) -> Source:
            if x not in inside:
                inside[x] = self._source(x, row_major(sizes(x)), names)
            return inside[x]

        return elements(node.op, node.outputs, [None if x is None else given[x] for x in node.inputs], constant)

    def _takes(self, c: Contraction) -> bool:
        """True if the contraction can be built: halos that are not large."""
        return all(max(h) <= MAX_HALO for r in (c.a, c.b) for h in c.reach(r, sizes(r.tensor)))

    def _lanes(self, c: Contraction) -> int:
        return lanes_of(c.a, c.b, self.machine)

    def _winograd(self, c: Contraction) -> Plan | None:
        """How the contraction takes fewer multiplications, where that is faster."""
        conv = winograd.find(c) if self.winograd is not False else None
        if conv is None or contents(c.b.tensor) is None or max(map(max, conv.halo(sizes(c.a.tensor)))) > MAX_HALO:
            return None
        lanes = self._lanes(c)
        # The bits of the result differ between the two ways, so the choice is one for any number of threads.
        if self.winograd or winograd.is_faster(winograd.plan(conv, lanes, self.machine, 1), self.machine):
            return winograd.plan(conv, lanes, self.machine, self.threads)
        return None

    def _demand(self, found: _Output) -> None:
        for x, need in found.halos():
            have = self.halos.get(x, need)
            self.halos[x] = tuple((max(a[0], b[0]), max(a[1], b[1])) for a, b in zip(have, need, strict=True))

    # -- layouts ------------------------------------------------------------------------------------------------------
    def _choose(self, v: Value) -> Layout:
        shape, found = sizes(v), self.found[v]
        halo = self.halos.get(v, ((0, 0),) * len(shape))
        c = found.contraction
        axis = None
        if c is not None and c.lane_axis != len(shape) - 1:
            axis, block = c.lane_axis, self._lanes(c)
        elif c is None:
            chosen = self._follow(found) or self._windowed(found, shape, v)
            if chosen is not None:
                axis, block = chosen
        if axis is not None and halo[axis] == (0, 0):
            return blocked(shape, axis, block, halo)
        return padded(shape, halo)

    def _follow(self, found: _Output) -> tuple[int, int] | None:
        """(axis, block) of the blocked tensors that are read, if all are read index by index along the blocked axis."""
        places = set()
        for p in found.parts:
            for read in p.reads:
                split = self._blocked(read.tensor)
                if split is not None:
                    places.add(p.plain(read, split))
        return places.pop() if len(places) == 1 else None

    def _domain(self, found: _Output, layout: Layout) -> Layout | None:
        """How to run over an output that is row-major only because nothing lies between its blocks."""
        split = self._follow(found)
        if split is None or not layout.is_row_major or layout.shape[split[0]] % split[1]:
            return None
        return in_blocks(layout.shape, *split, layout.halo)

    def _windowed(self, found: _Output, shape: Sequence[int], v: Value) -> tuple[int, int] | None:
        """(1, block) for what reads windows of images, channel by channel: lanes along rows would be strided."""
        block = self._lanes_of(v)
        if len(shape) < 3 or -shape[1] % block > shape[1] // 4 or len(found.parts) != 1:
            return None
        (only,) = found.parts
        images = [r for r in only.reads if len(r.index) == len(shape)]
        channel = linear(only.indices[1])
        well = bool(images) and all(r.index[1] == channel for r in images)
        return (1, block) if well and any(len(r.index[-1].terms) > 1 for r in images) else None

    def _blocked(self, x: Value) -> tuple[int, int] | None:
        layout = self.result.layouts.get(x)
        for p in layout.parts if layout is not None else ():
            if p.step > 1:
                return p.axis, p.step
        return None

    def _in(self, x: Value, ok: Callable[[Layout], bool], wanted: Callable[[], Layout]) -> Value:
        """`x`, or a copy of it in the layout that is wanted, where its own does not serve."""
        layout = self.result.layout(x)
        if ok(layout):
            return x
        new = wanted()
        if (x, new) not in self.copies:
            copy = Value(x.type, name=x.name)
            self.copies[x, new] = copy
            self.result.layouts[copy] = new
            array = contents(x)
            if array is not None:
                self.result.constants[copy] = array
            else:
                names: dict[Buffer, Value] = {}
                source = self._source(x, layout, names)
                buffer = Buffer("y", x.dtype, new.size)
                nest = lower(buffer, new, lambda *i: source[i])
                nest = schedule(kernel(buffer, (*nest.body, *zero_gaps(buffer, new))), self.machine)
                # Beside `x`: all that can read `x` finds the copy, and it is not made again in each trip of a loop.
                self._add(nest, {**names, buffer: copy}, None, self.homes.get(x, self.result.kernels))
        return self.copies[x, new]

    # -- kernels ------------------------------------------------------------------------------------------------------
    def _source(self, x: Value, layout: Layout, names: dict[Buffer, Value]) -> Source:
        if is_number(x):
            return immediate(x)
        buffer = Buffer(f"x{len(names)}", x.dtype, layout.size)
        names[buffer] = x
        return stored(x, buffer, layout)

    def hold(self, x: Value) -> Value:
        """`x`, which is read; a constant has memory from now on."""
        array = contents(x)
        if array is not None and x not in self.result.constants:
            self.result.constants[x] = array
            self.result.layouts.setdefault(x, row_major(array.shape))
        return x

    def _add(self, nest: Nest, names: dict[Buffer, Value], node: Node | None, kernels: Kernels | None = None) -> None:
        scratch = tuple(Value(TensorType(b.dtype, (b.size,)), name=b.name) for b in nest.scratch)
        self.result.scratch.update(scratch)
        kernels = self.kernels if kernels is None else kernels
        kernels.append(Kernel(nest, tuple(self.hold(names[b]) for b in nest.arguments), node, scratch))

    def _build(self, node: Node) -> None:
        for number, v in enumerate(node.outputs):
            found, layout = self.found[v], self.result.layouts[v]
            c = found.contraction
            if found.winograd is not None:
                self._filter(node, number, v, found.winograd)
                continue
            if c is not None:
                self._contract(node, number, v, c, layout)
                continue
            given: dict[Value, Source] = {}
            names: dict[Buffer, Value] = {}
            for x in dict.fromkeys(node.inputs):
                if x is not None:
                    held = self._in(x, self._serves(x, v, found), partial(self._wanted, x, v))
                    given[x] = self._source(held, self.result.layout(held), names)
            element = self._elements(node, given, names)[number]
            if isinstance(element, Ordering):
                self._order(node, element, names)
                return
            buffer = Buffer("y", v.dtype, layout.size)
            if isinstance(element, Boxes) and found.parts:
                self._boxes(node, v, element, buffer, names)
                continue
            nest = lower(buffer, layout, element, self._domain(found, layout))
            shared = copied(nest)
            if shared is not None:
                self.result.shared[v] = self.hold(names[shared[0]]), shared[1]
            else:
                self._add(schedule(nest, self.machine), {**names, buffer: v}, node)

    def _order(self, node: Node, form: Ordering, names: dict[Buffer, Value]) -> None:
        """All outputs by one kernel."""
        made = {Buffer(f"y{k}", v.dtype, self.result.layouts[v].size): v for k, v in enumerate(node.outputs)}
        nest = lower_together([(buffer, self.result.layouts[v]) for buffer, v in made.items()], form)
        self._add(schedule(nest, self.machine), {**names, **made}, node)

    def _boxes(self, node: Node, v: Value, boxes: Boxes, buffer: Buffer, names: dict[Buffer, Value]) -> None:
        """What is a tensor of its own is computed where it belongs in `v`; the other parts are written there."""
        layout = self.result.layouts[v]
        parts = {p.start: p for p in self.found[v].parts}
        body: Block = ()
        for k, (start, n) in enumerate(zip(boxes.starts, boxes.sizes, strict=True)):
            if not n:
                continue
            inside = self._within(parts[start], layout)
            if inside is None:
                body += part(buffer, layout, boxes, k)
            else:
                self.result.shared[inside[0]] = v, inside[1]
        body += zero_halo(buffer, layout)
        if body:
            self._add(schedule(kernel(buffer, body), self.machine), {**names, buffer: v}, node)

    def _within(self, p: _Part, layout: Layout) -> tuple[Value, int] | None:
        """The tensor that is this part, and where it would begin in memory of `layout`; None if it cannot lie in it."""
        if p.whole is None:
            return None
        x = p.whole.tensor
        if x not in self.found or x in self.outputs or x in self.result.shared:
            return None
        own = self.result.layouts[x]
        split = self._blocked(x)
        if own.has_halo or (split is not None and own.shape[split[0]] % split[1]):
            return None
        index = [linear(i) if i.extent != 1 else linear(0) for i in p.indices]
        moved = [i + p.start if axis == p.axis else i for axis, i in enumerate(index)]
        at = (layout.offset(moved) - own.offset(index)).number
        return None if at is None else (x, at)

    def _serves(self, x: Value, v: Value, found: _Output) -> Callable[[Layout], bool]:
        """A tensor is blocked like what is computed of it, where that reads windows; or at all, only if it may be."""
        split = self._blocked(x)
        reads = [(p, r) for p in found.parts for r in p.reads if r.tensor is x]
        well = bool(reads) and all(p.plain(r, split) is not None for p, r in reads)
        if (
            split is None
            and self._windowed(found, sizes(v), v) is not None
            and self._blocked(v) == (1, self._lanes_of(v))
        ):
            return lambda layout: len(layout.shape) != len(sizes(v))
        return lambda layout: split is None or well

    def _lanes_of(self, v: Value) -> int:
        return self.machine.vector_bytes // max(int(v.dtype.numpy.itemsize), 4)

    def _wanted(self, x: Value, v: Value) -> Layout:
        """Row-major, or blocked like `v`, for a copy of `x`."""
        split = self._blocked(v)
        return row_major(sizes(x)) if self._blocked(x) is not None or split is None else blocked(sizes(x), *split)

    def _contract(self, node: Node, number: int, v: Value, c: Contraction, layout: Layout) -> None:
        lanes = self._lanes(c)
        tiles = tiling(c, lanes, self.machine)
        names: dict[Buffer, Value] = {}
        a, b = self._left(self.found[v], lanes), c.b.tensor
        sums = order(c, self.result.layout(a))
        shape = sizes(b)
        fixed = contents(b) is not None
        rows = c.along_rows
        b = self._in(
            b,
            lambda own: not fixed and c.in_rows(own) and (rows or not meets(c, own, sums)),
            lambda: padded(shape, c.reach(c.b, shape)) if rows else packed(c, shape, tiles.vectors * lanes, sums),
        )
        is_packed = b is not c.b.tensor and not rows
        given = {x: self._source(x, self.result.layout(x), names) for x in dict.fromkeys(node.inputs) if x is not None}
        given[c.a.tensor] = self._source(a, self.result.layout(a), names)
        if c.a.tensor is not c.b.tensor:
            given[c.b.tensor] = self._source(b, self.result.layout(b), names)
        element = self._elements(node, given, names)[number]
        assert not isinstance(element, Joint)
        buffer = Buffer("y", v.dtype, layout.size)
        body = contract(
            c, element, buffer, layout, tiles,
            lanes=lanes, padded=is_packed, whole=self._whole(node, c, layout), sums=sums, machine=self.machine,
        )  # fmt: skip
        body += schedule(kernel(buffer, zero_halo(buffer, layout)), self.machine).body
        self._add(kernel(buffer, body), {**names, buffer: v}, node)

    def _filter(self, node: Node, number: int, v: Value, plan: Plan) -> None:
        """The output by Winograd's minimal filtering."""
        layout = self.result.layouts[v]
        names: dict[Buffer, Value] = {}
        a = self._left(self.found[v], plan.lanes)
        sums = order(plan.products, plan.inputs)
        b = self._transformed(plan, sums)
        weights = self._source(b, self.result.layout(b), names)
        given = {x: self._source(x, self.result.layout(x), names) for x in dict.fromkeys(node.inputs) if x is not None}
        images = given[plan.conv.c.a.tensor] = self._source(a, self.result.layout(a), names)
        element = self._elements(node, given, names)[number]
        assert not isinstance(element, Joint)
        buffer = Buffer("y", v.dtype, layout.size)
        body = minimal_filtering(plan, element, images, weights, buffer, layout, sums, self.machine)
        body += schedule(kernel(buffer, zero_halo(buffer, layout)), self.machine).body
        self._add(kernel(buffer, body), {**names, buffer: v}, node)

    def _transformed(self, plan: Plan, sums: Order) -> Value:
        """The weights as Winograd's products read them."""
        w: Value = plan.conv.c.b.tensor
        shape = (PRODUCTS, plan.conv.channels, plan.conv.maps)
        layout = packed(plan.products, shape, plan.tiling.vectors * plan.lanes, sums)
        if (w, layout) not in self.copies:
            array = contents(w)
            assert array is not None
            new = self.copies[w, layout] = Value(TensorType(w.dtype, shape), name=w.name)
            self.result.layouts[new], self.result.constants[new] = layout, array
            self.result.made[new] = partial(plan.conv.transform, layout)
        return self.copies[w, layout]

    def _whole(self, node: Node, c: Contraction, layout: Layout) -> bool:
        """True if lanes beyond the output's end have memory, there and in what is read beside the factors."""
        others = [x for x in node.inputs if x is not None and x not in (c.a.tensor, c.b.tensor)]
        return any(p.step > 1 for p in layout.parts) and all(
            contents(x) is not None or self._blocked(x) is not None for x in others
        )

    def _left(self, found: _Output, lanes: int) -> Value:
        """The factor whose elements are spread, or read lane by lane, in a layout that serves."""
        c, (_, need) = found.contraction, found.halos()[0]
        assert c is not None
        x: Value = c.a.tensor
        shape, itemsize = sizes(x), int(x.dtype.numpy.itemsize)
        lane = c.indices[c.lanes]

        def wanted() -> Layout:
            for axis, (i, n) in enumerate(zip(c.a.index, shape, strict=True)):
                sums = [t for t in i.terms if t in c.axes]
                if c.spread and len(i.terms) == 1 and len(sums) == 1 and n % lanes == 0 and axis < len(shape) - 1:
                    return blocked(shape, axis, lanes, need)
                if not c.spread and lane in i.terms:
                    return blocked(shape, axis, lanes, need)
            return padded(shape, need)

        def ok(layout: Layout) -> bool:
            wide = all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(need, layout.halo, strict=True))
            return (
                (wide or found.winograd is None)
                and c.fits(layout, itemsize)
                and (c.spread or layout.offset(c.a.index).terms.get(lane, 0) == 1 or _splits(layout, c))
            )

        return self._in(x, ok, wanted)


def _splits(layout: Layout, c: Contraction) -> bool:
    """True if lanes of a blocked factor are neighbours."""
    lane = c.indices[c.lanes]
    axis = next(k for k, i in enumerate(c.a.index) if lane in i.terms)
    return any(p.axis == axis and p.step > 1 for p in layout.parts)


def is_number(x: Value) -> bool:
    """True for a constant of one element: it is written into the code."""
    return x.node is not None and isinstance(x.node.op, Constant) and x.node.op.value.size == 1


def copied(nest: Nest) -> tuple[Buffer, int] | None:
    """The input that `nest` copies as it is, and where in it the copy begins, if it does nothing else."""
    body = nest.body
    while len(body) == 1 and isinstance(body[0], For):
        body = body[0].body
    if len(body) != 1 or not isinstance(store := body[0], Store) or not isinstance(read := store.value, Load):
        return None
    at = (read.offset - store.offset).number
    return None if at is None or read.buffer.dtype is not store.buffer.dtype else (read.buffer, at)


def copy_kernel(x: Value, layout: Layout, y: Value, target: Target) -> Kernel:
    """y = x, row-major."""
    source_buffer = Buffer("x", x.dtype, layout.size)
    source = stored(x, source_buffer, layout)
    new = row_major(sizes(y))
    buffer = Buffer("y", y.dtype, new.size)
    nest = schedule(lower(buffer, new, lambda *i: source[i]), target.schedule)
    return Kernel(nest, tuple({source_buffer: x, buffer: y}[b] for b in nest.arguments))
