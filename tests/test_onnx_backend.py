"""onnx's interface to backends."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import info, model, node, relu

from graphc.errors import FeedError, GraphcError
from graphc.frontends.onnx import backend
from graphc.frontends.onnx.backend import GraphcBackend

X = np.array([1, -2], np.float32)


@pytest.mark.parametrize("inputs", [[X], (X,), {"x": X}, X], ids=["list", "tuple", "dict", "array"])
def test_a_prepared_model_runs(inputs: object) -> None:
    rep = GraphcBackend.prepare(relu())
    for _ in range(2):
        outputs = rep.run(inputs)
        np.testing.assert_array_equal(outputs[0], [1, 0])
        np.testing.assert_array_equal(outputs["y"], [1, 0])  # type: ignore[call-overload]


def test_the_module_is_a_backend_too() -> None:
    np.testing.assert_array_equal(backend.run(relu(), [X])[0], [1, 0])
    assert backend.is_compatible(relu())
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA:1")


def test_what_is_not_compatible() -> None:
    assert not GraphcBackend.is_compatible(model([node("Nope", "x", "y")]))
    assert not GraphcBackend.is_compatible(relu(), "CUDA")


def test_single_nodes() -> None:
    (y,) = GraphcBackend.run_node(node("Add", "a b", "y"), [X, X])
    np.testing.assert_array_equal(y, 2 * X)
    squeeze = node("Unsqueeze", "a", "y", axes=[0])
    assert GraphcBackend.run_node(squeeze, [X], opset_version=11)[0].shape == (1, 2)
    with pytest.raises(GraphcError):
        GraphcBackend.run_node(squeeze, [X])
    top, at = GraphcBackend.run_node(node("TopK", "a k", "v i"), [X, np.array([1])])
    assert (top.tolist(), at.tolist()) == ([1], [0])


def test_wrong_feeds() -> None:
    rep = GraphcBackend.prepare(relu())
    for wrong in ([X, X], [], {"z": X}, {"x": X, "z": X}):
        with pytest.raises(FeedError):
            rep.run(wrong)


def test_sequences_and_optionals_as_feeds() -> None:
    sequence = onnx.helper.make_sequence_type_proto(onnx.helper.make_tensor_type_proto(1, None))
    inputs = [onnx.helper.make_value_info("s", sequence)]
    proto = model([node("ConcatFromSequence", "s", "y", axis=0)], inputs, [info("y", None)])
    np.testing.assert_array_equal(GraphcBackend.run_model(proto, [[X, X]])[0], [1, -2, 1, -2])
    optional = onnx.helper.make_optional_type_proto(onnx.helper.make_tensor_type_proto(1, None))
    inputs = [onnx.helper.make_value_info("o", optional)]
    proto = model([node("OptionalHasElement", "o", "y")], inputs)
    assert [bool(GraphcBackend.run_model(proto, [o])[0]) for o in (X, None)] == [True, False]
