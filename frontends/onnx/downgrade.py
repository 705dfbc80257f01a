"""Whether a node can be said in an older opset, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, helper

from graphc.errors import UnsupportedVersion
from graphc.frozen import Frozen
from graphc.ir import Node, Value
from graphc.types import DType, MapType, SequenceType, TensorType, Type

from .attributes import op_to_attributes
from .schema import FOREIGN, Schema, newest_schema, schema_of, versions_of
from .versions import IDENTICAL


class Form(Frozen):
    """A node as it will be written, without its bodies and what they capture."""

    op: str
    domain: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, AttributeProto]

    @property
    def label(self) -> str:
        return f"{self.domain}.{self.op}" if self.domain else self.op


def form_of(node: Node, captured: int) -> Form:
    """`node` in its newest form, without its bodies and the `captured` inputs at the end."""
    inputs = node.inputs[: len(node.inputs) - captured]
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    attributes = op_to_attributes(node.op, lambda body, name: onnx.GraphProto())
    named = {a.name: a for a in attributes if a.type != AttributeProto.GRAPH}
    return Form(node.op.name, node.op.domain, inputs, node.outputs, named)


def in_opset(form: Form, version: int) -> Form:
    """`form` as opset `version` of its domain spells it. Raises `UnsupportedVersion` with the reason."""
    if form.domain in FOREIGN:
        return form
    newest, schema = newest_schema(form.op, form.domain), schema_of(form.op, version, form.domain)
    if newest is None or schema is None:
        known = versions_of(form.op, form.domain)
        if not known:
            raise UnsupportedVersion(f"{form.label} is graphc's own and not in ONNX")
        raise UnsupportedVersion(f"{form.label} exists since opset {known[0]}", hint="Choose a newer opset=")
    since = schema.since_version
    if since != newest.since_version:
        between = [v for v in versions_of(form.op, form.domain) if since <= v < newest.since_version]
        if any(v not in _SAYS_THE_SAME.get(form.op, IDENTICAL.get(form.op, ())) for v in between):
            adapter = DOWNGRADES.get((form.op, since))
            if adapter is None:
                raise UnsupportedVersion(f"{form.label} cannot be written as {form.op}-{since}")
            form = adapter(form)
    fault = _newer_value(form, since) or misfit(form, schema)
    if fault is not None:
        raise UnsupportedVersion(f"{form.label} cannot be written as {form.op}-{since}: {fault}")
    return replace(form, attributes=_needed(form, schema))


def _needed(form: Form, schema: Schema) -> dict[str, AttributeProto]:
    """The attributes that are not the schema's defaults."""
    kept = {}
    for name, attribute in form.attributes.items():
        formal = schema.attributes.get(name)
        if formal is None or (not formal.required and _same(attribute, formal.default_value)):
            continue
        kept[name] = attribute
    return kept


# (op, attribute, value) -> the version that added the value.
_VALUE_SINCE: Mapping[tuple[str, str, bytes], int] = {
    ("Pad", "mode", b"wrap"): 19,
    ("Resize", "coordinate_transformation_mode", b"half_pixel_symmetric"): 19,
    **{(op, "reduction", how): 18 for op in ("ScatterElements", "ScatterND") for how in (b"max", b"min")},
}


def _newer_value(form: Form, since: int) -> str | None:
    """What a version cannot express though its schema looks the same, or None."""
    for name, attribute in form.attributes.items():
        if attribute.type == AttributeProto.STRING and _VALUE_SINCE.get((form.op, name, attribute.s), 0) > since:
            return f"it has no {name} '{attribute.s.decode()}'"
    x = form.inputs[0] if form.inputs else None
    if form.op == "Mod" and since < 28 and x is not None and x.dtype.is_float and not form.attributes["fmod"].i:
        return "floats need fmod=1"
    if form.op == "GridSample" and since < 20 and x is not None and x.rank not in (None, 4):
        return f"it takes images, not {x.type}"
    return None


def misfit(form: Form, schema: Schema) -> str | None:
    """What of `form` the schema does not take: an attribute, a number of values, an element type; or None."""
    for name, attribute in form.attributes.items():
        if name not in schema.attributes:
            newest = newest_schema(form.op, form.domain)
            formal = None if newest is None else newest.attributes.get(name)
            if formal is None or not _same(attribute, formal.default_value):
                return f"it has no attribute '{name}'"
    if len(form.inputs) > schema.max_input:
        return f"it takes {schema.max_input} inputs, got {len(form.inputs)}"
    if len(form.outputs) > schema.max_output:
        return f"it gives {schema.max_output} outputs, wanted {len(form.outputs)}"
    bound: dict[str, str] = {}  # type variable -> the type that it stands for
    for values, formals, what in ((form.inputs, schema.inputs, "input"), (form.outputs, schema.outputs, "output")):
        for i, v in enumerate(values):
            if v is not None and formals:
                kind = type_text(v.type)
                taken = formals[min(i, len(formals) - 1)]
                if kind not in taken.types:
                    return f"{what} {taken.name} cannot be {v.type}"
                if taken.is_homogeneous and bound.setdefault(taken.type_str, kind) != kind:
                    return f"{what} {taken.name} is {v.type}, expected {bound[taken.type_str]}"
    return None


