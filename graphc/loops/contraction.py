"""Contractions: sums of products, such as matrix products and convolutions, with their accumulators in registers.

    y[…] = f(Σₖ a[…] · b[…])  ->  for rows, panels, tiles {
                                    acc[t,u,l] = 0
                                    for k {for t, u, l: acc[t,u,l] += a[t,k] · b[k,u,l]}
                                    for t, u, l: y[…] = f(acc[t,u,l])
                                  }

An index of the output that only b depends on becomes lanes (l) and a few vectors of them (u); one that only a depends
on becomes the tile (t), whose elements of `a` are read one by one and spread. `b` is packed so that a panel of it is
read from one end to the other. Where all indices are in both (a depthwise convolution), the lanes run over one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from graphc.expr import Buffer, Call, Const, Element, Expr, Load, Reduce, Select, constant
from graphc.index import Index, IndexLike, Linear, Quotient, index_variables, linear
from graphc.ir import Value
from graphc.loops.functions import EXPANSIONS
from graphc.loops.layout import Layout, Part
from graphc.loops.nest import Alloc, Block, For, Kind, Stmt, Store
from graphc.loops.schedule import GRAIN, Machine, pieces, share
from graphc.traverse import rewrite, substitute, walk

LEAST = 1 << 12  # multiplications below which the general schedule does as well
UNROLLED = 256  # multiply-adds in the innermost loop
PAGE = 4096  # bytes between addresses that meet in one set of the first cache
ALIASES = 12  # elements of a tile that would be too many there
MAX_HALO = 128  # elements of padding on one side that a buffer may have


@dataclass(frozen=True)
class Read:
    """A tensor that an expression reads, and where."""

    tensor: Value
    index: tuple[Linear, ...]


@dataclass(frozen=True)
class Digit:
    """A loop over the output: index of `axis` = Σ scale · digit."""

    axis: int
    scale: int
    extent: int


@dataclass(frozen=True)
class Contraction:
    """What there is to know of a sum of products before the layouts of its operands are.

    Attributes:
        a, b: the factors; `b` has the lanes.
        digits, indices: the loops over the output, and their variables.
        axes: the indices of the reduction.
        lanes, tile: which of `digits` becomes lanes, and which is kept in registers (None: there is none).
        spread: whether elements of `a` are the same for all lanes.
    """

    a: Read
    b: Read
    digits: tuple[Digit, ...]
    indices: tuple[Index, ...]
    axes: tuple[Index, ...]
    lanes: int
    tile: int | None
    spread: bool

    @property
    def lane_axis(self) -> int:
        """The axis of the output that becomes lanes."""
        return self.digits[self.lanes].axis

    @property
    def work(self) -> int:
        """How many multiplications there are."""
        return math.prod(d.extent for d in self.digits) * math.prod(k.extent for k in self.axes)

    def columns(self) -> bool:
        """True if the reduction runs along the last axis of `a`, and the tile along the one before."""
        last = self.a.index[-1] if len(self.a.index) > 1 else linear(0)
        plain = len(last.terms) == 1 and not last.constant and next(iter(last.terms)) in self.axes
        return plain and self.tile is not None and self.a.index[-2] == linear(self.indices[self.tile])

    def halo(self, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """How far `a`, of this shape, is read beyond its ends."""
        found = []
        for i, n in zip(self.a.index, shape, strict=True):
            low, high = i.range()
            found.append((int(max(0, -low)), int(max(0, high - n + 1))))
        return tuple(found)


# -- what is a contraction --------------------------------------------------------------------------------------------
def match(
    element: Element, shape: Sequence[int], reads: Mapping[Load, Read], is_constant: Callable[[Value], bool]
) -> Contraction | None:
    """The contraction that `element` is, if it is one; `reads` says what its loads are."""
    splits: dict[int, int] = {}
    for _ in range(2):
        digits = _digits(shape, splits)
        indices = tuple(Index(f"o{d.axis}", d.extent) for d in digits)
        expr = element(*_logical(digits, [linear(i) for i in indices], len(shape)))
        total = _sum(expr)
        if total is None:
            return None
        factors = [_factor(f, reads) for f in total.body.args]  # type: ignore[attr-defined]
        if factors[0] is None or factors[1] is None:
            return None
        found = _groups(digits, indices, (*factors[0].index, *factors[1].index))
        if not found:
            break
        splits.update(found)
    a, b = factors
    assert a is not None
    assert b is not None
    assert total is not None
    candidates = []
    for left, right in ((a, b), (b, a)):
        for number in range(len(digits)):
            rank = _rank(left, right, number, digits, indices, len(shape), is_constant)
            if rank is not None:
                candidates.append((rank, -number, left, right))
    if not candidates:
        return None
    rank, number, left, right = max(candidates, key=lambda c: c[:2])
    lanes = -number
    outer = _variables(left) - _variables(right)
    rows = [k for k, i in enumerate(indices) if i in outer and k != lanes and i.extent > 1]
    contraction = Contraction(
        left,
        right,
        digits,
        indices,
        total.axes,
        lanes,
        rows[-1] if rows else None,
        indices[lanes] not in _variables(left),
    )
    return contraction if contraction.work >= LEAST else None


def _digits(shape: Sequence[int], splits: Mapping[int, int]) -> tuple[Digit, ...]:
    found = []
    for axis, n in enumerate(shape):
        d = splits.get(axis)
        found += [Digit(axis, 1, n)] if d is None else [Digit(axis, d, n // d), Digit(axis, 1, d)]
    return tuple(found)


def _logical(digits: Sequence[Digit], values: Sequence[Linear], rank: int) -> list[Linear]:
    """The output's index for values of the digits."""
    index = [linear(0) for _ in range(rank)]
    for d, v in zip(digits, values, strict=True):
        if d.extent != 1:
            index[d.axis] = index[d.axis] + v * d.scale
    return index


