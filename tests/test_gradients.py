"""Every gradient in the conformance table against finite differences in float64, and gradients of gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from conformance import Case, all_cases

from graphc.autodiff import grad
from graphc.errors import TypeMismatch
from graphc.interpret import evaluate, interpret
from graphc.ir import Graph, Op, Value
from graphc.ops import OPS
from graphc.ops.cast import CastLike
from graphc.ops.ml_trees import TreeOp
from graphc.ops.quantize import DequantizeLinear, DynamicQuantizeLinear
from graphc.types import DType, TensorType, float32, float64

RTOL, ATOL = 1e-6, 1e-8
MAX_ELEMENTS = 48  # inputs up to this size are checked element by element, larger ones in random directions


def in_float64(case: Case) -> Case:
    wide = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x for x in case.inputs]
    result = dataclasses.replace(case, inputs=wide)
    try:
        result.graph()
    except TypeMismatch:  # a parameter that is float32 by definition, such as the scales of Resize
        kept = [case.inputs[i] if i in case.const else x for i, x in enumerate(wide)]
        return dataclasses.replace(case, inputs=kept)
    return result


def has_gradient(op: type[Op]) -> bool:
    """Whether the op has one of its own, or may decompose into ops that have."""
    return op.grad is not Op.grad or op.decompose is not Op.decompose


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


def float_types(case: Case) -> tuple[set[DType], set[DType]]:
    """The floating-point element types of inputs and of outputs."""
    graph = case.graph()
    inputs, outputs = (
        {v.type.dtype for v in values if isinstance(v.type, TensorType) and v.type.dtype.is_float}
        for values in (graph.inputs, graph.outputs)
    )
    return inputs, outputs


CASES = [c for c in all_cases() if is_differentiable(c)]


def derivative(f: Callable[[float], float], h: float) -> float:
    """f'(0) by the central difference, whose error of O(h²) is far below what is tolerated."""
    return (f(h) - f(-h)) / (2 * h)


def of_input(graph: Graph, known: dict[Value, np.ndarray], at: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The outputs of `graph` as a function of one input; what does not depend on it is as `known` from a run."""
    moving = {graph.inputs[at]}
    nodes = []
    for node in graph.nodes:
        if moving.intersection(node.inputs):
            moving.update(node.outputs)
            nodes.append(node)

    def outputs(x: np.ndarray) -> list[np.ndarray]:
        data = {**known, graph.inputs[at]: x}
        for node in nodes:
            results = evaluate(node, [None if v is None else data[v] for v in node.inputs])
            data.update(zip(node.outputs, results, strict=True))
        return [data[v] for v in graph.outputs]

    return outputs


def check(
    graph: Graph, feeds: Sequence[np.ndarray], derivatives: Graph, *, h: float = 1e-5, rtol: float = RTOL,
    atol: float = ATOL,
) -> None:  # fmt: skip
    """Compare the gradients that `derivatives` computes with differences of Σ seed · output of `graph`."""
    rng = np.random.default_rng(0)
    floats = [i for i, x in enumerate(feeds) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    known: dict[Value, np.ndarray] = dict(zip(graph.inputs, feeds, strict=True))
    outputs = interpret(graph, feeds, lambda node, _, ys: known.update(zip(node.outputs, ys, strict=True)))
    seeded = [i for i, y in enumerate(outputs) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = {i: rng.uniform(0.5, 1.5, outputs[i].shape).astype(outputs[i].dtype) for i in seeded}
    scalar_loss = len(derivatives.inputs) == len(graph.inputs)
    if scalar_loss:
        seeds = {seeded[0]: np.ones(())}
    gradients = interpret(derivatives, [*feeds, *([] if scalar_loss else seeds.values())])

    def loss(f: Callable[[np.ndarray], list[np.ndarray]], x: np.ndarray) -> float:
        results = f(x)
        return float(sum(np.sum(seed * results[i]) for i, seed in seeds.items()))

    for at, gradient in zip(floats, gradients, strict=True):
        x = feeds[at]
        assert gradient.dtype == x.dtype
        assert gradient.shape == x.shape
        if x.size <= MAX_ELEMENTS:
            directions = [np.eye(1, x.size, k).reshape(x.shape) for k in range(x.size)]
        else:
            directions = [rng.standard_normal(x.shape) for _ in range(4)]
        f = of_input(graph, known, at)
        expected = [derivative(lambda t, v=v, x=x, f=f: loss(f, (x + t * v).astype(x.dtype)), h) for v in directions]
        got = [np.sum(gradient * v) for v in directions]
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol * max(1, x.size))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    case = in_float64(case)
    graph = case.graph()
    check(graph, case.feeds(), grad(graph))


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


SMALL = [c for c in CASES if c.second and sum(np.size(x) for x in c.inputs if x is not None) <= MAX_ELEMENTS]


@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.name)
def test_gradient_of_gradient(case: Case) -> None:
    case = in_float64(case)
    graph = case.graph()
    first = grad(graph)
    rng = np.random.default_rng(1)
    results = [y for y in interpret(graph, case.feeds()) if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    seeds = [rng.uniform(0.5, 1.5, y.shape) for y in results][: len(first.inputs) - len(case.feeds())]
    check(first, [*case.feeds(), *seeds], grad(first))
