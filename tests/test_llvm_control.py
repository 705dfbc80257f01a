"""If, Loop and Scan in native programs: against NumPy's kernels and onnxruntime, on one thread and on several."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from cases.control import body
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc
from graphc.backends.llvm import LlvmBackend, program, threads
from graphc.backends.llvm.backend import MAX_NESTING, LlvmExecutable
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.loops import schedule as schedules
from graphc.ops import unroll
from graphc.ops.arithmetic import Div
from graphc.ops.base import const
from graphc.ops.bitwise import BitwiseXor
from graphc.ops.control import If, Loop, Scan
from graphc.ops.conv import Conv
from graphc.ops.indexing import Gather
from graphc.ops.logic import Greater, Less
from graphc.ops.math import Tanh
from graphc.ops.minmax import Max
from graphc.ops.movement import Concat
from graphc.ops.ranking import NonZero
from graphc.ops.reduction import ReduceSum
from graphc.ops.sequence import SequenceAt, SequenceConstruct
from graphc.ops.shape import Shape
from graphc.ops.slicing import Slice
from graphc.runtime.backend import Options
from graphc.types import Array, TensorType, bool_, float32, int32, int64

STEP, TRUE = np.array(0, np.int64), np.array(True)
A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 0.5, np.float32)


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)


@pytest.fixture
def all_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to do, threads share it."""
    monkeypatch.setattr(program, "WORTH_SHARING", 0.0)
    monkeypatch.setattr(schedules, "GRAIN", 1)


def graph_of(function: Callable[..., object], *arrays: Array) -> Graph:
    return body(function, *arrays)


def native(graph: Graph, count: int = 1) -> LlvmExecutable:
    """`graph`, all of it in native programs."""
    executable = LlvmBackend().compile(graph, Options(threads=count))
    assert isinstance(executable, LlvmExecutable)
    assert executable.only is not None
    left = [n for r in executable.only.regions if r.program is None for n in r.nodes]
    assert not left, [LlvmBackend().supports(n) for n in left]
    return executable


def fibonacci() -> tuple[Graph, list[Array]]:
    """a, b = b, a + b: one value moves into the place of another that is still read."""
    trip = body(lambda i, c, a, b: (c, b, a + b), STEP, TRUE, A, B)
    return graph_of(lambda n, a, b: Loop(trip)(n, None, a, b), STEP, A, B), [np.array(5), A, B]


def rotation() -> tuple[Graph, list[Array]]:
    """a, b, c, d = b, c, a, d: nothing is computed at all."""
    trip = body(lambda i, go, a, b, c, d: (go, b, c, a, d), STEP, TRUE, A, B, A, B)
    graph = graph_of(lambda n, a, b, c, d: Loop(trip)(n, None, a, b, c, d), STEP, A, B, A, B)
    return graph, [np.array(4), A, B, A + 7, B - 3]


def copies() -> tuple[Graph, list[Array]]:
    """One value goes to two places, a constant and a value from outside to others."""

    def step(i: Value, go: Value, a: Value, b: Value, c: Value, d: Value, w: Value) -> tuple[Value, ...]:
        made = a * w + b
        return go, made, made, const(B), w

    trip = body(step, STEP, TRUE, A, B, A, B, A)
    graph = graph_of(lambda n, a, b, w: Loop(trip, captured=1)(n, None, a, b, a, b, w), STEP, A, B, A)
    return graph, [np.array(3), A, B, A + 1]


def early_exit() -> tuple[Graph, list[Array]]:
    """Until the sum is large enough, a hundred times at most."""

    def step(i: Value, go: Value, a: Value, limit: Value) -> tuple[Value, ...]:
        doubled = a + a
        return Less()(ReduceSum(keepdims=False)(doubled), limit), doubled

    trip = body(step, STEP, TRUE, A, np.float32(0))
    graph = graph_of(lambda n, go, a, limit: Loop(trip, captured=1)(n, go, a, limit), STEP, TRUE, A, np.float32(0))
    return graph, [np.array(100), TRUE, A, np.array(1e4, np.float32)]


