"""State that goes from run to run without being copied."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.parse import parse
from graphc.runtime.carried import Carried

# y = x · s;  s ← s + x, t ← s (both of the old state), and one output that is an input as it came.
GRAPH = """
graph @g(%x: f32[3], %s: f32[3], %t: f32[3]) {
  %y: f32[3] = Mul(%x, %s)
  %sum: f32[3] = Add(%s, %x)
  return %y, %sum as "new_s", %s as "new_t"
}
"""
X = np.array([1, 2, 3], np.float32)
START = {"s": np.ones(3, np.float32), "t": np.zeros(3, np.float32)}


@pytest.mark.parametrize("backend", ["numpy", "llvm", "onnxruntime"])
def test_outputs_become_inputs(backend: str) -> None:
    step = Carried(graphc.compile(parse(GRAPH), backend=backend), START)
    kept = []
    for k in range(4):
        results = step({"x": X})
        np.testing.assert_array_equal(results["y"], X * (1 + k * X))
        np.testing.assert_array_equal(step.state["s"], 1 + (k + 1) * X)
        np.testing.assert_array_equal(step.state["t"], 1 + k * X)
        np.testing.assert_array_equal(step.previous["s"], 1 + k * X)
        kept.append(results["y"])
    np.testing.assert_array_equal(kept[0], X)  # what is returned is not written again
    np.testing.assert_array_equal(START["s"], np.ones(3))  # nor what was given


def test_native_code_writes_into_the_two_sets_by_turns() -> None:
    step = Carried(graphc.compile(parse(GRAPH), backend="llvm"), START)
    addresses = []
    for _ in range(4):
        addresses.append(step._now[0]["s"].ctypes.data)
        step({"x": X})
    assert addresses[0] == addresses[2] != addresses[1] == addresses[3]


def test_what_fails_leaves_the_state() -> None:
    step = Carried(graphc.compile(parse(GRAPH), backend="llvm"), START)
    with pytest.raises(graphc.FeedError, match="dimension 0 is 2, expected 3"):
        step({"x": X[:2]})
    np.testing.assert_array_equal(step.state["s"], np.ones(3))
    with pytest.raises(graphc.FeedError, match="the step takes 'x', got 'z'"):
        step({"z": X})


def test_state_must_be_there_and_fit() -> None:
    model = graphc.compile(parse(GRAPH))
    with pytest.raises(graphc.FeedError, match="missing state 't'"):
        Carried(model, {"s": X})
    with pytest.raises(graphc.FeedError, match=r"input 's'"):
        Carried(model, {"s": X.astype(np.float64), "t": X})({"x": X})
