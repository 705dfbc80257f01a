"""Convolutions with windows of 3 × 3 in fewer multiplications: which they are, what they cost, and their weights.

    y = Aᵀ [Σ_c (G w Gᵀ) ∘ (Bᵀ x B)] A   for each tile of 4 × 4 outputs, which reads 6 × 6 inputs

36 multiplications where the sum itself takes 144 (Winograd's minimal filtering F(4×4, 3×3); Lavin & Gray, Fast
Algorithms for Convolutional Neural Networks, 2016). The sum over channels is 36 products of matrices. With dilation d
the outputs whose places are equal modulo d are a convolution without dilation. `winograd_nest.py` makes the nest.

The points are 0, ±5/8, ±3/2 and ∞: the usual 0, ±1, ±2 lose a factor of four in accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.expr import Element, Expr, Source, call, cast, constant, over
from graphc.frozen import Frozen
from graphc.index import Index, IndexLike, Linear, linear, unflatten
from graphc.ir import Value
from graphc.loops.contraction import Contraction, Digit, Read, Tiling, steps, tiling, tiling_of
from graphc.loops.layout import Layout, columns
from graphc.loops.schedule import Machine, pieces
from graphc.types import Array, float32, float64

TAPS, OUTPUTS = 3, 4
WINDOW = TAPS + OUTPUTS - 1
PRODUCTS = WINDOW * WINDOW
P, Q = 5 / 8, 3 / 2  # the points are 0, ±P, ±Q and ∞; their powers are exact in float32
P2, Q2 = P * P, Q * Q
CHUNK = 512  # weights of one tap that are transformed at a time: no more than BLAS does on one thread, in a cache


def inputs(d: Sequence[Expr]) -> list[Expr]:
    """Bᵀ d for 6 elements along one axis: the coefficients of polynomials that vanish at all points but one."""
    ends = [_fma(P2 * Q2, a, _fma(-P2 - Q2, b, c)) for a, b, c in (d[::2], d[1::2])]
    even, odd = _fma(-Q2, d[2], d[4]), _fma(-Q2, d[1], d[3])
    pairs = [_fma(P, odd, even), _fma(-P, odd, even)]
    even, odd = _fma(-P2, d[2], d[4]), _fma(-P2, d[1], d[3])
    pairs += [_fma(Q, odd, even), _fma(-Q, odd, even)]
    return [ends[0], *pairs, ends[1]]


def outputs(m: Sequence[Expr]) -> list[Expr]:
    """Aᵀ m for 6 elements along one axis: 4 coefficients of the polynomial that has these values at the points."""
    a, b, c, d = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + a + c, _fma(P, b, d * Q), _fma(P2, a, c * Q2), _fma(P**3, b, _fma(Q**3, d, m[5]))]


def _fma(a: float, b: Expr, c: Expr) -> Expr:
    return call("fma", constant(a, b.dtype), b, c)


def _weights() -> Array:
    """G: the values of 3 coefficients' polynomial at the points, over what the factors of `inputs` leave out."""
    rows = [[1 / (P2 * Q2), 0, 0]]
    for x, by in ((P, 2 * P2 * (P2 - Q2)), (Q, 2 * Q2 * (Q2 - P2))):
        rows += [[1 / by, x / by, x * x / by], [1 / by, -x / by, x * x / by]]
    return np.array([*rows, [0, 0, 1]])


class Axis(Frozen):
    """A spatial axis: y at o reads x at o + dilation · k + start for 0 ≤ k < 3.

    Attributes:
        digit: which digit of the contraction o is.
        tap: which of the sum's indices k is.
        size: the values of o.
    """

    digit: int
    tap: int
    size: int
    dilation: int
    start: int

    @property
    def tiles(self) -> int:
        """Tiles along the outputs whose places are equal modulo the dilation."""
        return (self.size - 1) // (self.dilation * OUTPUTS) + 1

    def place(self, rest: Linear, tile: Linear, k: IndexLike) -> Linear:
        """Where output `k` of a tile is, and but for `start` element `k` of what it reads."""
        return (tile * OUTPUTS + k) * self.dilation + rest

    @property
    def reach(self) -> int:
        """The largest place that a tile reads, x beginning at 0."""
        return ((self.tiles - 1) * OUTPUTS + WINDOW) * self.dilation - 1 + self.start


