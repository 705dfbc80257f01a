"""Changed copies of images, as many as there are steps: each is a function of a batch [n, c, h, w] and a generator.

Images are float arrays; what is drawn differs from image to image. The label must not depend on what is changed: a
mirrored 3 is no digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphc.types import Array


class Augmentation(Protocol):
    """A random change."""

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        """The changed batch, of the shape and type of `x`, which stays as it is."""
        ...


@dataclass(frozen=True)
class Flip:
    """Mirrors left and right with probability p."""

    p: float = 0.5

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        return np.where((rng.random(len(x)) < self.p)[:, None, None, None], x[..., ::-1], x)


@dataclass(frozen=True)
class Translate:
    """Shifts by up to `pixels` in each direction; `fill` comes in from outside."""

    pixels: int
    fill: float = 0.0

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        m = self.pixels
        wide = np.pad(x, ((0, 0), (0, 0), (m, m), (m, m)), constant_values=self.fill)
        return _windows(wide, rng.integers(0, 2 * m + 1, (2, len(x))), x.shape[2], x.shape[3])


@dataclass(frozen=True)
class RandomCrop:
    """A window of `size` × `size` pixels at a random place, after `pad` pixels of zeros on each side."""

    size: int
    pad: int = 0

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        wide = np.pad(x, ((0, 0), (0, 0), (self.pad,) * 2, (self.pad,) * 2))
        free = np.array(wide.shape[2:])[:, None] - self.size + 1
        return _windows(wide, rng.integers(0, free, (2, len(x))), self.size, self.size)


@dataclass(frozen=True)
class Brightness:
    """x + b, b from −most to most."""

    most: float

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        return x + _draw(rng, -self.most, self.most, (len(x), 1, 1, 1), x)


@dataclass(frozen=True)
class Contrast:
    """The mean of the image + c · (x − mean), c from 1 − most to 1 + most."""

    most: float

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        mean = x.mean((1, 2, 3), keepdims=True)
        changed: Array = mean + _draw(rng, 1 - self.most, 1 + self.most, (len(x), 1, 1, 1), x) * (x - mean)
        return changed


@dataclass(frozen=True)
class Colour:
    """Each channel times a factor of its own, from 1 − most to 1 + most."""

    most: float

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        changed: Array = x * _draw(rng, 1 - self.most, 1 + self.most, (*x.shape[:2], 1, 1), x)
        return changed


@dataclass(frozen=True)
class Noise:
    """x + N(0, std²), for each pixel."""

    std: float

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        noise: Array = rng.standard_normal(x.shape).astype(x.dtype) * x.dtype.type(self.std)
        return x + noise


def augment(x: Array, changes: Sequence[Augmentation], seed: int, step: int) -> Array:
    """`x` after all `changes` in order, drawn for this step: the same arguments give the same bits."""
    if changes:
        rng = np.random.default_rng([seed, step, 1])
        for change in changes:
            x = change(x, rng)
    return x


def _windows(x: Array, corners: Array, height: int, width: int) -> Array:
    """Of each image, the window with its corner at (row, column)."""
    rows = corners[0][:, None] + np.arange(height)
    columns = corners[1][:, None] + np.arange(width)
    windows: Array = x[np.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return np.moveaxis(windows, 3, 1)


def _draw(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...], x: Array) -> Array:
    return rng.uniform(low, high, shape).astype(x.dtype)