def _sum(expr: Expr) -> Reduce | None:
    sums = [e for e in walk(expr) if isinstance(e, Reduce)]
    if len(sums) != 1 or sums[0].function != "sum":
        return None
    body = sums[0].body
    return sums[0] if isinstance(body, Call) and body.function == "mul" else None


def _factor(e: Expr, reads: Mapping[Load, Read]) -> Read | None:
    """What a factor reads: an element, perhaps converted, with zeros around the tensor."""
    while True:
        if isinstance(e, Call) and e.function == "cast":
            e = e.args[0]
        elif isinstance(e, Select) and isinstance(e.other, Const) and e.other.value == 0:
            e = e.then
        else:
            break
    return reads.get(e) if isinstance(e, Load) else None


def _groups(digits: Sequence[Digit], indices: Sequence[Index], at: Sequence[Linear]) -> dict[int, int]:
    """Axis -> divisor, where an index has a quotient of it: groups of channels."""
    found = {}
    for i in at:
        for atom in i.terms:
            if isinstance(atom, Quotient) and len(atom.index.terms) == 1 and atom.index.constant == 0:
                ((inner, c),) = atom.index.terms.items()
                if c == 1 and inner in indices:
                    digit = digits[indices.index(inner)]
                    if digit.scale == 1 and digit.extent % atom.divisor == 0:
                        found[digit.axis] = atom.divisor
    return found


def _variables(read: Read) -> set[Index]:
    return set().union(*(index_variables(i) for i in read.index))


def _rank(
    a: Read, b: Read, number: int, digits: Sequence[Digit], indices: Sequence[Index], rank: int,
    is_constant: Callable[[Value], bool],
) -> tuple[int, ...] | None:  # fmt: skip
    """How good the digit `number` is as lanes with these roles of the factors; None where it cannot be."""
    i, d = indices[number], digits[number]
    if d.extent < 2 or d.scale != 1:
        return None
    places = [x for x in b.index if i in index_variables(x)]
    if len(places) != 1 or places[0].terms.get(i) != 1:
        return None
    if any(not (isinstance(t, Index) and t in indices) for t in places[0].terms):
        return None  # summed over as well: not neighbours in a packed panel
    if any(not isinstance(t, Index) for x in (*a.index, *b.index) for t in x.terms):
        return None
    shared = i in _variables(a)
    if shared:
        own = [x for x in a.index if i in index_variables(x)]
        if len(own) != 1 or set(own[0].terms.items()) - {(i, 1)}:
            return None
    last, fixed = d.axis == rank - 1, is_constant(b.tensor)
    if shared and not fixed:
        return None
    return (not shared, last and fixed, fixed and rank > 2, last, fixed)


