"""Feeds: what a caller passes to a model, checked against the declared inputs at the boundary.

Nothing past this point has to doubt an input: element types, ranks and sizes are those declared, and equal symbols
stand for equal sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dims import Dim, SymDim, plain_symbol
from graphc.errors import FeedError, escape
from graphc.interpret import Data
from graphc.names import did_you_mean, listing, quote
from graphc.runtime.convert import to_array, to_map
from graphc.runtime.ports import Port, describe
from graphc.runtime.sizes import Sizes
from graphc.types import Array, MapType, OptionalType, TensorType, Type


@dataclass(slots=True)
class _Expected:
    """One tensor input, ready to be compared: `static` where all sizes are numbers."""

    type: TensorType
    dtype: np.dtype[Any]
    static: tuple[int, ...] | None
    plan: Plan | None


class Feeds:
    """The inputs of one model as a table, so that a run of good arrays costs little.

    Args:
        ports: the inputs, in order.
        safe_cast: convert arrays where NumPy calls that safe, such as float32 to float64.
    """

    def __init__(self, ports: Sequence[Port], *, safe_cast: bool = False):
        self.ports, self.safe_cast = tuple(ports), safe_cast
        self.names = tuple(p.name for p in ports)
        self._keys = frozenset(self.names)
        self._table = tuple(_expected(p) for p in ports)
        self._static = [(e.dtype, e.static) for e in self._table if e is not None and e.static is not None]
        self._is_static = len(self._static) == len(self._table)

    def bind(self, arrays: Sequence[object]) -> list[Data]:
        """One checked array for each input, given in order. Raises `FeedError`."""
        if len(arrays) != len(self.ports):
            raise FeedError(f"the model takes {_count(self.names)}, got {len(arrays)}")
        if self._is_static:
            for (dtype, shape), x in zip(self._static, arrays, strict=True):
                if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
                    break
            else:
                return list(arrays)
        data: list[Data] = []
        sizes = None if self._is_static else Sizes()
        for expected, port, x in zip(self._table, self.ports, arrays, strict=True):
            if expected is None:
                assert sizes is not None
                data.append(self._convert(x, port.type, port.name, sizes))
                continue
            if type(x) is not np.ndarray or x.dtype is not expected.dtype:
                x = to_array(x, expected.type.dtype, port.name, safe_cast=self.safe_cast)
            if x.shape != expected.static:
                _check_shape(x, expected.type, expected.plan, port.name, Sizes() if sizes is None else sizes)
            data.append(x)
        if sizes is not None:
            sizes.check()
        return data

    def bind_names(self, feeds: Mapping[str, object]) -> list[Data]:
        """One checked array for each input, given by name. Raises `FeedError` for missing and unknown names."""
        if feeds.keys() == self._keys:
            return self.bind([feeds[n] for n in self.names])
        unknown = [n for n in feeds if n not in self.names]
        missing = [p.name for p in self.ports if p.name not in feeds and not isinstance(p.type, OptionalType)]
        if unknown:
            raise FeedError(
                f"the model has no input {quote(unknown[0])}",
                value=str(unknown[0]),
                hint=f"{did_you_mean(unknown[0], self.names)}It takes {_count(self.names)}",
            )
        if missing:
            given = f"; got {listing(feeds)}" if feeds else ""
            raise FeedError(f"missing input {listing(missing)}{given}", value=missing[0])
        return self.bind([feeds.get(n) for n in self.names])

    def _convert(self, x: object, type: Type, name: str, sizes: Sizes) -> Data:
        if isinstance(type, TensorType):
            array = to_array(x, type.dtype, name, safe_cast=self.safe_cast)
            _check_shape(array, type, _plan(type), name, sizes)
            return array
        if isinstance(type, OptionalType):
            return None if x is None else self._convert(x, type.element, name, sizes)
        if isinstance(type, MapType):
            if not isinstance(x, Mapping):
                raise _wrong_kind(x, "dict", type, name)
            return to_map(x, type, name, safe_cast=self.safe_cast)
        if not isinstance(x, (list, tuple)):
            raise _wrong_kind(x, "list", type, name)
        return [self._convert_element(element, type.element, f"{name}[{i}]", sizes) for i, element in enumerate(x)]

    def _convert_element(self, x: object, type: Type, name: str, sizes: Sizes) -> Data:
        """One element of a sequence. Its unknown sizes are its own: another element may have others."""
        before = set(sizes.known)
        data = self._convert(x, type, name, sizes)
        for symbol in sizes.known.keys() - before:
            if symbol.startswith("?"):
                del sizes.known[symbol]
        return data


def _wrong_kind(x: object, expected: str, type: Type, name: str) -> FeedError:
    kind = x.__class__.__name__
    return FeedError(f"input {quote(name)} is a {kind}, expected a {expected}: {describe(type)}", value=name)


def _expected(port: Port) -> _Expected | None:
    if not isinstance(port.type, TensorType) or port.type.dtype.kind == "string":
        return None
    static = tuple(int(d) for d in port.type.shape or ()) if port.type.is_static else None  # type: ignore[arg-type]
    return _Expected(port.type, port.type.dtype.numpy, static, _plan(port.type))


Plan = tuple[Dim | str, ...]  # sizes: a number, a symbol's name, or an expression


def _plan(type: TensorType) -> Plan | None:
    return None if type.shape is None else tuple(plain_symbol(d) for d in type.shape)


def _check_shape(x: Array, type: TensorType, plan: Plan | None, name: str, sizes: Sizes) -> None:
    if plan is None or type.shape is None:
        return
    if x.ndim != len(plan):
        raise FeedError(
            f"input {quote(name)} has rank {x.ndim}, expected {len(type.shape)}: {_got(x, type)}",
            value=name,
            hint=_rank_hint(x.shape, type.shape),
        )
    for axis, (dim, size) in enumerate(zip(plan, x.shape, strict=True)):
        if isinstance(dim, str):
            sizes.bind(dim, size, name)
        elif isinstance(dim, SymDim):
            sizes.expect(dim, size, axis, name)
        elif dim != size:
            raise FeedError(
                f"input {quote(name)}: dimension {axis} is {size}, expected {dim}: {_got(x, type)}",
                value=name,
                hint=_layout_hint(x.shape, type.shape),
            )


def _got(x: Array, type: TensorType) -> str:
    return f"got [{','.join(map(str, x.shape))}] for {describe(type)}"


def _fits(shape: Sequence[int], declared: Sequence[Dim]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(d, int) or d == n for d, n in zip(declared, shape, strict=True)
    )


def _rank_hint(shape: tuple[int, ...], declared: tuple[Dim, ...]) -> str | None:
    if _fits((1, *shape), declared):
        return "Add the first dimension: x[None]"
    if shape[:1] == (1,) and _fits(shape[1:], declared):
        return "Drop the first dimension: x[0]"
    return None


def _layout_hint(shape: tuple[int, ...], declared: tuple[Dim, ...]) -> str | None:
    if len(shape) < 3:
        return "Transpose it: x.T" if len(shape) == 2 and _fits(shape[::-1], declared) else None
    first = (0, len(shape) - 1, *range(1, len(shape) - 1))
    last = (0, *range(2, len(shape)), 1)
    for perm, given in ((first, "channels last"), (last, "channels first")):
        if _fits([shape[i] for i in perm], declared):
            return f"It looks like {given}: x.transpose{perm}"
    return None


def _count(names: Sequence[str]) -> str:
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} input{plural}" + (f" ({', '.join(escape(n) for n in names)})" if names else "")
