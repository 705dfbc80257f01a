"""What tells one kernel from another: a text that names and objects have no part in."""

from __future__ import annotations

from graphc.expr import Buffer, Call, Const, Expr, Load, Position
from graphc.index import Atom, Datum, Index, Linear, Quotient
from graphc.loops.nest import Alloc, Block, For, If, Nest, Prefetch, Update
from graphc.traverse import children, walk


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
                self.lines.append(f"{s.buffer.space} {s.buffer.dtype.short} {s.buffer.size}")
            elif isinstance(s, For):
                self.indices[s.index] = len(self.indices)
                self.lines.append(f"{s.kind} {s.index.extent} {{")
                self.block(s.body)
                self.lines.append("}")
            elif isinstance(s, If):
                self.lines.append(f"if {self.expr(s.condition)} {{")
                self.block(s.body)
                self.lines.append("}")
            elif isinstance(s, Prefetch):
                self.lines.append(f"prefetch{s.cache} {self.buffers[s.buffer]} [{self.index(s.offset)}]")
            else:
                sign = s.function if isinstance(s, Update) else ":=" if s.streams else "="
                at, value = self.index(s.offset), self.expr(s.value)
                self.lines.append(f"{sign} {self.buffers[s.buffer]} [{at}] {value}")

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
