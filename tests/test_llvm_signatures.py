"""Specialisation to input shapes: bounded, counted, compiled once, safe with threads, forks, copies."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.parse import parse
from graphc.runtime.signatures import CacheInfo, Signatures
from graphc.types import TensorType, float32

GRAPH = """
graph (%x: f32[n,m]) {
  %y: f32[n,m] = Relu(%x)
  %z: f32[n,m] = Tanh(%y)
  return %z
}
"""


def make() -> graphc.CompiledModel:
    return graphc.compile(parse(GRAPH), backend="llvm")


def data(n: int, m: int = 3) -> np.ndarray[Any, Any]:
    return (np.arange(n * m, dtype=np.float32) / 50).reshape(n, m)


class TestSignatures:
    def test_bounded_and_counted(self):
        cache: Signatures[list[int]] = Signatures(2)
        for k, want in [(1, CacheInfo(0, 1, 1, 2)), (2, CacheInfo(0, 2, 2, 2)), (1, CacheInfo(1, 2, 2, 2))]:
            assert cache.find(k, lambda k=k: [k]) == [k]  # type: ignore[misc]
            assert cache.info() == want
        cache.find(3, lambda: [3])
        assert cache.values() == [[1], [3]]
        cache.find(2, lambda: [2])
        assert cache.info() == CacheInfo(1, 4, 2, 2)
        cache.clear()
        assert cache.values() == []

    def test_made_once(self):
        cache: Signatures[object] = Signatures()
        made = []

        def slowly() -> object:
            time.sleep(0.05)
            made.append(object())
            return made[-1]

        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: cache.find("k", slowly), range(8)))
        assert len(made) == len(found) == 1
        assert cache.info() == CacheInfo(7, 1, 1, 16)

    def test_a_failure_is_not_kept(self):
        cache: Signatures[object] = Signatures()
        with pytest.raises(ZeroDivisionError):
            cache.find("k", lambda: 1 / 0)
        assert cache.find("k", lambda: 5) == 5

    def test_a_fork_while_another_thread_compiles(self):
        cache: Signatures[int] = Signatures()
        busy, go = threading.Event(), threading.Event()

        def wait() -> int:
            busy.set()
            go.wait(10)
            return 1

        thread = threading.Thread(target=lambda: cache.find("k", wait))
        thread.start()
        busy.wait(10)
        child = multiprocessing.get_context("fork").Process(target=lambda: exit(cache.find("k", lambda: 17)))
        child.start()
        child.join(20)
        go.set()
        thread.join()
        assert child.exitcode == 17


class TestModels:
    def test_counters(self):
        model = make()
        for n in (1, 2, 1, 1, 2, 3):
            model(data(n))
        assert model.cache_info() == CacheInfo(3, 3, 3, 16)
        assert graphc.compile(parse(GRAPH)).cache_info() is None

    def test_no_more_than_so_many(self):
        model = make()
        for n in range(1, 40):
            np.testing.assert_allclose(model(data(n)), np.tanh(data(n)), rtol=1e-6, atol=1e-6)
        assert model.cache_info() == CacheInfo(0, 39, 16, 16)

    def test_eight_threads_with_shapes_of_their_own(self):
        model = make()

        def work(k: int) -> None:
            n = 1 + k % 20
            np.testing.assert_allclose(model(data(n) + k), np.tanh(data(n) + k), rtol=1e-6, atol=1e-6)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(200)))

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies(self, duplicate: Callable[[Any], Any]):
        model = make()
        model(data(2))
        again = duplicate(model)
        model.close()
        assert again.cache_info() == CacheInfo(0, 0, 0, 16)
        np.testing.assert_allclose(again(data(2)), np.tanh(data(2)), rtol=1e-6)

    def test_a_forked_process_compiles(self):
        model = make()
        model(data(2))
        context = multiprocessing.get_context("fork")
        receive, send = context.Pipe()
        child = context.Process(target=lambda: send.send([model(data(n)) for n in (2, 5)]))
        child.start()
        assert receive.poll(60)
        for y, n in zip(receive.recv(), (2, 5), strict=True):
            np.testing.assert_allclose(y, np.tanh(data(n)), rtol=1e-6)
        child.join()

    @pytest.mark.parametrize(
        "change",
        [
            np.asfortranarray,
            lambda x: np.repeat(x, 2, 0)[::2],
            lambda x: x[::-1].copy()[::-1],
            lambda x: np.frombuffer(b"1" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
        ],
        ids=["fortran", "strided", "reversed", "misaligned"],
    )
    def test_arrays_that_lie_otherwise(self, change: Callable[[Any], Any]):
        model, x = make(), data(5, 7)
        changed = change(x)
        np.testing.assert_array_equal(changed, x)
        np.testing.assert_array_equal(model(changed), model(x))

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux's /proc")
    @pytest.mark.slow
    def test_memory_stays_flat(self):
        model = make()

        def run(count: int) -> None:
            for k in range(count):
                model(data(1 + k % 12 if k % 50 else 17 + k // 50))  # something new every 50 runs

        def resident() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

        run(2000)
        before = resident()
        run(10_000)
        assert resident() - before < 4 << 20


def test_placement_is_that_of_the_shapes_that_ran():
    model = make()
    assert [p.backend for p in model.placement()] == ["numpy"]
    assert "run time" in next(iter(model.placement())).reason
    model(data(2))
    assert [p.backend for p in model.placement()] == ["llvm"]


def test_one_region_is_the_whole_graph_in_any_order() -> None:
    """Inputs that are read in another order than they come, and an output that is a constant."""
    x, y, z = (Value(TensorType(float32, (3,)), name=n) for n in "xyz")
    rate = const(np.float32(0.5), name="rate")
    graph = Graph([x, y, z], [rate, z * 2.0, y - x], ["rate", "a", "b"])
    model = graphc.compile(graph, backend="llvm")
    executable = model._open()
    (compiled,) = executable.signatures.values()  # type: ignore[attr-defined]
    assert compiled.whole is not None
    arrays = [np.arange(3, dtype=np.float32) * k for k in (1, 2, 5)]
    results = model.run(arrays)
    np.testing.assert_array_equal(results["rate"], np.float32(0.5))
    np.testing.assert_array_equal(results["a"], arrays[2] * 2)
    np.testing.assert_array_equal(results["b"], arrays[1] - arrays[0])
    place = np.empty(3, np.float32)
    (_, got, _) = model.run_into(arrays, {1: place})
    assert got is place
    np.testing.assert_array_equal(place, arrays[2] * 2)