def no_trips() -> tuple[Graph, list[Array]]:
    graph, (_, *others) = fibonacci()
    return graph, [np.array(0), *others]


def negative_trips() -> tuple[Graph, list[Array]]:
    graph, (_, *others) = fibonacci()
    return graph, [np.array(-3), *others]


def false_at_first() -> tuple[Graph, list[Array]]:
    graph, (n, _, *others) = early_exit()
    return graph, [n, np.array(False), *others]


def counted_with_slices() -> tuple[Graph, list[Array]]:
    """More trips than are unrolled; the slices are of values that stay, change, and come from outside."""
    trip = body(lambda i, go, a, w: (go, Tanh()(a * w + 0.25), a, w, i), STEP, TRUE, A, B)
    return graph_of(lambda a, w: Loop(trip, captured=1)(const(700), None, a, w), A, B), [A, B]


def nothing() -> tuple[Graph, list[Array]]:
    """No trips, with slices; and trips over tensors without elements."""
    trip = body(lambda i, go, a: (go, a + a, a), STEP, TRUE, A)
    empty = body(lambda i, go, a: (go, a + a, a), STEP, TRUE, A[:0])

    def network(a: Value, b: Value) -> list[Value]:
        return [*Loop(trip)(const(0), None, a), *Loop(empty)(const(700), None, b)]

    return graph_of(network, A, A[:0]), [A, A[:0]]


def long_scan() -> tuple[Graph, list[Array]]:
    """Backwards along the last axis of one input, forwards along another; slices stacked in both directions."""
    x, y = np.random.default_rng(0).standard_normal((2, 3, 600)).astype(np.float32), np.ones((600, 2, 3), np.float32)
    step = body(lambda h, s, t: (Tanh()(h + s) * t, h * s, h), A, A, A)
    scan = Scan(step, 2, (2, 0), (1, 0), (-1, 1), (0, 1))
    return graph_of(lambda h, s, t: scan(h, s, t), A, x, y), [A, x, y]


def choice(taken: bool) -> tuple[Graph, list[Array]]:
    """Branches that give a computed value, one from outside, a constant, and one value twice."""
    then = body(lambda a, b: (a + b, a, const(A), b), A, B)

    def other(a: Value, b: Value) -> tuple[Value, ...]:
        made = a * b
        return made, made, b, const(B)

    graph = graph_of(lambda c, a, b: If(then, body(other, A, B))(c, a, b), TRUE, A, B)
    return graph, [np.array(taken), A, B]


def nested() -> tuple[Graph, list[Array]]:
    """A loop in a branch in a loop: inner trips depend on the outer one, both read what is around them."""
    inner = body(lambda i, go, a, w, n: (Less()(i, n), a * w + a), STEP, TRUE, A, B, STEP)
    then = body(lambda a, w, n: Loop(inner, captured=2)(None, const(True, bool_), a, w, n), A, B, STEP)
    otherwise = body(lambda a, w, n: a - w, A, B, STEP)

    def step(i: Value, go: Value, a: Value, b: Value, w: Value) -> tuple[Value, ...]:
        odd = Greater()(ReduceSum(keepdims=False)(a), ReduceSum(keepdims=False)(b))
        return go, If(then, otherwise)(odd, a, w, i), a, odd

    trip = body(step, STEP, TRUE, A, B, B)
    graph = graph_of(lambda a, b, w: Loop(trip, captured=1)(const(300), None, a, b, w), A, B, B)
    return graph, [A / 8, B, B / 16]


