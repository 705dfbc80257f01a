"""Maps that read along one loop and write along another: square tiles are transposed in registers.

    for i {for j {y[n i + j] = f(x[j·m + i])}}  ->  for each tile of n × n {
                                                     tile[r, l] = x[…]          n vectors along i
                                                     tile[r, l] = tile[l, r]    in log₂ n steps of n shuffles
                                                     y[…] = f(tile[r, l])       n vectors along j
                                                   }

Step d of the transposition exchanges bit d of the row with bit d of the lane, so that each vector is made of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from graphc.expr import Buffer, Call, Expr, Load, Position, Select
from graphc.index import Index, Linear, index_variables, linear
from graphc.loops.nest import Alloc, Block, For, Stmt, Store, with_index
from graphc.traverse import rewrite, substitute, walk

LEAST = 4  # rows and columns of a tile


def transpose(s: For, lanes: int) -> list[Stmt] | None:
    """The loops `s` in tiles of at most `lanes` rows and columns; None where that is not what they are."""
    loops: list[Index] = []
    body: Block = (s,)
    while len(body) == 1 and isinstance(f := body[0], For) and f.kind == "serial":
        loops.append(f.index)
        body = f.body
    if len(loops) < 2 or len(body) != 1 or not isinstance(store := body[0], Store) or not _plain(store):
        return None
    for along, across in itertools.permutations(loops, 2):
        size = lanes
        while size > min(along.extent, across.extent):
            size //= 2
        if size < LEAST or store.offset.terms.get(along) != 1:
            continue
        tiles = _tiles(store, along, across, size)
        if tiles is None:
            continue
        for i in reversed([i for i in loops if i not in (along, across)]):
            tiles = [For(i, "serial", tuple(tiles))]
        return tiles
    return None


def _plain(store: Store) -> bool:
    """True if all that is read may be read at any time, and is where loops say."""
    if store.offset.data:
        return False
    for e in walk(store.value):
        if isinstance(e, (Select, Position)) or (isinstance(e, Call) and e.function == "guard"):
            return False
        if isinstance(e, Load) and (e.buffer.space == "register" or e.offset.data):
            return False
    return True


def _tiles(store: Store, along: Index, across: Index, size: int) -> list[Stmt] | None:
    """Tiles; what is left at the end of a loop is in some that begin earlier, or done element by element."""
    made: list[Stmt] = []
    for (a, an), (b, bn) in itertools.product(_parts(along.extent, size), _parts(across.extent, size)):
        starts = a if an >= size else along.extent - size, b if bn >= size else across.extent - size
        i, j = Index("tile", max(1, an // size)), Index("row", max(1, bn // size))
        tile = _tile(store, {along: i * size + starts[0]}, {across: j * size + starts[1]}, size)
        if tile is None and not made:
            return None
        if tile is None:
            i, j = Index(along.name, an), Index(across.name, bn)
            tile = with_index((store,), {along: i + a, across: j + b})
        for k in (i, j):
            tile = (For(k, "serial", tile),) if k.extent > 1 else with_index(tile, {k: 0})
        made += tile
    return made


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """(start, number): whole tiles, and what is left."""
    whole = extent // size * size
    return [(0, whole), (whole, extent - whole)] if whole < extent else [(0, whole)]


def _tile(store: Store, along: Mapping[Index, Linear], across: Mapping[Index, Linear], size: int) -> Block | None:
    """One tile from there on; None where elements are neither neighbours along one loop nor along the other."""
    row, lane = Index("r", size), Index("l", size)

    def moved(e: Expr, a: Index, b: Index) -> Expr:
        return substitute(e, {**{k: v + a for k, v in along.items()}, **{k: v + b for k, v in across.items()}})

    (changed,) = with_index(
        (store,), {**{k: v + lane for k, v in along.items()}, **{k: v + row for k, v in across.items()}}
    )
    assert isinstance(changed, Store)
    if not _neighbours(changed.offset, lane):
        return None
    made: list[Stmt] = []
    done: dict[Expr, Expr] = {}
    for e in walk(store.value):
        if not isinstance(e, Load):
            continue
        straight, crossed = moved(e, lane, row), moved(e, row, lane)
        assert isinstance(straight, Load)
        assert isinstance(crossed, Load)
        if lane not in index_variables(straight.offset) or _neighbours(straight.offset, lane):
            done[e] = straight
        elif _neighbours(crossed.offset, lane):
            statements, tile = _transposed(crossed, row, lane, size)
            made += statements
            done[e] = Load(tile, row * size + lane)
        else:
            return None
    if not made:
        return None
    value = rewrite(store.value, lambda e: None, done)
    return (*made, _each(row, lane, Store(store.buffer, changed.offset, value)))


def _neighbours(at: Linear, lane: Index) -> bool:
    """True if lanes are neighbours, whatever the row is."""
    rest = [atom for atom in at.terms if atom is not lane]
    return at.terms.get(lane) == 1 and not any(lane in index_variables(linear(atom)) for atom in rest)


def _transposed(load: Load, row: Index, lane: Index, size: int) -> tuple[list[Stmt], Buffer]:
    """Rows of `load`, transposed: the statements, and the buffer that has the columns then."""
    tile = Buffer("tile", load.dtype, size * size, "register")
    made: list[Stmt] = [Alloc(tile), _each(row, lane, Store(tile, row * size + lane, load))]
    bit = size // 2
    while bit:
        r, c = row // bit % 2, lane // bit % 2
        source = (row + (c - r) * bit) * size + lane + (r - c) * bit
        following = Buffer("tile", load.dtype, size * size, "register")
        made += [Alloc(following), _each(row, lane, Store(following, row * size + lane, Load(tile, source)))]
        tile, bit = following, bit // 2
    return made, tile


def _each(row: Index, lane: Index, store: Store) -> For:
    return For(row, "unrolled", (For(lane, "vector", (store,)),))
