"""Attention, rotary embeddings and recurrent layers: what they infer and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dims import sym
from graphc.errors import ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.attention import Attention, RotaryEmbedding
from graphc.ops.recurrent import GRU, LSTM, RNN
from graphc.types import TensorType, float32, float64, int32, int64


def tensor(dtype, *shape, name="x"):
    return Value(TensorType(dtype, shape), name=name)


def f32(*shape):
    return tensor(float32, *shape)


Q, K, V = f32(2, 4, 3, 8), f32(2, 2, 5, 8), f32(2, 2, 5, 6)
X, W, R = f32(4, 3, 2), f32(1, 20, 2), f32(1, 20, 5)


def test_attention_follows_symbols():
    b, s, p = sym("batch"), sym("seq"), sym("past")
    q, k, v = f32(b, s, 32), f32(b, s, 16), f32(b, s, 12)
    past = [f32(b, 2, p, 8), f32(b, 2, p, 6)]
    outputs = Attention(q_num_heads=4, kv_num_heads=2, outputs=4)(q, k, v, None, *past)
    assert [str(y.type) for y in outputs] == [
        "f32[batch,seq,24]",
        "f32[batch,2,past + seq,8]",
        "f32[batch,2,past + seq,6]",
        "f32[batch,4,seq,past + seq]",
    ]


def test_lstm_follows_symbols():
    outputs = LSTM(outputs=3)(f32(sym("t"), sym("n"), 2), W, R)
    assert [str(y.type) for y in outputs] == ["f32[t,1,n,5]", "f32[1,n,5]", "f32[1,n,5]"]


@pytest.mark.parametrize(
    ("op", "inputs", "error", "message"),
    [
        (Attention(), [Q, K, f32(2, 5, 12)], InvalidModel, "rank 3 need"),
        (Attention(q_num_heads=4, kv_num_heads=2), [Q, K, f32(2, 5, 12)], ShapeError, "ranks differ"),
        (Attention(), [Q, f32(2, 3, 5, 8), f32(2, 3, 5, 6)], ShapeError, "4 query heads cannot share 3"),
        (Attention(), [Q, f32(2, 2, 5, 7), V], ShapeError, "head size differs"),
        (Attention(), [Q, K, f32(2, 2, 4, 6)], ShapeError, "length differs"),
        (Attention(q_num_heads=2), [Q, K, V], ShapeError, "expected 2 heads"),
        (Attention(), [Q, tensor(float64, 2, 2, 5, 8), V], TypeMismatch, "element types differ"),
        (Attention(), [Q, K, V, None, f32(2, 2, 1, 8)], InvalidModel, "given together"),
        (Attention(left_window_size=-2), [Q, K, V], InvalidModel, "-1 or more"),
        (Attention(qk_matmul_output_mode=4), [Q, K, V], InvalidModel, "expected 0..3"),
        (Attention(softmax_precision=7), [Q, K, V], TypeMismatch, "softmax_precision is 7"),
        (RotaryEmbedding(), [f32(2, 4, 6), f32(2, 4, 3), f32(2, 4, 3)], InvalidModel, "needs num_heads"),
        (RotaryEmbedding(), [f32(2, 3, 4, 6), f32(2, 4, 2), f32(2, 4, 2)], ShapeError, "expected 3 columns"),
        (RotaryEmbedding(), [f32(2, 3, 4, 5), f32(2, 4, 2), f32(2, 4, 2)], ShapeError, "in pairs"),
        (LSTM(direction="both"), [X, W, R], InvalidModel, "direction is 'both'"),
        (LSTM(layout=2), [X, W, R], InvalidModel, "layout is 2"),
        (LSTM(hidden_size=4), [X, W, R], ShapeError, "hidden_size is 4"),
        (LSTM(direction="bidirectional"), [X, W, R], ShapeError, r"W is f32\[1,20,2\], expected f32\[2,20,2\]"),
        (LSTM(), [X, f32(1, 20, 3), R], ShapeError, r"expected f32\[1,20,2\]"),
        (LSTM(), [X, W, R, f32(1, 20)], ShapeError, r"B is f32\[1,20\], expected f32\[1,40\]"),
        (LSTM(), [X, W, R, None, tensor(int64, 3)], TypeMismatch, "sequence_lens"),
        (LSTM(), [X, W, R, None, None, f32(1, 4, 5)], ShapeError, "initial state"),
        (LSTM(outputs=4), [X, W, R], InvalidModel, "outputs is 4"),
        (GRU(activations=("Tanh",)), [X, f32(1, 15, 2), f32(1, 15, 5)], InvalidModel, "expected 2 names"),
        (RNN(activations=("Sine",)), [X, f32(1, 5, 2), f32(1, 5, 5)], InvalidModel, "'Sine' is not known"),
    ],
)
def test_refuses(op, inputs, error, message):
    with pytest.raises(error, match=message):
        op(*inputs)


def test_lengths_beyond_the_sequence():
    x, w, r, n = f32(2, 1, 1), f32(1, 1, 1), f32(1, 1, 1), tensor(int32, 1)
    inputs = [Value(v.type, name=f"x{i}") for i, v in enumerate((x, w, r, n))]
    graph = Graph(inputs, [RNN()(*inputs[:3], None, inputs[3])])
    ones = [np.ones(v.shape, np.float32) for v in (x, w, r)]
    with pytest.raises(ExecutionError, match=r"sequence_lens \[3\] has entries outside 0..2"):
        interpret(graph, [*ones, np.array([3], np.int32)])
