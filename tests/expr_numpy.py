"""Evaluate scalar expressions on arrays, one operation at a time, each rounded to its element type."""

from collections.abc import Callable, Mapping

import numpy as np

from graphc.expr import Call, Const, Expr, Position, Select, walk
from graphc.types import Array

WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}


def evaluate(e: Expr, values: Mapping[Expr, Array], fused: bool = True) -> Array:
    """`e` where the expressions in `values` (loads, say) are these arrays.

    Args:
        e: no reductions; loads and indices that vary must be among `values`.
        values: by identity; arrays that broadcast.
        fused: `fma` rounds once (up to double rounding), else it is a product and a sum.
    """
    done: dict[int, Array] = {}
    with np.errstate(all="ignore"):
        for x in walk(e):
            done[id(x)] = np.asarray(values[x]) if x in values else _one(x, done, fused)
    return done[id(e)]


def _one(x: Expr, done: Mapping[int, Array], fused: bool) -> Array:
    if isinstance(x, Const):
        return np.asarray(x.value, x.dtype.numpy)
    if isinstance(x, Position) and x.index.number is not None:
        return np.asarray(x.index.number, np.int64)
    if isinstance(x, Select):
        return np.where(done[id(x.condition)], done[id(x.then)], done[id(x.other)])
    if not isinstance(x, Call):
        raise NotImplementedError(f"{type(x).__name__} has no value")
    args = [done[id(a)] for a in x.args]
    if x.function == "fma":
        return _fma(*args) if fused else args[0] * args[1] + args[2]
    if x.function == "cast":
        return args[0].astype(x.dtype.numpy)
    if x.function == "bitcast":
        return args[0].view(x.dtype.numpy)
    result = OPERATIONS[x.function](*args)
    assert result.dtype == x.dtype.numpy, f"{x.function} gives {result.dtype}, not {x.dtype}"
    return result


def _fma(a: Array, b: Array, c: Array) -> Array:
    wide = WIDER[a.dtype]
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _logical(on_bits: Callable[..., Array], on_bools: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *args: (on_bools if args[0].dtype == np.bool_ else on_bits)(*args)


def _shift(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda a, n: function(a, n.astype(a.dtype))


OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "max": np.maximum, "min": np.minimum, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "trunc": np.trunc, "sqrt": np.sqrt, "isnan": np.isnan, "isinf": np.isinf,
    "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": _logical(np.bitwise_and, np.logical_and), "or": _logical(np.bitwise_or, np.logical_or),
    "xor": _logical(np.bitwise_xor, np.logical_xor), "not": _logical(np.invert, np.logical_not),
    "shl": _shift(np.left_shift), "shr": _shift(np.right_shift),
}  # fmt: skip
