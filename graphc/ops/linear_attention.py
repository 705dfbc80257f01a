"""Layers with a state that grows no longer: linear attention, and the causal convolution that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import InvalidModel, ShapeError
from graphc.ir import Cost, Graph, Op, elements, traffic
from graphc.limits import check_deadline, check_tensor
from graphc.ops.activation import Sigmoid, Swish
from graphc.ops.attention import heads_of, in_dtype, in_wide, same_size
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank, check_same_dtype, const, known_sizes
from graphc.ops.control import Scan
from graphc.ops.conv import Conv
from graphc.ops.elementwise import widen
from graphc.ops.math import Exp
from graphc.ops.movement import Concat
from graphc.ops.padding import Pad
from graphc.ops.slicing import Slice
from graphc.ops.vjp import decomposed_grad
from graphc.types import bfloat16, float16, float32, unify

RULES = ("linear", "gated", "delta", "gated_delta")
ACTIVATIONS = ("none", "silu", "swish")
TAKEN = (float16, bfloat16, float32)


# -- linear attention -------------------------------------------------------------------------------------------------
class LinearAttention(Op):
    """S_t = exp(g_t) S_{t-1} + β_t k_t ⊗ (v_t - S̃ᵀ k_t), o_t = scale · S_tᵀ q_t for each head. ONNX LinearAttention-27.

    S̃ is exp(g_t) S_{t-1}; a rule without a gate has g = 0, one without delta has β = 1 and no S̃ᵀ k_t. Query, key and
    value are (batch, length, heads · size), decay is (batch, length, kv_num_heads) or (…, kv_num_heads · size), beta
    is (batch, length, kv_num_heads or 1), the states are (batch, kv_num_heads, key size, value size). Each state
    serves an equal number of query heads. Outputs: o and the last state.

    Attributes:
        chunk_size: a hint to other implementations.
        kv_num_heads, q_num_heads: the numbers of heads.
        scale: 0 for 1/sqrt(key size).
        update_rule: linear, gated, delta or gated_delta.
    """

    kv_num_heads: int
    q_num_heads: int
    chunk_size: int = 64
    scale: float = 0.0
    update_rule: str = "gated_delta"

    def infer(
        self,
        query: Value,
        key: Value,
        value: Value,
        past_state: Value | None = None,
        decay: Value | None = None,
        beta: Value | None = None,
    ) -> tuple[TensorType, ...]:
        self._check(decay, beta)
        check_same_dtype(query, key, value, decay, beta)
        check_dtype(query, TAKEN, "query")
        named = (("query", query), ("key", key), ("value", value), ("decay", decay), ("beta", beta))
        for what, x in named:
            if x is not None:
                check_rank(x, what, 3)
        q = heads_of(query, self.q_num_heads, "query")
        k, v = heads_of(key, self.kv_num_heads, "key"), heads_of(value, self.kv_num_heads, "value")
        batch = same_size("batch size", (("query", query, q[0]), ("key", key, k[0]), ("value", value, v[0])))
        length = same_size("length", (("query", query, q[2]), ("key", key, k[2]), ("value", value, v[2])))
        size = same_size("head size", (("query", query, q[3]), ("key", key, k[3])))
        _check_shape(decay, "decay", (batch, length, None), (self.kv_num_heads, self.kv_num_heads * size))
        _check_shape(beta, "beta", (batch, length, None), (self.kv_num_heads, 1))
        state = (batch, self.kv_num_heads, size, v[3])
        if past_state is not None:
            check_dtype(past_state, TAKEN, "past_state")
            check_rank(past_state, "past_state", 4)
            _check_shape(past_state, "past_state", state, ())
        return (
            TensorType(query.dtype, (batch, length, self.q_num_heads * v[3])),
            TensorType(query.dtype if past_state is None else past_state.dtype, state),
        )

    def _check(self, decay: object, beta: object) -> None:
        if self.update_rule not in RULES:
            raise InvalidModel(f"update_rule is '{self.update_rule}', expected one of {', '.join(RULES)}")
        if self.kv_num_heads < 1 or self.q_num_heads < 1 or self.q_num_heads % self.kv_num_heads:
            raise InvalidModel(f"{self.q_num_heads} query heads cannot share {self.kv_num_heads} heads")
        for what, x, needed in (("decay", decay, "gated"), ("beta", beta, "delta")):
            if (x is None) == (needed in self.update_rule):
                raise InvalidModel(f"the rule {self.update_rule} {'needs' if x is None else 'does not take'} {what}")

    def eval(
        self,
        query: Array,
        key: Array,
        value: Array,
        past_state: Array | None = None,
        decay: Array | None = None,
        beta: Array | None = None,
    ) -> tuple[Array, Array]:
        batch, length, _ = query.shape
        n = self.kv_num_heads
        k, v = (widen(x).reshape(batch, length, n, x.shape[2] // n) for x in (key, value))
        size, width = k.shape[3], v.shape[3]
        group = self.q_num_heads // n
        q = widen(query).reshape(batch, length, n, group, size) * np.float32(self._scale(size))
        check_tensor((batch, n, size, width), 4, "the state")
        if past_state is None:
            state: Array = np.zeros((batch, n, size, width), k.dtype)
        else:
            state = widen(past_state)
        y = np.empty((batch, length, n, group, width), k.dtype)
        kept = None if decay is None else np.exp(widen(decay)).reshape(batch, length, n, decay.shape[2] // n, 1)
        rate = None if beta is None else widen(beta)[..., None]
        for t in range(length):
            check_deadline()
            if kept is not None:
                state = kept[:, t] * state
            update = v[:, t]
            if rate is not None:
                update = rate[:, t] * (update - (k[:, t, :, None] @ state)[:, :, 0])
            state = state + k[:, t, :, :, None] * update[:, :, None]
            y[:, t] = q[:, t] @ state
        last = query.dtype if past_state is None else past_state.dtype
        return y.reshape(batch, length, n * group * width).astype(query.dtype), state.astype(last)

    def _scale(self, size: int) -> float:
        return float(self.scale or size**-0.5)

    def decompose(self, *xs: Value | None) -> tuple[Value, Value] | None:
        """The outputs position after position; None where these are not known, or many."""
        query, past_state = xs[0], (*xs, None, None, None)[3]
        assert query is not None
        scan, inputs = self._scan(*xs)  # type: ignore[arg-type]
        unrolled = scan.decompose(*inputs)
        if unrolled is None:
            return None
        last, ys = unrolled
        return in_dtype(ys, query.dtype), in_dtype(last, (past_state or query).dtype)

    def _scan(
        self,
        query: Value,
        key: Value,
        value: Value,
        past_state: Value | None = None,
        decay: Value | None = None,
        beta: Value | None = None,
    ) -> tuple[Scan, list[Value]]:
        """The scan over the positions that gives the last state and y; needs known sizes of the batch and the heads."""
        n, group = self.kv_num_heads, self.q_num_heads // self.kv_num_heads
        batch, size, width = (*known_sizes(key, 0, 2), *known_sizes(value, 2))
        size, width = size // n, width // n
        scanned = [in_wide(x) for x in (query, key, value, decay, beta) if x is not None]
        wide = scanned[0].dtype
        if past_state is None:
            start = const(np.zeros((batch, n, size, width), wide.numpy), wide)
        else:
            start = past_state.cast(wide)
        state = Value(start.type, name="state")
        slices = [Value(TensorType(wide, (x.shape[0], x.shape[2])), name=f"x{i}")  # type: ignore[index]
                  for i, x in enumerate(scanned)]  # fmt: skip
        q, k, update, *rest = slices
        kept: Value = state
        if decay is not None:
            kept = Exp()(rest.pop(0)).reshape([batch, n, -1, 1]) * kept
        column, update = k.reshape([batch, n, size, 1]), update.reshape([batch, n, 1, width])
        if beta is not None:
            update = rest.pop(0).reshape([batch, -1, 1, 1]) * (update - k.reshape([batch, n, 1, size]) @ kept)
        after = kept + column * update
        y = (q.reshape([batch, n, group, size]) * self._scale(size)) @ after
        body = Graph([state, *slices], [after, y.reshape([batch, self.q_num_heads * width])])
        axes = (1,) * len(slices)
        return Scan(body, len(slices), scan_input_axes=axes, scan_output_axes=(1,)), [start, *scanned]

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        def parts(
            query: Value, key: Value, value: Value, past_state: Value | None = None, *others: Value
        ) -> list[Value]:
            scan, inputs = self._scan(query, key, value, past_state, *others)
            last, ys = scan.apply(inputs)
            return [in_dtype(ys, query.dtype), in_dtype(last, (past_state or query).dtype)]

        return decomposed_grad(parts, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """For each position and state: the update, its read of the state before, and a read for each query head."""
        length: Dim = 0 if ys[0].shape is None else ys[0].shape[1]
        group = self.q_num_heads // self.kv_num_heads
        passes = 2 * group + 2 + ("gated" in self.update_rule) + 2 * ("delta" in self.update_rule)
        return Cost(elements(ys[1]) * length * passes, traffic(xs, ys))


def _check_shape(x: Value | None, what: str, expected: Sequence[Dim | None], last: Sequence[Dim]) -> None:
    """Raise `ShapeError` unless `x` may have the sizes `expected`, where None stands for one of `last`."""
    if x is None or x.shape is None:
        return
    for d, n in zip(x.shape, expected, strict=True):
        allowed = last if n is None else (n,)
        if isinstance(d, int) and all(isinstance(m, int) and m != d for m in allowed):
            raise ShapeError(f"{what} is {x.tensor}, expected {' or '.join(map(str, allowed))} in place of {d}")


# -- causal convolution -----------------------------------------------------------------------------------------------
class CausalConvWithState(Op):
    """y[b, c, t] = f(bias_c + Σ_i weight[c, 0, i] · x[b, c, t + i - (k - 1)]). ONNX CausalConvWithState-27.

    x is `input`, (batch, channels, length), after `past_state`, (batch, channels, k - 1), which is zero when it is not
    given. The second output is the state for what follows: the last k - 1 positions of the two together.

    Attributes:
        activation: f: none, or silu (which is called swish too).
    """

    activation: str = "none"

    def infer(
        self, input: Value, weight: Value, bias: Value | None = None, past_state: Value | None = None
    ) -> tuple[TensorType, ...]:
        check_same_dtype(input, weight, bias, past_state)
        check_dtype(input, TAKEN, "input")
        if self.activation not in ACTIVATIONS:
            raise InvalidModel(f"activation is '{self.activation}', expected one of {', '.join(ACTIVATIONS)}")
        for what, x, rank in (
            ("input", input, 3),
            ("weight", weight, 3),
            ("bias", bias, 1),
            ("past_state", past_state, 3),
        ):
            if x is not None:
                check_rank(x, what, rank)
        batch, channels, length = input.shape or (unknown(), unknown(), unknown())
        size: Dim = unknown()
        if weight.shape is not None:
            _check_shape(weight, "weight", (channels, 1, None), (weight.shape[2],))
            channels, size = unify(channels, weight.shape[0]), weight.shape[2]
            if size == 0:
                raise ShapeError(f"weight is {weight.tensor}, expected a kernel of 1 or more", value=weight.name)
        _check_shape(bias, "bias", (channels,), ())
        _check_shape(past_state, "past_state", (batch, channels, size - 1), ())
        return (
            TensorType(input.dtype, (batch, channels, length)),
            TensorType(input.dtype, (batch, channels, size - 1)),
        )

    def eval(
        self, input: Array, weight: Array, bias: Array | None = None, past_state: Array | None = None
    ) -> tuple[Array, Array]:
        size = weight.shape[2]
        check_tensor((*input.shape[:2], input.shape[2] + size - 1), input.itemsize, "the padded input")
        past = np.zeros((*input.shape[:2], size - 1), input.dtype) if past_state is None else past_state
        padded = np.concatenate((past, input), 2)
        x, w = widen(padded), widen(weight)
        y: Array = np.zeros(input.shape, x.dtype)
        for i in range(size):
            y += w[:, :, i] * x[:, :, i : i + input.shape[2]]
        if bias is not None:
            y = y + widen(bias)[:, None]
        if self.activation != "none":
            y = Swish().eval(y)
        return y.astype(input.dtype), padded[:, :, input.shape[2] :]

    def decompose(
        self, input: Value, weight: Value, bias: Value | None = None, past_state: Value | None = None
    ) -> tuple[Value, Value]:
        """The outputs in terms of other ops; needs a known kernel and a known number of channels."""
        channels, size = known_sizes(weight, 0, 2)
        if past_state is None:
            padded = Pad()(input, const([size - 1, 0]), None, const([2]))
        else:
            padded = Concat(2)(past_state, input)
        y = Conv(group=channels)(in_wide(padded), in_wide(weight), None if bias is None else in_wide(bias))
        if self.activation != "none":
            y = y * Sigmoid().apply((y,))[0]
        y = in_dtype(y, input.dtype)
        far = np.iinfo(np.int64).max
        first = const([1 - size if size > 1 else far])
        return y, Slice()(padded, first, const([far]), const([2]))

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self.decompose, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        weight = xs[1]
        size = 0 if weight is None or weight.shape is None else weight.shape[2]
        return Cost(elements(ys[0]) * (2 * size + (0 if self.activation == "none" else 6)), traffic(xs, ys))
