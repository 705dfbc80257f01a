"""Convolution with NumPy: matrix products over windows copied into columns, or sums over kernel elements.

Arrays are (N, C, spatial…) and weights (M, C/group, kernel…), as in ONNX. 16-bit floats are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.limits import check_tensor
from graphc.ops.windows import Window, after_two, elements_of, ending, pad, slide, volume
from graphc.types import Array

COLUMN_BYTES = 8 << 20  # columns are made for as many images, or rows of one image, as fit in this buffer
CACHE_BYTES = 256 << 10  # channels are processed in groups of this size where memory traffic is the cost


def convolve(x: Array, w: Array, windows: Sequence[Window], group: int) -> Array:
    """y[n,m,p] = Σ_{c,k} w[m,c,k] · x[n, c + first channel of m's group, p·stride + k·dilation − before]."""
    counts = tuple(v.count for v in windows)
    n, m = x.shape[0], w.shape[0]
    y: Array = np.zeros((n, m, *counts), x.dtype)
    if y.size == 0 or w.size == 0 or x.size == 0:
        return y
    kernel = volume(w.shape[2:])
    if group > 1 and w.shape[1] == 1 and kernel <= volume(counts):
        _convolve_depthwise(x, w, windows, y)
        return y
    rows = w.reshape(group, m // group, -1)
    if kernel == 1 and all(v.stride == 1 and v.before == 0 and v.after == 0 for v in windows):
        columns = x.reshape(n, group, x.shape[1] // group, -1)
        np.matmul(rows, columns, out=y.reshape(n, group, m // group, -1))
        return y
    _convolve_columns(pad(x, windows), rows, windows, y)
    return y


def _convolve_columns(padded: Array, w: Array, windows: Sequence[Window], y: Array) -> None:
    """y = w @ columns, for blocks of images, or of windows along the first spatial axis, that fit into one buffer."""
    group, m, depth = w.shape
    n, counts = y.shape[0], y.shape[2:]
    view = slide(padded, windows)
    view = view.reshape(n, group, view.shape[1] // group, *view.shape[2:]) if group > 1 else view[:, None]
    view = np.moveaxis(view, 0, -1 - len(counts))  # (group, C/group, kernel…, N, windows…)
    at = view.ndim - len(counts)
    row = group * depth * volume(counts[1:]) * y.itemsize
    height = min(counts[0], max(1, COLUMN_BYTES // max(row, 1)))
    images = 1 if height < counts[0] else min(n, max(1, COLUMN_BYTES // (row * height)))
    check_tensor((images, height, row), 1, "the columns of a convolution")
    buffer = np.empty(images * height * row // y.itemsize, y.dtype)
    rest = volume(counts[1:])
    split, flat = y.reshape(n, group, m, *counts), y.reshape(n, group, m, -1)
    for i in range(0, n, images):
        for top in range(0, counts[0], height):
            block = view[(slice(None),) * (at - 1) + (slice(i, i + images), slice(top, top + height))]
            used = buffer[: block.size]
            np.copyto(used.reshape(block.shape), block)
            columns = used.reshape(group, depth, -1)
            if images == 1:
                np.matmul(w, columns, out=flat[i, :, :, top * rest : (top + height) * rest])
                continue
            product = np.matmul(w, columns).reshape(group, m, *block.shape[at - 1 :])
            split[i : i + images, :, :, top : top + height] = np.moveaxis(product, 2, 0)


def _convolve_depthwise(x: Array, w: Array, windows: Sequence[Window], y: Array) -> None:
    """Each output channel reads one input channel: y += w_k · x_k for each kernel element, channels in cache."""
    n, channels, counts = x.shape[0], x.shape[1], y.shape[2:]
    factor = w.shape[0] // channels
    w = w.reshape(channels, factor, *w.shape[2:], *(1 for _ in counts))
    y = y.reshape(n, channels, factor, *counts)
    places = list(elements_of(windows))
    step = max(1, CACHE_BYTES // max(1, factor * volume(counts) * y.itemsize))
    for i in range(n):
        for c in range(0, channels, step):
            source, weights, target = x[i, c : c + step, None], w[c : c + step], y[i, c : c + step]
            for k, to, at in places:
                view = target[ending(to)]
                view += weights[after_two(k)] * source[ending(at)]


def convolve_transposed(x: Array, w: Array, windows: Sequence[Window], group: int) -> Array:
    """y[n,m, p·stride + k·dilation − before] += Σ_c w[c,m,k] · x[n,c,p]: the adjoint of `convolve` with respect to x.

    Args:
        x: (N, C, window counts…).
        w: (C, M/group, kernel…).
        windows: of the output: `size` is its size, `count` that of `x`.
        group: channels are split into so many groups.
    """
    n, channels, counts = x.shape[0], x.shape[1], x.shape[2:]
    m, sizes = w.shape[1], tuple(v.size for v in windows)
    y: Array = np.zeros((n, group, m, *sizes), x.dtype)
    if y.size == 0 or x.size == 0 or w.size == 0:
        return y.reshape(n, group * m, *sizes)
    places = list(elements_of(windows))
    inner = channels // group
    # (kernel elements, group, M/group, C/group): the elements of a block are rows of one matrix
    rows: Array = np.stack([w[after_two(k)] for k, _, _ in places]) if places else w[:0]
    rows = np.moveaxis(rows.reshape(len(places), group, inner, m), 3, 2).swapaxes(0, 1)
    columns = x.reshape(n, group, inner, -1)
    fitting = max(1, COLUMN_BYTES // max(1, group * m * volume(counts) * x.itemsize))
    block = max(1, min(len(places), fitting))
    images = max(1, fitting // block)
    for i in range(0, n, images):
        target = y[i : i + images]
        for first in range(0, len(places), block):
            part = rows[:, first : first + block]
            products = np.matmul(part.reshape(group, -1, inner), columns[i : i + images])
            products = products.reshape(len(target), group, part.shape[1], m, *counts)
            for j, (_, at, to) in enumerate(places[first : first + block]):
                view = target[ending(to)]
                view += products[:, :, j][ending(at)]
    return y.reshape(n, group * m, *sizes)
