"""Binding symbolic dimensions: the same graph for known sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphc.dims import Dim, plain_symbol, substitute, sym, symbols
from graphc.errors import CompileError
from graphc.ir import Graph, Value, expect_graph, retype
from graphc.names import did_you_mean, listing, quote
from graphc.types import MapType, OptionalType, SequenceType, TensorType, Type

Bindings = Mapping[str, int | Sequence[int | str]]


def specialize(graph: Graph, bindings: Bindings) -> Graph:
    """`graph` for known sizes: everything after the inputs is inferred again.

    Args:
        graph: the graph.
        bindings: symbol -> size, as `{"batch": 8}`; or input name -> whole shape, as `{"x": (8, 3, 224, 224)}`, which
            also gives inputs of unknown rank a shape. A string in a shape is a symbol.

    Raises:
        CompileError: nothing is called so, a size is no size, or a shape contradicts the declared one.
        ShapeError: the sizes do not fit the operators.
    """
    expect_graph(graph)
    sizes: dict[str, Dim] = {}
    shapes: dict[str, tuple[Dim, ...]] = {}
    names = {v.name: v for v in graph.inputs}
    known = {s.name for v in graph.inputs for d in _dims(v.type) for s in symbols(d)}
    for name, bound in bindings.items():
        if isinstance(bound, Sequence) and not isinstance(bound, str):
            _check_name("input", name, names)
            shapes[name] = tuple(sym(d) if isinstance(d, str) else _size(name, d) for d in bound)
        else:
            _check_name("symbolic dimension", name, known)
            sizes[name] = _size(name, bound)
    for name, shape in shapes.items():
        _take_symbols(names[name], shape, sizes)
    types = [_bind(v, v.type, sizes, shapes.get(v.name)) for v in graph.inputs]
    return retype(graph, types, [v.content for v in graph.inputs])


def _check_name(what: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        hint = f"{did_you_mean(name, names)}There is {listing(sorted(names))}" if names else "All sizes are numbers"
        raise CompileError(f"there is no {what} {quote(name)}", hint=hint)


def _size(name: str, size: object) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CompileError(f"{quote(name)} cannot be {size!r}", hint="A size is an int, zero or more")
    return size


def _dims(type: Type) -> Sequence[Dim]:
    while not isinstance(type, TensorType):
        type = type.element
    return type.shape or ()


def _take_symbols(x: Value, shape: tuple[Dim, ...], sizes: dict[str, Dim]) -> None:
    """What the shape given for `x` says about the symbols of the declared one."""
    declared = x.tensor.shape
    if declared is None:
        return
    if len(declared) != len(shape):
        raise _misfit(x, shape)
    for d, n in zip(declared, shape, strict=True):
        symbol = plain_symbol(d)
        if isinstance(symbol, str) and sizes.setdefault(symbol, n) != n:
            raise CompileError(f"{symbol} is {n} in the shape of {quote(x.name)} and {sizes[symbol]} elsewhere")


def _bind(x: Value, type: Type, sizes: Mapping[str, Dim], shape: tuple[Dim, ...] | None) -> Type:
    if isinstance(type, SequenceType):
        return SequenceType(_bind(x, type.element, sizes, None))
    if isinstance(type, OptionalType):
        return OptionalType(_bind(x, type.element, sizes, None))
    if isinstance(type, MapType):
        return type
    if type.shape is None:
        return TensorType(type.dtype, shape)
    dims = tuple(substitute(d, lambda s: sizes.get(s.name)) for d in type.shape)
    if shape is None or dims == shape:
        return TensorType(type.dtype, dims)
    if any(isinstance(d, int) and d != n for d, n in zip(dims, shape, strict=True)):
        raise _misfit(x, shape)
    return TensorType(type.dtype, shape)


def _misfit(x: Value, shape: tuple[Dim, ...]) -> CompileError:
    given = ",".join(map(str, shape))
    return CompileError(f"input {quote(x.name)}: shape [{given}] does not fit the declared {x.tensor}", value=x.name)