def images() -> tuple[Graph, list[Array]]:
    """Convolutions, whose inputs are copied into other layouts: of what a branch and a loop give, and around them."""
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 1, 16, 9, 10)).astype(np.float32)
    w = (rng.standard_normal((16, 16, 3, 3)) / 12).astype(np.float32)
    conv = Conv(pads=(1, 1, 1, 1))
    then, otherwise = body(lambda a, b: conv(a, const(w)) + b, x, x), body(lambda a, b: a, x, x)

    def step(i: Value, go: Value, a: Value, b: Value, w: Value) -> tuple[Value, ...]:
        odd = Greater()(ReduceSum(keepdims=False)(a), ReduceSum(keepdims=False)(b))
        chosen = If(then, otherwise)(odd, a, b)
        return go, Tanh()(conv(chosen, w) + conv(b, const(w_known)) + conv(chosen, const(w_known))), conv(a, w)

    w_known = w[::-1].copy()
    trip = body(step, STEP, TRUE, x, x, w)

    def network(n: Value, a: Value, b: Value, w: Value) -> list[Value]:
        last, before = Loop(trip, captured=1)(n, None, a, conv(b, w), w)
        return [conv(last, w), conv(before, const(w_known)), conv(b, const(w_known))]

    return graph_of(network, STEP, x, x, w), [np.array(5), x, other, w]


CASES: dict[str, Callable[[], tuple[Graph, list[Array]]]] = {
    f.__name__: f
    for f in (fibonacci, rotation, copies, early_exit, no_trips, negative_trips, false_at_first, counted_with_slices,
              nothing, long_scan, nested, images)
} | {"then": lambda: choice(True), "otherwise": lambda: choice(False)}  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_programs(name: str, shared: bool, request: pytest.FixtureRequest):
    if shared:
        request.getfixturevalue("all_shared")
    graph, feeds = CASES[name]()
    want = interpret(graph, feeds)
    found = set()
    for count in (1, 2, 3):
        executable = native(graph, count)
        for _ in range(3):
            got = executable.run(feeds)
            for g, w in zip(got, want, strict=True):
                np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)
            found.add(b"".join(g.tobytes() for g in got))
    assert len(found) == 1
    outside = graphc.compile(graph, backend="onnxruntime").run(
        dict(zip([v.name for v in graph.inputs], feeds, strict=True))
    )
    for g, w in zip(got, outside.values(), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


# -- random programs --------------------------------------------------------------------------------------------------
SIZE = 37  # not a multiple of a vector
WORDS = TensorType(int32, (SIZE,))


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """Branches and loops in one another on vectors of integers, in which every bit counts."""
    inputs = [Value(WORDS, name=f"x{k}") for k in range(3)]
    return Graph(inputs, statements(draw, inputs, 3)[-3:])


def statements(draw: st.DrawFn, given: Sequence[Value], depth: int) -> list[Value]:
    """`given` and what some statements make of it."""
    known = list(given)

    def some(count: int) -> list[Value]:
        return [known[draw(st.integers(0, len(known) - 1))] for _ in range(count)]

    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["if", "loop", "scan", "op", "op"] if depth else ["op"]))
        if kind == "op":
            known.append(computed(draw, *some(2)))
            continue
        captured = list(dict.fromkeys(some(draw(st.integers(1, 3)))))
        if kind == "if":
            count = draw(st.integers(1, 2))
            branches = [block(draw, captured, depth - 1, count) for _ in range(2)]
            known += If(*branches).apply([condition(draw, *some(1)), *captured])
            continue
        carried = some(draw(st.integers(1, 3)))
        if kind == "scan":
            rows = [x.reshape([1, SIZE]) for x in some(3)]
            step = block(draw, [*carried, known[0], *captured], depth - 1, len(carried) + 1)
            backwards, reverse = draw(st.integers(0, 1)), draw(st.integers(0, 1))
            scan = Scan(step, 1, None, (backwards,), None, (reverse,), len(captured))
            *last, stacked = scan.apply([*carried, Concat(0)(*rows), *captured])
            known += [*last, Gather(0)(stacked, const(draw(st.integers(0, 2))))]
            continue
        trips = draw(st.sampled_from([0, 1, 2, 5]))
        trip = loop_body(draw, carried, captured, depth - 1)
        bounded = Max()(const(trips, int64), element(draw, *some(1)).cast(int64))  # 0 to 3, known at run time only
        known += Loop(trip, captured=len(captured)).apply([bounded, None, *carried, *captured])
    return known


