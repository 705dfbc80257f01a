"""Loop nests: the IR between index expressions and machine code. The whole grammar:

    Stmt = For(index, kind, Stmt…) | If(Expr, Stmt…) | Alloc(buffer) | Store(buffer, offset, Expr)
         | Update(buffer, offset, function, Expr)
    kind = serial | parallel | unrolled | vector

A `vector` loop runs its iterations as lanes in step: everything in it is done for all lanes before what follows it.
An `Alloc` is visible to the statements after it in its block; inside a vector loop each lane has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from graphc.expr import Buffer, Expr, Index, Linear, Position, children, show, show_index, walk

Kind = Literal["serial", "parallel", "unrolled", "vector"]


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
    """buffer[offset] = value."""

    buffer: Buffer
    offset: Linear
    value: Expr


@dataclass(frozen=True, eq=False)
class Update:
    """buffer[offset] = function(buffer[offset], value)."""

    buffer: Buffer
    offset: Linear
    function: str
    value: Expr


@dataclass(frozen=True, eq=False)
class If:
    """`body` where `condition` holds."""

    condition: Expr
    body: tuple[Stmt, ...]


Stmt = For | Alloc | Store | Update | If
Block = tuple[Stmt, ...]


@dataclass(frozen=True, eq=False)
class Nest:
    """A kernel: `body` on the buffers in `arguments`; those in `written` are outputs."""

    arguments: tuple[Buffer, ...]
    written: tuple[Buffer, ...]
    body: Block

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
        result.append(s)
    return tuple(result)


def statements(body: Block) -> Iterator[Stmt]:
    """Every statement, outer ones first."""
    for s in body:
        yield s
        if isinstance(s, (For, If)):
            yield from statements(s.body)


def exprs(s: Stmt) -> list[Expr]:
    """The expressions of one statement, each once; those of statements inside it not included."""
    if isinstance(s, (Store, Update)):
        return walk(s.value, *children(Position(s.offset)))
    return walk(s.condition) if isinstance(s, If) else []


def format_nest(nest: Nest) -> str:
    """The nest as text, one statement a line."""
    arguments = ", ".join(f"{'out ' if b in nest.written else ''}{_declare(b)}" for b in nest.arguments)
    return "\n".join([f"kernel({arguments}) {{", *_lines(nest.body, 1), "}"])


def _declare(b: Buffer) -> str:
    return f"{b.name}: {b.dtype.short}[{b.size}]"


def _lines(body: Block, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for s in body:
        if isinstance(s, For):
            yield f"{pad}{'for' if s.kind == 'serial' else s.kind} {s.index.name} < {s.index.extent} {{"
            yield from _lines(s.body, depth + 1)
            yield f"{pad}}}"
        elif isinstance(s, If):
            yield f"{pad}if {show(s.condition)} {{"
            yield from _lines(s.body, depth + 1)
            yield f"{pad}}}"
        elif isinstance(s, Alloc):
            yield f"{pad}{s.buffer.space} {_declare(s.buffer)}"
        elif isinstance(s, Store):
            yield f"{pad}{s.buffer.name}[{show_index(s.offset)}] = {show(s.value)}"
        else:
            yield f"{pad}{s.buffer.name}[{show_index(s.offset)}] {s.function}= {show(s.value)}"
