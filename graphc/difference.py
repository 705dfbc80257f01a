"""How far two results are apart: absolutely, relatively, and in units in the last place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from graphc.frozen import Frozen
from graphc.interpret import Data
from graphc.types import Array

# Relative tolerances by the bits of the significand: backends may order sums differently, and round in between.
_RTOL = {52: 1e-6, 23: 1e-4, 10: 2e-2, 7: 1e-1, 3: 0.3, 2: 0.6, 1: 1.0, 0: 1.0}
_SIGNED: dict[int, type[np.signedinteger[Any]]] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


class Difference(Frozen):
    """The largest differences between two results, and whether they are within the tolerance.

    Attributes:
        ok: |a - b| <= atol + rtol * max(|b|, rms(b)) everywhere; equality for what is not floating. The rms is there
            because an element near zero inherits the rounding of the large terms that cancelled in it.
        max_abs, max_rel: max |a - b|, and max |a - b| / |b| where b is not zero.
        ulp: the most representable numbers between two elements; None for other than floats.
        note: what is wrong besides, such as shapes that differ.
    """

    ok: bool
    max_abs: float = 0.0
    max_rel: float = 0.0
    ulp: int | None = None
    note: str = ""


def compare(a: Data, b: Data, *, rtol: float | None = None, atol: float | None = None) -> Difference:
    """`a` held against the reference `b`. NaNs are equal to NaNs, infinities to those of their sign.

    Args:
        a, b: arrays, lists of them, dicts of numbers or strings, or None.
        rtol: relative tolerance; by default one that suits the element type (1e-4 for float32).
        atol: absolute tolerance; by default a hundredth of `rtol`.
    """
    if isinstance(b, (list, tuple)):
        if not isinstance(a, (list, tuple)) or len(a) != len(b):
            return Difference(False, note="sequences of different length")
        parts = [compare(x, y, rtol=rtol, atol=atol) for x, y in zip(a, b, strict=True)]
        return next((p for p in parts if not p.ok), max(parts, key=lambda p: p.max_abs, default=Difference(True)))
    if isinstance(b, dict):
        if not isinstance(a, dict) or a.keys() != b.keys():
            return Difference(False, note="maps of different keys")
        return compare(np.array([a[k] for k in b]), np.array(list(b.values())), rtol=rtol or 1e-4, atol=atol)
    if a is None or b is None:
        return Difference(a is b, note="" if a is b else "one of the two is empty")
    if a.dtype != b.dtype or a.shape != b.shape:
        return Difference(False, note=f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}")
    bits = significand_bits(b.dtype)
    if bits is None:
        wrong = int(np.sum(np.asarray(a != b)))
        note = f"{wrong} of {b.size} elements differ" if wrong else ""
        return Difference(wrong == 0, _distance(a, b) if wrong else 0.0, note=note)
    rtol = _RTOL[bits] if rtol is None else rtol
    return _floats(a, b, rtol, rtol * 1e-2 if atol is None else atol)


def significand_bits(dtype: np.dtype[Any]) -> int | None:
    """Stored bits of the significand of a floating or complex dtype; None for any other."""
    name = dtype.name
    if name in ("bfloat16", "float16", "float32", "float64", "complex64", "complex128"):
        return {"bfloat16": 7, "float16": 10, "float32": 23, "complex64": 23}.get(name, 52)
    if not name.startswith("float"):
        return None
    found = re.search(r"e\dm(\d)", name)
    return int(found[1]) if found else None


def _distance(a: Array, b: Array) -> float:
    """max |a - b| of integers, without wrapping."""
    if a.dtype.kind not in "iu":
        return 0.0
    return float(np.max(np.abs(a.astype(object) - b.astype(object)), initial=0))


def _floats(a: Array, b: Array, rtol: float, atol: float) -> Difference:
    wide = np.complex128 if b.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        distance = np.where(same, 0.0, np.abs(x - y))
        finite = np.isfinite(x) & np.isfinite(y)
        size = np.abs(y)
        rms = float(np.sqrt(np.mean(np.square(size[finite])))) if finite.any() else 0.0
        ok = bool(np.all(same | (finite & (distance <= atol + rtol * np.maximum(size, rms)))))
        relative = np.where(size > 0, distance / size, 0.0)
    lost = int(np.sum(~same & ~finite))
    return Difference(
        ok,
        float(np.max(distance[finite], initial=0.0)),
        float(np.max(relative[finite], initial=0.0)),
        _ulps(a, b, finite),
        f"{lost} of {b.size} elements are NaN or infinite on one side only" if lost else "",
    )


def _ulps(a: Array, b: Array, finite: Array) -> int | None:
    """Bit patterns of floats, read as sign and magnitude, count the representable numbers."""
    if a.dtype.kind == "c" or not finite.any():
        return None
    integer = _SIGNED[a.dtype.itemsize]
    floor = np.int64(np.iinfo(integer).min)
    m, n = (np.ascontiguousarray(v[finite]).view(integer).astype(np.int64) for v in (a, b))
    m, n = (np.where(v < 0, floor - v, v) for v in (m, n))
    # Between the ends of the range the distance needs 64 bits without a sign.
    return int(np.max(np.maximum(m, n).view(np.uint64) - np.minimum(m, n).view(np.uint64)))
