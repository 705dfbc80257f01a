"""TensorProto and SparseTensorProto to `Tensor`. Every size is computed with Python integers and held against the data
that are there, before anything is allocated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod

import numpy as np
import onnx

from graphc.errors import GraphcError, InvalidModel
from graphc.frozen import Frozen
from graphc.limits import Limits
from graphc.types import BY_ONNX, Array, DType, Tensor, int64

from .external import ExternalFiles

# The typed field in which each dtype is stored when not in raw_data; int32_data for all others.
_FIELDS = {
    "float32": "float_data", "complex64": "float_data", "float64": "double_data", "complex128": "double_data",
    "int64": "int64_data", "uint32": "uint64_data", "uint64": "uint64_data", "string": "string_data",
}  # fmt: skip
_DATA = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


class TensorReader(Frozen):
    """Reads tensors wherever they stand in a model: initialisers, sparse parts, attributes."""

    limits: Limits
    files: ExternalFiles

    def tensor(self, proto: onnx.TensorProto, name: str, aside: Array | None = None) -> Tensor:
        """The contents of `proto`, with `aside` for its raw_data. External data are read when first used.

        Raises `InvalidModel`, `ResourceLimit` or `ExternalDataError`; `name` says which tensor it is.
        """
        try:
            return self._tensor(proto, name, aside)
        except GraphcError as e:
            e.value = e.value or name
            if f"'{e.value}'" not in e.message:
                e.message = f"tensor '{e.value}': {e.message}"
            raise

    def sparse(self, proto: onnx.SparseTensorProto, name: str) -> Tensor:
        """The dense contents of `proto`, made when first used. Its indices must be in range, ascending, distinct."""
        shape = self._shape(proto.dims, name)
        values = self.tensor(proto.values, name)
        indices = self.tensor(proto.indices, f"{name} (indices)")
        self._check_size(values.dtype, shape, name)
        if len(values.shape) != 1 or indices.dtype is not int64:
            raise InvalidModel(f"sparse values are {values.type} with indices {indices.type}, expected rank 1 and i64")
        count = values.shape[0]
        flat = _flat_indices(indices.array, count, shape, name)

        def load() -> Array:
            dense = np.zeros(prod(shape), values.dtype.numpy)
            if values.dtype.kind == "string":
                dense.fill("")
            dense[flat] = values.array
            return dense

        return Tensor.lazy(values.dtype, shape, load)

    def _tensor(self, proto: onnx.TensorProto, name: str, aside: Array | None) -> Tensor:
        dtype = dtype_of_number(proto.data_type, f"tensor '{name}'")
        shape = self._shape(proto.dims, name)
        self._check_size(dtype, shape, name)
        if proto.HasField("segment"):
            raise InvalidModel("is one segment of a tensor; segments are not supported")
        external = proto.data_location == onnx.TensorProto.EXTERNAL
        field = "string_data" if dtype.kind == "string" else _FIELDS.get(dtype.name, "int32_data")
        present = [f for f in _DATA if len(getattr(proto, f))]
        raw = proto.raw_data if aside is None else aside  # each look at proto.raw_data copies it
        if proto.HasField("raw_data") and (len(raw) or not present):
            present.append("raw_data")
        if external:
            present.append("external_data")
        elif len(proto.external_data):
            raise InvalidModel("has external_data, but its data_location is not EXTERNAL")
        if len(present) > 1:
            raise InvalidModel(f"has its data twice: in {' and in '.join(present)}")
        if not present:
            if prod(shape):
                raise InvalidModel(f"{dtype.short}{list(shape)} needs {prod(shape):,} elements, has no data")
            return Tensor(np.empty(shape, dtype.numpy), dtype)
        if present[0] in ("raw_data", "external_data"):
            if dtype.kind == "string":
                raise InvalidModel(f"strings cannot be in {present[0]}, expected string_data")
            needed = stored_bytes(dtype, prod(shape))
            if external:
                read = self.files.open(proto.external_data, needed, name)
                return Tensor.lazy(dtype, shape, lambda: from_bytes(read(), dtype, shape))
            if len(raw) != needed:
                raise InvalidModel(f"{dtype.short}{list(shape)} needs {needed:,} bytes, has {len(raw):,}")
            return Tensor(from_bytes(np.frombuffer(raw, np.uint8), dtype, shape), dtype)
        if present[0] != field:
            raise InvalidModel(f"is {dtype.short}, but its data are in {present[0]}, expected {field} or raw_data")
        return Tensor(_from_field(getattr(proto, field), dtype, shape), dtype)

    def _shape(self, dims: Sequence[int], name: str) -> tuple[int, ...]:
        self.limits.check(f"rank of tensor '{name}'", len(dims), "max_rank")
        shape = tuple(int(d) for d in dims)
        if any(d < 0 for d in shape):
            raise InvalidModel(f"tensor '{name}' has a negative size: {list(shape)}", value=name)
        return shape

    def _check_size(self, dtype: DType, shape: tuple[int, ...], name: str) -> None:
        nbytes = prod(shape) * dtype.numpy.itemsize
        if not nbytes and prod(d or 1 for d in shape) * dtype.numpy.itemsize > sys.maxsize:
            raise InvalidModel(f"{dtype.short}{list(shape)} is too large for an array, though it is empty", value=name)
        if nbytes > self.limits.max_tensor_bytes:
            self.limits.check(f"size of tensor '{name}' {list(shape)} in bytes", nbytes, "max_tensor_bytes")


def dtype_of_number(number: int, what: str) -> DType:
    """The dtype with ONNX's number. Raises `InvalidModel`."""
    if number not in BY_ONNX:
        raise InvalidModel(f"element type {number} of {what} does not exist, valid 1..{max(BY_ONNX)}")
    return BY_ONNX[number]


