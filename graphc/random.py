"""Seeded inputs for a graph, for trying, timing and comparing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dims import Dim, plain_symbol, substitute
from graphc.errors import FeedError, escape
from graphc.interpret import Data
from graphc.ir import Graph, Value
from graphc.limits import check_tensor
from graphc.types import Array, DType, Map, MapType, OptionalType, SequenceType, TensorType, Type, string

FIRST, OTHER = 2, 8  # sizes for free symbols: on the first axis (a batch), and elsewhere


def random_feeds(
    graph: Graph, *, seed: int = 0, given: Mapping[str, Data] | None = None, size: int | None = None
) -> dict[str, Data]:
    """One array for each input: normal floats, and integers that are valid indices where they are used as such.

    Free symbols become `size`, by default 2 on the first axis and 8 elsewhere; one symbol has one size.

    Args:
        graph: whose inputs.
        seed: the same seed gives the same data.
        given: inputs that are there already; those made up agree with their sizes.
        size: of every free symbol.

    Raises:
        FeedError: the rank of an input is not known.
    """
    given = given or {}
    sizes: dict[str, int] = {}
    for v in graph.inputs:
        shape = v.type.shape if isinstance(v.type, TensorType) and v.name in given else None
        for d, n in zip(shape or (), np.shape(given.get(v.name, ())), strict=False):
            symbol = plain_symbol(d)
            if isinstance(symbol, str):
                sizes.setdefault(symbol, n)
    feeds: dict[str, Data] = {}
    for i, v in enumerate(graph.inputs):
        rng = np.random.default_rng([seed, i])
        if v.name not in given:
            feeds[v.name] = _random(v, v.type, sizes, rng, _index_bound(graph, v), size)
    return {**feeds, **given}


def _random(
    x: Value, type: Type, sizes: dict[str, int], rng: np.random.Generator, high: int | None, size: int | None
) -> Data:
    if isinstance(type, SequenceType):
        return [_random(x, type.element, sizes, rng, high, size) for _ in range(2)]
    if isinstance(type, OptionalType):
        return _random(x, type.element, sizes, rng, high, size)
    if isinstance(type, MapType):
        return _random_map(type, rng)
    if type.shape is None:
        raise FeedError(
            f"input '{escape(x.name)}' has no known rank, so no data can be made up for it",
            value=x.name,
            hint=f"Give its shape: bindings={{{x.name!r}: (…)}}",
        )
    defaults = [(FIRST if axis == 0 else OTHER) if size is None else size for axis in range(len(type.shape))]
    shape = [_size(d, default, sizes) for d, default in zip(type.shape, defaults, strict=True)]
    return random_array(type.dtype, shape, rng, high=high)


def _random_map(type: MapType, rng: np.random.Generator) -> Data:
    """A map of two entries; texts are numbers, which CastMap can read."""
    keys: list[Any] = ["alpha", "beta"] if type.key is string else [0, 1]
    if type.value is string:
        return Map(type, zip(keys, ["1", "0.5"], strict=True))
    return Map(type, zip(keys, random_array(type.value, [2], rng).tolist(), strict=True))


def _size(dim: Dim, default: int, sizes: dict[str, int]) -> int:
    value = substitute(dim, lambda s: sizes.setdefault(s.name, default))
    assert isinstance(value, int)
    return max(value, 0)


def random_array(dtype: DType, shape: Sequence[int], rng: np.random.Generator, *, high: int | None = None) -> Array:
    """Standard normal floats, integers in [0, high) (default 2, so that they are valid flags and indices)."""
    check_tensor(tuple(shape), dtype.numpy.itemsize, "random input")
    if dtype.kind == "string":
        return np.array(rng.choice(["alpha", "beta", "gamma"], tuple(shape)), object)
    if dtype.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        return rng.integers(0, min(high or 2, 1 << min(dtype.bits - 1, 62)), shape).astype(dtype.numpy)
    values = rng.standard_normal(shape)
    if dtype.kind == "complex":
        return (values + 1j * rng.standard_normal(shape)).astype(dtype.numpy)
    return np.asarray(values, np.float32 if dtype.bits <= 32 else np.float64).astype(dtype.numpy)


def _index_bound(graph: Graph, x: Value) -> int | None:
    """The least size of an axis that `x` indexes by Gather, or None where it indexes none of known size."""
    sizes = []
    for node, number in graph.uses.get(x, ()):
        if node is None or node.op.name != "Gather" or number != 1 or node.inputs[0] is None:
            continue
        shape = node.inputs[0].shape
        size = shape[getattr(node.op, "axis", 0)] if shape else None
        if isinstance(size, int):
            sizes.append(size)
    return min(sizes, default=None)
