"""What a caller passes in, made an array of the element type that an input declares, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import FeedError
from graphc.names import quote
from graphc.types import Array, DType, Map, MapType, dtype_of, string

# Python numbers have no element type of their own; they go where nothing but precision can be lost.
_FROM_PYTHON = {"b": ("bool",), "i": ("int", "uint", "float", "complex"), "f": ("float", "complex"), "c": ("complex",)}


def to_array(x: object, dtype: DType, name: str, *, safe_cast: bool = False) -> Array:
    """`x` as an array of `dtype`; nothing is converted but byte order, Python numbers and (with `safe_cast`) to wider.

    Raises:
        FeedError: naming the input `name`, what it got, what it expects, and what to do.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise FeedError(f"input {quote(name)} is a masked array", value=name, hint="Pass x.filled(value)")
    if isinstance(x, np.ndarray):
        array, exact = np.asarray(x), True
    else:
        array, exact = _to_numpy(x, name), not _is_python(x)
    if array.dtype == dtype.numpy and dtype is not string:
        return array
    if dtype is string:
        return _strings(array, name)
    if array.dtype == object:
        raise FeedError(
            f"input {quote(name)} has dtype object, expected {dtype}",
            value=name,
            hint=f"Pass an array of numbers: np.array(x, {_spell(dtype)})",
        )
    if array.dtype.newbyteorder("=") == dtype.numpy:
        return array.astype(dtype.numpy)
    if not exact:
        return _from_python(array, dtype, name)
    if safe_cast and np.can_cast(array.dtype, dtype.numpy, "safe"):
        return array.astype(dtype.numpy)
    raise _mismatch(array, dtype, name)


def to_map(x: Mapping[Any, object], type: MapType, name: str, *, safe_cast: bool = False) -> Map:
    """`x` with Python keys and Python values that `type` can hold.

    Raises:
        FeedError: as `to_array`; a key is not of `type`.
    """
    keys = [_key(k, type, name) for k in x]
    values: Any = list(x.values())
    if type.value is string:  # a list of texts and numbers would become one of texts
        values = _objects(values)
    array = to_array(values, type.value, f"{name}.values()", safe_cast=safe_cast)
    if array.ndim != 1:
        raise FeedError(f"input {quote(name)} has arrays as values, expected single {type.value} values", value=name)
    return Map(type, zip(keys, array.tolist(), strict=True))


def _key(key: object, type: MapType, name: str) -> int | str:
    if type.key is string and isinstance(key, str):
        return str(key)
    if type.key is not string and isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if -(1 << 63) <= key < 1 << 63:
            return int(key)
        raise FeedError(f"input {quote(name)} has the key {key}, which does not fit in {type.key}", value=name)
    raise FeedError(
        f"input {quote(name)} has the key {key!r}, a {key.__class__.__name__}, expected {type.key} keys", value=name
    )


def _objects(values: list[object]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _to_numpy(x: Any, name: str) -> Array:
    if x is None:
        raise FeedError(f"input {quote(name)} is None", value=name, hint="Every input needs an array")
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        return np.asarray(x)
    except Exception as e:  # `__array__` and `__dlpack__` are somebody else's, and may raise anything
        kind = type(x).__name__
        raise FeedError(f"input {quote(name)} is a {kind} that cannot become an array: {e}", value=name) from e


def _is_python(x: object) -> bool:
    """True for Python numbers, and for lists that have one as their first element."""
    while isinstance(x, (list, tuple)):
        if not x:
            return True
        x = x[0]
    return isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic)


def _from_python(array: Array, dtype: DType, name: str) -> Array:
    if array.size and dtype.kind not in _FROM_PYTHON.get("i" if array.dtype.kind == "u" else array.dtype.kind, ()):
        raise _mismatch(array, dtype, name)
    with np.errstate(all="ignore"):
        result = array.astype(dtype.numpy)
    if dtype.is_integer and not np.array_equal(result.astype(array.dtype), array):
        raise FeedError(f"input {quote(name)} has a number that does not fit in {dtype}", value=name)
    return result


def _strings(array: Array, name: str) -> Array:
    if array.dtype.kind in "UT":
        return array.astype(object)
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype != object:
        raise FeedError(f"input {quote(name)} is {array.dtype}, expected strings", value=name)
    result = np.empty(array.shape, object)
    for i, element in np.ndenumerate(array):
        if isinstance(element, bytes):
            try:
                element = element.decode("utf-8")
            except UnicodeDecodeError as e:
                raise FeedError(f"input {quote(name)} at {list(i)} is not UTF-8: {e}", value=name) from e
        if not isinstance(element, str):
            kind = type(element).__name__
            raise FeedError(f"input {quote(name)} at {list(i)} is a {kind}, expected a string", value=name)
        result[i] = element
    return result


def _mismatch(array: Array, dtype: DType, name: str) -> FeedError:
    hint = f"Convert it: x.astype({_spell(dtype)})"
    if np.can_cast(array.dtype, dtype.numpy, "safe"):
        hint += ', or compile with cast="safe"'
    return FeedError(f"input {quote(name)} is {_name(array)}, expected {dtype}", value=name, hint=hint)


def _name(array: Array) -> str:
    try:
        return dtype_of(array.dtype).name.rstrip("_")
    except TypeError:
        return str(array.dtype)


def _spell(dtype: DType) -> str:
    module = "np" if dtype.numpy.type.__module__ == "numpy" else "ml_dtypes"
    return f"{module}.{dtype.numpy.name if module == 'ml_dtypes' or dtype.name != 'bool_' else 'bool_'}"
