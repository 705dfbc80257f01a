"""Layouts: where elements lie, and the loops over them and over what is around them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.expr import Buffer, constant, position
from graphc.index import Linear, flatten, linear
from graphc.loops.interpret import interpret
from graphc.loops.layout import Layout, Part, blocked, padded, row_major
from graphc.loops.lower import lower, zero_halo
from graphc.loops.nest import Nest
from graphc.types import int64


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    shape = draw(st.lists(st.integers(1, 6), max_size=3))
    kind = draw(st.sampled_from(["row-major", "padded", "blocked"])) if shape else "row-major"
    if kind == "row-major":
        return row_major(shape)
    halo = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in shape]
    if kind == "padded":
        return padded(shape, halo)
    axis = draw(st.integers(0, len(shape) - 1))
    halo[axis] = (0, 0)
    return blocked(shape, axis, draw(st.sampled_from([2, 4, 8])), halo)


def numbers(at: Linear) -> int:
    assert at.number is not None
    return at.number


def packed(layout, tensor):
    buffer = np.full(layout.size, -1, tensor.dtype)
    layout.pack(tensor, buffer)
    return buffer


@given(layouts())
def test_offset_pack_and_unpack_agree(layout: Layout) -> None:
    tensor = np.arange(1, math.prod(layout.shape) + 1).reshape(layout.shape)
    buffer = packed(layout, tensor)
    assert buffer.shape == (layout.size,)
    for index in product(*map(range, layout.shape)):
        assert buffer[numbers(layout.offset(index))] == tensor[index]
    np.testing.assert_array_equal(layout.unpack(buffer), tensor)
    assert np.count_nonzero(buffer) == tensor.size, "padding is zero"


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((100, 1024), ((0, 32, 4), (1, 1, 1024), (0, 1, 32))),  # rows a page apart, the last panel not full
        ((64, 512, 3, 3), ((0, 48, 2), (1, 16, 32), (2, 1, 3), (3, 1, 3), (1, 1, 16), (0, 1, 48))),
        ((2, 64, 2048), ((0, 1, 2), (1, 64, 1), (2, 1, 2048), (1, 1, 64))),
    ],
)
def test_panels_of_rows_that_meet_in_a_cache(shape: tuple[int, ...], parts: tuple[tuple[int, int, int], ...]) -> None:
    layout = Layout(shape, tuple(Part(*p) for p in parts), ((0, 0),) * len(shape))
    tensor = np.arange(1, math.prod(shape) + 1, dtype=np.int32).reshape(shape)
    buffer = packed(layout, tensor)
    np.testing.assert_array_equal(layout.unpack(buffer), tensor)
    assert np.count_nonzero(buffer) == tensor.size, "padding is zero"


@given(layouts())
def test_regions_cover_every_element_once(layout: Layout) -> None:
    seen = []
    for indices, logical in layout.regions():
        for values in product(*(range(i.extent) for i in indices)):
            at = dict(zip(indices, values, strict=True))
            seen.append(tuple(x.constant + sum(c * at[i] for i, c in x.terms.items()) for x in logical))
    assert sorted(seen) == list(product(*map(range, layout.shape)))


@given(layouts())
def test_borders_cover_the_halo_and_nothing_else(layout: Layout) -> None:
    tensor = np.ones(layout.shape, np.int64)
    buffer = packed(layout, tensor)
    y = Buffer("y", int64, layout.size)
    untouched = np.full(layout.size, 7)
    assert interpret(Nest((y,), (y,), zero_halo(y, layout)), {y: untouched})
    if all(p.step == 1 for p in layout.parts):
        np.testing.assert_array_equal(untouched == 0, buffer == 0)
    # In a blocked layout a partial block has a rest, which belongs to no border.
    assert not (untouched == 0)[buffer == 1].any()


@given(layouts())
def test_a_lowered_nest_stores_each_element_at_its_offset(layout: Layout) -> None:
    y = Buffer("y", int64, layout.size)
    memory = np.full(layout.size, -1)
    assert interpret(lower(y, layout, lambda *i: position(flatten(i, layout.shape))), {y: memory})
    expected = np.arange(math.prod(layout.shape)).reshape(layout.shape)
    np.testing.assert_array_equal(layout.unpack(memory), expected)
    if layout.has_halo:
        assert (memory == 0).sum() >= (packed(layout, expected + 1) == 0).sum() - (memory == -1).sum()


def test_an_empty_tensor_has_no_loops() -> None:
    y = Buffer("y", int64, 0)
    assert lower(y, row_major((0, 3)), lambda i, j: constant(1, int64)).body == ()


def test_what_lies_between_blocks_decides_whether_there_are_any() -> None:
    assert blocked((2, 8), 1, 4) == row_major((2, 8))
    assert blocked((2, 8, 1), 1, 4) == row_major((2, 8, 1))
    assert blocked((2, 6), 1, 4).size == 16
    assert numbers(blocked((2, 8, 3), 1, 4).offset([1, 5, 2])) == ((1 * 2 + 1) * 3 + 2) * 4 + 1
    assert padded((2, 3), [(1, 1), (0, 2)]).offset([linear(0), linear(0)]).number == 5
