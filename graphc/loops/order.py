"""Nests that find what comes first along an axis, in order.

    keys, places = the first of the row, as many as there is room for: more than twice what is wanted
    for each chunk of the row after that {
      if there is no room for a chunk {sort}                  the best are in front, the others may be overwritten
      if the least key of the chunk < that of the last of the best {append what is less}
    }
    sort

O(n log k) at worst, and little more than reading the row where its elements come in any order. A row for which there is
room is only sorted. Sorting is stable: blocks first, an element's rank being how many come before it, counted in all
lanes at once (comparison counting: Knuth, The Art of Computer Programming, 5.2); then runs are merged in pairs, in
passes from one half of the memory into the other, each pair from both ends (the parity merges of van den Hoven's
quadsort).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphc.expr import (
    Buffer,
    Const,
    Expr,
    ExprLike,
    Load,
    Ordering,
    bounded,
    call,
    cast,
    equal,
    identity,
    lift,
    position,
    select,
)
from graphc.index import Index, IndexLike, Linear, linear
from graphc.loops.layout import Layout
from graphc.loops.nest import Alloc, Block, For, If, Stmt, Store, Update
from graphc.types import DType, int32, int64

BLOCK = 32  # elements that are sorted by counting, at most
CHUNK = 16  # elements that are passed over together

# Loops around `finish(expr)`, reductions as early as they can be: `_build` of lower.py.
Build = Callable[[Sequence[Index], frozenset[Index], Expr, Callable[[Expr], Stmt]], Block]
# Place along the axis, the loop over places, what becomes of the key there -> that loop.
Keys = Callable[[IndexLike, Index, Callable[[Expr], Stmt]], Block]


def ordered(targets: Sequence[tuple[Buffer, Layout]], form: Ordering, build: Build) -> Block:
    """For each row along the axis of `form` the places that come first, and what each target has of them.

    Args:
        targets: for each of `form.results` where it goes. They have one shape, without zeros in it, which along the
            axis says how many places are wanted: no more than `form.size`.
        form: keys of any integer type.
        build: makes the loops that a key or a result needs.
    """
    shape = targets[0][1].shape
    loops = [Index("r" if axis == form.axis else f"i{axis}", n) for axis, n in enumerate(shape)]
    index = [_number(i) for i in loops]
    rank = loops.pop(form.axis)
    rows = [i for i in loops if i.extent != 1]

    def at(place: IndexLike) -> list[Linear]:
        return [*index[: form.axis], linear(place), *index[form.axis + 1 :]]

    def keys(place: IndexLike, loop: Index, finish: Callable[[Expr], Stmt]) -> Block:
        opened = {i for i in linear(place).terms if isinstance(i, Index)} - {loop}
        return build([loop], frozenset([*rows, *opened]), form.key(*at(place)), finish)

    reservoir = _Reservoir(form.size, rank.extent, form.key(*at(0)).dtype)
    body = reservoir.filled(keys)
    place = bounded(Load(reservoir.places, _number(rank)), 0, form.size - 1)
    for (target, layout), result in zip(targets, form.results, strict=True):
        body += build([rank], frozenset(rows), result(*at(place)), partial(Store, target, layout.offset(index)))
    for i in reversed(rows):
        body = (For(i, "serial", body),)
    return body


class _Variable:
    """A number in a register: `value` is what it is now."""

    def __init__(self, name: str, dtype: DType = int64):
        self._buffer = Buffer(name, dtype, 1, "register")
        self.value = Load(self._buffer, linear(0))

    def make(self, value: ExprLike) -> Block:
        """Begin with `value`, in the block that this stands in."""
        return Alloc(self._buffer), self.set(value)

    def set(self, value: ExprLike) -> Stmt:
        return Store(self._buffer, linear(0), lift(value, self.value))

    def update(self, function: str, value: ExprLike) -> Stmt:
        """Set it to `function` of what it is and of `value`."""
        return Update(self._buffer, linear(0), function, lift(value, self.value))


class _Reservoir:
    """Keys and the places that they are from, in the first half of `keys` and of `places`; the other is for sorting.

    There is room for twice the best and a chunk at least, so that each sort makes room for as many as are kept; or for
    the whole row, if that is not longer.

    Args:
        size: how many places there are.
        best: how many of them are wanted, from 1 to `size`.
        dtype: that of the keys, an integer type.
    """

    def __init__(self, size: int, best: int, dtype: DType):
        self.size, self.best = size, best
        self.passes, self.block = _passes(2 * best + CHUNK), BLOCK  # a sort merges so often, and blocks are so long
        if size <= BLOCK << self.passes:
            self.passes = _passes(size)
            self.block = -(-size >> self.passes)
        self.room = self.block << self.passes
        # So many that the rest is whole chunks, and that there is no room for one: the first thing is to sort.
        self.first = size if size <= self.room else self.room - (self.room - size) % CHUNK
        self.keys = Buffer("keys", dtype, 2 * self.room, "scratch")
        self.places = Buffer("places", int64, 2 * self.room, "scratch")
        self.last = identity("min", dtype)  # no key is greater

    def filled(self, keys: Keys) -> Block:
        """Afterwards the best come first, in order."""
        i, rest = Index("i", self.first), Index("i", self.room - self.first)
        body: Block = (
            Alloc(self.keys),
            Alloc(self.places),
            *keys(i, i, partial(Store, self.keys, linear(i))),
            For(i, "serial", (Store(self.places, linear(i), position(i)),)),
        )
        if rest.extent:  # padding, which stays behind elements that have this key too
            body += (
                For(rest, "serial", (Store(self.keys, rest + self.first, Const(self.last, self.keys.dtype)),)),
                For(rest, "serial", (Store(self.places, rest + self.first, Const(0, int64)),)),
            )
        chunks = (self.size - self.first) // CHUNK
        return body + (self._choose(keys, chunks) if chunks else self._sort())

    def _choose(self, keys: Keys, chunks: int) -> Block:
        """The chunks; sorted before one for which there is no room, and after the last if something was appended."""
        chunk = Index("chunk", chunks + 1)
        count = _Variable("count")
        limit = select(position(chunk) < chunks, Const(self.room - CHUNK, int64), self.best)
        return (
            *count.make(self.first),
            For(chunk, "serial", (
                If(count.value > limit, (*self._sort(), count.set(self.best))),
                If(position(chunk) < chunks, self._enter(keys, chunk, count)),
            )),
        )  # fmt: skip

    def _enter(self, keys: Keys, chunk: Index, count: _Variable) -> Block:
        """Append what comes before the last of the best.

        Each element is stored, and the next one overwrites it unless it is counted. One that stays all the same, and
        what the last sort left behind the best, is as good as the padding: no less than the best, and after them.
        """
        i = Index("i", CHUNK)
        dtype = self.keys.dtype
        fresh = Buffer("fresh", dtype, CHUNK, "register")
        least, worst = _Variable("least", dtype), _Variable("worst", dtype)
        place = chunk * CHUNK + i + self.first
        end = bounded(count.value, 0, self.room - 1)
        append = (
            Store(self.keys, end, Load(fresh, linear(i))),
            Store(self.places, end, position(place)),
            count.update("add", cast(Load(fresh, linear(i)) < worst.value, int64)),
        )
        return (
            Alloc(fresh),
            *keys(place, i, partial(Store, fresh, linear(i))),
            *least.make(self.last),
            For(i, "serial", (least.update("min", Load(fresh, linear(i))),)),
            *worst.make(Load(self.keys, linear(self.best - 1))),
            If(least.value < worst.value, (For(i, "serial", append),)),
        )

    # -- sorting ------------------------------------------------------------------------------------------------------
    def _sort(self) -> Block:
        """Sort all that is in the first half, by way of the other."""
        body = self._sort_blocks()
        source, to = self.room, 0  # where the runs are, and where they are merged to
        for step in range(self.passes):
            body += self._merge_runs(self.block << step, source, to)
            source, to = to, source
        if source:  # they came to lie in the second half
            i = Index("i", self.room)
            for b in (self.keys, self.places):
                body += (For(i, "serial", (Store(b, linear(i), Load(b, i + source)),)),)
        return body

    def _sort_blocks(self) -> Block:
        """Each block by itself, into the second half."""
        block, i, j = Index("block", 1 << self.passes), Index("i", self.block), Index("j", self.block)
        start = _number(block) * self.block
        ranks = Buffer("ranks", int32, self.block, "register")
        before = _Variable("before", int32)
        key, other = Load(self.keys, start + i), Load(self.keys, start + j)
        is_before = (other < key) | (equal(other, key) & (cast(position(j), int32) < cast(position(i), int32)))
        to = start + bounded(Load(ranks, linear(i)), 0, self.block - 1) + self.room
        body = (
            Alloc(ranks),
            For(i, "serial", (
                *before.make(0),
                For(j, "serial", (before.update("add", cast(is_before, int32)),)),
                Store(ranks, linear(i), before.value),
            )),
            For(i, "serial", (Store(self.keys, to, key), Store(self.places, to, Load(self.places, start + i)))),
        )  # fmt: skip
        return (For(block, "serial", body),) if block.extent > 1 else body

    def _merge_runs(self, width: int, source: int, to: int) -> Block:
        """Runs of `width` in pairs: half of each result from its start on, half from its end back.

        A half has `width` elements, and so has a run: none comes to its end before, which need not be asked then. And
        the processor does the two halves side by side.
        """
        pair, i = Index("pair", self.room // (2 * width)), Index("i", width)
        start = _number(pair) * 2 * width
        rights, lefts = _Variable("rights"), _Variable("lefts")  # how many are taken at the start, and at the end
        right, left = (bounded(v.value, 0, width - 1) for v in (rights, lefts))
        end = start + 2 * width - 1 - i
        body = (
            *rights.make(0),
            *lefts.make(0),
            For(i, "serial", (
                *self._take(rights, source + start + i - right, source + start + width + right, to + start + i),
                *self._take(lefts, source + start + width - 1 - left, source + end + left, to + end, back=True),
            )),
        )  # fmt: skip
        return (For(pair, "serial", body),) if pair.extent > 1 else body

    def _take(self, count: _Variable, left: Linear, right: Linear, to: Linear, *, back: bool = False) -> Block:
        """The lesser of two, which is the right one only if they are out of order; or the greater, the left one if so.

        `count` counts how often they are.
        """
        a, b, swap = _Variable("a", self.keys.dtype), _Variable("b", self.keys.dtype), _Variable("swap")
        expected, other = (right, left) if back else (left, right)
        place = select(equal(swap.value, 1), position(other), position(expected))
        return (
            *a.make(Load(self.keys, left)),
            *b.make(Load(self.keys, right)),
            *swap.make(cast(b.value < a.value, int64)),
            Store(self.keys, to, call("max" if back else "min", a.value, b.value)),
            Store(self.places, to, Load(self.places, bounded(place, 0, 2 * self.room - 1))),
            count.update("add", swap.value),
        )


def _number(i: Index) -> Linear:
    """The index; a loop that runs once need not be there."""
    return linear(0) if i.extent == 1 else linear(i)


def _passes(n: int) -> int:
    """How often runs are merged in pairs until one has `n` elements."""
    return (-(-n // BLOCK) - 1).bit_length()
