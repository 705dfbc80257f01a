"""Older versions of an operator that compute something else than the newest one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import InvalidModel, UnsupportedVersion
from graphc.ir import Graph, Value

from .call import Call


def broadcast_at_axis(call: Call) -> Call:
    """Add-1, -6 and their like: with `broadcast`, the axes of b are those of a from `axis` on, by default the last.

    Without it, the shapes must be equal.
    """
    a, b = call.required(0), call.required(1)
    axis, broadcast = call.get("axis"), call.get("broadcast", 0)
    call = call.without("axis", "broadcast", "consumed_inputs")
    if not broadcast or axis is None or b.shape == ():
        return call
    if a.shape is None or b.shape is None:
        raise UnsupportedVersion("broadcasting at an axis needs known ranks", node=call.label)
    start = axis + len(a.shape) if axis < 0 else axis
    behind = len(a.shape) - start - len(b.shape)
    if start < 0 or behind < 0:
        raise InvalidModel(f"cannot lay {b.tensor} on {a.tensor} at axis {axis}", node=call.label)
    if behind:
        added = call.integers(range(len(b.shape), len(b.shape) + behind), "axes")
        call = call.with_input(1, call.make("Unsqueeze", b, added, what="aligned"))
    return call


def softmax_11(call: Call) -> Call | Sequence[Value]:
    """Softmax-1, -11 and their like: over all axes from `axis` on, taken as one."""
    x, axis = call.required(0), call.get("axis", 1)
    if x.shape is not None and axis in (-1, len(x.shape) - 1):
        return call.with_attributes(axis=-1)
    flat = call.make("Flatten", x, what="flat", axis=axis)
    y = call.make(call.op, flat, what="rows", axis=-1)
    return [call.make("Reshape", y, call.make("Shape", x, what="shape"))]


def prelu_6(call: Call) -> Call:
    """PRelu-1, -6: one slope for all, or one for each channel (axis 1)."""
    call = call.without("consumed_inputs")
    x, slope = call.required(0), call.required(1)
    if x.shape is None or slope.shape is None:
        raise UnsupportedVersion("PRelu before opset 7 needs known ranks", node=call.label)
    if len(slope.shape) != 1 or slope.shape == (1,) or len(x.shape) <= 2:
        return call
    axes = call.integers(range(1, len(x.shape) - 1), "axes")
    return call.with_input(1, call.make("Unsqueeze", slope, axes, what="aligned"))


def batch_normalization_9(call: Call) -> Call | Sequence[Value]:
    """BatchNormalization-1, -6, -7, -9: one output means inference, more mean training.

    With `spatial=0` there is one mean, variance, scale and bias for each position.
    """
    if call.outputs > 3:
        raise UnsupportedVersion("saved_mean and saved_var are no outputs since opset 14", node=call.label)
    spatial = call.get("spatial", 1)
    rest = call.without("spatial", "is_test", "consumed_inputs")
    if call.outputs > 1:
        if not spatial:
            raise UnsupportedVersion("training with spatial=0 is not possible since opset 9", node=call.label)
        return rest.with_attributes(training_mode=1)
    if spatial:
        return rest
    x, scale, bias, mean, variance = (call.required(i) for i in range(5))
    epsilon = call.constant(np.asarray(call.get("epsilon", 1e-5), variance.dtype.numpy), "epsilon")
    deviation = call.make("Sqrt", call.make("Add", variance, epsilon, what="padded"), what="deviation")
    centred = call.make("Sub", x, mean, what="centred")
    scaled = call.make("Mul", call.make("Div", centred, deviation, what="normal"), scale, what="scaled")
    return [call.make("Add", scaled, bias)]


def dropout_6(call: Call) -> Call | Sequence[Value]:
    """Dropout-1, -6: in training unless `is_test`; the mask has the element type of the data."""
    training = not call.get("is_test", 0)
    return _dropout(call.without("is_test", "consumed_inputs"), training=training, bool_mask=False)


def dropout_7(call: Call) -> Call | Sequence[Value]:
    """Dropout-7: inference; the mask has the element type of the data."""
    return _dropout(call, training=False, bool_mask=False)


def dropout_10(call: Call) -> Call | Sequence[Value]:
    """Dropout-10: inference."""
    return _dropout(call, training=False, bool_mask=True)


def _dropout(call: Call, *, training: bool, bool_mask: bool) -> Call | Sequence[Value]:
    x = call.required(0)
    ratio = call.constant(np.asarray(call.get("ratio", 0.5), x.dtype.numpy), "ratio")
    call = call.without("ratio").with_input(1, ratio)
    if training:
        call = call.with_input(2, call.constant(np.asarray(True), "training_mode"))
    if bool_mask or call.outputs == 1 or call.used == 1:
        return call
    y, mask = call.apply()
    return [y, call.make("Cast", mask, what="mask", to=x.dtype.onnx)]


def group_normalization_18(call: Call) -> Call:
    """GroupNormalization-18: scale and bias have one entry for each group; since 21 one for each channel."""
    x, groups = call.required(0), call.get("num_groups")
    channels = None if x.shape is None or len(x.shape) < 2 else x.shape[1]
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        raise UnsupportedVersion(f"needs channels divisible by {groups}, got {x.tensor}", node=call.label)
    for i, name in ((1, "scale"), (2, "bias")):
        column = call.make("Unsqueeze", call.required(i), call.integers([1], f"{name}_axes"), what=f"{name}_column")
        wide = call.integers([groups, channels // groups], f"{name}_groups")
        table = call.make("Expand", column, wide, what=f"{name}_table")
        call = call.with_input(i, call.make("Reshape", table, call.integers([channels], f"{name}_shape"), what=name))
    return call


def scan_8(call: Call) -> Sequence[Value]:
    """Scan-8: Scan-9 for each entry of a batch, which is the first axis of all inputs and outputs.

    Inputs: sequence_lens (only omitted), the initial states, the scan inputs, the captured values.
    """
    if call.input(0) is not None:
        raise UnsupportedVersion("sequence_lens does not exist since opset 9", node=call.label)
    body: Graph = call.get("body")
    scanned = int(call.get("num_scan_inputs"))
    count = len(call.inputs) - 1 - call.captured
    outside = [call.required(i + 1) for i in range(count + call.captured)]
    directions = call.get("directions")
    inner = {"body": body, "num_scan_inputs": scanned}
    if directions is not None:
        inner["scan_input_directions"] = tuple(directions)
    inputs = [_entry(x, f"{call.name}/{i}") for i, x in enumerate(outside[:count])]
    captured = [Value(x.type, name=f"{call.name}/outside{i}", content=x.content) for i, x in enumerate(outside[count:])]
    steps = Call("Scan", (*inputs, *captured), inner, call.outputs, f"{call.name}/steps", captured=call.captured)
    batch = Graph([*inputs, *captured], steps.apply(), name=f"{body.name}/batch")
    attributes = {"body": batch, "num_scan_inputs": count}
    return Call("Scan", tuple(outside), attributes, call.outputs, call.name, captured=call.captured).apply()


def _entry(x: Value, name: str) -> Value:
    """A body input for one entry of the batch `x`."""
    shape = None if x.shape is None else x.shape[1:]
    return Value(type(x.tensor)(x.dtype, shape), name=name)
