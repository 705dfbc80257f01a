"""Scalar index expressions: what one element of a tensor is, in terms of elements of others. Ops write `body` in them.

    Expr  = Const | Position(Linear) | Load(buffer, Linear) | Call(function, Expr…) | Select(Expr, Expr, Expr)
          | Reduce(function, Index…, Expr)
    Linear = c + Σ cₖ · atomₖ          an index: integers, in a canonical form
    atom  = Index | Quotient(Linear, n) | Remainder(Linear, n) | Datum(Expr, low, high)

An op's body is a function from the output's indices to an `Expr`, so bodies fuse by composing functions. Indices stay
linear as far as they can: a buffer's layout, strides and vector lanes are read off the coefficients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce as _fold
from typing import Any

import numpy as np

from graphc.types import Array, DType, bfloat16, bool_, float16, float32, int64

INFINITY = math.inf
_serial = itertools.count()


# -- indices ----------------------------------------------------------------------------------------------------------
class Index:
    """A loop variable: 0 ≤ index < extent. Compared by identity; arithmetic on it gives `Linear`."""

    __slots__ = ("extent", "name", "serial")

    def __init__(self, name: str, extent: int):
        self.name, self.extent, self.serial = name, extent, next(_serial)

    def __repr__(self) -> str:
        return self.name

    def __add__(self, other: IndexLike) -> Linear:
        return linear(self) + other

    __radd__ = __add__

    def __sub__(self, other: IndexLike) -> Linear:
        return linear(self) - other

    def __rsub__(self, other: IndexLike) -> Linear:
        return linear(other) - self

    def __mul__(self, other: int) -> Linear:
        return linear(self) * other

    __rmul__ = __mul__

    def __floordiv__(self, n: int) -> Linear:
        return linear(self) // n

    def __mod__(self, n: int) -> Linear:
        return linear(self) % n


@dataclass(frozen=True)
class Quotient:
    """⌊index / divisor⌋, divisor > 0."""

    index: Linear
    divisor: int


@dataclass(frozen=True)
class Remainder:
    """index mod divisor, in [0, divisor)."""

    index: Linear
    divisor: int


@dataclass(frozen=True)
class Datum:
    """An integer that is data (an element of an index tensor), known to be in [low, high]."""

    expr: Expr
    low: float
    high: float


Atom = Index | Quotient | Remainder | Datum


class Linear:
    """c + Σ cₖ · atomₖ with integer coefficients other than 0. Equal sums compare equal."""

    __slots__ = ("_hash", "_range", "constant", "terms")

    def __init__(self, terms: Mapping[Atom, int], constant: int):
        self.terms, self.constant = terms, constant
        self._hash: int | None = None
        self._range: tuple[float, float] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Linear) and self.constant == other.constant and self.terms == other.terms

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self.terms.items()), self.constant))
        return self._hash

    @property
    def number(self) -> int | None:
        """The value, where it does not vary."""
        return None if self.terms else self.constant

    def range(self) -> tuple[float, float]:
        """Bounds that hold for all values of the indices in it."""
        if self._range is None:
            low = high = float(self.constant)
            for atom, c in self.terms.items():
                a, b = _atom_range(atom)
                low, high = low + min(c * a, c * b), high + max(c * a, c * b)
            self._range = (low, high)
        return self._range

    def __add__(self, other: IndexLike) -> Linear:
        other = linear(other)
        if not other.terms:
            return self if other.constant == 0 else Linear(self.terms, self.constant + other.constant)
        terms = dict(self.terms)
        for atom, c in other.terms.items():
            total = terms.get(atom, 0) + c
            if total:
                terms[atom] = total
            else:
                del terms[atom]
        return Linear(terms, self.constant + other.constant)

    __radd__ = __add__

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: IndexLike) -> Linear:
        return self + linear(other) * -1

    def __rsub__(self, other: IndexLike) -> Linear:
        return linear(other) - self

    def __mul__(self, n: int) -> Linear:
        if n == 1:
            return self
        return Linear({a: c * n for a, c in self.terms.items()} if n else {}, self.constant * n)

    __rmul__ = __mul__

    def __floordiv__(self, n: int) -> Linear:
        return divide(self, n)[0]

    def __mod__(self, n: int) -> Linear:
        return divide(self, n)[1]

    def __repr__(self) -> str:
        return show_index(self)


IndexLike = Index | Linear | int | Atom


def linear(x: IndexLike) -> Linear:
    """`x` as a `Linear`."""
    if isinstance(x, Linear):
        return x
    if isinstance(x, (int, np.integer)):
        return Linear({}, int(x))
    return Linear({x: 1}, 0)


def _atom_range(atom: Atom) -> tuple[float, float]:
    if isinstance(atom, Index):
        return 0, max(atom.extent - 1, 0)
    if isinstance(atom, Remainder):
        return 0, atom.divisor - 1
    if isinstance(atom, Quotient):
        low, high = atom.index.range()
        return _floor(low, atom.divisor), _floor(high, atom.divisor)
    return atom.low, atom.high


def _floor(x: float, n: int) -> float:
    return x if math.isinf(x) else x // n


def divide(x: IndexLike, n: int) -> tuple[Linear, Linear]:
    """(⌊x / n⌋, x mod n) for n > 0; terms that n divides leave the quotient whole, and small rests vanish."""
    x = linear(x)
    if n == 1:
        return x, linear(0)
    whole: dict[Atom, int] = {}
    rest: dict[Atom, int] = {}
    for atom, c in x.terms.items():
        (whole if c % n == 0 else rest)[atom] = c
    base = x.constant // n
    quotient = Linear({a: c // n for a, c in whole.items()}, base)
    left = Linear(rest, x.constant - base * n)
    low, high = left.range()
    if low >= 0 and high < n:
        return quotient, left
    # Nested splits: (a·n·m + …) // n // m and (x // m·k) are left as they are; x mod (k·n) mod n is x mod n.
    if len(left.terms) == 1 and left.constant == 0:
        ((atom, c),) = left.terms.items()
        if c == 1 and isinstance(atom, Quotient):
            inner = atom.index
            return quotient + linear(Quotient(inner, atom.divisor * n)), linear(Remainder(left, n))
        if c == 1 and isinstance(atom, Remainder) and atom.divisor % n == 0:
            return quotient + linear(Quotient(left, n)), divide(atom.index, n)[1]
    return quotient + linear(Quotient(left, n)), linear(Remainder(left, n))


def flatten(index: Sequence[IndexLike], shape: Sequence[int]) -> Linear:
    """The row-major position of `index` in `shape`."""
    position = linear(0)
    for i, n in zip(index, shape, strict=True):
        position = position * n + i
    return position


def unflatten(position: IndexLike, shape: Sequence[int]) -> tuple[Linear, ...]:
    """The index in `shape` that is at the row-major `position`."""
    index: list[Linear] = []
    left = linear(position)
    for n in reversed(shape[1:]):
        left, digit = divide(left, max(n, 1))
        index.append(digit)
    return (left, *reversed(index)) if shape else ()


# -- expressions ------------------------------------------------------------------------------------------------------
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
        space: `global` (an argument of the kernel), `register` (private to one iteration) or `shared` (to a block).
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


# -- tensors, as bodies see them --------------------------------------------------------------------------------------
Element = Callable[..., Expr]  # one index for each axis -> the element


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that a body reads: `x[i, j]` is its element, stored or computed.

    Attributes:
        dtype, shape: its type; sizes are numbers.
        element: index tuple -> expression.
        const: the elements, where they are known and few or needed by the op (axes, shapes, scalars).
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
        return self.element(tuple(linear(i) for i in given))  # type: ignore[arg-type]

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


Form = Element | Scatter | Prefix  # what `Op.element` may give for an output


# -- walking ----------------------------------------------------------------------------------------------------------
def children(e: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside `e`, those within its indices included."""
    if isinstance(e, Call):
        return e.args
    if isinstance(e, Select):
        return e.condition, e.then, e.other
    if isinstance(e, Reduce):
        return (e.body,)
    if isinstance(e, Load):
        return tuple(data_of(e.offset))
    if isinstance(e, Position):
        return tuple(data_of(e.index))
    return ()


