"""Elementary functions as arithmetic: f(x) → an expression of primitives, for float32 and float64, branch-free.

What is left after `expand` is add, sub, mul, div, fma, neg, abs, trunc, sqrt, comparisons, logic, shifts, `bitcast`
and `select`, so that an emitter needs to know nothing else, at any vector width. No expansion relies on an `fma` that
rounds once: where it is a product and a sum, errors grow by an ulp, and sin, cos and tan have a smaller range.

The errors in the docstrings are the largest that were found in 0.2 to 6 million arguments, in ulps of the result, for
float32 and for float64, with a true `fma`; tests/test_functions.py holds them. Special values are those of C99, annex
F; subnormal arguments and results are not flushed. Integers wrap. The methods are the classical ones, of fdlibm (Sun,
1993) and of Cody and Waite, Software Manual for the Elementary Functions (1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.expr import Call, Expr, ExprLike, call, compare, constant, select
from graphc.frozen import Frozen
from graphc.loops import polynomials
from graphc.traverse import rewrite
from graphc.types import DType, bool_, float32, float64, int32, int64

LOG2_E = 1 / math.log(2)
NAN, INFINITY = math.nan, math.inf


class Format(Frozen):
    """A floating-point format, and constants split to suit it.

    Attributes:
        dtype, integer: the format, and the signed integers of its size.
        fraction, bias: stored bits of the significand, bias of the exponent.
        exp_low, exp_high: beyond these, eˣ rounds to 0 and to infinity.
        expm1_low, tanh_high, erf_high: beyond these, the function rounds to −1, 1 and 1.
        ln2, three_halves_ln2: high part, the product of which with any exponent is exact, and low part.
        pi: four parts, the products of the first three of which with integers below 2¹⁴ (2³² for float64) are exact.
        half_pi: π/2 as rounded, and what is missing.
        half_bits: how many low bits to clear so that products of what is left are exact.
    """

    dtype: DType
    integer: DType
    fraction: int
    bias: int
    exp_low: float
    exp_high: float
    expm1_low: float
    tanh_high: float
    erf_high: float
    ln2: tuple[float, float]
    three_halves_ln2: tuple[float, float]
    pi: tuple[float, float, float, float]
    half_pi: tuple[float, float]
    half_bits: int

    @property
    def magic(self) -> float:
        """1.5 · 2^fraction: a float near it has the integer nearest to their difference in its low bits."""
        return 1.5 * 2.0**self.fraction

    @property
    def tiny(self) -> float:
        """The least normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def sign(self) -> int:
        """The integer that has only the sign bit set."""
        return -(1 << self.dtype.bits - 1)

    def pattern(self, value: float) -> int:
        """The bits of `value`, as an integer."""
        return int(np.array(value, self.dtype.numpy).view(self.integer.numpy))


FORMATS = {
    float32: Format(
        float32,
        int32,
        fraction=23,
        bias=127,
        exp_low=-104.0,
        exp_high=89.0,
        expm1_low=-17.5,
        tanh_high=10.0,
        erf_high=3.925,
        ln2=(0.693145751953125, 1.428606765330187e-06),
        three_halves_ln2=(1.03973388671875, -1.3115878573444206e-05),
        pi=(3.140625, 0.0009670257568359375, 6.277114152908325e-07, 1.215420125655342e-10),
        half_pi=(1.5707963705062866, -4.371138828673793e-08),
        half_bits=12,
    ),
    float64: Format(
        float64,
        int64,
        fraction=52,
        bias=1023,
        exp_low=-746.0,
        exp_high=710.0,
        expm1_low=-38.0,
        tanh_high=20.0,
        erf_high=6.0,
        ln2=(0.6931471805601177, -1.7239444525614835e-13),
        three_halves_ln2=(1.0397207708401766, -2.585916678842225e-13),
        pi=(3.141592025756836, 6.278328328335192e-07, 1.2446738518329115e-13, 5.825464112186712e-20),
        half_pi=(1.5707963267948966, 6.123233995736766e-17),
        half_bits=27,
    ),
}


