"""Index arithmetic against that of integers, on all values of the indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphc.expr import Buffer, Expr, compare, inside, position, select
from graphc.index import Index, Linear, divide, flatten, linear, unflatten
from graphc.loops.interpret import interpret
from graphc.loops.nest import For, Nest, Stmt, Store
from graphc.traverse import substitute_index
from graphc.types import Array, int64

INDICES = [Index("i", 4), Index("j", 3), Index("k", 6)]
GRID = list(product(*(range(i.extent) for i in INDICES)))

small = st.integers(-9, 9)
divisor = st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12])
# An index as a tree: an operator and its operands, the number of an index, or a constant.
trees = st.recursive(
    st.tuples(st.just("index"), st.integers(0, 2)) | st.tuples(st.just("constant"), small),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-"), inner, inner),
        st.tuples(st.just("*"), inner, small),
        st.tuples(st.sampled_from(["//", "%"]), inner, divisor),
    ),
    max_leaves=6,
)
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def build(tree: Any, indices: Any) -> Any:
    """The value of a tree, as an index or, for numbers, as an integer."""
    kind, first, *rest = tree
    if kind == "index":
        return indices[first]
    if kind == "constant":
        return first
    second = build(rest[0], indices) if kind in "+-" else rest[0]
    return OPERATORS[kind](build(first, indices), second)


def as_linear(tree: Any) -> Linear:
    return linear(build(tree, [linear(i) for i in INDICES]))


def values(e: Expr, indices: list[Index] = INDICES) -> list[Any]:
    """`e` for all values of the indices, the last one running fastest."""
    extents = [i.extent for i in indices]
    y = Buffer("y", e.dtype, math.prod(extents))
    body: Stmt = Store(y, flatten(indices, extents), e)
    for i in reversed(indices):
        body = For(i, "serial", (body,))
    memory: Mapping[Buffer, Array] = {y: np.zeros(y.size, e.dtype.numpy)}
    assert interpret(Nest((y,), (y,), (body,)), memory)
    return list(memory[y].tolist())


@given(trees)
def test_arithmetic_is_that_of_integers_and_ranges_hold(tree: Any) -> None:
    x = as_linear(tree)
    expected = [build(tree, at) for at in GRID]
    assert values(position(x)) == expected
    low, high = x.range()
    assert low <= min(expected)
    assert max(expected) <= high
    assert all(x.terms.values()), "a coefficient of 0"


@given(trees, divisor)
def test_quotient_and_remainder(tree: Any, n: int) -> None:
    x = as_linear(tree)
    quotient, remainder = divide(x, n)
    expected = [divmod(build(tree, at), n) for at in GRID]
    assert list(zip(values(position(quotient)), values(position(remainder)), strict=True)) == expected


@given(trees, trees, st.sampled_from(["lt", "le", "eq", "ne"]))
def test_comparisons_that_ranges_decide(a: Any, b: Any, function: str) -> None:
    operator = {"lt": "__lt__", "le": "__le__", "eq": "__eq__", "ne": "__ne__"}[function]
    expected = [getattr(build(a, at), operator)(build(b, at)) for at in GRID]
    assert values(compare(function, position(as_linear(a)), position(as_linear(b)))) == expected


@given(trees, st.integers(1, 9))
def test_inside(tree: Any, size: int) -> None:
    chosen = select(inside(as_linear(tree), size), position(1), position(0))
    assert values(chosen) == [int(0 <= build(tree, at) < size) for at in GRID]


@given(trees, st.integers(0, 2), st.integers(1, 6))
def test_substitute(tree: Any, which: int, inner: int) -> None:
    """An index becomes what a split, a constant or a shifted loop makes of it."""
    index = INDICES[which]
    lane, outer = Index("l", inner), Index("o", -(-index.extent // inner))
    others = [i for i in INDICES if i is not index]
    for new in (outer * inner + lane, linear(index.extent - 1), linear(index.extent - 1) - outer):
        low, high = new.range()
        if low < 0 or high >= index.extent:
            continue  # not a value that the index may have
        x = substitute_index(as_linear(tree), {index: new})
        free = [*others, outer, lane]
        expected = []
        for at in product(*(range(i.extent) for i in free)):
            known = dict(zip(free, at, strict=True))
            known[index] = new.constant + sum(c * known[i] for i, c in new.terms.items())  # type: ignore[index]
            expected.append(build(tree, [known[i] for i in INDICES]))
        assert values(position(x), free) == expected


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_flatten_and_unflatten_are_inverse(shape: list[int]) -> None:
    indices = [Index(f"i{k}", n) for k, n in enumerate(shape)]
    at = flatten(indices, shape)
    assert values(position(at), indices) == list(range(math.prod(shape)))
    back = unflatten(at, shape)
    for i, found in zip(indices, back, strict=True):
        assert values(position(found), indices) == values(position(i), indices)
    whole = Index("p", math.prod(shape))
    assert values(position(flatten(unflatten(whole, shape), shape)), [whole]) == list(range(whole.extent))


def test_digits_of_a_flat_index_are_the_indices_themselves() -> None:
    i, j, k = INDICES
    assert unflatten(flatten([i, j, k], [4, 3, 6]), [4, 3, 6]) == (linear(i), linear(j), linear(k))
    assert divide(i * 12 + j * 4 + 3, 4) == (i * 3 + j, linear(3))
    assert (linear(k) * 8 + 5) // 8 == linear(k)
    assert (linear(k) // 2) // 3 == linear(k) // 6
    assert (linear(k) % 4) % 2 == linear(k) % 2
    half = Index("half", 8)
    assert divide(k * 8 + half, 16) == (linear(k) // 2, linear(k) % 2 * 8 + half)
    assert position(i).dtype is int64
