"""Symbolic sizes that turn out not to fit are errors of the run: never a silent broadcast, never another shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphc.dims import unknown
from graphc.errors import ExecutionError
from graphc.interpret import evaluate
from graphc.ir import Op, Value
from graphc.ops.activation import PRelu
from graphc.ops.ml_features import Imputer, Scaler
from graphc.ops.movement import ReverseSequence
from graphc.ops.optimizer import Momentum
from graphc.ops.pool import MaxUnpool
from graphc.ops.recurrent import LSTM, RNN
from graphc.types import TensorType, dtype_of


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


CASES: list[tuple[Op, Sequence[np.ndarray], str]] = [
    (PRelu(), [zeros(3, 1), zeros(4)], r"slope f32\[4\] does not broadcast to f32\[3,1\]"),
    (ReverseSequence(), [zeros(4, 1), zeros(3, dtype=np.int64)], "expected one entry for each of the 1"),
    (MaxUnpool((2, 2)), [zeros(1, 1, 2, 2), zeros(1, 1, 1, 4, dtype=np.int64)], "differ in shape"),
    (MaxUnpool((2,)), [zeros(1, 1, 2), zeros(1, 1, 2, dtype=np.int64), np.array([1, 4])], "rank 3"),
    (MaxUnpool((2,)), [zeros(1, 1, 2), zeros(1, 1, 2, dtype=np.int64), np.array([1, -1, -4])], "rank 3"),
    (RNN(hidden_size=3), [zeros(4, 2, 5), zeros(1, 1, 5), zeros(1, 1, 1)], "hidden_size is 3"),
    (RNN(), [zeros(4, 2, 5), zeros(1, 1, 5), zeros(1, 3, 3)], r"W is f32\[1,1,5\], expected f32\[1,3,5\]"),
    (RNN(), [zeros(4, 2, 5), zeros(1, 3, 5), zeros(1, 3, 3), zeros(1, 1)], "B is"),
    (LSTM(), [zeros(4, 2, 5), zeros(1, 12, 5), zeros(1, 12, 3), zeros(1, 24), zeros(1, dtype=np.int32)], "lens is"),
    (Scaler((1.0, 2.0, 3.0)), [zeros(5, 1)], "3"),
    (Imputer(imputed_value_floats=(1.0, 2.0, 3.0)), [zeros(5, 1)], "3"),
    (Momentum(0.9, 1.0, "standard", 0.0), [zeros(), zeros(dtype=np.int64), zeros(3), zeros(1), zeros(3)], "differ"),
]


@pytest.mark.parametrize(("op", "arrays", "message"), CASES, ids=lambda c: c.name if isinstance(c, Op) else "")
def test_sizes_that_do_not_fit(op: Op, arrays: Sequence[np.ndarray], message: str) -> None:
    values = [Value(TensorType(dtype_of(a.dtype), tuple(unknown() for _ in a.shape)), name="x") for a in arrays]
    node = op.apply(values)[0].node
    assert node is not None
    with pytest.raises(ExecutionError, match=message):
        evaluate(node, arrays)