# -- parts ------------------------------------------------------------------------------------------------------------
def fma(a: Expr, b: ExprLike, c: ExprLike) -> Expr:
    """a·b + c."""
    return call("fma", a, b, c)


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Σ cₖ xᵏ, by Horner's rule."""
    *others, last = coefficients
    value: ExprLike = last
    for c in reversed(others):
        value = fma(x, value, c)
    assert isinstance(value, Expr)
    return value


def at_most(x: Expr, high: float) -> Expr:
    """min(x, high); NaN stays NaN."""
    limit = constant(high, x.dtype)
    return select(x > limit, limit, x)


def at_least(x: Expr, low: float) -> Expr:
    """max(x, low); NaN stays NaN."""
    limit = constant(low, x.dtype)
    return select(x < limit, limit, x)


def bits(x: Expr) -> Expr:
    """The bits of a float, as a signed integer."""
    return call("bitcast", x, dtype=FORMATS[x.dtype].integer)


def from_bits(i: Expr, dtype: DType) -> Expr:
    """The float of `dtype` that has these bits."""
    return call("bitcast", i, dtype=dtype)


def flip_sign(y: Expr, by: Expr) -> Expr:
    """`y`, negated where the sign bit of the integer `by`, the only one it may have, is set."""
    return from_bits(bits(y) ^ by, y.dtype)


def sign_bit(x: Expr) -> Expr:
    """The bits of `x` but for all others than the sign."""
    return bits(x) & FORMATS[x.dtype].sign


def _nearest(x: Expr, scale: float, offset: int = 0) -> tuple[Expr, Expr]:
    """n = the integer nearest to scale · x, as a float, and 2^(n + offset)."""
    f = FORMATS[x.dtype]
    magic = f.magic + f.bias + offset
    t = fma(x, scale, magic)
    return t - magic, from_bits(call("shl", bits(t), f.fraction), x.dtype)


# -- exponentials -----------------------------------------------------------------------------------------------------
def _exp_parts(x: Expr) -> tuple[Expr, Expr]:
    """(p, s) with eˣ = p · s · s, for exp_low ≤ x ≤ exp_high + 1.

    s = 2ⁿ, n the integer nearest to x / (2 ln 2), so that it is a normal number when eˣ is not and the last product is
    the only one that rounds; p = eʳ, r = x − n · 2 ln 2, |r| ≤ ln 2: degree 7, or 13 for float64.
    """
    f = FORMATS[x.dtype]
    high, low = f.ln2
    n, s = _nearest(x, LOG2_E / 2)
    r = fma(n, -2 * low, fma(n, -2 * high, x))
    return polynomial(r, (1.0, 1.0, *polynomials.EXP[x.dtype])), s


def exp(x: Expr) -> Expr:
    """eˣ = p · s · s of `_exp_parts`.

    Errors: 1.5, 1.6 ulp.
    """
    f = FORMATS[x.dtype]
    p, s = _exp_parts(at_most(at_least(x, f.exp_low), f.exp_high))
    return p * s * s


