"""An If whose condition is known becomes the branch that is taken."""

from __future__ import annotations

from graphc.ir import Graph, Value
from graphc.ops.control import If
from graphc.passes.rewrite import Match, constant, p, rewrite, rule

cond = constant("cond")
branching = p(If, cond, ...)


@rule(branching)
def inline_branch(m: Match) -> tuple[Value, ...]:
    """If(true, xs) = then_branch(xs),  If(false, xs) = else_branch(xs).

    before:
        graph (%x: f32[4]) {
          %0: bool[] = const true
          %1: f32[4] = If(%0, %x) {
            then_branch = (%a: f32[4]) {
              %2: f32[4] = Neg(%a)
              yield %2
            }
            else_branch = (%a~2: f32[4]) {
              yield %a~2
            }
          }
          return %1 as "y"
        }
    after:
        graph (%x: f32[4]) {
          %0: f32[4] = Neg(%x)
          return %0 as "y"
        }
    """
    taken = m[cond].const
    if taken is None:
        m.decline("the condition is not known yet")
    branch = m.op(branching).then_branch if taken.reshape(-1)[0] else m.op(branching).else_branch
    return branch(*(x for x in m.inputs[1:] if x is not None))


RULES = (inline_branch,)


def inline_branches(graph: Graph) -> Graph:
    """Inline the branches that are known to be taken."""
    return rewrite(graph, RULES)
