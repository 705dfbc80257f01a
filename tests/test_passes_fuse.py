"""Groups that join: what reads the result of a contraction is computed with it, and both may be results."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.ops.fused import Fused
from graphc.parse import parse
from graphc.passes.fuse import fuse
from graphc.random import random_feeds

SWISH = """
graph (%x: f32[1,3,8,8], %w: f32[4,3,3,3]) {
  %y: f32[1,4,6,6] = Conv(%x, %w)
  %s: f32[1,4,6,6] = Sigmoid(%y)
  %z: f32[1,4,6,6] = Mul(%y, %s)
  return %z as "z"
}"""
MOMENTUM = """
graph (%x: f32[8,3], %dy: f32[8,5], %v: f32[3,5], %w: f32[3,5], %rate: f32[]) {
  %t: f32[3,8] = Transpose(%x) {perm=(1,0)}
  %g: f32[3,5] = MatMul(%t, %dy)
  %1: f32[3,5] = Add(%v, %g)
  %2: f32[3,5] = Mul(%rate, %1)
  %3: f32[3,5] = Sub(%w, %2)
  return %3 as "new_w", %1 as "new_v"
}"""
ADAM = """
graph (%x: f32[3,8], %dy: f32[8,5], %m: f32[3,5], %v: f32[3,5], %w: f32[3,5]) {
  %g: f32[3,5] = MatMul(%x, %dy)
  %1: f32[3,5] = Add(%m, %g)
  %2: f32[3,5] = Mul(%g, %g)
  %3: f32[3,5] = Add(%v, %2)
  %4: f32[3,5] = Exp(%3)
  %5: f32[3,5] = Div(%1, %4)
  %6: f32[3,5] = Sub(%w, %5)
  return %1 as "new_m", %3 as "new_v", %6 as "new_w"
}"""
NO_CONTRACTION = """
graph (%a: f32[4,5], %b: f32[4,5]) {
  %y: f32[4,5] = Add(%a, %b)
  %s: f32[4,5] = Sigmoid(%y)
  %z: f32[4,5] = Mul(%y, %s)
  return %z as "z"
}"""
LATER = """
graph (%x: f32[4,3], %w: f32[3,5]) {
  %y: f32[4,5] = MatMul(%x, %w)
  %0: f32[4,5] = Softmax(%y)
  %z: f32[4,5] = Add(%y, %0)
  return %z as "z"
}"""
READ_BY_OTHERS = """
graph (%a: f32[4,5], %b: f32[4,5]) {
  %y: f32[4,5] = Add(%a, %b)
  %0: f32[4,5] = Softmax(%y)
  %s: f32[4,5] = Sigmoid(%y)
  %z: f32[4,5] = Mul(%y, %s)
  return %z as "z", %0 as "p"
}"""
TWO_HOSTS = """
graph (%x: f32[4,3], %w: f32[3,5], %u: f32[3,5]) {
  %a: f32[4,5] = MatMul(%x, %w)
  %b: f32[4,5] = MatMul(%x, %u)
  %c: f32[4,5] = Mul(%a, %b)
  %d: f32[4,5] = Exp(%c)
  %e: f32[4,5] = Sub(%d, %b)
  return %a as "a", %b as "b", %e as "e"
}"""


def groups(graph: Graph) -> list[tuple[list[str], int]]:
    """The ops of each group, and how many results it has."""
    fused = [n.op for n in graph.nodes if isinstance(n.op, Fused)]
    return [([n.op.name for n in op.body.nodes], len(op.body.outputs)) for op in fused]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SWISH, [(["Conv", "Sigmoid", "Mul"], 1)]),
        (MOMENTUM, [(["MatMul", "Add", "Mul", "Sub"], 2)]),
        (ADAM, [(["MatMul", "Add", "Mul", "Add", "Exp", "Div", "Sub"], 3)]),
        (NO_CONTRACTION, [(["Add", "Sigmoid", "Mul"], 1)]),
        (LATER, []),
        (READ_BY_OTHERS, [(["Sigmoid", "Mul"], 1)]),
        (TWO_HOSTS, [(["MatMul", "Mul", "Exp", "Sub"], 2)]),
    ],
    ids=["swish", "momentum", "adam", "no contraction", "read later", "read by others", "two hosts"],
)
def test_groups_that_join(text: str, expected: list[tuple[list[str], int]]) -> None:
    graph = parse(text)
    after = fuse(graph)
    assert groups(after) == expected
    assert after.output_names == graph.output_names
    feeds = list(random_feeds(graph).values())
    for got, want in zip(interpret(after, feeds), interpret(graph, feeds), strict=True):
        np.testing.assert_allclose(got, want, 1e-6, 1e-6)
