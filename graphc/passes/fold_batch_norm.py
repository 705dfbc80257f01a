"""Batch normalisation in inference is k·x + c for each channel, which a linear op before or after it can do.

k = scale / sqrt(var + epsilon),  c = bias − mean·k.
"""

from __future__ import annotations

from graphc.ir import Graph, Value
from graphc.ops.conv import Conv
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.math import Sqrt
from graphc.ops.normalization import BatchNormalization
from graphc.passes.affine import (
    LINEAR,
    as_type,
    check_foldable,
    is_padded,
    scale_input,
    scale_input_rows,
    scale_output,
    scale_rows,
)
from graphc.passes.rewrite import Match, constant, maybe, p, rewrite, rule, value
from graphc.types import float32, float64

x, w, b = value("x"), constant("w"), maybe(constant("b"))
scale, bias, mean, var = constant("scale"), constant("bias"), constant("mean"), constant("var")

linear = p(LINEAR, x, w, b)
norm_after = p(BatchNormalization, linear, scale, bias, mean, var, training_mode=False)


@rule(norm_after)
def batch_norm_after(m: Match) -> Value:
    """BN(Conv(x, w, b)) = Conv(x, w·k, b·k + c); the same for ConvTranspose, Gemm and MatMul.

    before:
        graph (%x: f32[1,3,8,8]) {
          %conv.weight: f32[4,3,3,3] = const @conv.weight
          %conv.bias: f32[4] = const @conv.bias
          %conv: f32[1,4,8,8] = Conv(%x, %conv.weight, %conv.bias) {pads=(1,1,1,1)}
          %bn.scale: f32[4] = const @bn.scale
          %bn.bias: f32[4] = const @bn.bias
          %bn.mean: f32[4] = const @bn.mean
          %bn.var: f32[4] = const @bn.var
          %bn: f32[1,4,8,8] = BatchNormalization(%conv, %bn.scale, %bn.bias, %bn.mean, %bn.var)
          return %bn as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %conv.weight: f32[4,3,3,3] = const @conv.weight
          %conv.bias: f32[4] = const @conv.bias
          %bn: f32[1,4,8,8] = Conv(%x, %conv.weight, %conv.bias) {pads=(1,1,1,1)}
          return %bn as "y"
        }
    """
    op = m.op(linear)
    check_foldable(m, op, m[w], before=False)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    if isinstance(op, (MatMul, Gemm)):
        m.require(m.node.output.rank == 2, "the channels are not the columns of the product")
    k, c = _affine(m, m.op(norm_after).epsilon)
    return scale_output(op, m[x], m[w], m[b], k=k, c=c)


norm_before = p(BatchNormalization, x, scale, bias, mean, var, training_mode=False)
linear_after = p((Conv, Gemm, MatMul), norm_before, w, b)


@rule(linear_after)
def batch_norm_before(m: Match) -> Value:
    """Conv(BN(x), w, b) = Conv(x, w·k, b + Σ_{c,k} w·c)  where nothing is padded; the same for Gemm and MatMul.

    before:
        graph (%x: f32[1,3,4,4]) {
          %bn.scale: f32[3] = const @bn.scale
          %bn.bias: f32[3] = const @bn.bias
          %bn.mean: f32[3] = const @bn.mean
          %bn.var: f32[3] = const @bn.var
          %bn: f32[1,3,4,4] = BatchNormalization(%x, %bn.scale, %bn.bias, %bn.mean, %bn.var)
          %conv.weight: f32[2,3,1,1] = const @conv.weight
          %conv: f32[1,2,4,4] = Conv(%bn, %conv.weight)
          return %conv as "y"
        }
    after:
        graph (%x: f32[1,3,4,4]) {
          %conv.weight: f32[2,3,1,1] = const @conv.weight
          %bn.bias: f32[2] = const @bn.bias
          %conv: f32[1,2,4,4] = Conv(%x, %conv.weight, %bn.bias)
          return %conv as "y"
        }
    """
    op = m.op(linear_after)
    check_foldable(m, op, m[w], before=True)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(not is_padded(op), "the padding is zero before the normalisation, not after it")
    if isinstance(op, (MatMul, Gemm)):
        m.require(m[x].rank == 2, "the channels are not the columns of the input")
    k, c = _affine(m, m.op(norm_before).epsilon)
    return scale_input(op, m[x], m[w], m[b], k=k, c=c)


