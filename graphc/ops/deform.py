"""Deformable convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import CompileError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, cast, over, position, wide
from graphc.index import Linear, flatten
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops import samples
from graphc.ops.base import Array, Dim, TensorType, Value, check_rank, check_same_dtype, const, known_sizes
from graphc.ops.conv import Conv
from graphc.ops.elementwise import widen
from graphc.ops.grid_sample import sample, tap
from graphc.ops.taps import around, sampled
from graphc.ops.unroll import slice_at
from graphc.ops.vjp import decomposed_grad
from graphc.ops.windows import Grid, Ints, Window, positions, volume


class DeformConv(Op):
    """y[n,m,p] = b[m] + Σ_{c,k} w[m,c,k] · mask[n,k,p] · x[n, c, p·strides + k·dilations − pads + offset[n,k,:,p]].

    x is read by linear interpolation, and is zero outside. ONNX DeformConv-22.
    x is (N, C, spatial…), w is (M, C/group, kernel…), b is (M); with K kernel elements and r spatial axes, offset is
    (N, offset_group · K · r, spatial of y…) and mask (N, offset_group · K, spatial of y…).

    Attributes:
        offset_group: the channels of x are split into so many groups, each with offsets of its own.
    """

    dilations: Ints | None = None
    group: int = 1
    kernel_shape: Ints | None = None
    offset_group: int = 1
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(self, x: Value, w: Value, offset: Value, b: Value | None = None, mask: Value | None = None) -> TensorType:
        check_same_dtype(x, w, offset, b, mask)
        if self.offset_group < 1:
            raise InvalidModel(f"offset_group is {self.offset_group}, expected at least 1")
        plain = Conv(
            dilations=self.dilations, group=self.group, kernel_shape=self.kernel_shape, pads=self.pads,
            strides=self.strides,
        )  # fmt: skip
        y = plain.infer(x, w, b)
        if y.shape is None:
            return y
        rank = len(y.shape) - 2
        if x.shape is not None and isinstance(x.shape[1], int) and x.shape[1] % self.offset_group:
            raise ShapeError(f"{x.shape[1]} channels cannot be split into {self.offset_group} groups: {x.tensor}")
        kernel: Dim | None = None
        if w.shape is not None:
            kernel = 1
            for k in w.shape[2:]:
                kernel = kernel * k
        for what, v, each in [("offset", offset, rank), ("mask", mask, 1)]:
            if v is None:
                continue
            check_rank(v, what, rank + 2)
            count = None if kernel is None else kernel * (self.offset_group * each)
            for got, wanted in zip(v.shape or (), (y.shape[0], count, *y.shape[2:]), strict=False):
                if isinstance(got, int) and isinstance(wanted, int) and got != wanted:
                    expected = ",".join("?" if d is None else str(d) for d in (y.shape[0], count, *y.shape[2:]))
                    raise ShapeError(f"{what} is {v.tensor}, expected [{expected}]")
        return y

    def eval(self, x: Array, w: Array, offset: Array, b: Array | None = None, mask: Array | None = None) -> Array:
        wide, places = widen(x), widen(offset)
        n, channels, m = x.shape[0], x.shape[1], w.shape[0]
        kernel = w.shape[2:]
        grid = Grid.of(kernel, strides=self.strides, dilations=self.dilations, pads=self.pads)
        windows = grid.windows(x.shape[2:])
        counts, groups = [v.count for v in windows], self.offset_group
        size, total = volume(kernel), volume(counts)
        check_tensor((channels, size, total), 8, "the samples of a deformable convolution")
        places = places.reshape(n, groups, size, len(windows), total)
        y: Array = np.zeros((n, self.group, m // self.group, total), wide.dtype)
        rows = widen(w).reshape(self.group, m // self.group, -1)
        base = _regular(windows)
        for i in range(n):
            # The groups of offsets take the place of the batch: each has its own channels and its own places.
            axes = []
            for a, v in enumerate(windows):
                at = (base[a].reshape(1, size, total) + places[i, :, :, a]).reshape(groups, -1)
                low = np.floor(at)
                pairs = [(low, 1 - (at - low)), (low + 1, at - low)]
                axes.append([tap(p, v.size, weight, zeros=True) for p, weight in pairs])
            columns = sample(wide[i].reshape(groups, channels // groups, *x.shape[2:]), axes)
            columns = columns.reshape(groups, channels // groups, size, total)
            if mask is not None:
                columns = columns * widen(mask)[i].reshape(groups, 1, size, total)
            np.matmul(rows, columns.reshape(self.group, -1, total), out=y[i])
        y = y.reshape(n, m, *counts)
        if b is not None:
            y += widen(b).reshape(-1, *(1 for _ in counts))
        return y.astype(x.dtype, copy=False)

    def element(
        self, y: TensorType, x: Source, w: Source, offset: Source, b: Source | None = None, mask: Source | None = None
    ) -> Element:
        kernel = w.shape[2:]
        grid = Grid.of(kernel, strides=self.strides, dilations=self.dilations, pads=self.pads)
        windows = grid.windows(x.shape[2:])
        each, depth = w.shape[0] // self.group, w.shape[1]
        shared = max(x.shape[1] // self.offset_group, 1)  # channels that have one set of offsets
        if any(v.size == 0 for v in windows):
            raise CompileError("there is nothing to sample")

        def element(n: Linear, m: Linear, *p: Linear) -> Expr:
            def term(c: Linear, *k: Linear) -> Expr:
                channel = m // each * depth + c
                entry = channel // shared * volume(kernel) + flatten(k, kernel)
                axes = []
                for a, (place, v) in enumerate(zip(positions(windows, p, k), windows, strict=True)):
                    shift = wide(offset[n, entry * len(windows) + a, *p])
                    axes.append(around(cast(position(place), shift.dtype) + shift, v.size))
                value = sampled(lambda at: wide(x[n, channel, *at]), axes)
                if mask is not None:
                    value = value * wide(mask[n, entry, *p])
                return wide(w[m, c, *k]) * value

            total = over("sum", [depth, *kernel], term)
            return cast(total if b is None else total + wide(b[m]), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self._sampled, dy, y, xs)

    def _sampled(self, x: Value, w: Value, offset: Value, b: Value | None = None, mask: Value | None = None) -> Value:
        """The op as a product of w with samples of x."""
        n, channels, *sizes = known_sizes(x, *range(x.rank or 0))
        m, _, *kernel = known_sizes(w, *range(w.rank or 0))
        windows = Grid.of(kernel, strides=self.strides, dilations=self.dilations, pads=self.pads).windows(sizes)
        counts, groups, rank = [v.count for v in windows], self.offset_group, len(windows)
        size, total, each = volume(kernel), volume(counts), channels // self.offset_group
        places = offset.reshape([n * groups, size, rank, total]).transpose([2, 0, 1, 3])
        axes = []
        for a, (v, base) in enumerate(zip(windows, _regular(windows), strict=True)):
            place = slice_at(places, 0, a) + const(base.reshape(1, size, total).astype(x.dtype.numpy), x.dtype)
            axes.append(samples.around(place.reshape([n * groups, size * total]), v.size, zeros=True))
        columns = samples.sampled(x.reshape([n * groups, each, *sizes]), axes)  # (n · groups, size · total, each)
        columns = columns.reshape([n, groups, size, total, each])
        if mask is not None:
            columns = columns * mask.reshape([n, groups, size, total, 1])
        depth = channels // self.group
        columns = columns.transpose([0, 1, 4, 2, 3]).reshape([n, self.group, depth * size, total])
        y = (w.reshape([self.group, m // self.group, depth * size]) @ columns).reshape([n, m, *counts])
        return y if b is None else y + b.reshape([m, *(1 for _ in counts)])

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        x, w = xs[0], xs[1]
        if x is None or w is None or w.shape is None:
            return Cost(0, traffic(xs, ys))
        inner: Dim = 1
        for d in w.shape[1:]:
            inner = inner * d
        return Cost(2 * elements(ys[0]) * inner, traffic(xs, ys))


def _regular(windows: Sequence[Window]) -> list[Array]:
    """For each axis, where element k of window p lies without an offset: (kernel…, windows…)."""
    n = len(windows)
    shape = [v.kernel for v in windows] + [v.count for v in windows]
    lines = []
    for a, v in enumerate(windows):
        line = np.arange(v.kernel)[:, None] * v.dilation + np.arange(v.count) * v.stride - v.before
        along = [1] * (2 * n)
        along[a], along[n + a] = v.kernel, v.count
        lines.append(np.broadcast_to(line.reshape(along), shape))
    return lines
