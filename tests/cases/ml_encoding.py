"""Lookups of categories."""

from __future__ import annotations

import numpy as np
from conformance import Case

from graphc.ops import ml_encoding as op
from graphc.types import Tensor

NAN = float("nan")
KEYS = {
    "strings": (("a", "b", ""), np.array([["a", ""], ["b", "z"]], object)),
    "int64s": ((3, -1, 7), np.array([[7, 0], [-1, 3]])),
    "floats": ((1.5, NAN, 0.0), np.array([[-0.0, NAN], [1.5, 2]], np.float32)),
}
VALUES = {"strings": ("one", "two", ""), "int64s": (4, 5, 6), "floats": (0.5, NAN, 2.0)}


def tensors(x, keys, values, default=None, oracle="onnxruntime", id=""):
    """A LabelEncoder whose tables are tensors."""
    keys, values = np.array(keys, x.dtype), np.array(values)
    default = None if default is None else Tensor(np.array([default], values.dtype))
    encoder = op.LabelEncoder(keys_tensor=Tensor(keys), values_tensor=Tensor(values), default_tensor=default)
    return Case(encoder, [x], oracle, id=f"tensors-{x.dtype}-{values.dtype}{id}")


CASES = [
    *(Case(op.LabelEncoder(**{f"keys_{k}": keys, f"values_{v}": values}), [x], id=f"{k}-{v}")
      for k, (keys, x) in KEYS.items() for v, values in VALUES.items()),
    *(Case(op.LabelEncoder(keys_strings=("a",), default_string="?", default_int64=9, default_float=0.25,
                           **{f"values_{v}": values[:1]}), [KEYS["strings"][1]], id=f"default-{v}")
      for v, values in VALUES.items()),
    # ONNX Runtime takes the first of equal keys, the standard the last.
    Case(op.LabelEncoder(keys_int64s=(1, 2, 1), values_int64s=(5, 6, 7)), [np.array([1, 2, 3])],
         lambda x: np.array([7, 6, -1]), id="repeated-key"),
    Case(op.LabelEncoder(keys_int64s=(1, 2), values_strings=("a", "b")), [np.array(2)], id="0-d"),
    Case(op.LabelEncoder(keys_strings=("a", "b"), values_floats=(1.0, 2.0)), [np.empty((2, 0), object)], id="empty",
         oracle=lambda x: np.empty((2, 0), np.float32)),
    Case(op.LabelEncoder(keys_strings=("a", "b"), values_int64s=(1, 2), default_tensor=Tensor(np.array([42]))),
         [np.array(["b", "c"], object)], id="default-tensor"),
    tensors(np.array([NAN, 1.0, 2.0]), [NAN, 1.0], [7, 8], 9),
    tensors(np.array([NAN, 1.0, 2.0]), [NAN, 1.0], [0.5, 1.5]),
    tensors(np.array([NAN, 1.0, 2.0]), [NAN, 1.0], np.array(["x", "y"], object), "z"),
    tensors(np.array(["a", "b", "q"], object), ["a", "b"], np.array([7, 8], np.int16), -3),
    tensors(np.array([3, 1], np.int32), [3], np.array([7], np.int32), oracle=lambda x: np.array([7, -1], np.int32)),
    tensors(np.array([3, 1], np.int16), [3], np.array([0.5], np.float32), 2.0,
            oracle=lambda x: np.array([0.5, 2], np.float32)),

    Case(op.CategoryMapper((1, 2, 1), ("a", "b", "c")), [np.array([[0, 1], [2, -1]])], id="integers"),
    Case(op.CategoryMapper((1, 2, 1), ("a", "b", "a")), [np.array(["a", "b", "z"], object)], id="strings"),
    Case(op.CategoryMapper((1, 2), ("a", "b"), 7, "?"), [np.array([["a", "z"]], object)], id="default-integer"),
    Case(op.CategoryMapper((1, 2), ("a", "b"), 7, "?"), [np.array([1, 5])], id="default-string"),

    *(Case(op.OneHotEncoder(cats_int64s=(1, 2, 3, 1)), [np.array([[1.5, 2, 3.9], [1, -1.5, 7]]).astype(dtype)],
           id=np.dtype(dtype).name)
      for dtype in (np.float32, np.float64, np.int64)),
    Case(op.OneHotEncoder(cats_int64s=(1, 2)), [np.array([2, 3], np.int32)], id="int32",
         oracle=lambda x: np.array([[0, 1], [0, 0]], np.float32)),
    Case(op.OneHotEncoder(cats_strings=("a", "b")), [np.array(["b", "z", "a"], object)], id="strings"),
    Case(op.OneHotEncoder(cats_int64s=(4, 5), zeros=False), [np.array(5)], id="0-d"),
    Case(op.OneHotEncoder(cats_int64s=(4, 5)), [np.array([NAN, np.inf, 5.5])], id="not-finite",
         oracle=lambda x: np.array([[0, 0], [0, 0], [0, 1]], np.float32)),
]  # fmt: skip
