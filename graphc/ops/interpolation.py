"""Interpolation along one axis: which elements of the input, with which weights, make each element of the output.

Coordinates are computed in float32, as ONNX's attributes are stored and as onnxruntime does; where a sample falls
between two pixels depends on it.
"""

from __future__ import annotations

import numpy as np

from graphc.frozen import Frozen
from graphc.types import Array

COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


class Taps(Frozen):
    """y_i = Σ_t weights[i,t] · x[positions[i,t]].

    Attributes:
        positions: (outputs, taps), inside the input.
        weights: (outputs, taps), float64.
    """

    positions: Array
    weights: Array

    def matrix(self, size: int) -> Array:
        """The same as a matrix (outputs, size)."""
        outputs = np.broadcast_to(np.arange(len(self.positions))[:, None], self.positions.shape)
        dense: Array = np.zeros((len(self.positions), size))
        np.add.at(dense, (outputs, self.positions), self.weights)
        return dense

    def apply(self, x: Array, axis: int) -> Array:
        """y along `axis` of a floating-point or complex array."""
        shape = (-1, *(1 for _ in range(x.ndim - axis - 1)))
        if self.weights.shape[1] > 16:  # many taps are few outputs: all at once
            kernel = self.weights.astype(x.real.dtype).reshape(*self.weights.shape, *shape[1:])
            return np.asarray(np.add.reduce(np.take(x, self.positions, axis) * kernel, axis=axis + 1))
        y: Array | None = None
        for positions, weights in zip(self.positions.T, self.weights.T, strict=True):
            term = np.take(x, positions, axis) * weights.astype(x.real.dtype).reshape(shape)
            y = term if y is None else np.add(y, term, out=y)
        assert y is not None
        return y


def original(
    mode: str, size: int, outputs: int, scale: float, *, length: float, roi: tuple[float, float] = (0.0, 1.0)
) -> Array:
    """The coordinate in an axis of `size` of each of `outputs` pixels, by ONNX's coordinate_transformation_mode.

    `length` is ONNX's output_width, of which `outputs` is the whole part: scale · size, or the size asked for.
    """
    i = np.arange(outputs, dtype=np.float32)
    one, half, factor, width = np.float32(1), np.float32(0.5), np.float32(scale), np.float32(length)
    last = np.float32(size - 1)
    if mode == "half_pixel":
        return (i + half) / factor - half
    if mode == "pytorch_half_pixel":
        return (i + half) / factor - half if width > 1 else np.zeros_like(i)
    if mode == "half_pixel_symmetric":
        # The output's centre is kept at the input's, although `outputs` was rounded down.
        adjustment = np.float32(outputs) / (factor * np.float32(size))
        return np.float32(size) / np.float32(2) * (one - adjustment) + (i + half) / factor - half
    if mode == "align_corners":
        return i * last / (width - one) if width > 1 else np.zeros_like(i)
    if mode == "asymmetric":
        return i / factor
    start, end = np.float32(roi[0]), np.float32(roi[1])
    if width > 1:
        return start * last + i * (end - start) * last / (width - one)
    return np.full_like(i, half * (start + end) * last)


def nearest(x: Array, mode: str, size: int) -> Array:
    """The position nearest to each coordinate, by ONNX's nearest_mode."""
    x = x.astype(np.float64)  # where adding a half is exact
    if mode == "round_prefer_floor":
        x = np.ceil(x - 0.5)
    elif mode == "round_prefer_ceil":
        x = np.floor(x + 0.5)
    else:
        x = np.floor(x) if mode == "floor" else np.ceil(x)
    return np.clip(x, 0, size - 1).astype(np.int64)


def linear(x: Array, size: int) -> Taps:
    """Two taps, weighted by their distance from the coordinate."""
    x = np.clip(x, 0, size - 1)
    low = np.floor(x).astype(np.int64)
    ratio = x - low.astype(np.float32)
    positions = np.stack([low, np.minimum(low + 1, size - 1)], 1)
    return Taps(positions, np.stack([1 - ratio, ratio], 1).astype(np.float64))


def triangle(x: Array) -> Array:
    """max(1 − |x|, 0): the kernel of linear interpolation."""
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def cubic(x: Array, a: float) -> Array:
    """Keys' kernel: zero from |x| = 2 on, with parameter `a`. https://ieeexplore.ieee.org/document/1163711, eq. (4)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def filtered(
    x: Array, size: int, support: float, *, scale: float, a: float, exclude_outside: bool, normalize: bool
) -> Taps:
    """Taps from a kernel around each coordinate; positions outside the input stand for its edge.

    Args:
        x: coordinates.
        size: the input's size.
        support: where the kernel ends: 1 takes `triangle`, 2 `cubic`.
        scale: below 1, the kernel is stretched by 1/scale (antialiasing).
        a: the parameter of `cubic`.
        exclude_outside: positions outside the input have no weight; the others are made to sum up to 1.
        normalize: make all weights sum up to 1.
    """
    stretch = min(scale, 1.0)
    reach = support / stretch
    x = x.astype(np.float64)
    first = np.floor(x + 1 - reach).astype(np.int64)
    positions = first[:, None] + np.arange(int(np.ceil(2 * reach)) + (stretch < 1))
    distance = (positions - x[:, None]) * stretch
    weights = triangle(distance) if support == 1 else cubic(distance, a)
    if exclude_outside:
        weights = np.where((positions < 0) | (positions >= size), 0, weights)
    if exclude_outside or normalize:
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return Taps(np.clip(positions, 0, size - 1), weights)
