"""Interpolation as expressions: where a sample lies, which pixels it reads there and with which weights.

The coordinates are computed in the same element types and in the same order as in `interpolation` and `grid_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from operator import add

import numpy as np

from graphc.errors import CompileError
from graphc.expr import Expr, bounded, call, cast, clipped, equal, over, position, select
from graphc.frozen import Frozen
from graphc.index import Linear
from graphc.types import DType, float32, float64, int64

Read = Callable[[Sequence[Linear]], Expr]
MOST_PIXELS = 256  # of one sample, written out one by one


def wide_type(dtype: DType) -> DType:
    """The element type in which elements of `dtype` are weighed and added."""
    if dtype.is_float and dtype.bits >= 32:
        return dtype
    return float64 if dtype.is_integer and dtype.bits > 16 else float32


def limited(x: Expr, low: float, high: float) -> Expr:
    """`x` moved into [low, high]; NaN stays."""
    return call("max", call("min", x, high), low)


def whole(x: Expr, size: int) -> Linear:
    """The whole number `x` as an index, moved into an axis of `size`; NaN counts as 0."""
    return bounded(clipped(cast(limited(x, 0, size - 1), int64), size), 0, size - 1)


# -- places on a grid -------------------------------------------------------------------------------------------------
def coordinate(
    mode: str, i: Linear, size: int, outputs: int, scale: float, *, length: float, roi: tuple[float, float]
) -> Expr:
    """The coordinate in an axis of `size` of pixel `i` of `outputs`, in float32: `interpolation.original`."""
    one, half, factor, last = np.float32(1), np.float32(0.5), np.float32(scale), np.float32(size - 1)
    width = np.float32(length)
    x = cast(position(i), float32)
    if mode in ("pytorch_half_pixel", "align_corners") and width <= 1:
        return x * 0.0
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (x + 0.5) / float(factor) - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = np.float32(outputs) / (factor * np.float32(size))
        start = np.float32(size) / np.float32(2) * (one - adjustment)
        return float(start) + (x + 0.5) / float(factor) - 0.5
    if mode == "align_corners":
        return x * float(last) / float(width - one)
    if mode == "asymmetric":
        return x / float(factor)
    begin, end = np.float32(roi[0]), np.float32(roi[1])
    if width > 1:
        return float(begin * last) + x * float(end - begin) * float(last) / float(width - one)
    return x * 0.0 + float(half * (begin + end) * last)


def nearest_place(x: Expr, mode: str, size: int) -> Linear:
    """The index nearest to the coordinate `x`, by ONNX's nearest_mode."""
    exact = cast(x, float64)  # where adding a half is exact
    if mode == "round_prefer_floor":
        return whole(call("ceil", exact - 0.5), size)
    if mode == "round_prefer_ceil":
        return whole(call("floor", exact + 0.5), size)
    return whole(call(mode, exact), size)


class Kernel(Frozen):
    """The weights of the pixels around a coordinate, as `interpolation.filtered` has them.

    Attributes:
        support: where the kernel ends: 1 is linear, 2 cubic with parameter `a`.
        scale: below 1, the kernel is stretched by 1/scale.
        exclude_outside: pixels outside of the input have no weight; the others are made to sum up to 1.
        normalize: make all weights sum up to 1.
    """

    support: int
    scale: float
    a: float
    exclude_outside: bool
    normalize: bool

    @property
    def stretch(self) -> float:
        return min(self.scale, 1.0)

    @property
    def reach(self) -> float:
        return self.support / self.stretch

    @property
    def count(self) -> int:
        """How many pixels may have a weight."""
        return math.ceil(2 * self.reach) + (self.stretch < 1)

    def first(self, x: Expr) -> Expr:
        """The first of them around `x`, float64."""
        return call("floor", x + 1 - self.reach)

    def weight(self, place: Expr, x: Expr, size: int) -> Expr:
        """The weight of the pixel at `place`, not yet normalised."""
        distance = (place - x) * self.stretch
        found = call("max", 1 - call("abs", distance), 0) if self.support == 1 else cubic_weight(distance, self.a)
        return select((place < 0) | (place >= size), 0, found) if self.exclude_outside else found

    def total(self, weights: Callable[[], Expr]) -> Expr | None:
        """What weights are divided by, where `weights` is their sum."""
        if not (self.exclude_outside or self.normalize):
            return None
        total = weights()
        return select(equal(total, 0), 1, total)

    def pixels(self, x: Expr, size: int, dtype: DType) -> list[Pixel]:
        """The pixels around the coordinate `x`, one by one."""
        exact = cast(x, float64)
        first = self.first(exact)
        places = [first + float(t) if t else first for t in range(self.count)]
        weights = [self.weight(p, exact, size) for p in places]
        total = self.total(lambda: reduce(add, weights))
        if total is not None:
            weights = [w / total for w in weights]
        return [Pixel(whole(p, size), cast(w, dtype)) for p, w in zip(places, weights, strict=True)]

    def sum(self, x: Expr, size: int, read: Callable[[Linear], Expr]) -> Expr:
        """Σ weight · read(place) over the pixels around the coordinate `x`, in a loop."""
        exact = cast(x, float64)
        first = self.first(exact)

        def place(t: Linear) -> Expr:
            return first + cast(position(t), float64)

        total = self.total(lambda: over("sum", [self.count], lambda t: self.weight(place(t), exact, size)))

        def term(t: Linear) -> Expr:
            value, weight = read(whole(place(t), size)), self.weight(place(t), exact, size)
            return value * cast(weight if total is None else weight / total, value.dtype)

        return over("sum", [self.count], term)


