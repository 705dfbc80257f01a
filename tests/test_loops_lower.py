"""Elements as nests, and schedules of those: interpreted, all of them say the same as NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from nests import TARGETS, run, tensor

from graphc.expr import (
    Buffer,
    Expr,
    Form,
    Ordering,
    Prefix,
    Scatter,
    Source,
    as_index,
    call,
    cast,
    constant,
    over,
    position,
    select,
)
from graphc.index import Index
from graphc.loops import schedule as schedules
from graphc.loops.layout import Layout, blocked, padded, row_major
from graphc.loops.lower import lower
from graphc.loops.nest import For, Nest, statements
from graphc.loops.schedule import Machine, pieces, schedule
from graphc.types import Array, DType, float32, float64, int32, int64


@dataclass(frozen=True)
class Row:
    """An element of inputs whose shapes follow from two sizes, and what NumPy says it is."""

    shapes: Callable[[int, int], Sequence[tuple[int, ...]]]
    form: Callable[..., Form]
    expected: Callable[..., Array]
    dtype: DType = float32


def softmax(axis: int) -> Row:
    def form(x: Source) -> Form:
        def element(*i: Index) -> Expr:
            def along(k: Index) -> Expr:
                return x[[k if a == axis else j for a, j in enumerate(i)]]

            n = (x.shape[axis],)
            largest = over("max", n, along)
            return call("exp", x[i] - largest) / over("sum", n, lambda k: call("exp", along(k) - largest))

        return element

    def expected(x: Array) -> Array:
        e = np.exp(x - x.max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)

    return Row(lambda m, n: [(m, 2, n)], form, expected)


def variance(x: Source) -> Form:
    n = (x.shape[1],)

    def element(i: Index) -> Expr:
        mean = over("sum", n, lambda k: x[i, k]) / float(n[0])
        return over("sum", n, lambda k: (x[i, k] - mean) * (x[i, k] - mean)) / float(n[0])

    return element


def scattered(x: Source, at: Source, updates: Source) -> Form:
    def target(j: Index) -> tuple[Index, ...]:
        return (as_index(at[j], x.shape[0]),)  # type: ignore[return-value]

    return Scatter(lambda i: x[i] * 2.0, updates.shape, target, lambda j: updates[j] + 1.0, "add")


def scattered_numpy(x: Array, at: Array, updates: Array) -> Array:
    y = x * np.float32(2)
    np.add.at(y, at, updates + np.float32(1))
    return y


def numpy_window(x: Array) -> Array:
    wide = np.pad(x, ((1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(wide, (3, 3))[::2, ::2].max((2, 3))


def window(x: Source) -> Form:
    return lambda i, j: over("max", (3, 3), lambda p, q: x.padded((i * 2 + p - 1, j * 2 + q - 1), -math.inf))


def leaky(x: Source) -> Form:
    """A choice between sides that read no more than the condition."""

    def element(*i: Index) -> Expr:
        v = x[i]
        return select(v < 0, v * 0.25, v)

    return element


def ascending(x: Source, axis: int) -> Form:
    return Ordering(axis, x.shape[axis], lambda *i: cast(x[i], int32), (lambda *i: x[i],))


ROWS: dict[str, Row] = {
    "map": Row(lambda m, n: [(m, n)] * 2, lambda x, z: lambda i, j: x[i, j] * 2.0 + z[i, j], lambda x, z: x * 2 + z),
    "map-float64": Row(lambda m, n: [(m, n)], lambda x: lambda i, j: x[i, j] * x[i, j], lambda x: x * x, float64),
    "copy-integers": Row(lambda m, n: [(m, n)], lambda x: lambda i, j: -x[i, j], lambda x: -x, int64),
    "broadcast": Row(
        lambda m, n: [(m, 1, n), (n,), (m, 1, 1)],
        lambda x, b, c: lambda *i: call("max", x.broadcast(i) + b.broadcast(i), c.broadcast(i)),
        lambda x, b, c: np.maximum(x + b, c),
    ),
    "strided": Row(lambda m, n: [(m, 2 * n)], lambda x: lambda i, j: x[i, j * 2 + 1] + 1.0, lambda x: x[:, 1::2] + 1),
    "reversed": Row(
        lambda m, n: [(m, n)], lambda x: lambda i, j: x[i, -(j - x.shape[1] + 1)] + 0.5, lambda x: x[:, ::-1] + 0.5
    ),
    "transpose": Row(lambda m, n: [(m, n)], lambda x: lambda i, j: x[j, i] * 3.0, lambda x: x.T * 3),
    "reshape": Row(lambda m, n: [(m, n)], lambda x: lambda i: x.at(i) - 1.0, lambda x: x.reshape(-1) - 1),
    "digits": Row(
        lambda m, n: [(m, 4, n)],
        lambda x: lambda i, j: x[i, j % 4, j // 4] + 1.0,
        lambda x: x.transpose(0, 2, 1).reshape(len(x), -1) + 1,
    ),
    "digits-of-digits": Row(
        lambda m, n: [(m, 2, 3, n)],
        lambda x: lambda i: x.at(i // 6 + (i % 6) * (x.shape[0] * x.shape[3])) + 1.0,
        lambda x: x.reshape(6, -1).T.reshape(-1) + 1,
    ),
    "positions": Row(
        lambda m, n: [(m, n)],
        lambda x: lambda i, j: x[i, j] + cast(position(j), float32),
        lambda x: x + np.arange(x.shape[1], dtype=np.float32),
    ),
    "padding": Row(
        lambda m, n: [(m, n)],
        lambda x: lambda i, j: x.padded((i - 2, j - 1), 7.0),
        lambda x: np.pad(x, ((2, 0), (1, 3)), constant_values=7),
    ),
    "where": Row(
        lambda m, n: [(m, n)] * 2,
        lambda x, z: lambda i, j: select(x[i, j] < z[i, j], x[i, j], z[j % x.shape[0], j]),
        lambda x, z: np.where(x < z, x, z[np.arange(x.shape[1]) % len(x), np.arange(x.shape[1])]),
    ),
    "softmax-0": softmax(0),
    "softmax-1": softmax(1),
    "softmax-2": softmax(2),
    "sum-rows": Row(
        lambda m, n: [(m, n)], lambda x: lambda i: over("sum", (x.shape[1],), lambda k: x[i, k]), lambda x: x.sum(1)
    ),
    "max-columns": Row(
        lambda m, n: [(m, n)], lambda x: lambda j: over("max", (x.shape[0],), lambda k: x[k, j]), lambda x: x.max(0)
    ),
    "sum-all": Row(
        lambda m, n: [(m, n)], lambda x: lambda: over("sum", x.shape, lambda i, j: x[i, j]), lambda x: x.sum()
    ),
    "variance": Row(lambda m, n: [(m, n)], variance, lambda x: x.var(1)),
    "window": Row(lambda m, n: [(m, n)], window, numpy_window),
    "scatter": Row(lambda m, n: [(m,), (n,), (n,)], scattered, scattered_numpy),
    "scatter-in-pairs": Row(
        lambda m, n: [(2 * m,)],
        lambda x: Scatter(lambda i: constant(0.0, float32), x.shape, lambda j: (j // 2,), lambda j: x[j], "add"),
        lambda x: x[::2] + x[1::2],
    ),
    "prefix": Row(lambda m, n: [(m, n)], lambda x: Prefix("add", 1, lambda i, j: x[i, j]), lambda x: x.cumsum(1)),
    "prefix-back": Row(
        lambda m, n: [(m, n)],
        lambda x: Prefix("add", 0, lambda i, j: x[i, j], exclusive=True, reverse=True),
        lambda x: x[::-1].cumsum(0)[::-1] - x,
    ),
    "leaky": Row(lambda m, n: [(m, n)], leaky, lambda x: np.where(x < 0, x / 4, x)),
    "order": Row(lambda m, n: [(m, n)], lambda x: ascending(x, 1), lambda x: np.sort(x, 1)),
    "order-columns": Row(lambda m, n: [(n, m)], lambda x: ascending(x, 0), lambda x: np.sort(x, 0)),
}
SIZES = [(1, 1), (3, 17), (2, 35), (13, 5)]
OUTPUTS = {"padding": lambda m, n: (m + 2, n + 4)}


def arrays(name: str, m: int, n: int) -> list[Array]:
    rng = np.random.default_rng([m, n])
    row = ROWS[name]
    made = [rng.integers(-20, 20, s).astype(row.dtype.numpy) for s in row.shapes(m, n)]
    if name == "scatter":
        made[1] = rng.integers(-m, m, n)
    return made


def built(name: str, m: int, n: int) -> tuple[Nest, list[Array], Array]:
    """The nest of a row, its inputs and what comes out."""
    inputs = arrays(name, m, n)
    with np.errstate(all="ignore"):
        expected = ROWS[name].expected(*inputs)
    form = ROWS[name].form(*(tensor(x, f"x{k}") for k, x in enumerate(inputs)))
    y = Buffer("y", ROWS[name].dtype, expected.size)
    nest = lower(y, row_major(expected.shape), form)
    given = [inputs[int(b.name[1:])] for b in nest.arguments if b is not y]
    return nest, given, expected


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops are shared out however little there is to do."""
    monkeypatch.setattr(schedules, "GRAIN", 1)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ROWS)
