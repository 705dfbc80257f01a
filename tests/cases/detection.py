"""Pooling of regions, and NonMaxSuppression."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import detection as op

X = random(2, 3, 8, 9)
ROIS = np.array([[1, 2, 6, 7], [0, 0, 3.3, 8.2], [4.5, 1.2, 4.9, 1.4], [-3, -2, 12, 11], [2, 2, 2, 2]], np.float32)
BATCH = np.array([0, 1, 1, 0, 1])
# Regions none of whose samples lies on a pixel, where slopes jump; the third is smaller than a pixel.
BETWEEN = np.array([[1.13, 2.27, 6.41, 7.09], [0.31, 0.17, 3.3, 8.23], [4.53, 1.21, 4.97, 1.47]], np.float32)
POOLED = np.concatenate([BATCH[:, None], ROIS], 1).astype(np.float32)


def align(id, rois=ROIS, batch=BATCH, oracle="onnxruntime", x=X, **attributes):
    inputs, between = [x, rois, batch], rois is BETWEEN
    return Case(op.RoiAlign(**attributes), inputs, oracle, id=id, rtol=1e-5, atol=2e-6, opset=21, grad=between)


def boxes(n, count, seed=0):
    low = random(n, count, 2, low=0, high=4, seed=seed)
    return np.concatenate([low, low + random(n, count, 2, low=0.5, high=3, seed=seed + 1)], 2)


def suppress(id, most, iou=None, score=None, *, n=1, classes=1, count=12, const=(), form=boxes, **attributes):
    inputs = [form(n, count), random(n, classes, count, seed=5, low=0, high=1)]
    inputs += [None if v is None else np.array(v, dtype) for v, dtype in [(most, "i8"), (iou, "f"), (score, "f")]]
    while inputs[-1] is None:
        inputs.pop()
    return Case(op.NonMaxSuppression(**attributes), inputs, id=id, const=const)


CASES = [
    *(align(f"{mode}-{coordinates}-{ratio}-{height}x{width}", mode=mode, sampling_ratio=ratio, output_height=height,
            coordinate_transformation_mode=coordinates, output_width=width)
      for mode in ("avg", "max") for coordinates in ("half_pixel", "output_half_pixel")
      for ratio, height, width in [(0, 2, 3), (2, 1, 1), (3, 3, 2)]),
    *(align(f"between-{mode}-{coordinates}-{ratio}", BETWEEN, BATCH[:3], mode=mode, sampling_ratio=ratio,
            coordinate_transformation_mode=coordinates, output_height=2, output_width=3)
      for mode in ("avg", "max") for coordinates in ("half_pixel", "output_half_pixel") for ratio in (0, 2)),
    align("scale", spatial_scale=0.4, output_height=2, output_width=2),
    align("none", ROIS[:0], BATCH[:0], oracle=lambda x, rois, batch: np.zeros((0, 3, 1, 1), np.float32)),
    align("float64", ROIS.astype(np.float64), x=X.astype(np.float64), sampling_ratio=2),
    align("float16", ROIS[:2].astype(np.float16), BATCH[:2], x=np.ones((2, 1, 9, 9), np.float16),
          oracle=lambda x, rois, batch: np.ones((2, 1, 1, 1), np.float16)),
    *(Case(op.MaxRoiPool((height, width), scale), [X, POOLED], id=f"{height}x{width}-{scale}", opset=21, const=(1,))
      for height, width in [(1, 1), (2, 3), (5, 4)] for scale in (1.0, 0.5)),
    Case(op.MaxRoiPool((2, 2)), [X, POOLED], id="run-time", opset=21, grad=False),  # its regions are rounded
    Case(op.MaxRoiPool((2, 2)), [X, POOLED[:0]], id="none", oracle=lambda x, rois: np.zeros((0, 3, 2, 2), np.float32)),

    suppress("default", 3, 0.3),
    suppress("run-of-all", [100], [0.5], [0.2]),
    suppress("constants", 4, 0.3, 0.1, const=(2, 3, 4)),
    suppress("batches-and-classes", 3, 0.4, n=2, classes=3),
    suppress("score-alone", 5, None, 0.5),
    suppress("threshold-zero", 5, 0.0),
    suppress("threshold-one", 20, 1.0),
    suppress("nothing-wanted", 0, 0.5),
    suppress("centre", 5, 0.3, center_point_box=1),
    suppress("flipped", 5, 0.3, form=lambda n, count: boxes(n, count)[..., [2, 1, 0, 3]]),
    suppress("no-boxes", 5, 0.3, count=0),
    Case(op.NonMaxSuppression(), [boxes(1, 3), random(1, 1, 3)], id="no-limit",
         oracle=lambda boxes, scores: np.zeros((0, 3), np.int64)),
    Case(op.NonMaxSuppression(), [np.tile(np.array([0, 0, 1, 1], "f"), (1, 6, 1)), np.ones((1, 1, 6), "f"),
                                  np.array([3]), np.array([0.5], np.float32)], id="equal-scores",
         oracle=lambda *inputs: np.array([[0, 0, 0]])),
]  # fmt: skip
