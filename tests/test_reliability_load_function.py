"""Model-local functions: inlining, recursion, bombs. Numbers are rows of the threat table."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnx_models import info, model, node

from graphc.errors import InvalidModel, ResourceLimit, UnsupportedOp, UnsupportedVersion
from graphc.frontends.onnx import load
from graphc.interpret import interpret
from graphc.limits import Limits

X = np.array([1, -2], np.float32)


def function(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: str = "a",
    outputs: str = "b",
    *,
    opset: int = 21,
    **more: object,
) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("d", 1)]
    return helper.make_function("d", name, inputs.split(), outputs.split(), nodes, imports, **more)


def calls(op: str, *functions: onnx.FunctionProto, inputs: str = "x", **attributes: object) -> onnx.ModelProto:
    call = node(op, inputs, "y", domain="d", **attributes)
    return model([call], [info("x"), info("c", (), TensorProto.BOOL)], functions=functions, domains={"d": 1})


def run(proto: onnx.ModelProto) -> np.ndarray:
    (result,) = interpret(load(proto), [X, np.array(True)])
    return np.asarray(result)


def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, "b", [], [onnx.ValueInfoProto(name=nodes[-1].output[0])])


# -- what works -------------------------------------------------------------------------------------------------------
def test_calls_are_inlined_with_names_that_tell_where_they_come_from() -> None:
    inner = function("Inner", [node("Neg", "a", "b")])
    outer = function("Outer", [node("Inner", "a", "t", domain="d"), node("Relu", "t", "b", name="r")])
    graph = load(calls("Outer", inner, outer))
    assert [(n.op.name, n.name) for n in graph.nodes] == [("Neg", "y/t/b"), ("Relu", "y/r")]
    np.testing.assert_array_equal(run(calls("Outer", inner, outer)), np.maximum(-X, 0))


def test_attributes_and_their_defaults() -> None:
    slope = node("LeakyRelu", "a", "b")
    slope.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope")
    required = function("F", [slope], attributes=["slope"])
    with_default = function("F", [slope], attribute_protos=[helper.make_attribute("slope", 0.5)])
    for proto, alpha in (
        (calls("F", required, slope=0.25), 0.25), (calls("F", required), 0.01),
        (calls("F", with_default), 0.5), (calls("F", with_default, slope=0.25), 0.25),
    ):  # fmt: skip
        np.testing.assert_allclose(run(proto), np.where(X > 0, X, alpha * X))


def test_attributes_reach_bodies() -> None:
    slope = node("LeakyRelu", "a", "e")
    slope.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope")
    body = function("F", [node("If", "k", "b", then_branch=branch(slope), else_branch=branch(node("Neg", "a", "e")))],
                    "a k", attributes=["slope"])  # fmt: skip
    np.testing.assert_allclose(run(calls("F", body, inputs="x c", slope=0.5)), [1, -1])


def test_omitted_inputs_and_outputs() -> None:
    clip = function("F", [node("Clip", "a low high", "b"), node("Neg", "a", "n")], "a low high", "b n")
    np.testing.assert_array_equal(run(calls("F", clip)), X)
    low = function("G", [node("ReduceMin", "a", "m"), node("F", "a _ m", "b", domain="d")])
    np.testing.assert_array_equal(run(calls("G", clip, low)), [-2, -2])


def test_functions_have_opsets_of_their_own() -> None:
    """Softmax before opset 13 works on the flattened rest."""
    old = function("F", [node("Unsqueeze", "a", "t", axes=[0]), node("Softmax", "t", "b", axis=0)], opset=11)
    np.testing.assert_allclose(run(calls("F", old))[0], np.exp(X) / np.exp(X).sum(), rtol=1e-6)


def test_a_function_takes_precedence_over_an_operator() -> None:
    own = helper.make_function("", "Relu", ["a"], ["b"], [node("Neg", "a", "b")], [helper.make_opsetid("", 21)])
    proto = model([node("Relu", "x", "y")], [info("x"), info("c", (), TensorProto.BOOL)], functions=[own])
    np.testing.assert_array_equal(run(proto), -X)


def test_functions_in_bodies_see_only_their_inputs() -> None:
    secret = function("F", [node("Add", "a x", "b")])
    with pytest.raises(InvalidModel, match="the value 'x' does not exist"):
        load(calls("F", secret))


def test_unused_functions_may_be_anything() -> None:
    load(calls("F", function("F", [node("Neg", "a", "b")]), function("G", [node("Nope", "a", "b")])))
    with pytest.raises(UnsupportedOp, match="Nope"):
        load(calls("G", function("G", [node("Nope", "a", "b")])))


@pytest.mark.parametrize(("version", "error"), [(0, InvalidModel), (-1, InvalidModel), (9999, UnsupportedVersion)])
def test_9_the_opsets_of_functions_are_checked(version: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="opset of"):
        load(calls("F", function("F", [node("Neg", "a", "b")], opset=version)))


# -- what does not ----------------------------------------------------------------------------------------------------
def test_37_recursion_is_named() -> None:
    with pytest.raises(InvalidModel, match=r"calls itself: d\.F -> d\.F"):
        load(calls("F", function("F", [node("F", "a", "b", domain="d")])))
    f = function("F", [node("G", "a", "b", domain="d")])
    g = function("G", [node("H", "a", "b", domain="d")])
    h = function("H", [node("G", "a", "b", domain="d")])
    with pytest.raises(InvalidModel, match=r"d\.G calls itself: d\.G -> d\.H -> d\.G"):
        load(calls("F", f, g, h))


def test_37_recursion_through_a_body() -> None:
    body = branch(node("F", "a k", "e", domain="d"))
    f = function("F", [node("If", "k", "b", then_branch=body, else_branch=branch(node("Neg", "a", "e")))], "a k")
    with pytest.raises(InvalidModel, match=r"calls itself: d\.F -> d\.F"):
        load(calls("F", f, inputs="x c"))


def test_38_a_bomb_is_counted_before_it_goes_off() -> None:
    functions = [function("F0", [node("Neg", "a", "t"), node("Neg", "t", "b")])]
    for i in range(1, 27):
        twice = [node(f"F{i - 1}", "a", "t", domain="d"), node(f"F{i - 1}", "t", "b", domain="d")]
        functions.append(function(f"F{i}", twice))
    proto = calls("F26", *functions)
    start = time.monotonic()
    with pytest.raises(ResourceLimit, match=r"is 268,435,455, the limit is 1,000,000.*max_inlined_nodes"):
        load(proto)
    assert time.monotonic() - start < 1
    assert len(load(calls("F9", *functions)).nodes) == 1024


def test_38_the_limit_counts_what_there_will_be() -> None:
    f = function("F", [node("Neg", "a", "t"), node("Neg", "t", "b")])
    load(calls("F", f), limits=Limits(max_inlined_nodes=3))
    with pytest.raises(ResourceLimit, match="max_inlined_nodes"):
        load(calls("F", f), limits=Limits(max_inlined_nodes=2))


def test_a_long_chain_of_functions() -> None:
    functions = [function("F0", [node("Neg", "a", "b")])]
    functions += [function(f"F{i}", [node(f"F{i - 1}", "a", "b", domain="d")]) for i in range(1, 2001)]
    np.testing.assert_array_equal(run(calls("F2000", *functions)), -X)


@pytest.mark.parametrize(("proto", "message"), [
    (calls("F", function("F", [node("Neg", "a", "b")]), inputs="x x"), "takes 1 inputs and gives 1 outputs, the call"),
    (calls("F", function("F", [node("Neg", "a", "b")]), alhpa=1), "d.F has no attribute 'alhpa'"),
    (calls("F", function("F", [node("Neg", "a", "b")]), function("F", [node("Abs", "a", "b")])), "defined twice"),
    (calls("F", function("F", [node("Neg", "a", "t")])), "the value 'b' does not exist"),
    (calls("F", function("F", [node("Neg", "t", "b"), node("Neg", "b", "t")])), "cycle"),
    (calls("F", function("F", [node("Neg", "a", "b")], "a a")), "twice"),
    (calls("F", function("F", [node("Neg", "a", "b")], "a k", "b k")), None),
], ids=["inputs", "attribute", "defined twice", "output", "cycle", "formal inputs", "passed on"])  # fmt: skip
def test_broken_functions(proto: onnx.ModelProto, message: str | None) -> None:
    if message is None:
        load(proto)
        return
    with pytest.raises(InvalidModel, match=message):
        load(proto)
