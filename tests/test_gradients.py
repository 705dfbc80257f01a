"""Every gradient in the conformance table against finite differences in float64, and gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from conformance import Case, all_cases
from gradient_checks import check, float_types, has_gradient, in_float64

from graphc.autodiff import grad
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops import OPS
from graphc.ops.cast import CastLike
from graphc.ops.ml_trees import TreeOp
from graphc.ops.quantize import DequantizeLinear, DynamicQuantizeLinear
from graphc.types import TensorType, float32, float64


def is_differentiable(case: Case) -> bool:
    """True for rows whose op has a gradient and that compute in float64 from inputs to outputs."""
    if not has_gradient(type(case.op)) or not case.grad or always_in_float32(case):
        return False
    return (
        float_types(case) in (({float32},) * 2, ({float64},) * 2) and float_types(in_float64(case)) == ({float64},) * 2
    )


def is_in_float32(case: Case) -> bool:
    """True for rows of ops that give float32 whatever they are given."""
    if isinstance(case.op, TreeOp) or not always_in_float32(case):  # trees are steps: see below
        return False
    return has_gradient(type(case.op)) and case.grad and float_types(case) == ({float32},) * 2


def always_in_float32(case: Case) -> bool:
    return case.op.domain == "ai.onnx.ml" or isinstance(case.op, DynamicQuantizeLinear | DequantizeLinear)


CASES = [c for c in all_cases() if is_differentiable(c)]
FEW = 48  # elements of all inputs together, of rows whose gradient is differentiated again


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    """And the gradient of the gradient, where it is made of few numbers."""
    case = in_float64(case)
    graph = case.graph()
    first = grad(graph)
    check(graph, case.feeds(), first)
    if case.second and sum(np.size(x) for x in case.inputs if x is not None) <= FEW:
        check_second(graph, case.feeds(), first)


def check_second(graph: Graph, feeds: Sequence[np.ndarray], first: Graph) -> None:
    rng = np.random.default_rng(1)
    results = [y for y in interpret(graph, feeds) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = [rng.uniform(0.5, 1.5, y.shape) for y in results][: len(first.inputs) - len(feeds)]
    check(first, [*feeds, *seeds], grad(first))


IN_FLOAT32 = [c for c in all_cases() if is_in_float32(c)]


@pytest.mark.parametrize("case", IN_FLOAT32, ids=lambda c: c.name)
def test_gradient_in_float32(case: Case) -> None:
    graph = case.graph()
    check(graph, case.feeds(), grad(graph), h=3e-3, rtol=1e-2, atol=1e-3)


TREES = [c for c in all_cases() if isinstance(c.op, TreeOp) and float_types(c) == ({float32},) * 2]


@pytest.mark.parametrize("case", TREES, ids=lambda c: c.name)
def test_slope_of_steps(case: Case) -> None:
    graph = case.graph()
    seeds = [np.ones_like(y) for y in interpret(graph, case.feeds()) if y.dtype.kind == "f"]
    (gradient,) = interpret(grad(graph), [*case.feeds(), *seeds])
    np.testing.assert_array_equal(gradient, np.zeros_like(case.inputs[0]))


def test_cast_like() -> None:
    """Also across types, where rows in one type say nothing."""
    x, like = Value(TensorType(float32, (3,)), name="x"), Value(TensorType(float64, (2,)), name="like")
    feeds = [np.ones(3, np.float32), np.ones(2), np.array([1.0, 2.0, 3.0])]
    first, second = interpret(grad(Graph([x, like], [CastLike()(x, like)])), feeds)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, [1, 2, 3])
    np.testing.assert_array_equal(second, [0, 0])


# Ops without a gradient, and why.
INTEGER, BOOLEAN, STRING = "its outputs are integers", "its outputs are booleans", "its inputs are no numbers"
NOTHING = "nothing of its outputs' values depends on an input's"
NO_GRADIENT = {
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN",
                     "IsInf", "OptionalHasElement"), BOOLEAN),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift", "QuantizeLinear",
                     "MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv", "NonMaxSuppression",
                     "SequenceLength", "ArgMax", "ArgMin", "NonZero", "Shape", "Size"), INTEGER),
    **dict.fromkeys(("Constant", "ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow", "RandomNormal",
                     "RandomUniform", "Bernoulli", "Multinomial"), NOTHING),
    "BitCast": "bits are no numbers",
    **dict.fromkeys(("StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer",
                     "Tokenizer", "ImageDecoder"), STRING),
    **dict.fromkeys(("LabelEncoder", "CategoryMapper", "OneHotEncoder"), "it finds its input in a table of keys"),
    **dict.fromkeys(("ZipMap", "DictVectorizer", "CastMap"), "maps have no arithmetic"),
}  # fmt: skip

# Ops whose gradients are checked in other places than the rows of the conformance table.
CHECKED_ELSEWHERE = {
    **dict.fromkeys(("SequenceConstruct", "SequenceEmpty", "SequenceAt", "SequenceInsert", "SequenceErase",
                     "ConcatFromSequence", "SplitToSequence", "SequenceMap", "Optional", "OptionalGetElement"),
                    "test_gradient_sequences"),
    **dict.fromkeys({c.op.name for c in TREES}, "test_slope_of_steps"),
    **dict.fromkeys(("LinearAttention", "CausalConvWithState"), "test_linear_attention"),
    "CastLike": "test_cast_like",
    "StopGradient": "test_checkpoint",
}  # fmt: skip


def test_every_op_has_a_checked_gradient_or_a_reason() -> None:
    checked = {c.op.name for c in (*CASES, *IN_FLOAT32)} | set(CHECKED_ELSEWHERE)
    assert {op.__name__ for op in OPS if not has_gradient(op)} <= set(NO_GRADIENT)
    assert checked & set(NO_GRADIENT) == set()
    assert checked | set(NO_GRADIENT) == {op.__name__ for op in OPS}
