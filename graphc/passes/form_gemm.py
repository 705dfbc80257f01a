"""A product of matrices, what is added to it and the transposes of its factors are one Gemm."""

from __future__ import annotations

import dataclasses

from graphc.ir import Graph, Value
from graphc.ops.arithmetic import Add
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.movement import Transpose
from graphc.passes.rewrite import Match, p, rewrite, rule, value

x, w, c = value("x"), value("w"), value("c")
product = p(MatMul, x, w)


def _added(m: Match) -> None:
    out, a, b = m.node.output, m.old(x), m.old(w)
    assert a is not None
    assert b is not None
    m.require(a.rank == 2 and b.rank == 2, "a factor is not a matrix")
    m.require(out.rank == 2, "what is added has more axes than the product")


@rule(p(Add, product, c))
def add_to_product(m: Match) -> Value:
    """MatMul(x, w) + c = Gemm(x, w, c)  for matrices x and w and a c that broadcasts to their product.

    before:
        graph (%x: f32[batch,4], %c: f32[3]) {
          %w: f32[4,3] = const @w
          %0: f32[batch,3] = MatMul(%x, %w)
          %1: f32[batch,3] = Add(%0, %c)
          return %1 as "y"
        }
    after:
        graph (%x: f32[batch,4], %c: f32[3]) {
          %w: f32[4,3] = const @w
          %0: f32[batch,3] = Gemm(%x, %w, %c)
          return %0 as "y"
        }
    """
    _added(m)
    m.require(m.output(product).shape == m.node.output.shape, "the product is broadcast")
    result: Value = Gemm()(m[x], m[w], m[c])
    return result


left = p(Gemm, p(Transpose, x), w, ...)
right = p(Gemm, x, p(Transpose, w), ...)


@rule(left)
def transpose_left(m: Match) -> Value:
    """Gemm(xᵀ, w) = Gemm(x, w, transA=1).

    before:
        graph (%x: f32[4,batch]) {
          %0: f32[batch,4] = Transpose(%x)
          %w: f32[4,3] = const @w
          %1: f32[batch,3] = Gemm(%0, %w)
          return %1 as "y"
        }
    after:
        graph (%x: f32[4,batch]) {
          %w: f32[4,3] = const @w
          %0: f32[batch,3] = Gemm(%x, %w) {transA=true}
          return %0 as "y"
        }
    """
    op = m.op(left)
    m.require(_swaps(m, m.nodes[0].op), "the transpose keeps the axes in place")
    return dataclasses.replace(op, transA=not op.transA).apply((m[x], *m.inputs[1:]))[0]


@rule(right)
def transpose_right(m: Match) -> Value:
    """Gemm(x, wᵀ) = Gemm(x, w, transB=1).

    before:
        graph (%x: f32[batch,4], %w: f32[3,4]) {
          %0: f32[4,3] = Transpose(%w)
          %1: f32[batch,3] = Gemm(%x, %0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[batch,4], %w: f32[3,4]) {
          %0: f32[batch,3] = Gemm(%x, %w) {transB=true}
          return %0 as "y"
        }
    """
    op = m.op(right)
    m.require(_swaps(m, m.nodes[0].op), "the transpose keeps the axes in place")
    return dataclasses.replace(op, transB=not op.transB).apply((m[x], m[w], *m.inputs[2:]))[0]


def _swaps(m: Match, op: object) -> bool:
    return isinstance(op, Transpose) and op.perm in (None, (1, 0))


RULES = (add_to_product, transpose_left, transpose_right)


def form_gemm(graph: Graph) -> Graph:
    """Sums and transposes of matrix products go into Gemm."""
    return rewrite(graph, RULES)
