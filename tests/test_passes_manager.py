"""The pass manager: pipelines, reports, dumps, and the checks that find a guilty pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.errors import CompileError, ExecutionError, VerificationError
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops.arithmetic import Add, Div, Neg
from graphc.ops.base import const
from graphc.ops.dropout import Dropout
from graphc.parse import parse
from graphc.passes.canonicalize import canonicalize
from graphc.passes.eliminate import eliminate
from graphc.passes.fold_constants import fold_constants
from graphc.passes.manager import optimize
from graphc.passes.pipelines import PIPELINES
from graphc.types import TensorType, float32, int32

LISTING = """
graph @g(%x: f32[batch,2]) {
  %one: f32[] = const 1.0
  %a: f32[batch,2] = Mul(%one, %x)
  %b: f32[batch,2] = Neg(%a)
  %c: f32[batch,2] = Neg(%b)
  %d: f32[batch,2] = Add(%one, %c)
  %e: f32[batch,2] = Neg(%d)
  return %e as "y"
}
"""


def negate_everything(graph: Graph) -> Graph:
    """A pass that is wrong."""
    return graph.with_outputs([-v for v in graph.outputs], graph.output_names)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels(level: int) -> None:
    graph = parse(LISTING)
    after, report = optimize(graph, level)
    data = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(interpret(after, [data])[0], interpret(graph, [data])[0])
    assert [p.name for p in report.passes] == [step.run.__name__ for step in PIPELINES[level]]
    assert (after is graph) == (level == 0)


def test_every_step_has_a_reason() -> None:
    assert all(step.reason for pipeline in PIPELINES.values() for step in pipeline)


def test_there_is_no_other_level() -> None:
    with pytest.raises(CompileError, match="no optimisation level 3, valid: 0, 1, 2"):
        optimize(parse(LISTING), 3)


def test_the_report_counts_and_tells_where_a_node_came_from() -> None:
    after, report = optimize(parse(LISTING), passes=[canonicalize, eliminate])
    assert [(p.name, p.before, p.after) for p in report.passes] == [("canonicalize", 5, 5), ("eliminate", 5, 2)]
    assert [f.rule for p in report.passes for f in p.fired] == [
        "constant_last",
        "constant_last",
        "drop_neutral",
        "drop_twice",
    ]
    assert [str(f) for f in report.history("Add 'd'")] == ["constant_last: Add 'd' -> Add 'd'"]
    assert "eliminate" in str(report)
    assert len(after.nodes) == 3


def test_on_pass_sees_every_pass() -> None:
    seen: list[tuple[str, int, int]] = []
    optimize(
        parse(LISTING),
        passes=[canonicalize, eliminate],
        on_pass=lambda name, before, after: seen.append((name, len(before.nodes), len(after.nodes))),
    )
    assert seen == [("canonicalize", 6, 6), ("eliminate", 6, 3)]


def test_check_2_names_the_guilty_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [canonicalize, negate_everything, eliminate]
    optimize(parse(LISTING), passes=passes)
    monkeypatch.setenv("GRAPHC_CHECK", "2")
    with pytest.raises(VerificationError, match="pass negate_everything changes output 'y'"):
        optimize(parse(LISTING), passes=passes)
    optimize(parse(LISTING), 2)


def test_check_2_leaves_random_graphs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CHECK", "2")
    x = Value(TensorType(float32, (50,)), name="x")
    training = const(np.array(True))
    graph = Graph([x], [Dropout()(x, const(np.float32(0.5)), training)])
    assert optimize(graph, 2)[0].nodes


def test_stop_bisects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_STOP", "1")
    after, report = optimize(parse(LISTING), passes=[canonicalize, negate_everything])
    assert [p.name for p in report.passes] == ["canonicalize"]
    assert len(after.nodes) == 6


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    def break_types(graph: Graph) -> Graph:
        x = Value(TensorType(float32, ("broken",)), name="x")  # type: ignore[arg-type]
        y = Neg()(x)
        y.type = TensorType(int32, (2,))
        return Graph([x], [y], graph.output_names)

    with pytest.raises(VerificationError, match="pass break_types breaks the graph"):
        optimize(parse(LISTING), passes=[break_types])


def test_a_pass_must_keep_the_names_of_inputs_and_outputs() -> None:
    def rename(graph: Graph) -> Graph:
        return graph.with_outputs(graph.outputs, ["z"])

    with pytest.raises(VerificationError, match="pass rename changes the names"):
        optimize(parse(LISTING), passes=[rename])


def test_dump_writes_each_graph_that_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "dump"))
    optimize(parse(LISTING), passes=[fold_constants, canonicalize, eliminate])
    names = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert names == ["g.00-input.txt", "g.02-canonicalize.txt", "g.03-eliminate.txt"]
    assert len(parse((tmp_path / "dump" / names[-1]).read_text("utf-8")).nodes) == 3


def test_debug_3_shows_rules(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRAPHC_DEBUG", "3")
    optimize(parse(LISTING), passes=[eliminate])
    shown = capsys.readouterr().err
    assert "drop_twice: Neg 'b' + Neg 'c' -> " in shown
    assert "graph @g(" in shown
    assert "eliminate" in shown


def test_folding_a_division_by_zero_names_the_node() -> None:
    x = Value(TensorType(int32, (2,)), name="x")
    zero = Div()(const(np.ones(2, np.int32)), const(np.zeros(2, np.int32)), name="ratio")
    with pytest.raises(ExecutionError, match="Div 'ratio': integer division by zero"):
        optimize(Graph([x], [Add()(x, zero)]), 1)


def test_folding_leaves_what_fails_in_a_branch_to_run_time() -> None:
    graph = parse("""
graph (%c: bool[], %x: i32[2]) {
  %0: i32[2] = If(%c, %x) {
    then_branch = (%a: i32[2]) {
      %1: i32[] = const 1
      %2: i32[] = const 0
      %3: i32[] = Div(%1, %2)
      %4: i32[2] = Add(%a, %3)
      yield %4
    }
    else_branch = (%b: i32[2]) {
      yield %b
    }
  }
  return %0
}
""")
    after, _ = optimize(graph, 2)
    data = np.array([1, 2], np.int32)
    np.testing.assert_array_equal(interpret(after, [np.array(False), data])[0], data)
    with pytest.raises(ExecutionError, match="integer division by zero"):
        interpret(after, [np.array(True), data])
