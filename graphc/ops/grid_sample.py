"""Sampling images at given places: GridSample, AffineGrid, and the taps that sampling ops share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, call, cast, constant, position, select, wide
from graphc.frozen import Frozen
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops import samples
from graphc.ops.base import Array, Dim, TensorType, Value, check_dtype, check_rank, const, known_sizes
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.interpolation import cubic
from graphc.ops.logic import where
from graphc.ops.math import Abs, Floor, Round
from graphc.ops.shape import COMMON
from graphc.ops.taps import Pixel, cubic_weight, limited, masked, pixel, reflected, sampled, wide_type
from graphc.ops.unroll import slice_at
from graphc.ops.vjp import decomposed_grad
from graphc.ops.windows import volume
from graphc.types import FLOATS, Tensor, bool_, float64, int64, string

PADDING = ("zeros", "border", "reflection")
CUBIC_COEFFICIENT = -0.75


class GridSample(Op):
    """y[n,c,p] = x[n,c] interpolated at the place grid[n,p], whose coordinates lie in [-1, 1]. ONNX GridSample-22.

    x is (N, C, D1, …, Dr), grid is (N, P1, …, Pr, r), y is (N, C, P1, …, Pr). A place's coordinates are
    those of the last axis of x first.

    Attributes:
        align_corners: -1 and 1 are the centres of the outermost pixels; otherwise their outer edges.
        mode: "linear", "nearest" (to the even one in the middle) or "cubic".
        padding_mode: what is outside of x: "zeros", "border" (the nearest pixel) or "reflection".
    """

    align_corners: bool = False
    mode: str = "linear"
    padding_mode: str = "zeros"

    def infer(self, x: Value, grid: Value) -> TensorType:
        for what, given, allowed in [
            ("mode", self.mode, ("linear", "nearest", "cubic")),
            ("padding_mode", self.padding_mode, PADDING),
        ]:
            if given not in allowed:
                raise InvalidModel(f"{what} is {given!r}, expected one of {', '.join(allowed)}")
        check_dtype(x, COMMON if self.mode == "nearest" else COMMON - {bool_, string}, "x")
        check_dtype(grid, FLOATS, "grid")
        check_rank(x, "x", 3, 64)
        check_rank(grid, "grid", 3, 64)
        if x.shape is not None and grid.shape is not None:
            r = len(x.shape) - 2
            if len(grid.shape) != r + 2 or (isinstance(grid.shape[-1], int) and grid.shape[-1] != r):
                raise ShapeError(f"grid is {grid.tensor}, expected {r} coordinates for each place: x {x.tensor}")
            n, m = x.shape[0], grid.shape[0]
            if isinstance(n, int) and isinstance(m, int) and n != m:
                raise ShapeError(f"batch sizes differ: x {x.tensor}, grid {grid.tensor}")
        known = x.shape or grid.shape
        if known is None:
            return TensorType(x.dtype, None)
        batch: Dim = known[0]
        channels = unknown() if x.shape is None else x.shape[1]
        places = tuple(unknown() for _ in known[2:]) if grid.shape is None else grid.shape[1:-1]
        return TensorType(x.dtype, (batch, channels, *places))

    def eval(self, x: Array, grid: Array) -> Array:
        sizes = x.shape[2:]
        shape = (*x.shape[:2], *grid.shape[1:-1])
        check_tensor(shape, max(x.itemsize, 8), "the samples")
        if volume(sizes) == 0 and volume(shape):
            raise ExecutionError(f"there is nothing to sample in x {list(x.shape)}")
        places = widen(grid).reshape(x.shape[0], -1, len(sizes))
        axes = [self._axis(places[..., -1 - i], n) for i, n in enumerate(sizes)]
        wide = x
        if self.mode != "nearest" and (x.dtype.kind not in "fc" or x.dtype.itemsize < 4):
            wide = x.astype(np.float64 if x.dtype.kind in "iu" and x.dtype.itemsize > 2 else np.float32)
        y = sample(wide, axes, weighted=self.mode != "nearest")
        return y.astype(x.dtype, copy=False).reshape(shape)

    def _axis(self, place: Array, size: int) -> list[Tap]:
        """The taps along an axis of `size`."""
        one = place.dtype.type(1)
        x = (place + one) / 2 * (size - 1) if self.align_corners else ((place + one) * size - 1) / 2
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        if self.mode == "nearest":
            x = np.rint(x)
        # The places themselves are moved into the image; for "cubic", only the pixels that each of them reads.
        if self.padding_mode == "border" and self.mode != "cubic":
            x = np.clip(x, 0, size - 1)
        elif self.padding_mode == "reflection" and self.mode != "cubic":
            x = np.where((x < low) | (x > high), reflect(x, low, high), x).astype(x.dtype)
        if self.mode == "nearest":
            return [self._tap(x, size, low, high, np.ones_like(x))]
        base = np.floor(x)
        ratio = x - base
        if self.mode == "linear":
            return [self._tap(base + k, size, low, high, w) for k, w in [(0, 1 - ratio), (1, ratio)]]
        return [
            self._tap(base + k, size, low, high, cubic(ratio - k, CUBIC_COEFFICIENT).astype(x.dtype))
            for k in (-1, 0, 1, 2)
        ]

    def _tap(self, x: Array, size: int, low: float, high: float, weight: Array) -> Tap:
        if self.padding_mode == "reflection":
            x = np.where((x < low) | (x > high), np.trunc(reflect(x, low, high)), x)
        return tap(x, size, weight, zeros=self.padding_mode == "zeros")

    def element(self, y: TensorType, x: Source, grid: Source) -> Element:
        sizes = x.shape[2:]
        if 0 in sizes:
            raise CompileError("there is nothing to sample")
        dtype = wide_type(x.dtype)

        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            axes = [self._pixels(wide(grid[n, *p, len(sizes) - 1 - a]), size) for a, size in enumerate(sizes)]
            if self.mode == "nearest":
                found = [pixels[0] for pixels in axes]
                return masked(x[n, c, *(q.place for q in found)], found)
            return cast(sampled(lambda place: cast(x[n, c, *place], dtype), axes), y.dtype)

        return element

    def _pixels(self, place: Expr, size: int) -> list[Pixel]:
        """The pixels along an axis of `size` that make the sample at `place`."""
        x = (place + 1) / 2 * (size - 1) if self.align_corners else ((place + 1) * size - 1) / 2
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)

        def mirrored(at: Expr, *, cut: bool) -> Expr:
            inner = reflected(at, low, high)
            return select((at < low) | (at > high), call("trunc", inner) if cut else inner, at)

        def found(at: Expr, weight: Expr) -> Pixel:
            at = mirrored(at, cut=True) if self.padding_mode == "reflection" else at
            return pixel(at, size, weight, zeros=self.padding_mode == "zeros")

        if self.mode == "nearest":
            x = call("round", x)
        if self.padding_mode == "border" and self.mode != "cubic":
            x = limited(x, 0, size - 1)
        elif self.padding_mode == "reflection" and self.mode != "cubic":
            x = mirrored(x, cut=False)
        if self.mode == "nearest":
            return [found(x, constant(1, x.dtype))]
        base = call("floor", x)
        ratio = x - base
        if self.mode == "linear":
            return [found(base, 1 - ratio), found(base + 1, ratio)]
        return [found(base + k, cubic_weight(ratio - k, CUBIC_COEFFICIENT)) for k in (-1, 0, 1, 2)]

    def grad(self, dy: Value, y: Value, x: Value, grid: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._sampled, dy, y, [x, grid])

    def _sampled(self, x: Value, grid: Value) -> Value:
        """The op in simpler ones."""
        n, c, *sizes = known_sizes(x, *range(x.rank or 0))
        places = known_sizes(grid, *range(1, (grid.rank or 1) - 1))
        given = (grid if grid.dtype is x.dtype else grid.cast(x.dtype)).reshape([n, volume(places), len(sizes)])
        axes = [self._samples(slice_at(given, 2, len(sizes) - 1 - i), size) for i, size in enumerate(sizes)]
        y = samples.sampled(x, axes).reshape([n, *places, c])
        return y.transpose([0, len(places) + 1, *range(1, len(places) + 1)])

    def _samples(self, place: Value, size: int) -> list[samples.Sample]:
        """`_axis` on values."""
        x = (place + 1.0) / 2.0 * (size - 1.0) if self.align_corners else ((place + 1.0) * float(size) - 1.0) / 2.0
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        zeros = self.padding_mode == "zeros"

        def mirrored(x: Value, *, cut: bool) -> Value:
            inner = reflected_of(x, low, high)
            # A pixel's coordinate is whole, and no number to differentiate for.
            return where((x >= low) & (x <= high), x, truncated(inner) if cut else inner)

        def found(x: Value, weight: Value) -> samples.Sample:
            x = mirrored(x, cut=True) if self.padding_mode == "reflection" else x
            return samples.at(x, size, weight, zeros=zeros)

        if self.mode == "nearest":
            x = Round().apply((x,))[0]
        if self.padding_mode == "border" and self.mode != "cubic":
            x = samples.limited(x, 0, size - 1)
        elif self.padding_mode == "reflection" and self.mode != "cubic":
            x = mirrored(x, cut=False)
        if self.mode == "nearest":
            return [found(x, zeros_like(x) + 1.0)]
        base: Value = Floor().apply((x,))[0]
        ratio = x - base
        if self.mode == "linear":
            return [found(base, 1.0 - ratio), found(base + 1.0, ratio)]
        return [found(base + float(k), cubic_of(ratio - float(k), CUBIC_COEFFICIENT)) for k in (-1, 0, 1, 2)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        taps = {"nearest": 0, "linear": 2, "cubic": 4}[self.mode]
        return Cost(2 * taps ** len((ys[0].shape or (0, 0))[2:]) * elements(ys[0]), traffic(xs, ys))


class Tap(Frozen):
    """One of the pixels along an axis that make a sample: arrays (N, P).

    Attributes:
        position: where it is, inside of the image.
        weight: its weight.
        inside: False where zero stands for it; None for everywhere True.
    """

    position: Array
    weight: Array
    inside: Array | None


def tap(x: Array, size: int, weight: Array, *, zeros: bool) -> Tap:
    """The tap at the whole coordinates `x`; outside of the image it is the nearest pixel, or with `zeros` nothing."""
    inside = (x >= 0) & (x <= size - 1) if zeros else None
    # Clipped as numbers first: what is far away, or NaN, does not fit into an integer.
    position = np.clip(np.nan_to_num(np.clip(x, 0, size - 1)).astype(np.int64), 0, size - 1)
    return Tap(position, weight, inside)


def reflect(x: Array, low: float, high: float) -> Array:
    """`x` mirrored at `low` and `high` until it lies between them."""
    extent = high - low
    if extent <= 0:
        return np.full_like(x, low)
    distance = np.mod(x - low, 2 * extent)
    return np.asarray(low + np.where(distance > extent, 2 * extent - distance, distance))


def reflected_of(x: Value, low: float, high: float) -> Value:
    """`reflect` as graph code."""
    extent = high - low
    if extent <= 0:
        return zeros_like(x) + low
    turns = Floor().apply(((x - low) / (2 * extent),))[0]
    distance = x - low - turns * (2 * extent)
    return where(distance > extent, 2 * extent - distance, distance) + low


def truncated(x: Value) -> Value:
    """The whole part of `x`, which is at least -0.5."""
    return Floor().apply((samples.limited(x, 0, np.inf),))[0]


def cubic_of(x: Value, a: float) -> Value:
    """`cubic` as graph code."""
    x = Abs().apply((x,))[0]
    near = ((a + 2) * x - (a + 3)) * x * x + 1.0
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return where(x <= 1.0, near, where(x < 2.0, far, 0.0))


def sample(x: Array, axes: Sequence[Sequence[Tap]], *, weighted: bool = True) -> Array:
    """y[n,c,p] = Σ over combinations of one tap of each axis of Π weights · x[n, c, positions]; (N, C, P).

    Args:
        x: (N, C, spatial…).
        axes: the taps along each spatial axis.
        weighted: False takes the first tap of each axis as it is, whatever the element type.
    """
    n, c, *sizes = x.shape
    flat = x.reshape(n, c, -1)
    y: Array | None = None
    for taps in product(*axes):
        position = np.zeros((), np.int64)
        inside: Array | None = None
        weight = np.ones((), x.real.dtype)
        for t, size in zip(taps, sizes, strict=True):
            position = position * size + t.position
            weight = weight * t.weight.astype(x.real.dtype, copy=False)
            if t.inside is not None:
                inside = t.inside if inside is None else inside & t.inside
        values = np.take_along_axis(flat, position[:, None], 2)
        if weighted:
            values = values * weight[:, None]
        if inside is not None:
            empty = "" if x.dtype == object else x.dtype.type(0)
            values = np.where(inside[:, None], values, empty)
        if not weighted:
            return np.asarray(values)
        y = values if y is None else np.add(y, values, out=y)
    assert y is not None
    return y


class AffineGrid(Op):
    """grid[n,p] = theta[n] · (x_p, y_p, …, 1): an affine map of evenly spaced places. ONNX AffineGrid-20.

    theta is (N, 2, 3) or (N, 3, 4), size is (N, C, H, W) or (N, C, D, H, W), grid is (N, H, W, 2) or (N, D, H, W, 3).

    Attributes:
        align_corners: -1 and 1 are the centres of the outermost pixels; otherwise their outer edges.
    """

    align_corners: bool = False

    def infer(self, theta: Value, size: Value) -> TensorType:
        check_dtype(theta, FLOATS, "theta")
        check_rank(theta, "theta", 3)
        check_dtype(size, {int64}, "size")
        check_rank(size, "size", 1)
        length = None if size.shape is None else size.shape[0]
        rank = length - 2 if isinstance(length, int) else None
        if rank is None and theta.shape is not None and isinstance(theta.shape[1], int):
            rank = theta.shape[1]
        if rank is None:
            return TensorType(theta.dtype, None)
        if rank not in (2, 3):
            raise ShapeError(f"size is {size.tensor}, expected 4 or 5 entries")
        given = theta.shape or (unknown(), rank, rank + 1)
        if any(isinstance(d, int) and d != e for d, e in zip(given[1:], (rank, rank + 1), strict=True)):
            raise ShapeError(f"theta is {theta.tensor}, expected [N,{rank},{rank + 1}] for size {size.tensor}")
        places = [unknown() for _ in range(rank)] if size.dims is None else size.dims.tolist()[2:]
        return TensorType(theta.dtype, (given[0], *places, rank))

    def eval(self, theta: Array, size: Array) -> Array:
        if (size < 0).any() or len(size) != theta.shape[1] + 2 or size[0] != len(theta):
            raise ExecutionError(f"size {size.tolist()} does not fit theta {list(theta.shape)}")
        sizes = [int(n) for n in size[2:]]
        check_tensor((len(theta), *sizes, theta.shape[2]), 8, "the grid")
        wide = widen(theta)
        grid = np.matmul(self._places(sizes).astype(wide.dtype), wide.swapaxes(1, 2))
        return np.asarray(grid, theta.dtype).reshape(len(theta), *sizes, theta.shape[1])

    def element(self, y: TensorType, theta: Source, size: Source) -> Element:
        sizes, rank = y.sizes[1:-1], theta.shape[1]

        def element(n: Linear, *place: Linear) -> Expr:
            *p, row = place
            total = wide(theta[n, row, rank])
            for axis, (i, m) in enumerate(zip(p, sizes, strict=True)):
                x = cast(position(i), float64) * 2
                x = x / max(m - 1, 1) - 1 if self.align_corners else (x + 1) / max(m, 1) - 1
                total = total + wide(theta[n, row, rank - 1 - axis]) * cast(x, total.dtype)
            return cast(total, y.dtype)

        return element

    def _places(self, sizes: Sequence[int]) -> Array:
        """(x, y, …, 1) of each place, (places, rank + 1)."""
        lines = []
        for n in sizes:
            i = np.arange(n, dtype=np.float64)
            lines.append(2 * i / max(n - 1, 1) - 1 if self.align_corners else (2 * i + 1) / max(n, 1) - 1)
        mesh = np.meshgrid(*lines, indexing="ij")
        return np.stack([*(m.reshape(-1) for m in reversed(mesh)), np.ones(volume(sizes))], 1)

    def grad(self, dy: Value, y: Value, theta: Value, size: Value) -> Sequence[Value | None]:
        if size.const is None:
            raise CompileError("the gradient needs size as a constant")
        places = self._places([int(n) for n in size.const[2:]]).astype(theta.dtype.numpy)
        rank = len(size.const) - 2
        flat = dy.reshape([-1, len(places), rank]).transpose([0, 2, 1])
        return [flat @ const(Tensor(places, theta.dtype)), None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(2 * ((xs[0].rank or 0) if xs[0] is not None else 0) * elements(ys[0]), traffic(xs, ys))
