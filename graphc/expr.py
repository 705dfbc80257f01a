"""Scalar index expressions: what one element of a tensor is, in terms of elements of others.

    Expr = Const | Position(Linear) | Load(buffer, Linear) | Call(function, Expr…) | Select(Expr, Expr, Expr)
         | Reduce(function, Index…, Expr)

An op's `element` is a function from the output's indices to an `Expr`, so ops fuse by composing functions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce as _fold
from typing import Any

import numpy as np

from graphc.index import Datum, Index, IndexLike, Linear, linear, unflatten
from graphc.types import Array, DType, bfloat16, bool_, float16, float32, int64

INFINITY = math.inf


class Expr:
    """A scalar; arithmetic on it makes expressions, Python numbers becoming constants of its element type."""

    __slots__ = ()
    dtype: DType

    def __add__(self, other: ExprLike) -> Expr:
        return call("add", self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return call("add", other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return call("sub", self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return call("sub", other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return call("mul", self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return call("mul", other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return call("div", self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return call("div", other, self)

    def __neg__(self) -> Expr:
        return call("neg", self)

    def __lt__(self, other: ExprLike) -> Expr:
        return compare("lt", self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return compare("le", self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return compare("lt", other, self)

    def __ge__(self, other: ExprLike) -> Expr:
        return compare("le", other, self)

    def __and__(self, other: ExprLike) -> Expr:
        return call("and", self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return call("or", self, other)

    def __xor__(self, other: ExprLike) -> Expr:
        return call("xor", self, other)

    def __invert__(self) -> Expr:
        return call("not", self)


@dataclass(frozen=True, eq=False, slots=True)
class Const(Expr):
    """A number."""

    value: Any
    dtype: DType


@dataclass(frozen=True, eq=False, slots=True)
class Position(Expr):
    """An index as data; int64."""

    index: Linear

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return int64


@dataclass(frozen=True, eq=False, slots=True)
class Load(Expr):
    """The element of `buffer` at `offset`, counted in elements from its start."""

    buffer: Buffer
    offset: Linear

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.buffer.dtype


@dataclass(frozen=True, eq=False, slots=True)
class Call(Expr):
    """`function` of arguments; FUNCTIONS says what each one is."""

    function: str
    args: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, eq=False, slots=True)
class Select(Expr):
    """`then` where `condition` holds, else `other`; only the one that is chosen reads memory."""

    condition: Expr
    then: Expr
    other: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.then.dtype


@dataclass(frozen=True, eq=False, slots=True)
class Reduce(Expr):
    """`body` combined by `function` (sum, prod, max, min, any, all) over all values of `axes`."""

    function: str
    axes: tuple[Index, ...]
    body: Expr

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.body.dtype


ExprLike = Expr | float | int | bool


class Buffer:
    """Memory that holds `size` elements: flat; how a tensor lies in it is its layout's matter.

    Attributes:
        space: `global` (an argument of the kernel), `register` (private to one iteration), `scratch` (to a thread, for
            what is too large for registers) or `shared` (to a block).
    """

    __slots__ = ("dtype", "name", "size", "space")

    def __init__(self, name: str, dtype: DType, size: int, space: str = "global"):
        self.name, self.dtype, self.size, self.space = name, dtype, size, space

    def __repr__(self) -> str:
        return self.name


# Every function of `Call`, with its number of arguments. The interpreter in `loops` says what they mean; max and min
# give NaN if an argument is one; div of integers truncates and does not trap; `floordiv` and `mod` go with the floor;
# `cast` converts as ONNX Cast; `guard(ok, x)` is x, and an error of the run where `ok` does not hold.
FUNCTIONS: dict[str, int] = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "floordiv": 2, "mod": 2, "fmod": 2, "max": 2, "min": 2, "pow": 2,
    "fma": 3, "neg": 1, "abs": 1, "sign": 1, "floor": 1, "ceil": 1, "round": 1, "trunc": 1, "sqrt": 1,
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "erf": 1, "sigmoid": 1, "softplus": 1,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
    "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1,
    "lt": 2, "le": 2, "eq": 2, "ne": 2, "and": 2, "or": 2, "xor": 2, "not": 1, "isnan": 1, "isinf": 1,
    "shl": 2, "shr": 2, "cast": 1, "bitcast": 1, "guard": 2,
}  # fmt: skip
REDUCTIONS = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


def constant(value: Any, dtype: DType) -> Const:
    """`value` as a constant of `dtype`."""
    return Const(value, dtype)


def position(index: IndexLike) -> Expr:
    """`index` as data (int64)."""
    return Position(linear(index))


def lift(x: ExprLike, like: Expr) -> Expr:
    """`x`, a number becoming a constant of `like`'s element type."""
    return x if isinstance(x, Expr) else Const(x, like.dtype)


