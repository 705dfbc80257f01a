"""Damaged model files: loading gives a graph or `ModelError`, at once and without much memory, never anything else."""

from __future__ import annotations

import contextlib
import random
import time
import tracemalloc
import warnings
from collections.abc import Iterator

import onnx
import pytest
from conformance import all_cases
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from graphc.errors import ModelError, UnsupportedVersion
from graphc.frontends.onnx import load, save
from graphc.text import format_graph

MUTATIONS = 60
INTEGERS = (0, 1, -1, 2, 3, 7, 16, 64, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 0.5, 1e30, float("inf"), float("nan"))
BYTES = (b"", b"\xff", b"\0" * 8, b"linear", b"SAME_UPPER", b"abc" * 10)
TEXTS = ("", "\0", "x" * 300, "ai.onnx", "?0", "n*n", "X", "body")

FUNCTION = """
<ir_version: 10, opset_import: ["": 21, "local": 1]>
graph (float[N,2] x) => (float[N,2] y) { y = local.f <alpha=0.5>(x) }
<domain: "local", opset_import: ["": 21]>
f <alpha: float = 0.1> (a) => (b) { c = LeakyRelu <alpha: float = @alpha>(a)  b = Add(c, a) }
"""


def models() -> dict[str, bytes]:
    """Some rows, all with bodies, a function, a sparse initialiser."""
    found: dict[str, bytes] = {}
    for i, case in enumerate(all_cases()):
        if i % 150 == 0 or case.op.graphs():
            with contextlib.suppress(UnsupportedVersion):
                found[case.name] = save(case.graph()).SerializeToString()
    model = onnx.parser.parse_model(FUNCTION)
    found["function"] = model.SerializeToString()
    sparse = model.graph.sparse_initializer.add(dims=[2, 3])
    sparse.values.CopyFrom(onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1, 2]))
    sparse.indices.CopyFrom(onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [2], [1, 4]))
    found["sparse"] = model.SerializeToString()
    return found


MODELS = models()


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bits flipped, bytes replaced, taken out or put in, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2 and len(changed) > 16:
            del changed[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.randrange(1, 5))
        elif rng.random() < 0.3:
            del changed[max(at, 1) :]
    return bytes(changed)


def damaged_fields(data: bytes, rng: random.Random) -> bytes:
    """A few fields of the protobuf set to other values, cleared, doubled, or replaced by others of their kind."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        messages = list(_messages(model))
        message = rng.choice(messages)
        filled = [field for field, _ in message.ListFields()]
        field = rng.choice(filled if filled and rng.random() < 0.8 else message.DESCRIPTOR.fields)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            alike = [m.SerializeToString() for m in messages if m.DESCRIPTOR is field.message_type]
            _change_message(message, field, rng.choice(alike or [b""]), rng)
        else:
            with contextlib.suppress(ValueError):  # the number does not fit the field
                _change_value(message, field, rng)
    return model.SerializeToString()


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                yield from _messages(inner)


def _change_message(message: Message, field: FieldDescriptor, content: bytes, rng: random.Random) -> None:
    value = getattr(message, field.name)
    if not field.is_repeated:
        if rng.random() < 0.5:
            message.ClearField(field.name)
        else:
            value.MergeFromString(content)
    elif len(value) and rng.random() < 0.5:
        del value[rng.randrange(len(value))]
    else:
        value.add().MergeFromString(content)


def _change_value(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    choices: dict[int, tuple[object, ...]] = {
        FieldDescriptor.TYPE_STRING: TEXTS,
        FieldDescriptor.TYPE_BYTES: BYTES,
        FieldDescriptor.TYPE_FLOAT: FLOATS,
        FieldDescriptor.TYPE_DOUBLE: FLOATS,
    }
    new = rng.choice(choices.get(field.type, INTEGERS if rng.random() < 0.5 else tuple(range(30))))
    if not field.is_repeated:
        setattr(message, field.name, new)
        return
    value = getattr(message, field.name)
    if len(value) and rng.random() < 0.6:
        value[rng.randrange(len(value))] = new
    elif len(value) and rng.random() < 0.5:
        del value[rng.randrange(len(value))]
    else:
        value.append(new)


@pytest.mark.parametrize("damaged", [damaged_bytes, damaged_fields])
@pytest.mark.parametrize("name", MODELS)
def test_damaged_models(name: str, damaged: object) -> None:
    assert callable(damaged)
    rng = random.Random(name)
    for _ in range(MUTATIONS):
        data = damaged(MODELS[name], rng)
        start = time.perf_counter()
        with contextlib.suppress(ModelError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            format_graph(load(data))
        assert time.perf_counter() - start < 5


def load_text(text: str) -> None:
    load(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g (float[1,9,4] x, int64[2147483647] s, int64[2] b) => (float[1,1,5,5] y) { y = Col2Im (x, s, b) }", "rank"),
        ("g (float[4] x) => (float[2] y) { y = Split <num_outputs = 2147483647> (x) }", "outputs"),
    ],
)
def test_sizes_that_only_a_type_states(text: str, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=message):
            load_text(text)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_names_are_text() -> None:
    model = onnx.parser.parse_model(FUNCTION)
    model.graph.value_info.add(name="marker")
    model.graph.node[0].attribute[0].name = "marked"
    data = model.SerializeToString()
    for name in (b"marker", b"marked"):
        with pytest.raises(ModelError, match="not UTF-8"):
            load(data.replace(name, b"\xff" * len(name)))


def test_an_empty_constant_may_have_any_other_size() -> None:
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 21]> g () => (float[2147483648,0] y) { }')
    model.graph.initializer.add(name="y", data_type=onnx.TensorProto.FLOAT, dims=[2**31, 0])
    assert "const []" in format_graph(load(model))
    model.graph.initializer[0].dims[:] = [2**62, 0, 2**62]
    with pytest.raises(ModelError, match="too large for an array"):
        load(model)


def test_a_body_in_an_attribute_of_another_type() -> None:
    case = next(c for c in all_cases() if c.op.name == "Scan" and c.op.attributes().get("scan_input_directions"))
    model = save(case.graph())
    node = next(n for n in model.graph.node if n.op_type == "Scan")
    bodies = {a.name: a.g for a in node.attribute}
    next(a for a in node.attribute if a.name == "scan_input_directions").g.CopyFrom(bodies["body"])
    load(model)
