"""What ops with bodies share: fitting a body to its inputs, the types that leave it, its cost, and a common form.

The functions that walk into nested bodies are written to take three Python frames for a level at most, so that bodies
nested as deep as `Limits.max_depth` fit into Python's default recursion limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar

import numpy as np

from graphc.dims import Dim, Symbol, SymDim, symbols, unknown
from graphc.dims import substitute as substitute_dim
from graphc.errors import InvalidModel, TypeMismatch
from graphc.frozen import Frozen
from graphc.ir import Cost, Graph, Value, substitute
from graphc.types import Array, MapType, OptionalType, SequenceType, TensorType, Type

# True while a body is fitted once more because a value that it carries became wider. Bodies inside it then start from
# the widened types they have, instead of from the inputs' types: each level is fitted once, not twice as often as the
# level around it.
_again: ContextVar[bool] = ContextVar("graphc_widening", default=False)


# -- fitting ----------------------------------------------------------------------------------------------------------
def fitted_inputs(body: Graph, types: Sequence[Type], contents: Sequence[Array | None]) -> list[Value] | None:
    """The inputs for `body` with these types and known contents; None where it has them already."""
    if len(types) != len(body.inputs):
        raise InvalidModel(f"the body '{body.name}' takes {len(body.inputs)} values, got {len(types)}")
    inputs = [
        v if v.type == t and _same_content(v.content, c) else Value(t, name=v.name, content=c)
        for v, t, c in zip(body.inputs, types, contents, strict=True)
    ]
    return None if all(a is b for a, b in zip(inputs, body.inputs, strict=True)) else inputs


def _same_content(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None or a is b:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b))


# -- types ------------------------------------------------------------------------------------------------------------
def map_dims(t: Type, function: Callable[[Dim], Dim]) -> Type:
    """`t` with each dimension replaced by what `function` makes of it."""
    if isinstance(t, TensorType):
        return t if t.shape is None else TensorType(t.dtype, tuple(function(d) for d in t.shape))
    return t if isinstance(t, MapType) else type(t)(map_dims(t.element, function))


def leaving(types: Iterable[Type], xs: Iterable[Value | None]) -> tuple[Type, ...]:
    """The types of body values as seen from outside, where the node's inputs are `xs`.

    An unknown size that arises in the body gets a fresh name: one op may be applied to several inputs, and what it
    computes from them has a size of its own each time.
    """
    outside = {s for x in xs if x is not None for s in _symbols_of(x)}
    renamed: dict[Symbol, Dim] = {}

    def bind(s: Symbol) -> Dim | None:
        return None if not s.is_unknown or s in outside else renamed.setdefault(s, unknown())

    return tuple(map_dims(t, lambda d: substitute_dim(d, bind)) for t in types)


def leaving_content(value: Value, xs: Iterable[Value | None]) -> Array | None:
    """The known contents of a body's output as seen from outside; None where a size arises in the body."""
    content = value.content
    if content is None or content.dtype != object:
        return content
    outside = {s for x in xs if x is not None for s in _symbols_of(x)}
    inside = {s for d in content.flat if isinstance(d, SymDim) for s in symbols(d)}
    return content if all(s in outside or not s.is_unknown for s in inside) else None


def _symbols_of(x: Value) -> Iterator[Symbol]:
    t = x.type
    while not isinstance(t, TensorType):
        t = t.element
    yield from (s for d in t.shape or () for s in symbols(d))
    if x.content is not None and x.content.dtype == object:
        yield from (s for d in x.content.flat if isinstance(d, SymDim) for s in symbols(d))


def widen_type(before: Type, after: Type, loose: set[Dim]) -> Type:
    """The type of a value that is `before` on entry and may be `after` later: sizes that differ become unknown.

    `loose` collects the unknown sizes made that way. One that stands for several sizes already stays as it is, so
    that widening again and again comes to an end.
    """
    if isinstance(before, TensorType) and isinstance(after, TensorType) and before.dtype is after.dtype:
        if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
            return TensorType(before.dtype, None)
        shape: list[Dim] = []
        for m, n in zip(before.shape, after.shape, strict=True):
            if m == n or m in loose:
                shape.append(m)
            else:
                shape.append(unknown())
                loose.add(shape[-1])
        return TensorType(before.dtype, tuple(shape))
    if isinstance(before, SequenceType) and isinstance(after, SequenceType):
        return SequenceType(widen_type(before.element, after.element, loose))
    if isinstance(before, OptionalType) or isinstance(after, OptionalType):  # a value is an optional that is not empty
        first, last = (t.element if isinstance(t, OptionalType) else t for t in (before, after))
        return OptionalType(widen_type(first, last, loose))
    if isinstance(before, MapType) and before == after:
        return before
    raise TypeMismatch(f"it is {before} before a trip and {after} after it")


# -- carried values ---------------------------------------------------------------------------------------------------
def fit_loop(
    body: Graph, lead: Sequence[Type], carried: Sequence[Value], trail: Sequence[tuple[Type, Array | None]], skip: int
) -> Graph:
    """`body` with the widest types that its carried values take.

    Args:
        body: inputs (lead, carried, trail); outputs (`skip` others, carried, scan outputs).
        lead: the types of the inputs before the carried values.
        carried: the values before the first trip.
        trail: type and known contents of the inputs after the carried values.
        skip: how many outputs come before the carried values.
    """
    first, last = len(lead), len(lead) + len(carried)
    loose: set[Dim] = set()
    types = [x.type for x in carried]
    if _again.get():
        types = [widen_type(t, v.type, loose) for t, v in zip(types, body.inputs[first:last], strict=True)]
    contents: list[Array | None] = [*(None for _ in range(last)), *(c for _, c in trail)]
    token = None
    try:
        while True:
            inputs = fitted_inputs(body, [*lead, *types, *(t for t, _ in trail)], contents)
            if inputs is not None:
                outputs = substitute(body, dict(zip(body.inputs, inputs, strict=True)))
                body = Graph(inputs, outputs, body.output_names, name=body.name)
            widened = []
            for i, (t, y) in enumerate(zip(types, body.outputs[skip:], strict=False)):
                try:
                    widened.append(widen_type(t, y.type, loose))
                except TypeMismatch as e:
                    raise TypeMismatch(f"carried value {i}: {e.message}") from e
            if widened == types:
                return body
            types = widened
            token = token or _again.set(True)
    finally:
        if token is not None:
            _again.reset(token)


# -- cost -------------------------------------------------------------------------------------------------------------
def body_cost(body: Graph, trips: Dim = 1) -> Cost:
    """The sum over the nodes of `body`, `trips` times."""
    flops: Dim = 0
    moved: Dim = 0
    for node in body.nodes:
        cost = node.op.cost(node.inputs, node.outputs)
        flops, moved = flops + cost.flops, moved + cost.bytes
    return Cost(flops * trips, moved * trips)


# -- repetition -------------------------------------------------------------------------------------------------------
class Repetition(Frozen):
    """Loop and Scan in one form, for backends that compile: while going: (going, number, *carried), slices = body(…).

    Attributes:
        start: the op's inputs -> (going: bool[], number: i64[], *carried), before the first trip.
        body: (number, *carried, *the op's inputs) -> (going, number, *carried, *slices), after a trip.
        trips: how many trips there are; a symbol where that is known only at run time.
        axes: for each slice the axis along which its output is made of them.
        reverse: for each slice whether its output begins with the last one.
    """

    start: Graph
    body: Graph
    trips: Dim
    axes: tuple[int, ...]
    reverse: tuple[bool, ...]
