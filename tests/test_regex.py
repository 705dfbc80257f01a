"""The regular expressions of RegexFullMatch: against Python's re where the two agree, and what RE2 refuses."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graphc.errors import InvalidModel, Timeout
from graphc.limits import Limits, limited
from graphc.ops.regex import MAX_PROGRAM, Matcher, compile_pattern

ATOMS = (
    *"abc1.^", r"\d", r"\w", r"\W", r"\.", r"\b", "[ab]", "[^a]", "[a-c1]", "[]a]", "[a-]", r"[\d\n]", " ", r"\n",
    r"\x61", r"\101", "(?m:^)",
)  # fmt: skip
QUANTIFIERS = ("*", "+", "?", "{2}", "{1,2}", "{0,3}", "{1,}", "*?", "+?", "")
PATTERNS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?i:{})".format, inner),
        st.builds("(?s:{})".format, inner),
        st.builds("({}){}".format, inner, st.sampled_from(QUANTIFIERS)),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.lists(st.text("abcAB1 .\n", max_size=6), min_size=1, max_size=8))
@example("(|a)+", ["", "aa"])
@example("(a*)*", ["", "aab"])
def test_agrees_with_python(pattern: str, texts: list[str]) -> None:
    matcher, expected = Matcher(pattern), re.compile(pattern, re.ASCII)
    for text in texts:
        assert matcher.fullmatch(text) == (expected.fullmatch(text) is not None), text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\p{Lu}\pL*", "Éa"),
        (r"\P{Lu}\p{^Lu}[\pN_]", "é.5"),
        (r"[[:alpha:]][^[:space:]]", "a."),
        (r"[[:^alpha:]]\z", "1"),
        (r"\Qa.b\E+", "a.bb"),
        (r"\x{1F600}\a", "\U0001f600\a"),
        ("(?P<name>a)(?<other>b)", "ab"),
        ("(?i)straße(?-i:X)", "STRAßEX"),
        ("(?U)a+?", "aa"),
        ("a{,2}", "a{,2}"),
        ("(?m)a$\n^b", "a\nb"),
    ],
)
def test_what_python_writes_differently(pattern: str, text: str) -> None:
    matcher = Matcher(pattern)
    assert matcher.fullmatch(text)
    assert not matcher.fullmatch(text + "\n\n")


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?<!a)", r"(a)\1", "(?P=x)", "(a", "a)", "*", "a**", "a*+", "[a", "[b-a]", "[a-\\d]", r"\C",
     r"\p{Greek}", r"\x{110000}", "a{1001}", "a{2,1}", "\\", r"\e", "[[:word", "[[:none:]]", "(?x)a", 
     "((a{99}){99}){99}", "a{1000}" * 60],
)  # fmt: skip
def test_refused(pattern: str) -> None:
    with pytest.raises(InvalidModel, match="pattern"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)*b", "(a?){300}a{300}b", "(" * 5000 + ")" * 5000]
)
def test_time_is_bounded(pattern: str) -> None:
    start = time.perf_counter()
    assert not Matcher(pattern).fullmatch("a" * 20_000)
    assert time.perf_counter() - start < 10


def test_a_timeout_stops_it() -> None:
    pattern = "(.*a.{300})*(.?){1000}"
    assert len(compile_pattern(pattern)) < MAX_PROGRAM
    text = "".join("ab"[(i * i // 7) % 2] for i in range(200_000))
    with limited(Limits(timeout_s=0.05)), pytest.raises(Timeout):
        Matcher(pattern).fullmatch(text)
