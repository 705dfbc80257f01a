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

from graphc.expr import (
    Atom,
    Buffer,
    Call,
    Const,
    Datum,
    Expr,
    Index,
    Linear,
    Load,
    Position,
    Quotient,
    children,
    show,
    show_index,
    walk,
)

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


# -- identity ---------------------------------------------------------------------------------------------------------
class _Fingerprint:
    """Numbers for buffers, indices and shared expressions, in order of appearance, so that names do not matter."""

    def __init__(self, nest: Nest) -> None:
        self.lines: list[str] = []
        self.buffers: dict[Buffer, int] = {}
        self.indices: dict[Index, int] = {}
        self.exprs: dict[Expr, int] = {}
        for b in nest.arguments:
            self.buffers[b] = len(self.buffers)
            self.lines.append(f"{'out' if b in nest.written else 'in'} {b.dtype.short} {b.size}")
        self.block(nest.body)

    def block(self, body: Block) -> None:
        for s in body:
            if isinstance(s, Alloc):
                self.buffers[s.buffer] = len(self.buffers)
                self.lines.append(f"alloc {s.buffer.dtype.short} {s.buffer.size}")
            elif isinstance(s, For):
                self.indices[s.index] = len(self.indices)
                self.lines.append(f"{s.kind} {s.index.extent} {{")
                self.block(s.body)
                self.lines.append("}")
            elif isinstance(s, If):
                self.lines.append(f"if {self.expr(s.condition)} {{")
                self.block(s.body)
                self.lines.append("}")
            else:
                function = s.function if isinstance(s, Update) else "="
                at, value = self.index(s.offset), self.expr(s.value)
                self.lines.append(f"{function} {self.buffers[s.buffer]} [{at}] {value}")

    def index(self, i: Linear) -> str:
        terms = sorted(f"{c}*{self.atom(a)}" for a, c in i.terms.items())
        return "+".join([*terms, str(i.constant)])

    def atom(self, a: Atom) -> str:
        if isinstance(a, Index):
            return f"i{self.indices[a]}"
        if isinstance(a, Datum):
            return f"d{self.expr(a.expr)}"
        return f"({self.index(a.index)}{'/' if isinstance(a, Quotient) else '%'}{a.divisor})"

    def expr(self, root: Expr) -> int:
        for e in walk(root):
            if e in self.exprs:
                continue
            if isinstance(e, Const):
                text = f"{e.value!r}"
            elif isinstance(e, Position):
                text = f"position {self.index(e.index)}"
            elif isinstance(e, Load):
                text = f"load {self.buffers[e.buffer]} [{self.index(e.offset)}]"
            else:
                name = e.function if isinstance(e, Call) else "select"
                text = f"{name} {' '.join(str(self.exprs[c]) for c in children(e))}"
            self.exprs[e] = len(self.exprs)
            self.lines.append(f"%{self.exprs[e]} {e.dtype.short} {text}")
        return self.exprs[root]


def fingerprint(nest: Nest) -> str:
    """A text that two nests share exactly if the same code serves them both: whatever names and objects they use."""
    return "\n".join(_Fingerprint(nest).lines)
