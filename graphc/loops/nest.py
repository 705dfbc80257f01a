"""Loop nests: the IR between index expressions and machine code. The whole grammar:

    Stmt = For(index, kind, Stmt…) | If(Expr, Stmt…) | Alloc(buffer) | Store(buffer, offset, Expr, streams)
         | Update(buffer, offset, function, Expr) | Prefetch(buffer, offset, cache)
    kind = serial | parallel | unrolled | vector

A `vector` loop runs its iterations as lanes in step: everything in it is done for all lanes before what follows it.
An `Alloc` is visible to the statements after it in its block; inside a vector loop each lane has its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from graphc.expr import Buffer, Const, Expr, Load, Position
from graphc.index import Index, IndexLike, Linear, linear, substitute_index
from graphc.show import show, show_index, show_number
from graphc.traverse import children, substitute, walk

Kind = Literal["serial", "parallel", "unrolled", "vector"]
STRIDES = 4  # of elements that lanes may read as whole vectors, from which they are sorted out


@dataclass(frozen=True, eq=False)
class For:
    """`body` for each value of `index`, 0 ≤ index < index.extent.

    `parallel` iterations are independent and are shared out among threads; `unrolled` ones are written out; `vector`
    ones are lanes.
    """

    index: Index
    kind: Kind
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False)
class Alloc:
    """A private buffer; its contents are undefined until they are stored."""

    buffer: Buffer


@dataclass(frozen=True, eq=False)
class Store:
    """buffer[offset] = value; past the caches where it `streams`: then its lanes are one line of a cache."""

    buffer: Buffer
    offset: Linear
    value: Expr
    streams: bool = False


@dataclass(frozen=True, eq=False)
class Update:
    """buffer[offset] = function(buffer[offset], value)."""

    buffer: Buffer
    offset: Linear
    function: str
    value: Expr


@dataclass(frozen=True, eq=False)
class Prefetch:
    """buffer[offset] will be read or written before long; it may be outside of the buffer, and nothing happens.

    It is fetched to the first cache, or where it is needed later to the second.
    """

    buffer: Buffer
    offset: Linear
    cache: Literal[1, 2] = 2


@dataclass(frozen=True, eq=False)
class If:
    """`body` where `condition` holds."""

    condition: Expr
    body: tuple[Stmt, ...]


Stmt = For | Alloc | Store | Update | Prefetch | If
Block = tuple[Stmt, ...]


def where(condition: Expr, body: Block) -> Block:
    """`body` where the condition holds; without a condition where it always does."""
    decided = condition.value if isinstance(condition, Const) else None
    return (If(condition, body),) if decided is None else body if decided else ()


@dataclass(frozen=True, eq=False)
class Nest:
    """A kernel: `body` on the buffers in `arguments`; those in `written` are outputs."""

    arguments: tuple[Buffer, ...]
    written: tuple[Buffer, ...]
    body: Block

    @property
    def scratch(self) -> tuple[Buffer, ...]:
        """What a thread needs memory for while it runs the kernel."""
        found = (s.buffer for s in statements(self.body) if isinstance(s, Alloc))
        return tuple(b for b in found if b.space == "scratch")

    def touched(self) -> dict[Buffer, int]:
        """How many elements of each argument are read or written, at most."""
        found: Counter[Buffer] = Counter()
        pending: list[tuple[Stmt, int]] = [(s, 1) for s in self.body]
        while pending:
            s, times = pending.pop()
            if isinstance(s, (For, If)):
                pending += [(inner, times * s.index.extent if isinstance(s, For) else times) for inner in s.body]
            elif isinstance(s, (Store, Update)):
                found[s.buffer] += times
            for e in exprs(s):
                if isinstance(e, Load):
                    found[e.buffer] += times
        return {b: min(found[b], b.size) for b in self.arguments}

    def __str__(self) -> str:
        return format_nest(self)


def map_exprs(body: Block, visit: Callable[[Expr], Expr], index: Callable[[Linear], Linear]) -> Block:
    """`body` with every expression and every offset replaced."""
    result: list[Stmt] = []
    for s in body:
        if isinstance(s, (For, If)):
            inner = map_exprs(s.body, visit, index)
            s = replace(s, body=inner) if isinstance(s, For) else If(visit(s.condition), inner)
        elif isinstance(s, (Store, Update)):
            s = replace(s, offset=index(s.offset), value=visit(s.value))
        elif isinstance(s, Prefetch):
            s = replace(s, offset=index(s.offset))
        result.append(s)
    return tuple(result)


def statements(body: Block) -> Iterator[Stmt]:
    """Every statement, outer ones first."""
    left = [*reversed(body)]
    while left:
        s = left.pop()
        yield s
        if isinstance(s, (For, If)):
            left += reversed(s.body)


def exprs(s: Stmt) -> list[Expr]:
    """The expressions of one statement, each once; those of statements inside it not included."""
    if isinstance(s, (Store, Update)):
        return walk(s.value, *s.offset.data)
    return walk(s.condition) if isinstance(s, If) else []


def with_index(body: Block, values: dict[Index, IndexLike]) -> Block:
    """`body` with loop variables replaced."""
    new = {i: linear(v) for i, v in values.items()}

    def offset(i: Linear) -> Linear:
        e = substitute(Position(i), values)
        return e.index if isinstance(e, Position) else substitute_index(i, new)

    return map_exprs(body, lambda e: substitute(e, values), offset)


# -- text -------------------------------------------------------------------------------------------------------------
DEPTH = 40  # of an expression on one line


def format_nest(nest: Nest) -> str:
    """The nest as text, one statement a line; `graphc.loops.text` reads it.

    An expression that a statement has more than once has a name there, and a line in front: `let v0 = exp(x[i])`. It
    stands for the expression, wherever it is used, not for a value that is computed where the line is.
    """
    names: dict[object, str] = {}
    arguments = []
    for b in nest.arguments:
        _name(b, b.name, names)
        arguments.append(f"{'out ' if b in nest.written else ''}{_declare(b, names)}")
    return "\n".join([f"kernel({', '.join(arguments)}) {{", *_lines(nest.body, 1, names), "}"])


def _name(x: object, wanted: str, names: dict[object, str]) -> None:
    """Give `x` a name that nothing in sight has."""
    taken = {name for y, name in names.items() if y is not x}
    found = wanted
    for k in itertools.count(1):
        if found not in taken:
            break
        found = f"{wanted}_{k}"
    names[x] = found


def _declare(b: Buffer, names: Mapping[object, str]) -> str:
    return f"{names[b]}: {b.dtype.short}[{b.size}]"


def _lines(body: Block, depth: int, outer: Mapping[object, str]) -> Iterator[str]:
    pad = "  " * depth
    block = dict(outer)
    for s in body:
        names = dict(block)
        if isinstance(s, For):
            _name(s.index, s.index.name, names)
            yield f"{pad}{'for' if s.kind == 'serial' else s.kind} {names[s.index]} < {s.index.extent} {{"
            yield from _lines(s.body, depth + 1, names)
            yield f"{pad}}}"
        elif isinstance(s, If):
            yield from (f"{pad}{line}" for line in _shared([s.condition], names))
            yield f"{pad}if {show(s.condition, names)} {{"
            yield from _lines(s.body, depth + 1, block)
            yield f"{pad}}}"
        elif isinstance(s, Alloc):
            _name(s.buffer, s.buffer.name, block)
            yield f"{pad}{s.buffer.space} {_declare(s.buffer, block)}"
        elif isinstance(s, Prefetch):
            yield f"{pad}prefetch{s.cache} {names[s.buffer]}[{show_index(s.offset, names)}]"
        else:
            yield from (f"{pad}{line}" for line in _shared([*s.offset.data, s.value], names))
            e = s.value
            value = show_number(e) if isinstance(e, Const) and e.dtype is s.buffer.dtype else show(e, names)
            sign = f"{s.function}=" if isinstance(s, Update) else ":=" if s.streams else "="
            yield f"{pad}{names[s.buffer]}[{show_index(s.offset, names)}] {sign} {value}"


def _shared(roots: Sequence[Expr], names: dict[object, str]) -> Iterator[str]:
    """A line for each part that is used more than once, or is deep inside; it is in `names` from there on."""
    order = walk(*roots)
    uses = Counter(c for e in order for c in children(e)) + Counter(roots)
    height: dict[Expr, int] = {}
    count = 0
    for e in order:
        parts = children(e)
        height[e] = 1 + max((height[c] for c in parts), default=0)
        if (uses[e] > 1 or height[e] > DEPTH) and parts:
            text = show(e, names)
            _name(e, f"v{count}", names)
            yield f"let {names[e]} = {text}"
            count, height[e] = count + 1, 0
