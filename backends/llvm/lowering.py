"""From nodes to kernels: what each output reads, then a layout and a nest for each; reorders where layouts differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from graphc.expr import Boxes, Buffer, Element, Expr, Form, Joint, Load, Ordering, Source, bounded
from graphc.index import Index, Linear, linear
from graphc.ir import Node, Value
from graphc.loops import winograd
from graphc.loops.compose import computed, elements, immediate, known, looked_at, sizes, stored
from graphc.loops.contract import Result, contract
from graphc.loops.contraction import (
    MAX_HALO,
    Contraction,
    Read,
    find_sum,
    lanes_of,
    match,
    order,
    packed,
    tiling,
)
from graphc.loops.layout import Layout, row_major
from graphc.loops.lower import kernel, lower, lower_together, part, slice_at, zero_gaps, zero_halo
from graphc.loops.nest import Block, For, Nest, Store
from graphc.loops.schedule import is_vectorized, schedule
from graphc.loops.winograd import PRODUCTS, Plan, Winograd
from graphc.loops.winograd_nest import minimal_filtering
from graphc.ops.base import Constant, const
from graphc.ops.fused import Fused
from graphc.traverse import walk
from graphc.types import TensorType

from ..codegen.scalars import register_type
from ..codegen.target import Target
from .kernels import Kernel, Kernels, Lowered, copy_kernel
from .layouts import Halo, Layouts, Output, Part


def check(node: Node, target: Target) -> None:
    """Raise `CompileError` where `node` has no loop-level form; what shows only when code is written is not seen."""
    Lowering(node.outputs, target, winograd=False).analyse(node)


@dataclass(frozen=True)
class Copy:
    """What a copy is of: a tensor lying as `layout`; or its transform for Winograd's minimal `filtering`, lying so."""

    tensor: Value
    layout: Layout
    filtering: Winograd | None = field(default=None, compare=False)


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
        self.layouts = Layouts(self.machine, self.result.layout)
        self.kernels = self.result.kernels
        self.homes: dict[Value, Kernels] = {}  # where the kernel is that makes a value; not those given from outside
        self.found: dict[Value, Output] = {}
        self.joint: set[Node] = set()  # the outputs are made together
        self.recorded: dict[Buffer, Value] = {}  # the inputs of the node that is looked at
        self.halos: dict[Value, Halo] = {}
        self.copies: dict[Copy, Value] = {}
        self.copied: dict[Value, Copy] = {}  # the other way round

    def lower(self, node: Node) -> None:
        """Add the kernels of `node`."""
        for v in node.outputs:
            halo = self.halos.get(v, ((0, 0),) * len(sizes(v)))
            self.result.layouts[v] = self.layouts.written(v, self.found[v], halo)
            self.homes[v] = self.kernels
        self.build(node)

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
        self.add(schedule(nest, self.machine), {**names, buffer: y}, None)

    # -- what there is ------------------------------------------------------------------------------------------------
    def analyse(self, node: Node) -> None:
        """Find out what `node` reads and how. Raises `CompileError` where it has no loop-level form.

        What shows only when code is written is not seen.
        """
        reads: dict[Load, Read] = {}
        self.recorded.clear()
        given = {x: self._recorded(x, reads) for x in dict.fromkeys(node.inputs) if x is not None}
        made = self._elements(node, given, {})
        self.found.update((v, self._look(form, v, reads)) for v, form in zip(node.outputs, made, strict=True))
        first, *others = node.outputs
        ordered = any(isinstance(e, Ordering) for e in made)
        summed = all(self.found[v].contraction for v in node.outputs)
        if others and (ordered or (summed and _have_one_sum(made, sizes(first)))):
            self.joint.add(node)
        elif isinstance(node.op, Fused):
            before = {first: self._recorded(first, reads)}
            for v in others:
                form = self._elements(node, given, {}, before)[node.outputs.index(v)]
                self.found[v] = self._look(form, v, reads)
                before[v] = self._recorded(v, reads)
        for v in node.outputs:
            if self.found[v].contraction is not None:
                self.demand(self.found[v])

    def _look(self, form: Form, v: Value, reads: dict[Load, Read]) -> Output:
        register_type(v.dtype)
        shape = sizes(v)
        if 0 in shape or isinstance(form, Joint):
            return Output(None, [])
        if isinstance(form, Boxes):
            parts = zip(form.starts, form.sizes, form.parts, strict=True)
            return Output(None, [self._part(e, shape, reads, form.axis, start, n) for start, n, e in parts if n])
        contraction = match(form, shape, reads, lambda x: known(x) is not None, self.machine)
        if contraction is not None and self._takes(contraction):
            return Output(contraction, [], self._winograd(contraction))
        return Output(None, [self._part(form, shape, reads, 0, 0, None)])

    def _part(
        self, element: Element, shape: Sequence[int], reads: dict[Load, Read], axis: int, start: int, size: int | None
    ) -> Part:
        sizes = list(shape)
        if size is not None:
            sizes[axis] = size
        indices = [Index(f"o{k}", n) for k, n in enumerate(sizes)]
        logical = [linear(i) if i.extent != 1 else linear(0) for i in indices]
        expr = element(*logical)
        whole = reads.get(expr) if isinstance(expr, Load) else None
        if whole is not None and list(whole.index) != logical:
            whole = None
        moved = self.recorded.get(expr.buffer) if isinstance(expr, Load) and not expr.offset.data else None
        found = [reads[e] for e in walk(expr) if isinstance(e, Load) and e in reads]
        return Part(axis, start, indices, found, whole, moved)

    def _recorded(self, x: Value, reads: dict[Load, Read]) -> Source:
        """`x`, row-major; what is read of it is noted down."""
        register_type(x.dtype)
        if is_number(x):
            return immediate(x)
        layout = row_major(sizes(x))
        buffer = Buffer("x", x.dtype, layout.size)
        self.recorded[buffer] = x

        def at(index: tuple[Linear, ...]) -> Expr:
            load = Load(buffer, layout.offset(index))
            reads[load] = Read(x, index)
            return load

        return Source(x.dtype, layout.shape, at, looked_at(x), flat=lambda position: Load(buffer, position))

    def _elements(
        self,
        node: Node,
        given: dict[Value, Source],
        names: dict[Buffer, Value],
        before: Mapping[Value, Source] | None = None,
    ) -> tuple[Form, ...]:
        """The elements of a node's outputs; constants inside of it get buffers, which are added to `names`.

        What is made of outputs that are there `before` reads them.
        """
        inside: dict[Value, Source] = {}

        def constant(x: Value) -> Source:
            if x not in inside:
                inside[x] = self._source(x, row_major(sizes(x)), names)
            return inside[x]

        xs = [None if x is None else given[x] for x in node.inputs]
        return elements(node.op, node.outputs, xs, constant, before)

    def _before(self, node: Node, number: int, names: dict[Buffer, Value]) -> dict[Value, Source]:
        """The outputs of `node` before this one, where they lie."""
        return {y: self._source(y, self.result.layout(y), names) for y in node.outputs[:number]}

    def _takes(self, c: Contraction) -> bool:
        """True if the contraction can be built: halos that are not large."""
        return all(max(h) <= MAX_HALO for r in (c.a, c.b) for h in c.reach(r, sizes(r.tensor)))

    def _winograd(self, c: Contraction) -> Plan | None:
        """How the contraction takes fewer multiplications, where that is faster."""
        conv = winograd.find(c) if self.winograd is not False else None
        if conv is None or max(map(max, conv.halo(sizes(c.a.tensor)))) > MAX_HALO:
            return None
        fixed = known(c.b.tensor) is not None
        lanes = lanes_of(c.a, c.b, self.machine)
        # The bits of the result differ between the two ways, so the choice is one for any number of threads.
        plans = winograd.plans(conv, lanes, self.machine)
        if self.winograd or winograd.is_faster(winograd.best(plans, self.machine, 1), self.machine, fixed=fixed):
            return winograd.best(plans, self.machine, self.threads)
        return None

    def demand(self, found: Output) -> None:
        """What is read beyond the ends of its inputs has to be there."""
        for x, need in found.halos():
            have = self.halos.get(x, need)
            self.halos[x] = tuple((max(a[0], b[0]), max(a[1], b[1])) for a, b in zip(have, need, strict=True))

    # -- kernels ------------------------------------------------------------------------------------------------------
    def take(self, copy: Copy) -> Value:
        """The value that is this copy, made where it is first taken."""
        if copy not in self.copies:
            x = copy.tensor
            v = self.copies[copy] = Value(TensorType(x.dtype, copy.layout.shape), name=x.name)
            self.copied[v] = copy
            self.result.layouts[v] = copy.layout
            constant = known(x)
            if constant is not None:
                self.result.constants[v] = constant
                if copy.filtering is not None:
                    self.result.made[v] = partial(copy.filtering.transform, copy.layout)
            elif copy.filtering is not None:
                self._transform(v, x, copy.filtering)
            else:
                self._rearrange(x, v)
        return self.copies[copy]

    def _in(self, x: Value, layout: Layout) -> Value:
        """`x`, or a copy of it, lying as `layout`."""
        return x if self.result.layout(x) == layout else self.take(Copy(x, layout))

    def _transform(self, v: Value, w: Value, filtering: Winograd) -> None:
        """The kernel for the transform `v` of the weights `w`."""
        names: dict[Buffer, Value] = {}
        source, table = (self._source(x, self.result.layout(x), names) for x in (w, const(winograd.transform())))
        nest = self._filling(v, computed(v, filtering.transformed(source, table)))
        self._copy(v, nest, names, w)

    def _rearrange(self, x: Value, copy: Value) -> None:
        """The kernel for a copy of `x`, or of what `x` is a rearrangement of, where vectors can do that."""
        direct = self._direct(x, lambda source: self._filling(copy, source))
        if direct is not None:
            self._copy(copy, *direct, x)
            return
        names: dict[Buffer, Value] = {}
        nest = self._filling(copy, self._source(x, self.result.layout(x), names))
        self._copy(copy, nest, names, x)

    def _direct(self, x: Value, nest_of: Callable[[Source], Nest]) -> tuple[Nest, dict[Buffer, Value]] | None:
        """The nest for `x` that reads what it is a rearrangement of, if it is one, and vectors can do that."""
        if self._moved(x) is None:
            return None
        names: dict[Buffer, Value] = {}
        nest = nest_of(self._origin(x, names))
        return (nest, names) if is_vectorized(nest) else None

    def _moved(self, x: Value) -> Value | None:
        """What `x` is a rearrangement of, if it is one."""
        parts = self.found[x].parts if x in self.found else []
        return parts[0].moved if len(parts) == 1 else None

    def _origin(self, x: Value, names: dict[Buffer, Value]) -> Source:
        """`x`, read where that lies of which it is a rearrangement."""
        moved, node = self._moved(x), x.node
        if moved is None or node is None:
            return self._source(x, self.result.layout(x), names)
        given = {
            y: self._origin(y, names) if y is moved else self._source(y, self.result.layout(y), names)
            for y in dict.fromkeys(node.inputs)
            if y is not None
        }
        return computed(x, self._elements(node, given, names)[node.outputs.index(x)])

    def _filling(self, v: Value, source: Source) -> Nest:
        """The nest that stores `source` as `v`, with zeros where its memory is not used."""
        layout = self.result.layouts[v]
        buffer = Buffer("y", v.dtype, layout.size)
        nest = lower(buffer, layout, lambda *i: source[i])
        return schedule(kernel(buffer, (*nest.body, *zero_gaps(buffer, layout))), self.machine)

    def _copy(self, copy: Value, nest: Nest, names: dict[Buffer, Value], x: Value) -> None:
        """Add the kernel for `copy`, which is made of `x` alone.

        It stands beside `x`: all that can read `x` finds the copy, and it is not made again in each trip of a loop.
        """
        (buffer,) = nest.written
        self.add(nest, {**names, buffer: copy}, None, self.homes.get(x, self.result.kernels))

    def _source(self, x: Value, layout: Layout, names: dict[Buffer, Value]) -> Source:
        if is_number(x):
            return immediate(x)
        buffer = Buffer(f"x{len(names)}", x.dtype, layout.size)
        names[buffer] = x
        return stored(x, buffer, layout)

    def hold(self, x: Value) -> Value:
        """`x`, which is read; a constant has memory from now on."""
        constant = known(x)
        if constant is not None and x not in self.result.constants:
            self.result.constants[x] = constant
            self.result.layouts.setdefault(x, row_major(constant.shape))
        return x

    def add(self, nest: Nest, names: dict[Buffer, Value], node: Node | None, kernels: Kernels | None = None) -> None:
        """A kernel for `node`; `names` has the value that each argument holds."""
        scratch = tuple(Value(TensorType(b.dtype, (b.size,)), name=b.name) for b in nest.scratch)
        self.result.scratch.update(scratch)
        kernels = self.kernels if kernels is None else kernels
        kernels.append(Kernel(nest, tuple(self.hold(names[b]) for b in nest.arguments), node, scratch))

    def build(self, node: Node) -> None:
        """A kernel for each output, or one for those that are made together."""
        for outputs in [node.outputs] if node in self.joint else [(v,) for v in node.outputs]:
            found = self.found[outputs[0]]
            if found.winograd is not None:
                self._filter(node, outputs, found.winograd)
            elif found.contraction is not None:
                self._contract(node, outputs, found.contraction)
            else:
                self._map(node, outputs[0])

    def _map(self, node: Node, v: Value) -> None:
        found, layout = self.found[v], self.result.layouts[v]
        given: dict[Value, Source] = {}
        names: dict[Buffer, Value] = {}
        for x in dict.fromkeys(node.inputs):
            if x is not None:
                held = self._in(x, self.layouts.read(x, v, found))
                given[x] = self._source(held, self.result.layout(held), names)
        number = node.outputs.index(v)
        element = self._elements(node, given, names, self._before(node, number, names))[number]
        if isinstance(element, Ordering):
            self._order(node, element, names)
            return
        buffer = Buffer("y", v.dtype, layout.size)
        if isinstance(element, Boxes) and found.parts:
            self._boxes(node, v, element, buffer, names)
            return
        nest = lower(buffer, layout, element, self.layouts.domain(found, layout))
        shared = copied(nest)
        if shared is not None:
            self.result.shared[v] = self.hold(names[shared[0]]), shared[1]
            return
        direct = None
        if self.is_chain(v):
            direct = self._direct(v, lambda x: schedule(lower(buffer, layout, lambda *i: x[i]), self.machine))
        nest, names = direct or (schedule(nest, self.machine), names)
        self.add(nest, {**names, buffer: v}, node)

    def is_chain(self, v: Value) -> bool:
        """Whether `v` is a rearrangement of one: it may be read where that lies of which the first one is made."""
        moved = self._moved(v)
        return moved is not None and self._moved(moved) is not None

    def _order(self, node: Node, form: Ordering, names: dict[Buffer, Value]) -> None:
        """All outputs by one kernel."""
        made = {Buffer(f"y{k}", v.dtype, self.result.layouts[v].size): v for k, v in enumerate(node.outputs)}
        nest = lower_together([(buffer, self.result.layouts[v]) for buffer, v in made.items()], form)
        self.add(schedule(nest, self.machine), {**names, **made}, node)

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
            self.add(schedule(kernel(buffer, body), self.machine), {**names, buffer: v}, node)

    def _within(self, p: Part, layout: Layout) -> tuple[Value, int] | None:
        """The tensor that is this part, and where it would begin in memory of `layout`; None if it cannot lie in it."""
        if p.whole is None:
            return None
        x = p.whole.tensor
        if x not in self.found or x in self.outputs or x in self.result.shared:
            return None
        own = self.result.layouts[x]
        split = self.layouts.split(x)
        if own.has_halo or (split is not None and own.shape[split[0]] % split[1]):
            return None
        index = [linear(i) if i.extent != 1 else linear(0) for i in p.indices]
        moved = [i + p.start if axis == p.axis else i for axis, i in enumerate(index)]
        at = (layout.offset(moved) - own.offset(index)).number
        return None if at is None else (x, at)

    def _contract(self, node: Node, outputs: Sequence[Value], c: Contraction) -> None:
        v = outputs[0]
        lanes = lanes_of(c.a, c.b, self.machine)
        tiles = tiling(c, lanes, self.machine)
        names: dict[Buffer, Value] = {}
        a = self._in(c.a.tensor, self.layouts.spread(self.found[v], lanes))
        sums = order(c, self.result.layout(a))
        b = self._in(c.b.tensor, self.layouts.lanes(c, tiles, lanes, sums))
        is_packed = b is not c.b.tensor and not c.along_rows
        given = self._beside(node, v, (c.a.tensor, c.b.tensor), names)
        given[c.a.tensor] = self._source(a, self.result.layout(a), names)
        if c.a.tensor is not c.b.tensor:
            given[c.b.tensor] = self._source(b, self.result.layout(b), names)
        results = self._results(node, outputs, given, names)
        whole = all(self.layouts.covers_gaps(c, r.layout, node.inputs) for r in results)
        body = contract(
            c, results, tiles,
            lanes=lanes, padded=is_packed, whole=whole, sums=sums, machine=self.machine,
        )  # fmt: skip
        self._add_results(node, results, body, names)

    def _filter(self, node: Node, outputs: Sequence[Value], plan: Plan) -> None:
        """The outputs by Winograd's minimal filtering."""
        v, c = outputs[0], plan.conv.c
        names: dict[Buffer, Value] = {}
        a = self._in(c.a.tensor, self.layouts.spread(self.found[v], plan.lanes))
        sums = order(plan.products, plan.inputs)
        shape = (PRODUCTS, plan.conv.channels, plan.conv.maps)
        layout = packed(plan.products, shape, plan.tiling.vectors * plan.lanes, sums)
        b = self.take(Copy(c.b.tensor, layout, plan.conv))
        weights = self._source(b, self.result.layout(b), names)
        given = self._beside(node, v, (c.a.tensor, c.b.tensor), names)
        images = given[c.a.tensor] = self._source(a, self.result.layout(a), names)
        results = self._results(node, outputs, given, names)
        body = minimal_filtering(plan, results, images, weights, sums, self.machine)
        self._add_results(node, results, body, names)

    def _results(
        self, node: Node, outputs: Sequence[Value], given: dict[Value, Source], names: dict[Buffer, Value]
    ) -> list[Result]:
        """What a contraction makes; the buffers for it are added to `names`."""
        results: list[Result] = []
        before = self._before(node, node.outputs.index(outputs[0]), names)
        for v, element in zip(node.outputs, self._elements(node, given, names, before), strict=True):
            if v in outputs:
                assert not isinstance(element, Joint)
                layout = self.result.layouts[v]
                results.append(Result(element, Buffer("y", v.dtype, layout.size), layout))
        names.update((r.target, v) for r, v in zip(results, outputs, strict=True))
        return results

    def _add_results(self, node: Node, results: Sequence[Result], body: Block, names: dict[Buffer, Value]) -> None:
        targets = [r.target for r in results]
        halos = tuple(s for r in results for s in zero_halo(r.target, r.layout))
        self.add(kernel(targets, (*body, *schedule(kernel(targets, halos), self.machine).body)), names, node)

    def _beside(
        self, node: Node, v: Value, factors: tuple[Value, Value], names: dict[Buffer, Value]
    ) -> dict[Value, Source]:
        """The inputs of a contraction for `v`: what is no factor as that wants it."""
        given = {}
        for x in dict.fromkeys(node.inputs):
            if x is not None:
                held = x if x in factors or is_number(x) else self._in(x, self.layouts.beside(x, v))
                given[x] = self._source(held, self.result.layout(held), names)
        return given


def _have_one_sum(forms: Sequence[Form], shape: Sequence[int]) -> bool:
    """True if contractions for outputs of one shape are of the same sums."""
    index = [linear(Index(f"o{k}", n)) for k, n in enumerate(shape)]
    found = [find_sum(f(*index)) for f in forms if not isinstance(f, Joint)]
    return len({None if f is None else f[0] for f in found}) == 1


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
