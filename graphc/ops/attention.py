"""Attention, and the rotation of queries and keys by their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import ml_dtypes
import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.expr import Element, Expr, Source, as_index, cast, equal, position, select, wide
from graphc.index import Linear, linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank, check_same_dtype, const, known_sizes
from graphc.ops.elementwise import widen
from graphc.ops.indexing import Gather
from graphc.ops.logic import And, Equal, Greater, LessOrEqual, Not, Or, Where
from graphc.ops.math import Tanh
from graphc.ops.movement import Concat
from graphc.ops.padding import Pad
from graphc.ops.reduction import ReduceMax
from graphc.ops.slicing import Slice
from graphc.ops.softmax import Softmax
from graphc.ops.vjp import decomposed_grad
from graphc.types import BY_ONNX, FLOATS, NUMBERS, DType, Shape, bfloat16, bool_, float16, float32, int64, unify

RAW, CAPPED, BIASED, PROBABILITIES = range(4)  # the values of qk_matmul_output_mode


class Attention(Op):
    """y = softmax(softcap(scale · Q Kᵀ) + bias) V for each head. ONNX Attention-25.

    Q is (batch, heads, length, size) or (batch, length, heads · size); K and V likewise with `kv_num_heads` heads,
    each of which serves an equal number of query heads. softcap(x) = softcap · tanh(x / softcap). The bias is
    `attn_mask` (added, or -inf where it is false; missing columns at the end are -inf), and -inf for the keys that
    a query does not see: later ones with `is_causal`, those outside the window, those from nonpad_kv_seqlen on. A
    query that sees no key gives zeros.

    Attributes:
        is_causal: query i sees key j only for j <= i + offset; the offset is the number of past keys, or
            nonpad_kv_seqlen minus the number of queries.
        kv_num_heads, q_num_heads: the numbers of heads, for inputs of rank 3.
        left_window_size, right_window_size: how many keys before and after its own position a query sees; -1 for all.
        qk_matmul_output_mode: what the fourth output is: 0 scale · Q Kᵀ, 1 after softcap, 2 after the bias, 3 the
            probabilities.
        scale: default 1/sqrt(size).
        softcap: 0 for none.
        softmax_precision: the element type of the softmax, as ONNX's number.
        outputs: how many of Y, present_key, present_value, qk_matmul_output are wanted.
    """

    is_causal: bool = False
    kv_num_heads: int | None = None
    left_window_size: int = -1
    q_num_heads: int | None = None
    qk_matmul_output_mode: int = 0
    right_window_size: int = -1
    scale: float | None = None
    softcap: float = 0.0
    softmax_precision: int | None = None
    outputs: int = field(default=1, metadata={"onnx": False})

    # -- types --------------------------------------------------------------------------------------------------------
    def infer(
        self,
        Q: Value,
        K: Value,
        V: Value,
        attn_mask: Value | None = None,
        past_key: Value | None = None,
        past_value: Value | None = None,
        nonpad_kv_seqlen: Value | None = None,
    ) -> tuple[TensorType, ...]:
        self._check(Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen)
        ranks = {x.rank for x in (Q, K, V) if x.rank is not None}
        if len(ranks) > 1:
            raise ShapeError(f"ranks differ: Q {Q.tensor}, K {K.tensor}, V {V.tensor}")
        flat = ranks == {3}
        q, k, v = (heads_of(x, n, what) for x, n, what in (
            (Q, self.q_num_heads, "Q"), (K, self.kv_num_heads, "K"), (V, self.kv_num_heads, "V")))  # fmt: skip
        batch = same_size("batch size", (("Q", Q, q[0]), ("K", K, k[0]), ("V", V, v[0])))
        heads = same_size("number of heads", (("K", K, k[1]), ("V", V, v[1])))
        length = same_size("length", (("K", K, k[2]), ("V", V, v[2])))
        size = same_size("head size", (("Q", Q, q[3]), ("K", K, k[3])))
        if isinstance(heads, int) and isinstance(q[1], int) and (heads == 0 or q[1] % heads):
            raise ShapeError(f"{q[1]} query heads cannot share {heads} heads: Q {Q.tensor}, K {K.tensor}")
        total = length
        if past_key is not None:
            before = unknown() if past_key.shape is None else past_key.shape[2]
            total = length + before
        if not ranks:
            y: Shape | None = None
        elif flat:
            y = (batch, q[2], q[1] * v[3])
        else:
            y = (batch, q[1], q[2], v[3])
        types = (
            TensorType(Q.dtype, y),
            TensorType(K.dtype, (batch, heads, total, size)),
            TensorType(V.dtype, (batch, heads, total, v[3])),
            TensorType(Q.dtype, (batch, q[1], q[2], total)),
        )
        return types[: self.outputs]

    def _check(self, Q: Value, K: Value, V: Value, mask: Value | None, *caches: Value | None) -> None:
        past_key, past_value, lengths = caches
        check_dtype(Q, FLOATS, "Q")
        check_dtype(V, FLOATS, "V")
        check_same_dtype(Q, K, past_key)
        check_same_dtype(V, past_value)
        for what, x in (("Q", Q), ("K", K), ("V", V)):
            check_rank(x, what, 3, 4)
        if mask is not None:
            check_dtype(mask, NUMBERS | {bool_}, "attn_mask")
            check_rank(mask, "attn_mask", 1, 4)
        for what, past in (("past_key", past_key), ("past_value", past_value)):
            if past is not None:
                check_rank(past, what, 4)
        if (past_key is None) != (past_value is None):
            raise InvalidModel("past_key and past_value must be given together")
        if lengths is not None:
            check_dtype(lengths, (int64,), "nonpad_kv_seqlen")
            check_rank(lengths, "nonpad_kv_seqlen", 1)
            if past_key is not None:
                raise InvalidModel("nonpad_kv_seqlen and past_key exclude each other")
        if self.softmax_precision not in (None, 1, 10, 11, 16):
            raise TypeMismatch(f"softmax_precision is {self.softmax_precision}, expected 1, 10, 11 or 16")
        if not 0 <= self.qk_matmul_output_mode <= 3:
            raise InvalidModel(f"qk_matmul_output_mode is {self.qk_matmul_output_mode}, expected 0..3")
        if min(self.left_window_size, self.right_window_size) < -1:
            raise InvalidModel(
                f"window sizes are {self.left_window_size} and {self.right_window_size}, expected -1 or more"
            )
        if not 1 <= self.outputs <= 4:
            raise InvalidModel(f"outputs is {self.outputs}, expected 1..4")
        if 3 in (Q.rank, K.rank, V.rank) and (self.q_num_heads is None or self.kv_num_heads is None):
            raise InvalidModel("inputs of rank 3 need q_num_heads and kv_num_heads")

    # -- evaluation ---------------------------------------------------------------------------------------------------
    def eval(
        self,
        Q: Array,
        K: Array,
        V: Array,
        attn_mask: Array | None = None,
        past_key: Array | None = None,
        past_value: Array | None = None,
        nonpad_kv_seqlen: Array | None = None,
    ) -> tuple[Array, ...]:
        q, k, v = Q, K, V
        if Q.ndim == 3:
            q, k, v = (
                x.reshape(*x.shape[:2], n or 1, -1).transpose(0, 2, 1, 3)
                for x, n in ((Q, self.q_num_heads), (K, self.kv_num_heads), (V, self.kv_num_heads))
            )
        if past_key is not None and past_value is not None:
            k, v = np.concatenate((past_key, k), 2), np.concatenate((past_value, v), 2)
        batch, heads, queries, size = q.shape
        shared, keys = k.shape[1], k.shape[2]
        scale = size**-0.5 if self.scale is None else self.scale
        left = widen(q).reshape(batch, shared, -1, size) * _in_type_of(q, scale)
        check_tensor((batch, heads, queries, keys), left.itemsize, "attention scores")
        scores = np.matmul(left, widen(k).swapaxes(2, 3)).reshape(batch, heads, queries, keys)
        shown = [scores]
        if self.softcap > 0:
            scores = np.asarray(np.tanh(scores / self.softcap) * self.softcap, scores.dtype)
        shown.append(scores)
        past = 0 if past_key is None else past_key.shape[2]
        bias = self._bias(scores, attn_mask, past, nonpad_kv_seqlen)
        if bias is not None:
            scores = scores + bias
        shown.append(scores)
        weights = _softmax(self._rounded(scores), bias).astype(scores.dtype)
        shown.append(weights)
        y = np.matmul(weights.reshape(batch, shared, -1, keys), widen(v).astype(weights.dtype))
        y = y.reshape(batch, heads, queries, v.shape[3])
        if Q.ndim == 3:
            y = y.transpose(0, 2, 1, 3).reshape(batch, queries, -1)
        results = (y.astype(Q.dtype), k, v, shown[self.qk_matmul_output_mode].astype(Q.dtype))
        return results[: self.outputs]

    def _rounded(self, scores: Array) -> Array:
        """The scores in the precision of the softmax; 16-bit types only round, the function stays in float32."""
        if self.softmax_precision is None:
            return scores
        return widen(scores.astype(_PRECISIONS[self.softmax_precision]))

    def _bias(self, scores: Array, mask: Array | None, past: int, lengths: Array | None) -> Array | None:
        """What is added to the scores, in a shape that broadcasts to theirs."""
        _, _, queries, keys = scores.shape
        bias = None
        if mask is not None:
            if mask.shape[-1] > keys:
                raise ExecutionError(f"attn_mask has {mask.shape[-1]} columns for {keys} keys")
            bias = np.where(mask, 0, -np.inf) if mask.dtype == np.bool_ else mask
            missing = [(0, 0)] * (mask.ndim - 1) + [(0, keys - mask.shape[-1])]
            bias = np.pad(bias.astype(scores.dtype), missing, constant_values=-np.inf)
        allowed = self._visible(queries, keys, past, lengths)
        if allowed is None:
            return bias
        return np.asarray(np.where(allowed, 0 if bias is None else bias, -np.inf), scores.dtype)

    def _visible(self, queries: int, keys: int, past: int, lengths: Array | None) -> Array | None:
        """Which keys a query sees; None for all."""
        i, j = np.arange(queries)[:, None], np.arange(keys)
        position: Array = i + past
        allowed: Array | None = None
        if lengths is not None:
            valid = lengths.reshape(-1, 1, 1, 1)
            position = i + (valid - queries)
            allowed = j < valid
        for bounded, seen in (
            (self.is_causal, j <= position),
            (self.left_window_size >= 0, j >= position - self.left_window_size),
            (self.right_window_size >= 0, j <= position + self.right_window_size),
        ):
            if bounded:
                allowed = seen if allowed is None else allowed & seen
        return allowed

    # -- gradient and cost --------------------------------------------------------------------------------------------
    def decompose(self, Q: Value, K: Value, V: Value, *others: Value | None) -> tuple[Value, ...]:
        """The outputs in terms of other ops; needs known numbers of heads, queries and keys."""
        mask, past_key, past_value, lengths = (*others, *(None,) * 4)[:4]
        if Q.rank is None:
            raise CompileError("inputs of unknown rank have no simpler form")
        q, k, v = Q, K, V
        if Q.rank == 3:
            q, k, v = (
                x.reshape([0, 0, n or 1, -1]).transpose([0, 2, 1, 3])
                for x, n in ((Q, self.q_num_heads), (K, self.kv_num_heads), (V, self.kv_num_heads))
            )
        if past_key is not None and past_value is not None:
            k, v = Concat(2)(past_key, k), Concat(2)(past_value, v)
        present = (k, v)
        (queries, size), (keys,) = known_sizes(q, 2, 3), known_sizes(k, 2)
        q, k, v = in_wide(q), in_wide(k), in_wide(v)
        scale = size**-0.5 if self.scale is None else self.scale
        scores = grouped_matmul(q * scale, k.transpose([0, 1, 3, 2]))
        shown = [scores]
        if self.softcap > 0:
            scores = Tanh()(scores / self.softcap) * self.softcap
        shown.append(scores)
        past = 0 if past_key is None else known_sizes(past_key, 2)[0]
        allowed = self._visible_graph(queries, keys, past, lengths)
        if mask is not None:
            seen, mask = _mask_graph(mask, keys, scores.dtype)
            if mask is not None:
                scores = scores + Where()(seen, mask, const(0.0, scores.dtype))
            allowed = seen if allowed is None else And()(allowed, seen)
        shown.append(scores if allowed is None else Where()(allowed, scores, const(-np.inf, scores.dtype)))
        weights = self._weights_graph(scores, allowed)
        shown.append(weights)
        y = grouped_matmul(weights, in_dtype(v, weights.dtype))
        if Q.rank == 3:
            y = y.transpose([0, 2, 1, 3]).reshape([0, 0, -1])
        results = (in_dtype(y, Q.dtype), *present, in_dtype(shown[self.qk_matmul_output_mode], Q.dtype))
        return results[: self.outputs]

    def _weights_graph(self, scores: Value, allowed: Value | None) -> Value:
        """The probabilities, as `eval` rounds them; zeros for a query that sees no key."""
        dtype = scores.dtype
        if self.softmax_precision is not None:
            scores = in_wide(in_dtype(scores, BY_ONNX[self.softmax_precision]))
        if allowed is None:
            return in_dtype(Softmax()(scores), dtype)
        some = Greater()(ReduceMax()(allowed.cast(float32), const([-1])), const(0.0, float32))
        # A row without any key is left as it is here, where -inf throughout would give NaN, and zeroed below.
        kept = Or()(allowed, Not()(some))
        weights = Softmax()(Where()(kept, scores, const(-np.inf, scores.dtype)))
        return in_dtype(Where()(some, weights, const(0.0, scores.dtype)), dtype)

    def _visible_graph(self, queries: int, keys: int, past: int, lengths: Value | None) -> Value | None:
        if lengths is None:
            seen = self._visible(queries, keys, past, None)
            return None if seen is None else const(seen)
        # As `_visible`, with the unknown length of each sample on the right-hand side.
        i, j = np.arange(queries)[:, None], np.arange(keys)
        valid = lengths.reshape([-1, 1, 1, 1])
        below = LessOrEqual()
        allowed: Value = below(const(j + 1), valid)
        shifted = j - i + queries  # j <= position + w  <=>  shifted - w <= valid
        if self.is_causal:
            allowed = And()(allowed, below(const(shifted), valid))
        if self.right_window_size >= 0:
            allowed = And()(allowed, below(const(shifted - self.right_window_size), valid))
        if self.left_window_size >= 0:
            allowed = And()(allowed, below(valid, const(shifted + self.left_window_size)))
        return allowed

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self.decompose, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        q, k, v = xs[:3]
        if q is None or k is None or v is None or q.shape is None or k.shape is None or v.shape is None:
            return Cost(0, traffic(xs, ys))
        a = heads_of(q, self.q_num_heads, "Q")
        b, c = heads_of(k, self.kv_num_heads, "K"), heads_of(v, self.kv_num_heads, "V")
        past = xs[4] if len(xs) > 4 else None
        keys = b[2] + (past.shape[2] if past is not None and past.shape is not None else 0)
        return Cost(a[0] * a[1] * a[2] * keys * (2 * a[3] + 2 * c[3] + 6), traffic(xs, ys))


def in_dtype(x: Value, dtype: DType) -> Value:
    """`x` as `dtype`."""
    return x if x.dtype is dtype else x.cast(dtype)


def in_wide(x: Value) -> Value:
    """`x` in the element type in which `eval` computes."""
    return in_dtype(x, float32) if x.dtype in (float16, bfloat16) else x


def grouped_matmul(a: Value, b: Value) -> Value:
    """a (batch, heads, rows, k) times b (batch, shared heads, k, columns), each of which serves equally many heads."""
    (heads, rows, k), (shared, columns) = known_sizes(a, 1, 2, 3), known_sizes(b, 1, 3)
    if heads == shared:
        return a @ b
    assert a.shape is not None
    batch = a.shape[0]
    # The rows of all heads that share one are rows of one matrix.
    product = a.reshape([batch, shared, heads // max(shared, 1) * rows, k]) @ b
    return product.reshape([batch, heads, rows, columns])


def _mask_graph(mask: Value, keys: int, dtype: DType) -> tuple[Value, Value | None]:
    """Which keys `mask` leaves, and what it adds to the scores; missing columns leave none."""
    (columns,) = known_sizes(mask, (mask.rank or 0) - 1)
    if columns > keys:
        raise CompileError(f"attn_mask has {columns} columns for {keys} keys")
    is_bool = mask.dtype is bool_
    if not is_bool:
        mask = in_dtype(mask, dtype)
    if columns < keys:
        fill = const(False, bool_) if is_bool else const(-np.inf, dtype)
        mask = Pad()(mask, const([0, keys - columns]), fill, const([-1]))
    return (mask, None) if is_bool else (Not()(Equal()(mask, const(-np.inf, dtype))), mask)


_PRECISIONS = {1: np.float32, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16}


def _in_type_of(x: Array, scale: float) -> Any:
    """`scale` in the type in which `x` is computed."""
    return widen(x[:0]).dtype.type(scale)


def _softmax(x: Array, bias: Array | None) -> Array:
    """The softmax of the last axis; zeros for rows whose bias is -inf throughout."""
    if x.size == 0:
        return x
    highest = x.max(-1, keepdims=True)
    highest = np.where(np.isneginf(highest), 0, highest)
    e = np.exp(x - highest)
    total = e.sum(-1, keepdims=True)
    weights = e / np.where(total == 0, 1, total)
    if bias is None:
        return np.asarray(weights, x.dtype)
    return np.asarray(np.where(np.isneginf(bias.max(-1, keepdims=True)), 0, weights), x.dtype)


def heads_of(x: Value, heads: int | None, what: str) -> Shape:
    """(batch, heads, length, size) of `x`, of rank 4 or 3."""
    if x.shape is None:
        return (unknown(), heads or unknown(), unknown(), unknown())
    if len(x.shape) == 4:
        if heads is not None and isinstance(x.shape[1], int) and x.shape[1] != heads:
            raise ShapeError(f"{what} is {x.tensor}, expected {heads} heads")
        return x.shape
    assert heads is not None
    batch, length, width = x.shape
    if heads < 1 or (isinstance(width, int) and width % heads):
        raise ShapeError(f"{what} is {x.tensor}, which cannot be split into {heads} heads")
    return (batch, heads, length, width // heads)


def same_size(what: str, sizes: Sequence[tuple[str, Value, Dim]]) -> Dim:
    result = sizes[0][2]
    for _, _, n in sizes[1:]:
        try:
            result = unify(result, n)
        except ShapeError:
            shown = ", ".join(f"{name} {x.tensor}" for name, x, _ in sizes)
            raise ShapeError(f"the {what} differs: {shown}") from None
    return result


# -- rotation ---------------------------------------------------------------------------------------------------------
class RotaryEmbedding(Op):
    """(y1, y2) = (cos · x1 - sin · x2, sin · x1 + cos · x2) for pairs of elements. ONNX RotaryEmbedding-23.

    X is (batch, heads, length, size) or (batch, length, heads · size). The caches are (batch, length, rotated / 2), or
    with position_ids (batch, length) rows of (positions, rotated / 2).

    Attributes:
        interleaved: pairs are neighbours; otherwise the first and second half of the rotated elements.
        num_heads: the number of heads, for an X of rank 3.
        rotary_embedding_dim: how many of each head's elements are rotated; 0 for all.
    """

    interleaved: bool = False
    num_heads: int | None = None
    rotary_embedding_dim: int = 0

    def infer(self, X: Value, cos_cache: Value, sin_cache: Value, position_ids: Value | None = None) -> TensorType:
        check_dtype(X, FLOATS, "X")
        check_same_dtype(X, cos_cache, sin_cache)
        check_rank(X, "X", 3, 4)
        rank = 3 if position_ids is None else 2
        check_rank(cos_cache, "cos_cache", rank)
        check_rank(sin_cache, "sin_cache", rank)
        if position_ids is not None:
            check_dtype(position_ids, (int64,), "position_ids")
            check_rank(position_ids, "position_ids", 2)
        if X.rank == 3 and not self.num_heads:
            raise InvalidModel("an X of rank 3 needs num_heads")
        if X.shape is not None:
            size = heads_of(X, self.num_heads if X.rank == 3 else None, "X")[3]
            rotated = self.rotary_embedding_dim or size
            if isinstance(rotated, int) and (rotated % 2 or (isinstance(size, int) and not 0 <= rotated <= size)):
                raise ShapeError(f"{rotated} elements of {X.tensor} cannot be rotated in pairs, heads have {size}")
            for what, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
                width = None if cache.shape is None else cache.shape[-1]
                if isinstance(width, int) and isinstance(rotated, int) and width * 2 != rotated:
                    raise ShapeError(f"{what} is {cache.tensor}, expected {rotated // 2} columns for {X.tensor}")
        return X.tensor

    def eval(self, X: Array, cos_cache: Array, sin_cache: Array, position_ids: Array | None = None) -> Array:
        x = widen(X)
        if X.ndim == 3:
            x = x.reshape(*X.shape[:2], self.num_heads or 1, -1)
        else:
            x = x.swapaxes(1, 2)  # (batch, length, heads, size)
        cos, sin = widen(cos_cache), widen(sin_cache)
        if position_ids is not None:
            cos, sin = (Gather().eval(c, position_ids) for c in (cos, sin))
        cos, sin = cos[:, :, None], sin[:, :, None]
        rotated = self.rotary_embedding_dim or x.shape[-1]
        y = np.array(x)
        half = rotated // 2
        first, second = (slice(0, rotated, 2), slice(1, rotated, 2)) if self.interleaved else (
            slice(0, half), slice(half, rotated))  # fmt: skip
        x1, x2 = x[..., first], x[..., second]
        y[..., first], y[..., second] = cos * x1 - sin * x2, sin * x1 + cos * x2
        y = y.reshape(X.shape) if X.ndim == 3 else y.swapaxes(1, 2)
        return y.astype(X.dtype, copy=False)

    def element(
        self, y: TensorType, x: Source, cos: Source, sin: Source, position_ids: Source | None = None
    ) -> Element:
        split = len(x.shape) == 3
        size = x.shape[-1] // (self.num_heads or 1) if split else x.shape[-1]
        rotated = self.rotary_embedding_dim or size
        half = rotated // 2

        def element(*index: Linear) -> Expr:
            start, i = (index[-1] // size * size, index[-1] % size) if split else (linear(0), index[-1])
            row: tuple[Linear, ...] = (index[0], index[1] if split else index[2])
            if position_ids is not None:
                row = (as_index(position_ids[row], cos.shape[0]),)
            # The pair that element i is in, and whether it is the second of the two.
            pair, second = (i // 2, i % 2) if self.interleaved else (i % half, i // half)
            places = (pair * 2, pair * 2 + 1) if self.interleaved else (pair, pair + half)

            def turned() -> Expr:
                a, b = (wide(x[(*index[:-1], start + at)]) for at in places)
                c, s = (wide(source[(*row, pair)]) for source in (cos, sin))
                return cast(select(equal(position(second), 0), c * a - s * b, s * a + c * b), y.dtype)

            return turned() if rotated == size else select(position(i) < rotated, turned(), x[index])

        return element if half else lambda *index: x[index]

    def _in_parts(self, X: Value, cos: Value, sin: Value, position_ids: Value | None = None) -> tuple[Value]:
        """y in terms of other ops, for the gradient; needs a known head size."""
        x = X.reshape([0, 0, self.num_heads or 1, -1]) if X.rank == 3 else X.transpose([0, 2, 1, 3])
        (size,) = known_sizes(x, 3)
        if position_ids is not None:
            cos, sin = Gather()(cos, position_ids), Gather()(sin, position_ids)
        cos, sin = (c.reshape([0, 0, 1, -1]) for c in (cos, sin))
        rotated = self.rotary_embedding_dim or size
        turned, rest = _slice(x, 0, rotated), _slice(x, rotated, size)
        # Pairs as the last axis, or as the last but one.
        pairs, axis = ([0, 0, -1, rotated // 2, 2], 4) if self.interleaved else ([0, 0, -1, 2, rotated // 2], 3)
        both = turned.reshape(pairs)
        x1, x2 = (Gather(axis)(both, const(i)) for i in (0, 1))
        ys = [y.reshape([*pairs[:axis], 1, *pairs[axis + 1 :]]) for y in (cos * x1 - sin * x2, sin * x1 + cos * x2)]
        y = Concat(-1)(Concat(axis)(*ys).reshape([0, 0, -1, rotated]), rest)
        return (y.reshape([0, 0, -1]) if X.rank == 3 else y.transpose([0, 2, 1, 3]),)

    def grad(self, dy: Value, y: Value, *xs: Value | None) -> Sequence[Value | None]:
        if xs[0] is None or xs[0].rank is None:
            raise CompileError("the gradient needs an X of known rank")
        return decomposed_grad(self._in_parts, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]) * 3, traffic(xs, ys))


def _slice(x: Value, start: int, stop: int) -> Value:
    return Slice().apply((x, const([start]), const([stop]), const([-1])))[0]
