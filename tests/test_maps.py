"""Maps through everything that carries values: files, listings, passes, backends, the command line."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from typer.testing import CliRunner

import graphc
from graphc.cli import app
from graphc.difference import compare
from graphc.dims import unknown
from graphc.equality import graph_equal
from graphc.errors import ExecutionError, InvalidModel, ResourceLimit, ShapeError
from graphc.ir import Graph, Value
from graphc.ops.logic import Identity
from graphc.ops.ml_maps import CastMap, DictVectorizer, ZipMap
from graphc.parse import parse
from graphc.random import random_feeds
from graphc.runtime.ports import describe
from graphc.text import format_graph
from graphc.types import (
    MapType,
    OptionalType,
    SequenceType,
    TensorType,
    float32,
    float64,
    int64,
    join,
    same_type,
    string,
)

WORDS = MapType(string, float32)


def graph() -> Graph:
    """A map in; its row, and the row as maps again."""
    x = Value(WORDS, name="x")
    row = DictVectorizer(string_vocabulary=("b", "a"))(x)
    return Graph([x], [row, ZipMap(classlabels_strings=("b", "a"))(row)], ["row", "maps"])


FEED = {"a": 1.5, "q": 2.0}
WANT = {"row": np.array([[0, 1.5]], np.float32), "maps": [{"a": 1.5, "b": 0.0}]}


def check(got: dict[str, object]) -> None:
    assert list(got) == list(WANT)
    np.testing.assert_array_equal(got["row"], WANT["row"])
    assert got["maps"] == WANT["maps"]


@pytest.mark.parametrize("level", [0, 2])
def test_runs(level: int) -> None:
    model = graphc.compile(graph(), level=level)
    check(model.run({"x": FEED}))
    check(pickle.loads(pickle.dumps(model)).run({"x": FEED}))
    assert [str(p) for p in (*model.inputs, *model.outputs)] == [
        "x: map of string to float32",
        "row: float32 [1,2]",
        "maps: sequence of map of string to float32",
    ]


def test_results_are_the_callers_own() -> None:
    x = Value(WORDS, name="x")
    given = dict(FEED)
    first, second = graphc.compile(Graph([x], [Identity()(x), x], ["y", "z"]))(given)
    assert first == second == given
    assert type(first) is type(second) is dict
    first["a"] = 7
    assert second == given == FEED


def test_listing_and_file() -> None:
    text = format_graph(graph())
    assert "graph (%x: map(str,f32)) {" in text
    assert "%1: seq(map(str,f32)) = ai.onnx.ml.ZipMap(%0)" in text
    assert graph_equal(parse(text), graph())
    again = graphc.load(graphc.save(graph()).SerializeToString())
    assert graph_equal(graph(), again, names=False)
    check(graphc.compile(again).run([FEED]))
    with pytest.raises(graphc.InvalidModel, match="line 1: no element type is called f31"):
        parse(text.replace("f32", "f31", 1))


def test_onnxruntime_agrees() -> None:
    pytest.importorskip("onnxruntime")
    assert graphc.verify(graph(), {"x": FEED}, passes=True).ok
    assert graphc.verify(graph()).ok


def test_checked_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CHECK", "2")
    check(graphc.compile(graph()).run([FEED]))


def test_command_line(tmp_path) -> None:
    graphc.save(graph(), tmp_path / "maps.onnx")
    shown = CliRunner().invoke(app, ["run", str(tmp_path / "maps.onnx"), "-o", str(tmp_path / "out.npz")])
    assert shown.exit_code == 0, shown.output
    assert "map of 2 {a: " in shown.output
    files = np.load(tmp_path / "out.npz").files
    assert files == ["row", "maps.0.keys", "maps.0.values"]
    data = CliRunner().invoke(app, ["run", str(tmp_path / "maps.onnx"), "--json"])
    assert '"maps": [' in data.output


def test_types() -> None:
    numbers = MapType(int64, float32)
    assert join(WORDS, MapType(string, float32)) == WORDS
    with pytest.raises(ShapeError, match=r"types differ: map\(str,f32\) and map\(i64,f32\)"):
        join(WORDS, numbers)
    assert same_type(SequenceType(WORDS), SequenceType(MapType(string, float32)))
    assert not same_type(SequenceType(WORDS), SequenceType(numbers))
    assert not same_type(WORDS, TensorType(float32, ()))
    assert describe(OptionalType(numbers)) == "optional of map of int64 to float32"


def test_differences() -> None:
    assert compare({1: 1.0, 2: 3.0}, {2: 3.00001, 1: 1.0}).ok
    assert not compare({1: 1.0}, {1: 1.1}).ok
    assert compare({1: 1.0}, {2: 1.0}).note == "maps of different keys"
    assert not compare([{1: "a"}], [{1: "b"}]).ok


def test_no_gradients() -> None:
    with pytest.raises(InvalidModel, match="nothing to differentiate is called 'x'"):
        graphc.grad(graph(), ["x"])


def test_limits_and_run_time_sizes() -> None:
    x = Value(TensorType(float32, (unknown(), unknown())), name="x")
    model = graphc.compile(Graph([x], [ZipMap((1, 2))(x)], ["z"]), limits=graphc.Limits(max_tensor_bytes=10_000))
    assert model(np.ones((1, 2), np.float32)) == [{1: 1.0, 2: 1.0}]
    with pytest.raises(ExecutionError, match=r"2 labels for the 3 columns"):
        model(np.ones((1, 3), np.float32))
    with pytest.raises(ResourceLimit, match="list of maps"):
        model(np.ones((1000, 2), np.float32))
    m = Value(MapType(int64, float32), name="m")
    sparse = graphc.compile(Graph([m], [CastMap(map_form="SPARSE", max_map=3)(m)], ["y"]))
    for keys in ([-1, 0], [1, 3]):
        with pytest.raises(ExecutionError, match=rf"the keys go from {keys[0]} to {keys[1]}, valid 0\.\.2"):
            sparse(dict.fromkeys(keys, 1.0))


def test_random_feeds() -> None:
    for type in (WORDS, MapType(int64, string), MapType(string, float64), MapType(int64, int64)):
        (got,) = random_feeds(Graph([v := Value(type, name="x")], [Identity()(v)], ["y"])).values()
        assert got.type == type
        assert len(got) == 2
