"""What saving writes: opsets, names, constants, bodies; and that onnxruntime runs it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest

import graphc
from graphc.dims import parse_dim, sym, unknown
from graphc.equality import graph_equal
from graphc.errors import CompileError, GraphcError, UnsupportedVersion
from graphc.frontends.onnx import load, save
from graphc.frontends.onnx.downgrade import form_of, in_opset
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.models import NETWORKS
from graphc.models.light import FOLDER, NAMES, light
from graphc.ops import BY_NAME
from graphc.ops.base import Constant, const
from graphc.ops.control import If
from graphc.ops.fused import Fused
from graphc.types import Array, DType, Tensor, TensorType, bfloat16, bool_, float32, int4, int64


def op(name: str, *xs: Value | None, called: str = "", **attributes: object) -> Value:
    """One output of an operator."""
    cls: object = BY_NAME["", name]
    value: Value = cls(**attributes).apply(xs, called)[0]  # type: ignore[operator]
    return value


def x(*shape: object, dtype: DType = float32, name: str = "x") -> Value:
    return Value(TensorType(dtype, shape), name=name)  # type: ignore[arg-type]


def run(model: onnx.ModelProto, *inputs: Array) -> list[Array]:
    """The outputs in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))))


def opset(model: onnx.ModelProto) -> int:
    return int(model.opset_import[0].version)


# -- whole networks ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_light_models_come_back(name: str) -> None:
    graph = load(FOLDER / f"light_{name}.onnx")
    for version in (13, None):
        saved = save(graph, opset=version)
        assert opset(saved) == (version or 21)
        onnx.checker.check_model(saved)
        assert graph_equal(load(saved), graph)