def expm1(x: Expr) -> Expr:
    """eˣ − 1 = 2 (s q + s − ½), s = 2ⁿ⁻¹, n the integer nearest to x / ln 2, q = eʳ − 1.

    |r| ≤ ln 2 / 2: degree 6, or 11 for float64.

    Errors: 1.5, 2.0 ulp.
    """
    f = FORMATS[x.dtype]
    high, low = f.ln2
    y = at_most(at_least(x, f.expm1_low), f.exp_high)
    n, s = _nearest(y, LOG2_E, -1)
    r = fma(n, -low, fma(n, -high, y))
    q = fma(r * r, polynomial(r, polynomials.EXPM1[x.dtype]), r)
    return select(call("abs", x) < 2.0 ** -(f.fraction + 2), x, fma(s, q, s - 0.5) * 2.0)


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e⁻ˣ) = (1 or, where x < 0, e) / (1 + e), e = e^−|x|: nothing overflows, small results keep their digits.

    Errors: 3.2, 2.9 ulp.
    """
    e = _exp_of_negative(call("neg", call("abs", x)))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


def _exp_of_negative(x: Expr) -> Expr:
    p, s = _exp_parts(at_least(x, FORMATS[x.dtype].exp_low))
    return p * s * s


def tanh(x: Expr) -> Expr:
    """tanh |x| = E / (E + 1), E = (e^2|x| − 1) / 2 = s q + (s − 1) / 2, s = 2ⁿ, q = (e^2r − 1) / 2.

    |r| ≤ ln 2 / 4: degree 6, or 11 for float64.

    Errors: 2.5, 2.7 ulp.
    """
    f = FORMATS[x.dtype]
    a = at_most(call("abs", x), f.tanh_high)
    n, s = _nearest(a, 2 * LOG2_E)
    r = fma(n, -math.log(2) / 2, a)
    doubled = [c * 2.0**k for k, c in enumerate(polynomials.EXPM1[x.dtype], start=1)]
    half = fma(s, fma(r * r, polynomial(r, doubled), r), fma(s, 0.5, -0.5))
    return flip_sign(half / (half + 1.0), sign_bit(x))


def sinh(x: Expr) -> Expr:
    """(eᵃ − e⁻ᵃ) / 2 for a = |x| > 1; an odd polynomial, of degree 9 or 15, below.

    Errors: 2.6, 2.1 ulp.
    """
    a = call("abs", x)
    z = a * a
    near = fma(a * z, polynomial(z, polynomials.SINH[x.dtype]), a)
    e = _half_exp(a)
    return flip_sign(select(a < 1.0, near, e - 0.25 / e), sign_bit(x))


def cosh(x: Expr) -> Expr:
    """(eᵃ + e⁻ᵃ) / 2, a = |x|.

    Errors: 1.7, 1.8 ulp.
    """
    e = _half_exp(call("abs", x))
    return e + 0.25 / e


def _half_exp(x: Expr) -> Expr:
    """eˣ / 2 for x ≥ 0, which does not overflow before sinh and cosh do."""
    p, s = _exp_parts(at_most(x, FORMATS[x.dtype].exp_high + 1))
    return p * s * (s * 0.5)


# -- logarithms -------------------------------------------------------------------------------------------------------
def _exponent_and_significand(x: Expr, subnormal: ExprLike | None = None) -> tuple[Expr, Expr]:
    """(k, m) with x = 2ᵏ · m, 2/3 ≤ m < 4/3; k a float.

    Where x is less than the least normal number, `subnormal` is taken off k; by default what makes the equation hold.
    """
    f = FORMATS[x.dtype]
    small, shift = x < f.tiny, f.fraction + 2
    i = bits(select(small, x * 2.0**shift, x))
    above = i - f.pattern(2 / 3)
    m = from_bits(i - (above & -(1 << f.fraction)), x.dtype)
    bias = select(small, f.magic + shift if subnormal is None else subnormal, constant(f.magic, x.dtype))
    return from_bits(call("shr", above, f.fraction) + f.pattern(f.magic), x.dtype) - bias, m


def _log1p_near_0(f: Expr) -> Expr:
    """log(1 + f) for |f| ≤ 1/3: degree 10 or 21."""
    return fma(f * f, polynomial(f, polynomials.LOG1P[f.dtype]), f)


def log(x: Expr) -> Expr:
    """k ln 2 + log m, x = 2ᵏ m, 2/3 ≤ m < 4/3. k is made −∞ for 0 and NaN for negative x.

    Errors: 0.9, 1.3 ulp.
    """
    f = FORMATS[x.dtype]
    zero = select(compare("eq", x, 0.0), constant(INFINITY, x.dtype), NAN)
    k, m = _exponent_and_significand(x, select(x > 0.0, f.magic + f.fraction + 2, zero))
    return select(x < INFINITY, fma(k, math.log(2), _log1p_near_0(m - 1.0)), x)


def _log1p_parts(x: Expr) -> Expr:
    """log(1 + x) = −k (−ln 2) + log(1 + f) for finite x > −1, 1 + x = 2ᵏ (1 + f), f = 2⁻ᵏ x − (1 − 2⁻ᵏ).

    Only the difference is rounded; the signs are such that −0 gives −0.
    """
    f = FORMATS[x.dtype]
    above = bits(x + 1.0) - f.pattern(2 / 3)
    k = above & -(1 << f.fraction)
    scaled = from_bits(bits(x) - k, x.dtype)
    quadruple = from_bits(call("sub", f.pattern(4.0), k), x.dtype)  # 4 · 2⁻ᵏ, which is a normal number for all k
    minus_k = f.magic - from_bits(call("shr", above, f.fraction) + f.pattern(f.magic), x.dtype)
    return fma(minus_k, -math.log(2), _log1p_near_0(scaled - fma(quadruple, -0.25, 1.0)))


def log1p(x: Expr) -> Expr:
    """log(1 + x), of `_log1p_parts`.

    Errors: 1.5, 1.9 ulp.
    """
    outside = select(compare("eq", x, -1.0), constant(-INFINITY, x.dtype), NAN)
    return select(x < INFINITY, select(x > -1.0, _log1p_parts(x), outside), x)


def softplus(x: Expr) -> Expr:
    """log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|).

    Errors: 2.4, 2.4 ulp.
    """
    return at_least(x, 0.0) + _log1p_parts(_exp_of_negative(call("neg", call("abs", x))))


def asinh(x: Expr) -> Expr:
    """log(1 + a + a² / (1 + √(a² + 1))), a = |x|; log a + ln 2 where 1 is lost in a.

    Errors: 1.9, 2.2 ulp.
    """
    f, a = FORMATS[x.dtype], call("abs", x)
    large, z = a > _LOST[f.dtype], a * a
    y = _log1p_parts(select(large, a, a + z / (call("sqrt", z + 1.0) + 1.0))) + select(
        large, constant(math.log(2), x.dtype), 0.0
    )
    return flip_sign(select(a < INFINITY, y, a), sign_bit(x))


_LOST = {float32: 2.0**30, float64: 2.0**60}


def acosh(x: Expr) -> Expr:
    """log(1 + t + √(2t + t²)), t = x − 1; log x + ln 2 where 1 is lost in x.

    Errors: 2.0, 2.2 ulp.
    """
    t = x - 1.0
    large = x > _LOST[x.dtype]
    y = _log1p_parts(select(large, x, t + call("sqrt", fma(t, t, t + t)))) + select(
        large, constant(math.log(2), x.dtype), 0.0
    )
    return select(x < INFINITY, select(x < 1.0, constant(NAN, x.dtype), y), x)


def atanh(x: Expr) -> Expr:
    """½ log(1 + 2a / (1 − a)), a = |x|.

    Errors: 2.1, 2.3 ulp.
    """
    a = call("abs", x)
    return flip_sign(log1p((a + a) / (1.0 - a)) * 0.5, sign_bit(x))


# -- erf --------------------------------------------------------------------------------------------------------------
def erf(x: Expr) -> Expr:
    """a + a P(a²) for a = |x| < 1 (degree 13, or 23), else a polynomial in a − 2.5 (degree 12), or 3.5 (degree 36).

    A rational function takes ten instructions less and a division, and errs by 5 ulp where erf is near 1.

    Errors: 1.3, 2.1 ulp.
    """
    f = FORMATS[x.dtype]
    a = at_most(call("abs", x), f.erf_high)
    near = fma(a, polynomial(a * a, polynomials.ERF_NEAR[x.dtype]), a)
    far = polynomial(a - polynomials.ERF_MIDDLE[x.dtype], polynomials.ERF_FAR[x.dtype])
    return flip_sign(select(a < 1.0, near, far), sign_bit(x))


# -- circular functions -----------------------------------------------------------------------------------------------
def _less_multiple(x: Expr, n: Expr, scale: float) -> Expr:
    """x − n · scale · π, by Cody and Waite's method with four constants."""
    for part in FORMATS[x.dtype].pi:
        x = fma(n, -part * scale, x)
    return x