def test_schedules_change_nothing(name: str) -> None:
    for m, n in SIZES:
        nest, inputs, expected = built(name, m, n)
        plain = run(nest, *inputs)
        np.testing.assert_allclose(plain, expected.reshape(-1), 1e-5, 1e-5)
        for target in TARGETS.values():
            scheduled = schedule(nest, target.schedule)
            results = [run(scheduled, *inputs, seed=seed) for seed in (None, 1, 2)]
            np.testing.assert_allclose(results[0], plain, 1e-5, 1e-5)
            for other in results[1:]:
                np.testing.assert_array_equal(other, results[0], "the order of parallel iterations matters")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("n", range(1, 41))
def test_every_extent(n: int) -> None:
    for name in ("map", "sum-rows", "max-columns"):
        nest, inputs, expected = built(name, 2, n)
        for target in TARGETS.values():
            np.testing.assert_allclose(run(schedule(nest, target.schedule), *inputs), expected.reshape(-1), 1e-5)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "layout",
    [blocked((2, 19, 3), 1, 8), blocked((3, 16, 2), 1, 16), padded((2, 5, 9), [(0, 0), (1, 2), (3, 0)])],
    ids=["partial", "whole", "halo"],
)
def test_schedules_of_layouts(layout: Layout) -> None:
    x = np.random.default_rng(0).normal(size=layout.shape).astype(np.float32)
    source = tensor(x, "x")
    y = Buffer("y", float32, layout.size)
    nest = lower(y, layout, lambda *i: source[i] + 1.0)
    plain = run(nest, x)
    np.testing.assert_array_equal(layout.unpack(plain), x + 1)
    for target in TARGETS.values():
        np.testing.assert_array_equal(run(schedule(nest, target.schedule), x, seed=1), plain)


