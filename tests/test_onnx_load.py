"""What loading makes of good models: names, types, constants, bodies."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper
from onnx_models import info, model, node, relu

from graphc.dims import parse_dim, sym
from graphc.equality import graph_equal
from graphc.errors import InvalidModel
from graphc.frontends.onnx import ModelWarning, OnnxFrontend, load
from graphc.frontends.onnx.valuetypes import read_dim
from graphc.interpret import interpret
from graphc.ir import Graph
from graphc.types import OptionalType, SequenceType

X = np.array([1, -2], np.float32)


def branch(*nodes: onnx.NodeProto, **tensors: np.ndarray) -> onnx.GraphProto:
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    return helper.make_graph(nodes, "branch", [], [onnx.ValueInfoProto(name=nodes[-1].output[0])], initializer=weights)


def conditional(
    then: onnx.GraphProto, other: onnx.GraphProto, *before: onnx.NodeProto, **weights: object
) -> onnx.ModelProto:
    nodes = [*before, node("If", "c", "y", then_branch=then, else_branch=other)]
    return model(nodes, [info("x"), info("c", (), TensorProto.BOOL)], weights=weights)


def both(proto: onnx.ModelProto) -> list[np.ndarray]:
    """The result for a true and for a false condition."""
    graph = load(proto, strict=True)
    return [interpret(graph, [X, np.array(c)])[0] for c in (True, False)]


# -- names and constants ----------------------------------------------------------------------------------------------
def test_names_are_kept() -> None:
    graph = load(model([node("Add", "x w", "t", name="plus"), node("Relu", "t", "y")], weights={"w": X}))
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.output_names == ("y",)
    assert [(n.op.name, n.name) for n in graph.nodes] == [("Constant", "w"), ("Add", "plus"), ("Relu", "y")]
    assert graph.name == "g"


def test_an_input_with_an_initialiser_is_a_constant() -> None:
    proto = model([node("Add", "x w", "y")], [info("x"), info("w")], weights={"w": X})
    graph = load(proto)
    assert [v.name for v in graph.inputs] == ["x"]
    assert [n.name for n in graph.constants()] == ["w"]
    proto.graph.input[1].CopyFrom(info("w", (3,)))
    with pytest.warns(ModelWarning, match="'w' is declared"):
        load(proto)


def test_dead_nodes_are_checked_and_dropped() -> None:
    graph = load(model([node("Neg", "x", "dead"), node("Relu", "x", "y")]))
    assert [n.op.name for n in graph.nodes] == ["Relu"]
    with pytest.raises(InvalidModel):
        load(model([node("Neg", "nothing", "dead"), node("Relu", "x", "y")]))


def test_outputs_that_nobody_reads_are_not_made() -> None:
    unread = model([node("MaxPool", "x", "y indices", kernel_shape=[2])], [info("x", (1, 1, 4))])
    assert len(load(unread).nodes[0].outputs) == 1
    unread.graph.output.append(onnx.ValueInfoProto(name="indices"))
    assert len(load(unread).nodes[0].outputs) == 2


def test_inputs_and_constants_as_outputs() -> None:
    graph = load(model([], outputs="x w", weights={"w": X}))
    assert graph.output_names == ("x", "w")
    np.testing.assert_array_equal(interpret(graph, [X])[1], X)


# -- types ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("text", "dim"), [
    ("batch", sym("batch")), ("2*n + 1", parse_dim("2*n + 1")), ("s0//2", parse_dim("s0//2")), ("8", 8),
    ("-3", sym("-3")), ("floor(s0/2)", sym("floor(s0/2)")), ("batch size", sym("batch size")), ("n +", sym("n +")),
    ("a//0", sym("a//0")), ("4//0", sym("4//0")), ("9" * 30, sym("9" * 30)), ("(" * 200 + "n", sym("(" * 200 + "n")),
])  # fmt: skip
def test_symbolic_dimensions(text: str, dim: object) -> None:
    assert read_dim(text) == dim


def test_a_dim_param_cannot_be_a_bomb() -> None:
    bomb = "*".join(f"(a{i}+b{i})" for i in range(40))
    assert read_dim(bomb) == sym(bomb)


@given(st.text(max_size=40))
def test_any_text_is_a_dimension(text: str) -> None:
    read_dim(text)


def test_unknown_sizes_of_a_file_are_not_those_of_this_process() -> None:
    proto = model([node("Relu", "x", "y")], [info("x", ("?1", "?1", "?2", None, "", "?"))])
    first, second = (load(proto).inputs[0].shape for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[0] == first[1] != first[2]
    assert len({*first, *second}) == 10


def test_missing_shapes_sequences_and_optionals() -> None:
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", None])
    sequence = helper.make_sequence_type_proto(inner)
    inputs = [
        info("x", None),
        helper.make_value_info("s", sequence),
        helper.make_value_info("o", helper.make_optional_type_proto(sequence)),
    ]
    x, s, o = load(model([node("Relu", "x", "y")], inputs)).inputs
    assert str(x.type) == "f32[...]"
    assert isinstance(s.type, SequenceType)
    assert isinstance(o.type, OptionalType)
    assert str(o.type).startswith("optional(seq(f32[?")  # each element has sizes of its own
    for _ in range(30):
        sequence = helper.make_sequence_type_proto(sequence)
    with pytest.raises(InvalidModel, match="nests deeper"):
        load(model([node("Relu", "x", "y")], [helper.make_value_info("x", sequence)]))


# -- bodies -----------------------------------------------------------------------------------------------------------
def test_bodies_capture_values_and_take_constants_along() -> None:
    proto = conditional(branch(node("Add", "t w", "a")), branch(node("Mul", "x w", "b")), node("Neg", "x", "t"), w=X)
    graph = load(proto)
    (choose,) = (n for n in graph.nodes if n.op.name == "If")
    assert [v.name for v in choose.inputs if v is not None] == ["c", "x", "t"]
    for body in choose.op.graphs().values():
        (constant,) = body.constants()
        assert constant.name == "w"
    tensors = {id(b.constants()[0].op.value) for b in choose.op.graphs().values()}  # type: ignore[attr-defined]
    assert len(tensors) == 1
    assert not graph.constants()  # only the bodies read it
    np.testing.assert_array_equal(both(proto), [-X + X, X * X])


def test_a_captured_value_passes_through_all_levels() -> None:
    inner = branch(
        node("If", "c", "i", then_branch=branch(node("Neg", "t", "e")), else_branch=branch(node("Abs", "x", "f")))
    )
    proto = conditional(inner, branch(node("Identity", "t", "b")), node("Add", "x x", "t"))
    np.testing.assert_array_equal(both(proto), [-2 * X, 2 * X])


def test_the_branch_that_never_runs_need_not_fit() -> None:
    never = branch(node("Reshape", "x s", "b"), s=np.array([7], np.int64))
    proto = conditional(branch(node("Neg", "x", "a")), never)
    proto.graph.input.pop()
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "c"))
    np.testing.assert_array_equal(interpret(load(proto), [X])[0], -X)


def loop(body_inputs: list[onnx.ValueInfoProto], trips: object, cond: str = "_") -> onnx.ModelProto:
    """sum = x + w·i for i = 0, 1, …; also the slices."""
    nodes = [
        node("Identity", "k", "k1"), node("Cast", "i", "f", to=1), node("Mul", "f w", "p"), node("Add", "s p", "s1"),
        node("Identity", "s1", "slice"),
    ]  # fmt: skip
    outputs = [onnx.ValueInfoProto(name=n) for n in ("k1", "s1", "slice")]
    body = helper.make_graph(nodes, "body", body_inputs, outputs)
    made = [node("Neg", "x", "w"), node("Loop", f"m {cond} x", "y z", body=body)]
    return model(made, [info("x")], "y z", weights={"m": np.array(trips, np.int64), "t": np.array(True)})


UNTYPED = [onnx.ValueInfoProto(name=n) for n in ("i", "k", "s")]
TYPED = [info("i", (), TensorProto.INT64), info("k", (), TensorProto.BOOL), info("s")]


@pytest.mark.parametrize("inputs", [UNTYPED, TYPED], ids=["untyped", "typed"])
@pytest.mark.parametrize("cond", ["_", "t"])
def test_loops(inputs: list[onnx.ValueInfoProto], cond: str) -> None:
    last, slices = interpret(load(loop(inputs, 3, cond), strict=True), [X])
    expected = [X, X - X, X - 3 * X]
    np.testing.assert_array_equal(last, expected[-1])
    np.testing.assert_array_equal(slices, expected)


def test_bodies_with_the_wrong_inputs() -> None:
    with pytest.raises(InvalidModel, match="body 'body' takes 2 inputs, expected 3"):
        load(loop(UNTYPED[:2], 3))
    with pytest.raises(InvalidModel, match=r"input 's' is declared i64\[2\], but given f32\[2\]"):
        load(loop([*TYPED[:2], info("s", (2,), TensorProto.INT64)], 3))


def test_sequence_map_and_scan_with_other_axes() -> None:
    body = helper.make_graph([node("Add", "e x", "r")], "b", [info("e", None)], [onnx.ValueInfoProto(name="r")])
    nodes = [node("SequenceConstruct", "x x", "s"), node("SequenceMap", "s", "m", body=body),
             node("ConcatFromSequence", "m", "y", axis=0)]  # fmt: skip
    np.testing.assert_array_equal(interpret(load(model(nodes)), [X])[0], [2, -4, 2, -4])
    columns = [onnx.ValueInfoProto(name="a"), onnx.ValueInfoProto(name="b")]
    step = helper.make_graph([node("Add", "a b", "c"), node("Neg", "c", "d")], "b", columns,
                             [onnx.ValueInfoProto(name=n) for n in "cd"])  # fmt: skip
    scan = node("Scan", "x m", "y z", body=step, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[-1])
    m = np.arange(6, dtype=np.float32).reshape(2, 3)
    last, all_ = interpret(load(model([scan], [info("x"), info("m", (2, 3))], "y z")), [X, m])
    np.testing.assert_array_equal(last, X + m.sum(1))
    np.testing.assert_array_equal(all_, -(X[:, None] + m.cumsum(1)))
    for wrong in ({"scan_input_axes": [5]}, {"scan_input_axes": [0, 1]}, {"num_scan_inputs": 9}):
        broken = node("Scan", "x m", "y z", body=step, **{"num_scan_inputs": 1, **wrong})  # type: ignore[arg-type]
        with pytest.raises(InvalidModel):
            load(model([broken], [info("x"), info("m", (2, 3))], "y z"))


# -- old files --------------------------------------------------------------------------------------------------------
def test_attributes_of_very_old_models_have_no_type() -> None:
    old = node("LeakyRelu", "x", "y", alpha=0.5)
    old.attribute[0].ClearField("type")
    assert old.attribute[0].type == AttributeProto.UNDEFINED
    np.testing.assert_array_equal(interpret(load(model([old])), [X])[0], [1, -1])


def test_loading_leaves_the_model_alone() -> None:
    proto = conditional(branch(node("Neg", "x", "a")), branch(node("Abs", "x", "b")))
    before = proto.SerializeToString(deterministic=True)
    load(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_warnings_point_at_the_caller() -> None:
    proto = model([node("Relu", "x", "y")], outputs=[info("y", (5,))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(proto)
    assert [Path(w.filename).name for w in caught] == [Path(__file__).name]


def test_the_entry_point() -> None:
    frontend = OnnxFrontend()
    graph: Graph = frontend.load(relu())
    assert frontend.suffixes == (".onnx",)
    assert graph_equal(frontend.load(frontend.save(graph)), graph)
