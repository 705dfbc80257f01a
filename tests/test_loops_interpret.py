"""The interpreter of loop nests: what it says of faults in them, and what the functions are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.expr import FUNCTIONS, Buffer, Const, Expr, Load, as_index, call, cast, constant, guard, position, select
from graphc.index import Datum, Index, linear
from graphc.loops.interpret import DIVISIONS, OPERATIONS, REAL, interpret
from graphc.loops.nest import Alloc, Block, For, If, Kind, Nest, Stmt, Store, Update
from graphc.types import (
    DType,
    bfloat16,
    bool_,
    dtype_of,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)

X, Y = Buffer("x", float32, 8), Buffer("y", float32, 8)
DATA = np.arange(8, dtype=np.float32)
KINDS: list[Kind] = ["serial", "parallel", "unrolled", "vector"]


def loop(kind: Kind, extent: int, body: Callable[[Index], Stmt | Block]) -> For:
    i = Index("i", extent)
    inside = body(i)
    return For(i, kind, inside if isinstance(inside, tuple) else (inside,))


def run(*body: Stmt) -> np.ndarray:
    """What is in Y after `body`, which may read X."""
    y = np.full(8, -1, np.float32)
    assert interpret(Nest((X, Y), (Y,), body), {X: DATA, Y: y})
    return y


# -- statements -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_loops_of_all_kinds(kind: Kind) -> None:
    got = run(loop(kind, 8, lambda i: Store(Y, linear(i), Load(X, linear(7) - i) + 1.0)))
    np.testing.assert_array_equal(got, DATA[::-1] + 1)


def test_lanes_are_in_step() -> None:
    """Each statement is done for all lanes before the next: a swap needs no copy."""
    t = Buffer("t", float32, 8, "register")
    body = (Store(t, linear(0), Load(X, linear(0))),)
    shifted = loop("vector", 7, lambda i: (Store(Y, i + 1, Load(X, linear(i))), Store(Y, linear(i), Load(Y, i + 1))))
    np.testing.assert_array_equal(run(Alloc(t), *body, shifted), [0, 1, 2, 3, 4, 5, 6, 6])


def test_each_lane_has_its_own_private_buffer() -> None:
    t = Buffer("t", float32, 2, "register")
    got = run(
        loop(
            "vector",
            8,
            lambda i: (
                Alloc(t),
                Store(t, linear(1), Load(X, linear(i))),
                Update(t, linear(1), "mul", constant(2.0, float32)),
                Store(Y, linear(i), Load(t, linear(1))),
            ),
        )
    )
    np.testing.assert_array_equal(got, DATA * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_conditions(kind: Kind) -> None:
    """Only where it holds is anything read or written, lane by lane as well."""

    def body(i: Index) -> Stmt:
        return If(position(i + 4) < 8, (Store(Y, linear(i), Load(X, i + 4)),))

    np.testing.assert_array_equal(run(loop(kind, 8, body)), [4, 5, 6, 7, -1, -1, -1, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_select_reads_only_the_side_that_is_chosen(kind: Kind) -> None:
    def body(i: Index) -> Stmt:
        shifted = select(position(i) < 3, Load(X, i + 5), select(position(i) < 5, Load(X, i - 3), -9.0))
        return Store(Y, linear(i), shifted)

    np.testing.assert_array_equal(run(loop(kind, 8, body)), [5, 6, 7, 0, 1, -9, -9, -9])


def test_parallel_iterations_come_in_any_order() -> None:
    """Each reads what the next one writes: that shows in another order than their own."""
    t = Buffer("t", float32, 9, "register")
    start = (Alloc(t), loop("serial", 9, lambda i: Store(t, linear(i), constant(0.0, float32))))
    shift = loop(
        "parallel", 8, lambda i: (Store(t, linear(i), Load(t, i + 1)), Store(Y, linear(i), Load(t, linear(i))))
    )
    nest = Nest((Y,), (Y,), (*start, shift))
    assert interpret(nest, {Y: DATA.copy()})
    with pytest.raises(ValueError, match=r"iterations of a parallel loop meet in t\[i \+ 1\]"):
        interpret(nest, {Y: DATA.copy()}, seed=1)


# -- faults -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("offset", "wrong"), [(1, 8), (-2, -2)])
def test_accesses_outside_of_a_buffer(kind: Kind, offset: int, wrong: int) -> None:
    with pytest.raises(IndexError, match=rf"x\[{wrong}\] .* is outside of 8 elements"):
        run(loop(kind, 8, lambda i: Store(Y, linear(i), Load(X, i + offset))))
    with pytest.raises(IndexError, match=rf"y\[{wrong}\]"):
        run(loop(kind, 8, lambda i: Store(Y, i + offset, Load(X, linear(i)))))


def test_memory_after_a_buffer_may_be_read() -> None:
    y = np.zeros(8, np.float32)
    nest = Nest((X, Y), (Y,), (Store(Y, linear(0), Load(X, linear(9))),))
    assert interpret(nest, {X: np.arange(12, dtype=np.float32), Y: y})
    assert y[0] == 9


def test_reading_what_is_not_stored() -> None:
    t = Buffer("t", float32, 2, "register")
    with pytest.raises(ValueError, match=r"t\[1\] is read before it is stored"):
        run(Alloc(t), Store(t, linear(0), constant(1.0, float32)), Store(Y, linear(0), Load(t, linear(1))))
    with pytest.raises(ValueError, match=r"y\[0\] is read before it is stored"):
        run(Update(Y, linear(0), "add", constant(1.0, float32)))
    with pytest.raises(ValueError, match="read before"):  # of an earlier iteration
        run(loop("serial", 2, lambda i: (Alloc(t), If(position(i) < 1, (Store(t, linear(0), Load(X, linear(0))),)),
                                         Store(Y, linear(i), Load(t, linear(0))))))  # fmt: skip


def test_lanes_that_meet() -> None:
    for offset in (lambda i: linear(0), lambda i: i // 2):
        with pytest.raises(ValueError, match="lanes meet in y"):
            run(loop("vector", 8, lambda i, offset=offset: Store(Y, offset(i), Load(X, linear(i)))))  # type: ignore[misc]
    same = run(loop("vector", 8, lambda i: Store(Y, linear(0), Load(X, linear(3)))))
    assert same[0] == 3


def test_parallel_iterations_that_meet() -> None:
    with pytest.raises(ValueError, match=r"iterations of a parallel loop meet in y\[\(\(i\) // 2\)\]"):
        run(loop("parallel", 8, lambda i: Store(Y, i // 2, Load(X, linear(i)))))
    twice = [loop("parallel", 8, lambda i: Store(Y, linear(i), Load(X, linear(i)))) for _ in range(2)]
    np.testing.assert_array_equal(run(*twice), DATA)


def test_vector_loops_do_not_nest() -> None:
    with pytest.raises(ValueError, match="inside of vector loop"):
        run(loop("vector", 2, lambda i: loop("vector", 4, lambda j: Store(Y, i * 4 + j, Load(X, linear(j))))))


def test_indices_outside_of_their_range() -> None:
    wrong = linear(Datum(cast(Load(X, linear(5)), int64), 0, 4))
    with pytest.raises(ValueError, match=r"an index of 5 is not in \[0, 4\]"):
        run(Store(Y, wrong, constant(1.0, float32)))


def test_element_types_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="y of float32 is given int64"):
        run(Store(Y, linear(0), position(0)))
    with pytest.raises(TypeError, match="add of float32, float64"):
        run(Store(Y, linear(0), call("add", Load(X, linear(0)), constant(1.0, float64))))
    with pytest.raises(TypeError, match="lt of float32 gives bool"):
        run(Store(Y, linear(0), call("lt", Load(X, linear(0)), 1.0)))
    with pytest.raises(TypeError, match="x needs 8 × float32, got 7"):
        interpret(Nest((X,), (), ()), {X: DATA[:7]})


def test_guards() -> None:
    def fails(body: Stmt) -> bool:
        return not interpret(Nest((X, Y), (Y,), (body,)), {X: DATA, Y: np.zeros(8, np.float32)})

    for kind in KINDS:
        below = lambda n: lambda i: Store(Y, linear(i), guard(Load(X, linear(i)) < n, Load(X, linear(i))))
        assert fails(loop(kind, 8, below(7.0)))
        assert not fails(loop(kind, 8, below(8.0)))
        chosen = lambda i: Store(Y, linear(i), select(position(i) < 5, guard(position(i) < 5, Load(X, linear(i))), 0.0))
        assert not fails(loop(kind, 8, chosen))
    by_zero = lambda i: call("div", constant(7, int32), cast(Load(X, linear(i)), int32))
    assert fails(loop("vector", 8, lambda i: Store(Y, linear(i), cast(by_zero(i), float32))))
    gathered = lambda n: lambda i: Store(Y, linear(i), Load(X, as_index(cast(Load(X, linear(i)), int64) - n, 8)))
    assert not fails(loop("vector", 8, gathered(8)))
    assert fails(loop("vector", 8, gathered(9)))


# -- functions --------------------------------------------------------------------------------------------------------
def compute(function: str, dtype: DType, *args: Any, result: DType | None = None) -> Any:
    """`function` of numbers, on one element and on lanes; both agree."""
    outputs = []
    for kind in ("serial", "vector"):
        buffers = [Buffer(f"x{k}", dtype, 2) for k in range(len(args))]
        y = Buffer("y", result or dtype, 2)
        nest = Nest(
            (*buffers, y),
            (y,),
            (
                loop(
                    kind,  # type: ignore[arg-type]
                    2,
                    lambda i: Store(y, linear(i), call(function, *(Load(b, linear(i)) for b in buffers), dtype=result)),  # noqa: B023
                ),
            ),
        )
        memory = {b: np.array([a, a]).astype(dtype.numpy) for b, a in zip(buffers, args, strict=True)}
        memory[y] = np.zeros(2, y.dtype.numpy)
        interpret(nest, memory)
        outputs.append(memory[y])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    return outputs[0][0]


@pytest.mark.parametrize(
    ("function", "dtype", "args", "expected"),
    [
        ("div", int32, (-7, 2), -3),
        ("div", int32, (7, -2), -3),
        ("div", int32, (-6, 2), -3),
        ("div", int32, (-(2**31), -1), -(2**31)),
        ("div", uint8, (200, 7), 28),
        ("floordiv", int32, (-7, 2), -4),
        ("mod", int32, (-7, 2), 1),
        ("mod", int32, (7, -2), -1),
        ("mod", float32, (-5.5, 2), 0.5),
        ("fmod", int32, (-7, 2), -1),
        ("fmod", float32, (-5.5, 2), -1.5),
        ("mod", int32, (-(2**31), -1), 0),
        ("add", int8, (127, 1), -128),
        ("mul", uint8, (20, 20), 144),
        ("neg", int8, (-128,), -128),
        ("abs", int8, (-128,), -128),
        ("max", float32, (math.nan, 1), math.nan),
        ("min", float32, (1, math.nan), math.nan),
        ("round", float32, (2.5,), 2),
        ("round", int32, (5,), 5),
        ("sign", float32, (math.nan,), math.nan),
        ("trunc", float64, (-1.7,), -1),
        ("shl", int32, (1, 40), 0),
        ("shr", int32, (-5, 40), -1),
        ("shr", uint8, (200, 3), 25),
        ("not", bool_, (True,), False),
        ("not", int8, (5,), -6),
        ("xor", bool_, (True, True), False),
        ("fma", float32, (1 + 2.0**-20, 1 - 2.0**-20, -1), -(2.0**-40)),
        ("fma", int8, (100, 2, 1), -55),
        ("pow", float32, (0, 0), 1),
        ("pow", float32, (-2, 0.5), math.nan),
        ("exp", float16, (0,), 1),
        ("add", bfloat16, (256, 1), 256),
        ("sigmoid", float32, (-1000,), 0),
        ("softplus", float32, (1000,), 1000),
    ],
)
def test_functions(function: str, dtype: DType, args: tuple[Any, ...], expected: Any) -> None:
    np.testing.assert_array_equal(compute(function, dtype, *args), np.asarray(expected, dtype.numpy))


@pytest.mark.parametrize(
    ("source", "value", "result", "expected"),
    [
        (float32, 3e9, int32, 2**31 - 1),
        (float32, -3e9, int32, -(2**31)),
        (float64, 1e30, int64, 2**63 - 1),
        (float32, 2.0**63, int64, 2**63 - 1),
        (float32, math.nan, int32, 0),
        (float32, math.inf, uint8, 255),
        (float32, -1.0, uint8, 0),
        (float32, -1.9, int8, -1),
        (bfloat16, 300, int8, 127),
        (int32, 300, int8, 44),
        (int8, -1, uint8, 255),
        (float32, math.nan, bool_, True),
        (float32, -0.0, bool_, False),
        (float32, 1e10, float16, math.inf),
        (bool_, True, float32, 1),
    ],
)
def test_cast(source: DType, value: float, result: DType, expected: Any) -> None:
    got = compute("cast", source, value, result=result)
    np.testing.assert_array_equal(got, np.asarray(expected, result.numpy))


def test_every_function_has_a_meaning() -> None:
    known = {*OPERATIONS, *REAL, *DIVISIONS, "fma", "cast", "bitcast", "guard"}
    assert known == set(FUNCTIONS)
    assert compute("bitcast", float32, 1.0, result=int32) == 0x3F800000
    assert compute("isnan", float32, math.nan, result=bool_)
    assert not compute("isinf", bfloat16, 1.0, result=bool_)


def test_a_long_chain_needs_no_deep_stack() -> None:
    e: Expr = Const(1.0, float32)
    for _ in range(5000):
        e = e + 1.0
    assert run(Store(Y, linear(0), e))[0] == 5001
    assert dtype_of(np.float32) is float32
