"""Graphs that do not hang together. Numbers are rows of the threat table."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnx_models import info, model, node, relu

from graphc.errors import GraphcError, InvalidModel, ResourceLimit, ShapeError, UnsupportedOp
from graphc.frontends.onnx import ModelWarning, load
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.limits import Limits


def run(graph: Graph, *inputs: object) -> list[object]:
    return interpret(graph, inputs)


# -- operators --------------------------------------------------------------------------------------------------------
def test_10_all_unsupported_operators_are_listed() -> None:
    nodes = [
        node("Rellu", "x", "a"), node("Rellu", "a", "b"), node("Foo", "b", "c", domain="com.acme"),
        node("Bar", "c", "d", domain="com.nowhere"), node("Relu", "d", "y"),
    ]  # fmt: skip
    with pytest.raises(UnsupportedOp) as caught:
        load(model(nodes, domains={"com.acme": 1}))
    message = str(caught.value)
    assert "3 operators" in message
    assert "Rellu (no such operator. Did you mean 'Relu'?) ×2" in message
    assert "com.acme.Foo (domain com.acme is not known)" in message
    assert "com.nowhere.Bar (the model does not import the domain com.nowhere)" in message


def test_10_operators_of_other_opsets() -> None:
    with pytest.raises(UnsupportedOp, match=r"Gelu \(exists since opset 20, the model imports 13"):
        load(model([node("Gelu", "x", "y")], opset=13))
    with pytest.raises(UnsupportedOp, match=r"Upsample-10 \(removed in opset 10"):
        load(model([node("Upsample", "x s", "y")], opset=12, weights={"s": np.ones(1, np.float32)}))


def test_10_unsupported_in_a_body_counts() -> None:
    inner = helper.make_graph([node("Nope", "x", "b")], "b", [], [onnx.ValueInfoProto(name="b")])
    with pytest.raises(UnsupportedOp, match=r"Nope .*×2"):
        load(model([node("If", "c", "y", then_branch=inner, else_branch=inner)], [info("x"), info("c", (), 9)]))


# -- order and names --------------------------------------------------------------------------------------------------
def test_11_cycles_are_named() -> None:
    with pytest.raises(InvalidModel, match=r"cycle of 2 nodes: Add 'a' -> Relu 'b' -> Add 'a'"):
        load(model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]))
    with pytest.raises(InvalidModel, match=r"cycle of 1 nodes: Relu 'a' -> Relu 'a'"):
        load(model([node("Relu", "a", "a"), node("Relu", "a", "y")]))


def test_11_a_cycle_through_a_body() -> None:
    inner = helper.make_graph([node("Relu", "y", "b")], "b", [], [onnx.ValueInfoProto(name="b")])
    with pytest.raises(InvalidModel, match="cycle"):
        load(model([node("If", "c", "y", then_branch=inner, else_branch=inner)], [info("c", (), 9)]))


def test_11_a_long_cycle_is_found_quickly() -> None:
    nodes = [node("Relu", f"v{i}", f"v{(i + 1) % 20_000}") for i in range(20_000)]
    with pytest.raises(InvalidModel, match="cycle of 20000 nodes") as caught:
        load(model(nodes, outputs="v0"))
    assert len(str(caught.value)) < 1000


def test_12_unsorted_nodes_are_sorted() -> None:
    mixed = model([node("Relu", "b", "y"), node("Neg", "a", "b"), node("Abs", "x", "a")])
    with pytest.warns(ModelWarning, match="not in topological order"):
        graph = load(mixed)
    assert [n.op.name for n in graph.nodes] == ["Abs", "Neg", "Relu"]
    with pytest.raises(InvalidModel, match="not in topological order"):
        load(mixed, strict=True)


def test_13_undefined_names() -> None:
    with pytest.raises(InvalidModel, match=r"Relu 'y': the value 'weigth' does not exist. Did you mean 'weight'\?"):
        load(model([node("Relu", "weigth", "y")], [info("weight")]))
    with pytest.raises(InvalidModel, match=r"the value 'yy' does not exist. Did you mean 'y'\?"):
        load(model([node("Relu", "x", "y")], outputs="yy"))


@pytest.mark.parametrize("broken", [
    model([node("Relu", "x", "y"), node("Neg", "x", "y")]),
    model([node("Split", "x", "y y", num_outputs=2)]),
    model([node("Relu", "x", "x")], outputs="x"),
    model([node("Relu", "x", "y")], [info("x"), info("x")]),
    model([node("Relu", "x", "y")], outputs="y y"),
], ids=["two nodes", "one node", "input", "two inputs", "two outputs"])  # fmt: skip
def test_14_doubled_names(broken: onnx.ModelProto) -> None:
    with pytest.raises(InvalidModel, match="twice"):
        load(broken)


def test_14_doubled_initialisers() -> None:
    broken = model([node("Relu", "w", "y")], weights={"w": np.ones(2, np.float32)})
    broken.graph.initializer.append(broken.graph.initializer[0])
    with pytest.raises(InvalidModel, match="'w' is there twice"):
        load(broken)
    nameless = model([node("Relu", "x", "y")], weights={"w": np.ones(2, np.float32)})
    nameless.graph.initializer[0].name = ""
    with pytest.raises(InvalidModel, match="has no name"):
        load(nameless)


def test_14_a_name_that_hides_an_outer_one() -> None:
    inner = helper.make_graph([node("Neg", "x", "t"), node("Abs", "t", "b")], "b", [], [onnx.ValueInfoProto(name="b")])
    nodes = [
        node("Relu", "x", "t"),
        node("If", "c", "z", then_branch=inner, else_branch=inner),
        node("Add", "t z", "y"),
    ]
    hiding = model(nodes, [info("x"), info("c", (), 9)])
    with pytest.warns(ModelWarning, match="'t' in body 'b' hides"):
        graph = load(hiding)
    x = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(run(graph, x, np.array(True))[0], np.maximum(x, 0) + np.abs(x))
    with pytest.raises(InvalidModel, match="hides"):
        load(hiding, strict=True)


# -- a node against its schema ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("broken", "message"), [
    (node("Add", "x", "y"), r"Add 'y': has 1 inputs, Add-14 takes 2 \(A, B\)"),
    (node("Add", "x x x", "y"), r"has 3 inputs, Add-14 takes 2 \(A, B\)"),
    (node("Concat", "", "y", axis=0), r"has 0 inputs, Concat-13 takes 1 or more"),
    (node("Relu", "x", "y z"), r"has 2 outputs, Relu-14 takes 1 \(Y\)"),
    (node("Relu", "x", ""), r"has 0 outputs, Relu-14 takes 1"),
    (node("Clip", "x x x x", "y"), r"has 4 inputs, Clip-13 takes 1 to 3"),
    (node("Add", "x _", "y"), r"needs input b"),
])  # fmt: skip
def test_15_too_few_or_many(broken: onnx.NodeProto, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load(model([broken]))


def test_15_optional_values_may_be_spelled_out() -> None:
    load(model([node("Clip", "x _ _", "y")]), strict=True)
    load(model([node("Dropout", "x", "y _")]), strict=True)


@pytest.mark.parametrize(("broken", "message"), [
    (node("LeakyRelu", "x", "y", alhpa=1.0), r"LeakyRelu-16 has no attribute 'alhpa', it has: alpha. Did you mean 'al"),
    (node("LeakyRelu", "x", "y", alpha=1), r"attribute 'alpha' is of type INT, LeakyRelu-16 expects FLOAT"),
    (node("Transpose", "x", "y", perm=1.0), r"attribute 'perm' is of type FLOAT, Transpose-21 expects INTS"),
    (node("Gather", "x x", "y", axis=[0]), r"attribute 'axis' is of type INTS"),
    (node("Cast", "x", "y"), r"attribute 'to' is missing, Cast-21 requires it"),
    (node("Cast", "x", "y", to=99), r"element type 99"),
])  # fmt: skip
def test_16_attributes(broken: onnx.NodeProto, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load(model([broken]))


def test_16_doubled_and_empty_attributes() -> None:
    doubled = node("LeakyRelu", "x", "y", alpha=0.5)
    doubled.attribute.append(doubled.attribute[0])
    with pytest.raises(InvalidModel, match="'alpha' is given twice"):
        load(model([doubled]))
    empty = node("Constant", "", "y")
    empty.attribute.add(name="value", type=AttributeProto.TENSOR)
    with pytest.raises(InvalidModel, match="no value"):
        load(model([empty]))
    reference = node("LeakyRelu", "x", "y")
    reference.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="a")
    with pytest.raises(InvalidModel, match="refers to a function's"):
        load(model([reference]))


def test_16_text_that_is_not_utf8() -> None:
    broken = node("Conv", "x w", "y", auto_pad=b"\xff\xfe")
    with pytest.raises(InvalidModel, match="not UTF-8"):
        load(model([broken], [info("x", (1, 1, 4, 4)), info("w", (1, 1, 2, 2))]))


# -- declared types ---------------------------------------------------------------------------------------------------
def test_19_a_wrong_declared_shape_is_corrected() -> None:
    lie = model([node("Relu", "x", "y")], outputs=[info("y", (10**6, 10**6))])
    with pytest.warns(ModelWarning, match=r"'y' is declared f32\[1000000,1000000\], but is f32\[2\]"):
        graph = load(lie)
    assert str(graph.outputs[0].type) == "f32[2]"
    with pytest.raises(InvalidModel, match="is declared"):
        load(lie, strict=True)


def test_19_inside_and_rank() -> None:
    lie = model([node("Relu", "x", "t"), node("Neg", "t", "y")])
    lie.graph.value_info.append(info("t", (2, 2)))
    with pytest.warns(ModelWarning, match="'t' is declared"):
        load(lie)


@pytest.mark.parametrize("where", ["output", "value_info", "initializer"])
def test_20_a_wrong_declared_dtype(where: str) -> None:
    lie = model([node("Relu", "x", "t"), node("Add", "t w", "y")], weights={"w": np.ones(2, np.float32)})
    if where == "output":
        lie.graph.output[0].CopyFrom(info("y", (2,), TensorProto.INT32))
    elif where == "value_info":
        lie.graph.value_info.append(info("t", (2,), TensorProto.INT32))
    else:
        lie.graph.input.append(info("w", (2,), TensorProto.INT32))
    with pytest.raises(InvalidModel, match=r"is declared i32\[2\], but is f32\[2\]"):
        load(lie)


def test_20_mixed_dtypes() -> None:
    with pytest.raises(InvalidModel, match=r"Add 'y': element types differ: f32\[2\], i64\[2\]"):
        load(model([node("Add", "x w", "y")], weights={"w": np.ones(2, np.int64)}))


@pytest.mark.parametrize("elem", [0, 99, -1])
def test_21_element_types_that_do_not_exist(elem: int) -> None:
    with pytest.raises(InvalidModel, match=f"element type {elem} of 'x' does not exist"):
        load(model([node("Relu", "x", "y")], [info("x", (2,), elem)]))


def test_22_negative_dimension() -> None:
    with pytest.raises(InvalidModel, match="'x' has the size -1"):
        load(model([node("Relu", "x", "y")], [info("x", (-1, 3))]))


def test_input_without_type_and_maps() -> None:
    with pytest.raises(InvalidModel, match="'x' has no type"):
        load(model([node("Relu", "x", "y")], [onnx.ValueInfoProto(name="x")]))
    entry = onnx.ValueInfoProto(name="x")
    for key, value, message in [
        (TensorProto.INT32, TensorProto.FLOAT, "'x' is a map from int32; graphc has maps from int64 and string"),
        (99, TensorProto.FLOAT, "the keys of 'x'"),
        (TensorProto.INT64, 99, "the values of 'x'"),
        (TensorProto.INT64, TensorProto.FLOAT, r"x is map\(i64,f32\), expected a tensor|got map\(i64,f32\)"),
    ]:
        entry.type.map_type.key_type = key
        entry.type.map_type.value_type.tensor_type.elem_type = value
        with pytest.raises(GraphcError, match=message):
            load(model([node("Relu", "x", "y")], [entry]))
    entry.type.map_type.value_type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(UnsupportedOp, match="the values of the map 'x' are no tensors"):
        load(model([node("Relu", "x", "y")], [entry]))
    entry.type.sparse_tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(UnsupportedOp, match="'x' is a sparse tensor; graphc has tensors, sequences, optionals and map"):
        load(model([node("Relu", "x", "y")], [entry]))


def test_50_rank() -> None:
    with pytest.raises(ResourceLimit, match="max_rank"):
        load(model([node("Relu", "x", "y")], [info("x", [1] * 300)]))


# -- depth ------------------------------------------------------------------------------------------------------------
def nested(depth: int) -> onnx.ModelProto:
    """If in If in If …, each level reading the main input; built in place, since protobuf copies only 100 levels."""
    outermost = model([], [info("x"), info("c", (), TensorProto.BOOL)], "y")
    graph = outermost.graph
    for level in range(depth):
        made = graph.node.add(op_type="If", input=["c"], output=["y" if level == 0 else f"b{level}"])
        for branch in ("else_branch", "then_branch"):
            attribute = made.attribute.add(name=branch, type=AttributeProto.GRAPH)
            attribute.g.name = f"{branch}{level}"
            attribute.g.output.add(name=f"b{level + 1}" if branch == "then_branch" else f"e{level}")
            if branch == "else_branch":
                attribute.g.node.append(node("Neg", "x", f"e{level}"))
        graph = attribute.g
    graph.node.append(node("Relu", "x", f"b{depth}"))
    return outermost


@pytest.mark.parametrize("depth", [18, 24, 200])
def test_36_nested_ifs(depth: int) -> None:
    proto = nested(depth)
    start = time.monotonic()
    graph = load(proto)
    assert time.monotonic() - start < 20
    x = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(run(graph, x, np.array(True))[0], np.maximum(x, 0))
    np.testing.assert_array_equal(run(graph, x, np.array(False))[0], -x)


def test_36_deeper_than_the_limit() -> None:
    with pytest.raises(ResourceLimit, match="max_depth"):
        load(nested(300))
    with pytest.raises(ResourceLimit, match="max_depth"):
        load(nested(24), limits=Limits(max_depth=10))


def test_36_deeper_than_protobuf_reads() -> None:
    """Python's protobuf cannot write such a file, but an attacker can."""
    inner = b""
    for _ in range(100):  # NodeProto in GraphProto in AttributeProto …
        inner = _field(1, _field(5, _field(1, b"g") + _field(6, inner) + b"\xa0\x01\x05"))
    with pytest.raises(ResourceLimit, match="deeper than protobuf reads"):
        load(b"\x08\x0a" + _field(7, inner))


