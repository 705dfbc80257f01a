"""Zeros that a Pad writes around the input of a convolution or pooling are the windows' own padding."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphc.ir import Graph, Value
from graphc.ops.conv import Conv
from graphc.ops.padding import Pad
from graphc.ops.pool import AveragePool, MaxPool
from graphc.passes.rewrite import Match, constant, maybe, p, rewrite, rule, value

x, w, b = value("x"), value("w"), maybe(value("b"))
amounts, fill, axes = constant("pads"), maybe(constant("fill")), maybe(constant("axes"))
pad = p(Pad, x, amounts, fill, axes, mode="constant")
conv = p(Conv, pad, w, b)
average = p(AveragePool, pad)
maximum = p(MaxPool, pad)


def _spatial_pads(m: Match) -> tuple[int, ...]:
    """The padding of the spatial axes, all beginnings before all ends; declines if another axis is padded."""
    listed, rank = m.array(amounts), m.output(pad).rank
    if listed is None or rank is None:
        m.decline("the padding is not known")
    chosen = range(rank) if m.old(axes) is None else m.array(axes)
    if chosen is None:
        m.decline("the axes are not known")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = int(listed[i]), int(listed[i + len(chosen)])
    m.require(not any(before[:2] + after[:2]), "it pads the batch or the channels")
    m.require(min(before + after) >= 0, "it cuts off elements")
    return (*before[2:], *after[2:])


def _require_fill(m: Match, wanted: float) -> None:
    """Decline unless the new elements are `wanted`; the default is 0."""
    known = np.zeros(1) if m.old(fill) is None else m.array(fill)
    m.require(known is not None and float(known.reshape(-1)[0]) == wanted, f"the padding is not {wanted}")


def _own_pads(m: Match, op: Conv | AveragePool | MaxPool, n: int) -> tuple[int, ...]:
    """The padding that the windows have already."""
    m.require(op.auto_pad in ("NOTSET", "VALID"), f"auto_pad={op.auto_pad} depends on the padded size")
    return op.pads or (0,) * n


@rule(conv)
def pad_into_conv(m: Match) -> Value:
    """Conv(Pad(x, p), w, pads=q) = Conv(x, w, pads=p+q)  where the padding is zero.

    before:
        graph (%x: f32[1,3,8,8]) {
          %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 2]
          %1: f32[1,3,10,11] = Pad(%x, %0)
          %w: f32[4,3,3,3] = const @w
          %2: f32[1,4,8,9] = Conv(%1, %w)
          return %2 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %w: f32[4,3,3,3] = const @w
          %0: f32[1,4,8,9] = Conv(%x, %w) {pads=(1,1,1,2)}
          return %0 as "y"
        }
    """
    _require_fill(m, 0.0)
    new = _spatial_pads(m)
    own = _own_pads(m, m.op(conv), len(new))
    both = tuple(a + b for a, b in zip(own, new, strict=True))
    return dataclasses.replace(m.op(conv), auto_pad="NOTSET", pads=both).apply((m[x], m[w], m[b]))[0]


@rule(average)
def pad_into_average(m: Match) -> Value:
    """AveragePool(Pad(x, p)) = AveragePool(x, pads=p, count_include_pad=1)  where the padding is zero.

    before:
        graph (%x: f32[1,3,8,8]) {
          %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 1]
          %1: f32[1,3,10,10] = Pad(%x, %0)
          %2: f32[1,3,8,8] = AveragePool(%1) {kernel_shape=(3,3)}
          return %2 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %0: f32[1,3,8,8] = AveragePool(%x) {kernel_shape=(3,3), pads=(1,1,1,1), count_include_pad=true}
          return %0 as "y"
        }
    """
    op = m.op(average)
    _require_fill(m, 0.0)
    new = _spatial_pads(m)
    own = _own_pads(m, op, len(new))
    m.require(op.count_include_pad or not any(own), "the pooling does not count its own padding")
    _check_pool(m, op, new, own)
    both = tuple(a + b for a, b in zip(own, new, strict=True))
    result: Value = dataclasses.replace(op, auto_pad="NOTSET", pads=both, count_include_pad=True)(m[x])
    return result


@rule(maximum)
def pad_into_max(m: Match) -> Value:
    """MaxPool(Pad(x, p, -inf)) = MaxPool(x, pads=p).

    before:
        graph (%x: f32[1,3,8,8]) {
          %0: i64[8] = const [0, 0, 1, 1, 0, 0, 1, 1]
          %1: f32[] = const -inf
          %2: f32[1,3,10,10] = Pad(%x, %0, %1)
          %3: f32[1,3,8,8] = MaxPool(%2) {kernel_shape=(3,3)}
          return %3 as "y"
        }
    after:
        graph (%x: f32[1,3,8,8]) {
          %0: f32[1,3,8,8] = MaxPool(%x) {kernel_shape=(3,3), pads=(1,1,1,1)}
          return %0 as "y"
        }
    """
    op = m.op(maximum)
    _require_fill(m, -np.inf)
    new = _spatial_pads(m)
    own = _own_pads(m, op, len(new))
    _check_pool(m, op, new, own)
    both = tuple(a + b for a, b in zip(own, new, strict=True))
    result: Value = dataclasses.replace(op, auto_pad="NOTSET", pads=both).apply((m[x],))[0]
    return result


def _check_pool(m: Match, op: AveragePool | MaxPool, new: tuple[int, ...], own: tuple[int, ...]) -> None:
    """Decline where a window could lie in the padding as a whole, or be cut off at the end."""
    m.require(not op.ceil_mode, "ceil_mode treats what lies behind the padding in its own way")
    kernel = op.kernel_shape * 2
    inside = all(a + b < k for a, b, k in zip(new, own, kernel, strict=True))
    m.require(inside, "a window could see nothing but padding")


RULES = (pad_into_conv, pad_into_average, pad_into_max)


def fold_pad(graph: Graph) -> Graph:
    """Padding goes into the windows that read it."""
    return rewrite(graph, RULES)