def call(function: str, *args: ExprLike, dtype: DType | None = None) -> Expr:
    """`function` of `args`, which have one element type; the result's is theirs unless `dtype` is given."""
    like = next(a for a in args if isinstance(a, Expr))
    given = tuple(lift(a, like) for a in args)
    if len(given) != FUNCTIONS[function]:
        raise ValueError(f"{function} takes {FUNCTIONS[function]} arguments, got {len(given)}")
    if function in ("and", "or") and like.dtype is bool_:
        return _logical(function, *given)
    return Call(function, given, dtype or like.dtype)


def _logical(function: str, a: Expr, b: Expr) -> Expr:
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Const):
            return y if bool(x.value) == (function == "and") else x
    return Call(function, (a, b), bool_)


def compare(function: str, a: ExprLike, b: ExprLike) -> Expr:
    """lt, le, eq or ne of two values of one element type; decided here where the indices' ranges decide it."""
    like = next(x for x in (a, b) if isinstance(x, Expr))
    x, y = lift(a, like), lift(b, like)
    decided = _decide(function, x, y)
    return Const(decided, bool_) if decided is not None else Call(function, (x, y), bool_)


def _decide(function: str, x: Expr, y: Expr) -> bool | None:
    ranges = [
        e.index.range() if isinstance(e, Position) else (e.value, e.value) if isinstance(e, Const) else None
        for e in (x, y)
    ]
    if ranges[0] is None or ranges[1] is None or x.dtype is not int64:
        return None
    (a, b), (c, d) = ranges[0], ranges[1]
    if function == "lt":
        return True if b < c else False if a >= d else None
    if function == "le":
        return True if b <= c else False if a > d else None
    same = a == b == c == d
    apart = b < c or d < a
    return None if not (same or apart) else same == (function == "eq")


def equal(a: ExprLike, b: ExprLike) -> Expr:
    """a = b, as bool."""
    return compare("eq", a, b)


def select(condition: Expr, then: ExprLike, other: ExprLike) -> Expr:
    """`then` where `condition` holds, else `other`."""
    like = then if isinstance(then, Expr) else other
    assert isinstance(like, Expr)
    x, y = lift(then, like), lift(other, like)
    if isinstance(condition, Const):
        return x if condition.value else y
    return Select(condition, x, y)


def cast(x: Expr, dtype: DType) -> Expr:
    """`x` converted to `dtype` as ONNX Cast converts."""
    return x if x.dtype is dtype else Call("cast", (x,), dtype)


def wide(x: Expr) -> Expr:
    """`x`, as float32 where it is float16 or bfloat16: the type in which functions are computed."""
    return cast(x, float32) if x.dtype in (float16, bfloat16) else x


def inside(index: IndexLike, size: int) -> Expr:
    """0 ≤ index < size, as bool."""
    x = position(index)
    return (x >= 0) & (x < size)


def guard(ok: Expr, x: Expr) -> Expr:
    """`x`; the run fails where `ok` does not hold."""
    return x if isinstance(ok, Const) and ok.value else Call("guard", (ok, x), x.dtype)


def as_index(x: Expr, size: int) -> Linear:
    """The integer `x` as an index into an axis of `size`: from the end where negative; the run fails outside."""
    wide = cast(x, int64)
    if isinstance(wide, Position):
        low, high = wide.index.range()
        if low >= 0 and high < size:
            return wide.index
    counted = select(wide < 0, wide + size, wide)
    ok = (counted >= 0) & (counted < size)
    # Clipped as well: a kernel that has failed still runs to its end.
    return linear(Datum(clipped(guard(ok, counted), size), 0, max(size - 1, 0)))


def as_position(x: Expr, size: int) -> Linear:
    """The integer `x` as an index into an axis of `size`; the run fails outside, and where it is negative."""
    place = cast(x, int64)
    ok = (place >= 0) & (place < size)
    return linear(Datum(clipped(guard(ok, place), size), 0, max(size - 1, 0)))


def clipped(x: Expr, size: int) -> Expr:
    """The integer `x`, moved into an axis of `size`."""
    return call("max", call("min", x, max(size - 1, 0)), 0)


def bounded(x: Expr, low: float, high: float) -> Linear:
    """The integer expression `x`, known to be in [low, high], as an index."""
    return x.index if isinstance(x, Position) else linear(Datum(cast(x, int64), low, high))


def over(function: str, extents: Sequence[int], body: Callable[..., Expr]) -> Expr:
    """`body(i, j, …)` combined over 0 ≤ i < extents[0], 0 ≤ j < extents[1], …"""
    axes = tuple(Index(f"r{k}", n) for k, n in enumerate(extents))
    value = body(*(linear(0) if a.extent == 1 else linear(a) for a in axes))
    axes = tuple(a for a in axes if a.extent != 1)
    return Reduce(function, axes, value) if axes else value


def identity(function: str, dtype: DType) -> Any:
    """What a reduction of nothing gives."""
    if function in ("sum", "prod"):
        return 0 if function == "sum" else 1
    if function in ("any", "all"):
        return function == "all"
    if dtype is bool_:
        return function == "min"
    if dtype.is_float:
        return -INFINITY if function == "max" else INFINITY
    bounds = np.iinfo(dtype.numpy)
    return int(bounds.min if function == "max" else bounds.max)