def test_what_becomes_of_loops() -> None:
    """Neighbouring loops merge; lanes run along rows, or along columns where rows are summed up over."""
    machine = Machine(32, 16)

    def kinds(name: str, m: int, n: int) -> list[tuple[str, int]]:
        body = schedule(built(name, m, n)[0], machine).body
        return [(s.kind, s.index.extent) for s in statements(body) if isinstance(s, For)]

    assert kinds("map", 4, 9) == [("serial", 4), ("vector", 8), ("vector", 8)]
    assert kinds("map", 1 << 10, 1 << 10) == [("parallel", 1 << 17), ("vector", 8)]
    assert ("vector", 8) in kinds("sum-rows", 4, 40)
    assert kinds("leaky", 4, 9) == kinds("map", 4, 9)
    tile = [("unrolled", 4), ("vector", 4)]
    assert kinds("transpose", 4, 9) == [("serial", 2), *4 * tile, *4 * tile]
    assert kinds("digits", 1, 4) == 4 * tile  # those of each digit


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_pieces_cover_an_extent(lanes: int) -> None:
    for extent in range(1, 70):
        at = 0
        for start, count, width in pieces(extent, lanes):
            assert start == at
            assert width <= lanes
            at += count * width
        assert at == extent


def test_constants_of_a_select_do_not_read() -> None:
    """Elements outside of a tensor are not read: the interpreter would say so."""
    nest, inputs, expected = built("padding", 1, 1)
    np.testing.assert_array_equal(run(nest, *inputs), expected.reshape(-1))
    y = Buffer("y", float32, 3)
    always = lower(y, row_major((3,)), lambda i: select(constant(True, int64), constant(1.0, float32), 2.0))
    np.testing.assert_array_equal(run(always), np.ones(3))
