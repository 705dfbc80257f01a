"""How a tensor lies in a flat buffer: row-major, blocked, with a halo. A buffer's matter, not an op's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np

from graphc.index import Index, IndexLike, Linear, divide, flatten, linear
from graphc.types import Array

PAGE = 4096  # bytes between addresses that meet in one set of the first cache
LINE = 64  # bytes of a line of a cache
ALIASES = 12  # lines that are too many for one set


@dataclass(frozen=True)
class Part:
    """One physical axis: ⌊(index of `axis` + halo) / step⌋ mod `extent`."""

    axis: int
    step: int
    extent: int


@dataclass(frozen=True)
class Layout:
    """The physical axes of a tensor, outermost first.

    Attributes:
        shape: the tensor's sizes.
        parts: the physical axes; one for each axis, or two: its blocks of b, with step b, and what is in one.
        halo: for each axis, elements of padding before and after, which hold zeros.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    halo: tuple[tuple[int, int], ...]

    @cached_property
    def size(self) -> int:
        """Elements of the buffer, padding included."""
        return math.prod(p.extent for p in self.parts)

    @property
    def has_halo(self) -> bool:
        return any(h != (0, 0) for h in self.halo)

    @cached_property
    def is_row_major(self) -> bool:
        return self == row_major(self.shape)

    def is_last(self, axis: int) -> bool:
        """True if neighbours along `axis` are neighbours in memory, all of them."""
        return [p for p in self.parts if p.axis == axis] == [self.parts[-1]]

    def offset(self, index: Sequence[IndexLike]) -> Linear:
        """Where the element at `index` lies."""
        shifted = [linear(i) + h[0] for i, h in zip(index, self.halo, strict=True)]
        digits = []
        for p in self.parts:
            digit = divide(shifted[p.axis], p.step)[0]
            if p.step * p.extent < self._padded(p.axis):  # not the outermost part of its axis
                digit = divide(digit, p.extent)[1]
            digits.append(digit)
        return flatten(digits, [p.extent for p in self.parts])

    def _padded(self, axis: int) -> int:
        """The axis's size with halo, rounded up to whole blocks."""
        return math.prod(p.extent for p in self.parts if p.axis == axis)

    def regions(self) -> list[tuple[list[Index], list[Linear]]]:
        """An index for each physical axis, and the logical indices; together the regions cover the elements once.

        There is one region, and one more for each axis whose last block is not full.
        """
        choices: list[list[dict[int, tuple[int, int]]]] = []  # for each axis: step -> (first value, number of values)
        for axis, n in enumerate(self.shape):
            parts = [p for p in self.parts if p.axis == axis]
            if len(parts) <= 1:
                choices.append([{1: (0, n)}])
                continue
            assert self.halo[axis] == (0, 0), "an axis is blocked or has a halo"
            block = max(p.step for p in parts)
            inner = {p.step: (0, p.extent) for p in parts if p.step < block}
            options = [{**inner, block: (0, n // block)}] if n >= block else []
            if n % block:
                assert len(inner) == 1, "a partial block of blocks"
                options.append({1: (0, n % block), block: (n // block, 1)})
            choices.append(options)
        return [self._region(chosen) for chosen in product(*choices)]

    def _region(self, chosen: Sequence[dict[int, tuple[int, int]]]) -> tuple[list[Index], list[Linear]]:
        logical = [linear(0) for _ in self.shape]
        indices: list[Index] = []
        for k, p in enumerate(self.parts):
            first, extent = chosen[p.axis][p.step]
            i = Index(f"i{k}", extent)
            indices.append(i)
            logical[p.axis] = logical[p.axis] + ((linear(i) if extent != 1 else linear(0)) + first) * p.step
        return indices, logical

    def borders(self) -> list[tuple[list[Index], Linear]]:
        """Loops over the halo: indices and the offset of an element of it, for each axis before and after."""
        found = []
        for axis, (before, after) in enumerate(self.halo):
            for start, count in ((0, before), (before + self.shape[axis], after)):
                if not count:
                    continue
                at = linear(0)
                indices = []
                for k, p in enumerate(self.parts):
                    i = Index(f"h{k}", count if p.axis == axis else p.extent)
                    indices.append(i)
                    at = at * p.extent + (i + start if p.axis == axis else linear(i))
                found.append((indices, at))
        return found

    def gaps(self) -> list[tuple[list[Index], Linear]]:
        """Loops over what a last block has beyond the end of its axis: indices and the offset of an element of it."""
        found = []
        for axis, n in enumerate(self.shape):
            block = max((p.step for p in self.parts if p.axis == axis), default=1)
            if block == 1 or n % block == 0:
                continue
            at = linear(0)
            indices = []
            for k, p in enumerate(self.parts):
                first = 0 if p.axis != axis else n // block if p.step == block else n % block
                i = Index(f"g{k}", 1 if p.axis == axis and p.step == block else p.extent - first)
                indices.append(i)
                at = at * p.extent + (linear(i) if i.extent != 1 else linear(0)) + first
            found.append((indices, at))
        return found

    def box(self, axis: int, start: int, size: int) -> Layout:
        """How to run over `size` elements of `axis` from `start` on: blocks stay blocks where they begin there."""
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        split = next(((p.axis, p.step) for p in self.parts if p.step > 1), None)
        if split is None or (split[0] == axis and start % split[1]):
            return row_major(shape)
        return blocked(shape, *split)

    def pack(self, array: Array, out: Array) -> None:
        """Lay `array` into the flat `out`, with zeros for padding."""
        order = [i for axis in range(len(self.shape)) for i, p in enumerate(self.parts) if p.axis == axis]
        split = out.reshape([p.extent for p in self.parts]).transpose(order)
        inside = [range(before, before + n) for n, (before, _) in zip(self.shape, self.halo, strict=True)]
        whole = [range(self._padded(axis)) for axis in range(len(self.shape))]
        for axis, own in enumerate(inside):
            for rest in (range(own.start), range(own.stop, whole[axis].stop)):
                for box in self._boxes([*whole[:axis], rest, *whole[axis + 1 :]]):
                    split[tuple(place for _, places in box for place in places)] = 0
        for box in self._boxes(inside):
            at: tuple[Any, ...] = (*(place for _, places in box for place in places), ...)
            to = split[at]  # an array also where there are no axes
            _copy(array[tuple(piece for piece, _ in box)].reshape(to.shape), to)

    def _boxes(self, positions: Sequence[range]) -> Iterator[tuple[tuple[slice, tuple[slice, ...]], ...]]:
        """What lies side by side: for each axis which of `positions`, and their places along each of its parts.

        To copy these takes half the time of padding the tensor first.
        """
        return product(*(self._pieces(axis, p) for axis, p in enumerate(positions)))

    def _pieces(self, axis: int, positions: range) -> list[tuple[slice, tuple[slice, ...]]]:
        """Whole blocks, and what is in front of them and behind them."""
        start, stop = positions.start, positions.stop
        parts = [p for p in self.parts if p.axis == axis]
        block = max(p.step for p in parts)
        if len(parts) == 1:
            return [(slice(0, stop - start), (slice(start, stop),))] if start < stop else []
        ends = sorted({start, stop, min(-(-start // block) * block, stop), max(stop // block * block, start)})
        pieces = []
        for a, b in pairwise(ends):
            blocks = slice(a // block, -(-b // block))
            within = slice(a % block, a % block + min(b - a, block))
            pieces.append((slice(a - start, b - start), tuple(within if p.step == 1 else blocks for p in parts)))
        return pieces

    def unpack(self, buffer: Array) -> Array:
        """The tensor that lies in `buffer`."""
        at = np.arange(math.prod(self.shape)).reshape(self.shape)
        index = np.unravel_index(at, self.shape) if self.shape else ()
        position = np.zeros(self.shape, np.int64)
        for p in self.parts:
            position = position * p.extent + (index[p.axis] + self.halo[p.axis][0]) // p.step % p.extent
        return buffer.reshape(-1)[position]


def row_major(shape: Sequence[int]) -> Layout:
    """The last axis is the innermost; nothing between the elements."""
    parts = tuple(Part(axis, 1, n) for axis, n in enumerate(shape))
    return Layout(tuple(shape), parts, ((0, 0),) * len(shape))


def blocked(shape: Sequence[int], axis: int, block: int, halo: Sequence[tuple[int, int]] = ()) -> Layout:
    """[n, c, …] as [n, c/block, …, block]: `axis` split, its inner part innermost; with a halo on other axes."""
    around = tuple(halo) or ((0, 0),) * len(shape)
    found = in_blocks(shape, axis, block, around)
    if shape[axis] % block == 0 and all(p.extent == 1 for p in found.parts[axis + 1 : -1]):
        return padded(shape, around)  # nothing is between the blocks
    return found


def in_blocks(shape: Sequence[int], axis: int, block: int, halo: Sequence[tuple[int, int]]) -> Layout:
    """The same also where nothing is between the blocks: how to run over a tensor that lies so."""
    parts = [Part(a, block, -(-n // block)) if a == axis else Part(a, 1, n + sum(halo[a])) for a, n in enumerate(shape)]
    return Layout(tuple(shape), (*parts, Part(axis, 1, block)), tuple(halo))


def columns(shape: Sequence[int], block: int) -> Layout:
    """[…, m, k] as […, k/block, m, block]: rows side by side, so that they do not meet in one set of the cache."""
    *lead, rows = range(len(shape) - 1)
    last = len(shape) - 1
    parts = [Part(a, 1, shape[a]) for a in lead]
    parts += [Part(last, block, -(-shape[last] // block)), Part(rows, 1, shape[rows]), Part(last, 1, block)]
    return Layout(tuple(shape), tuple(parts), ((0, 0),) * len(shape))


def padded(shape: Sequence[int], halo: Sequence[tuple[int, int]]) -> Layout:
    """Row-major with a halo."""
    return Layout(tuple(shape), tuple(Part(a, 1, n + sum(halo[a])) for a, n in enumerate(shape)), tuple(halo))


def _copy(x: Array, to: Array) -> None:
    """to[...] = x

    What is side by side in `to` may be so far apart in `x` that it meets in a few sets of the first cache: each line
    would be fetched once for each of its elements. Then rows are laid out first at distances at which they do not.
    """
    wide = [axis for axis, n in enumerate(to.shape) if n > 1]
    inner = min(wide, key=lambda axis: to.strides[axis], default=0)
    outer = max(wide, key=lambda axis: to.strides[axis], default=0)
    if inner == outer or to.shape[inner] * math.gcd(x.strides[inner], PAGE) < ALIASES * PAGE:
        to[...] = x
        return
    pieces, places = (np.moveaxis(a, (outer, inner), (0, 1)) for a in (x, to))
    n, *row = pieces.shape[1:]
    size = math.prod(row)
    rows = np.empty((n, size + LINE // x.itemsize), x.dtype)[:, :size].reshape(n, *row)
    for piece, place in zip(pieces, places, strict=True):
        rows[...] = piece
        place[...] = rows
