"""Symbolic dims are the integers they stand for, whatever the symbols are bound to."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.dims import Dim, dim_max, dim_min, parse_dim, provably_nonnegative, substitute, sym
from graphc.errors import ResourceLimit

NAMES = ["a", "b", "batch"]
OPERATIONS: dict[str, Callable[[Dim, Dim], Dim]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "max": dim_max,
    "min": dim_min,
}


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[Dim, Callable[[dict[str, int]], int]]:
    """A dim, and a function that computes it with plain integers."""
    if depth == 0 or draw(st.booleans()):
        if draw(st.booleans()):
            n = draw(st.integers(0, 9))
            return n, lambda env: n
        name = draw(st.sampled_from(NAMES))
        return sym(name), lambda env: env[name]
    left, f = draw(expressions(depth=depth - 1))
    name = draw(st.sampled_from(list(OPERATIONS)))
    if name == "//":
        divisor = draw(st.one_of(st.integers(1, 6), st.sampled_from(NAMES)))
        if isinstance(divisor, str):
            return left // sym(divisor), lambda env: f(env) // env[divisor]
        return left // divisor, lambda env: f(env) // divisor
    right, g = draw(expressions(depth=depth - 1))
    numbers = {"max": max, "min": min}.get(name, OPERATIONS[name])
    return OPERATIONS[name](left, right), lambda env: numbers(f(env), g(env))  # type: ignore[arg-type, return-value]


bindings = st.fixed_dictionaries({name: st.integers(1, 40) for name in NAMES})


@given(expressions(), bindings)
def test_substitution_computes(expression: tuple[Dim, Callable[[dict[str, int]], int]], env: dict[str, int]) -> None:
    dim, numbers = expression
    value = substitute(dim, lambda s: env[s.name])
    assert value == numbers(env)
    assert isinstance(value, int)
    if provably_nonnegative(dim):
        assert value >= 0


@given(expressions())
def test_text_round_trip(expression: tuple[Dim, Callable[[dict[str, int]], int]]) -> None:
    dim, _ = expression
    assert parse_dim(str(dim)) == dim


def test_canonical_forms() -> None:
    h, n = sym("h"), sym("batch")
    assert str((h + 1) // 2 * n) == "batch*((h + 1)//2)"
    assert (n * h * 12) // h == 12 * n
    assert (2 * h + 4) // 2 == h + 2
    assert h - h == 0
    assert (n * h) % h == 0
    assert str(3 - h) == "-h + 3"
    assert str(sym("a b")) == '"a b"'


@pytest.mark.parametrize("text", ["", "a b", "1 +", "(a", "a$", "max(a)", "//2", "a//0", "1//(b - b)"])
def test_what_is_no_dimension(text: str) -> None:
    with pytest.raises(ValueError, match=r"dimension|unexpected|missing|needs"):
        parse_dim(text)


@pytest.mark.parametrize("text", ["(" * 3000 + "a" + ")" * 3000, "-" * 3000 + "a"])
def test_deep_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dimension is nested more than 100 deep"):
        parse_dim(text)


def test_long_text_is_read() -> None:
    assert parse_dim(" + ".join(["a"] * 3000)) == 3000 * sym("a")


def test_deep_nesting_becomes_unknown() -> None:
    d: Dim = sym("h")
    for _ in range(2000):
        d = (d + 1) // 2
    assert len(str(d)) < 2000


def test_polynomials_stay_small():
    """Forty squarings of a + b would have more terms than there is memory; too large a size is an unknown one."""
    square, power = sym("a") + sym("b"), sym("a")
    for _ in range(40):
        square, power = square * square, power * power
    assert len(str(square)) < 10_000
    assert len(str(power)) < 1_000
    total: Dim = 0
    for i in range(3000):
        total = total + sym(f"n{i}")
        assert len(str(total)) < 10_000
    with pytest.raises(ResourceLimit, match="terms"):
        (sym("a") - sym("b")) * sum(sym(f"n{i}") for i in range(200))


def test_divisions_stay_small():
    """Each step would double what is printed, were it not for the bound."""
    a: Dim = sym("a")
    b: Dim = sym("b")
    for _ in range(40):
        a, b = a // b + a, a // b
        assert len(str(a)) < 100_000


@pytest.mark.parametrize("name", ["a b", 'say "n"', "back\\slash", "\x1b[31mred", "line\nbreak", "größe", "\u202e"])
def test_odd_names_are_escaped_and_read_back(name: str) -> None:
    text = str(sym(name) * 2 + 1)
    assert text.isprintable()
    assert text.isascii()
    assert parse_dim(text) == sym(name) * 2 + 1