def stored_bytes(dtype: DType, count: int) -> int:
    """Bytes of `count` elements in a file; elements of less than 8 bits are packed."""
    return (count * dtype.bits + 7) // 8


def from_bytes(data: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The array that little-endian bytes hold."""
    flat: Array
    if dtype.bits < 8:
        flat = _unpack(data, dtype.bits, prod(shape)).view(dtype.numpy)
    elif dtype.kind == "bool":
        flat = data != 0
    else:
        flat = (data if sys.byteorder == "little" else _reversed(data, dtype)).view(dtype.numpy)
    return flat.reshape(shape)


def _reversed(data: Array, dtype: DType) -> Array:
    """The bytes of each number in reverse order."""
    width = dtype.numpy.itemsize // (2 if dtype.kind == "complex" else 1)
    return data.reshape(-1, width)[:, ::-1].reshape(-1)


def _unpack(data: Array, bits: int, count: int) -> Array:
    """Elements of `bits` bits, the first in the lowest bits of the first byte, one to a byte."""
    if bits == 6:  # four elements in three bytes
        spread = np.unpackbits(data, bitorder="little")[: count * 6].reshape(count, 6)
        return np.packbits(spread, axis=1, bitorder="little").reshape(count)
    lanes = np.arange(0, 8, bits, dtype=np.uint8)
    return ((data[:, None] >> lanes) & np.uint8((1 << bits) - 1)).reshape(-1)[:count]


def pack(array: Array, dtype: DType) -> bytes:
    """The little-endian bytes of `array`; the inverse of `from_bytes`."""
    array = np.ascontiguousarray(array)
    if dtype.bits >= 8:
        if sys.byteorder == "big":
            return _reversed(array.reshape(-1).view(np.uint8), dtype).tobytes()
        return array.tobytes()
    spread = np.unpackbits(array.reshape(-1, 1).view(np.uint8), axis=1, count=dtype.bits, bitorder="little")
    return np.packbits(spread.reshape(-1), bitorder="little").tobytes()


def _from_field(
    values: Sequence[int] | Sequence[float] | Sequence[bytes], dtype: DType, shape: tuple[int, ...]
) -> Array:
    """The array in a typed field, whose entries may hold several elements or half of one."""
    count = prod(shape)
    per_element = 2 if dtype.kind == "complex" else 1
    packed = dtype.bits in (2, 4)
    needed = stored_bytes(dtype, count) if packed else count * per_element
    if len(values) != needed:
        raise InvalidModel(f"{dtype.short}{list(shape)} needs {needed:,} values, has {len(values):,}")
    if dtype.kind == "string":
        return _strings(values, shape)  # type: ignore[arg-type]
    flat: Array
    if dtype.kind == "complex":
        flat = np.array(values, np.float32 if dtype.bits == 64 else np.float64).view(dtype.numpy)
    elif dtype.name in ("float32", "float64", "int64", "uint64", "int32"):
        flat = np.array(values, dtype.numpy)
    elif dtype.kind == "bool":
        flat = np.array(values, np.int64) != 0
    elif dtype.is_integer and not packed:
        flat = np.array(values, np.uint64 if dtype.name == "uint32" else np.int64)
        _check_range(flat, np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max, dtype)
        flat = flat.astype(dtype.numpy)
    else:
        flat = _patterns(np.array(values, np.int64), dtype)
        flat = (_unpack(flat, dtype.bits, count) if packed else flat).view(dtype.numpy)
    return flat.reshape(shape)


def _patterns(values: Array, dtype: DType) -> Array:
    """Bit patterns, one to an entry; some writers sign-extend them."""
    width = 8 if dtype.bits <= 8 else 16
    _check_range(values, -(1 << (width - 1)), (1 << width) - 1, dtype)
    used = 6 if dtype.bits == 6 else width
    patterns: Array = np.bitwise_and(values, (1 << used) - 1)
    return patterns.astype(np.uint8 if width == 8 else np.uint16)


def _check_range(whole: Array, low: int, high: int, dtype: DType) -> None:
    wrong = np.flatnonzero((whole < low) | (whole > high))
    if wrong.size:
        at = int(wrong[0])
        raise InvalidModel(f"value {int(whole[at])} at {at} does not fit {dtype.short}")


def _strings(values: Sequence[bytes], shape: tuple[int, ...]) -> Array:
    found = np.empty(len(values), object)
    for i, v in enumerate(values):
        try:
            found[i] = v.decode()
        except UnicodeDecodeError as e:
            raise InvalidModel(f"string {i} is not UTF-8: {v[:40]!r}") from e
    return found.reshape(shape)


def _flat_indices(indices: Array, count: int, shape: tuple[int, ...], name: str) -> Array:
    """Positions in the flattened tensor: `indices` has them already, or has one row of coordinates for each value."""
    total, what = prod(shape), f"sparse tensor '{name}'"
    if total > np.iinfo(np.int64).max:
        raise InvalidModel(f"{what}: {list(shape)} has too many elements", value=name)
    flat: Array
    wrong: Array
    if indices.shape == (count,):
        flat = indices
        wrong = np.asarray((flat < 0) | (flat >= total))
    elif indices.shape == (count, len(shape)):
        wrong = np.asarray(((indices < 0) | (indices >= np.array(shape, np.int64))).any(axis=1))
        strides = np.array([prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)
        flat = (np.where(wrong[:, None], 0, indices) * strides).sum(axis=1)
    else:
        expected = f"[{count}] or [{count}, {len(shape)}]"
        raise InvalidModel(
            f"sparse tensor '{name}': indices are {list(indices.shape)}, expected {expected}", value=name
        )
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidModel(
            f"sparse tensor '{name}': index {indices[at].tolist()} at {at} is out of range for {list(shape)}",
            value=name,
        )
    if count > 1 and not (np.diff(flat) > 0).all():
        at = int(np.argmin(np.diff(flat) > 0)) + 1
        raise InvalidModel(f"{what}: index {at} is not greater than the one before it", value=name)
    return flat
