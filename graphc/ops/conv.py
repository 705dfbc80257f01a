"""Convolution and its transpose, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd
from operator import and_

import numpy as np

from graphc.dims import dim_max, unknown
from graphc.errors import InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, cast, equal, over, position, select, wide
from graphc.frozen import Frozen
from graphc.index import Linear, linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.ops.base import (
    Array,
    Dim,
    Shape,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    known_sizes,
    static_shape,
)
from graphc.ops.conv_kernels import convolve, convolve_transposed
from graphc.ops.elementwise import widen
from graphc.ops.indexing import Gather
from graphc.ops.padding import Pad
from graphc.ops.slicing import Slice
from graphc.ops.windows import Grid, Ints, Window, check_ints, positions, span, volume
from graphc.types import FLOATS, count


class Conv(Op):
    """y[n,m,p] = b[m] + Σ_{c,k} w[m,c,k] · x[n, g(m) + c, p·strides + k·dilations − pads]. ONNX Conv-22.

    x is (N, C, spatial…), w is (M, C/group, kernel…), b is (M); output channel m reads the input channels of its group.
    """

    auto_pad: str = "NOTSET"
    dilations: Ints | None = None
    group: int = 1
    kernel_shape: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(self, x: Value, w: Value, b: Value | None = None) -> TensorType:
        _check_inputs(self, x, w, b)
        return TensorType(x.dtype, self._shape(x, w, b))

    def _shape(self, x: Value, w: Value, b: Value | None) -> Shape | None:
        shape, weights = _shapes(self, x, w)
        if shape is None or weights is None:
            return None
        channels, inner, m = shape[1], weights[1], weights[0]
        if isinstance(channels, int) and isinstance(inner, int) and channels != inner * self.group:
            raise ShapeError(
                f"x has {channels} channels, w takes {inner} × {self.group} groups: {x.tensor}, w {w.tensor}"
            )
        if isinstance(m, int) and m % self.group:
            raise ShapeError(f"{m} output channels cannot be split into {self.group} groups: w {w.tensor}")
        _check_bias(b, m, w)
        return (shape[0], m, *self._grid(weights).counts(shape[2:]))

    def _grid(self, weights: Sequence[Dim]) -> Grid:
        return Grid.of(
            _kernel(self, weights),
            strides=self.strides, dilations=self.dilations, pads=self.pads, auto_pad=self.auto_pad,
        )  # fmt: skip

    def eval(self, x: Array, w: Array, b: Array | None = None) -> Array:
        windows = self._grid(w.shape).windows(x.shape[2:])
        return _finish(convolve(widen(x), widen(w), windows, self.group), b, x)

    def element(self, y: TensorType, x: Source, w: Source, b: Source | None = None) -> Element:
        windows = self._grid(w.shape).windows(x.shape[2:])
        maps, inner = w.shape[0] // self.group, w.shape[1]

        def element(n: Linear, m: Linear, *p: Linear) -> Expr:
            first = m // maps * inner if self.group > 1 else linear(0)

            def term(c: Linear, *k: Linear) -> Expr:
                at = (n, first + c, *positions(windows, p, k))
                return wide(x.padded(at)) * wide(w[(m, c, *k)])

            total = over("sum", w.shape[1:], term)
            return cast(total if b is None else total + wide(b[m]), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, w: Value, b: Value | None = None) -> Sequence[Value | None]:
        windows = self._grid((0, 0, *static_sizes(w))).windows(static_sizes(x))
        dx = _input_gradient(dy, w, windows, self.group)
        dw = _weight_gradient(x, dy, windows, self.group)
        return [dx, dw, _bias_gradient(dy)][: 2 if b is None else 3]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return _cost(xs, ys, windows_of=ys[0])


class ConvTranspose(Op):
    """y[n, h(c) + m, p·strides + k·dilations − pads] += w[c,m,k] · x[n,c,p], plus b[m]. ONNX ConvTranspose-22.

    x is (N, C, spatial…), w is (C, M/group, kernel…), b is (M); an input channel adds to its group's output channels.
    """

    auto_pad: str = "NOTSET"
    dilations: Ints | None = None
    group: int = 1
    kernel_shape: Ints | None = None
    output_padding: Ints | None = None
    output_shape: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(self, x: Value, w: Value, b: Value | None = None) -> TensorType:
        _check_inputs(self, x, w, b)
        return TensorType(x.dtype, self._shape(x, w, b))

    def _shape(self, x: Value, w: Value, b: Value | None) -> Shape | None:
        shape, weights = _shapes(self, x, w)
        if shape is None or weights is None:
            return None
        channels, inner, m = shape[1], weights[0], weights[1] * self.group
        if isinstance(channels, int) and isinstance(inner, int) and channels != inner:
            raise ShapeError(f"x has {channels} channels, w takes {inner}: {x.tensor}, w {w.tensor}")
        for c in (channels, inner):
            if isinstance(c, int) and c % self.group:
                raise ShapeError(f"{c} input channels cannot be split into {self.group} groups: w {w.tensor}")
        _check_bias(b, m, w)
        return (shape[0], m, *(size for _, size in self._place(shape[2:], weights)))

    def _place(self, sizes: Sequence[Dim], weights: Sequence[Dim]) -> list[tuple[Dim, Dim]]:
        """For each spatial axis, what is cut off in front of the full result, and the size of the output."""
        grid = Grid.of(
            _kernel(self, weights),
            strides=self.strides, dilations=self.dilations, pads=self.pads, auto_pad=self.auto_pad,
        )  # fmt: skip
        rank = len(sizes)
        extra = check_ints(self.output_padding, "output_padding", rank, 0)
        for e, s, d in zip(extra, grid.strides, grid.dilations, strict=True):
            if e >= max(s, d) and e > 0:
                raise InvalidModel(
                    f"output_padding={list(extra)} must be less than strides={list(grid.strides)} or "
                    f"dilations={list(grid.dilations)}"
                )
        wanted = self._wanted(rank)
        placed: list[tuple[Dim, Dim]] = []
        for i, size in enumerate(sizes):
            stride = grid.strides[i]
            full = (size - 1) * stride + extra[i] + span(grid.kernel[i], grid.dilations[i])
            out: Dim | None = wanted[i] if wanted else None
            if out is None and self.auto_pad.startswith("SAME"):
                out = size * stride
            if out is None:
                before, after = grid.pads[i]
                placed.append((before, full - before - after))
            else:
                cut = dim_max(full - out, 0)
                placed.append((cut // 2 if self.auto_pad == "SAME_UPPER" else cut - cut // 2, out))
            if isinstance(placed[-1][1], int) and placed[-1][1] < 1 and size != 0:
                raise ShapeError(f"nothing is left of spatial axis {i}: {full} positions, pads {grid.pads[i]}")
        return placed

    def _wanted(self, rank: int) -> Ints | None:
        given = self.output_shape
        if given is not None and len(given) == rank + 2:  # models from before opset 11 give N and C too
            given = given[2:]
        return check_ints(given, "output_shape", rank, 1) if given else None

    def _windows(self, sizes: Sequence[int], weights: Sequence[int]) -> tuple[Window, ...]:
        """The windows of the convolution that this transposes: on axes of the output's size, one for each x."""
        strides = check_ints(self.strides, "strides", len(sizes), 1)
        dilations = check_ints(self.dilations, "dilations", len(sizes), 1)
        windows = []
        for i, (before, out) in enumerate(self._place(sizes, weights)):
            assert isinstance(before, int)
            assert isinstance(out, int)
            windows.append(Window(max(out, 0), weights[2 + i], strides[i], dilations[i], before, sizes[i]))
        return tuple(windows)

    def eval(self, x: Array, w: Array, b: Array | None = None) -> Array:
        windows = self._windows(x.shape[2:], w.shape)
        return _finish(convolve_transposed(widen(x), widen(w), windows, self.group), b, x)

    def element(self, y: TensorType, x: Source, w: Source, b: Source | None = None) -> Element:
        """Each output position gathers from the taps of its residue class: no product with a zero between elements."""
        windows = self._windows(x.shape[2:], w.shape)
        inner, maps = w.shape[0] // self.group, w.shape[1]
        axes = [Taps.of(v) for v in windows]

        def element(n: Linear, m: Linear, *p: Linear) -> Expr:
            first = m // maps * inner
            starts = [a.start(i) for a, i in zip(axes, p, strict=True)]

            def term(c: Linear, *j: Linear) -> Expr:
                taps = [k + t * a.step for a, (k, _), t in zip(axes, starts, j, strict=True)]
                at = [i - t * a.jump for a, (_, i), t in zip(axes, starts, j, strict=True)]
                return wide(x.padded((n, first + c, *at))) * wide(w.padded((first + c, m % maps, *taps)))

            total = over("sum", [inner, *(a.count for a in axes)], term)
            met = [a.meets(i) for a, i in zip(axes, p, strict=True)]
            total = select(reduce(and_, met), total, 0)
            return cast(total if b is None else total + wide(b[m]), y.dtype)

        return element

    def decompose(self, x: Value, w: Value, b: Value | None = None) -> Value | None:
        """A convolution that makes the s₁·s₂·… residue classes of the output as maps, which then are interleaved.

        y[n, m, s·q + r − before] = Σ_{c,j} x[n, c, q − j] · w[c, m, s·j + r]  for stride s, 0 ≤ r < s, dilation 1;
        with stride 1 the kernel keeps its dilation. None where both are more than 1.
        """
        sizes, weights = static_shape(x), static_shape(w)
        if sizes is None or weights is None or 0 in (*sizes, *weights):
            return None
        windows = self._windows(sizes[2:], weights)
        if any(v.stride > 1 and v.dilation > 1 for v in windows):
            return None
        phases = [v.stride for v in windows]
        taps = [-(-v.kernel // v.stride) for v in windows]
        if volume(taps) * volume(phases) > MAX_WASTE * volume([v.kernel for v in windows]):
            return None
        filters = _phases(w, windows, self.group)
        pads: list[tuple[int, int]] = []
        starts: list[int] = []
        for v, t, size in zip(windows, taps, sizes[2:], strict=True):
            reach = (t - 1) * v.dilation
            lead = min(v.before // v.stride, reach)
            pads.append((reach - lead, max(-(-(v.before + v.size) // v.stride) - size, 0)))
            starts.append(v.before - lead * v.stride)
        conv = Conv(
            dilations=tuple(v.dilation for v in windows), group=self.group,
            pads=(*(a for a, _ in pads), *(a for _, a in pads)),
        )  # fmt: skip
        maps = self.group * weights[1]
        bias = b if b is None or volume(phases) == 1 else Gather(0)(b, const(np.arange(maps).repeat(volume(phases))))
        y: Value = conv(x, filters, bias)
        if volume(phases) > 1:
            y = _interleave(y, maps, phases)
        ends = [a + v.size for a, v in zip(starts, windows, strict=True)]
        if any(starts) or tuple(ends) != (y.shape or ())[2:]:
            axes = const(np.arange(2, 2 + len(ends)))
            y = Slice()(y, const(np.array(starts, np.int64)), const(np.array(ends, np.int64)), axes)
        return y

    def grad(self, dy: Value, y: Value, x: Value, w: Value, b: Value | None = None) -> Sequence[Value | None]:
        windows = self._windows(static_sizes(x), (0, 0, *static_sizes(w)))
        # Without the rows that only output_padding made, which could give more windows than there were.
        dx = direct(windows, self.group)(crop(dy, [v.size + min(v.after, 0) for v in windows]), w)
        dw = _weight_gradient(dy, x, windows, self.group)
        return [dx, dw, _bias_gradient(dy)][: 2 if b is None else 3]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return _cost(xs, ys, windows_of=xs[0])


PART = 1 << 17  # elements that stay in the second cache
VECTOR = 16  # channels of which a group should have a multiple, to fill vectors
MAX_WASTE = 4  # a transposed convolution becomes a direct one if that multiplies by at most so many times its numbers


class Taps(Frozen):
    """Along one axis, the kernel elements that reach an output position P = p + before: those with k·d ≡ P mod s.

    With g = gcd(s, d) there are none unless g divides P; then they are k₀(P) + t·(s/g), t = 0, 1, …, and read the
    input at (P − k₀·d)/s − t·d/g.
    """

    window: Window
    divisor: int  # g
    inverse: int  # of d/g modulo s/g

    @classmethod
    def of(cls, v: Window) -> Taps:
        g = gcd(v.stride, v.dilation)
        return cls(v, g, pow(v.dilation // g, -1, v.stride // g) if v.stride > g else 0)

    @property
    def step(self) -> int:
        return self.window.stride // self.divisor

    @property
    def jump(self) -> int:
        return self.window.dilation // self.divisor

    @property
    def count(self) -> int:
        """The largest number of taps of one position."""
        return -(-self.window.kernel // self.step)

    def meets(self, p: Linear) -> Expr:
        """Whether any tap can reach p."""
        return equal(position((p + self.window.before) % self.divisor), 0)

    def start(self, p: Linear) -> tuple[Linear, Linear]:
        """k₀ and the input position that it reads."""
        at = p + self.window.before
        tap = (at // self.divisor * self.inverse) % self.step if self.step > 1 else linear(0)
        return tap, (at - tap * self.window.dilation) // self.window.stride


def _phases(w: Value, windows: Sequence[Window], group: int) -> Value:
    """The kernels of a direct convolution with a map for each residue class: (group · M · phases, C/group, taps…)."""
    channels, maps = w.tensor.sizes[:2]
    rank = len(windows)
    short = [-v.kernel % v.stride for v in windows]
    if any(short):
        axes = const(np.arange(2, 2 + rank))
        w = Pad()(w, const(np.array([0] * rank + short, np.int64)), None, axes)
    split = [n for v in windows for n in (-(-v.kernel // v.stride), v.stride)]
    w = w.reshape([group, channels // group, maps, *split])
    taps = [3 + 2 * i for i in range(rank)]
    w = w.transpose([0, 2, *(t + 1 for t in taps), 1, *taps])
    w = w.reshape([-1, channels // group, *split[::2]])
    # Taps count backwards from the position that is read last.
    last, before, every = np.full(rank, -1), np.full(rank, np.iinfo(np.int64).min), np.arange(2, 2 + rank)
    return Slice().apply((w, const(last), const(before), const(every), const(last)))[0]


def _interleave(y: Value, maps: int, phases: Sequence[int]) -> Value:
    """(N, maps · phases, q…) as (N, maps, q · phase…)."""
    sizes = static_shape(y)
    assert sizes is not None
    n, rank, counts = sizes[0], len(phases), sizes[2:]
    order = [k for i in range(rank) for k in (2 + rank + i, 2 + i)]
    y = y.reshape([n, maps, *phases, *counts]).transpose([0, 1, *order])
    return y.reshape([n, maps, *(q * s for q, s in zip(counts, phases, strict=True))])


# -- what both share --------------------------------------------------------------------------------------------------
def _check_inputs(op: Conv | ConvTranspose, x: Value, w: Value, b: Value | None) -> None:
    check_same_dtype(x, w, b)
    check_dtype(x, FLOATS, "x")
    check_rank(x, "x", 3, 64)
    check_rank(w, "w", 3, 64)
    if b is not None:
        check_rank(b, "b", 1)
    if op.group < 1:
        raise InvalidModel(f"group is {op.group}, expected at least 1")


def _shapes(op: Conv | ConvTranspose, x: Value, w: Value) -> tuple[Shape | None, Shape | None]:
    """The shapes of x and w; where one has no rank, that of the other with unknown sizes."""
    if x.shape is not None and w.shape is not None and len(x.shape) != len(w.shape):
        raise ShapeError(f"ranks differ: x {x.tensor}, w {w.tensor}")
    known = x.shape or w.shape
    if known is None:
        return None, None
    kernel = op.kernel_shape if op.kernel_shape and len(op.kernel_shape) == len(known) - 2 else None
    fresh = tuple(unknown() for _ in known)
    return x.shape or fresh, w.shape or (unknown(), unknown(), *(kernel or fresh[2:]))


def _kernel(op: Conv | ConvTranspose, weights: Sequence[Dim]) -> tuple[Dim, ...]:
    """The kernel's sizes, from w; `kernel_shape` must agree with it."""
    kernel = tuple(weights[2:])
    if not op.kernel_shape:
        return kernel
    if len(op.kernel_shape) != len(kernel) or any(
        isinstance(k, int) and k != given for k, given in zip(kernel, op.kernel_shape, strict=True)
    ):
        shown = ",".join(map(str, weights))
        raise ShapeError(f"kernel_shape={list(op.kernel_shape)} is not the shape of the kernels in w [{shown}]")
    return op.kernel_shape


def _check_bias(b: Value | None, m: Dim, w: Value) -> None:
    if b is None or b.shape is None:
        return
    if isinstance(m, int) and isinstance(b.shape[0], int) and b.shape[0] != m:
        raise ShapeError(f"b is {b.tensor}, expected one entry for each of {m} output channels (w {w.tensor})")


def _finish(y: Array, b: Array | None, x: Array) -> Array:
    """y + b, in x's element type."""
    if b is not None:
        y += widen(b).reshape(-1, *(1 for _ in y.shape[2:]))
    return y.astype(x.dtype, copy=False)


# -- gradients --------------------------------------------------------------------------------------------------------
def static_sizes(x: Value) -> Ints:
    """The sizes of the spatial axes. Raises `CompileError` where one is not known."""
    return known_sizes(x, *range(2, x.rank or 3))


def _pads(windows: Sequence[Window]) -> Ints:
    return (*(v.before for v in windows), *(max(v.after, 0) for v in windows))


def direct(windows: Sequence[Window], group: int) -> Conv:
    """The convolution with these windows."""
    return Conv(
        dilations=tuple(v.dilation for v in windows), group=group,
        pads=_pads(windows), strides=tuple(v.stride for v in windows),
    )  # fmt: skip


def transposed(windows: Sequence[Window], group: int) -> ConvTranspose:
    """The adjoint of the convolution with these windows; what no window reads becomes zero (output_padding)."""
    return ConvTranspose(
        dilations=tuple(v.dilation for v in windows), group=group,
        output_padding=tuple(max(-v.after, 0) for v in windows),
        pads=_pads(windows), strides=tuple(v.stride for v in windows),
    )  # fmt: skip


def crop(x: Value, sizes: Sequence[Dim]) -> Value:
    """The first `sizes` elements of each spatial axis."""
    if x.shape is None or tuple(x.shape[2:]) == tuple(sizes):
        return x
    n = len(sizes)
    starts, ends, axes = [0] * n, list(sizes), list(range(2, 2 + n))
    return Slice().apply([x, *(const(np.array(v, np.int64)) for v in (starts, ends, axes))])[0]


def _cost(xs: Sequence[Value | None], ys: Sequence[Value], *, windows_of: Value | None) -> Cost:
    """A multiply-add for each element of `windows_of` and each number of w that meets it, and the bias."""
    w = xs[1]
    inner = count(w.shape[1:]) if w is not None and w.shape is not None else 0
    bias = elements(ys[0]) if len(xs) > 2 else 0
    return Cost(2 * elements(windows_of) * inner + bias, traffic(xs, ys))


def _input_gradient(dy: Value, w: Value, windows: Sequence[Window], group: int) -> Value:
    """dx[n,c,p] = Σ_{m,k} w[m,c,k] · dy[n, m, (p + before − k·dilation)/stride]: without strides a convolution too."""
    op = transposed(windows, group)
    flipped = op.decompose(dy, w) if all(v.stride == 1 for v in windows) else None
    return op.apply((dy, w))[0] if flipped is None else flipped


def _weight_gradient(read: Value, written: Value, windows: Sequence[Window], group: int) -> Value:
    """dw[m,c,k] = Σ_{n,p} written[n,m,p] · read[n, c, p·stride + k·dilation − before].

    That is a convolution whose batch and channel axes have changed places, and with them strides and dilations. A large
    batch is cut into parts, the groups of that convolution, each of which is small enough to stay in the cache.
    """
    assert read.shape is not None
    assert written.shape is not None
    n, spatial = read.shape[0], range(2, len(read.shape))
    parts = _parts(read, written) if group == 1 else 1
    inner = read.shape[1] // group
    x = read
    if group > 1:
        split = read.reshape([n, group, inner, *read.shape[2:]])
        x = split.transpose([2, 1, 0, *(i + 1 for i in spatial)]).reshape([inner, n * group, *read.shape[2:]])
    else:
        x = read.transpose([1, 0, *spatial])
    exchanged = Conv(
        dilations=tuple(v.stride for v in windows), group=group * parts,
        pads=_pads(windows), strides=tuple(v.dilation for v in windows),
    )  # fmt: skip
    m, sizes = written.shape[1], written.shape[2:]
    if parts > 1:
        each = written.reshape([parts, n // parts, m, *sizes]).transpose([0, 2, 1, *(i + 1 for i in spatial)])
        dw = exchanged(x, each.reshape([parts * m, n // parts, *sizes]))
        dw = dw.reshape([inner, parts, m, *(dw.shape or ())[2:]]).sum([1])
    else:
        dw = exchanged(x, written.transpose([1, 0, *spatial]))
    return crop(dw, [v.kernel for v in windows]).transpose([1, 0, *spatial])


def _parts(read: Value, written: Value) -> int:
    """Into how many parts the batch is cut: so many that one part of both tensors has PART elements or a bit less."""
    x, y = static_shape(read), static_shape(written)
    if x is None or y is None or y[1] % VECTOR:
        return 1
    whole = volume(x) + volume(y)
    return next((k for k in range(1, x[0] + 1) if x[0] % k == 0 and whole <= k * PART), x[0] or 1)


def _bias_gradient(dy: Value) -> Value:
    return dy.sum([0, *range(2, dy.rank or 0)])