@pytest.mark.parametrize("name", ["densenet121", "inception_v2", "shufflenet", "squeezenet"])
def test_light_models_run_in_onnxruntime(name: str) -> None:
    original = light(name, batch="n")
    image = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    want = run(original, image)[0]
    graph = load(original)
    for version in (13, None):
        np.testing.assert_allclose(run(save(graph, opset=version), image)[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_said_in_opset_13_and_newer(name: str) -> None:
    nodes = [n for n in NETWORKS[name]().nodes if not isinstance(n.op, Constant)]
    oldest = 20 if any(n.op.name == "Gelu" for n in nodes) else 13  # Gelu is new in opset 20
    for version in range(oldest, onnx.defs.onnx_opset_version() + 1):
        for node in nodes:
            in_opset(form_of(node, 0), version)


@pytest.mark.parametrize("name", ["perceptron", "temperature_mlp", "mlp", "lenet5", "resnet18"])
def test_networks_run_in_onnxruntime(name: str) -> None:
    graph = NETWORKS[name](**({"image_size": 64} if name == "resnet18" else {}))
    rng = np.random.default_rng(0)
    shapes = [[d if isinstance(d, int) else 1 for d in v.shape or ()] for v in graph.inputs]
    feeds = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    wants = interpret(graph, feeds)
    for version in (13, 17, 18, None):
        saved = save(graph, opset=version)
        onnx.checker.check_model(saved, full_check=True)
        assert graph_equal(load(saved), graph, names=False)
        for got, want in zip(run(saved, *feeds), wants, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


# -- opsets -----------------------------------------------------------------------------------------------------------
def test_the_oldest_opset_that_says_it() -> None:
    a = x(2, 3)
    assert opset(save(Graph([a], [op("Relu", a)]))) == 21
    assert opset(save(Graph([a], [op("Swish", a)]))) == 24
    wide = x(2, dtype=bfloat16)
    assert opset(save(Graph([wide], [op("Sin", wide)]))) == 22  # bfloat16 since then


def test_the_ir_version_is_the_oldest_that_fits() -> None:
    a = x(2)
    graph = Graph([a], [op("Relu", a)])
    assert [save(graph, opset=v).ir_version for v in (13, 15, 21, 24)] == [7, 8, 10, 12]
    assert save(graph, opset=13, ir_version=9).ir_version == 9
    four = Graph([], [const(np.zeros(2, int4.numpy), name="w")])
    assert save(four, opset=13).ir_version == 10
    for impossible in (3, 999):
        with pytest.raises(UnsupportedVersion, match="does not fit"):
            save(graph, ir_version=impossible)


@pytest.mark.parametrize("version", [0, 6, 99])
def test_impossible_opsets(version: int) -> None:
    a = x(2)
    with pytest.raises(UnsupportedVersion, match="possible 7–"):
        save(Graph([a], [op("Relu", a)]), opset=version)


@pytest.mark.parametrize(("name", "attributes", "message"), [
    ("Gelu", {}, "Gelu exists since opset 20"), ("HardSwish", {}, "HardSwish exists since opset 14"),
    ("Shape", {"start": 1}, "it has no attribute 'start'"),
])  # fmt: skip
def test_what_an_old_opset_lacks(name: str, attributes: dict[str, object], message: str) -> None:
    a = x(2)
    with pytest.raises(UnsupportedVersion, match=message):
        save(Graph([a], [op(name, a, **attributes)]), opset=13)


def test_element_types_of_an_old_opset() -> None:
    a = x(2, dtype=bfloat16)
    graph = Graph([a], [op("Sin", a)])
    with pytest.raises(UnsupportedVersion, match="cannot be bf16"):
        save(graph, opset=21)


def values(*numbers: int) -> Value:
    return const(np.array(numbers, np.int64))


IMAGE = (1, 2, 4, 4)
DOWNGRADES: list[tuple[str, Graph]] = []
for reduction in ("ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp", "ReduceProd"):
    a = x(2, 3)
    DOWNGRADES.append((reduction, Graph([a], [op(reduction, a, values(-1)), op(reduction, a, keepdims=False)], "pq")))
a = x(4, 2)
DOWNGRADES.append(("Split", Graph([a], BY_NAME["", "Split"](num_outputs=2, outputs=2).apply((a,)), "pq")))  # type: ignore[call-arg]
a, g = x(*IMAGE), x(1, 3, 3, 2, name="g")
DOWNGRADES.append(("GridSample", Graph([a, g], [op("GridSample", a, g, mode="cubic")])))
a = x(*IMAGE)
scales = const(np.array([1, 1, 2, 2], np.float32))
DOWNGRADES.append(("Resize", Graph([a], [op("Resize", a, None, scales, mode="linear")])))
statistics = [const(np.array(v, np.float32)) for v in ([1, 2], [3, 4], [5, 6], [7, 8])]
DOWNGRADES.append(("BatchNormalization", Graph([a], [op("BatchNormalization", a, *statistics)])))
DOWNGRADES.append(("Pad", Graph([a], [op("Pad", a, values(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")])))
DOWNGRADES.append(("Clip", Graph([a], [op("Clip", a, const(np.float32(-0.5)), const(np.float32(0.5)))])))


@pytest.mark.parametrize(("name", "graph"), DOWNGRADES, ids=[name for name, _ in DOWNGRADES])
@pytest.mark.parametrize("version", [13, 16, 17, 18, 20])
def test_older_forms_mean_the_same(name: str, graph: Graph, version: int) -> None:
    if name == "GridSample" and version < 16:
        with pytest.raises(UnsupportedVersion, match="exists since opset 16"):
            save(graph, opset=version)
        return
    saved = save(graph, opset=version)
    onnx.checker.check_model(saved, full_check=True)
    rng = np.random.default_rng(0)
    feeds = [rng.uniform(-1, 1, v.shape).astype(np.float32) for v in graph.inputs]  # type: ignore[arg-type]
    expected = interpret(graph, feeds)
    for results in (run(saved, *feeds), interpret(load(saved), feeds)):
        for got, want in zip(results, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_forms_that_only_constants_have() -> None:
    a, axes = x(2, 3), x(1, dtype=int64, name="axes")
    with pytest.raises(UnsupportedVersion, match="computed at run time"):
        save(Graph([a, axes], [op("ReduceMean", a, axes)]), opset=13)
    with pytest.raises(UnsupportedVersion, match="noop_with_empty_axes"):
        save(Graph([a], [op("ReduceMean", a, noop_with_empty_axes=True)]), opset=13)
    uneven = BY_NAME["", "Split"](num_outputs=2, outputs=2).apply((x(5),))  # type: ignore[call-arg]
    with pytest.raises(UnsupportedVersion, match="may differ in size"):
        save(Graph([uneven[0].node.inputs[0]], uneven, "pq"), opset=13)  # type: ignore[union-attr, list-item]


# -- names and outputs ------------------------------------------------------------------------------------------------
def test_names_are_made_unique() -> None:
    a = x(2, name="a")
    first, second = op("Relu", a, called="a"), op("Neg", a, called="a")
    nameless = op("Add", first, second)
    saved = save(Graph([a], [op("Abs", nameless, called="")], ["y"]))
    onnx.checker.check_model(saved)
    assert [n.name for n in saved.graph.node] == ["a", "a_1", "", ""]  # onnxruntime wants that
    names = [o for n in saved.graph.node for o in n.output]
    assert len({"a", *names}) == 5
    np.testing.assert_array_equal(run(saved, np.array([1, -2], np.float32))[0], [0, 2])


def test_many_equal_names_take_linear_time() -> None:
    value = a = x(2, name="a")
    for _ in range(20_000):
        value = op("Relu", value, called="a")
    saved = save(Graph([a], [value], ["y"]))
    for node in saved.graph.node:
        node.name = "n"
    assert len({n.name for n in load(saved).nodes}) == 20_000


def test_outputs_that_are_inputs_constants_or_twice_there() -> None:
    a, w = x(2, name="a"), const(np.array([3, 4], np.float32), name="w")
    y = op("Neg", a, called="n")
    graph = Graph([a], [a, w, y, y, a, w], ["a", "w", "y", "y2", "a2", "w2"])
    saved = save(graph)
    onnx.checker.check_model(saved)
    array = np.array([1, -2], np.float32)
    for got, want in zip(run(saved, array), interpret(graph, [array]), strict=True):
        np.testing.assert_array_equal(got, want)
    assert [o.name for o in saved.graph.output] == list(graph.output_names)
    assert sum(n.op_type == "Identity" for n in saved.graph.node) == 3


def test_dimensions_are_written_as_text() -> None:
    n, k = sym("n"), unknown()
    a, b = x(n, 3, name="a"), x(k, k, unknown(), sym("batch size"), parse_dim("2*n + 1"), name="b")
    graph = Graph([a, b], [op("Relu", a, called="p"), op("Relu", b, called="q")], name="g")
    saved = save(graph)
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in saved.graph.input]
    assert dims == [["n", 3], ["?0", "?0", 0, "batch size", "2*n + 1"]]
    assert not saved.graph.input[1].type.tensor_type.shape.dim[2].WhichOneof("value")
    assert graph_equal(load(saved), graph)
    rankless = save(Graph([c := Value(TensorType(float32, None), name="c")], [op("Relu", c)]))
    assert not rankless.graph.input[0].type.tensor_type.HasField("shape")


def test_saving_is_deterministic() -> None:
    first = x(unknown(), 2)
    second = x(unknown(), 2)
    graphs = [Graph([v], [op("Relu", v)]) for v in (first, second)]
    assert len({save(g).SerializeToString(deterministic=True) for g in graphs}) == 1


# -- bodies -----------------------------------------------------------------------------------------------------------
def test_fused_nodes_are_inlined() -> None:
    inner_x = x(2, name="p")
    inner = Graph([inner_x], [op("Neg", op("Relu", inner_x, called="r"), called="n")])
    outer_x = x(2, name="q")
    outer = Graph([outer_x], [op("Abs", Fused(inner)(outer_x), called="b")])
    a = x(2)
    saved = save(Graph([a], [Fused(outer)(Fused(inner)(a))], ["y"]))
    assert [n.op_type for n in saved.graph.node] == ["Relu", "Neg", "Relu", "Neg", "Abs"]
    assert {d.domain for d in saved.opset_import} == {""}
    np.testing.assert_array_equal(run(saved, np.array([1, -2], np.float32))[0], [0, 0])


def test_bodies_read_outer_names_and_share_constants() -> None:
    w = const(np.arange(1000, dtype=np.float32), name="w")
    a, c = x(1000), x(dtype=bool_, name="c")
    bodies = []
    for name in ("Add", "Mul"):
        inside = x(1000, name="x")
        again = const(w.node.op.value, name="w")  # type: ignore[union-attr]
        bodies.append(Graph([inside], [op(name, inside, again, called=name)], name=name))
    graph = Graph([a, c], [If(*bodies)(c, a, name="choose")], ["y"], name="g")
    saved = save(graph)
    onnx.checker.check_model(saved)
    branches = [attribute.g for attribute in saved.graph.node[0].attribute]
    assert all(not b.input and not b.initializer for b in branches)
    assert [list(b.node[0].input) for b in branches] == [["x", "w"], ["x", "w"]]
    assert [t.name for t in saved.graph.initializer] == ["w"]
    assert graph_equal(load(saved), graph)
    array = np.ones(1000, np.float32)
    np.testing.assert_array_equal(run(saved, array, np.array(True))[0], array + np.arange(1000))


def test_a_body_that_gives_what_it_was_given() -> None:
    inside = [x(2, name="x"), x(2, name="x")]
    bodies = [Graph([inside[0]], [inside[0]]), Graph([inside[1]], [op("Neg", inside[1])])]
    a, c = x(2), x(dtype=bool_, name="c")
    saved = save(Graph([a, c], [If(*bodies)(c, a)], ["y"]))
    onnx.checker.check_model(saved)
    array = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(run(saved, array, np.array(True))[0], array)


# -- targets ----------------------------------------------------------------------------------------------------------
def test_weights_put_aside() -> None:
    """Large ones of the main graph, of whole bytes; onnxruntime takes them from memory."""
    rng = np.random.default_rng(0)
    w = const(rng.standard_normal((64, 32)).astype(np.float32), name="w")
    half = const(rng.standard_normal((32, 32)).astype(np.float32).astype(bfloat16.numpy), name="half")
    nibbles = const(rng.integers(-8, 8, (32, 64)).astype(int4.numpy), name="nibbles")
    inner = const(rng.standard_normal((64, 32)).astype(np.float32), name="inner")
    bodies = [Graph([], [op("Identity", v)], ["y"]) for v in (inner, const(np.ones((64, 32), np.float32), name="ones"))]
    condition = x(dtype=bool_, name="c")
    chosen = If(*bodies)(condition)
    y = op("Add", op("Mul", op("MatMul", chosen, op("Cast", half, to=float32)), w), const(np.float32(1), name="one"))
    wide = op("Cast", nibbles, to=float32)
    graph = Graph([condition], [y, wide], ["y", "wide"])
    aside: dict[str, Tensor] = {}
    model = save(graph, aside=aside)
    assert set(aside) == {"w", "half"}
    assert aside["w"] is w.node.op.value  # type: ignore[union-attr]
    outside = {t.name: t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer}
    assert outside == {"w": True, "half": True, "nibbles": False, "one": False}
    given = [np.array(True)]
    results = graphc.compile(graph, backend="onnxruntime").run(given)
    for got, want, ours in zip(results.values(), run(save(graph), *given), interpret(graph, given), strict=True):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_allclose(got, ours, rtol=1e-5, atol=1e-5)


def test_targets(tmp_path: Path) -> None:
    a = x(2)
    graph = Graph([a], [op("Relu", a)])
    buffer = io.BytesIO()
    proto = save(graph, buffer)
    save(graph, tmp_path / "m.onnx")
    save(graph, str(tmp_path / "n.onnx"))
    written = [buffer.getvalue(), *(p.read_bytes() for p in sorted(tmp_path.iterdir()))]
    assert written == [proto.SerializeToString(deterministic=True)] * 3
    assert proto.producer_name == "graphc"


def test_links_stay_links(tmp_path: Path) -> None:
    a = x(2)
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    save(Graph([a], [op("Relu", a)]), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert load(tmp_path / "real.onnx").nodes


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    a = x(2)
    graph = Graph([a], [op("Relu", a)])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(CompileError, match="not a regular file"):
            save(graph, tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]
    for odd in ("a\0b", "\ud800"):
        with pytest.raises(CompileError, match="not a file name"):
            save(graph, odd)


class Halve(Op):
    """An op of somebody's own, which is made of nothing that ONNX has."""

    domain: ClassVar[str] = "graphc"

    def infer(self, x: Value) -> TensorType:
        return x.tensor


def test_operators_that_onnx_does_not_have() -> None:
    a = x(2)
    with pytest.raises(GraphcError, match=r"graphc\.Halve is not in ONNX"):
        save(Graph([a], Halve().apply((a,))))
