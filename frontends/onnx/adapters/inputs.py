"""Older forms in which something was an attribute that is an input now, or was spelled otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from graphc.errors import InvalidModel, UnsupportedVersion
from graphc.ir import Value
from graphc.types import Tensor, string

from .call import Adapter, Call


def same(call: Call) -> Call:
    """Nothing to do but to drop `consumed_inputs`, a hint to runtimes that opset 6 took away."""
    return call.without("consumed_inputs")


def axes(call: Call) -> Call:
    """Squeeze, Unsqueeze, Reduce*: attribute `axes` -> input 1."""
    chosen = call.get("axes")
    return call if not chosen else call.without("axes").with_input(1, call.integers(chosen, "axes"))


def scalar_input(call: Call, name: str, i: int) -> Call:
    """Attribute `name` -> input `i`, a 0-d constant of the first input's element type."""
    value = call.get(name)
    if value is None:
        return call
    with np.errstate(over="ignore"):  # the largest float32 is infinite as a float16
        array = np.asarray(value).astype(call.required(0).dtype.numpy)
    return call.without(name).with_input(i, call.constant(array, name))


def defaults(**attributes: object) -> Adapter:
    """Attributes whose default was written down nowhere, or was another."""
    return lambda call: call.with_attributes(**{**attributes, **call.attributes})


def without(*names: str) -> Adapter:
    """Attributes that mean nothing any more."""
    return lambda call: call.without(*names)


def cast_1(call: Call) -> Call:
    """Cast-1: `to` is the name of an element type."""
    name = str(call.get("to"))
    if name not in onnx.TensorProto.DataType.keys():  # noqa: SIM118 - not a dict
        raise InvalidModel(f"attribute 'to' is {name!r}, not the name of an element type", node=call.label)
    return call.with_attributes(to=onnx.TensorProto.DataType.Value(name))


def clip_6(call: Call) -> Call:
    """Clip-1, -6: attributes `min`, `max` -> inputs."""
    return scalar_input(scalar_input(call.without("consumed_inputs"), "min", 1), "max", 2)


def pad_2(call: Call) -> Call:
    """Pad-1, -2: attributes `pads` (`paddings`) and `value` -> inputs."""
    pads = call.get("pads", call.get("paddings"))
    value = np.asarray(call.get("value", 0.0)).astype(call.required(0).dtype.numpy)
    rest = call.without("pads", "paddings", "value")
    return rest.with_input(1, call.integers(pads, "pads")).with_input(2, call.constant(value, "value"))


def reshape_1(call: Call) -> Call:
    """Reshape-1: attribute `shape` -> input 1."""
    rest = call.without("shape", "consumed_inputs")
    return rest.with_input(1, call.integers(call.get("shape", ()), "shape"))


def slice_1(call: Call) -> Call:
    """Slice-1: attributes `starts`, `ends`, `axes` -> inputs."""
    rest = call.without("starts", "ends", "axes")
    for i, name in enumerate(("starts", "ends", "axes"), 1):
        if call.get(name) is not None:
            rest = rest.with_input(i, call.integers(call.get(name), name))
    return rest


def split_11(call: Call) -> Call:
    """Split-1, -2, -11: attribute `split` -> input 1; without it, equal parts, one for each output."""
    sizes = call.get("split")
    rest = call.without("split").with_attributes(axis=call.get("axis", 0))
    return rest.with_input(1, call.integers(sizes, "split")) if sizes is not None else split_13(rest)


def split_13(call: Call) -> Call:
    """Split-13: without the input `split`, equal parts, one for each output."""
    return call if call.input(1) is not None else call.with_attributes(num_outputs=call.outputs)


def tile_1(call: Call) -> Call:
    """Tile-1: `tiles` copies along one `axis`, both inputs -> `repeats` for each axis."""
    x, tiles, axis = call.required(0), call.required(1).const, call.required(2).const
    if x.shape is None or tiles is None or axis is None:
        raise UnsupportedVersion("Tile-1 needs a known rank and constant tiles and axis", node=call.label)
    repeats = np.ones(len(x.shape), np.int64)
    repeats[int(axis.reshape(-1)[0])] = int(tiles.reshape(-1)[0])
    return replace(call, inputs=(x, call.integers(repeats.tolist(), "repeats")))


def top_k_1(call: Call) -> Call:
    """TopK-1: attribute `k` -> input 1."""
    return call.without("k").with_input(1, call.integers([call.get("k")], "k"))


def dft_17(call: Call) -> Call:
    """DFT-17: attribute `axis` -> input 2."""
    return call.without("axis").with_input(2, call.constant(np.int64(call.get("axis", 1)), "axis"))


