"""Element-wise ops on sizes, their errors, and what the conformance table cannot say of them."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from graphc.autodiff import grad
from graphc.dims import Dim, sym
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops import activation, arithmetic, bitwise, cast, dropout, logic, minmax, softmax
from graphc.ops import math as elementary
from graphc.ops.base import const
from graphc.ops.special import erf
from graphc.types import DType, TensorType, bool_, float32, float64, int32, int64, string

batch, seq = sym("batch"), sym("seq")


def sizes(*dims: Dim, dtype: DType = int64) -> Value:
    """A vector whose elements are known to be `dims`."""
    return Value(TensorType(dtype, (len(dims),)), name="sizes", content=np.array(dims, object))


def tensor(*shape: Dim, dtype: DType = float32, name: str = "x") -> Value:
    return Value(TensorType(dtype, shape), name=name)


def run(y: Value, *feeds: tuple[Value, object]) -> np.ndarray:
    return interpret(Graph([x for x, _ in feeds], [y]), [np.asarray(v, x.dtype.numpy) for x, v in feeds])[0]


# -- shape computations -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "a", "b", "expected"),
    [
        (logic.Equal(), batch, -1, False),
        (logic.Equal(), batch, batch, True),
        (logic.Equal(), batch + 1, batch, False),
        (logic.Equal(), batch, 1, None),
        (logic.Equal(), 3, 3, True),
        (logic.Greater(), batch, -1, True),
        (logic.Greater(), batch, 0, None),
        (logic.Greater(), batch, batch + 2, False),
        (logic.GreaterOrEqual(), batch, 0, True),
        (logic.GreaterOrEqual(), batch, 1, None),
        (logic.Less(), batch, batch + seq + 1, True),
        (logic.Less(), batch, 0, False),
        (logic.Less(), batch, seq, None),
        (logic.LessOrEqual(), 0, seq, True),
        (logic.LessOrEqual(), batch + 1, batch, False),
    ],
)
def test_sizes_are_compared_where_that_is_possible(op: Op, a: Dim, b: Dim, expected: bool | None) -> None:
    known = op(sizes(a), sizes(b)).const
    assert known is None if expected is None else known.tolist() == [expected]


def test_expand_of_an_exported_transformer() -> None:
    """Where(shape = -1, other, shape) is followed, though a size of the shape is symbolic."""
    shape = sizes(batch, -1, 64)
    result = logic.Where()(logic.Equal()(shape, const(-1, int64)), sizes(1, seq, 1), shape)
    assert result.dims.tolist() == [batch, seq, 64]


def test_a_branch_that_is_not_taken_need_not_be_known() -> None:
    unknown = tensor(2, dtype=int64)
    assert logic.Where()(const([True, True]), sizes(batch, 3), unknown).dims.tolist() == [batch, 3]
    assert logic.Where()(const([True, False]), sizes(batch, 3), unknown).dims is None
    assert logic.Where()(const([[False], [False]]), unknown, sizes(batch, 3)).dims.tolist() == [[batch, 3]] * 2


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (cast.Cast(int32)(sizes(batch, 2)), [batch, 2]),
        (cast.Cast(int64)(const([True, False])), [1, 0]),
        (cast.Cast(int64)(const([2.9, -1.5])), [2, -1]),
        (cast.CastLike()(sizes(batch), const(0, int32)), [batch]),
        (logic.Identity()(sizes(batch, 2)), [batch, 2]),
        (minmax.Max()(sizes(batch, 2), const([0, 5], int64)), [batch, 5]),
        (minmax.Min()(sizes(batch + 1, 7), sizes(batch, 5)), [batch, 5]),
        (minmax.Clip()(sizes(9, -3, batch), const(0, int64)), [9, 0, batch]),
        (arithmetic.Mod()(sizes(7, -7, batch * 4), const(4, int64)), [3, 1, 0]),
        (arithmetic.Div()(sizes(7, -7, batch * 4), const(4, int64)), [1, -1, batch]),
        (arithmetic.Div()(sizes(7, -7), const(-2, int64)), [-3, 3]),
    ],
)
def test_sizes_are_followed(result: Value, expected: list[Dim]) -> None:
    assert result.dims.tolist() == expected


@pytest.mark.parametrize("op", [arithmetic.Div(), arithmetic.Mod()])
def test_division_of_known_numbers_by_zero_is_an_error_of_the_run(op: Op) -> None:
    y = op(const([1, 2], int64), const([1, 0], int64))
    with pytest.raises(ExecutionError, match=r"division by zero at index \[1\]"):
        run(y)


def test_masks_of_constants_are_known() -> None:
    mask = logic.Not()(logic.And()(const([True, False]), logic.Less()(const([1.0, 2.0]), const(1.5))))
    assert mask.const.tolist() == [False, True]


# -- errors -----------------------------------------------------------------------------------------------------------
f32, f64, i32, flag = tensor(2, 3), tensor(2, 3, dtype=float64), tensor(2, 3, dtype=int32), tensor(2, 3, dtype=bool_)


@pytest.mark.parametrize(
    ("op", "inputs", "error", "message"),
    [
        (elementary.Sqrt(), [i32], TypeMismatch, r"Sqrt: input is i32\[2,3\], expected one of bf16, f16, f32, f64"),
        (elementary.Pow(), [flag, f32], TypeMismatch, r"Pow: base is bool\[2,3\]"),
        (logic.And(), [f32, f32], TypeMismatch, r"And: input is f32\[2,3\], expected one of bool"),
        (logic.Equal(), [f32, f64], TypeMismatch, r"element types differ: f32\[2,3\], f64\[2,3\]. Insert a Cast"),
        (logic.Less(), [f32, tensor(2, 4)], ShapeError, r"Less: cannot broadcast \[2,3\] with \[2,4\]"),
        (logic.Where(), [f32, f32, f32], TypeMismatch, r"condition is f32\[2,3\], expected one of bool"),
        (minmax.Max(), [], InvalidModel, r"Max: needs input x"),
        (minmax.Clip(), [f32, tensor(3)], ShapeError, r"low is f32\[3\], expected one number"),
        (activation.PRelu(), [tensor(3), f32], ShapeError, r"slope f32\[2,3\] does not broadcast to f32\[3\]"),
        (activation.Gelu(approximate="erf"), [f32], InvalidModel, "approximate is 'erf', expected none or tanh"),
        (activation.Celu(alpha=0.0), [f32], InvalidModel, "alpha is 0"),
        (softmax.Softmax(axis=2), [f32], ShapeError, "Softmax: axis 2 is out of range for rank 2"),
        (softmax.Softmax(), [tensor()], ShapeError, "axis -1 is out of range for rank 0"),
        (bitwise.BitShift(direction="UP"), [i32, i32], InvalidModel, "direction is 'UP', expected LEFT or RIGHT"),
        (cast.Cast(int32, round_mode="even"), [f32], InvalidModel, "round_mode is 'even'"),
        (cast.BitCast(int64), [f32], TypeMismatch, "float32 has 32 bits, int64 has 64"),
        (cast.BitCast(string), [f32], TypeMismatch, "strings have no bits"),
        (dropout.Dropout(), [f32, tensor(2, 2)], ShapeError, r"ratio is f32\[2,2\], expected rank 0 to 1"),
    ],
)
def test_misuse_is_refused(op: Op, inputs: list[Value], error: type[InvalidModel], message: str) -> None:
    with pytest.raises(error, match=message):
        op.apply(inputs)


def test_a_string_that_is_no_number() -> None:
    x = tensor(2, 1, dtype=string)
    with pytest.raises(ExecutionError, match=r"Cast: 'many' at index \[1, 0\] is not a number"):
        run(cast.Cast(float32)(x), (x, [["1"], ["many"]]))


def test_a_constant_that_cannot_be_cast_is_an_error_of_the_run() -> None:
    y = cast.Cast(int64)(const(np.array(["many"], object)))
    with pytest.raises(ExecutionError, match="'many'"):
        run(y)


# -- dropout ----------------------------------------------------------------------------------------------------------
def test_dropout_without_a_seed_differs_from_run_to_run() -> None:
    x = tensor(100)
    y = dropout.Dropout()(x, const(0.5, float32), const(True))
    assert not np.array_equal(run(y, (x, np.ones(100))), run(y, (x, np.ones(100))))
    assert not dropout.Dropout.pure


@pytest.mark.parametrize("ratio", [1.0, -0.1, math.nan])
def test_dropout_ratio_is_checked(ratio: float) -> None:
    x = tensor(3)
    with pytest.raises(ExecutionError, match="expected a number from 0 to below 1"):
        run(dropout.Dropout()(x, const(ratio, float32), const(True)), (x, np.ones(3)))


def test_gradient_of_dropout_uses_its_mask() -> None:
    x = tensor(50)
    y, mask = dropout.Dropout(outputs=2)(x, const(0.75, float32), const(True))
    graph = grad(Graph([x], [y]))
    dx, kept = interpret(Graph(graph.inputs, [*graph.outputs, mask]), [np.ones(50, np.float32)] * 2)
    assert kept.any()
    np.testing.assert_allclose(dx, np.where(kept, 4, 0))


def test_gradient_of_dropout_without_mask_or_seed_is_refused() -> None:
    x = tensor(3)
    y = dropout.Dropout()(x, const(0.5, float32), const(True))
    with pytest.raises(CompileError, match=r"needs the mask\. Give Dropout a seed"):
        grad(Graph([x], [y]))


# -- numbers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "ulps"), [(np.float64, 2), (np.float32, 2)])
def test_erf_is_accurate_and_fast(dtype: type, ulps: int) -> None:
    x = np.linspace(-6.5, 6.5, 20_001).astype(dtype)
    exact = np.array([math.erf(v) for v in x])
    assert np.all(np.abs(erf(x) - exact) <= ulps * np.spacing(np.abs(exact).astype(dtype)))
    wide = np.random.default_rng(0).normal(size=400_000).astype(dtype)
    start = time.perf_counter()
    erf(wide)
    assert time.perf_counter() - start < 1  # about 0.01 s; the bound only catches an element-wise Python loop


def test_power_of_zero_has_the_right_gradient() -> None:
    x = tensor(2)
    graph = grad(Graph([x], [x ** const([0, 1], float32)]))
    (dx,) = interpret(graph, [np.zeros(2, np.float32), np.ones(2, np.float32)])
    np.testing.assert_array_equal(dx, [0, 1])
