"""The memory planner: nothing that lives at one time overlaps, and little is wasted."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from graphc.loops.memory import ALIGNMENT, Lifetime, plan

lives = st.builds(
    lambda size, first, steps: Lifetime(size, first, first + steps),
    st.integers(0, 5000),
    st.integers(0, 20),
    st.integers(0, 8),
)


def whole(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@given(st.lists(lives, max_size=24))
def test_plan(lifetimes: list[Lifetime]) -> None:
    arena = plan(dict(enumerate(lifetimes)))
    for k, life in enumerate(lifetimes):
        assert arena.offsets[k] % ALIGNMENT == 0
        assert 0 <= arena.offsets[k] <= arena.offsets[k] + life.size <= arena.size
    for (k, a), (m, b) in combinations(enumerate(lifetimes), 2):
        if a.first <= b.last and b.first <= a.last and a.size and b.size:
            assert arena.offsets[k] + a.size <= arena.offsets[m] or arena.offsets[m] + b.size <= arena.offsets[k]
    alive = [sum(whole(x.size) for x in lifetimes if x.first <= t <= x.last) for t in range(30)]
    assert max(alive) <= arena.size <= 2 * max(alive)


def test_a_chain_takes_two_places() -> None:
    arena = plan({k: Lifetime(1000, k, k + 1) for k in range(50)})
    assert arena.size == 2 * whole(1000)


def test_nothing_takes_nothing() -> None:
    assert plan({}).size == 0
