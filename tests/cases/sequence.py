"""Sequences. Those whose results ONNX Runtime does not hand out are held against lists."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ir import Graph, Value
from graphc.ops import sequence as op
from graphc.ops.arithmetic import Add, Mul
from graphc.types import TensorType, float32


def position(i: int, dtype: type = np.int64) -> np.ndarray:
    return np.array(i, dtype)


def body(*inputs: Value, function: str) -> Graph:
    a, *rest = inputs
    if function == "double":
        return Graph(inputs, [a + a])
    outputs = [Add()(a, rest[0]), Mul()(a, rest[0])]
    return Graph(inputs, outputs, ["added", "multiplied"])


x, y, z = random(2, 3), random(2, 3, seed=1), random(2, 3, seed=2)
short = random(1, 3)
UNEVEN = [x, short, random(0, 3)]
element = TensorType(float32, (2, 3))

CASES = [
    Case(op.SequenceConstruct(), [x, y, z]),
    Case(op.SequenceConstruct(), [x, short], id="uneven"),
    Case(op.SequenceConstruct(), [random(3, dtype=np.int64, high=9), random(dtype=np.int64, high=9)], id="int64"),
    Case(op.SequenceEmpty(), [], oracle=list),
    *(Case(op.SequenceAt(), [UNEVEN, position(i)], id=str(i)) for i in (0, 1, -1, -3)),
    Case(op.SequenceAt(), [[x, y], position(1, np.int32)], id="int32", const=(1,)),
    *(Case(op.SequenceInsert(), [[x, y], z, position(i)], id=str(i)) for i in (0, 1, 2, -1, -2)),
    Case(op.SequenceInsert(), [UNEVEN, y], id="end"),
    *(Case(op.SequenceErase(), [UNEVEN, position(i)], id=str(i)) for i in (0, 2, -2)),
    Case(op.SequenceErase(), [[x, y]], id="last"),
    Case(op.SequenceLength(), [UNEVEN]),
    *(Case(op.ConcatFromSequence(axis), [[x, y, z]], id=str(axis)) for axis in (0, 1, -2)),
    *(Case(op.ConcatFromSequence(axis, True), [[x, y, z]], id=f"new-{axis}") for axis in (0, 2, -1, -3)),
    Case(op.ConcatFromSequence(0), [UNEVEN], id="uneven"),
    Case(op.SplitToSequence(), [x]),
    Case(op.SplitToSequence(-1, False), [x], id="squeezed"),
    Case(op.SplitToSequence(1), [random(2, 6), position(2)], id="even", const=(1,)),
    Case(op.SplitToSequence(1, False), [random(2, 2), position(1)], id="keepdims-ignored", const=(1,),
         oracle=lambda x, s: [x[:, :1], x[:, 1:]]),
    Case(op.SplitToSequence(1), [random(2, 7), position(3, np.int32)], id="rest", const=(1,)),
    Case(op.SplitToSequence(1), [random(2, 7), position(3)], id="run-time"),
    Case(op.SplitToSequence(0), [random(5, 2), np.array([2, 3])], id="sizes", const=(1,)),
    Case(op.SplitToSequence(-2), [random(5, 2), np.array([1, 0, 4])], id="sizes-run-time",
         oracle=lambda x, s: [x[:1], x[1:1], x[1:]]),
    Case(op.SequenceMap(body(Value(element, name="a"), function="double")), [[x, y]],
         oracle=lambda s: [2 * a for a in s]),
    Case(op.SequenceMap(body(Value(element, name="a"), function="double")), [UNEVEN], id="uneven",
         oracle=lambda s: [2 * a for a in s]),
    Case(op.SequenceMap(body(Value(element, name="a"), Value(element, name="b"), function="both")), [[x, y], [z, x]],
         id="two", oracle=lambda s, t: ([a + b for a, b in zip(s, t, strict=True)],
                                        [a * b for a, b in zip(s, t, strict=True)])),
    Case(op.SequenceMap(body(Value(element, name="a"), Value(element, name="b"), function="both")), [[x, y], z],
         id="tensor", oracle=lambda s, b: ([a + b for a in s], [a * b for a in s])),
    Case(op.SequenceMap(body(Value(element, name="a"), Value(element, name="b"), function="both"), captured=1),
         [[x, y], z], id="captured", oracle=lambda s, b: ([a + b for a in s], [a * b for a in s])),
]  # fmt: skip
