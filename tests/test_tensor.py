"""Constants: when they are read, and when two of them are equal."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from graphc.types import SAMPLE, Array, Tensor, float32, int8


def test_equal_are_those_with_the_same_bits() -> None:
    x = np.arange(10_000, dtype=np.float32)
    assert Tensor(x) == Tensor(x.copy())
    assert hash(Tensor(x)) == hash(Tensor(x.copy()))
    assert Tensor(x) != Tensor(x.reshape(100, 100))
    assert Tensor(x) != Tensor(x.view(np.int32))
    assert Tensor(np.float32([0.0])) != Tensor(np.float32([-0.0]))
    assert Tensor(np.float32([np.nan])) == Tensor(np.float32([np.nan]))
    assert Tensor(np.zeros((0, 3))) == Tensor(np.zeros((0, 3)))
    assert Tensor(np.array(["a", "b"])) == Tensor(np.array(["a", "b"]))
    assert Tensor(np.array(["a", "b"])) != Tensor(np.array(["a", "c"]))


@pytest.mark.parametrize("at", [0, SAMPLE - 1, SAMPLE, -1])
def test_one_byte_makes_a_difference_wherever_it_is(at: int) -> None:
    x = np.zeros(3 * SAMPLE, np.int8)
    y = x.copy()
    y[at] = 1
    assert Tensor(x, int8) != Tensor(y, int8)


def test_large_ones_that_differ_early_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "digest", property(lambda self: pytest.fail("hashed")))
    a, b = (Tensor(np.full(1 << 16, k, np.float32)) for k in (1, 2))
    assert len({a, b}) == 2


def test_a_lazy_one_is_read_once_and_lets_go_of_what_it_was_read_from() -> None:
    calls: list[int] = []

    def load() -> Array:
        calls.append(1)
        return np.ones((2, 3), np.float32)

    x = Tensor.lazy(float32, (2, 3), load)
    assert not x.is_read
    assert not calls
    assert x.array is x.array
    assert not x.array.flags.writeable
    assert x.is_read
    assert calls == [1]
    assert x._load is None


def test_what_is_needed_once_is_not_kept() -> None:
    x = Tensor.lazy(float32, (2, 3), lambda: np.ones((2, 3), np.float32), recipe=("ones",))
    assert x.key == ("ones",)
    assert x.read().tolist() == [[1] * 3] * 2
    assert not x.read().flags.writeable
    assert not x.is_read
    assert x.array.tolist() == x.read().tolist()
    assert x.key is x  # it compares by contents from now on
    assert x == Tensor(np.ones((2, 3), np.float32))


def test_several_are_read_at_one_time() -> None:
    together = threading.Barrier(2, timeout=20)

    def load() -> Array:
        together.wait()  # would break if only one thread at a time could read
        return np.ones(3, np.float32)

    tensors = [Tensor.lazy(float32, (3,), load) for _ in range(2)]
    threads = [threading.Thread(target=lambda t=t: t.array) for t in tensors]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(t.is_read for t in tensors)
