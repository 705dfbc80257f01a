"""The geometry that convolutions and pooling share: where windows lie on padded axes, and how to read them.

Along one axis, element k of window i is at position i·stride + k·dilation − before of the input; positions outside the
input are padding. Nothing here copies or allocates more than it returns, whatever the pads are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from types import EllipsisType

import numpy as np

from graphc.dims import Dim, ceildiv, dim_max, dim_min
from graphc.errors import InvalidModel, ShapeError
from graphc.frozen import Frozen
from graphc.index import Linear
from graphc.limits import check_tensor
from graphc.types import Array, Shape

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
Ints = tuple[int, ...]
Index = tuple[int | slice | EllipsisType, ...]


class Window(Frozen):
    """The windows along one axis of known size.

    Attributes:
        size: positions of the input.
        kernel: elements of a window.
        stride, dilation: from one window to the next, and from one element to the next.
        before: padding in front of the input.
        count: the number of windows.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    count: int

    @property
    def span(self) -> int:
        """Positions from the first to the last element of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def after(self) -> int:
        """Padding that the last window needs behind the input; negative where it ends earlier."""
        return (self.count - 1) * self.stride + self.span - self.before - self.size

    def touching(self) -> Sequence[int]:
        """The elements k that are not padding in at least one window; never more than there are pairs of them."""
        if self.size == 0 or self.count == 0:
            return ()
        first = self._elements(self.count - 1).start
        last = self._elements(0).stop
        if last - first <= self.size * self.count:
            return range(first, last)
        return sorted({k for i in range(self.count) for k in self._elements(i)})

    def _elements(self, i: int) -> range:
        """The elements of window i that are not padding."""
        shift = i * self.stride - self.before
        first = max(0, -(shift // self.dilation))
        return range(first, min(self.kernel, (self.size - 1 - shift) // self.dilation + 1))

    def overlap(self, k: int) -> tuple[slice, slice]:
        """Element k of the windows: the windows for which it is not padding, and the positions where it lies."""
        shift = k * self.dilation - self.before
        first = max(0, -(shift // self.stride))
        last = min(self.count - 1, (self.size - 1 - shift) // self.stride)
        if last < first:
            return slice(0, 0), slice(0, 0)
        start = first * self.stride + shift
        return slice(first, last + 1), slice(start, start + (last - first) * self.stride + 1, self.stride)


class Grid(Frozen):
    """The window attributes of an op on its spatial axes, with defaults filled in. Made by `Grid.of`."""

    kernel: tuple[Dim, ...]
    strides: Ints
    dilations: Ints
    pads: tuple[tuple[int, int], ...]
    auto_pad: str
    ceil_mode: bool

    @classmethod
    def of(
        cls,
        kernel: Sequence[Dim],
        *,
        strides: Ints | None = None,
        dilations: Ints | None = None,
        pads: Ints | None = None,
        auto_pad: str = "NOTSET",
        ceil_mode: bool = False,
    ) -> Grid:
        """Check the attributes of an op whose windows are `kernel` elements wide. Raises `InvalidModel`."""
        rank = len(kernel)
        strides = check_ints(strides, "strides", rank, 1)
        dilations = check_ints(dilations, "dilations", rank, 1)
        flat = check_ints(pads, "pads", 2 * rank, 0)
        check_ints(tuple(k for k in kernel if isinstance(k, int)), "kernel_shape", None, 1)
        if auto_pad not in AUTO_PADS:
            raise InvalidModel(f"auto_pad is {auto_pad!r}, expected one of {', '.join(AUTO_PADS)}")
        if auto_pad != "NOTSET" and any(flat):
            raise InvalidModel(f"auto_pad={auto_pad} and pads={list(flat)} exclude each other")
        return cls(
            tuple(kernel), strides, dilations, tuple(zip(flat[:rank], flat[rank:], strict=True)), auto_pad, ceil_mode
        )

    def place(self, axis: int, size: Dim) -> tuple[Dim, Dim]:
        """The padding in front of an axis of `size` and the number of windows. Raises `ShapeError` for none."""
        stride = self.strides[axis]
        extent = span(self.kernel[axis], self.dilations[axis])
        before, after = self.pads[axis]
        if self.auto_pad.startswith("SAME"):
            count = ceildiv(size, stride)
            padding = dim_max((count - 1) * stride + extent - size, 0)
            return (padding // 2 if self.auto_pad == "SAME_UPPER" else ceildiv(padding, 2)), count
        free = size + before + after - extent
        if not self.ceil_mode:
            count = free // stride + 1
        else:  # the last window must not start in the padding behind the input
            count = dim_min(ceildiv(free, stride) + 1, ceildiv(size + before, stride))
        if isinstance(count, int) and count < 1:
            raise ShapeError(
                f"a window of {extent} (kernel {self.kernel[axis]}, dilation {self.dilations[axis]}) does not fit on "
                f"spatial axis {axis} of size {size} with padding {before}+{after}"
            )
        return before, count

    def counts(self, sizes: Sequence[Dim]) -> Shape:
        """The number of windows on each axis."""
        return tuple(self.place(i, size)[1] for i, size in enumerate(sizes))

    def windows(self, sizes: Sequence[int]) -> tuple[Window, ...]:
        """The windows on each axis, once all sizes are known."""
        result = []
        for i, size in enumerate(sizes):
            before, count = self.place(i, size)
            kernel = self.kernel[i]
            assert isinstance(before, int)
            assert isinstance(count, int)
            assert isinstance(kernel, int)
            result.append(Window(size, kernel, self.strides[i], self.dilations[i], before, count))
        return tuple(result)


def check_ints(given: Ints | None, what: str, length: int | None, least: int) -> Ints:
    """`given`, or `length` times `least` if there is none. Raises `InvalidModel` for other lengths, smaller values."""
    if not given:
        return (least,) * (length or 0)
    if length is not None and len(given) != length:
        raise InvalidModel(f"{what}={list(given)} has {len(given)} entries, expected {length}")
    if min(given) < least:
        raise InvalidModel(f"{what}={list(given)}, expected values of at least {least}")
    return given


def span(kernel: Dim, dilation: int) -> Dim:
    """Positions that a window of `kernel` elements covers."""
    return (kernel - 1) * dilation + 1


# -- reading windows --------------------------------------------------------------------------------------------------
def pad(x: Array, windows: Sequence[Window]) -> Array:
    """`x` with zeros around its last axes, so that every window lies inside; `x` itself where nothing is needed."""
    lead = x.ndim - len(windows)
    if all(w.before == 0 and w.after <= 0 for w in windows):
        return x
    shape = x.shape[:lead] + tuple(w.before + w.size + max(w.after, 0) for w in windows)
    check_tensor(shape, x.itemsize, "the padded input")
    padded: Array = np.zeros(shape, x.dtype)
    inside: Index = (..., *(slice(w.before, w.before + w.size) for w in windows))
    padded[inside] = x
    return padded


def slide(padded: Array, windows: Sequence[Window]) -> Array:
    """A read-only view (lead axes…, kernel axes…, window axes…) of an array that `pad` returned."""
    n = len(windows)
    lead, steps = padded.shape[: padded.ndim - n], padded.strides[padded.ndim - n :]
    shape = lead + tuple(w.kernel for w in windows) + tuple(w.count for w in windows)
    strides = (
        padded.strides[: padded.ndim - n]
        + tuple(s * w.dilation for s, w in zip(steps, windows, strict=True))
        + tuple(s * w.stride for s, w in zip(steps, windows, strict=True))
    )
    return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)


def elements_of(windows: Sequence[Window]) -> Iterator[tuple[Ints, tuple[slice, ...], tuple[slice, ...]]]:
    """For each element of a window that is not all padding: its index, the windows, the positions (`overlap`)."""
    for index in product(*(w.touching() for w in windows)):
        pairs = [w.overlap(k) for w, k in zip(windows, index, strict=True)]
        yield index, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def fold(x: Array, windows: Sequence[Window], function: np.ufunc, initial: float) -> Array:
    """function over each window on the last axes, without the padding; `initial` over nothing. Axis by axis."""
    for i, w in enumerate(windows):
        axis = x.ndim - len(windows) + i
        shape = (*x.shape[:axis], w.count, *x.shape[axis + 1 :])
        check_tensor(shape, x.itemsize, "a pooled tensor")
        y = np.full(shape, initial, x.dtype)
        for k in w.touching():
            to, at = w.overlap(k)
            view = y[(slice(None),) * axis + (to,)]
            function(view, x[(slice(None),) * axis + (at,)], out=view)
        x = y
    return x


def positions(windows: Sequence[Window], p: Sequence[Linear], k: Sequence[Linear]) -> list[Linear]:
    """Where element `k` of window `p` lies on each axis."""
    return [i * w.stride + j * w.dilation - w.before for i, j, w in zip(p, k, windows, strict=True)]


def ending(index: tuple[int | slice, ...]) -> Index:
    """`index` on the last axes."""
    return (..., *index)


def after_two(index: tuple[int | slice, ...]) -> Index:
    """`index` after the first two axes."""
    return (slice(None), slice(None), *index)


def window_sizes(windows: Sequence[Window], pads: Sequence[tuple[int, int]] | None = None) -> Array:
    """How many elements of each window lie on the input, or, with `pads`, on the input or its padding: (counts…)."""
    total = np.ones((), np.int64)
    for i, w in enumerate(windows):
        before, after = (0, 0) if pads is None else pads[i]
        # Padding counts as input here: the same windows on an axis that begins `before` earlier.
        wide = Window(w.size + before + after, w.kernel, w.stride, w.dilation, w.before - before, w.count)
        found = np.zeros(w.count, np.int64)
        for k in wide.touching():
            found[wide.overlap(k)[0]] += 1
        total = total[..., None] * found
    return total


def volume(sizes: Sequence[int]) -> int:
    """The product, as a Python integer."""
    return math.prod(int(n) for n in sizes)