def computed(draw: st.DrawFn, a: Value, b: Value) -> Value:
    kind = draw(st.sampled_from(["add", "sub", "xor", "max", "reverse", "rotate", "copy"]))
    if kind == "reverse":
        return Slice()(a, const([SIZE - 1]), const([-SIZE - 1]), const([0]), const([-1]))
    if kind == "rotate":
        head, tail = (Slice()(a, const([m]), const([n])) for m, n in ((0, 5), (5, SIZE)))
        return Concat(0)(tail, head)
    if kind == "copy":
        return a.reshape([SIZE, 1]).reshape([SIZE])
    return {"add": a + b, "sub": a - b, "xor": BitwiseXor()(a, b), "max": Max()(a, b)}[kind]


def element(draw: st.DrawFn, x: Value) -> Value:
    """The last two bits of an element."""
    found = Gather(0)(x, const(draw(st.integers(0, SIZE - 1))))
    return found - found / 4 * 4


def condition(draw: st.DrawFn, x: Value) -> Value:
    return Less()(element(draw, x), const(draw(st.integers(-1, 3)), int32))


def block(draw: st.DrawFn, captured: Sequence[Value], depth: int, count: int) -> Graph:
    inputs = [Value(WORDS, name=f"b{k}") for k in range(len(captured))]
    made = statements(draw, inputs, depth)
    return Graph(inputs, [made[draw(st.integers(0, len(made) - 1))] for _ in range(count)])


def loop_body(draw: st.DrawFn, carried: Sequence[Value], captured: Sequence[Value], depth: int) -> Graph:
    number, going = Value(TensorType(int64, ()), name="i"), Value(TensorType(bool_, ()), name="c")
    inputs = [Value(WORDS, name=f"b{k}") for k in range(len(carried) + len(captured))]
    made = statements(draw, [*inputs, inputs[0] + number.cast(int32)], depth)
    on = going if draw(st.booleans()) else condition(draw, made[-1])
    return Graph([number, going, *inputs], [on, *(made[draw(st.integers(0, len(made) - 1))] for _ in carried)])


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 2**31 - 1))
def test_random_programs(graph: Graph, seed: int):
    rng = np.random.default_rng(seed)
    feeds = [rng.integers(-9, 9, SIZE).astype(np.int32) for _ in graph.inputs]
    want = interpret(graph, feeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "WORTH_SHARING", 0.0)
        patch.setattr(schedules, "GRAIN", 1)
        patch.setattr(unroll, "MAX_NODES", 0)
        for count in (1, 2):
            executable = native(graph, count)
            for _ in range(2):
                for g, w in zip(executable.run(feeds), want, strict=True):
                    np.testing.assert_array_equal(g, w)


# -- beyond results ---------------------------------------------------------------------------------------------------
def endless(size: int = 4) -> Graph:
    """A loop whose condition never becomes false, unless a number is read that is not there."""

    def step(i: Value, go: Value, a: Value, table: Value, n: Value) -> tuple[Value, ...]:
        return go, a + Gather(0)(table, n)

    table = np.zeros(3, np.float32)
    trip = body(step, STEP, TRUE, np.zeros(size, np.float32), table, STEP)
    loop = Loop(trip, captured=2)
    x, t, n = (Value(TensorType(*of), name=name) for name, of in
               {"x": (float32, (size,)), "t": (float32, (3,)), "n": (int64, ())}.items())  # fmt: skip
    return Graph([x, t, n], [loop(None, None, x, t, n)], ["y"])


