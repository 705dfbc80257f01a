"""Indices: integers as sums of loop variables, in a canonical form.

    Linear = c + Σ cₖ · atomₖ
    atom   = Index | Quotient(Linear, n) | Remainder(Linear, n) | Datum(Expr, low, high)

Indices stay linear as far as they can: a buffer's layout, strides and vector lanes are read off the coefficients.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from graphc.expr import Expr

_serial = itertools.count()


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

    __slots__ = ("_data", "_hash", "_range", "constant", "terms")

    def __init__(self, terms: Mapping[Atom, int], constant: int):
        self.terms, self.constant = terms, constant
        self._hash: int | None = None
        self._range: tuple[float, float] | None = None
        self._data: tuple[Expr, ...] | None = None

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

    @property
    def data(self) -> tuple[Expr, ...]:
        """The data that it depends on."""
        if self._data is None:
            found: list[Expr] = []
            for atom in self.terms:
                if isinstance(atom, Datum):
                    found.append(atom.expr)
                elif isinstance(atom, (Quotient, Remainder)):
                    found += atom.index.data
            self._data = tuple(found)
        return self._data

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
        return " + ".join([*(f"{c}*{atom}" for atom, c in self.terms.items()), str(self.constant)])


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
    # What is less than g, beside multiples of g: (g·a + r) // (g·m) is a // m, and g·a + r mod g·m is g·(a mod m) + r.
    for g in sorted({math.gcd(c, n) for c in left.terms.values()} - {1}, reverse=True):
        small = Linear({a: c for a, c in left.terms.items() if c % g}, left.constant % g)
        low, high = small.range()
        if small.terms and low >= 0 and high < g:
            big = left - small
            q, r = divide(Linear({a: c // g for a, c in big.terms.items()}, big.constant // g), n // g)
            return quotient + q, r * g + small
    # Nested splits: x // m // n is x // (m·n), and x mod (k·n) mod n is x mod n.
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
    terms: dict[Atom, int] = {}
    constant = 0
    strides = [*itertools.accumulate(reversed(shape), operator.mul, initial=1)][-2::-1]
    for i, stride in zip(index, strides, strict=True):
        i = linear(i)
        constant += i.constant * stride
        for atom, c in i.terms.items():
            terms[atom] = terms.get(atom, 0) + c * stride
    return Linear({atom: c for atom, c in terms.items() if c}, constant)


def unflatten(position: IndexLike, shape: Sequence[int]) -> tuple[Linear, ...]:
    """The index in `shape` that is at the row-major `position`."""
    index: list[Linear] = []
    left = linear(position)
    for n in reversed(shape[1:]):
        left, digit = divide(left, max(n, 1))
        index.append(digit)
    return (left, *reversed(index)) if shape else ()


def index_variables(index: Linear) -> set[Index]:
    """The loop variables in `index`, those within data not included."""
    found: set[Index] = set()
    for atom in index.terms:
        if isinstance(atom, Index):
            found.add(atom)
        elif isinstance(atom, (Quotient, Remainder)):
            found |= index_variables(atom.index)
    return found


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


def substitute_index(index: Linear, values: Mapping[Index, Linear]) -> Linear:
    """`index` with loop variables replaced; those in data are not looked at."""
    return map_index(index, lambda atom: values.get(atom) if isinstance(atom, Index) else None)


def evaluate(index: Linear, values: Mapping[Index, int]) -> int:
    """The number that `index` is for these values of its loop variables; there is no data in it."""
    total = index.constant
    for atom, c in index.terms.items():
        if isinstance(atom, Index):
            total += c * values[atom]
        else:
            assert isinstance(atom, (Quotient, Remainder)), atom
            inner = evaluate(atom.index, values)
            total += c * (inner // atom.divisor if isinstance(atom, Quotient) else inner % atom.divisor)
    return total
