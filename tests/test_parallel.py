"""Work in several threads: each item once, limits and errors as in one thread."""

from __future__ import annotations

import threading

import pytest

from graphc import parallel
from graphc.errors import Timeout
from graphc.limits import Limits, current_limits, limited
from graphc.parallel import side_by_side


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: 3)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_each_item_once(count: int) -> None:
    done: list[int] = []
    side_by_side(done.append, range(count))
    assert sorted(done) == list(range(count))


def test_as_many_threads_as_cores() -> None:
    together = threading.Barrier(3, timeout=20)
    side_by_side(lambda i: together.wait(), range(3))  # would break if fewer were at work at once


def test_the_limits_in_force_hold_in_every_thread() -> None:
    seen: list[int] = []
    together = threading.Barrier(3, timeout=20)

    def work(i: int) -> None:
        together.wait()
        seen.append(current_limits().max_nodes)

    with limited(Limits(max_nodes=17)):
        side_by_side(work, range(3))
    assert seen == [17] * 3


def test_an_error_ends_it_and_is_raised() -> None:
    done: list[int] = []
    before = threading.active_count()

    def work(i: int) -> None:
        if i == 2:
            raise KeyError("no such thing")
        done.append(i)

    with pytest.raises(KeyError, match="no such thing"):
        side_by_side(work, range(100_000))
    assert len(done) < 100_000
    assert threading.active_count() == before


def test_a_deadline_ends_it() -> None:
    done: list[int] = []
    with pytest.raises(Timeout), limited(Limits(timeout_s=0)):
        side_by_side(done.append, range(1000))
    assert not done