def data_of(index: Linear) -> Iterator[Expr]:
    """The data that `index` depends on."""
    for atom in index.terms:
        if isinstance(atom, Datum):
            yield atom.expr
        elif isinstance(atom, (Quotient, Remainder)):
            yield from data_of(atom.index)


def index_variables(index: Linear) -> set[Index]:
    """The loop variables in `index`, those within data not included."""
    found: set[Index] = set()
    for atom in index.terms:
        if isinstance(atom, Index):
            found.add(atom)
        elif isinstance(atom, (Quotient, Remainder)):
            found |= index_variables(atom.index)
    return found


def walk(*roots: Expr, skip: Container[int] = ()) -> list[Expr]:
    """Every expression in `roots`, each once, children first; not those (by identity) in `skip`. Iterative."""
    done: dict[int, Expr] = {}
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        e, ready = stack.pop()
        if id(e) in done or id(e) in skip:
            continue
        if ready:
            done[id(e)] = e
            continue
        stack.append((e, True))
        stack += [(c, False) for c in reversed(children(e)) if id(c) not in done]
    return list(done.values())


def structure(e: Expr) -> Hashable:
    """A key that is equal for expressions that are alike but for the names of the indices their reductions bind."""
    keys: dict[tuple[int, int], Hashable] = {}

    def index(i: Linear, bound: dict[Index, int]) -> Hashable:
        terms = []
        for atom, c in i.terms.items():
            if isinstance(atom, Index):
                terms.append((("bound", bound[atom]) if atom in bound else atom, c))
            elif isinstance(atom, Datum):
                terms.append((("datum", key(atom.expr, bound)), c))
            else:
                terms.append(((type(atom), index(atom.index, bound), atom.divisor), c))
        return frozenset(terms), i.constant

    def key(x: Expr, bound: dict[Index, int]) -> Hashable:
        known = keys.get((id(x), len(bound)))
        if known is not None:
            return known
        made: Hashable
        if isinstance(x, Const):
            made = (x.dtype.name, repr(x.value))
        elif isinstance(x, Load):
            made = (x.buffer, index(x.offset, bound))
        elif isinstance(x, Position):
            made = index(x.index, bound)
        elif isinstance(x, Reduce):
            inner = bound | {a: len(bound) + k for k, a in enumerate(x.axes)}
            made = (x.function, tuple(a.extent for a in x.axes), key(x.body, inner))
        else:
            name = x.function if isinstance(x, Call) else "select"
            made = (name, x.dtype.name, *(key(c, bound) for c in children(x)))
        keys[id(x), len(bound)] = made
        return made

    return key(e, {})


