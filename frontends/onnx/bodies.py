"""Bodies of ONNX's control flow: what their inputs are, and how they are closed over what they read from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphc.errors import InvalidModel, UnsupportedOp
from graphc.frozen import Frozen
from graphc.ir import Graph, Value, topological
from graphc.ops.flex_attention import scores_type
from graphc.types import SequenceType, TensorType, Type, bool_, int64

from .survey import Region


class Body(Frozen):
    """A body that is not closed yet.

    Attributes:
        inputs: the inputs that ONNX's op gives it.
        outputs, output_names, name: as of the graph.
        captured: outer value -> the input for it, for what the body reads, in the order of its nodes.
    """

    inputs: Sequence[Value]
    outputs: Sequence[Value]
    output_names: Sequence[str]
    name: str
    captured: Mapping[Value, Value]

    def close(self, outside: Iterable[Value]) -> Graph:
        """The body with one further input for each value of `outside`, in that order."""
        names = {v.name for v in self.inputs} | {v.name for v in self.captured.values()}
        inputs = list(self.inputs)
        for value in outside:
            known = self.captured.get(value)
            if known is None:  # another body of the same node reads it
                name = value.name or "outside"
                while name in names:
                    name += "_"
                names.add(name)
                known = Value(value.type, name=name, content=value.content)
            inputs.append(known)
        return Graph(inputs, self.outputs, self.output_names, name=self.name)


def read_from_outside(outputs: Sequence[Value], captured: Mapping[Value, Value]) -> dict[Value, Value]:
    """The part of `captured` that `outputs` depend on, in an order that follows from the graph alone."""
    outer = {inside: value for value, inside in captured.items()}
    read = [x for node in topological(outputs) for x in node.inputs if x is not None]
    return {outer[x]: x for x in (*read, *outputs) if x in outer}


def is_never_run(op: str, attribute: str, inputs: Sequence[Value | None]) -> bool:
    """True for the branch of an If that a known condition rules out."""
    known = inputs[0].const if op == "If" and inputs and inputs[0] is not None else None
    if known is None or known.size != 1:
        return False
    return attribute == ("else_branch" if known.reshape(-1)[0] else "then_branch")


def padded(op: str, inputs: Sequence[Value | None], captures: bool) -> Sequence[Value | None]:
    """`inputs` with the optional ones of Loop written out where captured values follow."""
    return [*inputs, *(None for _ in range(2 - len(inputs)))] if op == "Loop" and captures else inputs


def input_types(
    op: str,
    since: int,
    attributes: Mapping[str, Any],
    inputs: Sequence[Value | None],
    graphs: Mapping[str, Region],
) -> dict[str, list[Type | None]]:
    """For each body, the types of its inputs as far as the node's inputs tell."""
    if op == "If":
        return {name: [] for name in graphs}
    if op == "Loop":
        return {"body": [TensorType(int64, ()), TensorType(bool_, ()), *(_type(x) for x in inputs[2:])]}
    if op == "SequenceMap":
        first = inputs[0].type if inputs and inputs[0] is not None else None
        if not isinstance(first, SequenceType):
            raise InvalidModel(f"needs a sequence as its first input, got {first}")
        return {"body": [t.element if isinstance(t, SequenceType) else t for t in map(_type, inputs)]}
    if op == "FlexAttention" and len(inputs) >= 2 and inputs[0] is not None and inputs[1] is not None:
        scores = scores_type(inputs[0], inputs[1], attributes.get("softmax_precision"))
        return {name: [scores] for name in graphs}
    if op != "Scan":
        raise UnsupportedOp(f"{op} with the sub-graphs {', '.join(graphs)} is not supported")
    scanned, given = int(attributes.get("num_scan_inputs", 0)), list(inputs)
    lead = 0
    if since < 9:  # sequence_lens, and a batch in front
        given, lead = given[1:], 1
    if not 0 < scanned <= len(given):
        raise InvalidModel(f"num_scan_inputs is {scanned}, the node has {len(given)} inputs")
    states = len(given) - scanned
    axes = attributes.get("scan_input_axes") or (0,) * scanned
    if len(axes) != scanned:
        raise InvalidModel(f"scan_input_axes has {len(axes)} entries, expected {scanned}")
    types = [_without(_type(x), 0) if lead else _type(x) for x in given]
    return {"body": [*types[:states], *(_without(t, a) for t, a in zip(types[states:], axes, strict=True))]}


def _type(x: Value | None) -> Type | None:
    return None if x is None else x.type


def _without(type: Type | None, axis: int) -> Type | None:
    """The type of a slice along `axis`."""
    if not isinstance(type, TensorType) or type.shape is None:
        return type
    if not -len(type.shape) <= axis < len(type.shape):
        raise InvalidModel(f"axis {axis} is out of range for {type}")
    shape = list(type.shape)
    del shape[axis]
    return TensorType(type.dtype, tuple(shape))
