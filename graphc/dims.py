"""Symbolic dimensions: integers, or polynomials over symbols with floor division, max and min.

A `Dim` is an `int` or a `SymDim` such as `batch`, `batch*seq` or `(h + 1)//2`. Arithmetic keeps a canonical form, so
equal polynomials compare equal, and a result without symbols is a plain `int`. Symbols stand for sizes: they are
never negative, and where one divides, not zero.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from graphc.errors import ResourceLimit

_fresh = itertools.count()
_MAX_DEPTH = 100  # of parentheses and signs that `parse_dim` reads; no dim of `_MAX_NESTING` prints as many
_MAX_TERMS, _MAX_DEGREE = 256, 64  # larger polynomials are not kept: squaring a few times makes billions of terms
_MAX_NESTING = 24  # deeper floor divisions become an unknown symbol
_MAX_SIZE = 1000  # of a floor division, max or min, with what is in it: this keeps every walk of a dim short


@dataclass(frozen=True, order=True)
class Symbol:
    """A named size. Names that start with `?` are unknown sizes, made by `unknown()`."""

    name: str

    def __str__(self) -> str:
        if self.is_unknown or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", self.name):
            return self.name
        return json.dumps(self.name)  # names come from files: control characters must not reach a terminal

    @property
    def is_unknown(self) -> bool:
        return bool(re.fullmatch(r"\?\d+", self.name))

    @property
    def nesting(self) -> int:
        return 0

    @property
    def size(self) -> int:
        return 1

    def key(self) -> tuple[object, ...]:
        unknown = int(self.name[1:]) if self.is_unknown else -1
        return (0, unknown, self.name)


@dataclass(frozen=True)
class Apply:
    """`left // right`, `max(left, right)` or `min(left, right)` that does not simplify."""

    op: str
    left: Dim
    right: Dim
    nesting: int
    size: int  # symbols and operations in it, as it prints

    def __str__(self) -> str:
        if self.op == "//":
            return f"{_wrap(self.left)}//{_wrap(self.right)}"
        return f"{self.op}({self.left}, {self.right})"

    def key(self) -> tuple[object, ...]:
        return (1, self.nesting, str(self))


Atom = Symbol | Apply
Monomial = tuple[Atom, ...]


class SymDim:
    """A polynomial: {monomial: coefficient} in canonical order. Immutable; make one with `sym` and arithmetic."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)

    # -- arithmetic ---------------------------------------------------------------------------------------------------
    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        sums = dict(self.terms)
        for monomial, c in _terms(other):
            sums[monomial] = sums.get(monomial, 0) + c
        return _make(sums) if len(sums) <= _MAX_TERMS else _too_large(self, other)

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        others = _terms(other)
        # Terms are sorted by degree, the highest first.
        if others and len(self.terms[0][0]) + len(others[0][0]) > _MAX_DEGREE:
            return _too_large(self, other)
        if len(self.terms) * len(others) > _MAX_TERMS:
            return _too_large(self, other)
        products: dict[Monomial, int] = {}
        for (m, a), (n, b) in itertools.product(self.terms, others):
            monomial = tuple(sorted(m + n, key=_atom_key))
            products[monomial] = products.get(monomial, 0) + a * b
        return _make(products)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other)

    def __rsub__(self, other: int) -> Dim:
        return (-self) + other

    def __floordiv__(self, other: Dim) -> Dim:
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return _floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return self - (self // other) * other

    def __rmod__(self, other: int) -> Dim:
        return other - (other // self) * self

    __radd__ = __add__
    __rmul__ = __mul__

    # -- identity -----------------------------------------------------------------------------------------------------
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymDim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        text = ""
        # Constants last, positive terms first: `h + 1`, not `1 + h`; `n - m`, not `-m + n`.
        for monomial, c in sorted(self.terms, key=lambda t: (not t[0], t[1] < 0)):
            body = "*".join(_factor(a, alone=len(monomial) == 1 and abs(c) == 1) for a in monomial)
            if abs(c) != 1 or not body:
                body = f"{abs(c)}*{body}" if body else str(abs(c))
            sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
            text += sign + body
        return text

    __repr__ = __str__

    def symbols(self) -> Iterator[Symbol]:
        """Every symbol, in canonical order, possibly more than once."""
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    yield atom
                else:
                    yield from symbols(atom.left)
                    yield from symbols(atom.right)


Dim = int | SymDim


def _atom_key(atom: Atom) -> tuple[object, ...]:
    return atom.key()


def _make(terms: Mapping[Monomial, int]) -> Dim:
    kept = [(m, c) for m, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    kept.sort(key=lambda t: (-len(t[0]), [a.key() for a in t[0]]))
    return SymDim(tuple(kept))


def _terms(d: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(d, SymDim):
        return d.terms
    return (((), int(d)),) if d else ()


def _wrap(d: Dim) -> str:
    simple = isinstance(d, int) or (len(d.terms) == 1 and d.terms[0][1] == 1 and len(d.terms[0][0]) == 1)
    if simple and isinstance(d, SymDim) and isinstance(d.terms[0][0][0], Apply) and d.terms[0][0][0].op == "//":
        simple = False
    return str(d) if simple else f"({d})"


def _factor(atom: Atom, alone: bool) -> str:
    return str(atom) if alone or isinstance(atom, Symbol) or atom.op != "//" else f"({atom})"


def _nesting(d: Dim) -> int:
    return max((a.nesting for m, _ in _terms(d) for a in m), default=0)


def _apply(op: str, a: Dim, b: Dim) -> Dim:
    nesting = 1 + max(_nesting(a), _nesting(b))
    size = 1 + sum(atom.size for d in (a, b) for m, _ in _terms(d) for atom in m)
    if nesting > _MAX_NESTING:
        return unknown()
    return SymDim((((Apply(op, a, b, nesting, size),), 1),)) if size <= _MAX_SIZE else _too_large(a, b)


def _too_large(a: Dim, b: Dim) -> Dim:
    """What stands for a result of `a` and `b` that is too large to keep: an unknown size, never negative.

    Raises `ResourceLimit` where it could be negative.
    """
    if provably_nonnegative(a) and provably_nonnegative(b):
        return unknown()
    raise ResourceLimit(
        f"a computed size has more than {_MAX_TERMS} terms, a degree above {_MAX_DEGREE}, "
        f"or a division of more than {_MAX_SIZE} parts"
    )


def _divide_monomial(m: Monomial, by: Monomial) -> Monomial | None:
    rest = list(m)
    for atom in by:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _floordiv(a: Dim, b: Dim) -> Dim:
    if b == 0:
        raise ZeroDivisionError(f"size {a} is divided by 0")
    if b == 1:
        return a
    if a == 0:
        return 0
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if a == b:
        return 1
    divisors = _terms(b)
    if len(divisors) == 1 and divisors[0][1] > 0:
        by, c = divisors[0]
        exact: dict[Monomial, int] = {}
        rest: dict[Monomial, int] = {}
        for m, k in _terms(a):
            quotient = _divide_monomial(m, by)
            if quotient is not None and k % c == 0:
                exact[quotient] = k // c
            else:
                rest[m] = k
        if exact:  # (q*b + r)//b == q + r//b for every integer r
            remainder = _make(rest)
            if isinstance(remainder, int) and isinstance(b, int):
                return _make(exact) + remainder // b
            return _make(exact) + (_apply("//", remainder, b) if remainder != 0 else 0)
    return _apply("//", a, b)


def sym(name: str) -> SymDim:
    """The symbol called `name`."""
    return SymDim((((Symbol(name),), 1),))


def unknown() -> SymDim:
    """A fresh symbol: a size about which nothing is known."""
    return sym(f"?{next(_fresh)}")


def is_unknown(d: Dim) -> bool:
    """True when `d` has an unknown symbol in it."""
    return any(s.is_unknown for s in symbols(d))


def plain_symbol(dim: Dim) -> Dim | str:
    """The name of the symbol that `dim` is; `dim` itself when it is a number or an expression."""
    if isinstance(dim, SymDim) and len(dim.terms) == 1:
        monomial, factor = dim.terms[0]
        if factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0].name
    return dim


def ceildiv(a: Dim, b: Dim) -> Dim:
    """ceil(a / b)."""
    return -((-a) // b) if isinstance(a, int) and isinstance(b, int) else (a + (b - 1)) // b


def dim_max(a: Dim, b: Dim) -> Dim:
    """max(a, b); simplifies when the difference is a known integer."""
    difference = a - b
    if isinstance(difference, int):
        return a if difference >= 0 else b
    if b == 0 and provably_nonnegative(a):
        return a
    return _apply("max", a, b)


def dim_min(a: Dim, b: Dim) -> Dim:
    """min(a, b); simplifies when the difference is a known integer."""
    difference = a - b
    if isinstance(difference, int):
        return a if difference <= 0 else b
    return _apply("min", a, b)


def provably_nonnegative(d: Dim) -> bool:
    """True when every coefficient and every divided part is non-negative, so that no binding makes `d` negative."""
    if isinstance(d, int):
        return d >= 0
    return all(c > 0 for _, c in d.terms) and all(
        isinstance(a, Symbol) or (provably_nonnegative(a.left) and provably_nonnegative(a.right))
        for m, _ in d.terms
        for a in m
    )


def symbols(d: Dim) -> Iterator[Symbol]:
    """The symbols of `d`."""
    return d.symbols() if isinstance(d, SymDim) else iter(())


def substitute(d: Dim, bind: Callable[[Symbol], Dim | None]) -> Dim:
    """`d` with each symbol replaced by `bind(symbol)`, where that is not None."""
    if not isinstance(d, SymDim):
        return d
    total: Dim = 0
    for monomial, c in d.terms:
        product: Dim = c
        for atom in monomial:
            if isinstance(atom, Symbol):
                bound = bind(atom)
                product = product * (SymDim((((atom,), 1),)) if bound is None else bound)
            else:
                left, right = substitute(atom.left, bind), substitute(atom.right, bind)
                function = {"//": _floordiv, "max": dim_max, "min": dim_min}[atom.op]
                product = product * function(left, right)
        total = total + product
    return total


_TOKEN = re.compile(r'\s*(?:(\d+)|(\?\d+|[A-Za-z_][A-Za-z0-9_.]*)|"((?:[^"\\]|\\.)*)"|(//|[-+*(),]))')


def parse_dim(text: str) -> Dim:
    """The dim that `str` printed, or an expression written by hand. Raises `ValueError` for anything else."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not a dimension: {text!r}")
        number, name, quoted, operator = match.groups()
        if number is not None:
            tokens.append(("int", number))
        elif operator is not None:
            tokens.append(("op", operator))
        else:
            tokens.append(("sym", name if name is not None else json.loads(f'"{quoted}"')))
        at = match.end()
    dim, rest = _sum(tokens, 0, 0)
    if rest != len(tokens):
        raise ValueError(f"not a dimension: {text!r}")
    return dim


def _peek(tokens: list[tuple[str, str]], i: int) -> str:
    return tokens[i][1] if i < len(tokens) and tokens[i][0] == "op" else ""


def _sum(tokens: list[tuple[str, str]], i: int, depth: int) -> tuple[Dim, int]:
    value, i = _product(tokens, i, depth)
    while (operator := _peek(tokens, i)) in ("+", "-"):
        right, i = _product(tokens, i + 1, depth)
        value = value + right if operator == "+" else value - right
    return value, i


def _product(tokens: list[tuple[str, str]], i: int, depth: int) -> tuple[Dim, int]:
    value, i = _primary(tokens, i, depth)
    while (operator := _peek(tokens, i)) in ("*", "//"):
        right, i = _primary(tokens, i + 1, depth)
        if operator == "//" and right == 0:
            raise ValueError("a dimension is divided by 0")
        value = value * right if operator == "*" else _floordiv(value, right)
    return value, i


def _primary(tokens: list[tuple[str, str]], i: int, depth: int) -> tuple[Dim, int]:
    if i >= len(tokens):
        raise ValueError("dimension ends too early")
    if depth > _MAX_DEPTH:
        raise ValueError(f"dimension is nested more than {_MAX_DEPTH} deep")
    kind, text = tokens[i]
    if kind == "int":
        return int(text), i + 1
    if kind == "sym" and text in ("max", "min") and _peek(tokens, i + 1) == "(":
        left, i = _sum(tokens, i + 2, depth + 1)
        if _peek(tokens, i) != ",":
            raise ValueError(f"{text} needs two arguments")
        right, i = _sum(tokens, i + 1, depth + 1)
        if _peek(tokens, i) != ")":
            raise ValueError("missing )")
        return (dim_max if text == "max" else dim_min)(left, right), i + 1
    if kind == "sym":
        return sym(text), i + 1
    if text == "-":
        value, i = _primary(tokens, i + 1, depth + 1)
        return -value, i
    if text == "(":
        value, i = _sum(tokens, i + 1, depth + 1)
        if _peek(tokens, i) != ")":
            raise ValueError("missing )")
        return value, i + 1
    raise ValueError(f"unexpected {text!r} in a dimension")