def endless_feeds(n: int, size: int = 4) -> dict[str, Array]:
    return {"x": np.zeros(size, np.float32), "t": np.ones(3, np.float32), "n": np.array(n)}


class TestStopping:
    @pytest.fixture(params=[1, 2])
    def model(self, request: pytest.FixtureRequest, all_shared: None) -> graphc.CompiledModel:
        model = graphc.compile(endless(), backend="llvm", threads=request.param)
        assert [p.backend for p in model.placement()] == ["llvm"]
        return model

    def test_a_time_limit(self, model: graphc.CompiledModel):
        for _ in range(2):
            start = time.perf_counter()
            with pytest.raises(graphc.Timeout):
                model.run(endless_feeds(1), timeout=0.2)
            assert 0.2 <= time.perf_counter() - start < 2

    @pytest.mark.skipif(os.name != "posix", reason="signals")
    def test_ctrl_c(self, model: graphc.CompiledModel):
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            model.run(endless_feeds(1))
        assert time.perf_counter() - start < 3

    def test_a_limit_on_trips(self, all_shared: None):
        for count in (1, 2):
            limits = graphc.Limits(max_loop_trips=1000)
            model = graphc.compile(endless(), backend="llvm", threads=count, limits=limits)
            for _ in range(2):
                with pytest.raises(graphc.ResourceLimit, match="stopped after 1,000 trips"):
                    model.run(endless_feeds(1))

    def test_exactly_as_many_trips_as_are_allowed(self):
        graph, feeds = fibonacci()
        for most in (5, 4):
            model = graphc.compile(graph, backend="llvm", limits=graphc.Limits(max_loop_trips=most))
            if most == 5:
                np.testing.assert_allclose(model(*feeds)[0], interpret(graph, feeds)[0])
            else:
                with pytest.raises(graphc.ResourceLimit, match="stopped after 4 trips"):
                    model(*feeds)

    def test_an_index_that_is_out_of_range(self, model: graphc.CompiledModel):
        """It ends the loop, which else would go on for ever; the error names the op."""
        for _ in range(3):
            with pytest.raises(graphc.ExecutionError, match="Gather"):
                model.run(endless_feeds(3))


def test_division_by_zero_only_where_the_branch_is_taken():
    then, otherwise = (
        body(lambda a, b: Div()(a, b), np.int32(1), np.int32(1)),
        body(lambda a, b: a, np.int32(1), np.int32(1)),
    )
    graph = graph_of(lambda c, a, b: If(then, otherwise)(c, a, b), TRUE, np.int32(1), np.int32(1))
    model = graphc.compile(graph, backend="llvm")
    names = [v.name for v in model.inputs]

    def run(taken: bool, b: int) -> int:
        feeds = np.array(taken), np.array(7, np.int32), np.array(b, np.int32)
        return int(model.run(dict(zip(names, feeds, strict=True)))["output0"])

    assert (run(True, 2), run(False, 0)) == (3, 7)
    with pytest.raises(graphc.ExecutionError, match="Div"):
        run(True, 0)


