"""Official models, loaded and saved: the same graph, and what the suite expects in an engine that is not graphc."""

from __future__ import annotations

import numpy as np
import onnx
from conformance_page import run_onnxruntime
from official import RANDOM, array, cases, check_outputs, contents, expected_failures
from onnx.backend.test.case.test_case import TestCase
from onnx.reference import ReferenceEvaluator

from graphc.equality import graph_equal
from graphc.frontends.onnx import load, save
from graphc.ir import Graph
from graphc.types import TensorType

# What onnx's reference evaluator cannot run, saved or not, or runs for seconds, is run by onnxruntime.
IN_ONNXRUNTIME = {
    "node/test_if_opt": "an optional that is empty is a list",
    "node/test_optional_has_element_empty_optional_input": "an omitted input is not found",
    **dict.fromkeys(
        (
            *(f"node/test_{kind}pool_3d_default" for kind in ("average", "lp", "max")),
            *(f"pytorch-converted/test_MaxPool{kind}_stride_padding_dilation" for kind in ("1d", "2d")),
        ),
        "each of many windows by itself",
    ),
    **{
        f"node/test_range_{kind}_delta_expanded": "a trip too many of a Loop without a condition"
        for kind in ("bfloat16_type_positive", "float16_type_positive", "float_type_positive", "int32_type_negative")
    },
}


def run_reference(case: TestCase, model: onnx.ModelProto, *, random: bool) -> None:
    """Raise unless the reference evaluator gives what the case expects; of random numbers, their types and shapes."""
    for inputs, outputs in contents(case)[1]:
        given = zip(model.graph.input, map(array, inputs), strict=True)
        with np.errstate(all="ignore"):
            got = ReferenceEvaluator(model).run(None, {v.name: x for v, x in given if x is not None})
        want = [array(x) for x in outputs]
        if random:
            assert [(x.dtype, x.shape) for x in got] == [(x.dtype, x.shape) for x in want]
        else:
            check_outputs(case, got, want)


def check_saved(name: str) -> None:
    """The model comes back from ONNX as the same graph, and gives what the case expects elsewhere."""
    case = cases()[name]
    graph = load(contents(case)[0])
    saved = save(graph)
    if "gradient" not in name:  # one is the same value for several inputs, which ONNX takes only as copies
        check_comes_back(graph, saved)
    if name in IN_ONNXRUNTIME:
        run_onnxruntime(case, saved)
    else:
        run_reference(case, saved, random=expected_failures().get(name, "").startswith(RANDOM))


def check_comes_back(graph: Graph, saved: onnx.ModelProto) -> None:
    if all(v.type.shape is not None for v in graph.outputs if isinstance(v.type, TensorType)):
        onnx.checker.check_model(saved)  # it takes no output without a rank
    assert graph_equal(load(saved.SerializeToString()), graph)
