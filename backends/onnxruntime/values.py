"""Element types that NumPy does not have, handed to onnxruntime and back as their bits."""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import numpy as np

from graphc.errors import UnsupportedOp
from graphc.interpret import Data
from graphc.types import TensorType, Type

_BITS = {1: np.uint8, 2: np.uint16}


def needs_ort_values(type: Type) -> bool:
    """True for tensors whose element type is one of ml_dtypes', which `InferenceSession.run` does not take."""
    return isinstance(type, TensorType) and type.dtype.numpy.isbuiltin != 1


def to_ort(ort: ModuleType, x: Data, type: Type) -> Any:
    """`x` as an OrtValue."""
    if not isinstance(type, TensorType):
        raise UnsupportedOp(f"onnxruntime takes no {type} beside inputs or outputs of types that NumPy lacks")
    if type.dtype.bits not in (8, 16) and needs_ort_values(type):
        raise UnsupportedOp(f"onnxruntime takes no {type.dtype} arrays")
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    if not needs_ort_values(type):
        return ort.OrtValue.ortvalue_from_numpy(x)
    bits = x.view(_BITS[x.itemsize])
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, type.dtype.onnx)


def from_ort(value: Any, type: Type) -> Data:
    """The array in an OrtValue."""
    if not needs_ort_values(type):
        return value.numpy()
    assert isinstance(type, TensorType)
    if type.dtype.bits not in (8, 16):
        raise UnsupportedOp(f"onnxruntime gives no {type.dtype} arrays")
    shape = tuple(value.shape())
    size = int(np.prod(shape, dtype=np.int64)) * type.dtype.numpy.itemsize
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(data, type.dtype.numpy).reshape(shape).copy()
