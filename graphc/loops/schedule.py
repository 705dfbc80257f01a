"""Schedules of map and row nests: which loops become one, which become lanes, which are shared out among threads.

Rewrites of a nest that are chosen by its shape alone: strides of the loops, which of them a reduction runs over.

    split       for i < 35 {f(i)}     ->  for o < 2 {vector l < 16 {f(16 o + l)}} vector l < 16 {f(19 + l)}
    privatize   for i < n {t += f(i)} ->  as split, each lane with a sum of its own; the lanes are added up at the end
    digits      for i < 48 {f(i // 16, i % 16)} ->  for o < 3 {for l < 16 {f(o, l)}}
    merge       for i {for j < n {f(n i + j)}}  ->  for k {f(k)}
    transpose   of tiles in registers, where elements are neighbours along one loop and are stored along another
    collapse    for i {for j < n {f(i, j)}}     ->  for k {f(k // n, k % n)}
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from graphc.expr import REDUCTIONS, Buffer, Const, Expr, Load, Position, Select, identity
from graphc.frozen import Frozen
from graphc.index import Atom, Index, Linear, Quotient, Remainder, index_variables, linear
from graphc.loops.nest import (
    STRIDES,
    Alloc,
    Block,
    For,
    If,
    Nest,
    Stmt,
    Store,
    Update,
    exprs,
    statements,
    with_index,
)
from graphc.loops.transpose import transpose
from graphc.traverse import substitute, variables, walk

GRAIN = 1 << 15  # operations below which a loop is not worth sharing out
BLOCK = 64  # numbers that are added up one after the other, beyond which rounding errors would grow
WINDOW = 16  # iterations inside of a vector that are written out
SHARES = 16  # iterations that a shared loop should have, so that threads get equal parts
_IDENTITY = {function: reduction for reduction, function in REDUCTIONS.items()}


class Machine(Frozen):
    """What schedules need to know of a target.

    Attributes:
        vector_bytes: bytes of a vector register.
        registers: how many there are.
        cache: bytes of the second-level cache.
        last_cache: bytes of the last one, which cores share.
        multipliers: multiply-adds of vectors that start in a cycle.
    """

    vector_bytes: int
    registers: int
    cache: int = 1 << 20
    last_cache: int = 32 << 20
    multipliers: int = 2


def schedule(nest: Nest, machine: Machine) -> Nest:
    """`nest` with its loops merged, vectorised and shared out."""
    body = _merge(_digits(nest.body))
    body = _vectorize(body, machine)
    return replace(nest, body=share(body))


# -- digits -----------------------------------------------------------------------------------------------------------
def _digits(body: Block) -> Block:
    """Loops become one for each digit of their index, where places are counted in digits."""
    if not any(isinstance(a, (Quotient, Remainder)) for at in indices(body) for a in at.terms):
        return body
    result: list[Stmt] = []
    for s in body:
        if isinstance(s, If):
            s = replace(s, body=_digits(s.body))
        if isinstance(s, For) and s.kind == "serial":
            s = _in_digits(s)
            s = replace(s, body=_digits(s.body))
        result.append(s)
    return tuple(result)


def _in_digits(s: For) -> For:
    """`s` as nested loops, if fewer divisions are left then."""
    before = _divisions(s.body, s.index)
    for atom in before:
        n = atom.divisor // math.gcd(atom.divisor, atom.index.terms.get(s.index, 0))
        if 1 < n < s.index.extent and s.index.extent % n == 0:
            high, low = Index(f"{s.index.name}o", s.index.extent // n), Index(f"{s.index.name}l", n)
            body = with_index(s.body, {s.index: high * n + low})
            if len({**_divisions(body, high), **_divisions(body, low)}) < len(before):
                return _in_digits(For(high, "serial", (_in_digits(For(low, "serial", body)),)))
    return s


def _divisions(body: Block, index: Index) -> dict[Quotient | Remainder, None]:
    """The quotients and remainders of what `index` is in."""
    return dict.fromkeys(a for at in indices(body) for a in _divided(at) if index in index_variables(a.index))


def _divided(at: Linear) -> Iterator[Quotient | Remainder]:
    for atom in at.terms:
        if isinstance(atom, (Quotient, Remainder)):
            yield atom
            yield from _divided(atom.index)


# -- merge ------------------------------------------------------------------------------------------------------------
def _merge(body: Block) -> Block:
    """Loops that run over neighbouring elements become one."""
    result: list[Stmt] = []
    for s in body:
        if isinstance(s, If):
            s = replace(s, body=_merge(s.body))
        if not isinstance(s, For):
            result.append(s)
            continue
        inner = _merge(s.body)
        if len(inner) == 1 and isinstance(f := inner[0], For) and _adjacent(s.index, f.index, f.body):
            merged = Index(f.index.name, s.index.extent * f.index.extent)
            result.append(For(merged, s.kind, with_index(f.body, {s.index: 0, f.index: merged})))
        else:
            result.append(replace(s, body=inner))
    return tuple(result)


def _adjacent(outer: Index, inner: Index, body: Block) -> bool:
    return all(
        index.terms.get(outer, 0) == index.terms.get(inner, 0) * inner.extent
        and not any(not isinstance(a, Index) and {outer, inner} & _inside(a) for a in index.terms)
        for index in indices(body)
    )


def _inside(atom: Atom) -> set[Index]:
    """The loop variables in a quotient or a remainder."""
    return index_variables(atom.index) if isinstance(atom, (Quotient, Remainder)) else set()


def indices(body: Block) -> Iterator[Linear]:
    """Every index in `body`: offsets, and positions in expressions."""
    for s in statements(body):
        if isinstance(s, (Store, Update)):
            yield s.offset
        for e in exprs(s):
            if isinstance(e, (Load, Position)):
                yield e.offset if isinstance(e, Load) else e.index


# -- vectorise --------------------------------------------------------------------------------------------------------
def _vectorize(body: Block, machine: Machine) -> Block:
    result: list[Stmt] = []
    for s in body:
        if isinstance(s, If):
            result.append(replace(s, body=_vectorize(s.body, machine)))
        elif not isinstance(s, For) or s.kind != "serial":
            result.append(s)
        elif (tiles := transpose(s, _lanes(s, machine))) is not None:
            result += tiles
        elif is_map(s) and _unit(s, STRIDES):
            result += _split(s, _lanes(s, machine))
        elif any(isinstance(x, (For, If)) for x in s.body):
            result.append(replace(s, body=_vectorize(s.body, machine)))
        elif _is_reduction(s) and _unit(s, 1):
            result += _privatize(s, _lanes(s, machine))
        else:
            result.append(s)
    return tuple(result)


def is_map(s: For) -> bool:
    """True if iterations are independent: each writes to elements of its own."""
    private = {x.buffer for x in statements(s.body) if isinstance(x, Alloc)}
    return all(
        s.index in x.offset.terms
        for x in statements(s.body)
        if isinstance(x, (Store, Update)) and x.buffer not in private
    )


def is_vectorized(nest: Nest) -> bool:
    """True if `nest` reads vectors, but for what is left at the ends of loops."""
    vectors = [s for s in statements(nest.body) if isinstance(s, For) and s.kind == "vector"]
    return any(isinstance(e, Load) for v in vectors for s in statements(v.body) for e in exprs(s))


def _is_reduction(s: For) -> bool:
    return all(isinstance(x, Update) and s.index not in index_variables(x.offset) for x in s.body)


def _unit(s: For, reach: int) -> bool:
    """True if neighbouring iterations touch neighbouring elements, or the same ones; or read within `reach`.

    And if they can be lanes: those do the same at any time, and have no scratch memory of their own.
    """
    private = {x.buffer for x in statements(s.body) if isinstance(x, Alloc)}
    if any(b.space == "scratch" for b in private) or any(isinstance(x, If) for x in statements(s.body)):
        return False
    touched = False
    for x in statements(s.body):
        if isinstance(x, (Store, Update)) and x.buffer not in private:
            if x.offset.terms.get(s.index, 0) not in (0, 1) or not _plain(s.index, x.offset):
                return False
            touched |= s.index in x.offset.terms
        for e in exprs(x):
            if isinstance(e, Load) and e.buffer not in private:
                if not 0 <= e.offset.terms.get(s.index, 0) <= reach or not _plain(s.index, e.offset):
                    return False
                touched |= s.index in e.offset.terms
            if isinstance(e, Select) and _differs(e, s.index):
                return False
    return touched


def _plain(index: Index, at: Linear) -> bool:
    """True if `at` grows evenly with `index`: what it depends on as data must be the same for all lanes."""
    if any(not isinstance(a, Index) and index in _inside(a) for a in at.terms):
        return False
    return not any(index in variables(e) or _reads_registers(e) for e in at.data)


def _reads_registers(e: Expr) -> bool:
    return any(isinstance(x, Load) and x.buffer.space == "register" for x in walk(e))


def _differs(e: Select, index: Index) -> bool:
    """True if lanes along `index` choose differently between sides that read memory, beyond what decides has read."""
    decides = set(walk(e.condition))
    if not any(isinstance(x, Load) and x not in decides for x in walk(e.then, e.other)):
        return False
    for x in decides:
        if isinstance(x, (Load, Position)):
            at = x.offset if isinstance(x, Load) else x.index
            if index in index_variables(at):
                return True
            if isinstance(x, Load) and x.buffer.space == "register":
                return True
    return False


def _lanes(s: For, machine: Machine) -> int:
    widest = 1
    for x in statements(s.body):
        if isinstance(x, (Store, Update)):
            widest = max(widest, x.buffer.dtype.numpy.itemsize)
        for e in exprs(x):
            if not isinstance(e, (Position, Const)) and e.dtype.numpy.itemsize > widest:
                widest = e.dtype.numpy.itemsize
    return machine.vector_bytes // max(widest, 4)


def pieces(extent: int, lanes: int) -> list[tuple[int, int, int]]:
    """(start, count, width): vectors that cover `extent`, as many of `lanes` as fit, then one of each power of two."""
    found = [(0, extent // lanes, lanes)] if extent >= lanes else []
    at, width = extent // lanes * lanes, lanes // 2
    while at < extent:
        if extent - at >= width:
            found.append((at, 1, width))
            at += width
        width //= 2
    return found


def _split(s: For, lanes: int) -> list[Stmt]:
    """Vectors, the last one of which begins so early that it ends where the loop does; some lanes are done twice."""
    n = s.index.extent
    if n == 1 or lanes == 1:
        return [s]
    s = replace(s, body=_unroll(s.body))
    if not _repeatable(s.body):
        parts = pieces(n, lanes)
    else:
        while lanes > n:
            lanes //= 2
        parts = [(0, n // lanes, lanes), *([(n - lanes, 1, lanes)] if n % lanes else [])]
    result: list[Stmt] = []
    for start, count, width in parts:
        if width == 1 and count == 1:
            result += with_index(s.body, {s.index: start})
            continue
        lane = Index(f"{s.index.name}l", width)
        if count == 1:
            result.append(For(lane, "vector", with_index(s.body, {s.index: lane + start})))
            continue
        outer = Index(f"{s.index.name}o", count)
        vector = For(lane, "vector", with_index(s.body, {s.index: outer * width + lane + start}))
        result.append(For(outer, "serial", (vector,)))
    return result


def _unroll(body: Block) -> Block:
    """`body` with loops of few iterations, such as those over a window, written out."""
    return tuple(
        replace(s, kind="unrolled", body=_unroll(s.body)) if isinstance(s, For) and _iterations(s) <= WINDOW else s
        for s in body
    )


def _iterations(s: Stmt) -> int:
    return s.index.extent * max(map(_iterations, s.body)) if isinstance(s, For) else 1


def _repeatable(body: Block) -> bool:
    """True if doing it twice does no harm: nothing is read that is written, but for what each iteration has alone."""
    private = {x.buffer for x in statements(body) if isinstance(x, Alloc)}
    written = {x.buffer for x in statements(body) if isinstance(x, (Store, Update))} - private
    updated = {x.buffer for x in statements(body) if isinstance(x, Update)} - private
    return not updated and not written & _read(body)


def _privatize(s: For, lanes: int) -> list[Stmt]:
    """Sums of several lanes side by side; four registers of them where there is enough to add, to hide latency."""
    n = s.index.extent
    wide = 4 * lanes if n >= 16 * lanes else lanes
    if n < wide or lanes == 1:
        return [s]
    before: list[Stmt] = []
    rest: list[Stmt] = []
    after: list[Stmt] = []
    lane = Index(f"{s.index.name}l", wide)
    parts: list[tuple[Update, Buffer]] = []
    for x in s.body:
        assert isinstance(x, Update)
        part = Buffer(f"{x.buffer.name}l", x.buffer.dtype, wide, "register")
        parts.append((x, part))
        before += [Alloc(part), For(lane, "vector", (_identity(x, part, lane),))]
        for at, count, width in pieces(n % wide, lanes):
            for k in range(count):
                few = Index("l", width)
                base = n // wide * wide + at + k * width
                value = substitute(x.value, {s.index: few + base})
                rest.append(For(few, "vector", (Update(part, linear(few), x.function, value),)))
        half = wide // 2
        while half:
            few = Index("l", half)
            after.append(For(few, "vector", (Update(part, linear(few), x.function, Load(part, few + half)),)))
            half //= 2
        after.append(Update(x.buffer, x.offset, x.function, Load(part, linear(0))))
    return [*before, *_accumulate(s.index, parts, lane, n // wide), *rest, *after]


def _identity(x: Update, part: Buffer, lane: Index) -> Store:
    return Store(part, linear(lane), Const(identity(_IDENTITY[x.function], part.dtype), part.dtype))


def _accumulate(index: Index, parts: list[tuple[Update, Buffer]], lane: Index, steps: int) -> list[Stmt]:
    """Add `steps` vectors up, many of them in blocks: sums of sums, each of which is short."""

    def add(into: list[tuple[Update, Buffer]], at: Linear) -> For:
        values = [substitute(x.value, {index: at * lane.extent + lane}) for x, _ in into]
        updates = [Update(b, linear(lane), x.function, v) for (x, b), v in zip(into, values, strict=True)]
        return For(lane, "vector", tuple(updates))

    found: list[Stmt] = []
    start = 0
    if steps >= 2 * BLOCK and any(x.function == "add" and b.dtype.is_float for x, b in parts):
        start = steps // BLOCK * BLOCK
        outer, inner = Index(f"{index.name}b", steps // BLOCK), Index(f"{index.name}o", BLOCK)
        blocks = [(x, Buffer(f"{x.buffer.name}b", b.dtype, lane.extent, "register")) for x, b in parts]
        clear = [_identity(x, b, lane) for x, b in blocks]
        total = [
            Update(t, linear(lane), x.function, Load(b, linear(lane)))
            for (x, b), (_, t) in zip(blocks, parts, strict=True)
        ]
        body = (
            For(lane, "vector", tuple(clear)),
            For(inner, "serial", (add(blocks, outer * BLOCK + inner),)),
            For(lane, "vector", tuple(total)),
        )
        found += [*(Alloc(b) for _, b in blocks), For(outer, "serial", body)]
    if start < steps:
        step = Index(f"{index.name}o", steps - start)
        found.append(For(step, "serial", (add(parts, step + start),)))
    return found


# -- share out --------------------------------------------------------------------------------------------------------
def share(body: Block) -> Block:
    """The outermost loops become parallel where their iterations are independent and the work is worth it."""
    if _scatters(body):
        return body
    # What is kept outside of loops, only the thread that does everything else has.
    own = {s.buffer for s in body if isinstance(s, Alloc)}
    if own:
        inner = {s.buffer for s in statements(body) if isinstance(s, Alloc)}
        own |= ({s.buffer for s in statements(body) if isinstance(s, (Store, Update))} & _read(body)) - inner
    return tuple(_share(s) if isinstance(s, For) and not own & _touched((s,)) else s for s in body)


def _read(body: Block) -> set[Buffer]:
    return {e.buffer for s in statements(body) for e in exprs(s) if isinstance(e, Load)}


def _touched(body: Block) -> set[Buffer]:
    return _read(body) | {s.buffer for s in statements(body) if isinstance(s, (Store, Update))}


def _scatters(body: Block) -> bool:
    """True if a place that is written is data: what is there must have been written before, by whichever thread."""
    private = {s.buffer for s in statements(body) if isinstance(s, Alloc)}
    written = [s for s in statements(body) if isinstance(s, (Store, Update)) and s.buffer not in private]
    return any(s.offset.data for s in written)


def _share(s: For) -> For:
    if s.kind != "serial" or not is_map(s) or work(s) < GRAIN:
        return s
    while s.index.extent < SHARES and len(s.body) == 1 and isinstance(f := s.body[0], For) and f.kind == "serial":
        if not is_map(f):
            break
        both = Index(s.index.name + f.index.name, s.index.extent * f.index.extent)
        n = f.index.extent
        s = For(both, "serial", with_index(f.body, {s.index: both // n, f.index: both % n}))
    return replace(s, kind="parallel") if s.index.extent > 1 else s


def work(s: Stmt) -> int:
    """Operations that `s` does, roughly."""
    if isinstance(s, For):
        return s.index.extent * sum(map(work, s.body))
    if isinstance(s, If):
        return sum(map(work, s.body))
    return 0 if isinstance(s, Alloc) else len(exprs(s))