def _sin_and_flip(r: Expr, t: Expr) -> Expr:
    """sin r, |r| ≤ π/2, negated where the integer in the low bits of `t` is odd: degree 9, or 17."""
    z = r * r
    # The ratio less 1 ends in an fma with 0, not in a product, which would be −0 at 0 and make +0 of −0.
    ratio = polynomial(z, (0.0, *polynomials.SIN[r.dtype]))
    y = at_most(at_least(fma(r, ratio, r), -1.0), 1.0)
    return flip_sign(y, call("shl", bits(t), r.dtype.bits - 1))


def sin(x: Expr) -> Expr:
    """(−1)ⁿ sin(x − nπ), n the integer nearest to x / π.

    Errors: 2.3, 2.2 ulp, for |x| ≤ 2²⁰ and 2³², or 2¹⁴ and 2³² without a true fma.
    Larger numbers give anything in [−1, 1].
    """
    magic = FORMATS[x.dtype].magic
    t = fma(x, 1 / math.pi, magic)
    return _sin_and_flip(_less_multiple(x, t - magic, 1.0), t)


def cos(x: Expr) -> Expr:
    """(−1)ⁿ sin((n + ½)π − x), n the integer nearest to x / π − ½.

    Errors: 2.4, 2.4 ulp, for |x| ≤ 2²⁰ and 2³², or 2¹⁴ and 2³² without a true fma.
    Larger numbers give anything in [−1, 1].
    """
    magic = FORMATS[x.dtype].magic
    t = fma(x, 1 / math.pi, -0.5) + magic
    n = t - magic
    return _sin_and_flip(_less_multiple(call("neg", x), n + 0.5, -1.0), t)


