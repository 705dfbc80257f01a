"""Constant scales and offsets of channels go into the weights of a linear op beside them."""

from __future__ import annotations

import numpy as np

from graphc.ir import Graph, Value
from graphc.ops.arithmetic import Add, Div, Mul
from graphc.ops.base import Binary
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.passes.affine import (
    LINEAR,
    as_type,
    channel_axis,
    channel_vector,
    check_foldable,
    input_channels,
    is_padded,
    output_channels,
    row_axis,
    scale_input,
    scale_input_rows,
    scale_output,
    scale_rows,
)
from graphc.passes.rewrite import Match, constant, maybe, p, rewrite, rule, value
from graphc.types import float32, float64

x, w, b, c = value("x"), constant("w"), maybe(constant("b")), constant("c")
scalings: tuple[type[Binary], ...] = (Mul, Div)

linear = p(LINEAR, x, w, b)
scaled = p(scalings, linear, c)


def _vector(m: Match, axis: int, rank: int | None, channels: int) -> Value:
    if rank is None:
        m.decline("the rank is not known")
    return channel_vector(m, m[c], axis, rank, channels)


def _factor(m: Match, op: object, vector: Value) -> Value:
    """k of x·k, or of x / c = x·(1/c); declines where it is known to be infinite or NaN, which does not distribute."""
    known = m.array(c)
    if isinstance(op, Mul):
        m.require(known is None or bool(np.all(np.isfinite(known))), "the factor is not finite")
        return vector
    m.require(vector.dtype.is_float, "an integer division is not linear")
    wide = as_type(vector, float64 if vector.dtype is float64 else float32)  # 16 bits have no room for 1 / c
    with np.errstate(all="ignore"):
        finite = known is None or bool(np.all(np.isfinite(1.0 / known.astype(wide.dtype.numpy))))
    m.require(finite, "the inverse of the divisor is not finite")
    return 1.0 / wide


@rule(scaled)
def scale_after(m: Match) -> Value:
    """Conv(x, w, b)·k = Conv(x, w·k, b·k)  for k constant along all but the channels; the same for / k.

    before:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %0: f32[1,4,6,6] = Conv(%x, %w)
          %k: f32[4,1,1] = const @k
          %1: f32[1,4,6,6] = Mul(%0, %k)
          return %1 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %0: f32[1,4,6,6] = Conv(%x, %w)
          return %0 as "y"
        }
    """
    op, out = m.op(linear), m.output(linear)
    check_foldable(m, op, m[w], before=False)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(out.shape == m.node.output.shape, "the product is broadcast")
    vector = _vector(m, channel_axis(op, out.rank or 0), out.rank, output_channels(op, m[w]))
    return scale_output(op, m[x], m[w], m[b], k=_factor(m, m.node.op, vector), c=None)


biased = p((Conv, ConvTranspose, Gemm), x, w, b)


@rule(p(Add, biased, c))
def offset_after(m: Match) -> Value:
    """Conv(x, w, b) + c = Conv(x, w, b + c)  for c constant along all but the channels.

    before:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %0: f32[1,4,6,6] = Conv(%x, %w)
          %c: f32[4,1,1] = const @c
          %1: f32[1,4,6,6] = Add(%0, %c)
          return %1 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %c: f32[4] = const @c
          %0: f32[1,4,6,6] = Conv(%x, %w, %c)
          return %0 as "y"
        }
    """
    op, out = m.op(biased), m.output(biased)
    check_foldable(m, op, m[w], before=False)
    m.require(out.shape == m.node.output.shape, "the sum is broadcast")
    vector = _vector(m, channel_axis(op, out.rank or 0), out.rank, output_channels(op, m[w]))
    return scale_output(op, m[x], m[w], m[b], k=None, c=vector)


scaled_input = p(scalings, x, c)
of_scaled = p((Conv, Gemm, MatMul), scaled_input, w, b)


