"""What is made together is computed once; rearrangements that only copies read are not made at all."""

from __future__ import annotations

import numpy as np
import pytest
from llvm_targets import targets

import graphc
from graphc.backends.llvm import LlvmBackend, threads
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.parse import parse
from graphc.random import random_feeds


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 3)


def kernels(graph: Graph, target: str = "native", winograd: bool | None = None) -> list[str]:
    """The ops of each kernel, after a check of results against NumPy in float64, on one thread and on three."""
    backend = LlvmBackend(target, winograd=winograd)
    model = graphc.compile(graph, backend=backend, threads=3)
    feeds = random_feeds(graph, seed=3)
    got = model.run(feeds)
    exact = interpret(graph, [x.astype(np.float64) if x.dtype == np.float32 else x for x in feeds.values()])
    for y, want in zip(got.values(), exact, strict=True):
        np.testing.assert_allclose(y, want, 1e-4, 1e-4)
    alone = graphc.compile(graph, backend=backend, threads=1).run(feeds)
    assert {k: y.tobytes() for k, y in alone.items()} == {k: y.tobytes() for k, y in got.items()}
    (compiled,) = model._executable.signatures.values()  # type: ignore[union-attr]
    return ["copy" if k.node is None else k.node.op.name for k in compiled.whole.kernels]


BOTH = """
graph (%x: f32[{n},{c},9,10], %w: f32[{m},{k},3,3], %r: f32[{n},{m},9,10]) {{
  %y: f32[{n},{m},9,10] = Conv(%x, %w) {{group={group}, pads=(1,1,1,1)}}
  %0: f32[{n},{m},9,10] = Sigmoid(%y)
  %z: f32[{n},{m},9,10] = Mul(%y, %0)
  %1: f32[{n},{m},9,10] = Sub(%r, %z)
  return %y as "y", %1 as "z"
}}"""


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("m", [32, 19])
def test_both_results_of_a_convolution(target: str, winograd: bool, m: int) -> None:
    """One kernel has both, whole vectors of channels or not."""
    graph = parse(BOTH.format(n=2, c=16, k=16, m=m, group=1))
    made = kernels(graph, target, winograd)
    assert made.count("Fused") == 1
    assert "Conv" not in made


@pytest.mark.parametrize("target", targets())
def test_both_results_of_few_sums(target: str) -> None:
    """Too few for the nest of a contraction: the second kernel reads what the first one made."""
    graph = parse(BOTH.format(n=1, c=1, k=1, m=1, group=1))
    assert kernels(graph, target).count("Fused") == 2
    listing = graphc.compile(graph, backend=LlvmBackend(target)).listing("loops")
    first, second = listing.split("kernel(")[1:]
    assert "sum0" in first
    assert "sum0" not in second


STEP = """
graph (%x: f32[{b},{n}], %dy: f32[{b},{m}], %v: f32[{n},{m}], %w: f32[{n},{m}]) {{
  %t: f32[{n},{b}] = Transpose(%x) {{perm=(1,0)}}
  %g: f32[{n},{m}] = MatMul(%t, %dy)
  %0: f32[{n},{m}] = Add(%v, %g)
  %1: f32[{n},{m}] = Sub(%w, %0)
  return %0 as "v", %1 as "w"
}}"""


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize(("b", "n", "m"), [(32, 40, 48), (33, 41, 37), (64, 600, 520), (128, 512, 530), (1, 9, 8)])
def test_a_gradient_and_its_step(target: str, b: int, n: int, m: int) -> None:
    """Also an output that does not stay in the cache, and rows that are packed."""
    assert kernels(parse(STEP.format(b=b, n=n, m=m)), target).count("Fused") in (1, 2)  # small ones: no contraction


REARRANGED = {
    "transposed": """
  %0: f32[16,32,12,12] = Transpose(%x) {perm=(1,0,2,3)}
  %1: f32[16,32,12,12] = Conv(%0, %w) {pads=(1,1,1,1)}""",
    "reshaped": """
  %s: i64[6] = const [2, 16, 16, 1, 12, 12]
  %0: f32[2,16,16,1,12,12] = Reshape(%x, %s)
  %t: f32[16,2,16,1,12,12] = Transpose(%0) {perm=(2,0,1,3,4,5)}
  %u: i64[4] = const [16, 32, 12, 12]
  %2: f32[16,32,12,12] = Reshape(%t, %u)
  %1: f32[16,32,12,12] = Conv(%2, %w) {pads=(1,1,1,1)}""",
    "sliced": """
  %a: i64[1] = const [0]
  %b: i64[1] = const [9]
  %c: i64[1] = const [2]
  %t: f32[16,32,12,12] = Transpose(%x) {perm=(1,0,2,3)}
  %0: f32[16,32,9,12] = Slice(%t, %a, %b, %c)
  %1: f32[16,32,9,12] = Conv(%0, %w) {pads=(1,1,1,1)}""",
}


def rearranged(name: str, outputs: str) -> Graph:
    """A convolution, the result of which lies in blocks of channels, rearranged for another one."""
    return parse(f"""
graph (%i: f32[32,16,12,12], %v: f32[16,16,1,1], %w: f32[32,32,3,3]) {{
  %x: f32[32,16,12,12] = Conv(%i, %v) {REARRANGED[name]}
  return {outputs}
}}""")


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("name", REARRANGED)
def test_what_only_copies_read_is_not_made(name: str, target: str) -> None:
    """Elements go from where the first convolution wrote them to where the second reads them in one step."""
    made = kernels(rearranged(name, '%1 as "y"'), target, winograd=False)
    first, second = (k for k, op in enumerate(made) if op == "Conv")
    assert len(made[first + 1 : second]) == 2  # the weights are another
    assert "Transpose" not in made


def test_what_others_read_too_is_made() -> None:
    made = kernels(rearranged("transposed", '%1 as "y", %0 as "t"'), winograd=False)
    assert made.count("Transpose") == 1


def test_in_the_body_of_a_loop() -> None:
    """A copy of what the loop changes is made in each trip, before that changes."""
    graph = parse("""
graph (%x: f32[16,16,8,8], %w: f32[16,16,3,3]) {
  %n: i64[] = const 3
  %y: f32[16,16,8,8] = Loop(%n, _, %x, %w) {
    captured=1
    body = (%i: i64[], %going: bool[], %a: f32[16,16,8,8], %v: f32[16,16,3,3]) {
      %0: f32[16,16,8,8] = Transpose(%a) {perm=(1,0,2,3)}
      %1: f32[16,16,8,8] = Conv(%0, %v) {pads=(1,1,1,1)}
      %2: f32[16,16,8,8] = Tanh(%1)
      yield %going, %2
    }
  }
  return %y as "y"
}""")
    kernels(graph, winograd=False)