def grid_sample_16(call: Call) -> Call:
    """GridSample-16: other names for the modes."""
    modes = {"bilinear": "linear", "bicubic": "cubic"}
    mode = call.get("mode", "bilinear")
    return call.with_attributes(mode=modes.get(mode, mode))


def lp_1(call: Call) -> Call:
    """LpPool-1, GlobalLpPool-1: `p` is a float."""
    p = call.get("p", 2.0)
    if p != int(p):
        raise UnsupportedVersion(f"p is {p}, only whole numbers are possible since opset 2", node=call.label)
    return call.with_attributes(p=int(p))


def upsample_1(call: Call) -> Call:
    """Upsample-1: `height_scale` and `width_scale` of an NCHW image."""
    scales = [1.0, 1.0, call.get("height_scale"), call.get("width_scale")]
    return upsample_7(call.without("height_scale", "width_scale").with_attributes(scales=tuple(scales)))


def upsample_7(call: Call) -> Call:
    """Upsample-7: attribute `scales` -> input 1."""
    scales = call.constant(np.asarray(call.get("scales"), np.float32), "scales")
    return upsample_9(call.without("scales").with_input(1, scales))


def upsample_9(call: Call) -> Call:
    """Upsample-9: output i lies at i / scale in the input, and nearest means the one before."""
    return _resize(call, call.required(0), call.required(1), "floor")


def resize_10(call: Call) -> Call:
    """Resize-10: as Upsample, but where it makes an axis smaller, nearest means the one behind (as in onnxruntime)."""
    x, scales = call.required(0), call.required(1)
    known = scales.const
    if call.get("mode", "nearest") != "nearest" or (known is not None and (known >= 1).all()):
        return _resize(call, x, scales, "floor")
    if known is not None and (known <= 1).all():
        return _resize(call, x, scales, "ceil")
    one = call.constant(np.float32(1), "one")
    wider = _resize(call, x, call.make("Max", scales, one, what="wider"), "floor")
    larger = replace(wider, name=f"{call.name}/larger", outputs=1, used=None).apply()[0]
    return _resize(call, larger, call.make("Min", scales, one, what="narrower"), "ceil")


def _resize(call: Call, x: Value, scales: Value, nearest: str) -> Call:
    attributes = {**call.attributes, "coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest}
    return replace(call, op="Resize", inputs=(x, None, scales), attributes=attributes)


def resize(call: Call) -> Call:
    """Resize-11 and later: an empty `roi`, `scales` or `sizes` stands for an omitted one."""
    inputs = list(call.inputs)
    for i in range(1, len(inputs)):
        x = inputs[i]
        if x is not None and x.shape is not None and 0 in x.shape:
            inputs[i] = None
    return replace(call, inputs=tuple(inputs))


def gru_1(call: Call) -> Call:
    """GRU-1: the default direction is misspelt in the schema; `output_sequence` only named what is computed anyway."""
    direction = call.get("direction", "forward")
    rest = call.without("output_sequence")
    return rest.with_attributes(direction="forward" if direction == "foward" else direction)


def constant(call: Call) -> Sequence[Value]:
    """Constant-1 to -25: one of `value`, `sparse_value`, `value_float`, `value_ints`, … -> `value`."""
    if len(call.attributes) != 1:
        given = ", ".join(sorted(call.attributes)) or "none"
        raise InvalidModel(f"needs exactly one of its attributes, has {given}", node=call.label)
    ((name, value),) = call.attributes.items()
    if name in ("value", "sparse_value"):
        return Call("Constant", (), {"value": value}, 1, call.name).apply()
    kinds = {"float": np.float32, "int": np.int64, "string": object}
    kind = name.removeprefix("value_").removesuffix("s")
    if kind == "string":
        array = np.empty(() if name == "value_string" else len(value), object)
        array[...] = value if name == "value_string" else list(value)
    else:
        array = np.asarray(value if np.isscalar(value) else list(value), kinds[kind])
    return [call.make("Constant", value=Tensor(array))]


def label_encoder_1(call: Call) -> Call:
    """LabelEncoder-1 of ai.onnx.ml: strings become their positions in `classes_strings`, and positions strings."""
    classes = tuple(call.get("classes_strings", ()))
    call, positions = call.without("classes_strings"), tuple(range(len(classes)))
    if call.required(0).dtype is string:
        return call.with_attributes(keys_strings=classes, values_int64s=positions)
    return call.with_attributes(keys_int64s=positions, values_strings=classes)
