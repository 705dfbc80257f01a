"""Every version of every operator: accounted for, and, where it is rewritten, computing what that version says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, defs, helper, numpy_helper
from onnx_models import info, model, node

from graphc.errors import UnsupportedVersion
from graphc.frontends.onnx import load
from graphc.frontends.onnx.schema import schema_of
from graphc.frontends.onnx.versions import ADAPTERS, IDENTICAL, RENAMED
from graphc.interpret import interpret
from graphc.ops import BY_NAME

HISTORY = defs.get_all_schemas_with_history()


def test_every_version_is_either_the_same_or_adapted() -> None:
    newest = {s.name: max(o.since_version for o in HISTORY if o.name == s.name) for s in HISTORY}
    for s in HISTORY:
        key, same = (s.name, s.since_version), s.since_version in IDENTICAL.get(s.name, ())
        assert not (same and key in ADAPTERS), f"{key} is in both tables"
        if s.since_version == newest[s.name]:
            assert not same, f"{key} is the newest"
        else:
            assert same or key in ADAPTERS, f"{key} is in no table"


def test_the_tables_name_only_versions_that_exist() -> None:
    known = {(s.name, s.since_version) for s in HISTORY}
    assert set(ADAPTERS) <= known
    assert {(op, v) for op, versions in IDENTICAL.items() for v in versions} <= known
    assert all(("", op) in BY_NAME for op in RENAMED.values())


@dataclass(frozen=True)
class Old:
    """`op` of an old opset applied to `inputs`; the oracle is onnxruntime, or a NumPy function of the inputs."""

    op: str
    opset: int
    inputs: Sequence[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    oracle: Callable[..., Any] | None = None
    outputs: int = 1
    const: Sequence[int] = ()

    @property
    def since(self) -> int:
        schema = schema_of(self.op, self.opset, "")
        assert schema is not None
        return int(schema.since_version)

    def model(self) -> onnx.ModelProto:
        names = ["_" if x is None else f"x{i}" for i, x in enumerate(self.inputs)]
        outputs = [f"y{i}" for i in range(self.outputs)]
        inputs, weights = [], {}
        for i, x in enumerate(self.inputs):
            if i in self.const:
                weights[f"x{i}"] = x
            elif x is not None:
                inputs.append(info(f"x{i}", x.shape, helper.np_dtype_to_tensor_dtype(x.dtype)))
        proto = model(
            [node(self.op, " ".join(names), " ".join(outputs), **self.attributes)],
            inputs,
            " ".join(outputs),
            opset=self.opset,
            weights=weights,
        )
        proto.ir_version = 8
        return proto

    def feeds(self) -> dict[str, Any]:
        return {f"x{i}": x for i, x in enumerate(self.inputs) if x is not None and i not in self.const}

    def expected(self) -> list[Any]:
        if self.oracle is not None:
            result = self.oracle(*self.inputs)
            return list(result) if isinstance(result, tuple) else [result]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        proto = self.model().SerializeToString()
        session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, self.feeds()))


def r(*shape: int, low: float = -1, high: float = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normal(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


UNARY: dict[str, Callable[[np.ndarray], Any]] = {
    "Abs": np.abs, "Ceil": np.ceil, "Exp": np.exp, "Floor": np.floor, "Log": np.log, "Neg": np.negative,
    "Reciprocal": np.reciprocal, "Relu": lambda x: np.maximum(x, 0), "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Sqrt": np.sqrt, "Tanh": np.tanh, "Elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1), "LeakyRelu": lambda x: np.where(x > 0, x, 0.01 * x),
    "Selu": lambda x: 1.0507 * np.where(x > 0, x, 1.6732 * (np.exp(x) - 1)),
}  # fmt: skip
BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}
LOGIC = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
COMPARE = {"Greater": np.greater, "Less": np.less}
REDUCE: dict[str, Callable[..., Any]] = {
    "ReduceL1": lambda x, a: np.abs(x).sum(a, keepdims=True),
    "ReduceL2": lambda x, a: (x * x).sum(a, keepdims=True) ** 0.5,
    "ReduceLogSum": lambda x, a: np.log(x.sum(a, keepdims=True)),
    "ReduceLogSumExp": lambda x, a: np.log(np.exp(x).sum(a, keepdims=True)),
    "ReduceMax": lambda x, a: x.max(a, keepdims=True), "ReduceMin": lambda x, a: x.min(a, keepdims=True),
    "ReduceMean": lambda x, a: x.mean(a, keepdims=True), "ReduceProd": lambda x, a: x.prod(a, keepdims=True),
    "ReduceSum": lambda x, a: x.sum(a, keepdims=True), "ReduceSumSquare": lambda x, a: (x * x).sum(a, keepdims=True),
}  # fmt: skip

positive = r(2, 3, 4, low=0.5, high=2)
image = r(1, 2, 4, 4)
four = [r(3, low=0.5, seed=s) for s in range(4)]
NORMAL_4D = [r(2, 3, 4, 4), *four[:3], np.abs(four[3])]
scale, bias, mean, variance = (r(1, 2, 2, low=0.5, high=1, seed=s) for s in range(4))
VALUES = {
    "value": numpy_helper.from_array(r(2, 3)), "value_float": 1.5, "value_floats": [1.5, 2.5], "value_int": 3,
    "value_ints": [3, 4], "value_string": "ab", "value_strings": ["ab", "c"],
}  # fmt: skip
CONSTANTS = {
    "value": r(2, 3), "value_float": np.float32(1.5), "value_floats": np.array([1.5, 2.5], np.float32),
    "value_int": np.int64(3), "value_ints": i64(3, 4), "value_string": np.array("ab", object),
    "value_strings": np.array(["ab", "c"], object),
}  # fmt: skip


def normalized(x: Any, scale: Any, b: Any, mean: Any, variance: Any) -> Any:
    s, b, m, v = (a.reshape(1, -1, 1, 1) for a in (scale, b, mean, variance))
    return (x - m) / np.sqrt(v + 1e-5) * s + b


CASES = [
    *(Old(op, 1, [positive], {"consumed_inputs": [0]}, f) for op, f in UNARY.items()),
    *(Old(op, 1, [r(2, 3), r(2, 3, seed=1)], {"consumed_inputs": [0, 0]}, f) for op, f in (
        ("Max", np.maximum), ("Min", np.minimum), ("Sum", np.add), ("Mean", lambda a, b: (a + b) / 2))),
    Old("InstanceNormalization", 1, [image, r(2), r(2, seed=1)], {"consumed_inputs": [0]},
        lambda x, s, b: normal(x, (2, 3)) * s.reshape(1, -1, 1, 1) + b.reshape(1, -1, 1, 1)),
    # broadcasting at an axis
    *(Old(op, opset, [positive, b], {"broadcast": 1, **attributes},
          lambda a, b, f=f, shape=shape: f(a, b.reshape(shape)))
      for op, f in {**BINARY, **COMPARE}.items() for opset in ((1,) if op in ("Pow", *COMPARE) else (1, 6))
      for b, shape, attributes in [
          (r(3, low=0.5), (3, 1), {"axis": 1}), (r(3, 4, low=0.5), (3, 4), {}),
          (r(2, low=0.5), (2, 1, 1), {"axis": -3}),
          (r(2, 3, low=0.5), (2, 3, 1), {"axis": 0}), (np.float32(0.5).reshape(()), (), {})]),
    *(Old(op, 1, [positive, positive], {}, f) for op, f in BINARY.items()),
    *(Old(op, 1, [r(2, 3) > 0, r(2) > 0], {"broadcast": 1, "axis": 0}, lambda a, b, f=f: f(a, b[:, None]))
      for op, f in LOGIC.items()),
    Old("Equal", 1, [i64(1, 2, 3, 4).reshape(2, 2), i64(1, 4)], {"broadcast": 1, "axis": 0},
        lambda a, b: a == b[:, None]),
    # axes
    *(Old(op, opset, [positive], attributes, lambda x, f=f, a=a: f(x, a))
      for op, f in REDUCE.items() for opset in (1, 11, 12, 13) if (op, opset) in ADAPTERS
      for attributes, a in [({"axes": [0, 2]}, (0, 2)), ({}, None)]),
    Old("ReduceMean", 13, [positive], {"axes": [-1], "keepdims": 0}),
    *(Old("Squeeze", v, [r(1, 3, 1)], {"axes": [0]}, lambda x: x[0]) for v in (1, 11)),
    Old("Squeeze", 11, [r(1, 3, 1)]),
    *(Old("Unsqueeze", v, [r(3, 2)], {"axes": [0, 3]}, lambda x: x[None, ..., None]) for v in (1, 11)),
    # softmax over everything behind an axis
    *(Old(op, v, [r(2, 3, 4)], attributes, oracle=lambda x, f=f, n=n: f(x.reshape(n)).reshape(x.shape))
      for v in (1, 11) for attributes, n in [({}, (2, 12)), ({"axis": 2}, (6, 4)), ({"axis": 0}, (1, 24))]
      for op, f in (("Softmax", softmax), ("LogSoftmax", lambda x: np.log(softmax(x))),
                    ("Hardmax", lambda x: np.eye(x.shape[1], dtype=x.dtype)[x.argmax(1)]))),
    Old("Softmax", 11, [r(2, 3, 4)], {"axis": 1}), Old("Hardmax", 11, [r(2, 3, 4)], {"axis": 1}),
    # normalisation
    *(Old("BatchNormalization", v, NORMAL_4D, attributes, normalized)
      for v, attributes in [(1, {"is_test": 1, "consumed_inputs": [0] * 5}), (6, {"is_test": 1}), (7, {}), (9, {})]),
    Old("BatchNormalization", 9, NORMAL_4D, {"epsilon": 0.5}),
    Old("BatchNormalization", 7, [r(3, 1, 2, 2), scale, bias, mean, variance], {"spatial": 0},
        lambda x, s, b, m, v: (x - m) / np.sqrt(v + 1e-5) * s + b),
    Old("BatchNormalization", 9, NORMAL_4D, {"momentum": 0.75}, outputs=3,
        oracle=lambda x, s, b, m, v: (
            normal(x, (0, 2, 3)) * s.reshape(1, -1, 1, 1) + b.reshape(1, -1, 1, 1),
            0.75 * m + 0.25 * x.mean((0, 2, 3)), 0.75 * v + 0.25 * x.var((0, 2, 3)))),
    Old("GroupNormalization", 18, [r(2, 4, 3), r(2), r(2, seed=1)], {"num_groups": 2},
        lambda x, s, b: (normal(x.reshape(2, 2, 6), (2,)) * s[:, None] + b[:, None]).reshape(2, 4, 3)),
    # dropout
    *(Old("Dropout", v, [r(2, 3)], {"is_test": 1} if v < 7 else {}, lambda x: x) for v in (1, 6, 7, 10)),
    Old("Dropout", 7, [r(2, 3)], {"ratio": 0.7}, lambda x: (x, np.ones_like(x)), outputs=2),
    Old("Dropout", 10, [r(2, 3)], {"ratio": 0.7}, lambda x: (x, np.ones(x.shape, bool)), outputs=2),
    # attributes that became inputs, or changed their spelling
    Old("Cast", 1, [r(3)], {"to": "INT32"}, lambda x: x.astype(np.int32)),
    *(Old("Clip", v, [r(5)], {"min": -0.5, "max": 0.25}, lambda x: np.clip(x, np.float32(-0.5), np.float32(0.25)))
      for v in (1, 6)),
    Old("Clip", 6, [np.array([np.inf, 1, -np.inf], np.float32)]), Old("Clip", 1, [r(3)], {}, lambda x: x),
    Old("Concat", 1, [r(2, 3), r(2, 1)], {}, lambda a, b: np.concatenate([a, b], 1)),
    *(Old("Constant", v, [], {name: VALUES[name]}, lambda name=name: CONSTANTS[name])
      for v in (1, 9, 11, 12, 13, 19, 21, 23, 24, 25) for name in (VALUES if v >= 12 else ("value",))),
    Old("DFT", 17, [r(2, 5, 3, 1)], {"axis": 2},
        lambda x: np.fft.fft(x[..., 0])[..., None].astype(np.complex64).view(np.float32)),
    Old("DFT", 17, [r(2, 5, 1)], {}),
    Old("Gemm", 1, [r(2, 3), r(3, 4), r(4)], {"broadcast": 1}, lambda a, b, c: a @ b + c),
    Old("Gemm", 6, [r(2, 3), r(3, 4), r(2, 4)], {}, lambda a, b, c: a @ b + c),
    Old("GlobalLpPool", 1, [image], {"p": 2.0}, lambda x: (x * x).sum((2, 3), keepdims=True) ** 0.5),
    Old("LpPool", 1, [image], {"p": 2.0, "kernel_shape": [4, 4]}, lambda x: (x * x).sum((2, 3), keepdims=True) ** 0.5),
    *(Old("GridSample", 16, [image, r(1, 3, 3, 2)], {"mode": m}) for m in ("bilinear", "bicubic", "nearest")),
    *(Old("PRelu", v, [image, slope], {}, lambda x, s: np.where(x > 0, x, x * s.reshape(1, -1, 1, 1)))
      for v in (1, 6) for slope in (r(2), r(1))),
    Old("Pad", 1, [r(2, 3)], {"paddings": [0, 1, 2, 0], "value": 3.0},
        lambda x: np.pad(x, [(0, 2), (1, 0)], constant_values=3)),
    Old("Pad", 2, [r(2, 3)], {"pads": [0, 1, 2, 0]}),
    Old("Pad", 2, [r(3, 3)], {"pads": [1, 1, 1, 1], "mode": "reflect"}),
    Old("Reshape", 1, [r(2, 3)], {"shape": [3, -1]}, lambda x: x.reshape(3, 2)),
    Old("Resize", 10, [image, np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}, const=(1,)),
    Old("Resize", 10, [image, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "linear"}, const=(1,)),
    *(Old("Resize", 10, [r(1, 1, 5, 10), np.array([1, 1, h, w], np.float32)], {"mode": "nearest"}, const=const)
      for h, w in [(0.6, 0.3), (0.6, 1.7), (1, 0.7)] for const in ((), (1,))),
    *(Old("Resize", v, [image, np.zeros(0, np.float32), np.zeros(0, np.float32), i64(1, 2, 7, 5)],
          {"mode": "linear"}, const=(1, 2, 3)) for v in (11, 13, 18, 19)),
    Old("Resize", 11, [image, np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)], {"mode": "cubic"},
        const=(1, 2)),
    Old("RoiAlign", 10, [image, np.array([[0, 0, 3, 3]], np.float32), i64(0)], {"output_height": 2, "output_width": 2}),
    *(Old("Upsample", v, [image], a, lambda x: x.repeat(2, 2).repeat(3, 3)) for v, a in [
        (1, {"height_scale": 2.0, "width_scale": 3.0}), (7, {"scales": [1.0, 1.0, 2.0, 3.0]})]),
    Old("Upsample", 9, [image, np.array([1, 1, 2, 3], np.float32)], {"mode": "linear"}, const=(1,)),
    Old("Slice", 1, [r(3, 4, 5)], {"starts": [0, 1], "ends": [2, 100], "axes": [0, 2]}, lambda x: x[:2, :, 1:]),
    Old("Slice", 1, [r(3, 4)], {"starts": [1, -2], "ends": [2, 4]}, lambda x: x[1:2, -2:]),
    Old("Split", 1, [r(4, 6)], {"axis": 1, "split": [2, 4]}, lambda x: (x[:, :2], x[:, 2:]), outputs=2),
    *(Old("Split", v, [r(4, 6)], {}, lambda x: (x[:2], x[2:]), outputs=2) for v in (1, 2, 11, 13)),
    Old("Split", 11, [r(4, 6)], {"axis": -1, "split": [1, 5]}, outputs=2),
    Old("Tile", 1, [r(2, 3), i64(2), i64(1)], {}, lambda x, n, a: np.tile(x, (1, 2)), const=(1, 2)),
    Old("TopK", 1, [r(2, 5)], {"k": 3}, outputs=2,
        oracle=lambda x: (-np.sort(-x, 1)[:, :3], np.argsort(-x, 1, kind="stable")[:, :3])),
    *(Old(op, v, [r(3, 1, 2), r(1, n * 4, 2), r(1, n * 4, 4)], {"hidden_size": 4, "output_sequence": 1}, outputs=2,
          oracle=lambda *xs, op=op: tuple(Old(op, 14, xs, {"hidden_size": 4}, outputs=2).expected()))
      for op, n, v in [("RNN", 1, 1), ("LSTM", 4, 1), ("GRU", 3, 1), ("GRU", 3, 3)]),
]  # fmt: skip
CASES = [c for c in CASES if ("", RENAMED.get(c.op, c.op)) in BY_NAME]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op}-{c.since}")
def test_an_old_version_computes_what_it_says(case: Old) -> None:
    graph = load(case.model())
    feeds = case.feeds()
    got = interpret(graph, [feeds[v.name] for v in graph.inputs])
    expected = case.expected()
    assert len(got) == len(expected) == case.outputs
    for g, e in zip(got, expected, strict=True):
        assert np.asarray(g).dtype == np.asarray(e).dtype
        if np.asarray(e).dtype.kind in "fc":
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(g, e)


def test_every_adapter_has_a_case() -> None:
    tested = {(c.op, c.since) for c in CASES} | {("Scan", 8)}  # the official suite has the case for Scan-8
    assert {(op, v) for op, v in ADAPTERS if ("", RENAMED.get(op, op)) in BY_NAME} - tested == set()


def test_dropout_1_trains_unless_told_otherwise() -> None:
    graph = load(Old("Dropout", 1, [r(2, 3)]).model())
    assert graph.nodes[-1].inputs[2] is not None


@pytest.mark.parametrize(("case", "message"), [
    (Old("BatchNormalization", 9, NORMAL_4D, outputs=5), "saved_mean"),
    (Old("BatchNormalization", 7, [r(3, 1, 2, 2), scale, bias, mean, variance], {"spatial": 0}, outputs=3), "spatial"),
    (Old("GlobalLpPool", 1, [image], {"p": 2.5}), "whole numbers"),
    (Old("GroupNormalization", 18, [r(2, 4, 3), r(3), r(3)], {"num_groups": 3}), "divisible by 3"),
    (Old("Tile", 1, [r(2, 3), i64(2), i64(1)]), "constant tiles"),
])  # fmt: skip
def test_what_the_newest_version_cannot_say(case: Old, message: str) -> None:
    proto = case.model()
    for name in [o.name for o in proto.graph.output]:
        proto.graph.node.append(node("Identity", name, f"{name}_read"))
    with pytest.raises(UnsupportedVersion, match=message):
        load(proto)


def test_scan_8_with_sequence_lengths() -> None:
    body = helper.make_graph(
        [node("Add", "s x", "t"), node("Identity", "t", "u")], "b", [info("s", ()), info("x", ())],
        [info("t", ()), info("u", ())])  # fmt: skip
    scan = node("Scan", "n s0 xs", "s1 us", body=body, num_scan_inputs=1)
    inputs = [info("n", (2,), TensorProto.INT64), info("s0", (2,)), info("xs", (2, 3))]
    with pytest.raises(UnsupportedVersion, match="sequence_lens"):
        load(model([scan], inputs, "s1 us", opset=8))
    reverse = node("Scan", "_ s0 xs", "s1 us", body=body, num_scan_inputs=1, directions=[1])
    x = r(2, 3)
    last, steps = interpret(load(model([reverse], inputs[1:], "s1 us", opset=8)), [np.zeros(2, np.float32), x])
    np.testing.assert_allclose(last, x.sum(1), rtol=1e-6)
    np.testing.assert_allclose(steps, np.cumsum(x[:, ::-1], 1), rtol=1e-6)