def variables(e: Expr) -> frozenset[Index]:
    """The loop variables that `e` depends on; those that reductions inside it bind are not free."""
    free: dict[int, frozenset[Index]] = {}
    for x in walk(e):
        inner = frozenset().union(*(free[id(c)] for c in children(x)))
        if isinstance(x, (Load, Position)):
            inner |= index_variables(x.offset if isinstance(x, Load) else x.index)
        elif isinstance(x, Reduce):
            inner -= frozenset(x.axes)
        free[id(x)] = inner
    return free[id(e)]


def rewrite(e: Expr, visit: Callable[[Expr], Expr | None], given: Mapping[int, Expr] | None = None) -> Expr:
    """`e` with each expression replaced by what `visit` makes of it once its children are; None keeps it.

    `given` has replacements by the identity of the expression; nothing below those is looked at.
    """
    new: dict[int, Expr] = dict(given or {})

    def index(i: Linear) -> Linear:
        return map_index(i, lambda atom: _datum(atom, new))

    for x in walk(e, skip=new):
        y: Expr = x
        if isinstance(x, Call):
            args = tuple(new[id(a)] for a in x.args)
            y = x if all(a is b for a, b in zip(args, x.args, strict=True)) else Call(x.function, args, x.dtype)
        elif isinstance(x, Select):
            parts = new[id(x.condition)], new[id(x.then)], new[id(x.other)]
            y = x if parts == (x.condition, x.then, x.other) else select(*parts)
        elif isinstance(x, Reduce):
            y = x if new[id(x.body)] is x.body else Reduce(x.function, x.axes, new[id(x.body)])
        elif isinstance(x, Load):
            at = index(x.offset)
            y = x if at is x.offset else Load(x.buffer, at)
        elif isinstance(x, Position):
            at = index(x.index)
            y = x if at is x.index else Position(at)
        changed = visit(y)
        new[id(x)] = y if changed is None else changed
    return new[id(e)]


def _datum(atom: Atom, new: Mapping[int, Expr]) -> Linear | None:
    if isinstance(atom, Datum) and new[id(atom.expr)] is not atom.expr:
        return bounded(new[id(atom.expr)], atom.low, atom.high)
    return None


def map_index(index: Linear, visit: Callable[[Atom], Linear | None]) -> Linear:
    """`index` with atoms replaced, and simplified again; itself where nothing changes."""
    changed: Linear | None = None
    for atom, c in index.terms.items():
        new = visit(atom)
        if new is None and isinstance(atom, (Quotient, Remainder)):
            inner = map_index(atom.index, visit)
            if inner is not atom.index:
                new = divide(inner, atom.divisor)[isinstance(atom, Remainder)]
        if new is not None:
            changed = (index if changed is None else changed) + (new - linear(atom)) * c
    return index if changed is None else changed


