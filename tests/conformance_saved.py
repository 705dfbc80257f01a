"""Rows of the conformance table to ONNX and back: the same graph, and a model that ONNX's checker takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase

import onnx
import pytest
from conformance import Case

from graphc.equality import graph_equal
from graphc.errors import UnsupportedVersion
from graphc.frontends.onnx import load, save
from graphc.frontends.onnx.attributes import shortest_float
from graphc.ir import Op

# Patterns of row names -> why. Every row that one matches must fail in that way.
NOT_SAVED = {
    "Cast-complex*": "ONNX's Cast does not take complex numbers",
    "Cast-*-complex*": "ONNX's Cast does not make complex numbers",
}
DIFFERS = {
    "Fused*": "Fused is inlined",
    "SeededDropout*": "it is written as what it is made of",
    "StopGradient*": "forwards it is an Identity",
    "Barrier*": "forwards it is an Identity of its first input",
    "Constant-*": "ONNX names an initialiser, and the output of the graph is a copy of it",
    "If-nothing-captured": "the outputs of the branches are copies of their constants",
    "If-joined-types": "the outputs of the branches are copies of what they capture",
    "Resize-empty-scales": "empty scales say nothing and go",
    "Split-*[!e]": "the number of outputs is stated; so it is already where the sizes come at run time",
}
# ONNX's shape inference is wrong about these; its checker without it takes them all.
NOT_INFERRED_BY_ONNX = {
    **{
        f"Resize-{mode}-{coordinates}-up": "5 * 2.6 is 13, in ONNX Runtime too"
        for mode in ("nearest", "linear", "cubic")
        for coordinates in ("*half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric", "tf_crop_and_resize")
    },
    "ConvTranspose-SAME_*-smaller": "output_shape is ignored",
    "*Pool-ceil-last-window-in-padding*": "counts a window that starts in the padding",
    "Einsum-...ij,...jk-2": "ellipses of different ranks are refused",
    "Einsum-...i,...i->...-2": "ellipses of different ranks are refused",
    "OneHot-0-d": "indices of rank 0 are refused",
    "ArgMax-rank-0": "data of rank 0 are refused",
    "BatchNormalization-training-(2, 3, 2)-0.9-1": "fewer than three outputs are refused in training mode",
    "RMSNormalization-float16-float32": "the output is taken to have x's element type, not the scale's",
    "RMSNormalization-float32-float16": "the output is taken to have x's element type, not the scale's",
    "RMSNormalization-float32-float64": "the output is taken to have x's element type, not the scale's",
    "Pad-axes": "constant axes of int32 are refused",
    "STFT-onesided-*": "the default of onesided is taken to be 0",
    "MeanVarianceNormalization-(0, 2, 3)": "the default of axes is not put into the function's body",
    "MeanVarianceNormalization-onnxruntime": "the default of axes is not put into the function's body",
}


def reason(table: Mapping[str, str], case: Case) -> str | None:
    return next((why for pattern, why in table.items() if fnmatchcase(case.name, pattern)), None)


EXCEPTIONS = (NOT_SAVED, DIFFERS, NOT_INFERRED_BY_ONNX)


def check_saved(case: Case) -> None:
    """Once: the same up to names, which ONNX gives to every value. Twice: the same. Or else refused."""
    graph = dataclasses.replace(case, op=as_stored(case.op)).graph()
    if reason(NOT_SAVED, case) is not None:
        with pytest.raises(UnsupportedVersion, match=case.op.name):
            save(graph)
        return
    model = save(graph)
    check_model(model, inferred=reason(NOT_INFERRED_BY_ONNX, case) is None)
    again = load(model, strict=True)
    assert graph_equal(graph, again, names=False) == (reason(DIFFERS, case) is None), f"{graph}\n{again}"
    assert graph_equal(again, load(save(again), strict=True)), str(again)


def as_stored(op: Op) -> Op:
    """`op` with the float attributes that a file can hold: ONNX's are float32."""

    def stored(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(stored, value))
        return shortest_float(value) if isinstance(value, float) else value

    return dataclasses.replace(op, **{f.name: stored(getattr(op, f.name)) for f in dataclasses.fields(op)})


def check_model(model: onnx.ModelProto, *, inferred: bool) -> None:
    """ONNX's checker takes the model; what its inference finds is not at odds with the model, unless not `inferred`."""
    if inferred:
        onnx.checker.check_model(model, full_check=True)
        return
    onnx.checker.check_model(model)
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(model, full_check=True)
