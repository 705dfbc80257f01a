"""Going through expressions: what is in them, what they depend on, and replacing it. Iterative throughout."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from operator import attrgetter
from typing import Any

from graphc.expr import Call, Const, Expr, Load, Position, Reduce, Select, bounded, call, compare, select
from graphc.index import (
    Atom,
    Datum,
    Index,
    IndexLike,
    Linear,
    index_variables,
    linear,
    map_index,
    substitute_index,
)
from graphc.types import bool_

# By type rather than by cases: every schedule goes through every expression several times.
_CHILDREN: dict[type[Expr], Callable[[Any], tuple[Expr, ...]]] = {
    Const: lambda e: (),
    Call: attrgetter("args"),
    Select: attrgetter("condition", "then", "other"),
    Reduce: lambda e: (e.body,),
    Load: attrgetter("offset.data"),
    Position: attrgetter("index.data"),
}


def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside `e`, those within its indices included."""
    return _CHILDREN[type(e)](e)


def walk(*roots: Expr, skip: Container[Expr] = ()) -> list[Expr]:
    """Every expression in `roots`, each once, children first; not those in `skip`. Iterative."""
    done: dict[Expr, None] = {}
    stack = [*reversed(roots)]
    while stack:
        e = stack[-1]
        if e in done or e in skip:
            stack.pop()
            continue
        left = [c for c in _CHILDREN[type(e)](e) if c not in done and c not in skip]
        if left:
            stack += reversed(left)
        else:
            done[stack.pop()] = None
    return list(done)


def structure(e: Expr) -> Hashable:
    """A key that is equal for expressions that are alike but for the names of the indices their reductions bind."""
    keys: dict[tuple[int, int], Hashable] = {}

    def index(i: Linear, bound: dict[Index, int]) -> Hashable:
        terms: list[Hashable] = []
        for atom, c in i.terms.items():
            if isinstance(atom, Index):
                terms.append((("bound", bound[atom]) if atom in bound else atom, c))
            elif isinstance(atom, Datum):
                terms.append((("datum", key(atom.expr, bound)), c))
            else:
                terms.append(((type(atom), index(atom.index, bound), atom.divisor), c))
        return frozenset(terms), i.constant

    def key(x: Expr, bound: dict[Index, int]) -> Hashable:
        known = keys.get((id(x), len(bound)))
        if known is not None:
            return known
        made: Hashable
        if isinstance(x, Const):
            made = (x.dtype.name, repr(x.value))
        elif isinstance(x, Load):
            made = (x.buffer, index(x.offset, bound))
        elif isinstance(x, Position):
            made = index(x.index, bound)
        elif isinstance(x, Reduce):
            inner = bound | {a: len(bound) + k for k, a in enumerate(x.axes)}
            made = (x.function, tuple(a.extent for a in x.axes), key(x.body, inner))
        else:
            name = x.function if isinstance(x, Call) else "select"
            made = (name, x.dtype.name, *(key(c, bound) for c in children(x)))
        keys[id(x), len(bound)] = made
        return made

    return key(e, {})


def variables(e: Expr) -> frozenset[Index]:
    """The loop variables that `e` depends on; those that reductions inside it bind are not free."""
    free: dict[Expr, frozenset[Index]] = {}
    for x in walk(e):
        inner = frozenset().union(*(free[c] for c in children(x)))
        if isinstance(x, (Load, Position)):
            inner |= index_variables(x.offset if isinstance(x, Load) else x.index)
        elif isinstance(x, Reduce):
            inner -= frozenset(x.axes)
        free[x] = inner
    return free[e]


def rewrite(e: Expr, visit: Callable[[Expr], Expr | None], given: Mapping[Expr, Expr] | None = None) -> Expr:
    """`e` with each expression replaced by what `visit` makes of it once its children are; None keeps it.

    `given` has replacements that are there already; nothing below those is looked at.
    """
    new: dict[Expr, Expr] = dict(given or {})

    def index(i: Linear) -> Linear:
        return map_index(i, lambda atom: _datum(atom, new)) if i.data else i

    for x in walk(e, skip=new):
        y: Expr = x
        if isinstance(x, Call):
            args = tuple([new[a] for a in x.args])
            y = x if all(a is b for a, b in zip(args, x.args, strict=True)) else Call(x.function, args, x.dtype)
        elif isinstance(x, Select):
            parts = new[x.condition], new[x.then], new[x.other]
            y = x if parts == (x.condition, x.then, x.other) else select(*parts)
        elif isinstance(x, Reduce):
            y = x if new[x.body] is x.body else Reduce(x.function, x.axes, new[x.body])
        elif isinstance(x, Load):
            at = index(x.offset)
            y = x if at is x.offset else Load(x.buffer, at)
        elif isinstance(x, Position):
            at = index(x.index)
            y = x if at is x.index else Position(at)
        changed = visit(y)
        new[x] = y if changed is None else changed
    return new[e]


def _datum(atom: Atom, new: Mapping[Expr, Expr]) -> Linear | None:
    if isinstance(atom, Datum) and new[atom.expr] is not atom.expr:
        return bounded(new[atom.expr], atom.low, atom.high)
    return None


def substitute(e: Expr, values: Mapping[Index, IndexLike]) -> Expr:
    """`e` with loop variables replaced."""
    if not values:
        return e
    new = {i: linear(v) for i, v in values.items()}

    def visit(x: Expr) -> Expr | None:
        if isinstance(x, Load):
            at = substitute_index(x.offset, new)
            return None if at is x.offset else Load(x.buffer, at)
        if isinstance(x, Position):
            at = substitute_index(x.index, new)
            return None if at is x.index else Position(at)
        if isinstance(x, Call) and x.function in ("lt", "le", "eq", "ne", "and", "or"):
            if x.function in ("and", "or"):
                return call(x.function, *x.args) if x.dtype is bool_ else None
            return compare(x.function, *x.args)
        return None

    return rewrite(e, visit)
