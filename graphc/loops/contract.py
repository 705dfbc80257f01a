"""The nest of a contraction, with its accumulators in registers.

    y[…] = f(Σₖ a[…] · b[…])  ->  for rows, panels, tiles {
                                    acc[t,u,l] = 0
                                    for k {for t, u, l: acc[t,u,l] += a[t,k] · b[k,u,l]}
                                    for t, u, l: y[…] = f(acc[t,u,l])
                                  }

The lanes l and a few vectors u of them run over an index that only b depends on, the tile t over one that only a
depends on. `b` is packed so that a panel of it is read from one end to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from graphc.expr import Buffer, Call, Element, Expr, Load, constant, position
from graphc.frozen import Frozen
from graphc.index import Atom, Index, IndexLike, Linear, divide, index_variables, linear, substitute_index
from graphc.loops.compose import sizes
from graphc.loops.contraction import Contraction, Order, Tiling, find_sum, logical_index, variables_of
from graphc.loops.functions import is_long
from graphc.loops.layout import LINE, Layout
from graphc.loops.nest import Alloc, Block, For, Kind, Prefetch, Stmt, Store, where
from graphc.loops.schedule import GRAIN, Machine, pieces, share
from graphc.traverse import rewrite, substitute, walk

# Of an axis that is summed over, with values of the others: so many steps from one on, unrolled.
Steps = Callable[[Index, Mapping[Index, IndexLike], Linear, int], Block]


class Panel(Frozen):
    """`count` times `vectors` of `lanes`, `step` apart, from lane `start` on; `valid` lanes of each are stored."""

    start: int
    count: int
    vectors: int
    lanes: int
    step: int
    valid: int


def panels(extent: int, lanes: int, vectors: int, *, padded: bool, whole: bool) -> list[Panel]:
    """Panels that cover `extent` lanes.

    What is left at the end is one whole vector where `b` is padded. Else the last vector begins so early that it ends
    there, and computes some lanes once more.
    """
    width = lanes * vectors
    found = [Panel(0, extent // width, vectors, lanes, lanes, width)] if extent >= width else []
    at = extent // width * width
    rest = extent - at
    if rest and padded:
        count = -(-rest // lanes)
        return [*found, Panel(at, 1, count, lanes, lanes, count * lanes if whole else rest)]
    if not rest:
        return found
    while lanes > extent:
        lanes //= 2
    count = -(-rest // lanes)
    if extent >= count * lanes:
        return [*found, Panel(extent - count * lanes, 1, count, lanes, lanes, count * lanes)]
    if count > 2:
        found.append(Panel(at, 1, count - 2, lanes, lanes, (count - 2) * lanes))
        at += (count - 2) * lanes
    return [*found, Panel(at, 1, 2, lanes, extent - lanes - at, 2 * lanes)]


class Result(Frozen):
    """An output: its element, the tensors of which are where they are read, and the buffer and layout it goes to."""

    element: Element
    target: Buffer
    layout: Layout


def contract(
    c: Contraction,
    results: Sequence[Result],
    tiles: Tiling,
    *,
    lanes: int,
    padded: bool,
    whole: bool,
    sums: Order,
    machine: Machine,
    shared: bool = True,
) -> Block:
    """The statements that store `results`.

    Args:
        c: what `match` found of their elements.
        results: what is made of the sums: outputs of one shape.
        tiles: how much is kept in registers.
        lanes: elements of a vector register.
        padded: `b` is packed, with whole panels.
        whole: lanes beyond the output's end may be stored, and read in what is done to the sum.
        sums: the order of the reduction.
        machine: for the size of the cache.
        shared: loops are shared out among threads, where that is worth it.
    """
    body = _Loops(c, results, tiles, lanes, sums, machine, padded=padded, whole=whole).statements()
    return share(body) if shared and c.work >= GRAIN else body


class _Loops:
    """The loops around tiles. `batch` are the digits that both factors depend on, `rows` other ones that have a loop.

    A small `b` stays in the cache: rows are outside, so that each of `a` is read once. So are tiles where the output
    does not stay there, and panels are neighbours in it: it is written from one end to the other then. Else panel comes
    after panel.
    """

    def __init__(
        self,
        c: Contraction,
        results: Sequence[Result],
        tiles: Tiling,
        lanes: int,
        sums: Order,
        machine: Machine,
        *,
        padded: bool,
        whole: bool,
    ) -> None:
        self.c, self.results, self.tiles, self.sums, self.machine = c, results, tiles, sums, machine
        self.panels = panels(c.digits[c.lanes].extent, lanes, tiles.vectors, padded=padded, whole=whole)
        self.long = 1 if c.tile is None else c.digits[c.tile].extent
        both = {*variables_of(c.a)} & {*variables_of(c.b)}
        outer = [k for k, d in enumerate(c.digits) if k not in (c.lanes, c.tile) and d.extent > 1]
        self.batch = [k for k in outer if c.indices[k] in both]
        self.rows = [k for k in outer if k not in self.batch]
        itemsize = int(results[0].target.dtype.numpy.itemsize)
        weights = c.digits[c.lanes].extent * math.prod(k.extent for k in c.axes) * itemsize
        written = math.prod(d.extent for k, d in enumerate(c.digits) if k not in self.batch) * itemsize
        small = weights <= machine.cache // 2
        neighbours = padded and all(r.layout.is_last(c.lane_axis) for r in results)
        self.tiles_outside = small and neighbours and written >= machine.cache
        self.rows_outside = small and bool(self.rows)
        self.fetches = padded and not self.tiles_outside and not self.rows_outside and c.tile is not None

    def statements(self) -> Block:
        if self.tiles_outside:
            return self._over_rows(
                [*self.batch, *self.rows],
                {},
                lambda v: self._over_tiles(
                    lambda at, n: self._over_panels(v, lambda p, w: self._core(p, w, at, n)),
                ),
            )
        if self.rows_outside:
            return self._over_rows(
                [*self.batch, *self.rows],
                {},
                lambda v: self._over_panels(v, lambda p, w: self._over_tiles(lambda at, n: self._core(p, w, at, n))),
            )

        def panel(p: Panel, values: Mapping[int, IndexLike]) -> Block:
            return self._over_rows(self.rows, values, lambda v: self._over_tiles(lambda at, n: self._core(p, v, at, n)))

        return self._over_rows(self.batch, {}, lambda v: self._over_panels(v, panel))

    def _core(self, panel: Panel, values: Mapping[int, IndexLike], at: IndexLike, tile: int) -> Block:
        c, tiles = self.c, self.tiles
        number, count = linear(at), -(-self.long // tiles.tile)
        for k in reversed(self.rows):
            number, count = number + linear(values[k]) * count, count * c.digits[k].extent
        moving = [i for k in (c.lanes, *reversed(self.batch)) for i in linear(values[k]).terms]
        ahead = Ahead(moving[0], number, count) if self.fetches and moving else None
        start = linear(at) * tiles.tile
        return _Core(c, self.results, tiles, self.sums, panel, dict(values), start, tile, ahead).statements()

    def _over_tiles(self, inner: Callable[[IndexLike, int], Block]) -> Block:
        made: list[Stmt] = []
        count, rest = divmod(self.long, self.tiles.tile)
        if count:
            at = Index("tile", count)
            body = inner(at if count > 1 else 0, self.tiles.tile)
            made += [For(at, "serial", body)] if count > 1 else body
        if rest:
            made += inner(count, rest)
        return tuple(made)

    def _over_panels(self, values: Mapping[int, IndexLike], inner: Callable[..., Block]) -> Block:
        made: list[Stmt] = []
        for panel in self.panels:
            p = Index("panel", panel.count)
            at = (p * (panel.vectors * panel.lanes) if panel.count > 1 else linear(0)) + panel.start
            body = inner(panel, {**values, self.c.lanes: at})
            made += [For(p, "serial", body)] if panel.count > 1 else body
        return tuple(made)

    def _over_rows(self, numbers: Sequence[int], values: Mapping[int, IndexLike], inner: Callable[..., Block]) -> Block:
        if not numbers:
            return inner(values)
        k, *others = numbers
        made: list[Stmt] = []
        for first, starts, step, count in _apart(self.c, k, self.machine):
            start, i = Index(f"s{k}", starts), Index(f"i{k}", count)
            at = i * step + start + first if starts > 1 else i * step + first
            body: Block = (For(i, "serial", self._over_rows(others, {**values, k: at}, inner)),)
            made += (For(start, "serial", body),) if starts > 1 else body
        return tuple(made)


class Ahead(Frozen):
    """Which of `count` tiles this is: each fetches its part of the panel of `b` that comes next, at `index` + 1."""

    index: Atom
    tile: Linear
    count: int


def _apart(c: Contraction, k: int, machine: Machine) -> list[tuple[int, int, int, int]]:
    """(first, starts, step, count): loops over a digit, so that what is read again is read soon.

    With a dilation of d, rows that are d apart read the same rows of the image. They come one after the other where all
    those between them would not stay in the cache.
    """
    row, n = c.indices[k], c.digits[k].extent
    if all(row in variables_of(read) for read in (c.a, c.b)):
        return [(0, 1, 1, n)]  # a batch: nothing is read again
    step = 1
    for read in (c.a, c.b):
        for i, size in zip(read.index, sizes(read.tensor), strict=True):
            dilations = [
                abs(d) // math.gcd(d, i.terms[row]) for t, d in i.terms.items() if row in i.terms and t in c.axes
            ]
            apart = max(dilations, default=1)
            if 2 * apart * (read.tensor.tensor.nbytes or 0) // size >= machine.cache:
                step = max(step, apart)
    if 2 * step > n:
        return [(0, 1, 1, n)]
    longer, count = n % step, n // step
    found = [(0, longer, step, count + 1), (longer, step - longer, step, count)]
    return [f for f in found if f[1]]


class _Core(Frozen):
    """One tile: accumulators set to zero, the sums, and the outputs stored."""

    c: Contraction
    results: Sequence[Result]
    tiles: Tiling
    sums: Order
    panel: Panel
    values: dict[int, IndexLike]
    start: Linear
    tile: int
    ahead: Ahead | None

    def statements(self) -> Block:
        c, panel = self.c, self.panel
        t, u, lane = Index("t", self.tile), Index("u", panel.vectors), Index("l", panel.lanes)
        values = []
        for k, d in enumerate(c.digits):
            if k == c.lanes:
                values.append(linear(self.values[k]) + u * panel.step + lane)
            elif k == c.tile:
                values.append(self.start + t)
            else:
                values.append(linear(self.values.get(k, 0)) if d.extent > 1 else linear(0))
        logical = logical_index(c.digits, values, len(self.results[0].layout.shape))
        exprs = [r.element(*logical) for r in self.results]
        found = find_sum(exprs[0])
        assert found is not None
        total, factors = found
        acc = Buffer("acc", total.dtype, self.tile * panel.vectors * panel.lanes, "register")
        place = t * (panel.vectors * panel.lanes) + u * panel.lanes + lane

        def each(*body: Stmt) -> For:
            return For(t, "unrolled", (For(u, "unrolled", (For(lane, "vector", body),)),))

        def steps(axis: Index, values: Mapping[Index, IndexLike], at: Linear, depth: int) -> Block:
            k = Index("k", depth)
            a, b = (substitute(f, {**values, axis: at + k}) for f in factors)
            add = each(Store(acc, place, Call("fma", (a, b, Load(acc, place)), acc.dtype)))
            return (
                *self._prefetch((a, b), dict.fromkeys((k, u, lane), linear(0)), lane, depth),
                For(k, "unrolled", (add,)),
            )

        sums = self._sums(total.axes, steps)
        stores = [
            Store(r.target, r.layout.offset(logical), rewrite(e, lambda e: None, {total: Load(acc, place)}))
            for r, e in zip(self.results, exprs, strict=True)
        ]
        return (
            Alloc(acc),
            each(Store(acc, place, constant(0, acc.dtype))),
            *self._fetching(sums, stores, t, u, lane),
            *self._stored(t, u, lane, acc, place, stores),
        )

    def _stored(self, t: Index, u: Index, lane: Index, acc: Buffer, place: Linear, stores: Sequence[Store]) -> Block:
        """The outputs, except for lanes beyond their end."""
        panel = self.panel
        kind: Kind = "unrolled"
        made: list[Stmt] = []
        if any(is_long(e) for e in walk(*(s.value for s in stores))):
            # A long function is written once, in a loop: the sums go through memory, which registers cannot index.
            kind, sums = "serial", Buffer("sums", acc.dtype, acc.size, "register")
            copy = Store(sums, place, Load(acc, place))
            made += [Alloc(sums), For(t, "unrolled", (For(u, "unrolled", (For(lane, "vector", (copy,)),)),))]
            stores = [
                replace(s, value=rewrite(s.value, lambda e: Load(sums, e.offset) if _reads(e, acc) else None))
                for s in stores
            ]
        whole, rest = divmod(panel.valid, panel.lanes)
        if whole:
            few = Index("u", whole)
            moved = tuple(_moved(s, {u: few}) for s in stores)
            made.append(For(t, kind, (For(few, kind, (For(lane, "vector", moved),)),)))
        for at, _, width in pieces(rest, panel.lanes):
            few = Index("l", width)
            moved = tuple(_moved(s, {u: whole, lane: few + at}) for s in stores)
            made.append(For(t, kind, (For(few, "vector", moved),)))
        return tuple(made)

    def _prefetch(self, factors: Sequence[Expr], first: Mapping[Index, Linear], lane: Index, depth: int) -> Block:
        """What `b` has in the next panel where `depth` steps read this one: as many lines as are this tile's part."""
        if self.ahead is None or not self.c.spread:
            return ()
        b = next(e for e in walk(*factors) if isinstance(e, Load) and lane in index_variables(e.offset))
        itemsize = int(b.dtype.numpy.itemsize)
        lines = -(-depth * self.panel.vectors * self.panel.lanes * itemsize // LINE)
        own = -(-lines // self.ahead.count)
        at = substitute_index(b.offset, first)
        stride = at.terms.get(self.ahead.index)
        if stride is None:  # groups that are no whole panels: the next one is not where a stride says
            return ()
        at = at + stride + self.ahead.tile * (own * LINE // itemsize)
        return tuple(Prefetch(b.buffer, at + i * LINE // itemsize) for i in range(own))

    def _fetching(self, sums: Block, stores: Sequence[Store], t: Index, u: Index, lane: Index) -> Block:
        """`sums`, and meanwhile what is added to them, and the places of the results, come into the cache.

        A few lines at a time: all at once they would hold up what the sums read.
        """
        loop = next((s for s in sums if isinstance(s, For) and s.kind == "serial"), None)
        far = {  # not what is the same for each t, as a bias is
            (e.buffer, e.offset): None
            for e in walk(*(s.value for s in stores))
            if isinstance(e, Load) and e.buffer.space == "global" and e.offset.terms.get(lane) == 1
            if t.extent == 1 or t in e.offset.terms
        }
        if loop is None or not far:
            return sums
        made: list[Stmt] = []
        for buffer, at in (*((s.buffer, s.offset) for s in stores), *far):
            width = self.panel.step * int(buffer.dtype.numpy.itemsize)
            every = max(LINE // width, 1) if at.terms.get(u) == self.panel.step else 1
            lines = -(-u.extent // every)
            few = Index("n", -(-t.extent * lines // loop.index.extent))
            line, row = divide(linear(loop.index) * few.extent + few, t.extent)
            start = substitute_index(at, {t: row, u: line * every, lane: linear(0)})
            fetch = For(few, "unrolled", (Prefetch(buffer, start, 1),))
            made += where(position(loop.index) < -(-t.extent * lines // few.extent), (fetch,))
        return tuple(replace(s, body=(*made, *s.body)) if s is loop else s for s in sums)

    def _sums(self, axes: Sequence[Index], steps: Steps) -> Block:
        """Loops over the reduction, the innermost one unrolled."""
        outer, inner, block = [axes[k] for k in self.sums.outer], axes[self.sums.inner], self.sums.block
        size = block or inner.extent
        count, rest = divmod(inner.extent, size)
        made: list[Stmt] = []
        if count:
            co = Index("c", count)
            start = co * size if count > 1 else linear(0)
            body = self._nested(outer, lambda v: self._unrolled(inner, v, start, size, steps))
            made += [For(co, "serial", body)] if count > 1 else body
        if rest:
            made += self._nested(outer, lambda v: self._unrolled(inner, v, linear(count * size), rest, steps))
        return tuple(made)

    def _nested(self, axes: Sequence[Index], inner: Callable[[Mapping[Index, IndexLike]], Block]) -> Block:
        fresh = [Index(f"k{k}", a.extent) for k, a in enumerate(axes)]
        body = inner(dict(zip(axes, fresh, strict=True)))
        for i in reversed(fresh):
            body = (For(i, "serial", body),)
        return body

    def _unrolled(
        self, axis: Index, values: Mapping[Index, IndexLike], start: Linear, extent: int, steps: Steps
    ) -> Block:
        # One step and a rest would be written out twice, with a loop of neither.
        depth = self.tiles.unroll if extent >= 2 * self.tiles.unroll else extent
        count, rest = divmod(extent, depth)
        made: list[Stmt] = []
        if count > 1:
            o = Index("ko", count)
            made.append(For(o, "serial", steps(axis, values, start + o * depth, depth)))
        else:
            made += steps(axis, values, start, depth)
        if rest:
            made += steps(axis, values, start + count * depth, rest)
        return tuple(made)


def _reads(e: Expr, buffer: Buffer) -> TypeGuard[Load]:
    return isinstance(e, Load) and e.buffer is buffer


def _moved(store: Store, values: Mapping[Index, IndexLike]) -> Store:
    offset = store.offset
    for i, v in values.items():
        c = offset.terms.get(i, 0)
        offset = offset - linear(i) * c + linear(v) * c
    return replace(store, offset=offset, value=substitute(store.value, values))
