"""Types of 8 bits and fewer that no processor computes in: a byte for each element, converted by integer instructions.

Floats go by way of float32, as `Cast` says; float8e8m0, powers of two, by way of float64.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from graphc.frozen import Frozen
from graphc.types import (
    SMALL_FLOATS,
    SMALL_INTEGERS,
    DType,
    float4e2m1,
    float6e2m3,
    float6e3m2,
    float8e4m3fn,
    float8e4m3fnuz,
    float8e5m2,
    float8e5m2fnuz,
    float8e8m0,
)

SMALL = SMALL_FLOATS | SMALL_INTEGERS


class Format(Frozen):
    """A sign, `exponent` bits with a `bias` and `fraction` bits.

    Attributes:
        largest: the code of the largest finite number.
        nan: that of NaN; None for a format without one, where NaN becomes zero of the other sign.
        unsigned_zero: whether the code of −0 is NaN's.
    """

    exponent: int
    fraction: int
    bias: int
    largest: int
    nan: int | None = None
    unsigned_zero: bool = False


FORMATS = {
    float8e4m3fn: Format(4, 3, 7, 0x7E, 0x7F),
    float8e4m3fnuz: Format(4, 3, 8, 0x7F, 0x80, unsigned_zero=True),
    float8e5m2: Format(5, 2, 15, 0x7B, 0x7E),
    float8e5m2fnuz: Format(5, 2, 16, 0x7F, 0x80, unsigned_zero=True),
    float4e2m1: Format(2, 1, 1, 0x07),
    float6e2m3: Format(2, 3, 1, 0x1F),
    float6e3m2: Format(3, 2, 3, 0x1F),
}


class Writer(Protocol):
    """A place for instructions."""

    def op(self, text: str) -> str:
        """Append the instruction `text` and return the name of its result."""
        ...


def code(value: Any, dtype: DType) -> int:
    """The byte that holds `value`."""
    return int(np.asarray(value).astype(dtype.numpy).view(np.uint8))


class Lanes(Frozen):
    """Writes instructions on `lanes` lanes."""

    w: Writer
    lanes: int

    def kind(self, scalar: str) -> str:
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def number(self, n: int, scalar: str = "i32") -> str:
        return str(n) if self.lanes == 1 else f"splat ({scalar} {n})"

    def op(self, name: str, x: str, y: str | int, scalar: str = "i32") -> str:
        return self.w.op(f"{name} {self.kind(scalar)} {x}, {self.number(y, scalar) if isinstance(y, int) else y}")

    def to(self, name: str, x: str, old: str, new: str) -> str:
        return self.w.op(f"{name} {self.kind(old)} {x} to {self.kind(new)}")

    def choose(self, condition: str, x: str | int, y: str | int, scalar: str = "i32") -> str:
        a, b = (self.number(v, scalar) if isinstance(v, int) else v for v in (x, y))
        kind = self.kind(scalar)
        return self.w.op(f"select {self.kind('i1')} {condition}, {kind} {a}, {kind} {b}")


def _bits_of(x: float) -> int:
    return int(np.float32(x).view(np.uint32))


def to_int8(w: Writer, x: str, dtype: DType, lanes: int) -> str:
    """A small integer as int8 (uint8 where it has no sign)."""
    on = Lanes(w, lanes)
    if dtype.kind == "uint":
        return on.op("and", x, (1 << dtype.bits) - 1, "i8")
    return on.op("ashr", on.op("shl", x, 8 - dtype.bits, "i8"), 8 - dtype.bits, "i8")


def from_int8(w: Writer, x: str, dtype: DType, lanes: int) -> str:
    """The low bits of an int8 as a small integer."""
    return Lanes(w, lanes).op("and", x, (1 << dtype.bits) - 1, "i8")


def to_float32(w: Writer, x: str, dtype: DType, lanes: int) -> str:
    """A small float as float32, exactly."""
    on = Lanes(w, lanes)
    byte = on.to("zext", x, "i8", "i32")
    if dtype is float8e8m0:
        bits = on.op("shl", byte, 23)
        bits = on.choose(on.op("icmp eq", byte, 0), _bits_of(2.0**-127), bits)
        return on.to("bitcast", on.choose(on.op("icmp eq", byte, 255), _bits_of(np.nan), bits), "i32", "float")
    f = FORMATS[dtype]
    width = f.exponent + f.fraction
    size = on.op("and", byte, (1 << width) - 1)
    # Read as a float32, the number is too small by a power of two, whether it is normal or not.
    scaled = on.to("bitcast", on.op("shl", size, 23 - f.fraction), "i32", "float")
    factor = f"0x{int(np.float64(2.0 ** (127 - f.bias)).view(np.uint64)):016X}"
    factor = factor if lanes == 1 else f"splat (float {factor})"
    bits = on.to("bitcast", on.op("fmul", scaled, factor, "float"), "float", "i32")
    if dtype is float8e5m2:
        bits = on.choose(on.op("icmp eq", size, 0x7C), _bits_of(np.inf), bits)
        bits = on.choose(on.op("icmp ugt", size, 0x7C), _bits_of(np.nan), bits)
    elif f.nan is not None:
        bits = on.choose(on.op("icmp eq", byte if f.unsigned_zero else size, f.nan), _bits_of(np.nan), bits)
    sign = on.op("shl", on.op("and", byte, 1 << width), 31 - width)
    return on.to("bitcast", on.op("or", bits, sign), "i32", "float")


def from_float32(w: Writer, x: str, dtype: DType, lanes: int) -> str:
    """A float32 rounded to a small float other than float8e8m0; out of range, and ∞, give the largest number."""
    on, f = Lanes(w, lanes), FORMATS[dtype]
    width, dropped = f.exponent + f.fraction, 23 - f.fraction
    largest = ((f.largest >> f.fraction) - f.bias + 127 << 23) | (f.largest & (1 << f.fraction) - 1) << dropped
    bits = on.to("bitcast", x, "float", "i32")
    given = on.op("and", bits, 0x7FFFFFFF)
    size = on.choose(on.op("icmp ult", given, largest), given, largest)
    odd = on.op("and", on.op("lshr", size, dropped), 1)
    rounded = on.op("lshr", on.op("add", on.op("add", size, odd), (1 << dropped - 1) - 1), dropped)
    normal = on.op("sub", rounded, 127 - f.bias << f.fraction)
    # Adding a number whose last place is that of subnormal numbers rounds to these.
    magic = 1 - f.bias - f.fraction + 23
    addend = f"0x{int(np.float64(2.0**magic).view(np.uint64)):016X}"
    addend = addend if lanes == 1 else f"splat (float {addend})"
    total = on.op("fadd", on.to("bitcast", size, "i32", "float"), addend, "float")
    subnormal = on.op("sub", on.to("bitcast", total, "float", "i32"), _bits_of(2.0**magic))
    result = on.choose(on.op("icmp ult", size, _bits_of(2.0 ** (1 - f.bias))), subnormal, normal)
    sign = on.op("shl", on.op("lshr", bits, 31), width)
    if f.unsigned_zero:
        sign = on.choose(on.op("icmp eq", result, 0), 0, sign)
    result = on.op("or", result, sign)
    nan = on.op("icmp ugt", given, _bits_of(np.inf))
    if f.nan is None:
        result = on.choose(nan, on.op("xor", sign, 1 << width), result)
    else:
        result = on.choose(nan, f.nan if f.unsigned_zero else on.op("or", sign, f.nan), result)
    return on.to("trunc", result, "i32", "i8")


def power_of_two(w: Writer, x: str, lanes: int) -> str:
    """|x| of a float64 rounded up to float8e8m0; NaN is 255."""
    on = Lanes(w, lanes)
    bits = on.op("and", on.to("bitcast", x, "double", "i64"), (1 << 63) - 1, "i64")
    # The exponent of the next power of two; that of a float64 has 896 more.
    up = on.op("lshr", on.op("add", bits, (1 << 52) - 1, "i64"), 52, "i64")
    low = on.choose(on.op("icmp ult", up, 896, "i64"), 896, up, "i64")
    high = on.choose(on.op("icmp ugt", low, 896 + 254, "i64"), 896 + 254, low, "i64")
    nan = on.op("icmp ugt", bits, 0x7FF << 52, "i64")
    return on.to("trunc", on.choose(nan, 255, on.op("sub", high, 896, "i64"), "i64"), "i64", "i8")
