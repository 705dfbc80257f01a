"""The algebra of folding y = k·x + c into a linear op, used by `fold_batch_norm` and `fold_affine`.

`k` and `c` are vectors with one element for each channel, in a type at least as wide as the weight's, so that what
goes into the weight is rounded once. Everything here is graph code on constants.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from graphc.ir import Op, Value
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.reshaping import Expand
from graphc.passes.rewrite import Match
from graphc.types import DType, int64

LINEAR: tuple[type[Op], ...] = (Conv, ConvTranspose, Gemm, MatMul)


def along(v: Value, axis: int, rank: int) -> Value:
    """The vector `v` as a tensor of `rank` whose other axes have size 1."""
    return v.reshape([-1 if i == axis else 1 for i in range(rank)])


def channel_axis(op: Op, rank: int) -> int:
    """The axis of the output (and input) of a linear op that its weights mix."""
    return 1 if isinstance(op, (Conv, ConvTranspose)) else rank - 1


def row_axis(rank: int | None) -> int:
    """The axis of the rows of a product of matrices; of a product with a vector, its one axis."""
    return max((rank or 0) - 2, 0)


def output_channels(op: Op, w: Value) -> int:
    """The number of output channels."""
    if isinstance(op, Conv):
        return w.tensor.sizes[0]
    if isinstance(op, ConvTranspose):
        return w.tensor.sizes[1] * op.group
    return w.tensor.sizes[0 if isinstance(op, Gemm) and op.transB else -1]


def input_channels(op: Op, w: Value) -> int:
    """The number of input channels."""
    if isinstance(op, Conv):
        return w.tensor.sizes[1] * op.group
    return w.tensor.sizes[-1 if isinstance(op, Gemm) and op.transB else 0]


def check_foldable(m: Match, op: Op, w: Value, *, before: bool) -> None:
    """Decline where the output channels of `op` (with `before`, its input channels) are no parts of its weight."""
    if isinstance(op, MatMul):
        m.require(w.rank == 2, f"the weight is {w.type}, not a matrix")
    if isinstance(op, Gemm):
        m.require(not (before and op.transA), "the input is transposed")
        m.require(w.dtype.is_float or op.alpha == op.beta == 1.0, "an integer product is scaled")


def channel_vector(m: Match, c: Value, axis: int, rank: int, channels: int) -> Value:
    """`c`, which broadcasts along one axis only, as a vector of `channels`; declines for any other shape."""
    shape = c.tensor.sizes
    wide = (1,) * (rank - len(shape)) + shape
    others = [d for i, d in enumerate(wide) if i != axis]
    m.require(len(wide) == rank and all(d == 1 for d in others), f"{c.type} is not one number for each channel")
    m.require(wide[axis] in (1, channels), f"{c.type} is not one number for each of {channels} channels")
    vector = c.reshape([-1])
    if wide[axis] == channels:
        return vector
    wanted = const(np.array([channels], np.int64), int64)
    expanded: Value = Expand()(vector, wanted)
    return expanded


def scale_output(op: Op, x: Value, w: Value, b: Value | None, *, k: Value | None, c: Value | None) -> Value:
    """k · op(x, w, b) + c = op(x, w·k, b·k + c)."""
    if k is not None:
        w = _scale_output_channels(op, w, k)
        b = None if b is None else _times(b, k)
    if isinstance(op, Gemm):
        if b is not None and op.beta != 1.0:
            b = b * op.beta
        op = dataclasses.replace(op, beta=1.0)
    if isinstance(op, MatMul):
        product = op.apply((x, w))[0]
        return product if c is None else product + as_type(c, w.dtype)
    return op.apply((x, w, _plus(b, c, w.dtype)))[0]


def as_type(v: Value, dtype: DType) -> Value:
    """`v` in the element type `dtype`."""
    return v if v.dtype is dtype else v.cast(dtype)


def _times(w: Value, k: Value) -> Value:
    """w · k, computed in the type of `k`, in the type of `w`."""
    return as_type(as_type(w, k.dtype) * k, w.dtype)


def _plus(b: Value | None, c: Value | None, dtype: DType) -> Value | None:
    """b + c, computed in the type of `c`, in `dtype`; what is None counts as zero."""
    if c is None:
        return b
    return as_type(c if b is None else as_type(b, c.dtype) + c, dtype)


def _scale_output_channels(op: Op, w: Value, k: Value) -> Value:
    rank = len(w.tensor.sizes)
    if isinstance(op, Conv):
        return _times(w, along(k, 0, rank))
    if isinstance(op, ConvTranspose):
        if op.group == 1:
            return _times(w, along(k, 1, rank))
        inputs, outputs, *kernel = w.tensor.sizes
        grouped = w.reshape([op.group, inputs // op.group, outputs, *kernel])
        return _times(grouped, k.reshape([op.group, 1, outputs, *(1 for _ in kernel)])).reshape(w.tensor.sizes)
    return _times(w, along(k, 0 if isinstance(op, Gemm) and op.transB else rank - 1, rank))


def scale_input(op: Op, x: Value, w: Value, b: Value | None, *, k: Value | None, c: Value | None) -> Value:
    """op(k·x + c, w, b) = op(x, w·k, b + op(c, w)); for a convolution with a `c`, only without padding."""
    shift = None if c is None else _sum_of_inputs(op, w, c)
    w = w if k is None else _scale_input_channels(op, w, k)
    if isinstance(op, MatMul):
        product = op.apply((x, w))[0]
        return product if shift is None else product + as_type(shift, w.dtype)
    if isinstance(op, Gemm) and shift is not None:
        b = b if b is None or op.beta == 1.0 else b * op.beta
        shift = shift if op.alpha == 1.0 else shift * op.alpha
        op = dataclasses.replace(op, beta=1.0)
    return op.apply((x, w, _plus(b, shift, w.dtype)))[0]


def _scale_input_channels(op: Op, w: Value, k: Value) -> Value:
    rank = len(w.tensor.sizes)
    if isinstance(op, Conv) and op.group > 1:
        grouped, shape = _grouped(op, w), w.tensor.sizes
        return _times(grouped, k.reshape([op.group, 1, shape[1], *(1 for _ in range(rank - 2))])).reshape(shape)
    if isinstance(op, Conv):
        return _times(w, along(k, 1, rank))
    return _times(w, along(k, rank - 1 if isinstance(op, Gemm) and op.transB else 0, rank))


def _sum_of_inputs(op: Op, w: Value, c: Value) -> Value:
    """What the constant input `c` gives: a vector of output channels, in the type of `c`."""
    rank = len(w.tensor.sizes)
    w = as_type(w, c.dtype)
    if isinstance(op, Conv):
        grouped = c.reshape([op.group, 1, w.tensor.sizes[1], *(1 for _ in range(rank - 2))]) * _grouped(op, w)
        return grouped.sum(list(range(2, rank + 1))).reshape([-1])
    axis = rank - 1 if isinstance(op, Gemm) and op.transB else 0
    return (along(c, axis, rank) * w).sum(axis)


def _grouped(op: Conv, w: Value) -> Value:
    """(M, C/g, kernel…) as (g, M/g, C/g, kernel…)."""
    outputs, inputs, *kernel = w.tensor.sizes
    return w.reshape([op.group, outputs // op.group, inputs, *kernel])


# -- a product whose constant is the left factor, so that its channels are rows ---------------------------------------
def scale_rows(x: Value, w: Value, *, k: Value, c: Value | None = None) -> Value:
    """k · (w @ x) + c = (w·k) @ x + c  for a matrix w, whose rows k and c belong to."""
    product: Value = MatMul()(_times(w, along(k, 0, 2)), x)
    return product if c is None else product + as_type(along(c, 0, 2), w.dtype)


def scale_input_rows(x: Value, w: Value, *, k: Value, c: Value | None = None) -> Value:
    """w @ (k·x + c) = (w·k) @ x + w @ c  for a matrix w, whose columns k and c belong to."""
    product: Value = MatMul()(_times(w, along(k, 1, 2)), x)
    if c is None:
        return product
    shift = (along(c, 1, 2) * as_type(w, c.dtype)).sum(1, keepdims=True)
    return product + as_type(shift, w.dtype)


def is_padded(op: Op) -> bool:
    """True when a convolution reads zeros outside its input."""
    if not isinstance(op, Conv):
        return False
    return op.auto_pad not in ("NOTSET", "VALID") or (op.auto_pad == "NOTSET" and any(op.pads or ()))
