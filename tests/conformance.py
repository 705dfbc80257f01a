"""The conformance table: one row is an op on given inputs. Every backend is held to the same rows (see cases/)."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from graphc import types
from graphc.frontends.onnx.attributes import op_to_attributes
from graphc.ir import Graph, Op, Value
from graphc.ops.base import const
from graphc.types import Map, MapType, SequenceType, TensorType, Type, dtype_of, join

Data = Any

# In an order that is the same in every process, as that of a set is not.
FLOAT8, SMALL_INTEGERS = (tuple(sorted(kinds, key=lambda d: d.onnx)) for kinds in (types.FLOAT8, types.SMALL_INTEGERS))


@dataclass(frozen=True)
class Case:
    """`op` applied to `inputs`, held against something independent.

    Attributes:
        op: the op with its attributes.
        inputs: arrays (lists for sequences, None for an omitted input).
        oracle: "onnxruntime", "reference" (the onnx reference evaluator), or a NumPy function of the inputs that
            returns the expected output(s).
        id: what distinguishes this row from the op's others.
        const: numbers of the inputs that are constants of the graph (shapes, axes, …); the others are its inputs.
        rtol, atol: the tolerance against the oracle.
        grad, second: False where first, or second, derivatives are not checked against finite differences; say why.
        opset: the ONNX opset for the oracle's one-node model; default the newest the oracle has.
    """

    op: Op
    inputs: Sequence[Data]
    oracle: str | Callable[..., Any] = "onnxruntime"
    id: str = ""
    const: Sequence[int] = ()
    rtol: float = 1e-5
    atol: float = 1e-6
    grad: bool = True
    second: bool = True
    opset: int | None = None

    @property
    def name(self) -> str:
        return f"{self.op.name}-{self.id}" if self.id else self.op.name

    def graph(self) -> Graph:
        """The one-node graph; inputs are called x0, x1, …, and have static shapes."""
        values: list[Value | None] = []
        inputs: list[Value] = []
        for i, x in enumerate(self.inputs):
            if x is None:
                values.append(None)
            elif i in self.const:
                values.append(const(np.asarray(x)))
            else:
                values.append(Value(type_of(x), name=f"x{i}"))
                inputs.append(values[-1])  # type: ignore[arg-type]
        outputs = self.op.apply(values)
        return Graph(inputs, outputs, [f"y{i}" for i in range(len(outputs))], name=self.name)

    def feeds(self) -> list[Data]:
        """The arrays for the inputs of `graph()`."""
        return [x for i, x in enumerate(self.inputs) if x is not None and i not in self.const]

    @np.errstate(all="ignore")  # infinities and NaNs are what some rows are about
    def expected(self) -> list[Data]:
        """What the oracle says."""
        if callable(self.oracle):
            result = self.oracle(*self.inputs)
            return list(result) if isinstance(result, tuple) else [result]
        feeds = {f"x{i}": x for i, x in enumerate(self.inputs) if x is not None}
        model = self.model()
        if self.oracle == "reference":
            return list(ReferenceEvaluator(model).run(None, feeds))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))

    def model(self) -> onnx.ModelProto:
        """The one-node ONNX model, built with onnx.helper alone."""
        graph = self.graph()
        opset = self.opset or min(onnx.defs.onnx_opset_version(), 26 if self.oracle == "onnxruntime" else 99)
        node = helper.make_node(
            self.op.name,
            ["" if x is None else f"x{i}" for i, x in enumerate(self.inputs)],
            [f"y{i}" for i in range(len(graph.outputs))],
            domain=self.op.domain,
        )
        # Defaults stay out: an attribute that is newer than the oracle's opset would not be valid.
        node.attribute.extend(a for a in op_to_attributes(self.op) if a.name in self.op.attributes())
        info = helper.make_value_info
        inputs = [info(f"x{i}", type_proto(type_of(x))) for i, x in enumerate(self.inputs) if x is not None]
        outputs = [info(f"y{i}", type_proto(v.type, with_shape=False)) for i, v in enumerate(graph.outputs)]
        proto = helper.make_graph([node], self.name, inputs, outputs)
        opsets = [helper.make_opsetid("", opset)]
        if self.op.domain:
            opsets.append(helper.make_opsetid(self.op.domain, current_version(self.op)))
        return helper.make_model(proto, opset_imports=opsets, ir_version=11)


@functools.cache
def schemas() -> list[onnx.defs.OpSchema]:
    """Every version of every op of ONNX."""
    return list(onnx.defs.get_all_schemas_with_history())


def current_version(op: Op) -> int:
    """The newest version of an op in its domain in which it is not deprecated."""
    if op.domain not in {s.domain for s in schemas()}:
        return 1
    named = [s for s in schemas() if (s.domain, s.name) == (op.domain, op.name)]
    return max(s.since_version for s in named if not s.deprecated)


def type_of(x: Data) -> Type:
    """The type of an array, of a map, or of a list of either."""
    if isinstance(x, Map):
        return x.type
    if isinstance(x, list):
        return SequenceType(functools.reduce(join, map(type_of, x)))
    return TensorType(dtype_of(x.dtype), x.shape)


def type_proto(type: Type, *, with_shape: bool = True) -> onnx.TypeProto:
    """The TypeProto of a tensor, sequence or map type."""
    if isinstance(type, MapType):
        return helper.make_map_type_proto(type.key.onnx, type_proto(type.element))
    if isinstance(type, SequenceType):
        return helper.make_sequence_type_proto(type_proto(type.element, with_shape=with_shape))
    assert isinstance(type, TensorType)
    sizes = type.shape if with_shape else None
    return helper.make_tensor_type_proto(
        type.dtype.onnx, None if sizes is None else [d if isinstance(d, int) else None for d in sizes]
    )


def all_cases() -> list[Case]:
    """Every row of every module in cases/; names are made unique by a number."""
    import cases

    found: list[Case] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(cases.__path__)):
        found += importlib.import_module(f"cases.{module}").CASES
    return found


def compare(got: object, want: object, rtol: float, atol: float) -> None:
    """Equal dtype and shape, and equal values within the tolerance; exactly equal unless floating."""
    if isinstance(want, list):
        assert isinstance(got, list)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            compare(g, w, rtol, atol)
        return
    if isinstance(want, dict):
        assert isinstance(got, dict)
        assert list(map(repr, got)) == list(map(repr, want))  # the same keys in the same order
        assert {type(v) for v in got.values()} == {type(v) for v in want.values()}
        got, want = list(got.values()), list(want.values())
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if got.dtype.kind in "fcV":
        wide = np.complex128 if got.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)


def random(*shape: int, dtype: Any = np.float32, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Seeded values: uniform in [low, high) for floats, integers in [low, high), and random bits for bool."""
    rng = np.random.default_rng([seed, *shape])
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        return rng.integers(int(low), int(high), shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)