class Winograd(Frozen):
    """A convolution that can be computed so.

    Attributes:
        c: the contraction that it is.
        axes: the two spatial axes, by the axis of `a`.
        batch: axis of `a` -> digit, for all but these and the channels.
        channel: the axis of `a` that is summed over, and which of the sum's indices that is.
        weights: the axes of `b` in the order (tap, tap, channel, lanes).
    """

    c: Contraction
    axes: dict[int, Axis]
    batch: dict[int, int]
    channel: tuple[int, int]
    weights: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.c.axes[self.channel[1]].extent

    @property
    def maps(self) -> int:
        return self.c.digits[self.c.lanes].extent

    @property
    def counts(self) -> tuple[int, ...]:
        """What tiles are counted by: batch axes, rests modulo the dilations, rows and columns of tiles."""
        batch = [self.c.digits[d].extent for d in self.batch.values()]
        return (*batch, *(a.dilation for a in self.axes.values()), *(a.tiles for a in self.axes.values()))

    @property
    def tiles(self) -> int:
        return math.prod(self.counts)

    def tile(self, number: Linear) -> tuple[dict[int, Linear], list[tuple[Axis, Linear, Linear]]]:
        """The batch digits of a tile, and for each spatial axis the rest and the tile's place."""
        index = unflatten(number, self.counts)
        n, s = len(self.batch), len(self.axes)
        batch = dict(zip(self.batch.values(), index[:n], strict=True))
        return batch, list(zip(self.axes.values(), index[n : n + s], index[n + s :], strict=True))

    def halo(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """How far `a`, of this shape, is read beyond its ends; tiles may reach beyond the last output."""
        around = [(0, 0) for _ in shape]
        for k, axis in self.axes.items():
            around[k] = max(0, -axis.start), max(0, axis.reach - shape[k] + 1)
        return tuple(around)

    def transform(self, layout: Layout, w: Array, out: Array) -> None:
        """Write G w Gᵀ, (36, channels, maps), into `out` as `layout` has it: in float64, and rounded once."""
        front, *rest = layout.parts
        assert front.axis == 0
        shape = TAPS * TAPS, self.channels, self.maps
        taps = replace(layout, shape=shape, parts=(replace(front, extent=shape[0]), *rest))
        packed = np.empty(taps.size, np.float32)
        taps.pack(w.transpose(self.weights).reshape(shape), packed)
        both = transform()
        read, written = packed.reshape(shape[0], -1), out.reshape(PRODUCTS, -1)
        for at in range(0, read.shape[1], CHUNK):
            written[:, at : at + CHUNK] = both @ read[:, at : at + CHUNK].astype(np.float64)

    def transformed(self, w: Source, table: Source) -> Element:
        """G w Gᵀ, (36, channels, maps), of weights that are known only at run time; `table` holds `transform()`."""

        def element(product: Linear, channel: Linear, lane: Linear) -> Expr:
            def term(k: Linear) -> Expr:
                index = dict(zip(self.weights, (k // TAPS, k % TAPS, channel, lane), strict=True))
                return table[(product, k)] * cast(w[[index[axis] for axis in range(len(index))]], float64)

            return cast(over("sum", (TAPS * TAPS,), term), float32)

        return element


def transform() -> Array:
    """What makes the 36 weights of the products of the 9 of a window, float64[36, 9]."""
    return np.kron(_weights(), _weights())


def find(c: Contraction) -> Winograd | None:
    """The convolution with windows of 3 × 3, steps of 1 and one group that `c` is, if it is one."""
    types = {c.dtype, c.a.tensor.dtype, c.b.tensor.dtype}
    if not c.spread or len(c.axes) != 3 or types != {float32}:
        return None
    axes: dict[int, Axis] = {}
    batch: dict[int, int] = {}
    channel: tuple[int, int] | None = None
    for k, i in enumerate(c.a.index):
        places = [c.indices.index(t) for t in i.terms if t in c.indices]
        sums = [c.axes.index(t) for t in i.terms if t in c.axes]
        if len(places) + len(sums) != len(i.terms):
            return None
        if len(places) == len(sums) == 1:
            (o,), (s,) = places, sums
            dilation = i.terms[c.axes[s]]
            if c.axes[s].extent != TAPS or dilation < 1 or i.terms[c.indices[o]] != 1 or c.digits[o].scale != 1:
                return None
            axes[k] = Axis(o, s, c.digits[o].extent, dilation, i.constant)
        elif i.constant or any(n != 1 for n in i.terms.values()):
            return None
        elif len(sums) == 1 and channel is None and not places:
            channel = k, sums[0]
        elif len(places) == 1 and not sums:
            batch[k] = places[0]
        elif i.terms:
            return None
    if len(axes) != 2 or channel is None:
        return None
    read = [c.axes[a.tap] for a in axes.values()] + [c.axes[channel[1]], c.indices[c.lanes]]
    order = [next((k for k, i in enumerate(c.b.index) if i == linear(t)), -1) for t in read]
    if -1 in order or len(c.b.index) != 4 or len(set(read)) != 4:
        return None
    return Winograd(c, axes, batch, channel, tuple(order))


# -- how, and whether -------------------------------------------------------------------------------------------------
# In the time that a vector's multiply-adds take, measured where vectors have 64 bytes and two are done in a cycle.
INPUT, OUTPUT = 560, 400  # the transform of one tile for one vector of channels: its lines come from a cache and go
WEIGHT = TAPS * TAPS  # to transform a weight
STREAM = 3.7  # bytes that come from beyond the second cache meanwhile
PRODUCT = 1.1  # of a product over that of its multiply-adds
GAIN = 0.85  # of the time of the sum itself; more is not worth the memory
LEAST = 1 << 20  # multiplications of the sum, below which it is not worth the longer code
BANDS = (14, 28, 42, 56, 84, 112, 196)  # tiles in a band, about
GROUPS = (1, 2, 4, 8, 16)


class Plan(Frozen):
    """Tiles in bands, maps in groups; a band for a group is the share of a thread.

    Attributes:
        lanes: elements of a vector register.
        band: tiles in a band.
        groups: of maps; each transforms the inputs once more.
        products: the contraction of a share, [36, band, channels] × [36, channels, maps].
        tiling: that of `products`.
    """

    conv: Winograd
    lanes: int
    band: int
    groups: int
    products: Contraction
    tiling: Tiling

    def on(self, values: Mapping[Value, Value]) -> Plan:
        """The same of other values."""
        return replace(self, conv=replace(self.conv, c=self.conv.c.on(values)), products=self.products.on(values))

    @property
    def bands(self) -> int:
        return -(-self.conv.tiles // self.band)

    @property
    def maps(self) -> int:
        """Those of one group."""
        return self.conv.maps // self.groups

    @property
    def inputs(self) -> Layout:
        """Of a band's transformed inputs."""
        return columns((PRODUCTS, self.band, self.conv.channels), self.lanes)

    @property
    def sums(self) -> Layout:
        """Of what the products of a share give."""
        return columns((PRODUCTS, self.band, self.maps), self.lanes)

    def streams(self, machine: Machine) -> bool:
        """True if the weights come from beyond the second cache each time."""
        return 4 * PRODUCTS * self.conv.channels * self.conv.maps > machine.cache // 2

    def cycles(self, machine: Machine, threads: int) -> float:
        """An estimate of the time, in cycles."""
        channels, maps = self.conv.channels, self.maps
        share = PRODUCT * PRODUCTS * channels * _cycles(self.products, self.tiling, self.lanes, machine)
        weights, scratch = (4 * PRODUCTS * n for n in (channels * maps, self.band * (channels + maps)))
        if self.streams(machine):  # products wait for the weights where these are fetched faster than they are used
            stream = weights / STREAM
            share = max(share, stream) + min(share, stream) / (4 if self.tiling.tile >= self.band else 2)
        else:
            scratch += weights  # these are in the cache as well
        share += self.band * (INPUT * _vectors(channels, self.lanes) + OUTPUT * _vectors(maps, self.lanes))
        # Lines that the cache has no place for come and go as they are written, and again as they are read.
        share += 4 * max(0, scratch - machine.cache) / STREAM
        return share * -(-self.bands * self.groups // threads)


def _cycles(c: Contraction, tiles: Tiling, lanes: int, machine: Machine) -> float:
    """Of one step of a sum. What the transforms take are lines of caches, not multiply-adds."""
    return steps(c, tiles, lanes) * 2 / machine.multipliers


def _vectors(extent: int, lanes: int) -> int:
    """Vectors of channels; those that are not full were measured to take three times as long."""
    return sum(count if width == lanes else 3 for _, count, width in pieces(extent, lanes))


def plans(conv: Winograd, lanes: int, machine: Machine) -> list[Plan]:
    """The plans that there are."""
    bands = {-(-conv.tiles // -(-conv.tiles // n)) for n in BANDS}
    groups = [n for n in GROUPS if n == 1 or conv.maps % (n * lanes) == 0]
    found = [p for band in sorted(bands) for n in groups for p in _plans(conv, band, n, lanes, machine)]
    return [p for p in found if _divides(p)]


def best(found: Sequence[Plan], machine: Machine, threads: int) -> Plan:
    """The plan that takes the least time by a small model of the processor."""
    # Bands that are best with two multiply-adds in a cycle are so with one, too: caches decide.
    # Of equals the one with longer bands, which read longer rows.
    machine = replace(machine, multipliers=2)
    return min(found, key=lambda p: (round(p.cycles(machine, threads)), -p.band))


def _divides(p: Plan) -> bool:
    """True if groups of maps begin where panels of the weights do."""
    return p.groups == 1 or p.maps % (p.tiling.vectors * p.lanes) == 0


def _plans(conv: Winograd, band: int, groups: int, lanes: int, machine: Machine) -> list[Plan]:
    """Two: products with the usual tiling, and so that all tiles of a band meet a vector of weights that is read."""
    digits = (Digit(0, 1, PRODUCTS), Digit(1, 1, band), Digit(2, 1, conv.maps // groups))
    indices = tuple(Index(f"w{k}", d.extent) for k, d in enumerate(digits))
    k = Index("c", conv.channels)
    a = Read(conv.c.a.tensor, (linear(indices[0]), linear(indices[1]), linear(k)))
    b = Read(conv.c.b.tensor, (linear(indices[0]), linear(k), linear(indices[2])))
    products = Contraction(a, b, digits, indices, (k,), 2, 1, True, float32)
    tilings = [tiling(products, lanes, machine)]
    if band <= machine.registers - 4:
        tilings.append(tiling_of(1, band))
    return [Plan(conv, lanes, band, groups, products, t) for t in tilings]


def is_faster(p: Plan, machine: Machine, *, fixed: bool) -> bool:
    """True if the plan for one thread is expected to take less time than the sum itself.

    Weights that are not `fixed` are transformed in each run.
    """
    c = p.conv.c
    if c.work < LEAST:
        return False
    rest = math.prod(d.extent for k, d in enumerate(c.digits) if k not in (c.lanes, c.tile))
    direct = rest * math.prod(k.extent for k in c.axes) * _cycles(c, tiling(c, p.lanes, machine), p.lanes, machine)
    weights = 4 * p.conv.channels * p.conv.maps * TAPS * TAPS
    if weights > machine.cache // 2:
        direct += weights / STREAM
    transformed = 0 if fixed else WEIGHT * PRODUCTS * p.conv.channels * p.conv.maps
    return p.cycles(machine, 1) + transformed < GAIN * direct