# -- layouts ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tiling:
    """Vectors of lanes, and elements of the tile, that are in registers at one time; and the depth of unrolling."""

    vectors: int
    tile: int
    unroll: int


def tiling(c: Contraction, lanes: int, machine: Machine) -> Tiling:
    """The tiling that takes the fewest cycles, by a model of one multiply-add and two small loads in each cycle."""
    wide = -(-c.digits[c.lanes].extent // lanes)
    long = 1 if c.tile is None else c.digits[c.tile].extent
    group = c.digits[c.lanes].extent // lanes if any(d.axis == c.lane_axis and d.scale > 1 for d in c.digits) else 0
    best: tuple[float, int, int, int] | None = None
    for vectors in range(1, min(8, wide) + 1):
        if group and group % vectors:
            continue
        for tile in range(1, min(long, 28) + 1):
            if tile * vectors + vectors + 1 > machine.registers:
                break
            cost = sum(
                n * m * _cycles(v, t, c.spread)
                for n, v in ((wide // vectors, vectors), (1, wide % vectors))
                for m, t in ((long // tile, tile), (1, long % tile))
                if n * v and m * t
            )
            key = (cost, (wide % vectors > 0) + (long % tile > 0), -vectors * tile, vectors + tile)
            if best is None or key < best:
                best, chosen = key, (vectors, tile)
    vectors, tile = chosen
    unroll = 1
    while unroll < 16 and 2 * unroll * tile * vectors <= UNROLLED:
        unroll *= 2
    return Tiling(vectors, tile, unroll)


def _cycles(vectors: int, tile: int, spread: bool) -> float:
    """Of one step of the innermost loop: multiply-adds, loads, latency, and what the loop itself takes."""
    loads = 2 * vectors + (tile if spread else 2 * tile * vectors)
    return max(vectors * tile, loads / 2, 8 if vectors * tile < 8 else 0) + 0.25


@dataclass(frozen=True)
class Order:
    """The reduction's loops: `outer` ones in order, then `inner`, unrolled; `block` splits it, blocks outermost."""

    outer: tuple[int, ...]
    inner: int
    block: int | None


def order(c: Contraction, layout: Layout) -> Order:
    """How the reduction runs over `a`, lying as `layout`.

    Where `a` is blocked along an axis that is summed over, a block is innermost. Else the last axis is, unless elements
    along it are those of the tile's neighbours (a row of an image): LLVM would keep them all in registers.
    """
    everything = range(len(c.axes))
    for axis, i in enumerate(c.a.index):
        steps = [p.step for p in layout.parts if p.axis == axis]
        inner = [c.axes.index(t) for t in i.terms if t in c.axes]
        if len(steps) > 1 and inner:
            return Order(tuple(k for k in everything if k != inner[0]), inner[0], max(steps))
    at = layout.offset(c.a.index).terms
    step = 0 if c.tile is None else at.get(c.indices[c.tile], 0)

    def apart(k: int) -> bool:
        stride = at.get(c.axes[k], 0)
        return not step or not any(j * stride % step == 0 for j in range(1, min(c.axes[k].extent, 16)))

    long = 0 if c.tile is None else c.digits[c.tile].extent

    def free(k: int) -> bool:
        return apart(k) or at.get(c.axes[k], 0) >= step * long

    last = next((k for k in reversed(everything) if free(k)), len(c.axes) - 1)
    return Order(tuple(k for k in everything if k != last), last, None)


def fits(c: Contraction, layout: Layout, itemsize: int) -> bool:
    """True if `a` can be read from `layout`: its halo is wide enough, and blocks begin where sums over them do.

    The elements of a tile must not all be in one set of the first cache, as they are a multiple of PAGE bytes apart.
    """
    if any(
        need[0] > have[0] or need[1] > have[1] for need, have in zip(c.halo(layout.shape), layout.halo, strict=True)
    ):
        return False
    if c.tile is not None and c.digits[c.tile].extent >= ALIASES:
        stride = layout.offset(c.a.index).terms.get(c.indices[c.tile], 0) * itemsize
        if stride and stride % PAGE == 0:
            return False
    for axis, i in enumerate(c.a.index):
        steps = [p.step for p in layout.parts if p.axis == axis]
        if len(steps) < 2:
            continue
        block = max(steps)
        for t, k in i.terms.items():
            if t in c.axes and k == 1:
                continue
            if not c.spread and t is c.indices[c.lanes] and k == 1:
                continue
            if k % block:
                return False
        if i.constant % block or sum(t in c.axes for t in i.terms) > 1:
            return False
    return True


def packed(c: Contraction, shape: Sequence[int], panel: int, sums: Order) -> Layout:
    """The layout of `b`, of this shape, in which the innermost loops read it from one end to the other.

    Args:
        c: the contraction.
        shape: that of `b`.
        panel: lanes that are read together.
        sums: the order of the reduction.
    """
    lane = c.indices[c.lanes]
    front: list[Part] = []
    inside: list[tuple[int, Part]] = []
    panels: list[Part] = []
    last: list[Part] = []
    place = {k: n for n, k in enumerate((*sums.outer, sums.inner))}
    for axis, (i, n) in enumerate(zip(c.b.index, shape, strict=True)):
        found = [c.axes.index(t) for t in i.terms if t in c.axes]
        if lane in i.terms:
            panels, last = [Part(axis, panel, -(-n // panel))], [Part(axis, 1, panel)]
        elif not found:
            front.append(Part(axis, 1, n))
        elif sums.block is not None and found == [sums.inner]:
            inside += [(-1, Part(axis, sums.block, -(-n // sums.block))), (len(c.axes), Part(axis, 1, sums.block))]
        else:
            inside.append((min(place[k] for k in found), Part(axis, 1, n)))
    inside.sort(key=lambda x: x[0])
    return Layout(tuple(shape), (*front, *panels, *(p for _, p in inside), *last), ((0, 0),) * len(shape))


# -- the nest ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Panel:
    """`count` times `vectors` of `lanes` side by side, from lane `start` on; `valid` lanes of each are stored."""

    start: int
    count: int
    vectors: int
    lanes: int
    valid: int


def panels(extent: int, lanes: int, vectors: int, *, padded: bool, whole: bool) -> list[Panel]:
    """Panels that cover `extent` lanes. What is left at the end is one whole vector where `b` is padded, else parts."""
    width = lanes * vectors
    found = [Panel(0, extent // width, vectors, lanes, width)] if extent >= width else []
    at = extent // width * width
    rest = extent - at
    if rest and padded:
        count = -(-rest // lanes)
        return [*found, Panel(at, 1, count, lanes, count * lanes if whole else rest)]
    if rest >= lanes:
        found.append(Panel(at, 1, rest // lanes, lanes, rest // lanes * lanes))
        at += rest // lanes * lanes
    for start, _, w in pieces(extent - at, lanes):
        found.append(Panel(at + start, 1, 1, w, w))
    return found


def contract(
    c: Contraction,
    element: Element,
    target: Buffer,
    layout: Layout,
    tiles: Tiling,
    *,
    lanes: int,
    padded: bool,
    whole: bool,
    sums: Order,
    machine: Machine,
) -> Block:
    """The statements that store `element` in `target`.

    Args:
        c: what `match` found of `element`.
        element: the output's element, its tensors being where they are read.
        target, layout: where the output goes.
        tiles: how much is kept in registers.
        lanes: elements of a vector register.
        padded: `b` is packed, with whole panels.
        whole: lanes beyond the output's end may be stored, and read in what is done to the sum.
        sums: the order of the reduction.
        machine: for the size of the cache.
    """
    outer = [k for k, d in enumerate(c.digits) if k not in (c.lanes, c.tile) and d.extent > 1]
    found = panels(c.digits[c.lanes].extent, lanes, tiles.vectors, padded=padded, whole=whole)
    long = 1 if c.tile is None else c.digits[c.tile].extent
    both = {*_variables(c.a)} & {*_variables(c.b)}
    batch = [k for k in outer if c.indices[k] in both]
    rows = [k for k in outer if k not in batch]
    weights = c.digits[c.lanes].extent * math.prod(k.extent for k in c.axes) * target.dtype.numpy.itemsize
    # A small `b` stays in the cache: rows outside, so that each of `a` is read once. Else panel after panel.
    panels_inside = weights <= machine.cache // 2 and bool(rows)

    def core(panel: Panel, values: Mapping[int, IndexLike], start: IndexLike, tile: int) -> Block:
        return _Core(c, element, target, layout, tiles, sums, panel, dict(values), linear(start), tile).statements()

    def tile_loops(panel: Panel, values: Mapping[int, IndexLike]) -> Block:
        made: list[Stmt] = []
        count, rest = divmod(long, tiles.tile)
        if count:
            at = Index("tile", count)
            inner = core(panel, values, at * tiles.tile if count > 1 else 0, tiles.tile)
            made += [For(at, "serial", inner)] if count > 1 else inner
        if rest:
            made += core(panel, values, count * tiles.tile, rest)
        return tuple(made)

    def panel_loops(chosen: Sequence[Panel], values: Mapping[int, IndexLike], wrap: Callable[..., Block]) -> Block:
        made: list[Stmt] = []
        for panel in chosen:
            p = Index("panel", panel.count)
            at = (p * (panel.vectors * panel.lanes) if panel.count > 1 else linear(0)) + panel.start
            inner = wrap(panel, {**values, c.lanes: at})
            made += [For(p, "serial", inner)] if panel.count > 1 else inner
        return tuple(made)

    def row_loops(numbers: Sequence[int], values: Mapping[int, IndexLike], inner: Callable[..., Block]) -> Block:
        indices = [Index(f"i{k}", c.digits[k].extent) for k in numbers]
        body = inner({**values, **dict(zip(numbers, indices, strict=True))})
        for i in reversed(indices):
            body = (For(i, "serial", body),)
        return body

    if panels_inside:
        body = row_loops([*batch, *rows], {}, lambda v: panel_loops(found, v, tile_loops))
    else:
        body = row_loops(
            batch, {}, lambda v: panel_loops(found, v, lambda p, w: row_loops(rows, w, lambda x: tile_loops(p, x)))
        )
    return share(body) if c.work >= GRAIN else body


@dataclass(frozen=True)
class _Core:
    """One tile: accumulators set to zero, the sums, and the output stored."""

    c: Contraction
    element: Element
    target: Buffer
    layout: Layout
    tiles: Tiling
    sums: Order
    panel: Panel
    values: dict[int, IndexLike]
    start: Linear
    tile: int

    def statements(self) -> Block:
        c, panel = self.c, self.panel
        t, u, lane = Index("t", self.tile), Index("u", panel.vectors), Index("l", panel.lanes)
        values = []
        for k, d in enumerate(c.digits):
            if k == c.lanes:
                values.append(linear(self.values[k]) + u * panel.lanes + lane)
            elif k == c.tile:
                values.append(self.start + t)
            else:
                values.append(linear(self.values.get(k, 0)) if d.extent > 1 else linear(0))
        logical = _logical(c.digits, values, len(self.layout.shape))
        expr = self.element(*logical)
        total = _sum(expr)
        assert total is not None
        acc = Buffer("acc", total.dtype, self.tile * panel.vectors * panel.lanes, "register")
        place = t * (panel.vectors * panel.lanes) + u * panel.lanes + lane

        def each(*body: Stmt) -> For:
            return For(t, "unrolled", (For(u, "unrolled", (For(lane, "vector", body),)),))

        def add(values: Mapping[Index, IndexLike]) -> Stmt:
            a, b = (substitute(f, values) for f in total.body.args)  # type: ignore[attr-defined]
            return each(Store(acc, place, Call("fma", (a, b, Load(acc, place)), acc.dtype)))

        sums = self._sums(total.axes, add)
        result = rewrite(expr, lambda e: None, {id(total): Load(acc, place)})
        store = Store(self.target, self.layout.offset(logical), result)
        return (
            Alloc(acc),
            each(Store(acc, place, constant(0, acc.dtype))),
            *sums,
            *self._stored(t, u, lane, acc, place, store),
        )

    def _stored(self, t: Index, u: Index, lane: Index, acc: Buffer, place: Linear, store: Store) -> Block:
        """The output, except for lanes beyond its end."""
        panel = self.panel
        kind: Kind = "unrolled"
        made: list[Stmt] = []
        if any(isinstance(e, Call) and (e.function, e.dtype) in EXPANSIONS for e in walk(store.value)):
            # A long function is written once, in a loop: the sums go through memory, which registers cannot index.
            kind, sums = "serial", Buffer("sums", acc.dtype, acc.size, "register")
            copy = Store(sums, place, Load(acc, place))
            made += [Alloc(sums), For(t, "unrolled", (For(u, "unrolled", (For(lane, "vector", (copy,)),)),))]
            value = rewrite(store.value, lambda e: Load(sums, e.offset) if _reads(e, acc) else None)
            store = replace(store, value=value)
        whole, rest = divmod(panel.valid, panel.lanes)
        if whole:
            few = Index("u", whole)
            moved = _moved(store, {u: few})
            made.append(For(t, kind, (For(few, kind, (For(lane, "vector", (moved,)),)),)))
        for at, _, width in pieces(rest, panel.lanes):
            few = Index("l", width)
            moved = _moved(store, {u: whole, lane: few + at})
            made.append(For(t, kind, (For(few, "vector", (moved,)),)))
        return tuple(made)

    def _sums(self, axes: Sequence[Index], add: Callable[[Mapping[Index, IndexLike]], Stmt]) -> Block:
        """Loops over the reduction, the innermost one unrolled."""
        outer, inner, block = [axes[k] for k in self.sums.outer], axes[self.sums.inner], self.sums.block
        size = block or inner.extent
        count, rest = divmod(inner.extent, size)
        made: list[Stmt] = []
        if count:
            co = Index("c", count)
            start = co * size if count > 1 else linear(0)
            body = self._nested(outer, lambda v: self._unrolled(inner, v, start, size, add))
            made += [For(co, "serial", body)] if count > 1 else body
        if rest:
            made += self._nested(outer, lambda v: self._unrolled(inner, v, linear(count * size), rest, add))
        return tuple(made)

    def _nested(self, axes: Sequence[Index], inner: Callable[[Mapping[Index, IndexLike]], Block]) -> Block:
        fresh = [Index(f"k{k}", a.extent) for k, a in enumerate(axes)]
        body = inner(dict(zip(axes, fresh, strict=True)))
        for i in reversed(fresh):
            body = (For(i, "serial", body),)
        return body

    def _unrolled(
        self, axis: Index, values: Mapping[Index, IndexLike], start: Linear, extent: int,
        add: Callable[[Mapping[Index, IndexLike]], Stmt],
    ) -> Block:  # fmt: skip
        depth = self.tiles.unroll if extent > self.tiles.unroll else extent
        count, rest = divmod(extent, depth)
        made: list[Stmt] = []
        k = Index("k", depth)
        if count > 1:
            o = Index("ko", count)
            made.append(For(o, "serial", (For(k, "unrolled", (add({**values, axis: start + o * depth + k}),)),)))
        else:
            made.append(For(k, "unrolled", (add({**values, axis: start + k}),)))
        if rest:
            k = Index("k", rest)
            made.append(For(k, "unrolled", (add({**values, axis: start + count * depth + k}),)))
        return tuple(made)


def _reads(e: Expr, buffer: Buffer) -> TypeGuard[Load]:
    return isinstance(e, Load) and e.buffer is buffer


def _moved(store: Store, values: Mapping[Index, IndexLike]) -> Store:
    offset = store.offset
    for i, v in values.items():
        c = offset.terms.get(i, 0)
        offset = offset - linear(i) * c + linear(v) * c
    return replace(store, offset=offset, value=substitute(store.value, values))


__all__ = ["Contraction", "Read", "contract", "fits", "match", "packed", "tiling"]
