"""Quantisation: the gradient of a scale, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.autodiff import grad
from graphc.errors import CompileError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.quantize import DequantizeLinear, QuantizeLinear
from graphc.ops.quantized import ConvInteger, MatMulInteger, QLinearMatMul
from graphc.types import TensorType, float8e8m0, float32, float64, int8, int32, uint8

codes = np.arange(12, dtype=np.uint8).reshape(3, 4)


def tensor(dtype, *shape, name="x"):
    return Value(TensorType(dtype, shape), name=name)


@pytest.mark.parametrize(
    ("scale", "axes"),
    [(np.float32([0.5]), (0, 1)), (np.array(0.5, np.float32), (0, 1)), (np.ones(4, np.float32), (0,))],
)
def test_gradient_of_a_scale(scale, axes):
    x, s, z = tensor(uint8, 3, 4), tensor(float32, *scale.shape, name="s"), tensor(uint8, *scale.shape, name="z")
    graph = Graph([x, s, z], [DequantizeLinear()(x, s, z)])
    dy = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    (ds,) = interpret(grad(graph), [codes, scale, np.full(scale.shape, 2, np.uint8), dy])
    np.testing.assert_allclose(ds, (dy * (codes.astype(np.float32) - 2)).sum(axes).reshape(scale.shape), rtol=1e-5)


def test_gradient_of_scales_for_blocks_is_refused():
    x, s = tensor(uint8, 3, 4), tensor(float32, 3, 2, name="s")
    with pytest.raises(CompileError, match="blocks"):
        grad(Graph([x, s], [DequantizeLinear(block_size=2)(x, s)]))


@pytest.mark.parametrize(
    ("op", "inputs", "error", "message"),
    [
        (QuantizeLinear(), [tensor(float32, 2, 3), tensor(float32, 2)], ShapeError, r"expected \[\] or f32\[3\]"),
        (QuantizeLinear(), [tensor(float64, 2), tensor(float32)], TypeMismatch, "x is f64"),
        (QuantizeLinear(output_dtype=int8), [tensor(float32), tensor(float32), tensor(uint8)], TypeMismatch, "int8"),
        (QuantizeLinear(output_dtype=int32), [tensor(float32), tensor(float32)], TypeMismatch, "quantize to"),
        (QuantizeLinear(block_size=-1), [tensor(float32), tensor(float32)], InvalidModel, "block_size is -1"),
        (QuantizeLinear(1, 2), [tensor(float32, 2, 5), tensor(float32, 2, 2)], ShapeError, "blocks of 2 along axis 1"),
        (DequantizeLinear(), [tensor(int8), tensor(float8e8m0)], TypeMismatch, "output_dtype"),
        (DequantizeLinear(), [tensor(int8), tensor(float32), tensor(uint8)], TypeMismatch, "element types differ"),
        (MatMulInteger(), [tensor(int8, 2, 3), tensor(int8, 4, 2)], ShapeError, "inner sizes differ"),
        (MatMulInteger(), [tensor(int8, 2, 3), tensor(int8, 3, 2), tensor(int8, 3)], ShapeError, "a_zero_point"),
        (ConvInteger(), [tensor(int8, 1, 2, 5), tensor(int8, 4, 3, 2)], ShapeError, "2 channels"),
        (ConvInteger(), [tensor(int8, 1, 2, 5), tensor(int8, 4, 2, 2), None, tensor(int8, 3)], ShapeError, "w_zero"),
        (
            QLinearMatMul(),
            [*[tensor(uint8, 2, 2), tensor(float32), tensor(uint8)] * 2, tensor(float32, 2), tensor(uint8)],
            ShapeError,
            "y_scale",
        ),
    ],
)
def test_refuses(op, inputs, error, message):
    with pytest.raises(error, match=message):
        op(*inputs)