class TestReasons:
    """Why a node with bodies is not native."""

    def reason(self, graph: Graph) -> str | None:
        return LlvmBackend().supports(graph.outputs[0].node)

    def test_a_node_in_a_body(self):
        trip = body(lambda i, c, a: (c, a + Shape()(NonZero()(a)).cast(float32).sum()), STEP, TRUE, A)
        graph = graph_of(lambda n, a: Loop(trip)(n, None, a), STEP, A)
        assert self.reason(graph).startswith("NonZero in a body: ")
        branch = body(lambda n, a: Loop(trip)(n, None, a), STEP, A)
        other = body(lambda n, a: a, STEP, A)
        graph = graph_of(lambda c, n, a: If(branch, other)(c, n, a), TRUE, STEP, A)
        assert self.reason(graph).startswith("NonZero in a body: ")

    def test_sequences(self):
        branch = body(lambda a, n: SequenceAt()(SequenceConstruct()(a, a), n), A, STEP)
        other = body(lambda a, n: a, A, STEP)
        graph = graph_of(lambda c, a, n: If(branch, other)(c, a, n), TRUE, A, STEP)
        assert self.reason(graph) == "SequenceConstruct in a body: sequences and optionals are not native"

    def test_shapes_that_depend_on_data(self):
        trip = body(lambda i, c, a: (c, a, a), STEP, TRUE, A)
        graph = graph_of(lambda n, a: Loop(trip)(n, None, a), STEP, A)
        assert "output 1, " in self.reason(graph)
        assert self.reason(graph).endswith("has a shape that is known only at run time")

    def test_bodies_in_bodies(self):
        graph = body(lambda c, a: a + 1.0, TRUE, A)
        for depth in range(2 * MAX_NESTING + 1):
            other = body(lambda c, a: a, TRUE, A)
            graph = body(lambda c, a, t=graph, e=other: If(t, e)(c, c, a), TRUE, A)
            if depth in (0, MAX_NESTING - 1, MAX_NESTING, 2 * MAX_NESTING):
                reason = self.reason(graph)
                assert reason == (
                    None if depth < MAX_NESTING else "If in a body: bodies in bodies are nested too deeply"
                )


class TestProfile:
    @pytest.mark.parametrize("count", [1, 2])
    def test_calls_of_kernels_in_bodies(self, count: int, all_shared: None):
        """In a loop many, in a branch that is not taken none."""
        then, otherwise = body(lambda a: a * a, A), body(lambda a: Tanh()(a), A)

        def step(i: Value, c: Value, a: Value, limit: Value) -> tuple[Value, ...]:
            return Less()(i, limit), a + If(then, otherwise)(Less()(i, const(4)), a)

        trip = body(step, STEP, TRUE, A, STEP)
        graph = graph_of(lambda a, n: Loop(trip, captured=1)(None, None, a, n), A, STEP)
        model = graphc.compile(graph, backend="llvm", threads=count)
        feeds = [A / 100, np.array(9)]
        want = model(*feeds)
        found = model.profile(feeds, repeat=2)
        calls = {t.op: t.calls for t in found}
        assert (calls["Mul"], calls["Tanh"], calls["Add"]) == (4, 6, 10)
        again = model.profile([A / 100, np.array(2)], repeat=1)
        assert {t.op: (t.calls, t.seconds) for t in again}["Tanh"] == (0, 0.0)
        for t in found:
            assert t.seconds > 0
            assert 0 <= t.start < found.seconds + 1
            assert t.bytes is None or t.bytes % t.calls == 0
        assert model(*feeds).tobytes() == want.tobytes()

    def test_bytes_are_those_of_the_slices(self):
        rows = np.ones((600, 48), np.float32)
        scan = Scan(body(lambda h, s: h * s + s, rows[0], rows[0]), 1)
        found = graphc.compile(graph_of(scan, rows[0], rows), backend="llvm").profile([rows[0], rows], repeat=1)
        assert {t.op: t.bytes for t in found if t.op in ("Gather", "Mul+Add")} == {
            "Gather": 600 * (2 * 192 + 8),
            "Mul+Add": 600 * 3 * 192,
        }


def test_memory_is_shared_within_a_body_and_held_around_it():
    """What is read in every trip outlives the loop; what is made in one does not outlive that."""
    big = np.ones((64, 64), np.float32)

    def step(i: Value, c: Value, a: Value, w: Value) -> tuple[Value, ...]:
        for _ in range(8):
            a = Tanh()(a @ w)
        return c, a

    trip = body(step, STEP, TRUE, big, big)
    graph = graph_of(lambda n, a, w: Loop(trip, captured=1)(n, None, a, Tanh()(w)), STEP, big, big)
    whole = native(graph).only.whole
    assert whole.arena <= 6 * big.nbytes