@rule(of_scaled)
def scale_before(m: Match) -> Value:
    """Conv(x·k, w, b) = Conv(x, w·k, b)  for k constant along all but the channels; the same for / k.

    before:
        graph (%x: f32[1,3,8,8]) {
          %k: f32[3,1,1] = const @k
          %0: f32[1,3,8,8] = Mul(%x, %k)
          %w: f32[4,3,3,3] = const @w
          %1: f32[1,4,8,8] = Conv(%0, %w) {pads=(1,1,1,1)}
          return %1 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %0: f32[1,4,8,8] = Conv(%x, %w) {pads=(1,1,1,1)}
          return %0 as "y"
        }
    """
    op, inner = m.op(of_scaled), m.output(scaled_input)
    check_foldable(m, op, m[w], before=True)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(m[x].shape == inner.shape, "the product is broadcast")
    vector = _vector(m, channel_axis(op, inner.rank or 0), inner.rank, input_channels(op, m[w]))
    return scale_input(op, m[x], m[w], m[b], k=_factor(m, m.op(scaled_input), vector), c=None)


offset_input = p(Add, x, c)
of_offset = p((Conv, Gemm), offset_input, w, b)


@rule(of_offset)
def offset_before(m: Match) -> Value:
    """Conv(x + c, w, b) = Conv(x, w, b + Σ_{c,k} w·c)  where nothing is padded; the same for Gemm.

    before:
        graph (%x: f32[1,3,8,8]) {
          %c: f32[3,1,1] = const @c
          %0: f32[1,3,8,8] = Add(%x, %c)
          %w: f32[4,3,3,3] = const @w
          %1: f32[1,4,6,6] = Conv(%0, %w)
          return %1 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %c: f32[4] = const @c
          %0: f32[1,4,6,6] = Conv(%x, %w, %c)
          return %0 as "y"
        }
    """
    op, inner = m.op(of_offset), m.output(offset_input)
    check_foldable(m, op, m[w], before=True)
    m.require(not is_padded(op), "the padding is zero before the addition, not after it")
    m.require(m[x].shape == inner.shape, "the sum is broadcast")
    vector = _vector(m, channel_axis(op, inner.rank or 0), inner.rank, input_channels(op, m[w]))
    return scale_input(op, m[x], m[w], m[b], k=None, c=vector)


left_product = p(MatMul, w, x)
scaled_left = p(scalings, left_product, c)


@rule(scaled_left)
def scale_after_left(m: Match) -> Value:
    """MatMul(w, x)·k = MatMul(w·k, x)  for a matrix w and a k that is constant along all but the rows; also for / k.

    before:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          %k: f32[4,1] = const @k
          %1: f32[2,4,8] = Mul(%0, %k)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          return %0 as "y"
        }
    """
    out = m.output(left_product)
    check_foldable(m, m.op(left_product), m[w], before=False)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(out.shape == m.node.output.shape, "the product is broadcast")
    vector = _vector(m, row_axis(out.rank), out.rank, m[w].tensor.sizes[0])
    return scale_rows(m[x], m[w], k=_factor(m, m.node.op, vector))


of_scaled_left = p(MatMul, w, scaled_input)


@rule(of_scaled_left)
def scale_before_left(m: Match) -> Value:
    """MatMul(w, x·k) = MatMul(w·k, x)  for a matrix w and a k that is constant along all but the rows; also for / k.

    before:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %k: f32[3,1] = const @k
          %0: f32[2,3,8] = Mul(%x, %k)
          %1: f32[2,4,8] = MatMul(%w, %0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          return %0 as "y"
        }
    """
    inner = m.output(scaled_input)
    check_foldable(m, m.op(of_scaled_left), m[w], before=True)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(m[x].shape == inner.shape, "the product is broadcast")
    vector = _vector(m, row_axis(inner.rank), inner.rank, m[w].tensor.sizes[1])
    return scale_input_rows(m[x], m[w], k=_factor(m, m.op(scaled_input), vector))


RULES = (scale_after, offset_after, scale_before, offset_before, scale_after_left, scale_before_left)


def fold_affine(graph: Graph) -> Graph:
    """Constant factors and summands of channels go into weights and biases."""
    return rewrite(graph, RULES)
