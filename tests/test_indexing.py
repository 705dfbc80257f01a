"""Gathers and scatters: indices out of range, shapes that do not fit, contents that are followed."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dims import sym
from graphc.errors import ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.indexing import Gather, GatherElements, GatherND, OneHot
from graphc.ops.scatter import ScatterElements, ScatterND, TensorScatter
from graphc.ops.shape import Shape
from graphc.types import TensorType, bool_, dtype_of, float32, int32, int64, string


def tensor(dtype, *shape, name="x"):
    return Value(TensorType(dtype, shape), name=name)


def run(op, *arrays):
    inputs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=f"x{i}") for i, a in enumerate(arrays)]
    return interpret(Graph(inputs, op.apply(inputs)), arrays)[0]


i64 = lambda values: np.array(values, np.int64)
x = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("op", "arrays", "message"),
    [
        (Gather(), [x, i64([0, 99])], "index 99 is out of range, valid -2..1"),
        (Gather(), [x[:0], i64([0])], "index 0 is out of range, the axis is empty"),
        (GatherElements(1), [x, i64([[-4]])], "index -4 is out of range, valid -3..2"),
        (GatherND(), [x, i64([[0, 3]])], "index 3 is out of range, valid -3..2"),
        (ScatterElements(), [x, i64([[2]]), x[:1, :1]], "index 2 is out of range, valid -2..1"),
        (ScatterND(), [x, i64([[-3]]), x[:1]], "index -3 is out of range, valid -2..1"),
        (TensorScatter(), [x[None], x[None], i64([1])], "leave the cache, valid 0..1"),
        (OneHot(), [i64([0]), i64(-1), x[0, :2]], "depth is -1"),
    ],
)
def test_what_data_breaks(op, arrays, message):
    with pytest.raises(ExecutionError, match=message) as caught:
        run(op, *arrays)
    assert caught.value.node == op.name


@pytest.mark.parametrize(
    ("op", "inputs", "error", "message"),
    [
        (Gather(2), [tensor(float32, 2, 3), tensor(int64)], ShapeError, "axis 2 is out of range for rank 2"),
        (Gather(), [tensor(float32), tensor(int64)], ShapeError, "data is f32"),
        (Gather(), [tensor(float32, 2), tensor(float32)], TypeMismatch, "indices is f32"),
        (GatherElements(), [tensor(float32, 2, 3), tensor(int64, 2)], ShapeError, "ranks differ"),
        (GatherElements(), [tensor(float32, 2, 3), tensor(int64, 2, 4)], ShapeError, "reach beyond"),
        (GatherND(), [tensor(float32, 2, 3), tensor(int64, 2, 3)], ShapeError, "names 3 axes"),
        (GatherND(1), [tensor(float32, 2, 3), tensor(int64, 3, 1)], ShapeError, "batch axis 0 differs"),
        (GatherND(-1), [tensor(float32, 2, 3), tensor(int64, 3, 1)], InvalidModel, "batch_dims is -1"),
        (ScatterND(), [tensor(float32, 2, 3), tensor(int64, 2, 1), tensor(float32, 2)], ShapeError, r"f32\[2,3\]"),
        (ScatterND("sum"), [tensor(float32, 2), tensor(int64, 1, 1), tensor(float32, 1)], InvalidModel, "'sum'"),
        (ScatterND("add"), [tensor(string, 2), tensor(int64, 1, 1), tensor(string, 1)], TypeMismatch, "'add'"),
        (ScatterND("max"), [tensor(bool_, 2), tensor(int64, 1, 1), tensor(bool_, 1)], TypeMismatch, "'max'"),
        (ScatterElements(), [tensor(float32, 2), tensor(int64, 1), tensor(int32, 1)], TypeMismatch, "types differ"),
        (OneHot(), [tensor(int64, 2), tensor(int64), tensor(float32, 3)], ShapeError, "values is f32"),
        (TensorScatter("ring"), [tensor(float32, 2, 3)] * 2, InvalidModel, "mode is 'ring'"),
        (TensorScatter(), [tensor(float32, 2, 3)] * 2, ShapeError, "the batch axis"),
        (TensorScatter(axis=1), [tensor(float32, 2, 3), tensor(float32, 2, 4)], ShapeError, "or shorter along axis 1"),
    ],
)
def test_refuses(op, inputs, error, message):
    with pytest.raises(error, match=message):
        op(*inputs)


def test_gather_and_scatter_follow_sizes():
    shape = Shape()(tensor(float32, sym("n"), 3))
    assert Gather()(shape, const(i64(0))).dims.item() == sym("n")
    assert list(ScatterND()(shape, const(i64([[1]])), const(i64([7]))).dims) == [sym("n"), 7]