left_product = p(MatMul, w, x)
norm_after_left = p(BatchNormalization, left_product, scale, bias, mean, var, training_mode=False)


@rule(norm_after_left)
def batch_norm_after_left(m: Match) -> Value:
    """BN(MatMul(w, x)) = MatMul(w·k, x) + c  where the rows of the products are the channels: w a matrix, x of rank 3.

    before:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          %bn.scale: f32[4] = const @bn.scale
          %bn.bias: f32[4] = const @bn.bias
          %bn.mean: f32[4] = const @bn.mean
          %bn.var: f32[4] = const @bn.var
          %bn: f32[2,4,8] = BatchNormalization(%0, %bn.scale, %bn.bias, %bn.mean, %bn.var)
          return %bn as "y"
        }
    after:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          %bn.bias: f32[4,1] = const @bn.bias
          %bn: f32[2,4,8] = Add(%0, %bn.bias)
          return %bn as "y"
        }
    """
    check_foldable(m, m.op(left_product), m[w], before=False)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(m.node.output.rank == 3, "the channels are not the rows of the product")
    k, c = _affine(m, m.op(norm_after_left).epsilon)
    return scale_rows(m[x], m[w], k=k, c=c)


left_product_after = p(MatMul, w, norm_before)


@rule(left_product_after)
def batch_norm_before_left(m: Match) -> Value:
    """MatMul(w, BN(x)) = MatMul(w·k, x) + Σ w·c  where the rows of x are the channels: w a matrix, x of rank 3.

    before:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %bn.scale: f32[3] = const @bn.scale
          %bn.bias: f32[3] = const @bn.bias
          %bn.mean: f32[3] = const @bn.mean
          %bn.var: f32[3] = const @bn.var
          %bn: f32[2,3,8] = BatchNormalization(%x, %bn.scale, %bn.bias, %bn.mean, %bn.var)
          %0: f32[2,4,8] = MatMul(%w, %bn)
          return %0 as "y"
        }
    after:
        graph (%x: f32[2,3,8]) {
          %w: f32[4,3] = const @w
          %0: f32[2,4,8] = MatMul(%w, %x)
          %bn.bias: f32[4,1] = const @bn.bias
          %1: f32[2,4,8] = Add(%0, %bn.bias)
          return %1 as "y"
        }
    """
    check_foldable(m, m.op(left_product_after), m[w], before=True)
    m.require(not m.is_shared(w), "the weight is used elsewhere too")
    m.require(m[x].rank == 3, "the channels are not the rows of the input")
    k, c = _affine(m, m.op(norm_before).epsilon)
    return scale_input_rows(m[x], m[w], k=k, c=c)


def _affine(m: Match, epsilon: float) -> tuple[Value, Value]:
    """(k, c), computed in float32 at least: 16 bits have no room for 1 / sqrt(var)."""
    given = [m[part] for part in (scale, bias, mean, var)]
    wide = float64 if any(v.dtype is float64 for v in given) else float32
    s, beta, mu, sigma2 = (as_type(v, wide) for v in given)
    deviation: Value = Sqrt()(sigma2 + epsilon)
    k = s / deviation
    return k, beta - mu * k


RULES = (batch_norm_after, batch_norm_before, batch_norm_after_left, batch_norm_before_left)


def fold_batch_norm(graph: Graph) -> Graph:
    """Batch normalisations go into the weights of a linear op beside them."""
    return rewrite(graph, RULES)
