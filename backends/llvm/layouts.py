"""How each value lies in memory, and how what reads it wants it to lie.

Layouts follow from the shapes of nests, not from ops: a contraction whose lanes do not run along the last axis of its
output stores that blocked by the vector width; what reads a blocked tensor index by index along the blocked axis is
blocked likewise; a tensor that a contraction reads beyond its ends has a halo of zeros. Everything else is row-major.
Where the layout of a value does not serve a reader, the reader takes a copy in the layout that it wants:

    reader                        wants
    contraction, spread factor    blocked along the channels that are summed over, with a halo
    contraction, factor of lanes  packed panels; as it is where it need not be packed; rows with a halo
    contraction, anything else    blocked like the output where it has its shape
    windows over channels         images blocked like the output
    anything else                 blocked like the output where read index by index, else row-major
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.frozen import Frozen
from graphc.index import Index, linear
from graphc.ir import Value
from graphc.loops.compose import known, sizes
from graphc.loops.contraction import Contraction, Order, Read, Tiling, is_worth_packing, lanes_of, packed
from graphc.loops.layout import Layout, blocked, in_blocks, padded, row_major
from graphc.loops.schedule import Machine
from graphc.loops.winograd import Plan

Halo = tuple[tuple[int, int], ...]
Split = tuple[int, int]  # an axis, and how many neighbours along it are a block


class Part(Frozen, eq=False):
    """What is read for the elements of an output from `start` on along `axis`, which have `indices`."""

    axis: int
    start: int
    indices: list[Index]
    reads: list[Read]
    whole: Read | None  # where the part is one tensor as it is
    moved: Value | None  # where the part is elements of one tensor, wherever they are in it

    def on(self, values: Mapping[Value, Value]) -> Part:
        """The same with other values in the place of those that are read."""
        whole, moved = self.whole and self.whole.on(values), self.moved and values[self.moved]
        return replace(self, reads=[r.on(values) for r in self.reads], whole=whole, moved=moved)

    def plain(self, read: Read, split: Split) -> Split | None:
        """How the output would be blocked if the tensor is, along an axis that is read index by index."""
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
class Output:
    """What is known of one output before layouts are: its contraction, perhaps a faster way, or what its parts read."""

    contraction: Contraction | None
    parts: list[Part]
    winograd: Plan | None = None

    def on(self, values: Mapping[Value, Value]) -> Output:
        """The same of other values."""
        plan, c = self.winograd and self.winograd.on(values), self.contraction and self.contraction.on(values)
        return Output(c, [p.on(values) for p in self.parts], plan)

    def halos(self) -> list[tuple[Value, Halo]]:
        """The factors of the contraction, and the padding that they should have."""
        c = self.contraction
        assert c is not None
        found = [(r.tensor, c.halo(r, sizes(r.tensor), int(r.tensor.dtype.numpy.itemsize))) for r in (c.a, c.b)]
        if self.winograd is not None:
            found[0] = c.a.tensor, self.winograd.conv.halo(sizes(c.a.tensor))
        return found


@dataclass(eq=False)
class Layouts:
    """Decides layouts, given `of`, which says how the values lie that are decided."""

    machine: Machine
    of: Callable[[Value], Layout]

    def split(self, x: Value) -> Split | None:
        """How `x` is blocked, if it is."""
        return next(((p.axis, p.step) for p in self.of(x).parts if p.step > 1), None)

    # -- of what is written -------------------------------------------------------------------------------------------
    def written(self, v: Value, found: Output, halo: Halo) -> Layout:
        """How `v` will lie, which has this padding."""
        shape, c = sizes(v), found.contraction
        if c is None:
            split = self._followed(found) or self._windowed(v, found)
        else:
            split = (c.lane_axis, lanes_of(c.a, c.b, self.machine)) if c.lane_axis != len(shape) - 1 else None
        if split is not None and halo[split[0]] == (0, 0):
            return blocked(shape, *split, halo)
        return padded(shape, halo)

    def domain(self, found: Output, layout: Layout) -> Layout | None:
        """How to run over an output that is row-major only because nothing lies between its blocks."""
        split = self._followed(found)
        if split is None or not layout.is_row_major or layout.shape[split[0]] % split[1]:
            return None
        return in_blocks(layout.shape, *split, layout.halo)

    def _followed(self, found: Output) -> Split | None:
        """As the blocked tensors are that are read, if all are read index by index along the blocked axis."""
        reads = [(p, r, self.split(r.tensor)) for p in found.parts for r in p.reads]
        places = {p.plain(r, split) for p, r, split in reads if split is not None}
        return places.pop() if len(places) == 1 else None

    def _windowed(self, v: Value, found: Output) -> Split | None:
        """Channels of what reads windows of images, channel by channel: lanes along rows would be strided."""
        shape = sizes(v)
        block = self.machine.vector_bytes // max(int(v.dtype.numpy.itemsize), 4)
        if len(shape) < 3 or -shape[1] % block > shape[1] // 4 or len(found.parts) != 1:
            return None
        (only,) = found.parts
        images = [r for r in only.reads if len(r.index) == len(shape)]
        channel = linear(only.indices[1])
        well = bool(images) and all(r.index[1] == channel for r in images)
        return (1, block) if well and any(len(r.index[-1].terms) > 1 for r in images) else None

    # -- of what is read ----------------------------------------------------------------------------------------------
    def read(self, x: Value, v: Value, found: Output) -> Layout:
        """How `x` is read for the elements of `v`, which is no contraction."""
        own, split = self.split(x), self.split(v)
        reads = [(p, r) for p in found.parts for r in p.reads if r.tensor is x]
        if own is None:
            if split is None:
                return self.of(x)
            windowed = split == self._windowed(v, found) and len(sizes(x)) == len(sizes(v))
            alike = bool(reads) and all(list(r.index) == [linear(i) for i in p.indices] for p, r in reads)
            return blocked(sizes(x), *split) if windowed or alike else self.of(x)
        well = bool(reads) and all(p.plain(r, own) is not None for p, r in reads)
        return self.of(x) if well else row_major(sizes(x))

    def spread(self, found: Output, lanes: int) -> Layout:
        """How a contraction reads the factor whose elements are spread over lanes, or read lane by lane."""
        c, (x, need) = found.contraction, found.halos()[0]
        assert c is not None
        own, shape = self.of(x), sizes(x)
        lane = c.indices[c.lanes]
        wide = all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(need, own.halo, strict=True))
        if (wide or found.winograd is None) and c.fits(own, int(x.dtype.numpy.itemsize)):
            if c.spread or own.offset(c.a.index).terms.get(lane, 0) == 1:
                return own
            split = self.split(x)
            if split is not None and lane in c.a.index[split[0]].terms:  # the lanes of a block are neighbours
                return own
        for axis, (i, n) in enumerate(zip(c.a.index, shape, strict=True)):
            sums = [t for t in i.terms if t in c.axes]
            if c.spread and len(i.terms) == 1 and len(sums) == 1 and n % lanes == 0 and axis < len(shape) - 1:
                return blocked(shape, axis, lanes, need)
            if not c.spread and lane in i.terms:
                return blocked(shape, axis, lanes, need)
        return padded(shape, need)

    def lanes(self, c: Contraction, tiles: Tiling, lanes: int, sums: Order) -> Layout:
        """How a contraction reads the factor that has the lanes."""
        x: Value = c.b.tensor
        own, shape = self.of(x), sizes(x)
        panel = tiles.vectors * lanes
        if known(x) is None and c.in_rows(own) and (c.along_rows or not is_worth_packing(c, own, sums, panel)):
            return own
        return padded(shape, c.reach(c.b, shape)) if c.along_rows else packed(c, shape, panel, sums)

    def beside(self, x: Value, v: Value) -> Layout:
        """How a contraction for `v` reads `x`, which is no factor."""
        own, split = self.split(x), self.split(v)
        if own == split or sizes(x) != sizes(v):
            return self.of(x)
        return row_major(sizes(x)) if split is None else blocked(sizes(x), *split)

    def covers_gaps(self, c: Contraction, layout: Layout, inputs: Sequence[Value | None]) -> bool:
        """True if lanes beyond the output's end have memory, there and in what is read beside the factors."""
        others = [x for x in inputs if x is not None and x not in (c.a.tensor, c.b.tensor)]
        return any(p.step > 1 for p in layout.parts) and all(
            known(x) is not None or self.split(x) is not None for x in others
        )
