"""From the element of a tensor to a loop nest: a loop for each physical axis, reductions as early as they can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.expr import (
    REDUCTIONS,
    Buffer,
    Const,
    Expr,
    Form,
    Index,
    Load,
    Prefix,
    Reduce,
    Scatter,
    constant,
    identity,
    inside,
    linear,
    rewrite,
    select,
    structure,
    variables,
    walk,
)
from graphc.loops.layout import Layout
from graphc.loops.nest import Alloc, Block, For, Nest, Stmt, Store, Update
from graphc.loops.scatter import running, scattered


def lower(target: Buffer, layout: Layout, element: Form) -> Nest:
    """The nest that stores `element(i, j, …)` at each index of a tensor that lies in `target` as `layout` says."""
    if 0 in layout.shape:
        return Nest((target,), (target,), ())
    if isinstance(element, Scatter):
        return scattered(target, layout, element, lower(target, layout, element.initial), _build)
    if isinstance(element, Prefix):
        return running(target, layout, element, _build)
    indices, logical = layout.loops()
    expr = element(*logical)
    for i, n in zip(logical, layout.shape, strict=True):
        expr = select(inside(i, n), expr, constant(0, expr.dtype))
    return nest_of(target, [Store(target, layout.offset(logical), expr)], indices)


def nest_of(target: Buffer, stores: Sequence[Store], indices: Sequence[Index]) -> Nest:
    """A nest of loops over `indices` around a store."""
    (store,) = stores
    order = _order(store.value, [i for i in indices if i.extent != 1])
    body = _build(order, frozenset(), store.value, lambda e: Store(store.buffer, store.offset, e))
    return Nest(tuple(dict.fromkeys([*buffers(store.value), target])), (target,), body)


def buffers(*exprs: Expr) -> list[Buffer]:
    """The global buffers that the expressions read, each once."""
    found = [e.buffer for e in walk(*exprs) if isinstance(e, Load) and e.buffer.space == "global"]
    return list(dict.fromkeys(found))


def _order(expr: Expr, indices: list[Index]) -> list[Index]:
    """The loops that most reductions depend on go outermost, so that each reduction is computed once."""
    needed = [variables(e) for e in walk(expr) if isinstance(e, Reduce)]
    return sorted(indices, key=lambda i: -sum(i in free for free in needed))


def _build(loops: Sequence[Index], opened: frozenset[Index], expr: Expr, finish: Callable[[Expr], Stmt]) -> Block:
    """Loops over `loops` around `finish(expr)`; reductions stand in front of the loops they can do without."""
    block: list[Stmt] = []
    if any(isinstance(e, Reduce) for e in walk(expr)):
        done: dict[object, Buffer] = {}

        def hoist(e: Expr) -> Expr | None:
            if not isinstance(e, Reduce) or not variables(e) <= opened:
                return None
            key = structure(e)
            if key not in done:
                done[key] = total = Buffer(f"{e.function}{len(block)}", e.dtype, 1, "register")
                start = Store(total, linear(0), Const(identity(e.function, e.dtype), e.dtype))
                function = REDUCTIONS[e.function]
                loop = _build(e.axes, opened, e.body, lambda v: Update(total, linear(0), function, v))
                block.extend([Alloc(total), start, *loop])
            return Load(done[key], linear(0))

        expr = rewrite(expr, hoist)  # children first: what is inside a reduction, too, is computed only once
    if not loops:
        return (*block, finish(expr))
    first, *rest = loops
    return (*block, For(first, "serial", _build(rest, opened | {first}, expr, finish)))
