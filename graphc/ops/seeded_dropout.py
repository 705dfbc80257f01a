"""Dropout whose mask is a function of a seed and a step: the same bits on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from graphc.interpret import interpret
from graphc.ir import Cost, Graph, Op, elements, traffic
from graphc.ops.base import Array, InvalidModel, TensorType, Value, check_dtype, check_rank, const
from graphc.ops.bitwise import BitShift, BitwiseAnd, BitwiseXor
from graphc.ops.fused import Fused
from graphc.ops.generate import Range
from graphc.ops.logic import where
from graphc.ops.reshaping import reshape_like
from graphc.ops.shape import Size
from graphc.types import FLOATS, dtype_of, int64, uint64

# The multiplier and the Weyl constant of Philox-2x32, and an odd number that sets streams apart.
MULTIPLIER, WEYL, STREAMS = 0xD256D193, 0x9E3779B9, 0x85EBCA6B
LOW = 0xFFFFFFFF  # the 32 bits that a word has; words are uint64, which holds products of two


def philox(counter: tuple[Value, Value], key: Value, *, rounds: int = 10) -> tuple[Value, Value]:
    """Two random words for a counter of two words and a key: Philox-2x32 (Salmon et al. 2011), as graph code.

    A round is (a, b) ← (high(M a) ⊕ key ⊕ b, low(M a)), key ← key + W, modulo 2³². Words are uint64 below 2³², of
    shapes that broadcast.
    """
    a, b = counter
    for _ in range(rounds):
        product = a * MULTIPLIER
        a, b = _xor(_xor(_high(product), key), b), _low(product)
        key = _low(key + WEYL)
    return a, b


class SeededDropout(Op):
    """y_i = x_i / (1 − ratio) where random bits u_i ≥ ratio · 2³², else 0. graphc's own; in ONNX what it decomposes to.

    Inputs: x; seed and step, int64 scalars. u_i is the first word of Philox-2x32 of the counter (i, step), i being the
    row-major position, under a key made of the seed and the stream. So each element of each layer has a draw of its own
    in each step, and the gradient computes the mask again instead of keeping it.

    Attributes:
        ratio: the share that is dropped.
        stream: a number for this layer, different from those of others.
    """

    domain: ClassVar[str] = "graphc"
    ratio: float = 0.5
    stream: int = 0

    def infer(self, x: Value, seed: Value, step: Value) -> TensorType:
        check_dtype(x, FLOATS, "input")
        for v, what in ((seed, "seed"), (step, "step")):
            check_dtype(v, {int64}, what)
            check_rank(v, what, 0)
        if not 0 <= self.ratio < 1:
            raise InvalidModel(f"ratio is {self.ratio}, expected a number from 0 to below 1")
        return x.tensor

    def eval(self, x: Array, seed: Array, step: Array) -> Array:
        body = _body(self, TensorType(dtype_of(x.dtype), x.shape))
        result: Array = interpret(body, (x, seed, step))[0]
        return result

    def decompose(self, x: Value, seed: Value, step: Value) -> Value:
        """One node, so that backends that compile make one loop of it."""
        y: Value = Fused(_body(self, x.tensor))(x, seed, step)
        return y

    def dropped(self, x: Value, seed: Value, step: Value) -> Value:
        """The definition."""
        count: Value = Size()(x)
        position: Value = Range()(const(0, int64), count, const(1, int64))
        key = _xor(_low(seed.cast(uint64)), const(self.stream * STREAMS & LOW, uint64))
        bits, _ = philox((_low(reshape_like(position, x).cast(uint64)), _low(step.cast(uint64))), key)
        return where(bits < round(self.ratio * 2**32), _zero(x), x * (1 / (1 - self.ratio)))

    def grad(self, dy: Value, y: Value, x: Value, seed: Value, step: Value) -> Sequence[Value | None]:
        return [self.apply((dy, seed, step))[0], None, None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(60 * elements(xs[0]), traffic(xs, ys))


@lru_cache(maxsize=64)  # in each step of a training the same, and slower to build than to evaluate
def _body(op: SeededDropout, type: TensorType) -> Graph:
    types = {"x": type, "seed": TensorType(int64, ()), "step": TensorType(int64, ())}
    inputs = [Value(t, name=name) for name, t in types.items()]
    return Graph(inputs, [op.dropped(*inputs)], ["y"])


def _xor(a: Value, b: Value) -> Value:
    return BitwiseXor().apply((a, b))[0]


def _low(x: Value) -> Value:
    return BitwiseAnd().apply((x, const(LOW, uint64)))[0]


def _high(x: Value) -> Value:
    return BitShift("RIGHT").apply((x, const(32, uint64)))[0]


def _zero(x: Value) -> Value:
    return const(0, x.dtype)
