"""Types of values: element types, tensors, sequences, optionals, maps; and `Tensor`, an immutable constant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from graphc.dims import Dim, SymDim, substitute, sym, unknown
from graphc.errors import CompileError, ShapeError

Array = npt.NDArray[Any]


class DType:
    """An element type of ONNX. Compare with `is` or `==`; prints as its name, `float32`.

    Attributes:
        name: ONNX's name in NumPy's spelling, such as `float32`.
        short: the name in listings, such as `f32`.
        onnx: the number in `onnx.TensorProto.DataType`.
        numpy: the NumPy dtype that holds it (object, holding `str`, for strings).
        bits: bits of one element as stored in a file; 0 for strings.
        kind: one of `float`, `int`, `uint`, `bool`, `complex`, `string`.
    """

    __slots__ = ("bits", "kind", "name", "numpy", "onnx", "short")

    def __init__(self, name: str, short: str, onnx: int, numpy: Any, bits: int, kind: str):
        self.name, self.short, self.onnx, self.bits, self.kind = name, short, onnx, bits, kind
        self.numpy = np.dtype(numpy)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")


float32 = DType("float32", "f32", 1, np.float32, 32, "float")
uint8 = DType("uint8", "u8", 2, np.uint8, 8, "uint")
int8 = DType("int8", "i8", 3, np.int8, 8, "int")
uint16 = DType("uint16", "u16", 4, np.uint16, 16, "uint")
int16 = DType("int16", "i16", 5, np.int16, 16, "int")
int32 = DType("int32", "i32", 6, np.int32, 32, "int")
int64 = DType("int64", "i64", 7, np.int64, 64, "int")
string = DType("string", "str", 8, np.object_, 0, "string")
bool_ = DType("bool_", "bool", 9, np.bool_, 8, "bool")
float16 = DType("float16", "f16", 10, np.float16, 16, "float")
float64 = DType("float64", "f64", 11, np.float64, 64, "float")
uint32 = DType("uint32", "u32", 12, np.uint32, 32, "uint")
uint64 = DType("uint64", "u64", 13, np.uint64, 64, "uint")
complex64 = DType("complex64", "c64", 14, np.complex64, 64, "complex")
complex128 = DType("complex128", "c128", 15, np.complex128, 128, "complex")
bfloat16 = DType("bfloat16", "bf16", 16, ml_dtypes.bfloat16, 16, "float")
float8e4m3fn = DType("float8e4m3fn", "f8e4m3fn", 17, ml_dtypes.float8_e4m3fn, 8, "float")
float8e4m3fnuz = DType("float8e4m3fnuz", "f8e4m3fnuz", 18, ml_dtypes.float8_e4m3fnuz, 8, "float")
float8e5m2 = DType("float8e5m2", "f8e5m2", 19, ml_dtypes.float8_e5m2, 8, "float")
float8e5m2fnuz = DType("float8e5m2fnuz", "f8e5m2fnuz", 20, ml_dtypes.float8_e5m2fnuz, 8, "float")
uint4 = DType("uint4", "u4", 21, ml_dtypes.uint4, 4, "uint")
int4 = DType("int4", "i4", 22, ml_dtypes.int4, 4, "int")
float4e2m1 = DType("float4e2m1", "f4e2m1", 23, ml_dtypes.float4_e2m1fn, 4, "float")
float8e8m0 = DType("float8e8m0", "f8e8m0", 24, ml_dtypes.float8_e8m0fnu, 8, "float")
uint2 = DType("uint2", "u2", 25, ml_dtypes.uint2, 2, "uint")
int2 = DType("int2", "i2", 26, ml_dtypes.int2, 2, "int")
float6e2m3 = DType("float6e2m3", "f6e2m3", 27, ml_dtypes.float6_e2m3fn, 6, "float")
float6e3m2 = DType("float6e3m2", "f6e3m2", 28, ml_dtypes.float6_e3m2fn, 6, "float")

DTYPES: tuple[DType, ...] = (
    float32, uint8, int8, uint16, int16, int32, int64, string, bool_, float16, float64, uint32, uint64, complex64,
    complex128, bfloat16, float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, uint4, int4, float4e2m1,
    float8e8m0, uint2, int2, float6e2m3, float6e3m2,
)  # fmt: skip
BY_SHORT = {d.short: d for d in DTYPES}
BY_ONNX = {d.onnx: d for d in DTYPES}
_BY_NUMPY = {d.numpy: d for d in DTYPES}

# The sets that operator signatures are made of.
FLOATS = frozenset({float16, bfloat16, float32, float64})
SMALL_FLOATS = frozenset(d for d in DTYPES if d.is_float) - FLOATS
FLOAT8 = frozenset({float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz})  # those with a sign and a fraction
SMALL_INTEGERS = frozenset({int2, int4, uint2, uint4})
SIGNED = frozenset({int8, int16, int32, int64})
UNSIGNED = frozenset({uint8, uint16, uint32, uint64})
INTEGERS = SIGNED | UNSIGNED
NUMBERS = FLOATS | INTEGERS
COMPLEX = frozenset({complex64, complex128})
ALL = frozenset(DTYPES)


def dtype_of(numpy_dtype: npt.DTypeLike) -> DType:
    """The DType of a NumPy dtype; string-like dtypes give `string`. Raises `TypeError` where there is none."""
    dtype = np.dtype(numpy_dtype)
    if dtype.kind in "UST":
        return string
    found = _BY_NUMPY.get(dtype.newbyteorder("=") if dtype.byteorder == ">" else dtype)
    if found is None:
        raise TypeError(f"no element type for NumPy's {dtype}")
    return found


Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class TensorType:
    """A tensor of `dtype` and `shape`; shape None means that not even the rank is known."""

    dtype: DType
    shape: Shape | None

    def __post_init__(self) -> None:
        for d in self.shape or ():
            if isinstance(d, int) and d < 0:
                raise ShapeError(f"negative dimension in {self}")

    def __str__(self) -> str:
        return f"{self.dtype.short}[{'...' if self.shape is None else ','.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as numbers. Raises `CompileError` where it is not known."""
        if not self.is_static:
            raise CompileError(f"the sizes of {self} are known only at run time")
        return tuple(int(d) for d in self.shape or ())  # type: ignore[arg-type]

    @property
    def is_static(self) -> bool:
        """True when every dimension is a number."""
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)

    @cached_property
    def nbytes(self) -> int | None:
        """Bytes in memory, or None where a dimension is not known."""
        if self.shape is None or not self.is_static:
            return None
        return int(count(self.shape)) * int(self.dtype.numpy.itemsize)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SequenceType:
    """A list of values of one type."""

    element: Type

    def __str__(self) -> str:
        return f"seq({self.element})"


