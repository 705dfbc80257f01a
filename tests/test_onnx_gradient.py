"""The operator Gradient of ai.onnx.preview.training: what it is replaced by."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import info, model, node

from graphc.errors import InvalidModel
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret

DOMAIN = "ai.onnx.preview.training"


def gradient(inputs, outputs, xs, y, zs=None):
    """A Gradient node; names are separated by spaces."""
    names = {"xs": xs.split(), "y": y} | ({} if zs is None else {"zs": zs.split()})
    return node("Gradient", inputs, outputs, domain=DOMAIN, **names)


def run(nodes, outputs, shape=(), **feeds):
    proto = model(nodes, [info(name, shape) for name in feeds], outputs, domains={DOMAIN: 1})
    return [float(y) for y in interpret(load(proto), [np.float32(x) for x in feeds.values()])]


PRODUCT = [node("Mul", "a b", "c"), node("Mul", "c a", "y")]  # y = a² b


def test_first_and_second_derivatives():
    nodes = [*PRODUCT, gradient("a b", "da db", "a b", "y"), gradient("a b", "daa dab", "a b", "da")]
    assert run(nodes, "da db daa dab", a=3, b=5) == [30, 9, 10, 6]


def test_xs_and_zs_are_independent():
    """∂(c a)/∂a with c held, although c is computed from a."""
    assert run([*PRODUCT, gradient("a c", "da dc", "a c", "y")], "da dc", a=3, b=5) == [15, 3]
    assert run([*PRODUCT, gradient("a c", "da", "a", "y", zs="c")], "da", a=3, b=5) == [15]


def test_other_inputs_are_fed_into_the_graph():
    assert run([*PRODUCT, gradient("b a", "da db", "a b", "y")], "da db", a=3, b=5) == [30, 25]
    assert run([*PRODUCT, gradient("a a", "da db", "a b", "y")], "da db", a=3, b=5) == [18, 9]


def test_no_dependence_is_zero():
    nodes = [node("Neg", "a", "y"), gradient("a b", "da db", "a b", "y"), gradient("a", "one", "a", "a")]
    assert run(nodes, "da db one", a=3, b=5) == [-1, 0, 1]


def test_skipped_outputs_and_any_order():
    """A Gradient that stands in front of what it differentiates is sorted behind it."""
    nodes = [gradient("a b", "_ db", "a b", "y"), *PRODUCT]
    with pytest.warns(match="topological order"):
        assert run(nodes, "db", a=3, b=5) == [9]


def test_tensors_are_summed():
    nodes = [node("Mul", "x x", "y"), gradient("x", "dx", "x", "y")]
    (dx,) = interpret(load(model(nodes, outputs="dx", domains={DOMAIN: 1})), [np.array([2, 3], np.float32)])
    np.testing.assert_array_equal(dx, np.array([4, 6], np.float32))


def test_saved_as_plain_operators():
    graph = load(model([*PRODUCT, gradient("a b", "da", "a", "y", zs="b")], [info("a", ()), info("b", ())], "da",
                       domains={DOMAIN: 1}))  # fmt: skip
    saved = save(graph)
    onnx.checker.check_model(saved, full_check=True)
    assert DOMAIN not in {n.domain for n in saved.graph.node}


def body(nodes, outputs):
    return helper.make_graph(nodes, "body", [], [info(name, None) for name in outputs])


def branches(*nodes):
    """An If whose branches both give the value `d`."""
    return node("If", "k", "z", then_branch=body(nodes, ["d"]), else_branch=body([node("Neg", "a", "d")], ["d"]))


def in_branch(*nodes, before=()):
    inputs = [info("a", ()), info("b", ()), info("k", (), TensorProto.BOOL)]
    graph = load(model([*before, branches(*nodes)], inputs, "z", domains={DOMAIN: 1}))
    return float(interpret(graph, [np.float32(3), np.float32(5), np.array(True)])[0])


def test_in_a_body():
    assert in_branch(*PRODUCT, gradient("a b", "d", "a", "y", zs="b")) == 30
    with pytest.raises(InvalidModel, match="not computed in the graph"):
        in_branch(gradient("a b", "d", "a", "y", zs="b"), before=PRODUCT)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (gradient("a", "da", "a b", "y"), "has 1 inputs, expected one for each of the 2"),
        (gradient("a", "da", "a", "nothing"), "'nothing' does not exist"),
        (gradient("k", "da", "k", "y"), "'k' is i64.., expected floating-point"),
    ],
    ids=["inputs", "name", "type"],
)
def test_refused(made, message):
    inputs = [info("a", ()), info("b", ()), info("k", (), TensorProto.INT64)]
    with pytest.raises(InvalidModel, match=message):
        load(model([*PRODUCT, made], inputs, "da", domains={DOMAIN: 1}))