def tan(x: Expr) -> Expr:
    """tan r, or −1 / tan r where n is odd; r = x − nπ/2, n the integer nearest to 2x / π: degree 15 or 29.

    Errors: 3.3, 3.1 ulp, for |x| ≤ 2²⁰ and 2³², or 2¹⁴ and 2³² without a true fma.
    Larger numbers give anything.
    """
    f = FORMATS[x.dtype]
    t = fma(x, 2 / math.pi, f.magic)
    r = _less_multiple(x, t - f.magic, 0.5)
    z = r * r
    y = fma(r * z, polynomial(z, polynomials.TAN[x.dtype]), r)
    odd = compare("ne", bits(t) & 1, 0)
    return select(odd, constant(-1.0, x.dtype), y) / select(odd, y, 1.0)


def _asin_parts(x: Expr) -> tuple[Expr, Expr]:
    """(|x| > ½, p): p = asin |x|, or asin √((1 − |x|) / 2) = (π/2 − asin |x|) / 2 where |x| > ½: degree 11, or 25."""
    a = call("abs", x)
    large = a > 0.5
    z = select(large, fma(a, -0.5, 0.5), a * a)
    s = select(large, call("sqrt", z), a)
    return large, fma(s * z, polynomial(z, polynomials.ASIN[x.dtype]), s)


def _from_quarter_turns(n: Expr, y: Expr) -> Expr:
    """n · π/2 + y, π/2 being exact to twice the precision."""
    high, low = FORMATS[y.dtype].half_pi
    return fma(n, high, fma(n, low, y))


def asin(x: Expr) -> Expr:
    """p or π/2 − 2p, p of `_asin_parts`.

    Errors: 2.4, 2.2 ulp.
    """
    large, p = _asin_parts(x)
    n = select(large, constant(1.0, x.dtype), 0.0)
    return flip_sign(_from_quarter_turns(n, select(large, p * -2.0, p)), sign_bit(x))


def acos(x: Expr) -> Expr:
    """2p, π − 2p (x < −½) or π/2 ∓ p (|x| ≤ ½), p of `_asin_parts`.

    Errors: 1.2, 1.2 ulp.
    """
    large, p = _asin_parts(x)
    n = select(large, select(x < 0.0, constant(2.0, x.dtype), 0.0), 1.0)
    return _from_quarter_turns(n, flip_sign(select(large, p * 2.0, call("neg", p)), sign_bit(x)))


def atan(x: Expr) -> Expr:
    """atan a, or π/2 + atan(−1 / a) where a > 1; a = |x|: degree 19, or 39.

    Errors: 1.4, 1.8 ulp.
    """
    a = call("abs", x)
    large = a > 1.0
    t = select(large, -1.0 / a, a)
    z = t * t
    y = fma(t * z, polynomial(z, polynomials.ATAN[x.dtype]), t)
    return flip_sign(_from_quarter_turns(select(large, constant(1.0, x.dtype), 0.0), y), sign_bit(x))


# -- powers -----------------------------------------------------------------------------------------------------------
def _upper_half(x: Expr) -> Expr:
    """`x` without the lower half of its significand: products of two such numbers are exact."""
    return from_bits(bits(x) & -(1 << FORMATS[x.dtype].half_bits), x.dtype)


