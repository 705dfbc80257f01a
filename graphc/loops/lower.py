"""From the element of a tensor to a loop nest: a loop for each physical axis, reductions as early as they can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphc.expr import (
    REDUCTIONS,
    Boxes,
    Buffer,
    Const,
    Element,
    Expr,
    Form,
    Load,
    Ordering,
    Prefix,
    Reduce,
    Scatter,
    constant,
    identity,
)
from graphc.index import Index, Linear, linear
from graphc.loops.layout import Layout, row_major
from graphc.loops.nest import Alloc, Block, For, Nest, Stmt, Store, Update, exprs, statements
from graphc.loops.order import ordered
from graphc.loops.scatter import running, scattered
from graphc.traverse import rewrite, structure, variables, walk


def lower(target: Buffer, layout: Layout, element: Form, domain: Layout | None = None) -> Nest:
    """The nest that stores `element(i, j, …)` at each index of a tensor that lies in `target` as `layout` says.

    The loops are those over the physical axes of `domain`, by default `layout`.
    """
    if 0 in layout.shape:
        return Nest((target,), (target,), ())
    if isinstance(element, Scatter):
        return scattered(target, layout, element, lower(target, layout, element.initial), _build)
    if isinstance(element, Prefix):
        return running(target, layout, element, _build, zero_halo(target, layout))
    if isinstance(element, Ordering):
        return lower_together([(target, layout)], element)
    made: list[Stmt] = []
    if isinstance(element, Boxes):
        for k, n in enumerate(element.sizes):
            if n:
                made += part(target, layout, element, k)
    else:
        made += _stored(target, layout, domain or layout, [0] * len(layout.shape), element)
    return kernel(target, (*made, *zero_halo(target, layout)))


def lower_together(targets: Sequence[tuple[Buffer, Layout]], form: Ordering) -> Nest:
    """The nest that stores all outputs of an op that have one form."""
    written = [b for b, _ in targets]
    if any(0 in layout.shape for _, layout in targets):
        return kernel(written, ())
    halos = [s for b, layout in targets for s in zero_halo(b, layout)]
    return kernel(written, (*ordered(targets, form, _build), *halos))


def kernel(targets: Buffer | Sequence[Buffer], body: Block) -> Nest:
    """`body`, which writes `targets`, as a kernel on the buffers that it reads."""
    written = (targets,) if isinstance(targets, Buffer) else tuple(targets)
    read = [b for s in statements(body) for b in buffers(*exprs(s))]
    return Nest(tuple(dict.fromkeys([*(b for b in read if b not in written), *written])), written, body)


def part(target: Buffer, layout: Layout, boxes: Boxes, number: int) -> Block:
    """The statements that store one of the boxes."""
    start = [0] * len(layout.shape)
    start[boxes.axis] = boxes.starts[number]
    domain = layout.box(boxes.axis, start[boxes.axis], boxes.sizes[number])
    return _stored(target, layout, domain, start, boxes.parts[number])


def slice_at(target: Buffer, layout: Layout, axis: int, at: Linear, element: Element) -> Nest:
    """The nest that stores `element(i, j, …)` in the slice `at` along `axis`, which may be data."""
    body: list[Stmt] = []
    for indices, logical in row_major((*layout.shape[:axis], *layout.shape[axis + 1 :])).regions():
        expr = element(*logical)
        offset = layout.offset([*logical[:axis], at, *logical[axis:]])
        body += _build([i for i in indices if i.extent != 1], frozenset(), expr, partial(Store, target, offset))
    return kernel(target, tuple(body))


def _stored(target: Buffer, layout: Layout, domain: Layout, start: Sequence[int], element: Element) -> Block:
    """Loops over `domain` that store `element` at its index plus `start`."""
    body: list[Stmt] = []
    for indices, logical in domain.regions():
        expr = element(*logical)
        at = layout.offset([i + s for i, s in zip(logical, start, strict=True)])
        order = _order(expr, [i for i in indices if i.extent != 1])
        body += _build(order, frozenset(), expr, partial(Store, target, at))
    return tuple(body)


def zero_halo(target: Buffer, layout: Layout) -> Block:
    """Zeros around the elements."""
    return _zeros(target, layout.borders())


def zero_gaps(target: Buffer, layout: Layout) -> Block:
    """Zeros in what is not used of a block: a number so small that arithmetic with it is slow might be left there."""
    return _zeros(target, layout.gaps())


def _zeros(target: Buffer, places: Sequence[tuple[list[Index], Linear]]) -> Block:
    body: list[Stmt] = []
    for indices, at in places:
        inner: Stmt = Store(target, at, constant(0, target.dtype))
        for i in reversed(indices):
            inner = For(i, "serial", (inner,))
        body.append(inner)
    return tuple(body)


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
