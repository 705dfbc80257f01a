"""LLVM IR as text, line by line: registers, basic blocks, and scopes that know what has been computed in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.expr import Expr

from .scalars import splat


@dataclass(frozen=True)
class Value:
    """A register: its name (or a literal), and how many lanes it has."""

    name: str
    lanes: int


@dataclass(frozen=True)
class Offset:
    """A position in a buffer: base + constant + stride · lane; with `lanes` names a vector of positions instead."""

    base: str
    constant: int
    stride: int
    lanes: str | None = None


@dataclass(eq=False)
class Scope:
    """A block of code that is being written.

    Attributes:
        label: the basic block that the last line is in.
        lines: the code.
        known: index arithmetic -> its register.
        values: expression -> its value, until something is stored: it may have been read from there.
        lasting: what stores leave as it is, numbers in every lane and what was read from inputs -> its value.
    """

    label: str
    lines: list[str] = field(default_factory=list)
    known: dict[object, str] = field(default_factory=dict)
    values: dict[Expr, Value] = field(default_factory=dict)
    lasting: dict[tuple[object, ...], Value] = field(default_factory=dict)

    def state(self) -> tuple[dict[object, str], dict[Expr, Value], dict[tuple[object, ...], Value]]:
        """A copy of what is known."""
        return dict(self.known), dict(self.values), dict(self.lasting)


class Writer:
    """Writes the lines of one function.

    Attributes:
        declared: the functions that are called: name -> declaration.
        entry: the first block.
        scopes: the blocks that are open, from `entry` in.
        depths: register of an index computation -> depth of the scope that it is in.
    """

    def __init__(self) -> None:
        self.count = 0
        self.declared: dict[str, str] = {}
        self.entry = Scope("entry")
        self.scopes = [self.entry]
        self.depths: dict[str, int] = {}

    def op(self, text: str) -> str:
        self.count += 1
        name = f"%t{self.count}"
        self.scopes[-1].lines.append(f"{name} = {text}")
        return name

    def line(self, text: str) -> None:
        self.scopes[-1].lines.append(text)

    def intrinsic(self, name: str, result: str, *arguments: tuple[str, str]) -> str:
        """A call; each argument is its type and its register."""
        kinds = ", ".join(kind for kind, _ in arguments)
        self.declared.setdefault(name, f"declare {result} @{name}({kinds})")
        return self.op(f"call {result} @{name}({', '.join(f'{kind} {x}' for kind, x in arguments)})")

    def new_label(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def start(self, label: str) -> None:
        """Begin a basic block in the current scope."""
        self.scopes[-1].lines.append(f"{label}:")
        self.scopes[-1].label = label

    def fail_unless(self, ok: str, lanes: int) -> None:
        if lanes > 1:
            ok = self.intrinsic(f"llvm.vector.reduce.and.v{lanes}i1", "i1", (f"<{lanes} x i1>", ok))
        bad, after = self.new_label("bad"), self.new_label("good")
        self.line(f"br i1 {ok}, label %{after}, label %{bad}")
        self.start(bad)
        self.line("store i32 1, ptr %status, align 4")
        self.line(f"br label %{after}")
        self.start(after)

    def once(self, scope: Scope, key: object, text: str) -> str:
        """The result of an instruction in `scope`, written once."""
        if key not in scope.known:
            self.count += 1
            name = scope.known[key] = f"%t{self.count}"
            self.depths[name] = self.scopes.index(scope)
            scope.lines.append(f"{name} = {text}")
        return scope.known[key]

    def depth_of(self, name: str) -> int:
        """The depth of the scope that a register of an index computation is in."""
        return self.depths.get(name, len(self.scopes) - 1)

    def spread(self, name: str, scalar: str, lanes: int) -> str:
        """A register or literal in every lane."""
        if not name.startswith("%"):
            return splat(name, scalar, lanes)
        kind = f"<{lanes} x {scalar}>"
        first = self.op(f"insertelement {kind} poison, {scalar} {name}, i64 0")
        return self.op(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")