@cache
def _dtype_text(dtype: DType) -> str:
    return f"tensor({_name(dtype)})"


def _name(dtype: DType) -> str:
    return str(onnx.TensorProto.DataType.Name(dtype.onnx)).lower()


def type_text(type: Type) -> str:
    """The type as ONNX's schemas write it: `seq(tensor(float))`."""
    text = "{}"
    while not isinstance(type, TensorType):
        if isinstance(type, MapType):
            text = text.format(f"map({_name(type.key)},{{}})")
        else:
            text = text.format("seq({})" if isinstance(type, SequenceType) else "optional({})")
        type = type.element
    return text.format(_dtype_text(type.dtype))


def _same(attribute: AttributeProto, default: AttributeProto) -> bool:
    if default.type == AttributeProto.UNDEFINED or attribute.type != default.type:
        return False
    return bool(helper.get_attribute_value(attribute) == helper.get_attribute_value(default))


# -- adapters ---------------------------------------------------------------------------------------------------------
def _constant(form: Form, i: int, what: str) -> list[int] | None:
    x = form.inputs[i] if i < len(form.inputs) else None
    if x is None:
        return None
    if x.const is None:
        raise UnsupportedVersion(f"{form.label} has {what} that are computed at run time", hint="Choose a newer opset=")
    return [int(v) for v in x.const.reshape(-1)]


def _without(form: Form, *names: str, **added: Any) -> Form:
    attributes = {k: v for k, v in form.attributes.items() if k not in names}
    attributes |= {k: helper.make_attribute(k, v) for k, v in added.items()}
    return replace(form, attributes=attributes)


def _reduce_13(form: Form) -> Form:
    """Reduce*-13: `axes` is an attribute; none means all."""
    axes = _constant(form, 1, "axes")
    noop = form.attributes.get("noop_with_empty_axes")
    if not axes and noop is not None and noop.i:
        raise UnsupportedVersion(f"{form.label} with noop_with_empty_axes and no axes", hint="Choose a newer opset=")
    form = replace(_without(form, "noop_with_empty_axes"), inputs=form.inputs[:1])
    return _without(form, axes=axes) if axes else form


def _split_13(form: Form) -> Form:
    """Split-13: equal parts, their number is that of the outputs."""
    sizes = [v.shape for v in form.outputs]
    equal = all(s is not None and s == sizes[0] for s in sizes)
    if "num_outputs" in form.attributes and not equal:
        raise UnsupportedVersion("Split into parts that may differ in size", hint="Choose opset=18 or newer")
    return _without(form, "num_outputs")


def _grid_sample_16(form: Form) -> Form:
    """GridSample-16: other names for the modes."""
    names = {b"linear": "bilinear", b"cubic": "bicubic"}
    mode = form.attributes.get("mode")
    return form if mode is None else _without(form, "mode", mode=names.get(mode.s, mode.s.decode()))


def _dft_17(form: Form) -> Form:
    """DFT-17: `axis` is an attribute, 1 by default."""
    axis = _constant(form, 2, "axis")
    if axis is None:
        rank = len(form.inputs[0].shape) if form.inputs[0] is not None and form.inputs[0].shape is not None else 0
        if not rank:
            raise UnsupportedVersion("DFT of an unknown rank", hint="Choose opset=20 or newer")
        axis = [rank - 2]
    inputs = form.inputs[:2]
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    return replace(_without(form, axis=axis[0]), inputs=inputs)


_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)
DOWNGRADES: Mapping[tuple[str, int], Callable[[Form], Form]] = {
    **{(op, 13): _reduce_13 for op in _REDUCTIONS},
    ("Split", 13): _split_13,
    ("GridSample", 16): _grid_sample_16,
    ("DFT", 17): _dft_17,
}

# Versions that an adapter reads (it is lenient about something), but that say the same as the newest one.
_SAYS_THE_SAME: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset({9, 14}),  # in inference; training has an attribute that version 9 lacks
    "Resize": frozenset({13, 18}),
}
