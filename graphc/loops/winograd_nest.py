"""The nest of a convolution by Winograd's minimal filtering: band after band of tiles, each of which fits a cache.

    parallel share {                        a band of tiles, a group of maps
      v[p,t,c] = (Bᵀ x B)[p]                for each tile t and channel c
      m[p,t,o] = Σ_c v[p,t,c] · u[p,c,o]    for 0 ≤ p < 36 and each map o: the nest of a contraction
      y[…] = f((Aᵀ m A)[i,j])               for the outputs i, j of each tile, as far as there are
    }

`v` and `m` are scratch memory of the thread. Both transforms have channels as lanes, and go along one axis at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphc.expr import Buffer, Const, Expr, Load, Source, constant, over, position
from graphc.index import Index, Linear, divide, linear
from graphc.loops.contract import Result, contract
from graphc.loops.contraction import Order, find_sum, logical_index
from graphc.loops.functions import is_long
from graphc.loops.nest import Alloc, Block, For, Kind, Stmt, Store, where
from graphc.loops.schedule import Machine, pieces
from graphc.loops.winograd import OUTPUTS, PRODUCTS, WINDOW, Plan, inputs, outputs
from graphc.traverse import rewrite, walk
from graphc.types import bool_, float32


def minimal_filtering(
    plan: Plan,
    results: Sequence[Result],
    x: Source,
    weights: Source,
    sums: Order,
    machine: Machine,
) -> Block:
    """The statements that store `results`.

    Args:
        plan: what `plan` found for them.
        results: what is made of the sums: outputs of one shape.
        x: the images, with the halo that tiles need.
        weights: the transformed ones, packed for `plan.products`.
        sums: the order of the sums over channels.
        machine: for the size of the cache.
    """
    share = Index("share", plan.bands * plan.groups)
    band, group = divide(linear(share) if share.extent > 1 else linear(0), plan.groups)
    v = Buffer("v", float32, plan.inputs.size, "scratch")
    m = Buffer("m", float32, plan.sums.size, "scratch")
    make = _Nest(plan, band * plan.band, group * plan.maps)

    def term(p: Linear, t: Linear, o: Linear) -> Expr:
        return over(
            "sum",
            [plan.conv.channels],
            lambda c: Load(v, plan.inputs.offset((p, t, c))) * weights[p, c, o + group * plan.maps],
        )

    body: Block = (
        Alloc(v),
        Alloc(m),
        *make.transformed(x, v),
        *contract(
            plan.products, [Result(term, m, plan.sums)], plan.tiling,
            lanes=plan.lanes, padded=True, whole=True, sums=sums, machine=machine, shared=False,
        ),
        *make.stored(results, m),
    )  # fmt: skip
    return (For(share, "parallel", body),) if share.extent > 1 else body


class _Nest:
    """The transforms of one band, whose first tile is `first`, for the maps from `start` on."""

    def __init__(self, plan: Plan, first: Linear, start: Linear):
        self.plan, self.conv, self.first, self.start = plan, plan.conv, first, start

    def transformed(self, x: Source, v: Buffer) -> Block:
        """v = Bᵀ x B; zeros for tiles of the last band that there are not."""
        layout = self.plan.inputs

        def tile(number: Linear, local: Linear, channel: Linear) -> Block:
            batch, places = self.conv.tile(number)
            index = [linear(0) for _ in x.shape]
            for axis, digit in self.conv.batch.items():
                index[axis] = batch[digit]
            index[self.conv.channel[0]] = channel

            def read(i: Index, j: int) -> Expr:
                at = list(index)
                for axis, (a, rest, place), k in zip(self.conv.axes, places, (linear(i), linear(j)), strict=True):
                    at[axis] = a.place(rest, place, k) + a.start
                return x[at]

            rows = Buffer("rows", float32, PRODUCTS, "register")
            i, j = Index("i", WINDOW), Index("j", WINDOW)
            across = inputs([read(i, k) for k in range(WINDOW)])
            down = inputs([Load(rows, j + WINDOW * k) for k in range(WINDOW)])
            return (
                Alloc(rows),
                unrolled(i, (Store(rows, i * WINDOW + k, e) for k, e in enumerate(across))),
                unrolled(j, (Store(v, layout.offset((j + WINDOW * k, local, channel)), e) for k, e in enumerate(down))),
            )

        def nothing(local: Linear, channel: Linear) -> Block:
            p = Index("p", PRODUCTS)
            return (For(p, "serial", (Store(v, layout.offset((p, local, channel)), constant(0, float32)),)),)

        return self._tiles(self.conv.channels, tile, nothing)

    def stored(self, results: Sequence[Result], m: Buffer) -> Block:
        """y = f(Aᵀ m A)."""
        c, products = self.conv.c, self.plan.sums

        def tile(number: Linear, local: Linear, channel: Linear) -> Block:
            batch, places = self.conv.tile(number)
            columns = Buffer("columns", float32, OUTPUTS * WINDOW, "register")
            patch = Buffer("patch", float32, OUTPUTS * OUTPUTS, "register")
            i, j = Index("i", OUTPUTS), Index("j", WINDOW)
            down = outputs([Load(m, products.offset((j + WINDOW * k, local, channel))) for k in range(WINDOW)])
            across = outputs([Load(columns, i * WINDOW + k) for k in range(WINDOW)])
            row, column = Index("i", OUTPUTS), Index("j", OUTPUTS)
            values = [linear(0) for _ in c.digits]
            for digit, at in batch.items():
                values[digit] = at
            values[c.lanes] = channel + self.start
            inside: Expr = constant(True, bool_)
            for (axis, rest, place), k in zip(places, (row, column), strict=True):
                values[axis.digit] = axis.place(rest, place, k)
                inside = inside & (position(values[axis.digit]) < axis.size)
            logical = logical_index(c.digits, values, len(results[0].layout.shape))
            exprs = [r.element(*logical) for r in results]
            found = find_sum(exprs[0])
            assert found is not None
            sums: dict[Expr, Expr] = {found[0]: Load(patch, row * OUTPUTS + column)}
            stores = [
                Store(r.target, r.layout.offset(logical), rewrite(e, lambda e: None, sums))
                for r, e in zip(results, exprs, strict=True)
            ]
            # A long function is written once.
            kind: Kind = "serial" if any(is_long(e) for s in stores for e in walk(s.value)) else "unrolled"
            store = where(inside, tuple(stores))
            return (
                Alloc(columns),
                Alloc(patch),
                unrolled(j, (Store(columns, j + WINDOW * k, e) for k, e in enumerate(down))),
                unrolled(i, (Store(patch, i * OUTPUTS + k, e) for k, e in enumerate(across))),
                For(row, kind, (For(column, kind, store),)),
            )

        return self._tiles(self.plan.maps, tile)

    def _tiles(
        self,
        channels: int,
        tile: Callable[[Linear, Linear, Linear], Block],
        nothing: Callable[[Linear, Linear], Block] = lambda local, channel: (),
    ) -> Block:
        """Loops over vectors of channels and the tiles of the band; `nothing` is for those that there are not."""
        made: list[Stmt] = []
        for start, count, width in pieces(channels, self.plan.lanes):
            block, t, lane = Index("block", count), Index("t", self.plan.band), Index("l", width)
            local = linear(t) if t.extent > 1 else linear(0)
            number = self.first + local
            channel = (block * width if count > 1 else linear(0)) + start + lane
            is_there = position(number) < self.conv.tiles
            body = where(is_there, (For(lane, "vector", tile(number, local, channel)),))
            if not isinstance(is_there, Const) and (rest := nothing(local, channel)):
                body += where(position(number) >= self.conv.tiles, (For(lane, "vector", rest),))
            if t.extent > 1:
                body = (For(t, "serial", body),)
            made += (For(block, "serial", body),) if count > 1 else body
        return tuple(made)


def unrolled(index: Index, body: Iterable[Stmt]) -> For:
    return For(index, "unrolled", tuple(body))
