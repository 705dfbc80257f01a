"""Which expressions are contractions (sums of products, such as matrix products and convolutions), and how they tile.

An index of the output that only the factor b depends on becomes lanes; one that only a depends on becomes the tile,
whose elements of a are read one by one and spread. Where all indices are in both (a depthwise convolution), the lanes
run over one of them. Channels too few to fill lanes leave them to the rows of the image, which is then b.
`contract.py` makes the nest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from graphc.expr import Call, Const, Element, Expr, Load, Reduce, Select
from graphc.frozen import Frozen
from graphc.index import Index, Linear, Quotient, index_variables, linear
from graphc.ir import Value
from graphc.loops.layout import ALIASES, LINE, PAGE, Layout, Part
from graphc.loops.schedule import Machine
from graphc.ops.base import static_shape
from graphc.traverse import walk
from graphc.types import DType

LEAST = 1 << 12  # multiplications below which the general schedule does as well
UNROLLED = 64  # multiply-adds in the innermost loop: more is no faster, and takes longer to compile
FIRST = 1 << 15  # bytes of the first cache
GAIN = 2  # least cycles saved, for each element of an image, by lanes along its rows
REUSE = 256  # multiplications with each element of a factor from which on packing it costs next to nothing
BUSY = 8  # sums side by side that hide the latency of one
MAX_HALO = 128  # elements of padding on one side that a buffer may have


class Read(Frozen):
    """A tensor that an expression reads, and where."""

    tensor: Value
    index: tuple[Linear, ...]

    def on(self, values: Mapping[Value, Value]) -> Read:
        """The same with other values in the place of those that are read."""
        return Read(values[self.tensor], self.index)


class Digit(Frozen):
    """A loop over the output: index of `axis` = Σ scale · digit."""

    axis: int
    scale: int
    extent: int


class Contraction(Frozen):
    """What there is to know of a sum of products before the layouts of its operands are.

    Attributes:
        a, b: the factors; `b` has the lanes.
        digits, indices: the loops over the output, and their variables.
        axes: the indices of the reduction.
        lanes, tile: which of `digits` becomes lanes, and which is kept in registers (None: there is none).
        spread: whether elements of `a` are the same for all lanes.
        dtype: the element type in which products are added up.
    """

    a: Read
    b: Read
    digits: tuple[Digit, ...]
    indices: tuple[Index, ...]
    axes: tuple[Index, ...]
    lanes: int
    tile: int | None
    spread: bool
    dtype: DType

    @property
    def lane_axis(self) -> int:
        """The axis of the output that becomes lanes."""
        return self.digits[self.lanes].axis

    @property
    def work(self) -> int:
        """How many multiplications there are."""
        return math.prod(d.extent for d in self.digits) * math.prod(k.extent for k in self.axes)

    @property
    def along_rows(self) -> bool:
        """True if lanes are neighbours in the rows of an image, `b`, which is read where it lies."""
        lane = self.indices[self.lanes]
        return any(lane in i.terms and any(t in self.axes for t in i.terms) for i in self.b.index)

    def on(self, values: Mapping[Value, Value]) -> Contraction:
        """The same of other values."""
        return replace(self, a=self.a.on(values), b=self.b.on(values))

    def reach(self, read: Read, shape: Sequence[int]) -> list[tuple[int, int]]:
        """How far a factor, of this shape, is read beyond its ends."""
        found = []
        for i, n in zip(read.index, shape, strict=True):
            low, high = i.range()
            found.append((int(max(0, -low)), int(max(0, high - n + 1))))
        return found

    def halo(self, read: Read, shape: Sequence[int], itemsize: int) -> tuple[tuple[int, int], ...]:
        """The padding that a factor should have: where it is read, and after rows that would meet in a cache's set."""
        found = self.reach(read, shape)
        if read is self.a and self._is_matrix() and self._aliases((shape[-1] + sum(found[-1])) * itemsize):
            found[-1] = (found[-1][0], found[-1][1] + LINE // itemsize)
        return tuple(found)

    def _is_matrix(self) -> bool:
        """True if the reduction runs along the last axis of `a`, and the tile along the one before."""
        last = self.a.index[-1] if len(self.a.index) > 1 else linear(0)
        plain = len(last.terms) == 1 and not last.constant and next(iter(last.terms)) in self.axes
        return plain and self.tile is not None and self.a.index[-2] == linear(self.indices[self.tile])

    def _aliases(self, stride: int) -> bool:
        """True if elements of a tile that are so many bytes apart are all in one set of the first cache."""
        many = self.tile is not None and self.digits[self.tile].extent >= ALIASES
        return many and stride > 0 and stride % PAGE == 0

    def fits(self, layout: Layout, itemsize: int) -> bool:
        """True if `a` can be read from `layout`: its halo is wide enough, and blocks begin where sums over them do."""
        if not self._covers(layout, self.a):
            return False
        offset = layout.offset(self.a.index)
        if self.tile is not None and self._aliases(offset.terms.get(self.indices[self.tile], 0) * itemsize):
            return False
        for axis, i in enumerate(self.a.index):
            steps = [p.step for p in layout.parts if p.axis == axis]
            if len(steps) < 2:
                continue
            block = max(steps)
            for t, k in i.terms.items():
                if t in self.axes and k == 1:
                    continue
                if not self.spread and t is self.indices[self.lanes] and k == 1:
                    continue
                if k % block:
                    return False
            if i.constant % block or sum(t in self.axes for t in i.terms) > 1:
                return False
        return True

    def in_rows(self, layout: Layout) -> bool:
        """True if lanes are neighbours in `b`, lying as `layout`, with a halo that is wide enough."""
        return self._covers(layout, self.b) and layout.offset(self.b.index).terms.get(self.indices[self.lanes]) == 1

    def _covers(self, layout: Layout, read: Read) -> bool:
        reach = zip(self.reach(read, layout.shape), layout.halo, strict=True)
        return all(need[0] <= have[0] and need[1] <= have[1] for need, have in reach)


# -- what is a contraction --------------------------------------------------------------------------------------------
def match(
    element: Element,
    shape: Sequence[int],
    reads: Mapping[Load, Read],
    is_constant: Callable[[Value], bool],
    machine: Machine,
) -> Contraction | None:
    """The contraction that `element` is, if it is one; `reads` says what its loads are."""
    product = _product(element, shape, {}, reads)
    if product is None:
        return None
    splits = product.groups()
    if splits:  # once more, with the axes split that are groups of channels
        product = _product(element, shape, splits, reads)
        assert product is not None
    packs = _packs(product, is_constant)
    candidates = []
    for left, right in ((product.a, product.b), (product.b, product.a)):
        for number in range(len(product.digits)):
            rank = _rank(left, right, number, product, len(shape), packs, machine)
            if rank is not None:
                candidates.append((rank, -number, left, right))
    if not candidates:
        return None
    _, number, left, right = max(candidates, key=lambda c: c[:2])
    lanes = -number
    outer = variables_of(left) - variables_of(right)
    rows = [k for k, i in enumerate(product.indices) if i in outer and k != lanes and i.extent > 1]
    # The last of them, but rather one that is long enough to keep the multipliers busy.
    tile = max(rows, key=lambda k: (min(product.indices[k].extent, BUSY), k), default=None)
    contraction = Contraction(
        left,
        right,
        product.digits,
        product.indices,
        product.axes,
        lanes,
        tile,
        product.indices[lanes] not in variables_of(left),
        product.dtype,
    )
    return contraction if contraction.work >= LEAST else None


def _packs(product: _Product, is_constant: Callable[[Value], bool]) -> Callable[[Value], bool]:
    """Whether a factor may be packed: a constant, or weights in training, small beside what they meet."""
    if is_constant(product.a.tensor) or is_constant(product.b.tensor):
        return is_constant
    work = math.prod(i.extent for i in (*product.indices, *product.axes))
    size = {x: math.prod(static_shape(x) or ()) for x in (product.a.tensor, product.b.tensor)}
    return lambda x: is_constant(x) or (2 * size[x] <= max(size.values()) and REUSE * size[x] <= work)


class _Product(Frozen):
    """A sum of products: the loops over the output, their variables, those of the sum, the factors, and its type."""

    digits: tuple[Digit, ...]
    indices: tuple[Index, ...]
    axes: tuple[Index, ...]
    a: Read
    b: Read
    dtype: DType

    def groups(self) -> dict[int, int]:
        """Axis -> divisor, where an index of a factor has a quotient of it: groups of channels."""
        found = {}
        for i in (*self.a.index, *self.b.index):
            for atom in i.terms:
                if isinstance(atom, Quotient) and len(atom.index.terms) == 1 and atom.index.constant == 0:
                    ((inner, c),) = atom.index.terms.items()
                    if c == 1 and isinstance(inner, Index) and inner in self.indices:
                        digit = self.digits[self.indices.index(inner)]
                        if digit.scale == 1 and digit.extent % atom.divisor == 0:
                            found[digit.axis] = atom.divisor
        return found


def _product(
    element: Element, shape: Sequence[int], splits: Mapping[int, int], reads: Mapping[Load, Read]
) -> _Product | None:
    digits = _digits(shape, splits)
    indices = tuple(Index(f"o{d.axis}", d.extent) for d in digits)
    found = find_sum(element(*logical_index(digits, [linear(i) for i in indices], len(shape))))
    if found is None:
        return None
    total, factors = found
    a, b = (_factor(f, reads) for f in factors)
    return None if a is None or b is None else _Product(digits, indices, total.axes, a, b, total.dtype)


def _digits(shape: Sequence[int], splits: Mapping[int, int]) -> tuple[Digit, ...]:
    found = []
    for axis, n in enumerate(shape):
        d = splits.get(axis)
        found += [Digit(axis, 1, n)] if d is None else [Digit(axis, d, n // d), Digit(axis, 1, d)]
    return tuple(found)


def logical_index(digits: Sequence[Digit], values: Sequence[Linear], rank: int) -> list[Linear]:
    """The output's index for values of the digits."""
    index = [linear(0) for _ in range(rank)]
    for d, v in zip(digits, values, strict=True):
        if d.extent != 1:
            index[d.axis] = index[d.axis] + v * d.scale
    return index


def find_sum(expr: Expr) -> tuple[Reduce, tuple[Expr, Expr]] | None:
    """The only reduction in `expr`, if it is a sum of products, and its factors."""
    sums = [e for e in walk(expr) if isinstance(e, Reduce)]
    if len(sums) != 1 or sums[0].function != "sum":
        return None
    body = sums[0].body
    return (sums[0], (body.args[0], body.args[1])) if isinstance(body, Call) and body.function == "mul" else None


def _factor(e: Expr, reads: Mapping[Load, Read]) -> Read | None:
    """What a factor reads: an element, perhaps converted, with zeros around the tensor."""
    while True:
        if isinstance(e, Call) and e.function == "cast":
            e = e.args[0]
        elif isinstance(e, Select) and isinstance(e.other, Const) and e.other.value == 0:
            e = e.then
        else:
            break
    return reads.get(e) if isinstance(e, Load) else None


def variables_of(read: Read) -> set[Index]:
    return set().union(*(index_variables(i) for i in read.index))


def _rank(
    a: Read,
    b: Read,
    number: int,
    product: _Product,
    rank: int,
    packs: Callable[[Value], bool],
    machine: Machine,
) -> tuple[bool, ...] | None:
    """How good the digit `number` is as lanes with these roles of the factors; None where it cannot be.

    What counts, most first: rows of an image where channels are few, then lanes along the last axis with weights that
    can be packed (a layer of a transformer), then packed weights of an image's channels, which are stored blocked, then
    the last axis, then weights at all, then what is read within its bounds.
    """
    indices, digits = product.indices, product.digits
    i, d = indices[number], digits[number]
    if d.extent < 2 or d.scale != 1:
        return None
    if d.extent % lanes_of(a, b, machine) and any(e.axis == d.axis and e.scale > 1 for e in digits):
        return None  # groups that are no whole vectors
    places = [x for x in b.index if i in index_variables(x)]
    if len(places) != 1 or places[0].terms.get(i) != 1:
        return None
    if any(not isinstance(t, Index) for x in (*a.index, *b.index) for t in x.terms):
        return None
    summed = any(t not in indices for t in places[0].terms)  # so they are not neighbours in a packed panel
    if summed and not (packs(a.tensor) and _thin(a, b, i, product, machine)):
        return None
    shared = i in variables_of(a)
    if shared:
        own = [x for x in a.index if i in index_variables(x)]
        if len(own) != 1 or set(own[0].terms.items()) - {(i, 1)}:
            return None
    last, fixed = d.axis == rank - 1, packs(b.tensor)
    if shared and not fixed:
        return None
    # Rather not what is read beyond its ends: a packed panel has no halo.
    reach = [x.range() for x in b.index]
    inside = all(low >= 0 and high < n for (low, high), n in zip(reach, static_shape(b.tensor) or (), strict=False))
    return (not shared, summed, last and fixed, fixed and rank > 2, last, fixed, inside)


def lanes_of(a: Read, b: Read, machine: Machine) -> int:
    """Elements of a vector register in a sum of products of these factors: small types are computed in 32 bits."""
    return machine.vector_bytes // max(4, *(int(x.tensor.dtype.numpy.itemsize) for x in (a, b)))


def _thin(a: Read, b: Read, i: Index, product: _Product, machine: Machine) -> bool:
    """True if lanes along `i`, a row of the image `b`, pay: all that the weights `a` depend on is too few for lanes.

    A multiply-add of a vector takes half a cycle, and it takes as many as there are lanes without work. Where `b` must
    be laid out anew for that, each of its elements costs a cycle or two.
    """
    lanes = lanes_of(a, b, machine)
    channels = max((k.extent for k in product.indices if k in variables_of(a)), default=1)
    sizes = [n for n in b.tensor.tensor.shape or () if isinstance(n, int)]
    if b.index[-1].terms.get(i) != 1 or 2 * channels > lanes or 2 * channels > i.extent:
        return False
    work = math.prod(k.extent for k in (*product.indices, *product.axes)) / math.prod(sizes)
    return work * (1 / channels - 1 / min(i.extent, lanes)) / 2 >= GAIN


# -- layouts ----------------------------------------------------------------------------------------------------------
class Tiling(Frozen):
    """Vectors of lanes, and elements of the tile, that are in registers at one time; and the depth of unrolling."""

    vectors: int
    tile: int
    unroll: int


def tiling(c: Contraction, lanes: int, machine: Machine) -> Tiling:
    """The tiling that takes the fewest cycles."""
    wide = -(-c.digits[c.lanes].extent // lanes)
    long = 1 if c.tile is None else c.digits[c.tile].extent
    group = c.digits[c.lanes].extent // lanes if any(d.axis == c.lane_axis and d.scale > 1 for d in c.digits) else 0
    return _tiling(wide, long, group, c.spread, machine.registers)


@cache
def _tiling(wide: int, long: int, group: int, spread: bool, registers: int) -> Tiling:
    best: tuple[float, int, int, int] | None = None
    for vectors in range(1, min(8, wide) + 1):
        if group and group % vectors:
            continue
        for tile in range(1, min(long, 28) + 1):
            if tile * vectors + vectors + 1 > registers:
                break
            cost = _steps(wide, long, vectors, tile, spread)
            key = (cost, (wide % vectors > 0) + (long % tile > 0), -vectors * tile, vectors + tile)
            if best is None or key < best:
                best, chosen = key, (vectors, tile)
    return tiling_of(*chosen)


def tiling_of(vectors: int, tile: int) -> Tiling:
    """So many vectors and elements of the tile, with as much unrolled as is good for any."""
    unroll = 1
    while unroll < 16 and 2 * unroll * tile * vectors <= UNROLLED:
        unroll *= 2
    return Tiling(vectors, tile, unroll)


def steps(c: Contraction, tiles: Tiling, lanes: int) -> float:
    """Cycles of all lanes and the whole tile, for one step of the sum."""
    wide = -(-c.digits[c.lanes].extent // lanes)
    long = 1 if c.tile is None else c.digits[c.tile].extent
    return _steps(wide, long, tiles.vectors, tiles.tile, c.spread)


def _steps(wide: int, long: int, vectors: int, tile: int, spread: bool) -> float:
    return sum(
        n * m * _cycles(v, t, spread)
        for n, v in ((wide // vectors, vectors), (1, wide % vectors))
        for m, t in ((long // tile, tile), (1, long % tile))
        if n * v and m * t
    )


def _cycles(vectors: int, tile: int, spread: bool) -> float:
    """Of one step of the innermost loop: multiply-adds, loads, latency, and what the loop itself takes.

    Two multiply-adds and two loads start in a cycle, but some loads wait for lines that are not in the first cache, so
    that a sixth less comes through. Where 512 bits take twice as long, all but the latency does.
    """
    loads = vectors + (tile if spread else tile * vectors)
    return max(vectors * tile / 2, 0.6 * loads, 4 if vectors * tile < 8 else 0) + 0.25


class Order(Frozen):
    """The reduction's loops: `outer` ones in order, then `inner`, unrolled; `block` splits it, blocks outermost."""

    outer: tuple[int, ...]
    inner: int
    block: int | None


def order(c: Contraction, layout: Layout) -> Order:
    """How the reduction runs over `a`, lying as `layout`.

    Where `a` is blocked along an axis that is summed over, a block is innermost. Else the last axis is, unless elements
    along it are those of the tile's neighbours (a row of an image): LLVM would keep them all in registers.
    """
    everything = range(len(c.axes))
    for axis, i in enumerate(c.a.index):
        steps = [p.step for p in layout.parts if p.axis == axis]
        inner = [c.axes.index(t) for t in i.terms if t in c.axes]
        if len(steps) > 1 and inner:
            return Order(tuple(k for k in everything if k != inner[0]), inner[0], max(steps))
    at = layout.offset(c.a.index).terms
    step = 0 if c.tile is None else at.get(c.indices[c.tile], 0)

    def apart(k: int) -> bool:
        stride = at.get(c.axes[k], 0)
        return not step or not any(j * stride % step == 0 for j in range(1, min(c.axes[k].extent, 16)))

    long = 0 if c.tile is None else c.digits[c.tile].extent

    def free(k: int) -> bool:
        return apart(k) or at.get(c.axes[k], 0) >= step * long

    last = next((k for k in reversed(everything) if free(k)), len(c.axes) - 1)
    return Order(tuple(k for k in everything if k != last), last, None)


def is_worth_packing(c: Contraction, layout: Layout, sums: Order, panel: int) -> bool:
    """True if `b`, lying as `layout`, is better read from a copy in panels of so many lanes.

    Its rows may meet in few sets of the first cache; or there are too many of a panel for that, so that each tile reads
    them from the next one, where only what lies from one end to the other comes in time.
    """
    inner, itemsize = c.axes[sums.inner], int(c.b.tensor.dtype.numpy.itemsize)
    stride = layout.offset(c.b.index).terms.get(inner, 0) * itemsize
    uses = c.work // max(math.prod(layout.shape), 1)
    meet = 2 * stride % PAGE == 0 and inner.extent >= 8 * ALIASES and uses >= REUSE // 4
    many = math.prod(k.extent for k in c.axes) * panel * itemsize > FIRST and uses >= REUSE
    return stride > 0 and (meet or many)


def packed(c: Contraction, shape: Sequence[int], panel: int, sums: Order) -> Layout:
    """The layout of `b`, of this shape, in which the innermost loops read it from one end to the other.

    Args:
        c: the contraction.
        shape: that of `b`.
        panel: lanes that are read together.
        sums: the order of the reduction.
    """
    lane = c.indices[c.lanes]
    front: list[Part] = []
    inside: list[tuple[int, Part]] = []
    panels: list[Part] = []
    last: list[Part] = []
    place = {k: n for n, k in enumerate((*sums.outer, sums.inner))}
    for axis, (i, n) in enumerate(zip(c.b.index, shape, strict=True)):
        found = [c.axes.index(t) for t in i.terms if t in c.axes]
        if lane in i.terms:
            panels, last = [Part(axis, panel, -(-n // panel))], [Part(axis, 1, panel)]
        elif not found:
            front.append(Part(axis, 1, n))
        elif sums.block is not None and found == [sums.inner]:
            inside += [(-1, Part(axis, sums.block, -(-n // sums.block))), (len(c.axes), Part(axis, 1, sums.block))]
        else:
            inside.append((min(place[k] for k in found), Part(axis, 1, n)))
    inside.sort(key=lambda x: x[0])
    return Layout(tuple(shape), (*front, *panels, *(p for _, p in inside), *last), ((0, 0),) * len(shape))