def _field(number: int, content: bytes) -> bytes:
    length, prefix = len(content), bytes([number << 3 | 2])
    while length > 127:
        prefix, length = prefix + bytes([length & 127 | 128]), length >> 7
    return prefix + bytes([length]) + content


def test_number_of_nodes() -> None:
    with pytest.raises(ResourceLimit, match="max_nodes"):
        load(model([node("Relu", "x", "a"), node("Relu", "a", "y")]), limits=Limits(max_nodes=1))


# -- shapes that only the operators know ------------------------------------------------------------------------------
def test_17_axes_out_of_range() -> None:
    for perm in ([0, 5], [0, 0], [0]):
        with pytest.raises(GraphcError, match="Transpose 'y'"):
            load(model([node("Transpose", "x", "y", perm=perm)], [info("x", (2, 3))]))
    with pytest.raises(ShapeError, match=r"Softmax 'y': axis 9 is out of range for rank 1, valid -1\.\.0"):
        load(model([node("Softmax", "x", "y", axis=9)]))


def test_18_sizes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"MatMul 'fc1'.*f32\[4,8\].*f32\[9,2\]"):
        load(model([node("MatMul", "x w", "y", name="fc1")], [info("x", (4, 8)), info("w", (9, 2))]))


def test_good_models_do_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    load(relu())
    assert not recwarn