# -- tensors, as ops see them -----------------------------------------------------------------------------------------
Element = Callable[..., Expr]  # one index for each axis -> the element


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that an element is made of: `x[i, j]` is its element, stored or computed.

    Attributes:
        dtype, shape: its type; sizes are numbers.
        element: index tuple -> expression.
        const: the elements, where they are known and few, or integers (axes, shapes, scalars).
        halo: for each axis how far indices may go below 0 and beyond the end, and read zeros there.
        flat: row-major position -> expression, where the tensor lies so in memory.
    """

    dtype: DType
    shape: tuple[int, ...]
    element: Callable[[tuple[Linear, ...]], Expr]
    const: Array | None = None
    halo: tuple[tuple[int, int], ...] = ()
    flat: Callable[[Linear], Expr] | None = None

    def at(self, position: IndexLike) -> Expr:
        """The element at a row-major position."""
        return self.flat(linear(position)) if self.flat else self[unflatten(position, self.shape)]

    def __getitem__(self, index: Sequence[IndexLike] | IndexLike) -> Expr:
        given = tuple(index) if isinstance(index, (tuple, list)) else (index,)
        if len(given) != len(self.shape):
            raise ValueError(f"{len(given)} indices for shape {self.shape}")
        return self.element(tuple(linear(i) for i in given))

    def broadcast(self, index: Sequence[IndexLike]) -> Expr:
        """The element that meets the output element at `index` when this tensor is broadcast to the output."""
        own = index[len(index) - len(self.shape) :]
        return self[tuple(0 if n == 1 else i for i, n in zip(own, self.shape, strict=True))]

    def padded(self, index: Sequence[IndexLike], fill: ExprLike = 0) -> Expr:
        """The element at `index`, or `fill` where that is outside."""
        given = [linear(i) for i in index]
        outside: list[Expr] = []
        for axis, (i, n) in enumerate(zip(given, self.shape, strict=True)):
            before, after = self.halo[axis] if self.halo and fill == 0 else (0, 0)
            low, high = i.range()
            if low < -before or high >= n + after:
                outside.append(inside(i, n))
        if not outside:
            return self[given]
        return select(_fold(lambda a, b: a & b, outside), self[given], fill)


@dataclass(frozen=True, eq=False)
class Scatter:
    """A tensor that starts as `initial` and is written into at places that are data, in row-major order of a domain.

    Attributes:
        initial: what the elements are before.
        extents: the sizes of the domain.
        target: index in the domain -> index of the element that is written.
        value: index in the domain -> what is written there; it reads no element of the result.
        function: what combines the old element and `value` (add, mul, max, min); None replaces it, the last one stays.
    """

    initial: Element
    extents: tuple[int, ...]
    target: Callable[..., Sequence[IndexLike]]
    value: Element
    function: str | None = None


@dataclass(frozen=True, eq=False)
class Prefix:
    """Running combinations along an axis: `function` of the elements at all places up to the element's own.

    Attributes:
        function: add, mul, max or min.
        axis: the axis.
        element: what is combined, in the element type in which that is done.
        exclusive: leave out the element's own place.
        reverse: run from the end to the start.
    """

    function: str
    axis: int
    element: Element
    exclusive: bool = False
    reverse: bool = False


@dataclass(frozen=True, eq=False)
class Ordering:
    """Tensors of what comes first along an axis in the order of integer keys; of equal keys the first stays first.

    It is the form of all outputs of an op together, since one sort serves them.

    Attributes:
        axis: the axis.
        size: how many places there are along it, of which the outputs have as many as they are long.
        key: index -> the key.
        results: for each output, index of a place that is chosen -> element.
    """

    axis: int
    size: int
    key: Element
    results: tuple[Element, ...]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Tensors side by side along `axis`: part k has `sizes[k]` there, and indices of its own from 0 on.

    It may be read like any other element; a backend writes each part where it belongs, or has it computed there.
    """

    axis: int
    sizes: tuple[int, ...]
    parts: tuple[Element, ...]

    @property
    def starts(self) -> list[int]:
        """Where each part begins."""
        return list(itertools.accumulate(self.sizes, initial=0))[:-1]

    def __call__(self, *index: Linear) -> Expr:
        return self._among(index, [k for k, n in enumerate(self.sizes) if n])

    def _among(self, index: tuple[Linear, ...], chosen: list[int]) -> Expr:
        """The element, which lies in one of these parts; halving keeps many parts from nesting deeply."""
        starts = self.starts
        if len(chosen) == 1:
            own = list(index)
            own[self.axis] = index[self.axis] - starts[chosen[0]]
            return self.parts[chosen[0]](*own)
        middle = len(chosen) // 2
        before = position(index[self.axis]) < starts[chosen[middle]]
        return select(before, self._among(index, chosen[:middle]), self._among(index, chosen[middle:]))


Joint = Scatter | Prefix | Ordering  # tensors whose elements are not computed one by one
Form = Element | Joint  # what `Op.element` may give for an output