@dataclass(frozen=True)
class OptionalType:
    """A value of the element type, or nothing."""

    element: Type

    def __str__(self) -> str:
        return f"optional({self.element})"


@dataclass(frozen=True)
class MapType:
    """A dictionary from `key`, int64 or string, to single elements of `value`; at run time a `Map`."""

    key: DType
    value: DType

    def __str__(self) -> str:
        return f"map({self.key.short},{self.value.short})"

    @property
    def element(self) -> TensorType:
        """The type of one value."""
        return TensorType(self.value, ())


Type = TensorType | SequenceType | OptionalType | MapType


class Map(dict[Any, Any]):
    """A dict of Python keys and values that knows its type, also when it is empty."""

    def __init__(self, type: MapType, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]]):
        super().__init__(entries)
        self.type = type


def count(shape: Sequence[Dim]) -> Dim:
    """The product of the dimensions."""
    total: Dim = 1
    for d in shape:
        total = total * d
    return total


def broadcast(*shapes: Shape | None) -> Shape | None:
    """The shape that ONNX's (NumPy's) multidirectional broadcasting gives. Raises `ShapeError`."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    rank = max((len(s) for s in known), default=0)
    result: list[Dim] = []
    for i in range(rank):
        dim: Dim = 1
        for s in known:
            at = i - rank + len(s)
            if at < 0 or s[at] == 1 or s[at] == dim:
                continue
            if dim == 1:
                dim = s[at]
            elif isinstance(dim, int) and isinstance(s[at], int):
                raise ShapeError(f"cannot broadcast {' with '.join(_list(s) for s in known)}")
            elif isinstance(s[at], int):
                dim = s[at]
            elif isinstance(dim, SymDim):
                dim = unknown()  # equal, or one of the two is 1
        result.append(dim)
    return tuple(result)


def _list(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def unify(a: Dim, b: Dim) -> Dim:
    """The better known of two dims that stand for the same size. Raises `ShapeError` for unequal numbers."""
    if isinstance(a, int) and isinstance(b, int):
        if a != b:
            raise ShapeError(f"sizes differ: {a} and {b}")
        return a
    if isinstance(a, int):
        return a
    if isinstance(b, int):
        return b
    return b if str(a).startswith("?") else a


def join(a: Type, b: Type) -> Type:
    """The most exact type that has every value of `a` and of `b`. Raises `ShapeError` when element types differ."""
    if isinstance(a, TensorType) and isinstance(b, TensorType) and a.dtype is b.dtype:
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return TensorType(a.dtype, None)
        return TensorType(a.dtype, tuple(m if m == n else unknown() for m, n in zip(a.shape, b.shape, strict=True)))
    if isinstance(a, SequenceType) and isinstance(b, SequenceType):
        return SequenceType(join(a.element, b.element))
    if isinstance(a, OptionalType) and isinstance(b, OptionalType):
        return OptionalType(join(a.element, b.element))
    if isinstance(a, MapType) and a == b:
        return a
    raise ShapeError(f"types differ: {a} and {b}")


def same_type(a: Type, b: Type, renamed: dict[str, str] | None = None) -> bool:
    """True when the types are equal up to the names of unknown sizes. `renamed` collects which name became which."""
    names = {} if renamed is None else renamed
    if isinstance(a, TensorType) and isinstance(b, TensorType):
        if a.dtype is not b.dtype or (a.shape is None) != (b.shape is None):
            return False
        if a.shape is None or b.shape is None:
            return True
        return len(a.shape) == len(b.shape) and all(
            _same_dim(m, n, names) for m, n in zip(a.shape, b.shape, strict=True)
        )
    if isinstance(a, (SequenceType, OptionalType)) and isinstance(b, (SequenceType, OptionalType)):
        return type(a) is type(b) and same_type(a.element, b.element, names)
    return a == b


def _same_dim(a: Dim, b: Dim, names: dict[str, str]) -> bool:
    if a == b:
        return True
    if not (isinstance(a, SymDim) and isinstance(b, SymDim)):
        return False
    left = list(dict.fromkeys(s.name for s in a.symbols() if s.is_unknown))
    right = list(dict.fromkeys(s.name for s in b.symbols() if s.is_unknown))
    if len(left) != len(right) or any(names.setdefault(m, n) != n for m, n in zip(left, right, strict=True)):
        return False
    renamed = substitute(a, lambda s: sym(names[s.name]) if s.name in names else None)
    return renamed == b


SAMPLE = 4096  # bytes in which tensors that differ nearly always do


class Tensor:
    """An immutable constant: an array with a content hash, which may be made only when first read.

    Args:
        array: the contents; kept without copying and marked read-only. NumPy string arrays become object arrays.
    """

    __slots__ = ("__dict__", "_array", "_load", "_recipe", "dtype", "shape")

    def __init__(self, array: npt.ArrayLike, dtype: DType | None = None):
        data = np.asarray(array)
        self.dtype = dtype or dtype_of(data.dtype)
        data = np.ascontiguousarray(data, self.dtype.numpy).reshape(data.shape)
        if data.flags.writeable:
            data = data.view()
            data.flags.writeable = False
        self.shape: tuple[int, ...] = data.shape
        self._load: Callable[[], Array] | None = None
        self._recipe: Hashable = None
        self._array: Array | None = data

    @classmethod
    def lazy(cls, dtype: DType, shape: Sequence[int], load: Callable[[], Array], recipe: Hashable = None) -> Tensor:
        """A tensor whose contents `load()` gives when they are first asked for; `recipe`, if any, determines them."""
        tensor = cls.__new__(cls)
        tensor.dtype, tensor.shape = dtype, tuple(shape)
        tensor._array, tensor._load, tensor._recipe = None, load, recipe
        return tensor

    @property
    def array(self) -> Array:
        """The contents, read-only."""
        # No `cached_property`: until Python 3.12 that lets only one thread at a time read any tensor.
        data = self._array
        if data is None:
            data = self._array = self.read()
            self._load = self._recipe = None  # and what they hold on to
        return data

    def read(self) -> Array:
        """The contents, read-only, not kept if they are not there yet: for who needs them once."""
        load, data = self._load, self._array  # in this order: another thread may be keeping them
        if data is None:
            assert load is not None
            data = np.ascontiguousarray(load(), self.dtype.numpy).reshape(self.shape).view()
            data.flags.writeable = False
        return data

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    @property
    def size(self) -> int:
        return int(count(self.shape))  # type: ignore[arg-type]

    @cached_property
    def digest(self) -> bytes:
        """A hash of type and contents."""
        h = hashlib.blake2b(f"{self.type}".encode(), digest_size=16)
        if self.dtype is string:
            for s in self.array.flat:
                h.update(repr(s).encode())
        else:
            h.update(self._bytes.data)
        return h.digest()

    @property
    def _bytes(self) -> Array:
        return self.array.reshape(-1).view(np.uint8)

    @property
    def is_read(self) -> bool:
        """Whether the contents are there already."""
        return self._array is not None

    @property
    def key(self) -> Hashable:
        """What differs for tensors that differ, found without computing contents that are not there yet."""
        return self if self._recipe is None else self._recipe

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Tensor) or self.dtype is not other.dtype or self.shape != other.shape:
            return False
        if self.dtype is not string and not np.array_equal(self._bytes[:SAMPLE], other._bytes[:SAMPLE]):
            return False  # weights that differ do so early: few have to be hashed
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape)) if self.size > 4096 else hash(self.digest)

    def __repr__(self) -> str:
        return f"Tensor({self.type})"

    def __reduce__(self) -> tuple[object, ...]:
        return Tensor, (np.array(self.array), self.dtype)
