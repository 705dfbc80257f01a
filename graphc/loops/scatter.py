"""Nests whose iterations depend on one another: writing at places that are data, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphc.errors import CompileError
from graphc.expr import REDUCTIONS, Buffer, Const, Expr, Load, Prefix, Reduce, Scatter, cast, identity
from graphc.index import Index, Linear, linear
from graphc.loops.layout import Layout
from graphc.loops.nest import Alloc, Block, For, Nest, Stmt, Store, Update
from graphc.traverse import walk

# Loops around `finish(expr)`, reductions as early as they can be: `_build` of lower.py.
Build = Callable[[Sequence[Index], frozenset[Index], Expr, Callable[[Expr], Stmt]], Block]


def scattered(target: Buffer, layout: Layout, form: Scatter, initial: Nest, build: Build) -> Nest:
    """`initial`, and after it loops over the domain of `form`, which stay in order."""
    loops, index = _axes(form.extents, "u")
    if 0 in form.extents:
        return initial
    offset = layout.offset([linear(i) for i in form.target(*index)])
    data = offset.data
    if any(isinstance(e, Reduce) for e in walk(*data)):
        raise CompileError("the place that is written depends on a reduction")
    value = form.value(*index)

    def finish(e: Expr) -> Stmt:
        return Store(target, offset, e) if form.function is None else Update(target, offset, form.function, e)

    body = build(loops, frozenset(), value, finish)
    return Nest(_arguments(target, [value, *data], initial), (target,), (*initial.body, *body))


def running(target: Buffer, layout: Layout, form: Prefix, build: Build, after: Block) -> Nest:
    """For each row along the axis of `form`, one loop with an accumulator; then `after`."""
    if layout.size != math.prod(n + sum(h) for n, h in zip(layout.shape, layout.halo, strict=True)):
        raise CompileError("a running sum with blocks that do not divide an axis")
    _, index = _axes(layout.shape, "i")
    along = Index("k", layout.shape[form.axis])
    index[form.axis] = linear(layout.shape[form.axis] - 1) - along if form.reverse else linear(along)
    offset = layout.offset(index)
    value = form.element(*index)
    rows = [i for axis, i in enumerate(_loops(index)) if i is not None and axis != form.axis]
    total = Buffer("total", value.dtype, 1, "register")
    name = next(r for r, function in REDUCTIONS.items() if function == form.function)
    start = Store(total, linear(0), Const(identity(name, value.dtype), value.dtype))
    store = Store(target, offset, cast(Load(total, linear(0)), target.dtype))
    update = build((), frozenset([*rows, along]), value, lambda v: Update(total, linear(0), form.function, v))
    step = (store, *update) if form.exclusive else (*update, store)
    body: Block = (Alloc(total), start, For(along, "serial", step))
    for i in reversed(rows):
        body = (For(i, "serial", body),)
    return Nest(_arguments(target, [value]), (target,), (*body, *after))


def _axes(extents: Sequence[int], prefix: str) -> tuple[list[Index], list[Linear]]:
    """The loops that a domain needs, and its indices; an axis of size 1 needs none."""
    all_ = [Index(f"{prefix}{k}", n) for k, n in enumerate(extents)]
    return [i for i in all_ if i.extent != 1], [linear(0) if i.extent == 1 else linear(i) for i in all_]


def _loops(index: Sequence[Linear]) -> list[Index | None]:
    """The loop variable that each index is, if it is one."""
    return [next((a for a in i.terms if isinstance(a, Index)), None) for i in index]


def _arguments(target: Buffer, exprs: Sequence[Expr], before: Nest | None = None) -> tuple[Buffer, ...]:
    """The buffers that a nest reads and, last, the one that it writes."""
    read = [] if before is None else [b for b in before.arguments if b is not target]
    read += [e.buffer for e in walk(*exprs) if isinstance(e, Load) and e.buffer.space == "global"]
    return tuple(dict.fromkeys([*read, target]))
