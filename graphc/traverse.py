"""Going through expressions: what is in them, what they depend on, and replacing it. Iterative throughout."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Mapping

from graphc.expr import Call, Const, Expr, Load, Position, Reduce, Select, bounded, call, compare, select
from graphc.index import (
    Atom,
    Datum,
    Index,
    IndexLike,
    Linear,
    Quotient,
    Remainder,
    index_variables,
    linear,
    map_index,
    substitute_index,
)
from graphc.types import bool_


def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside `e`, those within its indices included."""
    if isinstance(e, Call):
        return e.args
    if isinstance(e, Select):
        return e.condition, e.then, e.other
    if isinstance(e, Reduce):
        return (e.body,)
    if isinstance(e, Load):
        return tuple(data_of(e.offset))
    if isinstance(e, Position):
        return tuple(data_of(e.index))
    return ()


def data_of(index: Linear) -> Iterator[Expr]:
    """The data that `index` depends on."""
    for atom in index.terms:
        if isinstance(atom, Datum):
            yield atom.expr
        elif isinstance(atom, (Quotient, Remainder)):
            yield from data_of(atom.index)


def walk(*roots: Expr, skip: Container[int] = ()) -> list[Expr]:
    """Every expression in `roots`, each once, children first; not those (by identity) in `skip`. Iterative."""
    done: dict[int, Expr] = {}
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        e, ready = stack.pop()
        if id(e) in done or id(e) in skip:
            continue
        inner = () if ready else children(e)
        if not inner:
            done[id(e)] = e
            continue
        stack.append((e, True))
        stack += [(c, False) for c in reversed(inner) if id(c) not in done]
    return list(done.values())


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
    free: dict[int, frozenset[Index]] = {}
    for x in walk(e):
        inner = frozenset().union(*(free[id(c)] for c in children(x)))
        if isinstance(x, (Load, Position)):
            inner |= index_variables(x.offset if isinstance(x, Load) else x.index)
        elif isinstance(x, Reduce):
            inner -= frozenset(x.axes)
        free[id(x)] = inner
    return free[id(e)]


def rewrite(e: Expr, visit: Callable[[Expr], Expr | None], given: Mapping[int, Expr] | None = None) -> Expr:
    """`e` with each expression replaced by what `visit` makes of it once its children are; None keeps it.

    `given` has replacements by the identity of the expression; nothing below those is looked at.
    """
    new: dict[int, Expr] = dict(given or {})

    def index(i: Linear) -> Linear:
        return map_index(i, lambda atom: _datum(atom, new))

    for x in walk(e, skip=new):
        y: Expr = x
        if isinstance(x, Call):
            args = tuple(new[id(a)] for a in x.args)
            y = x if all(a is b for a, b in zip(args, x.args, strict=True)) else Call(x.function, args, x.dtype)
        elif isinstance(x, Select):
            parts = new[id(x.condition)], new[id(x.then)], new[id(x.other)]
            y = x if parts == (x.condition, x.then, x.other) else select(*parts)
        elif isinstance(x, Reduce):
            y = x if new[id(x.body)] is x.body else Reduce(x.function, x.axes, new[id(x.body)])
        elif isinstance(x, Load):
            at = index(x.offset)
            y = x if at is x.offset else Load(x.buffer, at)
        elif isinstance(x, Position):
            at = index(x.index)
            y = x if at is x.index else Position(at)
        changed = visit(y)
        new[id(x)] = y if changed is None else changed
    return new[id(e)]


def _datum(atom: Atom, new: Mapping[int, Expr]) -> Linear | None:
    if isinstance(atom, Datum) and new[id(atom.expr)] is not atom.expr:
        return bounded(new[id(atom.expr)], atom.low, atom.high)
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