def substitute(e: Expr, values: Mapping[Index, IndexLike]) -> Expr:
    """`e` with loop variables replaced."""
    if not values:
        return e
    new = {i: linear(v) for i, v in values.items()}

    def visit(x: Expr) -> Expr | None:
        if isinstance(x, Load):
            at = substitute_index(x.offset, new)
            return None if at is x.offset else Load(x.buffer, at)
        if isinstance(x, Position):
            at = substitute_index(x.index, new)
            return None if at is x.index else Position(at)
        if isinstance(x, Call) and x.function in ("lt", "le", "eq", "ne", "and", "or"):
            if x.function in ("and", "or"):
                return call(x.function, *x.args) if x.dtype is bool_ else None
            return compare(x.function, *x.args)
        return None

    return rewrite(e, visit)


def substitute_index(index: Linear, values: Mapping[Index, Linear]) -> Linear:
    """`index` with loop variables replaced; those in data are not looked at."""
    return map_index(index, lambda atom: values.get(atom) if isinstance(atom, Index) else None)


# -- text -------------------------------------------------------------------------------------------------------------
Names = Mapping[Any, str]  # of indices, buffers and expressions; what is not in it is called as it calls itself


def show_index(index: Linear, names: Names | None = None) -> str:
    """`4*i + j - 1`."""
    parts: list[str] = []
    for atom, c in index.terms.items():
        name = _show_atom(atom, names or {})
        parts.append(("-" if c < 0 else "+") + (name if abs(c) == 1 else f"{abs(c)}*{name}"))
    if index.constant or not parts:
        parts.append(f"{'-' if index.constant < 0 else '+'}{abs(index.constant)}")
    first, *others = parts
    return first.removeprefix("+") + "".join(f" {p[0]} {p[1:]}" for p in others)


def _show_atom(atom: Atom, names: Names) -> str:
    if isinstance(atom, Index):
        return names.get(atom, atom.name)
    if isinstance(atom, Datum):
        low, high = (str(x if math.isinf(x) else int(x)) for x in (atom.low, atom.high))
        return f"[{show(atom.expr, names)} in {low}..{high}]"
    sign = "//" if isinstance(atom, Quotient) else "%"
    return f"(({show_index(atom.index, names)}) {sign} {atom.divisor})"


INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}


def show(e: Expr, names: Names | None = None) -> str:
    """One line of text: `exp((x[i] - m[0]))`. Constants state their type where nothing beside them does: `f32(0.5)`."""
    names = names or {}
    if e in names:
        return names[e]
    if isinstance(e, Const):
        return show_number(e) if e.dtype is bool_ else f"{e.dtype.short}({show_number(e)})"
    if isinstance(e, Position):
        return f"<{show_index(e.index, names)}>"
    if isinstance(e, Load):
        return f"{names.get(e.buffer, e.buffer.name)}[{show_index(e.offset, names)}]"
    if isinstance(e, Select):
        return f"select({show(e.condition, names)}, {', '.join(_show_alike((e.then, e.other), names))})"
    if isinstance(e, Reduce):
        axes = ", ".join(f"{a.name}<{a.extent}" for a in e.axes)
        return f"{e.function}({axes}: {show(e.body, names)})"
    assert isinstance(e, Call)
    args = _show_alike(e.args, names)
    if e.dtype is not result_type(e.function, e.args):
        return f"{e.function}.{e.dtype.short}({', '.join(args)})"
    return f"({args[0]} {INFIX[e.function]} {args[1]})" if e.function in INFIX else f"{e.function}({', '.join(args)})"


def _show_alike(args: Sequence[Expr], names: Names) -> list[str]:
    """Arguments of one element type: where one is no constant, it is the type of those that are."""
    known = next((a.dtype for a in args if not isinstance(a, Const)), None)
    return [show_number(a) if isinstance(a, Const) and a.dtype is known else show(a, names) for a in args]


def show_number(e: Const) -> str:
    """The value of a constant, as a number that reads back."""
    if e.dtype is bool_:
        return "true" if e.value else "false"
    # NumPy writes as few digits as the type needs; the text is that of a Python float, as it will be read.
    return str(int(e.value)) if isinstance(e.value, (int, np.integer, np.bool_)) else str(float(str(e.value)))


def result_type(function: str, args: Sequence[Expr]) -> DType:
    """The element type of `function` of `args`, where it is not stated."""
    return bool_ if function in ("lt", "le", "eq", "ne", "isnan", "isinf") else args[-1].dtype


def unique(indices: Iterable[Index]) -> list[Index]:
    """Each index once, in order."""
    return list(dict.fromkeys(indices))
