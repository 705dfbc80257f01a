"""Functions of expressions as LLVM instructions, on single numbers and on vectors, against NumPy on edge values."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from graphc.backends.codegen.emit import emit
from graphc.backends.codegen.jit import compile_object, link
from graphc.backends.codegen.small_types import SMALL
from graphc.backends.codegen.target import LEVELS, Target, host_target
from graphc.errors import CompileError
from graphc.expr import Buffer, Call, Const, Expr, Load, select
from graphc.index import Index, Linear, linear
from graphc.loops.nest import For, Nest, Stmt, Store
from graphc.ops.cast import convert
from graphc.types import (
    Array,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

LANES = 8
FLOATS = [float32, float64, float16, bfloat16]
SIGNED = [int8, int16, int32, int64]
UNSIGNED = [uint8, uint16, uint32, uint64]
INTEGERS = SIGNED + UNSIGNED
NARROW = (float16, bfloat16)


def _targets() -> list[str]:
    usable = []
    for name in LEVELS:
        try:
            host_target(name)
            usable.append(name)
        except CompileError:
            pass
    return [*usable, "native"]


@pytest.fixture(params=_targets())
def target(request: pytest.FixtureRequest) -> Target:
    return host_target(request.param)


@pytest.fixture(params=[False, True], ids=["scalar", "vector"])
def vector(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def edges(dtype: DType) -> Array:
    """Values where instructions go wrong."""
    if dtype is bool_:
        return np.array([False, True])
    if dtype.is_float:
        info = np.finfo(np.float32 if dtype is bfloat16 else dtype.numpy)
        values = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 3.0, -7.25, 100.7, np.nan, np.inf, -np.inf]
        values += [float(info.max), float(info.min), float(info.tiny)]
        with np.errstate(all="ignore"):
            return np.array(values).astype(dtype.numpy)
    bounds = np.iinfo(dtype.numpy)
    values = {0, 1, 2, 3, 7, 8, dtype.bits - 1, dtype.bits, bounds.max, bounds.max - 1, bounds.min}
    values |= {-1, -2, -3, -7, bounds.min + 1} if dtype.kind == "int" else {bounds.max // 2, bounds.max // 2 + 1}
    return np.array(sorted(values), dtype.numpy)


def run(
    target: Target, vector: bool, inputs: Mapping[Buffer, Array], exprs: Callable[[Linear], Sequence[Expr]]
) -> tuple[list[Array], int]:
    """The elements of `exprs` at each position of the inputs, and the status."""
    size = len(next(iter(inputs.values())))
    padded = -(-size // LANES) * LANES
    outer, inner = Index("o", padded // LANES), Index("v", LANES)
    values = exprs(linear(outer) * LANES + inner)
    outputs = [Buffer(f"y{k}", e.dtype, padded) for k, e in enumerate(values)]
    stores: list[Stmt] = [Store(b, linear(outer) * LANES + inner, e) for b, e in zip(outputs, values, strict=True)]
    body = For(outer, "serial", (For(inner, "vector" if vector else "serial", tuple(stores)),))
    nest = Nest((*inputs, *outputs), tuple(outputs), (body,))
    library = link([compile_object(emit(nest, "kernel", target), target)], ["kernel"])
    arrays = [np.concatenate([x, np.repeat(x[-1:], padded - size)]) for x in inputs.values()]
    results: list[Array] = [np.zeros(padded, b.dtype.numpy) for b in outputs]
    held = [*arrays, *results]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(held) + 1), ctypes.c_int64, ctypes.c_int64)
    status = ctypes.c_int32(0)
    kind(library.addresses["kernel"])(*(a.ctypes.data for a in held), ctypes.addressof(status), 0, 1)
    return [r[:size] for r in results], status.value


def check(name: str, got: Array, want: Array, *, signs: bool = True) -> None:
    """Equal, NaN with NaN, and (with `signs`) zeros of one sign."""
    assert got.dtype == want.dtype, name
    if want.dtype.kind not in "fV":
        np.testing.assert_array_equal(got, want, err_msg=name)
        return
    a, b = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_array_equal(a, b, err_msg=name)
    if signs:
        there = ~np.isnan(b)
        np.testing.assert_array_equal(np.signbit(a[there]), np.signbit(b[there]), err_msg=name)


def pairs(dtype: DType) -> tuple[Array, Array]:
    """All pairs of edge values."""
    a, b = zip(*itertools.product(edges(dtype), repeat=2), strict=True)
    return np.array(a, dtype.numpy), np.array(b, dtype.numpy)


def buffers(*arrays: tuple[DType, Array]) -> dict[Buffer, Array]:
    return {Buffer(f"x{k}", dtype, -(-len(x) // LANES) * LANES): x for k, (dtype, x) in enumerate(arrays)}


# -- floats -----------------------------------------------------------------------------------------------------------
UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "trunc": np.trunc, "sqrt": np.sqrt, "isnan": np.isnan, "isinf": np.isinf,
}  # fmt: skip
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "fmod": np.fmod, "mod": np.mod,
    "max": np.maximum, "min": np.minimum, "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
BOOLEAN = {"lt", "le", "eq", "ne", "isnan", "isinf"}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats(target: Target, vector: bool, dtype: DType) -> None:
    """Functions of one and two floats; those of 16 bits are computed in float32."""
    a, b = pairs(dtype)
    inputs = buffers((dtype, a), (dtype, b))
    left, right = inputs
    names = [*UNARY, *BINARY]

    def exprs(at: Linear) -> list[Expr]:
        x, y = Load(left, at), Load(right, at)
        return [Call(f, (x,) if f in UNARY else (x, y), bool_ if f in BOOLEAN else dtype) for f in names]

    got, status = run(target, vector, inputs, exprs)
    assert status == 0
    wide = [v.astype(np.float32) if dtype in NARROW else v for v in (a, b)]
    with np.errstate(all="ignore"):
        for name, y in zip(names, got, strict=True):
            want = UNARY[name](wide[0]) if name in UNARY else BINARY[name](*wide)
            want = np.asarray(want, bool if name in BOOLEAN else dtype.numpy)
            check(name, y, want, signs=name not in ("max", "min"))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fma(target: Target, vector: bool, dtype: DType) -> None:
    """a · b + c, rounded once where the target can."""
    a, b = (x.astype(dtype.numpy) for x in np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32))
    inputs = buffers((dtype, a), (dtype, b))
    left, right = inputs
    (got,), _ = run(
        target, vector, inputs, lambda at: [Call("fma", (Load(left, at), Load(right, at), Load(left, at)), dtype)]
    )
    wide = a.astype(np.float64) * b.astype(np.float64) + a.astype(np.float64)
    step = {float64: 2.0**-52, float32: 2.0**-23, float16: 2.0**-10, bfloat16: 2.0**-7}[dtype]
    size = np.abs(a.astype(np.float64) * b.astype(np.float64)) + np.abs(a.astype(np.float64))
    assert np.all(np.abs(got.astype(np.float64) - wide) <= step * size)
    if target.fma and dtype is float32:
        check("fma", got, wide.astype(np.float32))


# -- integers and booleans --------------------------------------------------------------------------------------------
def _truncated(a: Array, b: Array) -> tuple[Array, Array]:
    """Quotient and remainder of division towards zero, wrapping."""
    exact = [(abs(int(m)) // abs(int(n))) * (1 if (m < 0) == (n < 0) else -1) for m, n in zip(a, b, strict=True)]
    wrapped = np.array([q & (1 << 64) - 1 for q in exact], np.uint64).astype(a.dtype)
    rest = [int(m) - q * int(n) for m, n, q in zip(a, b, exact, strict=True)]
    return wrapped, np.array(rest, a.dtype)


def _shifted(a: Array, b: Array, *, left: bool) -> Array:
    bits = a.dtype.itemsize * 8
    results = []
    for m, n in zip(a, b, strict=True):
        count = int(n) if 0 <= int(n) < bits else bits
        results.append((int(m) << count if left else int(m) >> count) & (1 << bits) - 1)
    return np.array(results, np.uint64).astype(a.dtype)


INTEGER_UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "not": np.invert,
    **dict.fromkeys(("floor", "ceil", "round", "trunc"), np.copy),
}  # fmt: skip
INTEGER_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "shl": lambda a, b: _shifted(a, b, left=True), "shr": lambda a, b: _shifted(a, b, left=False),
}  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers(target: Target, vector: bool, dtype: DType) -> None:
    """Functions of one and two integers: they wrap; shifts by the width and more leave nothing but the sign."""
    a, b = pairs(dtype)
    inputs = buffers((dtype, a), (dtype, b))
    left, right = inputs
    names = [*INTEGER_UNARY, *INTEGER_BINARY]

    def exprs(at: Linear) -> list[Expr]:
        x, y = Load(left, at), Load(right, at)
        return [Call(f, (x,) if f in INTEGER_UNARY else (x, y), bool_ if f in BOOLEAN else dtype) for f in names]

    got, status = run(target, vector, inputs, exprs)
    assert status == 0
    with np.errstate(all="ignore"):
        for name, y in zip(names, got, strict=True):
            check(name, y, INTEGER_UNARY[name](a) if name in INTEGER_UNARY else INTEGER_BINARY[name](a, b))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division(target: Target, vector: bool, dtype: DType) -> None:
    """Towards zero and towards −∞; INT_MIN / −1 wraps; the run fails where a divisor is 0, and only there."""
    a, b = pairs(dtype)
    a, b = a[b != 0], b[b != 0]
    inputs = buffers((dtype, a), (dtype, b))
    left, right = inputs
    names = ("div", "fmod", "floordiv", "mod")

    def exprs(at: Linear) -> list[Expr]:
        return [Call(f, (Load(left, at), Load(right, at)), dtype) for f in names]

    got, status = run(target, vector, inputs, exprs)
    assert status == 0
    quotient, rest = _truncated(a, b)
    crossing = (rest != 0) & ((rest < 0) != (b < 0))
    wants = [quotient, rest, np.where(crossing, quotient - 1, quotient), np.where(crossing, rest + b, rest)]
    for name, y, want in zip(names, got, wants, strict=True):
        check(name, y, want.astype(dtype.numpy))
    b[-1] = 0
    for name in names:
        _, status = run(
            target, vector, {left: a, right: b},
            lambda at, name=name: [Call(name, (Load(left, at), Load(right, at)), dtype)],
        )  # fmt: skip
        assert status == 1, name


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_with_constants(target: Target, vector: bool, dtype: DType) -> None:
    """Literals at the ends of the range, shifts and divisions by constants."""
    a = edges(dtype)
    inputs = buffers((dtype, a))
    (x,) = inputs
    bounds = np.iinfo(dtype.numpy)
    counts = [0, 1, dtype.bits - 1, dtype.bits, int(bounds.max), *([-1] if dtype.kind == "int" else [])]
    divisors = [1, 3, int(bounds.max), *([-1, -3, int(bounds.min)] if dtype.kind == "int" else [])]
    cases = [("add", int(n)) for n in (bounds.min, bounds.max)]
    cases += [(f, n) for f in ("shl", "shr") for n in counts] + [(f, n) for f in ("div", "fmod") for n in divisors]

    def exprs(at: Linear) -> list[Expr]:
        return [Call(f, (Load(x, at), Const(n, dtype)), dtype) for f, n in cases]

    got, status = run(target, vector, inputs, exprs)
    assert status == 0
    for (name, n), y in zip(cases, got, strict=True):
        b = np.full(a.shape, n, dtype.numpy)
        with np.errstate(all="ignore"):
            if name in ("div", "fmod"):
                want = _truncated(a, b)[name == "fmod"]
            else:
                want = INTEGER_BINARY[name](a, b)
        check(f"{name} {n}", y, want)
    _, status = run(target, vector, inputs, lambda at: [Call("div", (Load(x, at), Const(0, dtype)), dtype)])
    assert status == 1


def test_booleans(target: Target, vector: bool) -> None:
    """Logic, and the same by the names of arithmetic."""
    a, b = pairs(bool_)
    inputs = buffers((bool_, a), (bool_, b))
    left, right = inputs
    functions = {
        "and": a & b, "or": a | b, "xor": a ^ b, "max": a | b, "min": a & b, "add": a | b, "mul": a & b,
        "eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b,
    }  # fmt: skip

    def exprs(at: Linear) -> list[Expr]:
        x, y = Load(left, at), Load(right, at)
        true: Expr = Const(True, bool_)
        return [*(Call(f, (x, y), bool_) for f in functions), Call("not", (x,), bool_), Call("xor", (x, true), bool_)]

    got, _ = run(target, vector, inputs, exprs)
    for y, (name, want) in zip(got, [*functions.items(), ("not", ~a), ("xor true", ~a)], strict=True):
        check(name, y, want)


# -- conversions ------------------------------------------------------------------------------------------------------
def _of_interest(dtype: DType) -> Array:
    """Edge values, and for floats those next to the ends of other types and to ties of narrower ones."""
    if not dtype.is_float:
        return edges(dtype)
    powers = [s * 2.0**k + d for s in (1, -1) for k in (7, 8, 15, 16, 31, 32, 63, 64) for d in (-1, -0.5, 0, 0.5, 1)]
    narrow = [
        65504,
        65519.996,
        65520,
        2049,
        1 + 2**-11,
        1 + 2**-11 + 2**-40,
        1 + 3 * 2**-11,
        1 + 2**-8,
        1 + 2**-8 + 2**-30,
    ]
    small = [2.0**-24, 2.0**-25, 2.0**-25 + 2.0**-60, 2.0**-26, 6e-8, 1e-40, 1e-300, 3.4e38, 3.5e38, 1e300]
    values = [*powers, *narrow, *(-x for x in narrow), *small, *(-x for x in small)]
    with np.errstate(all="ignore"):
        return np.concatenate([edges(dtype), np.array(values).astype(dtype.numpy)])


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, bool_], ids=str)
def test_casts(target: Target, vector: bool, dtype: DType) -> None:
    """To every other type, as Cast."""
    x = _of_interest(dtype)
    inputs = buffers((dtype, x))
    (source,) = inputs
    others = [d for d in (*FLOATS, *INTEGERS, bool_) if d is not dtype]
    got, _ = run(target, vector, inputs, lambda at: [Call("cast", (Load(source, at),), d) for d in others])
    with np.errstate(all="ignore"):
        for to, y in zip(others, got, strict=True):
            check(f"{dtype} to {to}", y, convert(x, to))


@pytest.mark.parametrize("dtype", sorted(SMALL, key=str), ids=str)
def test_small_types(target: Target, vector: bool, dtype: DType) -> None:
    """Every number of 8 bits and fewer to every type, and from every type to them."""
    x = np.arange(1 << dtype.bits, dtype=np.uint8).view(dtype.numpy)
    small = sorted(SMALL, key=str)
    wide = [*FLOATS, *INTEGERS, bool_]
    near = np.random.default_rng(0).normal(size=500) * 2.0 ** np.random.default_rng(1).integers(-20, 12, size=500)
    ties = (np.concatenate([x[:-1], x[1:]]).astype(np.float64) + np.concatenate([x[1:], x[:-1]]).astype(np.float64)) / 2
    with np.errstate(all="ignore"):
        values = [
            np.concatenate([*(v.astype(d.numpy) for v in (near, ties, ties * (1 + 2**-12)) if d.is_float), edges(d)])
            for d in wide
        ]
    size = max(map(len, values))  # a kernel goes through all of them at once, the shorter ones again and again
    inputs = buffers(*((d, np.resize(v, size)) for d, v in zip((dtype, *wide), (x, *values), strict=True)))
    source, *others = inputs

    def exprs(at: Linear) -> list[Expr]:
        there = [Call("cast", (Load(source, at),), d) for d in (*wide, *small)]
        return [*there, *(Call("cast", (Load(other, at),), dtype) for other in others)]

    got, _ = run(target, vector, inputs, exprs)
    names = [*(f"{dtype} to {d}" for d in (*wide, *small)), *(f"{d} to {dtype}" for d in wide)]
    with np.errstate(all="ignore"):
        wants = [convert(inputs[source], d) for d in (*wide, *small)]
        wants += [convert(inputs[other], dtype) for other in others]
    for name, y, want in zip(names, got, wants, strict=True):
        check_numbers(name, y, want)


def check_numbers(name: str, got: Array, want: Array) -> None:
    """`check`, of small types too."""
    small = {d.numpy for d in SMALL}
    if want.dtype in small:
        assert got.dtype == want.dtype, name
        got, want = got.astype(np.float32), want.astype(np.float32)
    check(name, got, want)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
def test_bitcasts(target: Target, vector: bool, dtype: DType) -> None:
    """To every type of the same width."""
    x = edges(dtype)
    inputs = buffers((dtype, x))
    (source,) = inputs
    others = [d for d in (*FLOATS, *INTEGERS) if d.bits == dtype.bits]
    got, _ = run(target, vector, inputs, lambda at: [Call("bitcast", (Load(source, at),), d) for d in others])
    for to, y in zip(others, got, strict=True):
        bits = np.dtype(f"u{dtype.bits // 8}")
        np.testing.assert_array_equal(y.view(bits), x.view(bits), err_msg=str(to))


# -- selection --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [float32, float16, bfloat16, int64, uint8, bool_], ids=str)
def test_select(target: Target, vector: bool, dtype: DType) -> None:
    """Of loads, of a load and a constant, of constants."""
    a, b = pairs(dtype)
    mask = np.arange(len(a)) % 3 == 0
    inputs = buffers((dtype, a), (dtype, b), (bool_, mask))
    left, right, chooses = inputs
    one = Const(1, dtype)

    def exprs(at: Linear) -> list[Expr]:
        m, x, y = Load(chooses, at), Load(left, at), Load(right, at)
        return [select(m, x, y), select(m, x, one), select(m, Const(0, dtype), one)]

    got, _ = run(target, vector, inputs, exprs)
    ones, zeros = np.ones_like(a), np.zeros_like(a)
    for k, (p, q) in enumerate([(a, b), (a, ones), (zeros, ones)]):
        bits = np.dtype(f"u{dtype.numpy.itemsize}")
        np.testing.assert_array_equal(got[k].view(bits), np.where(mask, p, q).view(bits))


def test_select_shields_what_may_fail(target: Target, vector: bool) -> None:
    """A division by zero that is not chosen, and an element beyond the end, do no harm."""
    a, b = pairs(int32)
    inputs = buffers((int32, a), (int32, b))
    left, right = inputs
    size = left.size

    def exprs(at: Linear) -> list[Expr]:
        y = Load(right, at)
        beyond = Load(left, at + (1 << 40))
        return [
            select(Call("ne", (y, Const(0, int32)), bool_), Call("div", (Load(left, at), y), int32), Const(0, int32)),
            select(Call("lt", (y, y), bool_), beyond, y),
        ]

    assert size < 1 << 40
    (quotient, same), status = run(target, vector, inputs, exprs)
    assert status == 0
    check("shielded", quotient[b != 0], _truncated(a[b != 0], b[b != 0])[0])
    assert not quotient[b == 0].any()
    check("not read", same, b)
