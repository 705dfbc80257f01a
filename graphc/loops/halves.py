"""float16 and bfloat16 to and from float32, as arithmetic on their bits, for targets that cannot convert them."""

from __future__ import annotations

from graphc.expr import Expr, call, cast, constant, select
from graphc.types import float32, uint16, uint32


def _bits(x: Expr) -> Expr:
    return call("bitcast", x, dtype=uint32)


def _float(bits: Expr) -> Expr:
    return call("bitcast", bits, dtype=float32)


def half_to_float(half: Expr) -> Expr:
    """The float32 that equals the float16 with these bits (uint16); a NaN keeps its payload."""
    h = cast(half, uint32)
    magnitude = h & 0x7FFF
    moved = call("shl", magnitude, 13)
    # The biases of the exponents differ by 112; the product also makes a normal number of a subnormal one.
    finite = _bits(_float(moved) * 2.0**112)
    return _float(select(magnitude < 0x7C00, finite, moved | 0x7F800000) | call("shl", h & 0x8000, 16))


def float_to_half(x: Expr) -> Expr:
    """The bits (uint16) of the float16 nearest to the float32 `x`, ties to even; a NaN becomes a quiet one."""
    b = _bits(x)
    magnitude = b & 0x7FFFFFFF
    odd = call("shr", magnitude, 13) & 1
    normal = call("shr", magnitude + odd + (0x0FFF - (112 << 23)) % 2**32, 13)
    # An ulp of ½ is the least float16: the sum rounds to a multiple of it.
    subnormal = _bits(_float(magnitude) + 0.5) - 0x3F000000
    special = select(magnitude > 0x7F800000, constant(0x7E00, uint32), 0x7C00)
    finite = select(magnitude < 113 << 23, subnormal, normal)
    return cast(select(magnitude < 143 << 23, finite, special) | (call("shr", b, 16) & 0x8000), uint16)


def bfloat16_to_float(brain: Expr) -> Expr:
    """The float32 that equals the bfloat16 with these bits (uint16)."""
    return _float(call("shl", cast(brain, uint32), 16))


def float_to_bfloat16(x: Expr) -> Expr:
    """The bits (uint16) of the bfloat16 nearest to the float32 `x`, ties to even; a NaN becomes a quiet one."""
    b = _bits(x)
    upper = call("shr", b, 16)
    nearest = call("shr", b + ((upper & 1) + 0x7FFF), 16)
    return cast(select((b & 0x7FFFFFFF) > 0x7F800000, upper | 0x0040, nearest), uint16)