def two_pixels(x: Expr, size: int, dtype: DType) -> list[Pixel]:
    """The pixels around `x`, weighted by their distance."""
    inner = limited(x, 0, size - 1)
    low = call("floor", inner)
    ratio = inner - low
    first = cast(low, int64)
    second = call("min", first + 1, size - 1)
    places = [bounded(clipped(p, size), 0, size - 1) for p in (first, second)]
    return [Pixel(places[0], cast(1 - ratio, dtype)), Pixel(places[1], cast(ratio, dtype))]


def cubic_weight(x: Expr, a: float) -> Expr:
    """Keys' kernel with parameter `a`: `interpolation.cubic`."""
    x = call("abs", x)
    near = (x * (a + 2) - (a + 3)) * x * x + 1
    far = ((x * a - 5 * a) * x + 8 * a) * x - 4 * a
    return select(x <= 1, near, select(x < 2, far, 0))


# -- pixels of a sample -----------------------------------------------------------------------------------------------
class Pixel(Frozen, eq=False):
    """One of the pixels along an axis that make a sample.

    Attributes:
        place: where it is, inside of the image.
        weight: its weight.
        inside: False where zero stands for it; None for everywhere True.
    """

    place: Linear
    weight: Expr
    inside: Expr | None = None


def pixel(x: Expr, size: int, weight: Expr, *, zeros: bool) -> Pixel:
    """The pixel at the whole coordinate `x`; outside of the image it is the nearest one, or with `zeros` nothing."""
    return Pixel(whole(x, size), weight, (x >= 0) & (x <= size - 1) if zeros else None)


def around(x: Expr, size: int) -> list[Pixel]:
    """The pixels around `x`, weighted by their distance; zero outside of the image."""
    low = call("floor", x)
    return [pixel(low, size, 1 - (x - low), zeros=True), pixel(low + 1, size, x - low, zeros=True)]


def reflected(x: Expr, low: float, high: float) -> Expr:
    """`x` mirrored at `low` and `high` until it lies between them."""
    extent = high - low
    if extent <= 0:
        return x * 0 + low
    distance = call("mod", x - low, 2 * extent)
    return low + select(distance > extent, 2 * extent - distance, distance)


def sampled(read: Read, axes: Sequence[Sequence[Pixel]]) -> Expr:
    """Σ over combinations of one pixel of each axis of Π weights · read(places).

    Raises `CompileError` for more pixels than are worth writing out.
    """
    if math.prod(len(pixels) for pixels in axes) > MOST_PIXELS:
        raise CompileError(f"a sample of {math.prod(len(pixels) for pixels in axes)} pixels")
    total: Expr | None = None
    for pixels in product(*axes):
        value = read([p.place for p in pixels])
        weight: Expr | None = None
        for p in pixels:
            own = cast(p.weight, value.dtype)
            weight = own if weight is None else weight * own
        assert weight is not None
        value = masked(value * weight, pixels)
        total = value if total is None else total + value
    assert total is not None
    return total


def masked(value: Expr, pixels: Sequence[Pixel]) -> Expr:
    """`value`, or zero where one of `pixels` lies outside."""
    inside: Expr | None = None
    for p in pixels:
        if p.inside is not None:
            inside = p.inside if inside is None else inside & p.inside
    return value if inside is None else select(inside, value, 0)
