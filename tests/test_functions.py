"""The elementary functions of loop nests: errors in ulps, special values, 16-bit floats, and how long they are."""

import math
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from graphc.expr import Buffer, Call, Expr, Load, Select, call
from graphc.index import Index, linear
from graphc.loops import halves
from graphc.loops.functions import EXPANSIONS, expand
from graphc.loops.interpret import interpret
from graphc.loops.nest import For, Nest, Store
from graphc.traverse import walk
from graphc.types import Array, DType, dtype_of, float16, float32, float64

FORMATS = [float32, float64]
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
PRIMITIVES = {
    "add", "sub", "mul", "div", "fma", "neg", "abs", "trunc", "sqrt", "lt", "le", "eq", "ne", "isnan",
    "and", "or", "xor", "not", "shl", "shr", "bitcast",
}  # fmt: skip

needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="the reference for float64 is an 80-bit long double"
)


def variable(dtype: DType) -> Expr:
    return Load(Buffer("x", dtype, 1), linear(0))


def each(body: Callable[..., Expr], *args: Array, fused: bool = True) -> Array:
    """`body` of the elements of `args`, each operation rounded to its element type."""
    i = Index("i", len(args[0]))
    buffers = [Buffer(f"x{k}", dtype_of(a.dtype), i.extent) for k, a in enumerate(args)]
    value = body(*(Load(b, linear(i)) for b in buffers))
    y = Buffer("y", value.dtype, i.extent)
    nest = Nest((*buffers, y), (y,), (For(i, "vector", (Store(y, linear(i), value),)),))
    result = np.empty(i.extent, value.dtype.numpy)
    assert interpret(nest, dict(zip((*buffers, y), (*args, result), strict=True)), fused=fused)
    return result


def run(function: str, *args: Array, fused: bool = True) -> Array:
    """The expansion of `function` on arrays."""
    return each(lambda *xs: expand(call(function, *xs)), *args, fused=fused)


def erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x], x.dtype)


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# function -> what it is in wider arithmetic, and the bounds of its error for float32 and float64, in ulps.
REFERENCES: dict[str, tuple[Callable[[Array], Array], float, float]] = {
    "exp": (np.exp, 1.5, 1.6),
    "expm1": (np.expm1, 1.5, 2.0),
    "log": (np.log, 1.0, 1.3),
    "log1p": (np.log1p, 1.5, 1.9),
    "erf": (erf, 1.3, 2.1),
    "sigmoid": (sigmoid, 3.2, 2.9),
    "softplus": (softplus, 2.4, 2.4),
    "sin": (np.sin, 2.3, 2.2),
    "cos": (np.cos, 2.4, 2.4),
    "tan": (np.tan, 3.3, 3.1),
    "asin": (np.arcsin, 2.4, 2.2),
    "acos": (np.arccos, 1.2, 1.2),
    "atan": (np.arctan, 1.4, 1.8),
    "sinh": (np.sinh, 2.6, 2.1),
    "cosh": (np.cosh, 1.7, 1.8),
    "tanh": (np.tanh, 2.5, 2.7),
    "asinh": (np.arcsinh, 1.9, 2.2),
    "acosh": (np.arccosh, 2.0, 2.2),
    "atanh": (np.arctanh, 2.1, 2.3),
}
# Without a true fma, all may err by this much more.
UNFUSED = 1.0
# The arguments for which sin, cos and tan are accurate; the smaller number is the one without a true fma.
RANGES = {(float32, True): 2.0**20, (float32, False): 2.0**14, (float64, True): 2.0**32, (float64, False): 2.0**32}


