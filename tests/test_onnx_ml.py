"""Versions of ai.onnx.ml: old ones are read, and what a newer one deprecated is written in an older one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from conformance import all_cases
from onnx import TensorProto
from onnx_models import info, model, node

from graphc.errors import UnsupportedOp
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret

DOMAIN = "ai.onnx.ml"
FEEDS = [np.array(["b", "z", "a"], object), np.array([1, 5, -1, 0])]


@pytest.mark.parametrize("x", FEEDS, ids=["strings", "integers"])
@pytest.mark.parametrize("defaults", [{}, {"default_string": "?", "default_int64": 7}], ids=["unset", "set"])
def test_label_encoder_1(x, defaults):
    encoder = node("LabelEncoder", "x", "y", domain=DOMAIN, classes_strings=["a", "b"], **defaults)
    dtype = TensorProto.STRING if x.dtype == object else TensorProto.INT64
    proto = model([encoder], [info("x", x.shape, dtype)], domains={DOMAIN: 1})
    (want,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    (got,) = interpret(load(proto), [x])
    np.testing.assert_array_equal(got, want)


def forest():
    return next(c for c in all_cases() if c.name == "TreeEnsembleClassifier-3-NONE")


def test_deprecated_operators_are_saved_in_an_older_version():
    saved = save(forest().graph())
    assert {o.domain: o.version for o in saved.opset_import}[DOMAIN] == 4
    onnx.checker.check_model(saved, full_check=True)


def test_deprecated_operators_are_refused_in_the_version_without_them():
    proto = forest().model()
    next(o for o in proto.opset_import if o.domain == DOMAIN).version = 5
    with pytest.raises(UnsupportedOp, match=r"TreeEnsembleClassifier-5 \(removed in opset 5"):
        load(proto)