def _three_halves_log(x: Expr) -> tuple[Expr, Expr]:
    """3/2 · log x for x > 0, as a sum of two numbers: to about 2⁻³⁶, or 2⁻⁶⁶, of itself; the first is an upper half.

    x = 2ᵏ m, s = (m − 1) / (m + 1): 3/2 · log m = s (3 + s² + 3/5 s⁴ + …), as in fdlibm's pow; s and the sum are pairs.
    """
    high, low = FORMATS[x.dtype].three_halves_ln2
    k, m = _exponent_and_significand(x)
    above, below = m - 1.0, m + 1.0
    inverse = 1.0 / below
    s = above * inverse
    s_high = _upper_half(s)
    below_high = _upper_half(below)
    below_low = m - (below_high - 1.0)
    s_low = inverse * ((above - s_high * below_high) - s_high * below_low)
    z = s * s
    square = s_high * s_high
    rest = z * z * polynomial(z, polynomials.POW[x.dtype]) + s_low * (s_high + s)
    t_high = _upper_half((square + 3.0) + rest)
    t_low = rest - ((t_high - 3.0) - square)
    whole, product = k * high, s_high * t_high
    total = whole + product
    error = product - (total - whole)
    tail = error + (fma(k, low, s_low * t_high) + t_low * s)
    total_high = _upper_half(total + tail)
    return total_high, tail - (total_high - total)


def pow(x: Expr, y: Expr) -> Expr:
    """xʸ = e^(2/3 · y · 3/2 log |x|), the exponent being a pair until it is reduced; −|x|ʸ for negative x and odd y.

    Errors: 2.7, 3.1 ulp.
    """
    f = FORMATS[x.dtype]
    a = call("abs", x)
    log_high, log_low = _three_halves_log(a)
    # y beyond this gives 0, 1 or infinity, as it does.
    limit = 2.0 ** (f.fraction + 10)
    capped = at_most(at_least(y, -limit), limit)
    y_high = _upper_half(capped)
    high = y_high * log_high
    low = fma(capped - y_high, log_high, capped * log_low)
    exponent = high + low
    ln2_high, ln2_low = f.three_halves_ln2
    n, s = _nearest(exponent, LOG2_E / 3)
    r = (fma(n, -2 * ln2_low, fma(n, -2 * ln2_high, high)) + low) * (2 / 3)
    power = polynomial(r, (1.0, 1.0, *polynomials.EXP[x.dtype])) * s * s
    power = select(exponent > 1.5 * f.exp_high, INFINITY, select(exponent < 1.5 * f.exp_low, 0.0, power))
    zero = compare("eq", a, 0.0)
    extreme = select(zero ^ (y < 0.0), constant(0.0, x.dtype), INFINITY)
    power = select(zero | compare("eq", a, INFINITY), extreme, power)
    # The sign, and what is no real number.
    whole = compare("eq", call("trunc", y), y)
    half = y * 0.5
    odd = whole & compare("ne", call("trunc", half), half)
    power = flip_sign(power, select(odd, sign_bit(x), 0))
    power = select((x < 0.0) & (a < INFINITY) & call("not", whole), NAN, power)
    power = select(call("isnan", x, dtype=bool_) | call("isnan", y, dtype=bool_), x + y, power)
    return select(compare("eq", x, 1.0) | compare("eq", y, 0.0), 1.0, power)


# -- the table --------------------------------------------------------------------------------------------------------
_ALL: tuple[Callable[..., Expr], ...] = (
    exp, expm1, log, log1p, erf, sigmoid, softplus, sin, cos, tan, asin, acos, atan,
    sinh, cosh, tanh, asinh, acosh, atanh, pow,
)  # fmt: skip
EXPANSIONS: dict[tuple[str, DType], Callable[..., Expr]] = {(f.__name__, d): f for f in _ALL for d in FORMATS}


def is_long(e: Expr) -> bool:
    """True for a call that `expand` replaces."""
    return isinstance(e, Call) and (e.function, e.dtype) in EXPANSIONS


def expand(e: Expr) -> Expr:
    """f(x) → its arithmetic, for each call in `e` of a function in EXPANSIONS; the rest stays the same objects."""

    def visit(x: Expr) -> Expr | None:
        if isinstance(x, Call):
            expansion = EXPANSIONS.get((x.function, x.dtype))
            return None if expansion is None else expansion(*x.args)
        return None

    return rewrite(e, visit)
