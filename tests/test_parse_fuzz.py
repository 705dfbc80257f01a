"""Damaged listings: the parser gives a graph or `InvalidModel`, never another exception."""

from __future__ import annotations

import contextlib
import random
import re

import pytest
from conformance import all_cases

from graphc.errors import InvalidModel
from graphc.ir import Graph
from graphc.parse import parse
from graphc.text import format_graph, weights

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][\w./-]*|\d+|\s+|.', re.DOTALL)
# What the listings themselves do not have.
STRANGE = (
    "-1", "99999999999999999999", "9" * 5000, "1e400", "nan", "1.5", "true", "const", "yield", "_", "...", "?0", "//",
    '"', '"\\', '"\\x"', '"\n"', "\x00", "é", "((((((((", "[[[[", "--------", "%", "@", "~1", "#9", "x" * 5000,
)  # fmt: skip
MUTATIONS = 250


def listings() -> dict[str, Graph]:
    """Some rows, and all with bodies."""
    rows = all_cases()
    chosen = [c for i, c in enumerate(rows) if i % 150 == 0 or c.op.graphs()]
    return {c.name: c.graph() for c in chosen}


LISTINGS = listings()
VOCABULARY = [*STRANGE, *sorted({t for graph in LISTINGS.values() for t in TOKEN.findall(format_graph(graph))})]


def damaged(text: str, rng: random.Random) -> str:
    """`text` with a few tokens left out, doubled, swapped or replaced, or cut off."""
    tokens = TOKEN.findall(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        kind = rng.randrange(6)
        if kind == 0:
            tokens[i] = ""
        elif kind == 1:
            tokens[i] *= 2
        elif kind == 2:
            tokens[i] = rng.choice(VOCABULARY)
        elif kind == 3:
            tokens[i], tokens[j] = tokens[j], tokens[i]
        elif kind == 4:
            tokens[i] += rng.choice(VOCABULARY)
        else:
            tokens[i : i + rng.randrange(20)] = [" "]
    text = "".join(tokens)
    return text[: rng.randrange(len(text) + 1)] if rng.random() < 0.1 else text


@pytest.mark.parametrize("name", LISTINGS)
def test_damaged_listings(name: str) -> None:
    rng = random.Random(name)
    graph = LISTINGS[name]
    text, given = format_graph(graph), weights(graph)
    for _ in range(MUTATIONS):
        with contextlib.suppress(InvalidModel):
            assert format_graph(parse(damaged(text, rng), given))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%y: i64[2] = Cast(%x) {to=7}", "attribute to is 7, expected DType"),
        ('%y: f32[2] = Softmax(%x) {axis="0"}', "attribute axis is '0', expected int"),
        ("%y: f32[2] = Softmax(%x) {axis=true}", "attribute axis is True, expected int"),
        ("%y: f32[2,1] = Transpose(%x) {perm=(0,1.0)}", "attribute perm is .* expected tuple"),
        ("%y: bool[1] = const [yes]", "yes. is not bool"),
        ('%y: f32[2] = Neg(%x) {"\\x"=1}', "line 2: Invalid .escape"),
        ("%y: f32[2] = LeakyRelu(%x) {alpha=" + "9" * 5000 + "}", "line 2: Exceeds the limit"),
        ("%y: f32[2] = Fused(%x, _) {\n yield %x }", "needs every operand"),
    ],
)
def test_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        parse(f"graph (%x: f32[2]) {{\n  {line}\n  return %y\n}}")


def test_an_integer_does_for_a_float() -> None:
    parse("graph (%x: f32[2]) {\n  %y: f32[2] = LeakyRelu(%x) {alpha=2}\n  return %y\n}")