def samples(dtype: DType, count: int) -> Array:
    """Numbers of all exponents and both signs, more of them between 2⁻³⁰ and 2¹⁰, and neighbours of special points."""
    random = np.random.default_rng(0)
    real, integer = dtype.numpy, np.dtype(f"i{dtype.numpy.itemsize}")
    limits = np.iinfo(integer)
    everything = random.integers(limits.min, limits.max, count // 2, dtype=integer, endpoint=True).view(real)
    usual = np.exp2(random.uniform(-30, 10, count // 4)) * random.choice([-1, 1], count // 4)
    plain = random.uniform(-4, 4, count // 4)
    ends = random.uniform(80, 110, count // 50) if dtype is float32 else random.uniform(700, 760, count // 50)
    info = np.finfo(dtype.numpy)
    points = [0, 0.5, 1, 2, math.pi / 2, math.pi, 88.72, 103.97, 709.78, 745.1, info.max, info.tiny]
    near = np.array(points, real).view(integer)[:, None] + np.arange(-50, 51)
    special = near[near >= 0].astype(integer).view(real)
    parts = [everything, usual, plain, ends, -ends, special, -special, np.array([np.inf, -np.inf, np.nan])]
    return np.concatenate([p.astype(real) for p in parts])


def ulps(got: Array, expected: Array) -> Array:
    """How far `got` is from `expected` (of a wider type), in ulps of the latter; infinite for wrong special values."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = expected.astype(got.dtype)
        special = ~np.isfinite(rounded) | ~np.isfinite(got) | (rounded == 0) & (got == 0)
        same = np.isnan(rounded) & np.isnan(got) | (rounded == got) & (np.signbit(rounded) == np.signbit(got))
        _, exponent = np.frexp(np.where(special, 1, expected))
        ulp = np.ldexp(np.ones_like(expected), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = np.abs(np.where(special, 0, got).astype(expected.dtype) - np.where(special, 0, expected)) / ulp
        # A result that rounds to infinity by less than an ulp.
        edge = np.isinf(got) & (np.abs(expected) > info.max * (1 - 4 * info.eps)) & (got * expected > 0)
    return np.where(special & ~edge, np.where(same, 0, np.inf), np.where(edge, 0, error)).astype(np.float64)


@needs_long_double
@pytest.mark.parametrize("fused", [True, False], ids=["fma", "without-fma"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("function", REFERENCES)
def test_errors_stay_within_bounds(function: str, dtype: DType, fused: bool) -> None:
    reference, *bounds = REFERENCES[function]
    slow = dtype is float64 or function == "erf"
    x = samples(dtype, 40_000 if slow else 300_000)
    if function in ("sin", "cos", "tan"):
        x = x[~(np.abs(x) > RANGES[dtype, fused]) | np.isinf(x)]
    with np.errstate(all="ignore"):
        expected = reference(x.astype(WIDER[x.dtype]))
    got = run(function, x, fused=fused)
    error = ulps(got, expected)
    worst = int(error.argmax())
    bound = bounds[dtype is float64] + (0 if fused else UNFUSED)
    assert error[worst] <= bound, f"{function}({x[worst]!r}) = {got[worst]!r}, not {expected[worst]!r}"


@needs_long_double
@pytest.mark.parametrize("fused", [True, False], ids=["fma", "without-fma"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_error_of_pow(dtype: DType, fused: bool) -> None:
    random = np.random.default_rng(0)
    count = 60_000
    x = np.abs(samples(dtype, count))
    x = x[np.isfinite(x) & (x > 0) & (x != 1)]
    results = random.uniform(-160, 130, len(x)) if dtype is float32 else random.uniform(-1100, 1030, len(x))
    with np.errstate(all="ignore"):  # exponents that give results of all sizes
        y = (results / np.log2(x.astype(np.longdouble))).astype(x.dtype)
    whole = random.integers(-20, 20, count // 4).astype(x.dtype)
    x = np.concatenate([x, random.uniform(-10, 10, len(whole)).astype(x.dtype)])
    y = np.concatenate([y, whole])
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    error = ulps(run("pow", x, y, fused=fused), expected)
    worst = int(error.argmax())
    assert error[worst] <= 3.5, f"pow({x[worst]!r}, {y[worst]!r})"


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_special_values_of_pow(dtype: DType) -> None:
    special = [0, 0.5, 1, 1.5, 2, 3, 4, 1e-40, 1e30, 2**24 - 1, 2**24, np.inf, np.nan, np.finfo(dtype.numpy).max]
    values = np.array(special + [-v for v in special], dtype.numpy)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(WIDER[x.dtype]), y.astype(WIDER[x.dtype])).astype(x.dtype)
    got = run("pow", x, y)
    assert ulps(got, expected.astype(WIDER[x.dtype])).max() <= 3.5
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(expected[~np.isnan(got)]))


NAN, INF = math.nan, math.inf
SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "expm1": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e4, INF), (-1e4, -1)],
    "log": [(0, -INF), (-0.0, -INF), (1, 0), (INF, INF), (-1, NAN), (-INF, NAN), (-1e-40, NAN)],
    "log1p": [(0, 0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-2, NAN), (-INF, NAN)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (-1e4, 0), (1e4, 1)],
    "softplus": [(INF, INF), (-INF, 0), (1e4, 1e4), (-1e4, 0)],
    "sin": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0, 0), (-0.0, -0.0), (1, math.pi / 2), (-1, -math.pi / 2), (1.5, NAN), (-INF, NAN)],
    "acos": [(0, math.pi / 2), (1, 0), (-1, math.pi), (1.5, NAN), (INF, NAN)],
    "atan": [(0, 0), (-0.0, -0.0), (INF, math.pi / 2), (-INF, -math.pi / 2)],
    "sinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e4, INF)],
    "cosh": [(0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (-1e4, INF)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1)],
    "asinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1, 0), (INF, INF), (0.5, NAN), (-1, NAN), (-4, NAN), (-INF, NAN)],
    "atanh": [(0, 0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.5, NAN), (INF, NAN), (-INF, NAN)],
}


@pytest.mark.parametrize("fused", [True, False], ids=["fma", "without-fma"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("function", SPECIAL)
def test_special_values_are_exact(function: str, dtype: DType, fused: bool) -> None:
    table = [*SPECIAL[function], (NAN, NAN)]
    x = np.array([k for k, _ in table], dtype.numpy)
    expected = np.array([v for _, v in table], dtype.numpy)
    got = run(function, x, fused=fused)
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("fused", [True, False], ids=["fma", "without-fma"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("function", ["erf", "tanh", "sigmoid", "sin", "cos"])
def test_bounded_functions_stay_within_1(function: str, dtype: DType, fused: bool) -> None:
    near = np.linspace(-10, 10, 200_001).astype(dtype.numpy)
    x = np.concatenate([near, samples(dtype, 20_000)])  # sin and cos of numbers far too large included
    x = x[np.isfinite(x)]
    assert np.abs(run(function, x, fused=fused)).max() <= 1


# -- expand -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("function", sorted({name for name, _ in EXPANSIONS}))
def test_expansions_are_made_of_primitives(function: str, dtype: DType) -> None:
    x = variable(dtype)
    e = expand(call(function, x, x) if function == "pow" else call(function, x))
    assert e.dtype is dtype
    assert {c.function for c in walk(e) if isinstance(c, Call)} <= PRIMITIVES


def test_expand_rewrites_every_call_and_keeps_the_rest() -> None:
    x, h = variable(float32), variable(float16)
    shared = call("exp", x)
    e = expand(call("tanh", shared * shared) + 1.0)
    assert "exp" not in {c.function for c in walk(e) if isinstance(c, Call)}
    assert len(walk(e)) < len(walk(expand(call("tanh", x)))) + len(walk(expand(shared))) + 5
    for kept in (x + 1.0, call("max", x, 0.0), call("exp", h)):
        assert expand(kept) is kept


def length(function: str, dtype: DType) -> int:
    """Instructions: calls but for bitcasts, and selects; a comparison and the select on it alone are a min or max."""
    x = variable(dtype)
    nodes = walk(expand(call(function, x, x) if function == "pow" else call(function, x)))
    clamps = sum(
        isinstance(e, Select)
        and isinstance(e.condition, Call)
        and {id(e.then), id(e.other)} == {id(a) for a in e.condition.args}
        for e in nodes
    )
    counted = sum(isinstance(e, Select) or (isinstance(e, Call) and e.function != "bitcast") for e in nodes)
    return counted - clamps


@pytest.mark.parametrize(
    ("function", "most"),
    [("exp", 16), ("sigmoid", 21), ("tanh", 19), ("erf", 27), ("log", 28), ("sin", 17), ("cos", 19)],
)
def test_hot_functions_stay_short(function: str, most: int) -> None:
    assert length(function, float32) <= most


# -- 16-bit floats ----------------------------------------------------------------------------------------------------
NARROW = {
    np.dtype(np.float16): (halves.half_to_float, halves.float_to_half),
    np.dtype(ml_dtypes.bfloat16): (halves.bfloat16_to_float, halves.float_to_bfloat16),
}


@pytest.mark.parametrize("narrow", NARROW, ids=str)
def test_widening_is_exact_for_all_patterns(narrow: np.dtype) -> None:
    patterns = np.arange(2**16, dtype=np.uint16)
    got = each(NARROW[narrow][0], patterns)
    expected = patterns.view(narrow).astype(np.float32)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("narrow", NARROW, ids=str)
def test_narrowing_rounds_to_nearest_even(narrow: np.dtype) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(narrow).astype(np.float32)
    every = every[np.isfinite(every)]
    with np.errstate(over="ignore"):
        ties = np.concatenate([every, np.sort(every)[:-1] / 2 + np.sort(every)[1:] / 2])
    around = np.concatenate([np.nextafter(ties, np.float32(s * np.inf)) for s in (-1, 1)])
    ends = np.array([65519.996, 65520, -65520, 3.4e38, -np.nan], np.float32)
    values = np.concatenate([ties, around, samples(float32, 200_000), ends])
    got = each(NARROW[narrow][1], values)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(narrow)
    nan = np.isnan(values)
    np.testing.assert_array_equal(got[~nan], expected[~nan].view(np.uint16))
    assert np.isnan(got[nan].view(narrow).astype(np.float32)).all()
