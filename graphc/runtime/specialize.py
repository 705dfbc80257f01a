"""Binding symbolic dimensions: the same graph for known sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphc.dims import Dim, substitute, sym, symbols
from graphc.errors import CompileError, ShapeError
from graphc.ir import Graph, Value, retype
from graphc.runtime.names import did_you_mean, listing, quote
from graphc.types import OptionalType, SequenceType, TensorType, Type

Bindings = Mapping[str, int | Sequence[int | str]]


def specialize(graph: Graph, bindings: Bindings) -> Graph:
    """`graph` for known sizes: everything after the inputs is inferred again.

    Args:
        graph: the graph.
        bindings: symbol -> size, as `{"batch": 8}`; or input name -> whole shape, as `{"x": (8, 3, 224, 224)}`, which
            also gives inputs of unknown rank a shape. A string in a shape is a symbol.

    Raises:
        CompileError: nothing is called so, or a size is negative.
        ShapeError: a shape contradicts the declared one, or the sizes do not fit the operators.
    """
    sizes: dict[str, int] = {}
    shapes: dict[str, Sequence[int | str]] = {}
    names = {v.name: v for v in graph.inputs}
    known = {s.name for v in graph.inputs for d in _dims(v.type) for s in symbols(d)}
    for name, bound in bindings.items():
        if isinstance(bound, int):
            _check_name("symbolic dimension", name, known)
            sizes[name] = bound
        else:
            _check_name("input", name, names)
            shapes[name] = tuple(bound)
        negative = [d for d in shapes.get(name, (sizes.get(name),)) if isinstance(d, int) and d < 0]
        if negative:
            raise CompileError(f"{quote(name)} cannot be {negative[0]}")
    for name, shape in shapes.items():
        _match(names[name], shape, sizes)
    types = [_bind(v.type, sizes, shapes.get(v.name)) for v in graph.inputs]
    return retype(graph, types, [v.content for v in graph.inputs])


def _check_name(what: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        hint = f"{did_you_mean(name, names)}There is {listing(sorted(names))}" if names else "All sizes are numbers"
        raise CompileError(f"there is no {what} {quote(name)}", hint=hint)


def _dims(type: Type) -> Sequence[Dim]:
    while isinstance(type, (SequenceType, OptionalType)):
        type = type.element
    return type.shape or ()


def _match(x: Value, shape: Sequence[int | str], sizes: dict[str, int]) -> None:
    """Check `shape` against the declared one, and take the sizes of symbols from it."""
    declared = x.tensor.shape
    if declared is None:
        return
    text = f"[{','.join(map(str, shape))}]"
    if len(declared) != len(shape):
        raise ShapeError(f"shape {text} does not fit the declared {x.tensor}", value=x.name)
    for d, n in zip(declared, shape, strict=True):
        if isinstance(d, int):
            if n != d:
                raise ShapeError(f"shape {text} does not fit the declared {x.tensor}", value=x.name)
        elif isinstance(n, int) and sizes.setdefault(str(d), n) != n:
            raise ShapeError(f"shape {text}: {d} is {n} here and {sizes[str(d)]} elsewhere", value=x.name)


def _bind(type: Type, sizes: Mapping[str, int], shape: Sequence[int | str] | None) -> Type:
    if isinstance(type, SequenceType):
        return SequenceType(_bind(type.element, sizes, None))
    if isinstance(type, OptionalType):
        return OptionalType(_bind(type.element, sizes, None))
    if shape is not None:
        return TensorType(type.dtype, tuple(d if isinstance(d, int) else sym(d) for d in shape))
    if type.shape is None:
        return type
    return TensorType(type.dtype, tuple(substitute(d, lambda s: sizes.get(s.name)) for d in type.shape))
