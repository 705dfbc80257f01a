"""Ops that move pixels."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import rearrange as op


def blocks(x, image, block, **attributes):
    return [random(*x), np.array(image, np.int64), np.array(block, np.int64)], attributes


COL2IM = {
    "2d": blocks((1, 5, 5), (5, 5), (1, 5)),
    "strides": blocks((1, 9, 4), (5, 5), (3, 3), strides=(2, 2)),
    "pads": blocks((2, 4, 35), (5, 6), (2, 2), pads=(0, 1, 1, 1)),
    "asymmetric": blocks((1, 10, 15), (5, 5), (1, 5), pads=(0, 1, 0, 1)),
    "dilations": blocks((1, 4, 5), (6, 6), (2, 2), dilations=(1, 5)),
    "3d": blocks((1, 10, 12), (3, 4, 5), (1, 1, 5)),
    "channels": blocks((2, 12, 4), (3, 3), (2, 2)),
    "unread": blocks((1, 1, 4), (4, 4), (1, 1), strides=(2, 2)),
}

CASES = [
    *(Case(op.DepthToSpace(b, mode), [random(2, 2 * b * b, 2, 3)], id=f"{b}-{mode}")
      for b in (1, 2, 3) for mode in ("DCR", "CRD")),
    Case(op.DepthToSpace(2), [random(1, 4, 2, 2, dtype=np.int64, low=-9, high=9)], id="int64", oracle="reference"),
    Case(op.DepthToSpace(2), [np.zeros((0, 8, 2, 2), np.float32)], id="empty",
         oracle=lambda x: np.zeros((0, 2, 4, 4), np.float32)),
    *(Case(op.SpaceToDepth(b), [random(2, 2, 2 * b, 3 * b)], id=str(b), opset=13) for b in (1, 2, 3)),
    Case(op.SpaceToDepth(2, "CRD"), [random(1, 2, 4, 2)], id="CRD",
         oracle=lambda x: np.stack([x[:, c, i::2, j::2] for c in (0, 1) for i in (0, 1) for j in (0, 1)], 1)),
    Case(op.SpaceToDepth(2), [np.array([[[["a", "b"], ["c", "d"]]]], object)], id="string",
         oracle=lambda x: x.reshape(1, 4, 1, 1)),

    *(Case(op.Col2Im(**attributes), inputs, id=name, const=(1, 2)) for name, (inputs, attributes) in COL2IM.items()),
    *(Case(op.Col2Im(**attributes), inputs, id=f"{name}-run-time", grad=False)  # it needs constants
      for name, (inputs, attributes) in COL2IM.items() if name in ("pads", "channels", "3d")),
    Case(op.Col2Im(), [random(1, 4, 4, dtype=np.int32, low=-9, high=9), np.array([3, 3]), np.array([2, 2])], id="int32",
         oracle="reference"),

    *(Case(op.CenterCropPad(), [random(4, 5), np.array(shape)], id=str(shape), oracle="reference", const=const)
      for shape in [(2, 3), (3, 2), (7, 6), (6, 8), (3, 8), (4, 5)] for const in [(1,)]),
    Case(op.CenterCropPad(), [random(3, 6), np.array([4, 3])], id="run-time", oracle="reference"),
    Case(op.CenterCropPad(axes=(1,)), [random(2, 5, 3), np.array([8])], id="axes", oracle="reference", const=(1,)),
    Case(op.CenterCropPad(axes=(-1, -3)), [random(4, 2, 3), np.array([5, 3], np.int32)], id="negative-axes",
         oracle="reference"),
    Case(op.CenterCropPad(), [random(3, dtype=np.int8, low=-9, high=9), np.array([5])], id="int8", oracle="reference"),
    Case(op.CenterCropPad(), [np.array(["a", "b"], object), np.array([3])], id="string",
         oracle=lambda x, shape: np.array(["a", "b", ""], object)),
]  # fmt: skip
