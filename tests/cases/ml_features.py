"""Choice, joining and scaling of features."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import ml_features as op

DTYPES = (np.float32, np.float64, np.int64, np.int32)
NAN = float("nan")
GAPS = np.array([[1, NAN, 0], [0, 5, NAN]], np.float32)
ROWS = np.array([[1, -3, 2], [0, 0, 0], [-1, -2, -3]], np.float32)


def reference(f):
    """An oracle where ONNX Runtime lacks the element type."""
    return lambda *xs: f(*xs).astype(xs[0].dtype)


CASES = [
    *(Case(op.ArrayFeatureExtractor(), [random(*shape, dtype=dtype, low=-9, high=9), np.array(y, np.int64)],
           id=f"{np.dtype(dtype)}-{shape}-{np.shape(y)}")
      for dtype, shape, y in [(np.float32, (5,), [1, 3]), (np.float64, (2, 5), [[1, 3], [0, 0]]), (np.int64, (2, 5), 2),
                              (np.int32, (2, 3, 5), [[4, 4, 0]])]),
    Case(op.ArrayFeatureExtractor(), [np.array([["a", "b"], ["c", "d"]], object), np.array([1])], id="strings"),
    Case(op.ArrayFeatureExtractor(), [random(2, 3), np.array([], np.int64)], id="none",
         oracle=lambda x, y: np.empty((2, 0), np.float32)),

    *(Case(op.FeatureVectorizer((2, 1)), [random(3, 2, dtype=dtype, low=-9, high=9),
                                          random(3, 1, dtype=dtype, low=-9, high=9)], id=np.dtype(dtype).name)
      for dtype in DTYPES),
    Case(op.FeatureVectorizer((1, 3, 2)), [random(3, 2), random(3, 2, seed=1), random(3, 2, seed=2)], id="resized"),
    Case(op.FeatureVectorizer((2, 3)), [random(2), random(3)], id="vectors"),
    Case(op.FeatureVectorizer((2, 3)), [random(1, 2), random(3)], id="matrix-and-vector"),
    Case(op.FeatureVectorizer(), [random(2, 2), random(2, 3)], id="own-sizes",
         oracle=lambda *xs: np.concatenate(xs, 1)),

    *(Case(op.Binarizer(0.5), [random(*shape, low=0, high=1)], id=f"{shape}") for shape in [(), (3,), (2, 3, 2)]),
    *(Case(op.Binarizer(0.5), [random(2, 3, dtype=dtype, low=-2, high=3)], reference(lambda x: x > 0.5),
           id=np.dtype(dtype).name) for dtype in DTYPES[1:]),
    Case(op.Binarizer(-1.0), [GAPS], reference(lambda x: x > -1), id="nan"),

    *(Case(op.Scaler(offset, scale), [random(*shape, dtype=dtype, low=-9, high=9)],
           id=f"{np.dtype(dtype)}-{shape}-{len(offset)}")
      for dtype in DTYPES for shape, offset, scale in [((2, 3), (0.1, 2.0, 3.0), (0.5, 0.3, 1.0)),
                                                       ((3,), (0.1, 2.0, 3.0), (0.5, 0.3, 1.0)),
                                                       ((2, 3), (1.5,), (0.1,))]),
    Case(op.Scaler((1.5,), (0.1,)), [random(2, 3, 4)], id="rank-3"),
    Case(op.Scaler(None, (0.5, 2.0)), [random(3, 2)], lambda x: x * np.array([0.5, 2], np.float32), id="scale"),
    Case(op.Scaler((0.5,)), [random(3, 2)], lambda x: x - np.float32(0.5), id="offset"),

    *(Case(op.Normalizer(norm), [ROWS.astype(dtype)], id=f"{norm}-{np.dtype(dtype)}", grad=False)  # zeros
      for norm in ("MAX", "L1", "L2") for dtype in DTYPES),
    *(Case(op.Normalizer(norm), [random(5)], id=f"{norm}-vector") for norm in ("MAX", "L1", "L2")),
    Case(op.Normalizer("L2"), [random(0, 3)], lambda x: x, id="no-rows"),
    Case(op.Normalizer("MAX"), [random(2, 0)], lambda x: x, id="no-features"),

    *(Case(op.Imputer(imputed_value_floats=values, replaced_value_float=replaced), [x],
           id=f"{len(values)}-{replaced}-{x.ndim}", grad=replaced != 0)  # zeros do not stay zeros
      for values, replaced in [((9.0,), NAN), ((9.0, 8.0, 7.0), 0.0), ((9.0, 8.0, 7.0), NAN)] for x in (GAPS, GAPS[0])),
    Case(op.Imputer(imputed_value_floats=(9.5,), replaced_value_float=NAN), [GAPS.astype(np.float64)], id="float64",
         oracle=lambda x: np.where(np.isnan(x), 9.5, x)),
    Case(op.Imputer(imputed_value_int64s=(5,), replaced_value_int64=1), [np.array([[1, 0], [2, 1]])], id="int64"),
    Case(op.Imputer(imputed_value_int64s=(5, 6)), [np.array([[0, 0], [2, 0]], np.int32)], id="int32",
         oracle=lambda x: np.array([[5, 6], [2, 6]], np.int32)),
]  # fmt: skip
