"""Functions that NumPy lacks."""

from __future__ import annotations

import numpy as np

from graphc.types import Array

# Rational approximations with the coefficients of FreeBSD's msun s_erf.c (Sun Microsystems, 1993), lowest power first.
_NEAR = (  # erf(x) = x + x·P(x²)/Q(x²), |x| < 0.84375
    (1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
     -5.77027029648944159157e-03, -2.37630166566501626084e-05),
    (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
     1.32494738004321644526e-04, -3.96022827877536812320e-06),
)  # fmt: skip
_AT_ONE = 8.45062911510467529297e-01
_MIDDLE = (  # erf(x) = _AT_ONE + P(s)/Q(s), s = x − 1, 0.84375 ≤ x < 1.25
    (-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
     3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
     -2.16637559486879084300e-03),
    (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
     1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02),
)  # fmt: skip
_FAR = (  # erf(x) = 1 − exp(−x² − 0.5625 + P(1/x²)/Q(1/x²))/x, 1.25 ≤ x < 1/0.35
    (-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e+01,
     -6.23753324503260060396e+01, -1.62396669462573470355e+02, -1.84605092906711035994e+02,
     -8.12874355063065934246e+01, -9.81432934416914548592e+00),
    (1.0, 1.96512716674392571292e+01, 1.37657754143519042600e+02, 4.34565877475229228821e+02,
     6.45387271733267880336e+02, 4.29008140027567833386e+02, 1.08635005541779435134e+02,
     6.57024977031928170135e+00, -6.04244152148580987438e-02),
)  # fmt: skip
_FARTHER = (  # the same, 1/0.35 ≤ x < 6
    (-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e+01,
     -1.60636384855821916062e+02, -6.37566443368389627722e+02, -1.02509513161107724954e+03,
     -4.83519191608651397019e+02),
    (1.0, 3.03380607434824582924e+01, 3.25792512996573918826e+02, 1.53672958608443695994e+03,
     3.19985821950859553908e+03, 2.55305040643316442583e+03, 4.74528541206955367215e+02,
     -2.24409524465858183362e+01),
)  # fmt: skip

_Ratio = tuple[tuple[float, ...], tuple[float, ...]]


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    result = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result *= x
        result += c
    return result


def _ratio(coefficients: _Ratio, x: Array) -> Array:
    numerator, denominator = coefficients
    result = _polynomial(numerator, x)
    result /= _polynomial(denominator, x)
    return result


def _tail(coefficients: _Ratio, x: Array) -> Array:
    exponent = _ratio(coefficients, 1 / (x * x)) - 0.5625 - x * x
    return np.asarray(1 - np.exp(exponent) / x)


def erf(x: Array) -> Array:
    """erf x = 2/√π ∫₀ˣ e^(−t²) dt for float32 and float64, within 2 units in the last place."""
    flat = np.ravel(x)
    size = np.abs(flat)
    result = np.sign(flat)  # 1 from 6 on, in both types; NaN stays NaN
    near = np.flatnonzero(size < 0.84375)
    inner = flat[near]
    result[near] = inner + inner * _ratio(_NEAR, inner * inner)
    for low, high, function in (
        (0.84375, 1.25, lambda v: _AT_ONE + _ratio(_MIDDLE, v - 1)),
        (1.25, 1 / 0.35, lambda v: _tail(_FAR, v)),
        (1 / 0.35, 6.0, lambda v: _tail(_FARTHER, v)),
    ):
        part = np.flatnonzero((size >= low) & (size < high))
        if part.size:
            result[part] *= function(size[part])
    return np.asarray(result.reshape(np.shape(x)))
